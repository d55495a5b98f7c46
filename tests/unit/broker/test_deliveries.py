from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

import pytest

from zocket.broker.deliveries import CoreDelivery, PushDelivery
from zocket.broker.port import ConsumerSpec, Delivered, Message

if TYPE_CHECKING:
    from zocket.broker.connection import Connection
    from zocket.broker.parser import Receiver

SPEC = ConsumerSpec("S", "rt", "s.>")
REPLY = b"$JS.ACK.S.rt.1.%d.1.1.0"


class Wire:
    """What a delivery does with a connection."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.attached: list[str] = []
        self.detached: list[int] = []

    def attach(self, receiver: Receiver) -> int:
        self.attached.append(receiver.subject)
        return len(self.attached)

    def detach(self, sid: int) -> None:
        self.detached.append(sid)

    def write(self, blob: bytes) -> None:
        self.written.append(blob)

    @property
    def connection(self) -> Connection:
        return cast("Connection", self)


class Push:
    def __init__(self) -> None:
        self.batches: list[list[Delivered]] = []
        self.lost = 0
        self.wire = Wire()
        loop = asyncio.get_running_loop()
        self.delivery = PushDelivery("_INBOX.x", SPEC, self.batches.append, self.note, loop)
        self.delivery.attach(self.wire.connection)

    def note(self) -> None:
        self.lost += 1


async def test_the_messages_of_one_turn_are_one_list() -> None:
    batches: list[list[Message]] = []
    delivery = CoreDelivery("a.*", batches.append, asyncio.get_running_loop())
    delivery.receive(b"a.1", b"", b"x", None)
    delivery.receive(b"a.2", b"r", b"y", b"NATS/1.0\r\nK: v\r\n\r\n")
    delivery.receive(b"a.2", b"", b"", b"NATS/1.0 503\r\n\r\n")
    assert batches == []
    await asyncio.sleep(0)
    assert batches == [[Message("a.1", b"x"), Message("a.2", b"y", "r")]]


async def test_closing_drops_the_open_list() -> None:
    batches: list[list[Message]] = []
    delivery = CoreDelivery("a", batches.append, asyncio.get_running_loop())
    delivery.receive(b"a", b"", b"x", None)
    delivery.close()
    await asyncio.sleep(0)
    assert batches == []


async def test_a_push_delivery_waits_for_its_start() -> None:
    push = Push()
    push.delivery.receive(b"s.1", REPLY % 7, b"x", None)
    await asyncio.sleep(0)
    assert push.batches == []
    push.delivery.start()
    await asyncio.sleep(0)
    (item,) = push.batches[0]
    assert (item.subject, item.payload, item.sequence, item.attempt) == ("s.1", b"x", 7, 1)
    push.delivery.close()
    assert push.wire.detached == [1]


async def test_flow_control_and_a_stalled_consumer_are_answered() -> None:
    push = Push()
    push.delivery.receive(b"_INBOX.x", b"$JS.FC.1", b"", b"NATS/1.0 100 FlowControl Request\r\n\r\n")
    stalled = b"NATS/1.0 100 Idle Heartbeat\r\nNats-Consumer-Stalled: $JS.FC.2\r\n\r\n"
    push.delivery.receive(b"_INBOX.x", b"", b"", stalled)
    push.delivery.receive(b"_INBOX.x", b"", b"", b"NATS/1.0 100 Idle Heartbeat\r\n\r\n")
    assert push.wire.written == [b"PUB $JS.FC.1 0\r\n\r\n", b"PUB $JS.FC.2 0\r\n\r\n"]
    assert push.lost == 0
    push.delivery.close()


async def test_a_deleted_consumer_is_lost_once() -> None:
    push = Push()
    push.delivery.start()
    for _ in range(2):
        push.delivery.receive(b"_INBOX.x", b"", b"", b"NATS/1.0 409 Consumer Deleted\r\n\r\n")
    assert push.lost == 1
    assert push.delivery.closed


def numbered(number: int) -> bytes:
    return b"$JS.ACK.S.rt.1.%d.%d.1.0" % (number + 100, number)


async def test_a_delivery_that_did_not_arrive_is_a_loss_and_what_follows_it_is_not_given() -> None:
    push = Push()
    push.delivery.start()
    for number in (1, 2, 2, 1, 3):  # the next leader of a consumer may repeat
        push.delivery.receive(b"s.1", numbered(number), b"x", None)
    await asyncio.sleep(0)
    assert [item.sequence for item in push.batches[0]] == [101, 102, 102, 101, 103]
    push.delivery.receive(b"s.1", numbered(5), b"x", None)
    await asyncio.sleep(0)
    assert push.lost == 1
    assert len(push.batches) == 1


async def test_a_heartbeat_tells_of_a_last_delivery_that_did_not_arrive() -> None:
    push = Push()
    push.delivery.start()
    push.delivery.receive(b"s.1", numbered(1), b"x", None)
    beat = b"NATS/1.0 100 Idle Heartbeat\r\nNats-Last-Consumer: %d\r\n\r\n"
    push.delivery.receive(b"_INBOX.x", b"", b"", beat % 1)
    assert push.lost == 0
    push.delivery.receive(b"_INBOX.x", b"", b"", beat % 2)
    assert push.lost == 1


async def test_what_a_dropped_connection_lost_is_no_loss_of_the_consumer() -> None:
    push = Push()
    push.delivery.start()
    push.delivery.receive(b"s.1", numbered(1), b"x", None)
    push.delivery.suspend()
    push.delivery.attach(push.wire.connection)
    push.delivery.receive(b"s.1", numbered(4), b"x", None)
    assert push.lost == 0
    push.delivery.receive(b"s.1", numbered(6), b"x", None)
    assert push.lost == 1


async def test_a_loss_before_the_start_starts_nothing() -> None:
    push = Push()
    push.delivery.receive(b"s.1", numbered(2), b"x", None)
    push.delivery.start()
    await asyncio.sleep(0)
    assert (push.lost, push.batches, push.delivery._check) == (1, [], None)


async def test_missed_heartbeats_are_a_loss_only_while_connected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zocket.broker.deliveries.CHECK_S", 0.01)
    monkeypatch.setattr("zocket.broker.deliveries.IDLE_HEARTBEAT_S", 0.02)
    monkeypatch.setattr("zocket.broker.deliveries.LOST_AFTER_S", 0.06)
    away, silent, lively = Push(), Push(), Push()
    for push in (away, silent, lively):
        push.delivery.start()
    away.delivery.suspend()
    async with asyncio.timeout(10):
        while not silent.lost:
            lively.delivery.receive(b"_INBOX.x", b"", b"", b"NATS/1.0 100 Idle Heartbeat\r\n\r\n")
            await asyncio.sleep(0.001)
    assert (away.lost, silent.lost, lively.lost) == (0, 1, 0)
    away.delivery.attach(away.wire.connection)
    async with asyncio.timeout(10):
        while not away.lost:  # noqa: ASYNC110 — a condition of the test
            await asyncio.sleep(0.001)
    lively.delivery.close()


async def test_a_message_that_no_stream_delivered_is_left_out() -> None:
    push = Push()
    push.delivery.start()
    push.delivery.receive(b"s.1", b"elsewhere", b"x", None)
    await asyncio.sleep(0)
    assert push.batches == []
    push.delivery.close()


async def test_callbacks_that_raise_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("planted")

    loop = asyncio.get_running_loop()
    core = CoreDelivery("a", fail, loop)
    core.receive(b"a", b"", b"x", None)
    push = PushDelivery("_INBOX.x", SPEC, fail, fail, loop)
    push.receive(b"_INBOX.x", b"", b"", b"NATS/1.0 409 Consumer Deleted\r\n\r\n")
    await asyncio.sleep(0)
    assert caplog.text.count("RuntimeError: planted") == 2
