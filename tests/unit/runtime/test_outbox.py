from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from zocket.broker.port import Delivered, Message
from zocket.core import Session
from zocket.host import Audience
from zocket.ids import Scope
from zocket.runtime import outbox as module
from zocket.runtime.outbox import MAX_BATCH_BYTES, Outbox, SessionLink

if TYPE_CHECKING:
    from collections.abc import Sequence

SCOPE = Scope("ws", "proj")


class Recorder:
    """Takes what an outbox gives to its broker."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, list[Any]]] = []

    def send(self, messages: Sequence[Message]) -> None:
        self.calls.append(("send", list(messages)))

    def ack(self, delivered: Sequence[Delivered]) -> None:
        self.calls.append(("ack", list(delivered)))

    @property
    def messages(self) -> list[Message]:
        return [item for kind, items in self.calls if kind == "send" for item in items]


def pair() -> tuple[Recorder, Outbox]:
    recorder: Any = Recorder()
    return recorder, Outbox(recorder, SCOPE)


def link(outbox: Outbox, session: str, gateway: str | None = None) -> SessionLink:
    return SessionLink(outbox, Session(session), gateway)


async def test_frames_leave_before_acknowledgements_in_one_go() -> None:
    recorder, outbox = pair()
    delivered = Delivered("s", b"", 1, 1, None)
    outbox.acknowledge(delivered)
    link(outbox, "s1").send(b'{"a":1}')
    assert recorder.calls == []
    outbox.flush()
    assert [kind for kind, _ in recorder.calls] == ["send", "ack"]
    assert recorder.messages[0].subject == "outbound.ws.proj.s1"
    assert json.loads(recorder.messages[0].payload) == {
        "scope": {"workspaceId": "ws", "projectId": "proj"},
        "sessionId": "s1",
        "message": {"a": 1},
    }


async def test_frames_of_one_turn_for_one_gateway_are_one_message_in_order() -> None:
    recorder, outbox = pair()
    first, second = link(outbox, "s1", "g"), link(outbox, "s2", "g")
    for number in range(3):
        first.send(b"%d" % number)
        second.send(b"%d" % (number + 10))
    outbox.flush()
    assert [message.subject for message in recorder.messages] == ["gateway.ws.proj.g"]
    deliveries = json.loads(recorder.messages[0].payload)["deliveries"]
    assert [(item["sessions"], item["message"]) for item in deliveries] == [
        (["s1"], 0),
        (["s2"], 10),
        (["s1"], 1),
        (["s2"], 11),
        (["s1"], 2),
        (["s2"], 12),
    ]


async def test_a_batch_is_split_before_it_grows_too_large_and_keeps_its_order() -> None:
    recorder, outbox = pair()
    target = link(outbox, "s1", "g")
    for number in range(10):
        target.send(json.dumps([number, "x" * 200_000]).encode())
    outbox.flush()
    assert all(len(message.payload) < MAX_BATCH_BYTES + 200 for message in recorder.messages)
    numbers = [
        item["message"][0] for message in recorder.messages for item in json.loads(message.payload)["deliveries"]
    ]
    assert numbers == list(range(10))


async def test_one_frame_that_is_larger_than_a_batch_goes_alone() -> None:
    recorder, outbox = pair()
    target = link(outbox, "s1", "g")
    target.send(b"1")
    target.send(b'"%b"' % (b"x" * (MAX_BATCH_BYTES + 1)))
    target.send(b"3")
    outbox.flush()
    assert [len(json.loads(message.payload)["deliveries"]) for message in recorder.messages] == [1, 1, 1]


async def test_a_broadcast_names_each_gateway_once_and_remembers_how(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_LISTED_SESSIONS", 2)
    recorder, outbox = pair()
    links = [link(outbox, f"s{n}", "g" if n < 3 else "h") for n in range(4)] + [link(outbox, "single")]
    audience = Audience(links)
    outbox.broadcast(audience, b"7")
    route = audience.cache
    outbox.broadcast(audience, b"8")
    assert audience.cache is route
    audience.discard("s3")
    outbox.broadcast(audience, b"9")
    outbox.flush()
    sent: dict[str, list[Any]] = {}
    for message in recorder.messages:
        body = json.loads(message.payload)
        sent.setdefault(message.subject, []).extend(
            [(item["sessions"], item["message"]) for item in body["deliveries"]]
            if "deliveries" in body
            else [body["message"]]
        )
    assert sent == {
        "outbound.ws.proj.single": [7, 8, 9],
        "gateway.ws.proj.g": [
            (["s0", "s1"], 7),
            (["s2"], 7),
            (["s0", "s1"], 8),
            (["s2"], 8),
            (["s0", "s1"], 9),
            (["s2"], 9),
        ],
        "gateway.ws.proj.h": [(["s3"], 7), (["s3"], 8)],
    }


async def test_what_is_held_leaves_in_its_order_once_it_is_released() -> None:
    recorder, outbox = pair()
    delivered = Delivered("s", b"", 1, 1, None)
    outbox.hold()
    for number in range(3):
        link(outbox, "s1", "g").send(b"%d" % number)
        link(outbox, "s2").send(b"%d" % number)
        outbox.acknowledge(delivered)
        outbox.flush()
    assert recorder.calls == []
    outbox.release(outbox.doubt)
    assert [kind for kind, _ in recorder.calls] == ["send", "ack"]
    bodies = [json.loads(message.payload) for message in recorder.messages]
    assert [body["message"] for body in bodies if "message" in body] == [0, 1, 2]
    assert [item["message"] for body in bodies for item in body.get("deliveries", [])] == [0, 1, 2]
    assert len(recorder.calls[1][1]) == 3


async def test_a_release_for_an_earlier_doubt_releases_nothing() -> None:
    recorder, outbox = pair()
    outbox.hold()
    doubt = outbox.doubt
    outbox.hold()
    link(outbox, "s1").send(b"1")
    outbox.release(doubt)
    outbox.flush()
    assert recorder.calls == []
    assert outbox.held


async def test_what_leaves_can_be_held_at_the_last_moment() -> None:
    recorder, outbox = pair()
    outbox.before_flush = outbox.hold
    link(outbox, "s1").send(b"1")
    outbox.flush()
    assert recorder.calls == []


async def test_what_is_held_is_bounded_and_the_oldest_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_HELD_BYTES", 1_000)
    recorder, outbox = pair()
    outbox.hold()
    for number in range(100):
        link(outbox, "s1").send(b"%d" % number)
        outbox.flush()
    outbox.release(outbox.doubt)
    kept = [json.loads(message.payload)["message"] for message in recorder.messages]
    assert 5 < len(kept) < 15
    assert kept == list(range(100 - len(kept), 100))


async def test_a_batch_names_the_epoch_of_its_runtime() -> None:
    recorder: Any = Recorder()
    outbox = Outbox(recorder, SCOPE, "e_1")
    link(outbox, "s1", "g").send(b"1")
    outbox.flush()
    assert json.loads(recorder.messages[0].payload)["epoch"] == "e_1"


async def test_once_muted_nothing_leaves() -> None:
    recorder, outbox = pair()
    link(outbox, "s1").send(b"1")
    outbox.acknowledge(Delivered("s", b"", 1, 1, None))
    outbox.mute()
    link(outbox, "s1", "g").send(b"2")
    outbox.flush()
    assert recorder.calls == []
