"""What every adapter of the broker port guarantees about messages, streams and keys: one body, every broker."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from zocket.broker.listing import BATCH
from zocket.broker.port import Entry, Message, StreamSpec
from zocket.errors import Conflict, TooLarge, Unavailable, UsageError, ZocketError

if TYPE_CHECKING:
    from tests.integration.broker.conftest import World


# Core messages.


async def test_core_messages_arrive_in_order(world: World) -> None:
    sender, receiver = await world.connect(), await world.connect()
    ear = world.ear()
    await receiver.subscribe(world.subject("x"), ear.take)
    for payload in world.numbers(300):
        sender.send([Message(world.subject("x"), payload)])
    await world.until(lambda: len(ear.messages) >= 300)
    assert ear.payloads == world.numbers(300)


async def test_nothing_is_delivered_inside_a_send(world: World) -> None:
    broker = await world.connect()
    ear = world.ear()
    await broker.subscribe(world.subject("x"), ear.take)
    broker.send([Message(world.subject("x"), b"1")])
    assert ear.messages == []
    await world.until(lambda: ear.messages)


async def test_wildcards_match_tokens_and_tails(world: World) -> None:
    broker = await world.connect()
    one, tail, exact = world.ear(), world.ear(), world.ear()
    await broker.subscribe(world.subject("a.*.c"), one.take)
    await broker.subscribe(world.subject("a.>"), tail.take)
    await broker.subscribe(world.subject("a.b"), exact.take)
    for rest in ("a.b", "a.b.c", "a.b.c.d", "a", "b.b.c"):
        broker.send([Message(world.subject(rest), rest.encode())])
    broker.send([Message(world.subject("a.end"), b"end")])
    await world.until(lambda: b"end" in tail.payloads)
    assert one.payloads == [b"a.b.c"]
    assert tail.payloads == [b"a.b", b"a.b.c", b"a.b.c.d", b"end"]
    assert exact.payloads == [b"a.b"]


async def test_unusual_token_bytes_are_plain_text(world: World) -> None:
    broker = await world.connect()
    stream = await world.stream(broker)
    token = "%24a$b\"c|d~e{f}\\g'h`i"
    ear, intake = world.ear(), world.intake()
    await broker.subscribe(world.subject(token), ear.take)
    await intake.take_over(broker, world.consumer())
    assert await world.publish(broker, world.subject(token), b"1") is None
    await world.until(lambda: ear.messages)
    (delivered,) = await intake.wait(1)
    assert delivered.subject == ear.messages[0].subject == world.subject(token)
    assert stream == f"S{world.name}"


async def test_a_subject_that_could_end_the_command_line_is_refused(world: World) -> None:
    broker = await world.connect()
    for subject in ("", "a b", "a\r\nPUB b 0\r\n", "a\tb", "a\x00"):
        with pytest.raises(UsageError):
            broker.send([Message(subject, b"")])
        with pytest.raises(UsageError):
            broker.publish(subject, b"", "id", lambda _: None)
    with pytest.raises(UsageError):
        broker.publish("a", b"", "id\r\nX: y", lambda _: None)


async def test_an_overlong_subject_is_too_large_and_the_connection_lives(world: World) -> None:
    broker = await world.connect()
    states = world.states(broker)
    assert isinstance(await world.publish(broker, "a" * 5_000, b""), TooLarge)
    broker.send([Message("a" * 5_000, b"")])
    await broker.drain(world.deadline_s)
    assert broker.connected
    assert states == []


async def test_a_closed_subscription_is_silent(world: World) -> None:
    broker = await world.connect()
    ear, other = world.ear(), world.ear()
    subscription = await broker.subscribe(world.subject("x"), ear.take)
    await broker.subscribe(world.subject("x"), other.take)
    await subscription.aclose()
    broker.send([Message(world.subject("x"), b"1")])
    await world.until(lambda: other.messages)
    assert ear.messages == []


async def test_a_callback_that_raises_is_logged_and_the_next_one_comes(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    broker = await world.connect()
    ear = world.ear()

    def fail_once(batch: list[Message]) -> None:
        ear.take(batch)
        if len(ear.messages) == 1:
            raise RuntimeError("planted")

    await broker.subscribe(world.subject("x"), fail_once)
    broker.send([Message(world.subject("x"), b"1")])
    await world.until(lambda: ear.messages)
    broker.send([Message(world.subject("x"), b"2")])
    await world.until(lambda: len(ear.messages) == 2)
    assert "planted" in caplog.text


async def test_a_request_is_answered(world: World) -> None:
    broker, service = await world.connect(), await world.connect()
    await service.subscribe(
        world.subject("double"),
        lambda batch: service.send([Message(item.reply, item.payload * 2) for item in batch]),
    )
    answers = await asyncio.gather(
        *[broker.request(world.subject("double"), n, world.deadline_s) for n in world.numbers(20)]
    )
    assert answers == [n * 2 for n in world.numbers(20)]


async def test_a_request_that_nobody_hears_fails_at_once(world: World) -> None:
    broker = await world.connect()
    async with asyncio.timeout(10):
        with pytest.raises(Unavailable, match="nobody listens"):
            await broker.request(world.subject("nobody"), b"", world.deadline_s)


async def test_a_request_without_an_answer_ends_with_its_time_limit(world: World) -> None:
    broker = await world.connect()
    await broker.subscribe(world.subject("silent"), lambda _: None)
    with pytest.raises(Unavailable, match="no answer"):
        await broker.request(world.subject("silent"), b"", world.short_s)


# Publishing into streams.


async def test_published_messages_are_acknowledged_and_delivered_in_order(world: World) -> None:
    broker = await world.connect()
    await world.stream(broker)
    outcomes: list[ZocketError | None] = []
    for number in world.numbers(500):
        broker.publish(world.subject("a.1"), number, f"id-{number.decode()}", outcomes.append)
    assert broker.outstanding == 500
    assert outcomes == []
    intake = world.intake()
    await intake.take_over(broker, world.consumer(max_ack_pending=1000))
    await intake.wait(500)
    assert intake.payloads == world.numbers(500)
    assert [item.sequence for item in intake.all] == list(range(1, 501))
    assert {item.attempt for item in intake.all} == {1}
    await broker.drain(world.deadline_s)
    assert outcomes == [None] * 500
    assert broker.outstanding == 0


async def test_many_messages_come_as_few_lists(world: World) -> None:
    broker = await world.connect()
    await world.stream(broker)
    for number in world.numbers(200):
        broker.publish(world.subject("a.1"), number, f"id-{number.decode()}", lambda _: None)
    await broker.drain(world.deadline_s)
    intake = world.intake()
    await intake.take_over(broker, world.consumer())
    await intake.wait(200)
    assert len(intake.batches) < 50


async def test_a_repeated_message_id_is_stored_once_and_is_no_error(world: World) -> None:
    broker = await world.connect()
    await world.stream(broker)
    assert await world.publish(broker, world.subject("a"), b"1", "same") is None
    assert await world.publish(broker, world.subject("a"), b"2", "same") is None
    assert await world.publish(broker, world.subject("a"), b"3", "other") is None
    intake = world.intake()
    await intake.take_over(broker, world.consumer())
    await intake.wait(2)
    assert intake.payloads == [b"1", b"3"]


async def test_a_message_id_counts_after_its_message_was_settled(world: World) -> None:
    broker = await world.connect()
    await world.stream(broker)
    intake = world.intake()
    await intake.take_over(broker, world.consumer())
    assert await world.publish(broker, world.subject("a"), b"1", "same") is None
    broker.ack(await intake.wait(1))
    await broker.drain(world.deadline_s)
    assert await world.publish(broker, world.subject("a"), b"1", "same") is None
    assert await world.publish(broker, world.subject("a"), b"2", "other") is None
    await intake.wait(2)
    assert intake.payloads == [b"1", b"2"]


async def test_publishing_where_no_stream_captures_is_unavailable(world: World) -> None:
    broker = await world.connect()
    outcome = await world.publish(broker, world.subject("nowhere"), b"1")
    assert isinstance(outcome, Unavailable)
    assert "no stream" in outcome.message


async def test_a_message_over_the_limit_is_too_large_and_the_connection_lives(world: World) -> None:
    broker = await world.connect()
    await world.stream(broker)
    states = world.states(broker)
    ear = world.ear()
    await broker.subscribe(world.subject("a"), ear.take)
    oversize = bytes(8 * 1024 * 1024 + 1)
    assert isinstance(await world.publish(broker, world.subject("a"), oversize), TooLarge)
    assert isinstance(await world.publish(broker, world.subject("a"), oversize[:-1]), TooLarge), "the header counts too"
    broker.send([Message(world.subject("a"), oversize), Message(world.subject("a"), b"small")])
    await world.until(lambda: ear.messages)
    assert ear.payloads == [b"small"]
    assert states == []


async def test_a_core_subscription_hears_what_a_stream_captures(world: World) -> None:
    broker = await world.connect()
    await world.stream(broker, retention="limits")
    ear, intake = world.ear(), world.intake()
    await broker.subscribe(world.subject("a"), ear.take)
    broker.send([Message(world.subject("a"), b"core")])
    assert await world.publish(broker, world.subject("a"), b"acknowledged") is None
    await world.until(lambda: len(ear.messages) == 2)
    await intake.take_over(broker, world.consumer())
    await intake.wait(2)
    assert intake.payloads == ear.payloads == [b"core", b"acknowledged"]


async def test_ensuring_a_stream_leaves_an_existing_one_as_it_is(world: World) -> None:
    broker = await world.connect()
    await world.stream(broker)
    await world.publish(broker, world.subject("a"), b"kept")
    await broker.ensure_stream(StreamSpec(f"S{world.name}", ("elsewhere.>",), "limits", 5.0, "file"))
    assert await world.publish(broker, world.subject("a"), b"still") is None
    intake = world.intake()
    await intake.take_over(broker, world.consumer())
    await intake.wait(2)


async def test_a_stream_that_overlaps_with_another_is_refused(world: World) -> None:
    broker = await world.connect()
    await world.stream(broker)
    with pytest.raises(Unavailable, match="overlap"):
        await broker.ensure_stream(StreamSpec(f"T{world.name}", (world.subject("a.*"),), "limits", 5.0))


# Key-value.


async def test_a_key_is_written_only_over_the_expected_revision(world: World) -> None:
    broker = await world.connect()
    bucket, key = f"b{world.name}", "ws.proj"
    assert await broker.get(bucket, key) is None
    first = await broker.put(bucket, key, b"1", None)
    with pytest.raises(Conflict):
        await broker.put(bucket, key, b"2", None)
    second = await broker.put(bucket, key, b"2", first)
    with pytest.raises(Conflict):
        await broker.put(bucket, key, b"3", first)
    entry = await broker.get(bucket, key)
    assert entry is not None
    assert (entry.value, entry.revision) == (b"2", second)
    with pytest.raises(Conflict):
        await broker.delete(bucket, key, first)
    await broker.delete(bucket, key, second)
    assert await broker.get(bucket, key) is None
    third = await broker.put(bucket, key, b"", None)
    assert third > second
    entry = await broker.get(bucket, key)
    assert entry is not None
    assert entry.value == b""
    with pytest.raises(Conflict):
        await broker.put(bucket, key, b"4", None)


async def test_of_many_writers_at_once_exactly_one_wins(world: World) -> None:
    brokers = [await world.connect() for _ in range(4)]
    bucket = f"b{world.name}"
    expected: int | None = None
    for _ in range(3):
        outcomes = await asyncio.gather(
            *[broker.put(bucket, "k", b"%d" % n, expected) for n, broker in enumerate(brokers) for _ in range(5)],
            return_exceptions=True,
        )
        won = [outcome for outcome in outcomes if isinstance(outcome, int)]
        assert len(won) == 1
        assert all(isinstance(outcome, (int, Conflict)) for outcome in outcomes)
        expected = won[0]


async def test_a_bucket_is_made_also_while_somebody_listens_to_everything(world: World) -> None:
    """A server says that nobody answers only where nobody listens; a person who debugs listens to `>`."""
    broker, listener = await world.connect(), await world.connect()
    await listener.subscribe(">", lambda _: None)
    assert await broker.put(f"heard{world.name}", "k", b"1", None) > 0
    another = await world.connect()
    outcomes = await asyncio.gather(
        *(world.put(another, f"pipelined{world.name}", f"k{number}", b"1", None) for number in range(3))
    )
    assert all(isinstance(outcome, int) for outcome in outcomes), outcomes


async def test_keys_of_a_bucket_are_listed_by_their_beginning(world: World) -> None:
    broker = await world.connect()
    bucket = f"listed{world.name}"
    assert await broker.keys(bucket, "a") == []
    for key in ("a.one", "a.two.three", "ab.four", "b.five"):
        await broker.put(bucket, key, b"x", None)
    assert sorted(await broker.keys(bucket, "a")) == ["a.one", "a.two.three"]
    assert await broker.keys(bucket, "c") == []
    assert sorted(await broker.keys(bucket)) == ["a.one", "a.two.three", "ab.four", "b.five"]


async def test_the_entries_of_a_bucket_are_read_as_they_were_last_written(world: World) -> None:
    broker, other = await world.connect(), await world.connect()
    bucket = f"entries{world.name}"
    assert [entry async for page in broker.entries(bucket) for entry in page] == []
    count = BATCH + 200
    revisions = await asyncio.gather(*(other.put(bucket, f"k.{number}", b"1", None) for number in range(count)))
    again = await other.put(bucket, "k.0", b"2", revisions[0])
    await other.delete(bucket, "k.1", revisions[1])
    found = dict([entry async for page in broker.entries(bucket) for entry in page])
    expected = {f"k.{number}": Entry(b"1", revision) for number, revision in enumerate(revisions)}
    del expected["k.1"]
    assert found == expected | {"k.0": Entry(b"2", again)}
    await other.delete(bucket, "k.2", revisions[2])
    assert len([entry async for page in broker.entries(bucket) for entry in page]) == count - 2, "the last one is gone"


async def test_the_life_of_a_stream_has_a_name_of_its_own(world: World) -> None:
    broker = await world.connect()
    name = f"LIFE{world.name}"
    assert await broker.stream_info(name) is None
    await broker.ensure_stream(StreamSpec(name, (f"{name}.>",), "limits", 60.0, "file"))
    first = await broker.stream_info(name)
    await broker.ensure_stream(StreamSpec(name, (f"{name}.>",), "limits", 60.0, "memory"))
    assert first is not None
    assert first.storage == "file"
    assert await broker.stream_info(name) == first


async def test_keys_do_not_disturb_each_other(world: World) -> None:
    broker = await world.connect()
    bucket = f"b{world.name}"
    await broker.put(bucket, "a", b"1", None)
    await broker.put(bucket, "a.b", b"2", None)
    with pytest.raises(Conflict):
        await broker.put(bucket, "c", b"3", 1)
    with pytest.raises(Conflict):
        await broker.delete(bucket, "c", 1)
    with pytest.raises(UsageError):
        await broker.put(bucket, "a*", b"", None)
    entry = await broker.get(bucket, "a")
    assert entry is not None
    assert entry.value == b"1"


# Pipelined puts.


async def test_a_pipelined_put_writes_only_over_the_expected_revision(world: World) -> None:
    broker = await world.connect()
    bucket = f"b{world.name}"
    first = await world.put(broker, bucket, "k", b"1", None)
    assert isinstance(first, int), "also where the bucket did not exist"
    assert isinstance(await world.put(broker, bucket, "k", b"2", None), Conflict)
    second = await world.put(broker, bucket, "k", b"2", first)
    assert isinstance(second, int)
    assert second > first
    assert isinstance(await world.put(broker, bucket, "k", b"3", first), Conflict)
    assert await broker.get(bucket, "k") == Entry(b"2", second)


async def test_a_pipelined_put_makes_a_deleted_key_anew(world: World) -> None:
    broker = await world.connect()
    bucket = f"b{world.name}"
    first = await broker.put(bucket, "k", b"1", None)
    await broker.delete(bucket, "k", first)
    assert isinstance(await world.put(broker, bucket, "k", b"2", first), Conflict)
    second = await world.put(broker, bucket, "k", b"2", None)
    assert isinstance(second, int)
    assert await broker.get(bucket, "k") == Entry(b"2", second)


async def test_pipelined_puts_of_one_key_are_taken_in_order(world: World) -> None:
    broker = await world.connect()
    bucket = f"b{world.name}"
    first = await broker.put(bucket, "k", b"0", None)
    outcomes: list[int | ZocketError] = []
    for value in (b"1", b"2", b"3"):
        broker.put_pipelined(bucket, "k", value, first, outcomes.append)
    broker.put_pipelined(bucket, "other", b"4", None, outcomes.append)
    assert broker.outstanding == 4
    await world.until(lambda: len(outcomes) == 4)
    assert [type(outcome) for outcome in outcomes] == [int, Conflict, Conflict, int]
    assert broker.outstanding == 0
    entry = await broker.get(bucket, "k")
    assert entry is not None
    assert entry.value == b"1"


async def test_of_many_pipelined_writers_exactly_one_wins(world: World) -> None:
    brokers = [await world.connect() for _ in range(4)]
    bucket = f"b{world.name}"
    expected: int | None = None
    for _ in range(3):
        outcomes = await asyncio.gather(
            *[world.put(broker, bucket, "k", b"%d" % n, expected) for n, broker in enumerate(brokers) for _ in range(5)]
        )
        won = [outcome for outcome in outcomes if isinstance(outcome, int)]
        assert len(won) == 1
        assert all(isinstance(outcome, (int, Conflict)) for outcome in outcomes)
        expected = won[0]


async def test_a_pipelined_put_that_cannot_be_made_is_answered_with_why(world: World) -> None:
    broker = await world.connect()
    bucket = f"b{world.name}"
    whole = bytes(broker.max_payload_bytes)
    assert isinstance(await world.put(broker, bucket, "k", whole, None), TooLarge), "the header counts too"
    with pytest.raises(UsageError):
        broker.put_pipelined(bucket, "a*", b"", None, lambda outcome: None)
    await broker.aclose()
    assert isinstance(await world.put(broker, bucket, "k", b"1", None), Unavailable)


async def test_pipelined_puts_under_way_when_the_connection_drops_are_unavailable_once(world: World) -> None:
    broker = await world.connect()
    bucket = f"b{world.name}"
    first = await broker.put(bucket, "k", b"0", None)
    outcomes: list[int | ZocketError] = []
    broker.put_pipelined(bucket, "k", b"1", first, outcomes.append)
    world.cut(broker)
    await world.until(lambda: outcomes and broker.connected)
    assert [type(outcome) for outcome in outcomes] == [Unavailable]
    again = await world.put(broker, bucket, "k", b"1", first)
    entry = await broker.get(bucket, "k")
    assert entry is not None
    assert entry.value == b"1"
    assert isinstance(again, Conflict) if entry.revision != again else True
    assert len(outcomes) == 1


# Stored messages, read without a consumer.


async def test_stored_messages_are_read_in_order_by_subject_and_deleted_one_by_one(world: World) -> None:
    broker = await world.connect()
    stream = await world.stream(broker, retention="limits", storage="file")
    info = await broker.stream_info(stream)
    assert info is not None
    assert info.last_sequence == 0
    for number in range(6):
        await world.publish(broker, world.subject("even.x" if number % 2 == 0 else "odd.x"), b"%d" % number)
    info = await broker.stream_info(stream)
    assert info is not None
    assert info.last_sequence == 6
    first = await broker.next_message(stream, world.subject("odd.>"), 1)
    assert first is not None
    assert (first.subject, first.payload, first.sequence) == (world.subject("odd.x"), b"1", 2)
    second = await broker.next_message(stream, world.subject("odd.>"), first.sequence + 1)
    assert second is not None
    assert second.payload == b"3"
    await broker.delete_message(stream, second.sequence)
    third = await broker.next_message(stream, world.subject("odd.>"), first.sequence + 1)
    assert third is not None
    assert third.payload == b"5"
    assert await broker.next_message(stream, world.subject("odd.>"), 7) is None
    info = await broker.stream_info(stream)
    assert info is not None
    assert info.last_sequence == 6


async def test_deleting_what_is_not_there_is_no_error(world: World) -> None:
    broker = await world.connect()
    stream = await world.stream(broker, retention="limits", storage="file")
    await world.publish(broker, world.subject("x"), b"1")
    for sequence in (1, 1, 99):
        await broker.delete_message(stream, sequence)
    await broker.delete_message(f"{stream}-missing", 1)
    assert await broker.next_message(stream, world.subject(">"), 1) is None
    assert await broker.next_message(f"{stream}-missing", world.subject(">"), 1) is None
