"""What every adapter of the broker port guarantees: the same bodies on the memory broker and on a real NATS server."""

from __future__ import annotations

import asyncio
import functools
import secrets
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, cast

import pytest
import uvloop

from zocket.broker.memory import MemoryBroker, MemoryServer
from zocket.broker.nats import NatsBroker
from zocket.broker.port import ConsumerSpec, Delivered, Message, StreamSpec
from zocket.broker.server import NatsServer
from zocket.clock import SystemClock
from zocket.errors import Conflict, TooLarge, Unavailable, UsageError, ZocketError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from zocket.broker.port import Broker, ConnectionState

DEADLINE_S = 15.0
SHORT_S = 0.3
"""Long enough to see that nothing comes."""


async def until(condition: Callable[[], object], what: str = "condition") -> None:
    try:
        async with asyncio.timeout(DEADLINE_S):
            while not condition():  # noqa: ASYNC110 — a condition of any kind
                await asyncio.sleep(0.002)
    except TimeoutError:
        raise AssertionError(f"{what}: not within {DEADLINE_S} s") from None


class World:
    """Connections of one test to one server, and what can befall them."""

    def __init__(self, kind: str, shared: NatsServer | None) -> None:
        self.kind = kind
        self.shared = shared
        self.own: NatsServer | None = None
        self.memory: MemoryServer | None = None
        self.name = "t" + secrets.token_hex(4)
        self.stack = AsyncExitStack()

    def run(self, coroutine: Coroutine[Any, Any, None]) -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop if self.kind == "nats-uvloop" else None) as runner:
            runner.run(self._guarded(coroutine))

    async def _guarded(self, coroutine: Coroutine[Any, Any, None]) -> None:
        async with self.stack:
            await coroutine

    async def server_of_its_own(self) -> None:
        if self.kind != "memory":
            self.own = await self.stack.enter_async_context(NatsServer())

    async def connect(self) -> Broker:
        broker: NatsBroker | MemoryBroker
        if self.kind == "memory":
            self.memory = self.memory or MemoryServer(SystemClock())
            broker = self.memory.connect()
        else:
            server = self.own or self.shared
            assert server is not None
            broker = await NatsBroker.open(server.url, name="conformance", boot_timeout_s=5)
        self.stack.push_async_callback(broker.aclose)
        return broker

    async def kill(self) -> None:
        if self.memory is not None:
            self.memory.stop()
        else:
            assert self.own is not None
            await self.own.kill()

    async def start(self) -> None:
        if self.memory is not None:
            self.memory.start(lose_memory=True)
        else:
            assert self.own is not None
            await self.own.start()

    def cut(self, broker: Broker) -> None:
        if self.memory is not None:
            self.memory.cut(cast("MemoryBroker", broker))
        else:
            connection = cast("NatsBroker", broker)._connection
            assert connection is not None
            connection._transport._io_writer.transport.abort()  # type: ignore[union-attr]

    def subject(self, rest: str) -> str:
        return f"{self.name}.{rest}"

    async def stream(self, broker: Broker, *, retention: Any = "workqueue", storage: str = "memory") -> str:
        name = f"S{self.name}"
        await broker.ensure_stream(StreamSpec(name, (self.subject(">"),), retention, 60.0, storage))
        return name

    def consumer(self, rest: str = ">", **options: Any) -> ConsumerSpec:
        return ConsumerSpec(f"S{self.name}", f"c-{self.name}", self.subject(rest), **options)


@pytest.fixture(
    params=[
        "memory",
        pytest.param("nats", marks=pytest.mark.nats),
        pytest.param("nats-uvloop", marks=pytest.mark.nats),
    ]
)
def world(request: pytest.FixtureRequest) -> World:
    kind = cast("str", request.param)
    return World(kind, None if kind == "memory" else request.getfixturevalue("nats_server"))


def in_world(body: Callable[[World], Coroutine[Any, Any, None]]) -> Callable[[World], None]:
    @functools.wraps(body)
    def test(world: World) -> None:
        world.run(body(world))

    return test


async def publish(broker: Broker, subject: str, payload: bytes, message_id: str = "") -> ZocketError | None:
    outcome: asyncio.Future[ZocketError | None] = asyncio.get_running_loop().create_future()
    broker.publish(subject, payload, message_id or secrets.token_hex(8), outcome.set_result)
    async with asyncio.timeout(DEADLINE_S):
        return await outcome


class Intake:
    """A consumer that remembers what came."""

    def __init__(self) -> None:
        self.batches: list[list[Delivered]] = []
        self.lost = 0

    def take(self, batch: list[Delivered]) -> None:
        self.batches.append(batch)

    def note_lost(self) -> None:
        self.lost += 1

    @property
    def all(self) -> list[Delivered]:
        return [item for batch in self.batches for item in batch]

    @property
    def payloads(self) -> list[bytes]:
        return [item.payload for item in self.all]

    async def wait(self, count: int) -> list[Delivered]:
        await until(lambda: len(self.all) >= count, f"{count} deliveries, {len(self.all)} came")
        return self.all

    async def take_over(self, broker: Broker, spec: ConsumerSpec) -> Any:
        return await broker.take_over(spec, self.take, self.note_lost)


class Ear:
    """A core subscription that remembers what came."""

    def __init__(self) -> None:
        self.messages: list[Message] = []

    def take(self, batch: list[Message]) -> None:
        self.messages += batch

    @property
    def payloads(self) -> list[bytes]:
        return [message.payload for message in self.messages]


def numbers(count: int, first: int = 0) -> list[bytes]:
    return [b"%d" % number for number in range(first, first + count)]


# Core messages.


@in_world
async def test_core_messages_arrive_in_order(world: World) -> None:
    sender, receiver = await world.connect(), await world.connect()
    ear = Ear()
    await receiver.subscribe(world.subject("x"), ear.take)
    for payload in numbers(300):
        sender.send([Message(world.subject("x"), payload)])
    await until(lambda: len(ear.messages) >= 300)
    assert ear.payloads == numbers(300)


@in_world
async def test_nothing_is_delivered_inside_a_send(world: World) -> None:
    broker = await world.connect()
    ear = Ear()
    await broker.subscribe(world.subject("x"), ear.take)
    broker.send([Message(world.subject("x"), b"1")])
    assert ear.messages == []
    await until(lambda: ear.messages)


@in_world
async def test_wildcards_match_tokens_and_tails(world: World) -> None:
    broker = await world.connect()
    one, tail, exact = Ear(), Ear(), Ear()
    await broker.subscribe(world.subject("a.*.c"), one.take)
    await broker.subscribe(world.subject("a.>"), tail.take)
    await broker.subscribe(world.subject("a.b"), exact.take)
    for rest in ("a.b", "a.b.c", "a.b.c.d", "a", "b.b.c"):
        broker.send([Message(world.subject(rest), rest.encode())])
    broker.send([Message(world.subject("a.end"), b"end")])
    await until(lambda: b"end" in tail.payloads)
    assert one.payloads == [b"a.b.c"]
    assert tail.payloads == [b"a.b", b"a.b.c", b"a.b.c.d", b"end"]
    assert exact.payloads == [b"a.b"]


@in_world
async def test_unusual_token_bytes_are_plain_text(world: World) -> None:
    broker = await world.connect()
    stream = await world.stream(broker)
    token = "%24a$b\"c|d~e{f}\\g'h`i"
    ear, intake = Ear(), Intake()
    await broker.subscribe(world.subject(token), ear.take)
    await intake.take_over(broker, world.consumer())
    assert await publish(broker, world.subject(token), b"1") is None
    await until(lambda: ear.messages)
    (delivered,) = await intake.wait(1)
    assert delivered.subject == ear.messages[0].subject == world.subject(token)
    assert stream == f"S{world.name}"


@in_world
async def test_a_subject_that_could_end_the_command_line_is_refused(world: World) -> None:
    broker = await world.connect()
    for subject in ("", "a b", "a\r\nPUB b 0\r\n", "a\tb", "a\x00"):
        with pytest.raises(UsageError):
            broker.send([Message(subject, b"")])
        with pytest.raises(UsageError):
            broker.publish(subject, b"", "id", lambda _: None)
    with pytest.raises(UsageError):
        broker.publish("a", b"", "id\r\nX: y", lambda _: None)


@in_world
async def test_an_overlong_subject_is_too_large_and_the_connection_lives(world: World) -> None:
    broker = await world.connect()
    states: list[ConnectionState] = []
    broker.on_connection(states.append)
    assert isinstance(await publish(broker, "a" * 5_000, b""), TooLarge)
    broker.send([Message("a" * 5_000, b"")])
    await broker.drain(DEADLINE_S)
    assert broker.connected
    assert states == []


@in_world
async def test_a_closed_subscription_is_silent(world: World) -> None:
    broker = await world.connect()
    ear, other = Ear(), Ear()
    subscription = await broker.subscribe(world.subject("x"), ear.take)
    await broker.subscribe(world.subject("x"), other.take)
    await subscription.aclose()
    broker.send([Message(world.subject("x"), b"1")])
    await until(lambda: other.messages)
    assert ear.messages == []


@in_world
async def test_a_callback_that_raises_is_logged_and_the_next_one_comes(world: World) -> None:
    broker = await world.connect()
    ear = Ear()

    def fail_once(batch: list[Message]) -> None:
        ear.take(batch)
        if len(ear.messages) == 1:
            raise RuntimeError("planted")

    await broker.subscribe(world.subject("x"), fail_once)
    broker.send([Message(world.subject("x"), b"1")])
    await until(lambda: ear.messages)
    broker.send([Message(world.subject("x"), b"2")])
    await until(lambda: len(ear.messages) == 2)


@in_world
async def test_a_request_is_answered(world: World) -> None:
    broker, service = await world.connect(), await world.connect()
    await service.subscribe(
        world.subject("double"),
        lambda batch: service.send([Message(item.reply, item.payload * 2) for item in batch]),
    )
    answers = await asyncio.gather(*[broker.request(world.subject("double"), n, DEADLINE_S) for n in numbers(20)])
    assert answers == [n * 2 for n in numbers(20)]


@in_world
async def test_a_request_that_nobody_hears_fails_at_once(world: World) -> None:
    broker = await world.connect()
    async with asyncio.timeout(2):
        with pytest.raises(Unavailable, match="nobody listens"):
            await broker.request(world.subject("nobody"), b"", DEADLINE_S)


@in_world
async def test_a_request_without_an_answer_ends_with_its_time_limit(world: World) -> None:
    broker = await world.connect()
    await broker.subscribe(world.subject("silent"), lambda _: None)
    with pytest.raises(Unavailable, match="no answer"):
        await broker.request(world.subject("silent"), b"", SHORT_S)


# Publishing into streams.


@in_world
async def test_published_messages_are_acknowledged_and_delivered_in_order(world: World) -> None:
    broker = await world.connect()
    await world.stream(broker)
    outcomes: list[ZocketError | None] = []
    for number in numbers(500):
        broker.publish(world.subject("a.1"), number, f"id-{number.decode()}", outcomes.append)
    assert broker.outstanding == 500
    assert outcomes == []
    intake = Intake()
    await intake.take_over(broker, world.consumer(max_ack_pending=1000))
    await intake.wait(500)
    assert intake.payloads == numbers(500)
    assert [item.sequence for item in intake.all] == list(range(1, 501))
    assert {item.attempt for item in intake.all} == {1}
    await broker.drain(DEADLINE_S)
    assert outcomes == [None] * 500
    assert broker.outstanding == 0


@in_world
async def test_many_messages_come_as_few_lists(world: World) -> None:
    broker = await world.connect()
    await world.stream(broker)
    for number in numbers(200):
        broker.publish(world.subject("a.1"), number, f"id-{number.decode()}", lambda _: None)
    await broker.drain(DEADLINE_S)
    intake = Intake()
    await intake.take_over(broker, world.consumer())
    await intake.wait(200)
    assert len(intake.batches) < 50


@in_world
async def test_a_repeated_message_id_is_stored_once_and_is_no_error(world: World) -> None:
    broker = await world.connect()
    await world.stream(broker)
    assert await publish(broker, world.subject("a"), b"1", "same") is None
    assert await publish(broker, world.subject("a"), b"2", "same") is None
    assert await publish(broker, world.subject("a"), b"3", "other") is None
    intake = Intake()
    await intake.take_over(broker, world.consumer())
    await intake.wait(2)
    assert intake.payloads == [b"1", b"3"]


@in_world
async def test_a_message_id_counts_after_its_message_was_settled(world: World) -> None:
    broker = await world.connect()
    await world.stream(broker)
    intake = Intake()
    await intake.take_over(broker, world.consumer())
    assert await publish(broker, world.subject("a"), b"1", "same") is None
    broker.ack(await intake.wait(1))
    await broker.drain(DEADLINE_S)
    assert await publish(broker, world.subject("a"), b"1", "same") is None
    assert await publish(broker, world.subject("a"), b"2", "other") is None
    await intake.wait(2)
    assert intake.payloads == [b"1", b"2"]


@in_world
async def test_publishing_where_no_stream_captures_is_unavailable(world: World) -> None:
    broker = await world.connect()
    outcome = await publish(broker, world.subject("nowhere"), b"1")
    assert isinstance(outcome, Unavailable)
    assert "no stream" in outcome.message


@in_world
async def test_a_message_over_the_limit_is_too_large_and_the_connection_lives(world: World) -> None:
    broker = await world.connect()
    await world.stream(broker)
    states: list[ConnectionState] = []
    broker.on_connection(states.append)
    ear = Ear()
    await broker.subscribe(world.subject("a"), ear.take)
    oversize = bytes(8 * 1024 * 1024 + 1)
    assert isinstance(await publish(broker, world.subject("a"), oversize), TooLarge)
    assert isinstance(await publish(broker, world.subject("a"), oversize[:-1]), TooLarge), "the header counts too"
    broker.send([Message(world.subject("a"), oversize), Message(world.subject("a"), b"small")])
    await until(lambda: ear.messages)
    assert ear.payloads == [b"small"]
    assert states == []


@in_world
async def test_a_core_subscription_hears_what_a_stream_captures(world: World) -> None:
    broker = await world.connect()
    await world.stream(broker, retention="limits")
    ear, intake = Ear(), Intake()
    await broker.subscribe(world.subject("a"), ear.take)
    broker.send([Message(world.subject("a"), b"core")])
    assert await publish(broker, world.subject("a"), b"acknowledged") is None
    await until(lambda: len(ear.messages) == 2)
    await intake.take_over(broker, world.consumer())
    await intake.wait(2)
    assert intake.payloads == ear.payloads == [b"core", b"acknowledged"]


@in_world
async def test_ensuring_a_stream_leaves_an_existing_one_as_it_is(world: World) -> None:
    broker = await world.connect()
    await world.stream(broker)
    await publish(broker, world.subject("a"), b"kept")
    await broker.ensure_stream(StreamSpec(f"S{world.name}", ("elsewhere.>",), "limits", 5.0, "file"))
    assert await publish(broker, world.subject("a"), b"still") is None
    intake = Intake()
    await intake.take_over(broker, world.consumer())
    await intake.wait(2)


@in_world
async def test_a_stream_that_overlaps_with_another_is_refused(world: World) -> None:
    broker = await world.connect()
    await world.stream(broker)
    with pytest.raises(Unavailable, match="overlap"):
        await broker.ensure_stream(StreamSpec(f"T{world.name}", (world.subject("a.*"),), "limits", 5.0))


# Settling.


@in_world
async def test_an_acknowledged_message_is_gone_and_the_rest_stays(world: World) -> None:
    broker = await world.connect()
    await world.stream(broker)
    intake, after = Intake(), Intake()
    await intake.take_over(broker, world.consumer())
    for number in numbers(4):
        await publish(broker, world.subject("a"), number)
    delivered = await intake.wait(4)
    broker.ack(delivered[:1])
    broker.ack(delivered[2:3])
    await broker.drain(DEADLINE_S)
    await after.take_over(broker, world.consumer())
    await after.wait(2)
    assert after.payloads == [b"1", b"3"]


@in_world
async def test_a_refused_message_comes_again_at_once_and_counts_its_attempts(world: World) -> None:
    broker = await world.connect()
    await world.stream(broker)
    intake = Intake()
    await intake.take_over(broker, world.consumer())
    await publish(broker, world.subject("a"), b"1")
    for attempt in (1, 2, 3):
        delivered = await intake.wait(attempt)
        assert delivered[-1].attempt == attempt
        assert delivered[-1].sequence == 1
        broker.nak(delivered[-1:])


@in_world
async def test_a_refused_message_waits_for_its_delay(world: World) -> None:
    broker = await world.connect()
    await world.stream(broker)
    intake = Intake()
    await intake.take_over(broker, world.consumer())
    await publish(broker, world.subject("a"), b"1")
    started = asyncio.get_running_loop().time()
    broker.nak(await intake.wait(1), delay_s=0.4)
    await intake.wait(2)
    assert asyncio.get_running_loop().time() - started >= 0.39
    assert intake.all[1].attempt == 2


@in_world
async def test_a_terminated_message_never_comes_again(world: World) -> None:
    broker = await world.connect()
    await world.stream(broker)
    intake = Intake()
    await intake.take_over(broker, world.consumer(ack_wait_s=SHORT_S))
    await publish(broker, world.subject("a"), b"1")
    broker.term(await intake.wait(1))
    await publish(broker, world.subject("a"), b"2")
    await until(lambda: intake.payloads.count(b"2") >= 2, "redelivery of the other")
    assert intake.payloads.count(b"1") == 1


@in_world
async def test_an_unacknowledged_message_comes_again_after_the_ack_wait(world: World) -> None:
    broker = await world.connect()
    await world.stream(broker)
    intake = Intake()
    await intake.take_over(broker, world.consumer(ack_wait_s=0.5))
    await publish(broker, world.subject("a"), b"1")
    await intake.wait(1)
    started = asyncio.get_running_loop().time()
    await intake.wait(2)
    assert asyncio.get_running_loop().time() - started >= 0.4
    assert [item.attempt for item in intake.all] == [1, 2]


@in_world
async def test_in_progress_holds_redelivery_back(world: World) -> None:
    broker = await world.connect()
    await world.stream(broker)
    intake = Intake()
    await intake.take_over(broker, world.consumer(ack_wait_s=0.6))
    await publish(broker, world.subject("a"), b"1")
    delivered = await intake.wait(1)
    loop = asyncio.get_running_loop()
    end = loop.time() + 1.5
    while loop.time() < end:
        broker.in_progress(delivered[:1])
        await asyncio.sleep(0.15)
    assert len(intake.all) == 1
    await intake.wait(2)


@in_world
async def test_a_late_acknowledgement_still_counts(world: World) -> None:
    broker = await world.connect()
    await world.stream(broker)
    intake, after = Intake(), Intake()
    await intake.take_over(broker, world.consumer(ack_wait_s=SHORT_S))
    await publish(broker, world.subject("a"), b"1")
    first = (await intake.wait(2))[0]
    broker.ack([first])
    await publish(broker, world.subject("a"), b"2")
    await broker.drain(DEADLINE_S)
    await after.take_over(broker, world.consumer())
    await after.wait(1)
    assert after.payloads == [b"2"]


@in_world
async def test_the_window_bounds_what_is_in_flight(world: World) -> None:
    broker = await world.connect()
    await world.stream(broker)
    intake = Intake()
    await intake.take_over(broker, world.consumer(max_ack_pending=10))
    for number in numbers(25):
        await publish(broker, world.subject("a"), number)
    delivered = await intake.wait(10)
    await asyncio.sleep(SHORT_S)
    assert len(intake.all) == 10
    broker.ack(delivered[:4])
    await intake.wait(14)
    await asyncio.sleep(SHORT_S)
    assert intake.payloads == numbers(14)


# Taking over.


@in_world
async def test_a_take_over_gets_everything_unacknowledged_at_once_and_in_order(world: World) -> None:
    old, new = await world.connect(), await world.connect()
    await world.stream(old)
    first, second = Intake(), Intake()
    await first.take_over(old, world.consumer())
    for number in numbers(50):
        await publish(old, world.subject("a"), number)
    delivered = await first.wait(50)
    old.ack(delivered[10:20])
    await old.drain(DEADLINE_S)
    async with asyncio.timeout(3):
        await second.take_over(new, world.consumer())
        await second.wait(40)
    assert second.payloads == numbers(10) + numbers(30, first=20)
    assert {item.attempt for item in second.all} == {1}
    before = len(first.all)
    await publish(old, world.subject("a"), b"new")
    await second.wait(41)
    assert len(first.all) == before
    await until(lambda: first.lost == 1, "the old owner hears that it lost the consumer")
    assert second.lost == 0
    assert await new.consumer_names(f"S{world.name}") == [world.consumer().name]


@in_world
async def test_taking_over_again_on_the_same_connection_is_no_loss(world: World) -> None:
    broker = await world.connect()
    await world.stream(broker)
    first, second = Intake(), Intake()
    await first.take_over(broker, world.consumer())
    await publish(broker, world.subject("a"), b"1")
    await first.wait(1)
    await second.take_over(broker, world.consumer())
    await second.wait(1)
    await asyncio.sleep(SHORT_S)
    assert (first.lost, second.lost) == (0, 0)
    assert len(first.all) == 1


@in_world
async def test_nothing_is_delivered_before_the_take_over_has_returned(world: World) -> None:
    broker = await world.connect()
    await world.stream(broker)
    await publish(broker, world.subject("a"), b"1")
    intake = Intake()
    await intake.take_over(broker, world.consumer())
    assert intake.all == []
    await intake.wait(1)


@in_world
async def test_a_take_over_without_the_stream_is_unavailable(world: World) -> None:
    broker = await world.connect()
    with pytest.raises(Unavailable):
        await Intake().take_over(broker, world.consumer())


@in_world
async def test_a_consumer_only_gets_what_its_filter_matches(world: World) -> None:
    broker = await world.connect()
    await world.stream(broker)
    intake = Intake()
    await intake.take_over(broker, world.consumer("chat.>"))
    for rest in ("chat.1", "counter.1", "chat.2", "chatty.3", "chat.a.b"):
        await publish(broker, world.subject(rest), rest.encode())
    await intake.wait(3)
    assert intake.payloads == [b"chat.1", b"chat.2", b"chat.a.b"]


@in_world
async def test_overlapping_consumers_of_a_work_queue_are_refused(world: World) -> None:
    broker = await world.connect()
    stream = await world.stream(broker)
    await Intake().take_over(broker, world.consumer("a.>"))
    with pytest.raises(Unavailable):
        await Intake().take_over(broker, ConsumerSpec(stream, "another", world.subject("a.b")))
    assert await broker.consumer_names(stream) == [world.consumer().name]


@in_world
async def test_closing_leaves_the_consumer_and_what_was_delivered_can_be_settled(world: World) -> None:
    broker = await world.connect()
    stream = await world.stream(broker)
    intake, after = Intake(), Intake()
    subscription = await intake.take_over(broker, world.consumer())
    await publish(broker, world.subject("a"), b"1")
    delivered = await intake.wait(1)
    await subscription.aclose()
    broker.ack(delivered)
    await publish(broker, world.subject("a"), b"2")
    await broker.drain(DEADLINE_S)
    assert await broker.consumer_names(stream) == [world.consumer().name]
    await after.take_over(broker, world.consumer())
    await after.wait(1)
    assert after.payloads == [b"2"]
    assert len(intake.all) == 1


@in_world
async def test_deleting_a_consumer_is_repeatable_and_keeps_the_messages(world: World) -> None:
    broker = await world.connect()
    stream = await world.stream(broker)
    intake = Intake()
    await (await intake.take_over(broker, world.consumer())).aclose()
    await publish(broker, world.subject("a"), b"1")
    for _ in range(2):
        await broker.delete_consumer(stream, world.consumer().name)
    assert await broker.consumer_names(stream) == []
    assert await broker.consumer_names("missing") == []
    await intake.take_over(broker, world.consumer())
    await intake.wait(1)


@in_world
async def test_a_deleted_consumer_is_lost_for_its_owner(world: World) -> None:
    broker, other = await world.connect(), await world.connect()
    stream = await world.stream(broker)
    intake = Intake()
    await intake.take_over(broker, world.consumer())
    await other.delete_consumer(stream, world.consumer().name)
    await until(lambda: intake.lost == 1, "lost")


@in_world
async def test_an_idle_consumer_is_not_lost(world: World) -> None:
    broker = await world.connect()
    await world.stream(broker)
    intake = Intake()
    await intake.take_over(broker, world.consumer())
    await asyncio.sleep(7.5 if world.kind == "nats" else SHORT_S)
    assert intake.lost == 0


# Key-value.


@in_world
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


@in_world
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


@in_world
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


# Outages.


@in_world
async def test_a_dropped_connection_comes_back_with_its_subscriptions(world: World) -> None:
    broker, other = await world.connect(), await world.connect()
    await world.stream(broker)
    states: list[ConnectionState] = []
    broker.on_connection(states.append)
    ear, intake = Ear(), Intake()
    await broker.subscribe(world.subject("core"), ear.take)
    await intake.take_over(broker, world.consumer("a.>"))
    world.cut(broker)
    await until(lambda: states == ["disconnected", "reconnected"], "reconnected")
    assert broker.connected
    other.send([Message(world.subject("core"), b"hello")])
    assert await publish(other, world.subject("a.1"), b"1") is None
    await until(lambda: ear.payloads == [b"hello"])
    await intake.wait(1)
    assert await publish(broker, world.subject("a.1"), b"2") is None
    await intake.wait(2)
    assert intake.lost == 0


@in_world
async def test_an_acknowledgement_from_before_the_drop_does_not_count(world: World) -> None:
    broker = await world.connect()
    await world.stream(broker)
    states: list[ConnectionState] = []
    broker.on_connection(states.append)
    intake, after = Intake(), Intake()
    await intake.take_over(broker, world.consumer())
    await publish(broker, world.subject("a"), b"1")
    delivered = await intake.wait(1)
    world.cut(broker)
    await until(lambda: "reconnected" in states)
    broker.ack(delivered)
    await broker.drain(DEADLINE_S)
    await after.take_over(broker, world.consumer())
    await after.wait(1)
    assert after.payloads == [b"1"]


@in_world
async def test_every_publish_around_a_restart_finishes_exactly_once(world: World) -> None:
    await world.server_of_its_own()
    broker = await world.connect()
    states: list[ConnectionState] = []
    broker.on_connection(states.append)
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
    await until(lambda: "disconnected" in states)
    assert not broker.connected
    publish_next()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert [type(outcome) for outcome in outcomes[100]] == [Unavailable], "at once while disconnected"
    await world.start()
    await until(lambda: states[-1] == "reconnected")
    await world.stream(broker)
    for _ in range(50):
        publish_next()
    await until(lambda: all(outcomes.values()), "every publish is done")
    await asyncio.sleep(SHORT_S)
    assert {len(outcome) for outcome in outcomes.values()} == {1}
    assert all(outcome[0] is None or isinstance(outcome[0], Unavailable) for outcome in outcomes.values())
    assert all(outcomes[number] == [None] for number in range(101, 151))


@in_world
async def test_after_a_crash_streams_in_memory_are_gone_and_can_be_made_again(world: World) -> None:
    await world.server_of_its_own()
    broker = await world.connect()
    states: list[ConnectionState] = []
    broker.on_connection(states.append)
    stream = await world.stream(broker)
    bucket = f"b{world.name}"
    revision = await broker.put(bucket, "k", b"kept", None)
    old = Intake()
    await old.take_over(broker, world.consumer())
    await publish(broker, world.subject("a"), b"1")
    delivered = await old.wait(1)
    await world.kill()
    await until(lambda: states == ["disconnected"])
    await world.start()
    await until(lambda: states == ["disconnected", "reconnected"])
    assert await broker.consumer_names(stream) == []
    entry = await broker.get(bucket, "k")
    assert entry is not None
    assert (entry.value, entry.revision) == (b"kept", revision)
    await world.stream(broker)
    new = Intake()
    await new.take_over(broker, world.consumer())
    await publish(broker, world.subject("a"), b"2")
    (fresh,) = await new.wait(1)
    assert (fresh.payload, fresh.sequence) == (b"2", delivered[0].sequence)
    broker.ack(delivered)
    await broker.drain(DEADLINE_S)
    await new.take_over(broker, world.consumer())
    await new.wait(2)
    assert new.payloads == [b"2", b"2"], "a stale acknowledgement must not settle another message of the same number"


@in_world
async def test_a_stream_on_file_survives_a_crash(world: World) -> None:
    await world.server_of_its_own()
    broker = await world.connect()
    states: list[ConnectionState] = []
    broker.on_connection(states.append)
    stream = await world.stream(broker, storage="file")
    intake, after = Intake(), Intake()
    await intake.take_over(broker, world.consumer())
    for number in numbers(5):
        assert await publish(broker, world.subject("a"), number) is None
    broker.ack((await intake.wait(5))[:2])
    await broker.drain(DEADLINE_S)
    await asyncio.sleep(SHORT_S)  # the acknowledgements reach the store behind the answer to our ping
    await world.kill()
    await until(lambda: states == ["disconnected"])
    await world.start()
    await until(lambda: states == ["disconnected", "reconnected"])
    assert await broker.consumer_names(stream) == [world.consumer().name]
    await after.take_over(broker, world.consumer())
    await after.wait(3)
    assert after.payloads == numbers(3, first=2)
    assert await publish(broker, world.subject("a"), b"new") is None
    await after.wait(4)


@in_world
async def test_what_was_sent_while_disconnected_leaves_afterwards(world: World) -> None:
    await world.server_of_its_own()
    broker, other = await world.connect(), await world.connect()
    ear = Ear()
    await other.subscribe(world.subject("x"), ear.take)
    await world.kill()
    await until(lambda: not broker.connected and not other.connected)
    broker.send([Message(world.subject("gone"), bytes(3_000_000)) for _ in range(4)])
    broker.send([Message(world.subject("x"), number) for number in numbers(3)])
    with pytest.raises(Unavailable):
        await broker.request(world.subject("x"), b"", 1.0)
    with pytest.raises(Unavailable):
        await broker.get("bucket", "key")
    with pytest.raises(Unavailable):
        await Intake().take_over(broker, world.consumer())
    await world.start()
    await until(lambda: broker.connected and other.connected)
    await broker.drain(DEADLINE_S)
    broker.send([Message(world.subject("x"), b"after")])
    await until(lambda: b"after" in ear.payloads)
    # The two connections come back independently: what the first one wrote may come before the other listens again.
    assert ear.payloads in ([*numbers(3), b"after"], [b"after"])


@in_world
async def test_a_request_under_way_fails_when_the_connection_drops(world: World) -> None:
    broker, service = await world.connect(), await world.connect()
    heard = Ear()
    await service.subscribe(world.subject("silent"), heard.take)
    request = asyncio.ensure_future(broker.request(world.subject("silent"), b"", DEADLINE_S))
    await until(lambda: heard.messages)
    world.cut(broker)
    with pytest.raises(Unavailable):
        async with asyncio.timeout(3):
            await request


@in_world
async def test_closing_flushes_what_was_sent_and_ends_open_publishes(world: World) -> None:
    broker, other = await world.connect(), await world.connect()
    states: list[ConnectionState] = []
    broker.on_connection(states.append)
    await world.stream(broker)
    ear = Ear()
    outcomes: list[ZocketError | None] = []
    await other.subscribe("elsewhere." + world.name, ear.take)
    broker.send([Message("elsewhere." + world.name, b"last words")])
    broker.publish(world.subject("a"), b"1", "one", outcomes.append)
    await broker.aclose()
    await until(lambda: ear.messages)
    assert len(outcomes) == 1
    assert outcomes[0] is None or isinstance(outcomes[0], Unavailable)
    assert states == ["closed"]
    assert not broker.connected
    assert isinstance(await publish(broker, world.subject("a"), b"1"), Unavailable)
