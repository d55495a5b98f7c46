"""What every adapter of the broker port guarantees when connections drop and servers die."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from zocket.broker.port import Message
from zocket.errors import Unavailable, ZocketError

if TYPE_CHECKING:
    from tests.integration.broker.conftest import World


# Outages.


async def test_a_dropped_connection_comes_back_with_its_subscriptions(world: World) -> None:
    broker, other = await world.connect(), await world.connect()
    await world.stream(broker)
    states = world.states(broker)
    ended: list[str] = []
    broker.on_connection(ended.append)()
    ear, intake = world.ear(), world.intake()
    await broker.subscribe(world.subject("core"), ear.take)
    await intake.take_over(broker, world.consumer("a.>"))
    world.cut(broker)
    await world.until(lambda: states == ["disconnected", "reconnected"], "reconnected")
    assert broker.connected
    other.send([Message(world.subject("core"), b"hello")])
    assert await world.publish(other, world.subject("a.1"), b"1") is None
    await world.until(lambda: ear.payloads == [b"hello"])
    await intake.wait(1)
    assert await world.publish(broker, world.subject("a.1"), b"2") is None
    await intake.wait(2)
    assert intake.lost == 0
    assert ended == []


async def test_an_acknowledgement_from_before_the_drop_does_not_count(world: World) -> None:
    broker = await world.connect()
    await world.stream(broker)
    states = world.states(broker)
    intake, after = world.intake(), world.intake()
    await intake.take_over(broker, world.consumer())
    await world.publish(broker, world.subject("a"), b"1")
    delivered = await intake.wait(1)
    world.cut(broker)
    await world.until(lambda: "reconnected" in states)
    broker.ack(delivered)
    await broker.drain(world.deadline_s)
    await after.take_over(broker, world.consumer())
    await after.wait(1)
    assert after.payloads == [b"1"]


async def test_every_publish_around_a_restart_finishes_exactly_once(world: World) -> None:
    await world.server_of_its_own()
    broker = await world.connect()
    states = world.states(broker)
    await world.stream(broker)
    outcomes: dict[int, list[ZocketError | None]] = {}

    def publish_next() -> None:
        number = len(outcomes)
        outcomes[number] = []
        broker.publish(world.subject("a"), b"%d" % number, f"id-{number}", outcomes[number].append)

    for _ in range(50):
        publish_next()
    await world.kill()
    for _ in range(50):
        publish_next()
        await asyncio.sleep(0)
    await world.until(lambda: "disconnected" in states)
    assert not broker.connected
    publish_next()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert [type(outcome) for outcome in outcomes[100]] == [Unavailable], "at once while disconnected"
    await world.start()
    await world.until(lambda: states[-1] == "reconnected")
    await world.stream(broker)
    for _ in range(50):
        publish_next()
    await world.until(lambda: all(outcomes.values()), "every publish is done")
    await asyncio.sleep(world.short_s)
    assert {len(outcome) for outcome in outcomes.values()} == {1}
    assert all(outcome[0] is None or isinstance(outcome[0], Unavailable) for outcome in outcomes.values())
    assert all(outcomes[number] == [None] for number in range(101, 151))


async def test_after_a_crash_streams_in_memory_are_gone_and_can_be_made_again(world: World) -> None:
    await world.server_of_its_own()
    broker = await world.connect()
    states = world.states(broker)
    stream = await world.stream(broker)
    bucket = f"b{world.name}"
    revision = await broker.put(bucket, "k", b"kept", None)
    old = world.intake()
    await old.take_over(broker, world.consumer())
    await world.publish(broker, world.subject("a"), b"1")
    delivered = await old.wait(1)
    await world.kill()
    await world.until(lambda: states == ["disconnected"])
    await world.start()
    await world.until(lambda: states == ["disconnected", "reconnected"])
    assert await broker.consumer_names(stream) == []
    entry = await broker.get(bucket, "k")
    assert entry is not None
    assert (entry.value, entry.revision) == (b"kept", revision)
    await world.stream(broker)
    new = world.intake()
    await new.take_over(broker, world.consumer())
    await world.publish(broker, world.subject("a"), b"2")
    (fresh,) = await new.wait(1)
    assert (fresh.payload, fresh.sequence) == (b"2", delivered[0].sequence)
    broker.ack(delivered)
    await broker.drain(world.deadline_s)
    await new.take_over(broker, world.consumer())
    await new.wait(2)
    assert new.payloads == [b"2", b"2"], "a stale acknowledgement must not settle another message of the same number"


async def test_a_stream_on_file_survives_a_crash(world: World) -> None:
    await world.server_of_its_own()
    broker = await world.connect()
    states = world.states(broker)
    stream = await world.stream(broker, storage="file")
    intake, after = world.intake(), world.intake()
    await intake.take_over(broker, world.consumer())
    for number in world.numbers(5):
        assert await world.publish(broker, world.subject("a"), number) is None
    broker.ack((await intake.wait(5))[:2])
    await broker.drain(world.deadline_s)
    await asyncio.sleep(world.short_s)  # the acknowledgements reach the store behind the answer to our ping
    await world.kill()
    await world.until(lambda: states == ["disconnected"])
    await world.start()
    await world.until(lambda: states == ["disconnected", "reconnected"])
    assert await broker.consumer_names(stream) == [world.consumer().name]
    await after.take_over(broker, world.consumer())
    await after.wait(3)
    assert after.payloads == world.numbers(3, first=2)
    assert await world.publish(broker, world.subject("a"), b"new") is None
    await after.wait(4)


async def test_what_was_sent_while_disconnected_leaves_afterwards(world: World) -> None:
    await world.server_of_its_own()
    broker, other = await world.connect(), await world.connect()
    ear = world.ear()
    await other.subscribe(world.subject("x"), ear.take)
    await world.kill()
    await world.until(lambda: not broker.connected and not other.connected)
    broker.send([Message(world.subject("gone"), bytes(3_000_000)) for _ in range(4)])
    broker.send([Message(world.subject("x"), number) for number in world.numbers(3)])
    with pytest.raises(Unavailable):
        await broker.request(world.subject("x"), b"", 1.0)
    with pytest.raises(Unavailable):
        await broker.get("bucket", "key")
    with pytest.raises(Unavailable):
        await world.intake().take_over(broker, world.consumer())
    await world.start()
    await world.until(lambda: broker.connected and other.connected)
    await broker.drain(world.deadline_s)
    broker.send([Message(world.subject("x"), b"after")])
    await world.until(lambda: b"after" in ear.payloads)
    # The two connections come back independently: what the first one wrote may come before the other listens again.
    assert ear.payloads in ([*world.numbers(3), b"after"], [b"after"])


async def test_a_request_under_way_fails_when_the_connection_drops(world: World) -> None:
    broker, service = await world.connect(), await world.connect()
    heard = world.ear()
    await service.subscribe(world.subject("silent"), heard.take)
    request = asyncio.ensure_future(broker.request(world.subject("silent"), b"", world.deadline_s))
    await world.until(lambda: heard.messages)
    world.cut(broker)
    with pytest.raises(Unavailable):
        async with asyncio.timeout(10):
            await request


async def test_closing_flushes_what_was_sent_and_ends_open_publishes(world: World) -> None:
    broker, other = await world.connect(), await world.connect()
    states = world.states(broker)
    await world.stream(broker)
    ear = world.ear()
    outcomes: list[ZocketError | None] = []
    await other.subscribe("elsewhere." + world.name, ear.take)
    broker.send([Message("elsewhere." + world.name, b"last words")])
    broker.publish(world.subject("a"), b"1", "one", outcomes.append)
    await broker.aclose()
    await world.until(lambda: ear.messages)
    assert len(outcomes) == 1
    assert outcomes[0] is None or isinstance(outcomes[0], Unavailable)
    assert states == ["closed"]
    assert not broker.connected
    assert isinstance(await world.publish(broker, world.subject("a"), b"1"), Unavailable)
