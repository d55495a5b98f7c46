"""What only the memory broker has: its server's switches, and that a run repeats exactly."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from zocket.broker.deliveries import LOST_AFTER_S
from zocket.broker.memory import HELD_BYTES, MemoryBroker, MemoryServer
from zocket.broker.port import ConsumerSpec, Delivered, Message, StreamSpec
from zocket.errors import Overloaded, TooLarge, Unavailable, ZocketError

if TYPE_CHECKING:
    from zocket.broker.port import Broker, ConnectionState

STREAM = StreamSpec("S", ("s.>",), "workqueue", 60.0)
CONSUMER = ConsumerSpec("S", "c", "s.>", ack_wait_s=5.0)


async def turns(count: int = 4) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def conforms(broker: MemoryBroker) -> Broker:
    """Type-checked: the memory broker is one."""
    return broker


async def test_a_broker_alone_has_a_server_of_its_own(clock: Any) -> None:
    broker = MemoryBroker(clock)
    assert conforms(broker).connected
    other = broker.server.connect()
    heard: list[Message] = []
    await other.subscribe("x", heard.extend)
    broker.send([Message("x", b"1")])
    await turns()
    assert [message.payload for message in heard] == [b"1"]


async def test_a_full_stream_is_overloaded(clock: Any) -> None:
    server = MemoryServer(clock)
    broker = server.connect()
    await broker.ensure_stream(STREAM)
    server.full_streams.add("S")
    outcomes: list[ZocketError | None] = []
    broker.publish("s.1", b"", "1", outcomes.append)
    assert outcomes == []
    await turns()
    assert isinstance(outcomes[0], Overloaded)


async def test_the_size_limit_is_the_servers(clock: Any) -> None:
    broker = MemoryServer(clock, max_payload_bytes=100).connect()
    assert broker.max_payload_bytes == 100
    outcomes: list[ZocketError | None] = []
    broker.publish("s.1", bytes(101), "1", outcomes.append)
    await turns()
    assert isinstance(outcomes[0], TooLarge)


async def test_redelivery_follows_the_clock_alone(clock: Any) -> None:
    broker = MemoryServer(clock).connect()
    await broker.ensure_stream(STREAM)
    came: list[Delivered] = []
    await broker.take_over(CONSUMER, came.extend, lambda: None)
    broker.publish("s.1", b"", "1", lambda _: None)
    await turns()
    clock.advance(4.9)
    await turns()
    assert len(came) == 1
    clock.advance(0.2)
    assert len(came) == 1
    await turns()
    assert [item.attempt for item in came] == [1, 2]


async def test_a_cut_loses_what_was_on_its_way(clock: Any) -> None:
    server = MemoryServer(clock)
    broker, other = server.connect(), server.connect()
    states: list[ConnectionState] = []
    broker.on_connection(states.append)
    heard: list[Message] = []
    outcomes: list[ZocketError | None] = []
    await broker.ensure_stream(STREAM)
    await broker.subscribe("x", heard.extend)
    other.send([Message("x", b"lost")])
    broker.publish("s.1", b"", "1", outcomes.append)
    server.cut(broker, down_s=1.0)
    assert isinstance(outcomes[0], Unavailable)
    other.send([Message("x", b"lost too")])
    await turns()
    assert heard == []
    assert states == ["disconnected"]
    clock.advance(1.0)
    assert states == ["disconnected", "reconnected"]
    other.send([Message("x", b"heard")])
    await turns()
    assert [message.payload for message in heard] == [b"heard"]


async def test_what_is_held_is_bounded_and_keeps_the_newest(clock: Any) -> None:
    server = MemoryServer(clock)
    broker, other = server.connect(), server.connect()
    heard: list[Message] = []
    await other.subscribe("x", heard.extend)
    server.cut(broker, down_s=1.0)
    for number in range(12):
        broker.send([Message("x", b"%02d" % number + bytes(1_000_000))])
    clock.advance(1.0)
    await turns()
    assert [int(message.payload[:2]) for message in heard] == list(range(4, 12))
    assert sum(len(message.payload) for message in heard) <= HELD_BYTES


async def test_a_crash_loses_memory_streams_and_keeps_files_and_keys(clock: Any) -> None:
    server = MemoryServer(clock)
    broker = server.connect()
    await broker.ensure_stream(STREAM)
    await broker.ensure_stream(StreamSpec("F", ("f.>",), "workqueue", 60.0, "file"))
    lost: list[str] = []
    await broker.take_over(CONSUMER, lambda _: None, lambda: lost.append("S"))
    await broker.take_over(ConsumerSpec("F", "c", "f.>"), lambda _: None, lambda: lost.append("F"))
    await broker.put("b", "k", b"v", None)
    server.stop()
    assert not broker.connected
    server.start(lose_memory=True)
    await turns()
    assert broker.connected
    assert (await broker.consumer_names("S"), await broker.consumer_names("F")) == ([], ["c"])
    assert await broker.get("b", "k") is not None
    assert lost == []
    clock.advance(LOST_AFTER_S)
    await turns()
    assert lost == ["S"], "as on NATS, only the missing heartbeats tell"


async def test_a_restart_without_a_crash_keeps_everything(clock: Any) -> None:
    server = MemoryServer(clock)
    broker = server.connect()
    await broker.ensure_stream(STREAM)
    came: list[Delivered] = []
    await broker.take_over(CONSUMER, came.extend, lambda: None)
    broker.publish("s.1", b"", "1", lambda _: None)
    await turns()
    server.stop()
    server.start()
    await turns()
    clock.advance(CONSUMER.ack_wait_s)
    await turns()
    assert [item.attempt for item in came] == [1, 2]


async def test_a_connection_to_a_stopped_server_comes_up_with_it(clock: Any) -> None:
    server = MemoryServer(clock)
    server.stop()
    broker = server.connect()
    assert not broker.connected
    with pytest.raises(Unavailable):
        await broker.ensure_stream(STREAM)
    server.start()
    await turns()
    assert broker.connected


async def test_drain_ends_with_its_time_or_with_the_connection(clock: Any) -> None:
    server = MemoryServer(clock)
    broker = server.connect()
    server.cut(broker, down_s=10.0)
    broker.send([Message("x", b"")])
    waiting = asyncio.ensure_future(broker.drain(3.0))
    await turns()
    assert not waiting.done()
    clock.advance(3.0)
    await waiting
    waiting = asyncio.ensure_future(broker.drain(30.0))
    await turns()
    clock.advance(8.0)
    await waiting
    assert broker.connected


async def test_a_request_ends_with_the_clock(clock: Any) -> None:
    broker = MemoryBroker(clock)
    await broker.subscribe("silent", lambda _: None)
    request = asyncio.ensure_future(broker.request("silent", b"", 5.0))
    await turns()
    clock.advance(5.0)
    with pytest.raises(Unavailable, match="5 s"):
        await request


async def test_callbacks_that_raise_are_logged(clock: Any, caplog: pytest.LogCaptureFixture) -> None:
    broker = MemoryBroker(clock)

    def fail(*_: object) -> None:
        raise RuntimeError("planted")

    broker.on_connection(fail)
    await broker.subscribe("x", fail)
    broker.send([Message("x", b"")])
    broker.publish("nowhere", b"", "1", fail)
    await turns()
    broker.server.cut(broker)
    await turns()
    assert broker.connected
    assert caplog.text.count("RuntimeError: planted") == 4


@pytest.mark.parametrize("turns_before", [0, 1])
async def test_a_pipelined_put_that_a_cut_overtakes_may_be_written_or_not(clock: Any, turns_before: int) -> None:
    server = MemoryServer(clock)
    broker, other = server.connect(), server.connect()
    outcomes: list[int | ZocketError] = []
    broker.put_pipelined("b", "k", b"1", None, outcomes.append)
    await turns(turns_before)
    server.cut(broker)
    await turns()
    assert [type(outcome) for outcome in outcomes] == [Unavailable]
    assert (await other.get("b", "k") is not None) is bool(turns_before)
