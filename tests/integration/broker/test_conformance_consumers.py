"""What every adapter of the broker port guarantees about delivery, settling and taking over."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from zocket.broker.port import ConsumerSpec
from zocket.errors import Unavailable

if TYPE_CHECKING:
    from tests.integration.broker.conftest import World


# Settling.


async def test_an_acknowledged_message_is_gone_and_the_rest_stays(world: World) -> None:
    broker = await world.connect()
    await world.stream(broker)
    intake, after = world.intake(), world.intake()
    await intake.take_over(broker, world.consumer())
    for number in world.numbers(4):
        await world.publish(broker, world.subject("a"), number)
    delivered = await intake.wait(4)
    broker.ack(delivered[:1])
    broker.ack(delivered[2:3])
    await broker.drain(world.deadline_s)
    await after.take_over(broker, world.consumer())
    await after.wait(2)
    assert after.payloads == [b"1", b"3"]


async def test_a_refused_message_comes_again_at_once_and_counts_its_attempts(world: World) -> None:
    broker = await world.connect()
    await world.stream(broker)
    intake = world.intake()
    await intake.take_over(broker, world.consumer())
    await world.publish(broker, world.subject("a"), b"1")
    for attempt in (1, 2, 3):
        delivered = await intake.wait(attempt)
        assert delivered[-1].attempt == attempt
        assert delivered[-1].sequence == 1
        broker.nak(delivered[-1:])


async def test_a_refused_message_waits_for_its_delay(world: World) -> None:
    broker = await world.connect()
    await world.stream(broker)
    intake = world.intake()
    await intake.take_over(broker, world.consumer())
    await world.publish(broker, world.subject("a"), b"1")
    started = asyncio.get_running_loop().time()
    broker.nak(await intake.wait(1), delay_s=0.4)
    await intake.wait(2)
    assert asyncio.get_running_loop().time() - started >= 0.39
    assert intake.all[1].attempt == 2


async def test_a_terminated_message_never_comes_again(world: World) -> None:
    broker = await world.connect()
    await world.stream(broker)
    intake = world.intake()
    await intake.take_over(broker, world.consumer(ack_wait_s=world.short_s))
    await world.publish(broker, world.subject("a"), b"1")
    broker.term(await intake.wait(1))
    await world.publish(broker, world.subject("a"), b"2")
    await world.until(lambda: intake.payloads.count(b"2") >= 2, "redelivery of the other")
    assert intake.payloads.count(b"1") == 1


async def test_an_unacknowledged_message_comes_again_after_the_ack_wait(world: World) -> None:
    broker = await world.connect()
    await world.stream(broker)
    intake = world.intake()
    await intake.take_over(broker, world.consumer(ack_wait_s=0.5))
    await world.publish(broker, world.subject("a"), b"1")
    await intake.wait(1)
    started = asyncio.get_running_loop().time()
    await intake.wait(2)
    assert asyncio.get_running_loop().time() - started >= 0.4
    assert [item.attempt for item in intake.all] == [1, 2]


async def test_in_progress_holds_redelivery_back(world: World) -> None:
    broker = await world.connect()
    await world.stream(broker)
    intake = world.intake()
    await intake.take_over(broker, world.consumer(ack_wait_s=1.0))
    await world.publish(broker, world.subject("a"), b"1")
    delivered = await intake.wait(1)
    loop = asyncio.get_running_loop()
    end = loop.time() + 1.5
    while loop.time() < end:
        broker.in_progress(delivered[:1])
        await asyncio.sleep(0.02)
    assert len(intake.all) == 1
    await intake.wait(2)


async def test_a_late_acknowledgement_still_counts(world: World) -> None:
    broker = await world.connect()
    await world.stream(broker)
    intake, after = world.intake(), world.intake()
    await intake.take_over(broker, world.consumer(ack_wait_s=world.short_s))
    await world.publish(broker, world.subject("a"), b"1")
    first = (await intake.wait(2))[0]
    broker.ack([first])
    await world.publish(broker, world.subject("a"), b"2")
    await broker.drain(world.deadline_s)
    await after.take_over(broker, world.consumer())
    await after.wait(1)
    assert after.payloads == [b"2"]


async def test_the_window_bounds_what_is_in_flight(world: World) -> None:
    broker = await world.connect()
    await world.stream(broker)
    intake = world.intake()
    await intake.take_over(broker, world.consumer(max_ack_pending=10))
    for number in world.numbers(25):
        await world.publish(broker, world.subject("a"), number)
    delivered = await intake.wait(10)
    await asyncio.sleep(world.short_s)
    assert len(intake.all) == 10
    broker.ack(delivered[:4])
    await intake.wait(14)
    await asyncio.sleep(world.short_s)
    assert intake.payloads == world.numbers(14)


# Taking over.


async def test_a_take_over_gets_everything_unacknowledged_at_once_and_in_order(world: World) -> None:
    old, new = await world.connect(), await world.connect()
    await world.stream(old)
    first, second = world.intake(), world.intake()
    await first.take_over(old, world.consumer())
    for number in world.numbers(50):
        await world.publish(old, world.subject("a"), number)
    delivered = await first.wait(50)
    old.ack(delivered[10:20])
    await old.drain(world.deadline_s)
    async with asyncio.timeout(10):
        await second.take_over(new, world.consumer())
        await second.wait(40)
    assert second.payloads == world.numbers(10) + world.numbers(30, first=20)
    assert {item.attempt for item in second.all} == {1}
    before = len(first.all)
    await world.publish(old, world.subject("a"), b"new")
    await second.wait(41)
    assert len(first.all) == before
    await world.until(lambda: first.lost == 1, "the old owner hears that it lost the consumer")
    assert second.lost == 0
    assert await new.consumer_names(f"S{world.name}") == [world.consumer().name]


async def test_an_acknowledgement_of_the_old_owner_counts_for_the_new_one(world: World) -> None:
    """A superseded runtime can take a call away from its successor; `gateway.dropped` is there for what follows."""
    old, new = await world.connect(), await world.connect()
    await world.stream(old)
    first, second, third = world.intake(), world.intake(), world.intake()
    await first.take_over(old, world.consumer())
    for number in world.numbers(2):
        await world.publish(old, world.subject("a"), number)
    delivered = await first.wait(2)
    await second.take_over(new, world.consumer())
    await second.wait(2)
    old.ack(delivered[:1])
    await old.drain(world.deadline_s)
    await third.take_over(new, world.consumer())
    await third.wait(1)
    assert third.payloads == [b"1"]


async def test_taking_over_again_on_the_same_connection_is_no_loss(world: World) -> None:
    broker = await world.connect()
    await world.stream(broker)
    first, second = world.intake(), world.intake()
    await first.take_over(broker, world.consumer())
    await world.publish(broker, world.subject("a"), b"1")
    await first.wait(1)
    await second.take_over(broker, world.consumer())
    await second.wait(1)
    await asyncio.sleep(world.short_s)
    assert (first.lost, second.lost) == (0, 0)
    assert len(first.all) == 1


async def test_nothing_is_delivered_before_the_take_over_has_returned(world: World) -> None:
    broker = await world.connect()
    await world.stream(broker)
    await world.publish(broker, world.subject("a"), b"1")
    intake = world.intake()
    await intake.take_over(broker, world.consumer())
    assert intake.all == []
    await intake.wait(1)


async def test_a_take_over_without_the_stream_is_unavailable(world: World) -> None:
    broker = await world.connect()
    with pytest.raises(Unavailable):
        await world.intake().take_over(broker, world.consumer())


async def test_a_consumer_only_gets_what_its_filter_matches(world: World) -> None:
    broker = await world.connect()
    await world.stream(broker)
    intake = world.intake()
    await intake.take_over(broker, world.consumer("chat.>"))
    for rest in ("chat.1", "counter.1", "chat.2", "chatty.3", "chat.a.b"):
        await world.publish(broker, world.subject(rest), rest.encode())
    await intake.wait(3)
    assert intake.payloads == [b"chat.1", b"chat.2", b"chat.a.b"]


async def test_overlapping_consumers_of_a_work_queue_are_refused(world: World) -> None:
    broker = await world.connect()
    stream = await world.stream(broker)
    await world.intake().take_over(broker, world.consumer("a.>"))
    with pytest.raises(Unavailable):
        await world.intake().take_over(broker, ConsumerSpec(stream, "another", world.subject("a.b")))
    assert await broker.consumer_names(stream) == [world.consumer().name]


async def test_closing_leaves_the_consumer_and_what_was_delivered_can_be_settled(world: World) -> None:
    broker = await world.connect()
    stream = await world.stream(broker)
    intake, after = world.intake(), world.intake()
    subscription = await intake.take_over(broker, world.consumer())
    await world.publish(broker, world.subject("a"), b"1")
    delivered = await intake.wait(1)
    await subscription.aclose()
    broker.ack(delivered)
    await world.publish(broker, world.subject("a"), b"2")
    await broker.drain(world.deadline_s)
    assert await broker.consumer_names(stream) == [world.consumer().name]
    await after.take_over(broker, world.consumer())
    await after.wait(1)
    assert after.payloads == [b"2"]
    assert len(intake.all) == 1


async def test_deleting_a_consumer_is_repeatable_and_keeps_the_messages(world: World) -> None:
    broker = await world.connect()
    stream = await world.stream(broker)
    intake = world.intake()
    await (await intake.take_over(broker, world.consumer())).aclose()
    await world.publish(broker, world.subject("a"), b"1")
    for _ in range(2):
        await broker.delete_consumer(stream, world.consumer().name)
    assert await broker.consumer_names(stream) == []
    assert await broker.consumer_names("missing") == []
    await intake.take_over(broker, world.consumer())
    await intake.wait(1)


async def test_a_deleted_consumer_is_lost_for_its_owner(world: World) -> None:
    broker, other = await world.connect(), await world.connect()
    stream = await world.stream(broker)
    intake = world.intake()
    await intake.take_over(broker, world.consumer())
    await other.delete_consumer(stream, world.consumer().name)
    await world.until(lambda: intake.lost == 1, "lost")


async def test_an_idle_consumer_is_not_lost(world: World) -> None:
    broker = await world.connect()
    await world.stream(broker)
    intake = world.intake()
    await intake.take_over(broker, world.consumer())
    await asyncio.sleep(7.5 if world.kind == "nats" else world.short_s)
    assert intake.lost == 0
