"""Frames of every shape and size over a real socket, through the real processes, beside a spy on every subject."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.faults.conftest import Platform
    from zocket.broker.port import Message

Until = Callable[..., Coroutine[Any, Any, None]]
pytestmark = pytest.mark.nats

MAX_FRAME_BYTES = 256_000
OWN = re.compile(
    r"(inbound\.ws_faults\.prj_faults\.room\.[!-~]+)"
    r"|(outbound|gateway)\.ws_faults\.prj_faults\.[\w-]+"
    r"|(session\.(dis)?connected|runtime\.(announce|discover))\.ws_faults\.prj_faults"
    r"|_INBOX\..*|\$JS\.(API|ACK|EVENT)\..*|\$KV\.zocket-owners\.ws_faults\.prj_faults(\.begun)?"
    r"|_INBOX\..*|\$JS\.(API|ACK|EVENT)\..*|\$KV\.zocket-owner-ws_faults-prj_faults\.ws_faults\.prj_faults"
)
IDS = [
    "a.b",
    "a b",
    "*",
    ">",
    "\r\nPUB evil 1\r\nx\r\n",
    "\x00",
    "🦊" * 128,
    "$JS.API.STREAM.DELETE.INBOUND",
    "%",
    "é" * 256,
]


def sized(call_id: str, size: int) -> str:
    head = f'{{"type":"rpc","id":"{call_id}","actor":"room","actorId":"a","method":"lines","x":"'
    return head + "x" * (size - len(head) - 2) + '"}'


async def test_any_frame_is_served_answered_ignored_or_closes_its_socket_alone(
    platform: Platform, until: Until
) -> None:
    await platform.open()
    await platform.start_runtime()
    seen: list[Message] = []
    await (await platform.broker()).subscribe(">", seen.extend)
    socket, neighbour = await platform.socket(), await platform.socket()
    await neighbour.subscribe("state:sub", actor_id="home")
    for number, actor_id in enumerate(IDS):
        await socket.call(number, actor_id, "say", line=str(number))
        await socket.call(f"{number}?", actor_id, "lines")
    for number in range(len(IDS)):
        assert (await socket.wait_answer(f"{number}?"))["result"] == [str(number)]
    # Binary, fragmented, empty, broken.
    await socket.connection.send(sized("binary", 200).encode())
    text = sized("fragments", 1_000)
    await socket.connection.send([text[:1], "", text[1:500], text[500:]])
    for nothing in ("", b"", "{", b"\xff\xfe", "null", "[]", '{"type":"rpc"}', "\x00", "[" * 60):
        await socket.connection.send(nothing)
    await socket.connection.send(sized("largest", MAX_FRAME_BYTES))
    for call_id in ("binary", "fragments", "largest"):
        assert (await socket.wait_answer(call_id))["result"] == []
    assert socket.frames("error") == []
    # One byte more closes the socket, and no other.
    await socket.connection.send(sized("too large", MAX_FRAME_BYTES + 1))
    await until(lambda: socket.connection.close_code is not None, "the socket is closed")
    assert socket.connection.close_code == 1009
    assert "too large" not in socket.answered
    await neighbour.call("after", "home", "say", line="after")
    assert (await neighbour.wait_answer("after"))["result"] == 1
    assert neighbour.replica("home") == {"lines": ["after"]}
    strange = [message.subject for message in seen if not OWN.fullmatch(message.subject)]
    assert strange == []
    inbound = [message for message in seen if message.subject.startswith("inbound.")]
    contents = [json.loads(message.payload) for message in inbound]
    envelopes = [one for content in contents for one in (content if isinstance(content, list) else [content])]
    assert {envelope["message"]["actorId"] for envelope in envelopes} == {*IDS, "a", "home"}


async def test_a_state_up_to_its_limit_reaches_whoever_reads(platform: Platform, until: Until) -> None:
    await platform.open()
    await platform.start_runtime()
    caller, watcher = await platform.socket(), await platform.socket()
    await caller.call("fill", "big", "fill", size=7_500_000)
    await caller.wait_answer("fill")
    await watcher.subscribe("state:sub", actor_id="big")
    await caller.call("more", "big", "say", line="more")
    assert (await caller.wait_answer("more"))["result"] == 2
    await watcher.wait_frames("state:snapshot", 1)
    await caller.call("too much", "big", "fill", size=1_000_000)
    assert (await caller.wait_answer("too much"))["code"] == "too_large"
    await caller.call("last", "big", "say", line="last")
    assert (await caller.wait_answer("last"))["result"] == 3
    await until(lambda: len(watcher.replica("big")["lines"]) == 3, "the replica follows")
    lines = watcher.replica("big")["lines"]
    assert [len(lines[0]), *lines[1:]] == [7_500_000, "more", "last"]
    assert watcher.connection.close_code is None
