"""The script runs from top to bottom against a served chat, while somebody else answers in its room."""

import runpy
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from examples.chat.app import ChatRoom, app
from zocket import connect_sync
from zocket.client import SyncClient


def answer(alice: SyncClient) -> None:
    """Waits for the script's question, and says three things."""
    room = alice.actor(ChatRoom, "notebooks")
    with alice.events(room, ChatRoom.posted) as messages:
        alice.call(room.join, name="Alice")
        alice.call(room.post, text="First!")
        assert next(messages).author == "Notebook"
        for text in ("Good morning!", "Me.", "And Bob, soon."):
            alice.call(room.post, text=text)


def test_the_script_watches_and_speaks(
    serve: Callable[[Any], int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"ws://127.0.0.1:{serve(app)}"
    monkeypatch.setenv("CHAT_URL", url)
    monkeypatch.setenv("CHAT_ROOM", "notebooks")
    with connect_sync(url) as alice, ThreadPoolExecutor(1) as pool:
        watched = alice.state(alice.actor(ChatRoom, "notebooks"))
        answering = pool.submit(answer, alice)
        next(state for state in watched if state.messages)
        runpy.run_module("examples.watch.watch")
        answering.result(30)
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "connection: open"
    assert printed[1].startswith("1 messages so far, ")
    assert printed[2:5] == ["Alice: Good morning!", "Alice: Me.", "Alice: And Bob, soon."]
    assert printed[5:] == ["  4 by Alice", "  1 by Notebook"]
