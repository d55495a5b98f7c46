"""The code of docs/client.md runs as it stands, block after block, against a server."""

from __future__ import annotations

import ast
import asyncio
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from zocket.server.process import serve
from zocket.settings import ServeSettings

pytestmark = pytest.mark.realtime

PAGE = Path(__file__).parents[3] / "docs" / "client.md"


async def run_block(code: str, name: str, names: dict[str, Any]) -> None:
    compiled = compile(code, name, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    if "connect_sync(" in code:  # it blocks its thread, and the server is in this one
        await asyncio.wait_for(asyncio.to_thread(eval, compiled, names), 10)
        return
    pending = eval(compiled, names)
    if asyncio.iscoroutine(pending):
        await asyncio.wait_for(pending, 10)


async def test_every_block_of_the_page_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    from zocket import Identity

    async def authorize(token: str | None) -> Identity:
        return Identity(user_id=token)

    page = PAGE.read_text()
    blocks = [
        (page.count("\n", 0, found.start()) + 1, found[1])
        for found in re.finditer(r"```python\n(.*?)```", page, re.DOTALL)
    ]
    assert len(blocks) >= 6
    module = ModuleType("client_page")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    names = module.__dict__
    (line, definitions), *examples = blocks
    await run_block(definitions, f"{PAGE}:{line}", names)
    settings = ServeSettings(host="127.0.0.1", port=0, metrics_port=0)
    async with serve(names["app"].definition, settings, authorize=authorize) as port:
        for line, code in examples:
            await run_block(code.replace("localhost:3000", f"127.0.0.1:{port}"), f"{PAGE}:{line}", names)
