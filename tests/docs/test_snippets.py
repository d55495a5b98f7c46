"""The Python of README.md and docs/*.md runs as it stands.

A block whose fence says `python runnable` is run, in the order of its page, in one namespace for the page. As soon as
the page has defined an `app`, it is served, and the addresses of the page's clients lead there.
"""

from __future__ import annotations

import ast
import asyncio
import dataclasses
import re
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import pytest

from zocket import App
from zocket.server.process import serve
from zocket.settings import (
    ControlSettings,
    GatewaySettings,
    Limits,
    NatsAccess,
    OrchestrationSettings,
    RuntimeSettings,
    ServeSettings,
)

pytestmark = pytest.mark.realtime

ROOT: Final = Path(__file__).parents[2]
BLOCK: Final = re.compile(r"^```python runnable\n(.*?)^```$", re.DOTALL | re.MULTILINE)
ADDRESS: Final = re.compile(r"localhost:\d+")
LIMIT_S: Final = 20.0

FILES: Final = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
PAGES: Final = {file.name: text for file in FILES if BLOCK.search(text := file.read_text())}


async def run(code: str, name: str, names: dict[str, Any]) -> None:
    pending = eval(compile(code, name, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True), names)
    if asyncio.iscoroutine(pending):
        await asyncio.wait_for(pending, LIMIT_S)


@pytest.mark.parametrize("page", PAGES)
async def test_every_runnable_block_of_the_page_runs(page: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("page")
    monkeypatch.setitem(sys.modules, module.__name__, module)  # annotations are looked up there
    names, text, port = module.__dict__, PAGES[page], 0
    async with AsyncExitStack() as stack:
        for found in BLOCK.finditer(text):
            code = ADDRESS.sub(f"127.0.0.1:{port}", found[1])
            await run("\n" * (text.count("\n", 0, found.start()) + 1) + code, page, names)
            app = names.get("app")
            if isinstance(app, App) and not port:
                settings = ServeSettings(host="127.0.0.1", port=0, metrics_port=0)
                port = await stack.enter_async_context(serve(app.definition, settings, authorize=app.authorize))


def test_all_python_of_the_readme_is_run() -> None:
    assert len(BLOCK.findall(PAGES["README.md"])) >= 3
    assert "```python\n" not in PAGES["README.md"]


@pytest.mark.parametrize(
    ("settings", "page"),
    [
        (RuntimeSettings, "running.md"),
        (GatewaySettings, "running.md"),
        (ServeSettings, "running.md"),
        (ControlSettings, "running.md"),
        (Limits, "running.md"),
        (NatsAccess, "running.md"),
        (OrchestrationSettings, "orchestration.md"),
    ],
)
def test_every_variable_of_a_process_is_in_the_docs(settings: type, page: str) -> None:
    named = set(re.findall(r"`([A-Z_]+)`", (ROOT / "docs" / page).read_text()))
    variables = {field.metadata["variable"] for field in dataclasses.fields(settings) if field.metadata}
    assert variables - named - {"ZOCKET_DEV"} == set()
