"""The generated module type-checks strictly, and talks to a server of the app."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.unit.contract.samples import chat, everything
from zocket import ActorError, connect
from zocket.contract import contract_of
from zocket.contract.python import python
from zocket.server.process import serve
from zocket.settings import ServeSettings

pytestmark = pytest.mark.realtime

ROOT = Path(__file__).parents[3]
USE = """\
from every_client import ChatRoom, Everything, Message, RoomState
from zocket import connect


async def use() -> None:
    async with connect("ws://localhost") as client:
        room = client.actor(ChatRoom, "general")
        sent: Message = await room.post(text="hello")
        every: list[Message] = await room.all()
        async for state in client.state(room):
            topic: str | None = state.topic
        async for message in client.events(room, ChatRoom.posted):
            author: str = message.author
        pets = await client.actor(Everything, "x").search(input=1)  # mistake
        await room.post(text=1)  # mistake
        await room.psot(text="a")  # mistake
        await room.post()  # mistake
        number: int = sent.text  # mistake
"""


def test_mypy_accepts_the_module_and_finds_wrong_calls(tmp_path: Path) -> None:
    (tmp_path / "every_client.py").write_text(python(contract_of(everything.definition)))
    (tmp_path / "use.py").write_text(USE)
    cache = f"--cache-dir={ROOT / '.mypy_cache'}"
    command = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", cache, "every_client.py", "use.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    found = {int(line.split(":")[1]) for line in done.stdout.splitlines() if ": error:" in line}
    assert found == {number for number, line in enumerate(USE.splitlines(), 1) if "# mistake" in line}, done.stdout


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    file = tmp_path / "chat_client.py"
    file.write_text(python(contract_of(chat.definition)))
    spec = importlib.util.spec_from_file_location("chat_client", file)
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "chat_client", found)
    spec.loader.exec_module(found)
    return found


async def test_the_module_talks_to_a_server(module: Any) -> None:
    settings = ServeSettings(host="127.0.0.1", port=0, metrics_port=0)
    async with serve(chat.definition, settings) as port, connect(f"ws://127.0.0.1:{port}") as client:
        room = client.actor(module.ChatRoom, "general")
        sent = await room.post(text="hello")
        assert sent == module.Message(author="ada", text="hello", colour="red", tags=[])
        assert await room.all() == []
        assert await room.clear() is None
        async for state in client.state(room):
            assert state == module.RoomState(messages=[], online={}, topic=None)
            break
        with pytest.raises(ActorError, match="Validation failed for post"):
            await room.post(text="")
