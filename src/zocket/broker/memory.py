"""The broker port in memory: for tests, the simulation and one process alone.

Rules: several connections share one `MemoryServer`; nothing is delivered synchronously inside a call, but on a later
turn of the loop, as one list a subscription; no time but the clock's, no randomness, so that a run repeats exactly. It
passes the conformance tests of the NATS adapter, and can be stopped, started and cut like it.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from zocket.broker import wire
from zocket.broker.deliveries import LOST_AFTER_S
from zocket.broker.jetstream import check_key, key_subject
from zocket.broker.matching import MAX_SUBJECT_BYTES, check_subject, is_pattern, matches, overlaps
from zocket.broker.memory_stream import MemoryConsumer, MemoryStream, capturing
from zocket.broker.port import Delivered, Entry, Message, StoredMessage, StreamInfo
from zocket.errors import Conflict, Overloaded, TooLarge, Unavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from zocket.broker.memory_stream import Stored
    from zocket.broker.port import ConnectionState, ConsumerSpec, StreamSpec, Subscription
    from zocket.clock import Clock
    from zocket.errors import ZocketError

MAX_PAYLOAD_BYTES: Final = 8 * 1024 * 1024
"""As the NATS servers that we start."""
HELD_BYTES: Final = 8 * 1024 * 1024
"""What `send` keeps while disconnected; the oldest is dropped first."""

_log: Final = logging.getLogger("zocket.broker")
_AWAY: Final = "the broker is not connected"


class MemoryServer:
    """What a NATS server is to its connections.

    Attributes:
        full_streams: names of streams that answer publishes with `Overloaded`, as one at its limit does.
    """

    def __init__(self, clock: Clock, *, max_payload_bytes: int = MAX_PAYLOAD_BYTES) -> None:
        self.clock = clock
        self.max_payload_bytes = max_payload_bytes
        self.full_streams: set[str] = set()
        self.running = True
        self.streams: dict[str, MemoryStream] = {}
        self.buckets: dict[str, dict[str, Entry]] = {}
        self._revisions: dict[str, int] = {}
        self._incarnations = 0
        self._brokers: list[MemoryBroker] = []
        self._exact: dict[str, dict[_Delivery, None]] = {}
        self._patterns: dict[_Delivery, None] = {}

    def next_incarnation(self) -> str:
        """Names one life of a stream."""
        self._incarnations += 1
        return str(self._incarnations)

    def connect(self) -> MemoryBroker:
        """A further connection."""
        return MemoryBroker(self.clock, self)

    def stop(self) -> None:
        """Ends the server as `kill -9` does: every connection drops, and stays away until `start`."""
        self.running = False
        for broker in list(self._brokers):
            broker.drop_connection()

    def start(self, *, lose_memory: bool = False) -> None:
        """Starts it again; with `lose_memory` streams in memory are gone with their consumers, as after a crash.

        The connections come back on the next turn of the loop.
        """
        if lose_memory:
            for stream in [item for item in self.streams.values() if item.spec.storage == "memory"]:
                for name in list(stream.consumers):
                    stream.delete_consumer(name)
                del self.streams[stream.spec.name]
        self.running = True
        for broker in list(self._brokers):
            asyncio.get_running_loop().call_soon(broker.restore_connection)

    def cut(self, broker: MemoryBroker, down_s: float = 0.0) -> None:
        """Drops one connection; it comes back after `down_s`, on a later turn at the earliest."""
        broker.drop_connection()
        if down_s > 0:
            self.clock.call_later(down_s, broker.restore_connection)
        else:
            asyncio.get_running_loop().call_soon(broker.restore_connection)

    # For connections.

    def add(self, broker: MemoryBroker) -> None:
        """A connection exists from now on."""
        self._brokers.append(broker)

    def remove(self, broker: MemoryBroker) -> None:
        """A connection is closed."""
        self._brokers.remove(broker)

    def listen(self, delivery: _Delivery) -> None:
        """Core messages on the subject of `delivery` go to it."""
        if is_pattern(delivery.subject):
            self._patterns[delivery] = None
        else:
            self._exact.setdefault(delivery.subject, {})[delivery] = None

    def unlisten(self, delivery: _Delivery) -> None:
        """The opposite of `listen`."""
        self._patterns.pop(delivery, None)
        exact = self._exact.get(delivery.subject)
        if exact is not None:
            exact.pop(delivery, None)
            if not exact:
                del self._exact[delivery.subject]

    def route(self, message: Message) -> bool:
        """Gives a message to every listener and stores it where a stream captures it; whether anybody took it."""
        taken = self._deliver(message)
        stream = capturing(self.streams.values(), message.subject)
        if stream is not None and stream.spec.name not in self.full_streams:
            stream.store(message.subject, message.payload)
        return taken or stream is not None

    def store(self, subject: str, payload: bytes, message_id: str) -> ZocketError | None:
        """Stores a message; None, or why not."""
        self._deliver(Message(subject, payload))
        stream = capturing(self.streams.values(), subject)
        if stream is None:
            return Unavailable("no stream captures this subject")
        if stream.spec.name in self.full_streams:
            return Overloaded(f"the stream {stream.spec.name} is full")
        stream.store(subject, payload, message_id)
        return None

    def _deliver(self, message: Message) -> bool:
        listeners = list(self._exact.get(message.subject, ()))
        listeners += [delivery for delivery in self._patterns if matches(delivery.subject, message.subject)]
        taken = False
        for delivery in listeners:
            if delivery.listening:
                delivery.add(Message(message.subject, message.payload, message.reply))
                taken = True
        return taken

    def write(self, bucket: str, key: str, value: bytes | None, expected: int) -> int:
        """Compare-and-set; None deletes. The new revision is greater than any before it."""
        entries = self.buckets.setdefault(bucket, {})
        current = entries.get(key)
        if (current.revision if current else 0) != expected:
            raise Conflict(f"the key {key} has another revision than {expected or 'none'}")
        self._revisions[bucket] = new = self._revisions.get(bucket, 0) + 1
        if value is None:
            entries.pop(key, None)
        else:
            entries[key] = Entry(value, new)
        return new


@dataclass(eq=False, slots=True)
class _Delivery:
    """A subscription of one connection: to core messages, or (with `lost`) to a consumer."""

    broker: MemoryBroker
    subject: str
    callback: Callable[[list[Any]], None]
    consumer: ConsumerSpec | None = None
    lost: Callable[[], None] | None = None
    closed: bool = False

    @property
    def listening(self) -> bool:
        """Whether messages reach it now."""
        return not self.closed and self.broker.connected

    def add(self, item: Message | Delivered) -> None:
        """Gives it on a later turn."""
        self.broker.receive(self, item)

    def deliver(self, stored: Stored, attempt: int) -> None:
        """See `Target.deliver`."""
        assert self.consumer is not None
        handle = _Handle(self.broker.life, self.consumer, stored.sequence)
        self.add(Delivered(stored.subject, stored.payload, stored.sequence, attempt, handle))

    def give_up(self) -> None:
        """The consumer is gone: silent from now on, and told so on a later turn."""
        if not self.closed:
            self.closed = True
            asyncio.get_running_loop().call_soon(self._call_lost)

    def _call_lost(self) -> None:
        assert self.lost is not None
        _call(self.lost)

    async def aclose(self) -> None:
        """See `Subscription.aclose`."""
        self.closed = True
        self.broker.forget(self)


class _Handle(NamedTuple):
    """How to settle a delivered message; `life` is the connection's, and counts only while it lasts."""

    life: object
    consumer: ConsumerSpec
    sequence: int


class MemoryBroker:
    """A connection to a `MemoryServer`, its own one if none is given; see `zocket.broker.port.Broker`."""

    def __init__(self, clock: Clock, server: MemoryServer | None = None) -> None:
        self.server = server or MemoryServer(clock)
        self._clock = clock
        self._up = self.server.running
        self._closed = False
        self.life = object()
        self._listeners: list[Callable[[ConnectionState], None]] = []
        self._deliveries: dict[_Delivery, None] = {}
        self._inbox: dict[_Delivery, list[Message | Delivered]] = {}
        self._puts: deque[tuple[Callable[[int | ZocketError], None], str, str, bytes, int]] = deque()
        self._answers: deque[tuple[Callable[..., None], object]] = deque()
        self._requests: dict[asyncio.Future[bytes], None] = {}
        self._last_request = 0
        self._held: deque[Message] = deque()
        self._held_bytes = 0
        self._back: list[asyncio.Future[None]] = []
        self.server.add(self)

    # The connection.

    @property
    def connected(self) -> bool:
        """See `Broker.connected`."""
        return self._up

    @property
    def outstanding(self) -> int:
        """See `Broker.outstanding`."""
        return len(self._puts) + len(self._answers)

    @property
    def max_payload_bytes(self) -> int:
        """Largest message that the server takes."""
        return self.server.max_payload_bytes

    def on_connection(self, callback: Callable[[ConnectionState], None]) -> Callable[[], None]:
        """See `Broker.on_connection`."""
        self._listeners.append(callback)
        return lambda: self._listeners.remove(callback) if callback in self._listeners else None

    def _tell(self, state: ConnectionState) -> None:
        for listener in list(self._listeners):
            _call(listener, state)

    def drop_connection(self) -> None:
        """What is on its way is lost; for `MemoryServer`."""
        if not self._up:
            return
        self._up = False
        self.life = object()
        self._inbox.clear()
        self._fail_waiting("the connection to the broker is lost")
        self._tell("disconnected")

    def restore_connection(self) -> None:
        """The connection is up again, if the server runs; for `MemoryServer`."""
        if self._up or self._closed or not self.server.running:
            return
        self._up = True
        held, self._held, self._held_bytes = self._held, deque(), 0
        for message in held:
            self.server.route(message)
        for delivery in list(self._deliveries):
            if delivery.consumer is not None:
                self._resume(delivery)
        while self._back:
            _resolve(self._back.pop())
        self._tell("reconnected")

    def _resume(self, delivery: _Delivery) -> None:
        consumer = self._consumer(delivery.consumer)
        if consumer is not None and consumer.target is delivery:
            consumer.pump()
        else:
            # As on NATS, where nothing but the missing heartbeats tells.
            self._clock.call_later(LOST_AFTER_S, delivery.give_up)

    def _fail_waiting(self, reason: str) -> None:
        waiting = [*(answer[0] for answer in self._answers), *(put[0] for put in self._puts)]
        self._answers.clear()
        self._puts.clear()
        for done in waiting:
            _call(done, Unavailable(reason))
        for answer in self._requests:
            if not answer.done():
                answer.set_exception(Unavailable(reason))

    async def drain(self, timeout_s: float) -> None:
        """See `Broker.drain`."""
        if self._held and not self._closed:
            back: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._back.append(back)
            timer = self._clock.call_later(timeout_s, lambda: _resolve(back))
            await back
            timer.cancel()
        await self._wait_answered()

    async def _wait_answered(self) -> None:
        while self.outstanding:  # noqa: ASYNC110 — the next turns of the loop answer them all
            await asyncio.sleep(0)

    async def aclose(self) -> None:
        """See `Broker.aclose`."""
        if self._closed:
            return
        await self._wait_answered()
        self._closed = True
        self._up = False
        for delivery in list(self._deliveries):
            await delivery.aclose()
        self.server.remove(self)
        self._fail_waiting("the connection to the broker is closed")
        self._tell("closed")

    def abort(self) -> None:
        """Ends as the connection of a killed process does: nothing more leaves. For tests of what follows then."""
        if not self._closed:
            self.drop_connection()
            self._closed = True
            self.server.remove(self)

    # Receiving.

    def receive(self, delivery: _Delivery, item: Message | Delivered) -> None:
        """Keeps an item for the next turn of the loop; for subscriptions."""
        if not self._inbox:
            asyncio.get_running_loop().call_soon(self._hand_out)
        self._inbox.setdefault(delivery, []).append(item)

    def _hand_out(self) -> None:
        inbox, self._inbox = self._inbox, {}
        for delivery, items in inbox.items():
            if not delivery.closed:
                _call(delivery.callback, items)

    def forget(self, delivery: _Delivery) -> None:
        """The subscription has ended; for subscriptions."""
        self._deliveries.pop(delivery, None)
        self._inbox.pop(delivery, None)
        self.server.unlisten(delivery)

    async def subscribe(self, subject: str, callback: Callable[[list[Message]], None]) -> Subscription:
        """See `Broker.subscribe`."""
        check_subject(subject)
        delivery = _Delivery(self, subject, callback)
        self._deliveries[delivery] = None
        self.server.listen(delivery)
        return delivery

    async def request(self, subject: str, payload: bytes, timeout_s: float) -> bytes:
        """See `Broker.request`."""
        check_subject(subject)
        self._require()
        self._last_request += 1
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

        def answered(messages: list[Message]) -> None:
            if not answer.done():
                answer.set_result(messages[0].payload)

        def expired() -> None:
            if not answer.done():
                answer.set_exception(Unavailable(f"no answer within {timeout_s:g} s"))

        inbox = f"_INBOX.{id(self)}.{self._last_request}"
        subscription = await self.subscribe(inbox, answered)
        self._requests[answer] = None
        timer = self._clock.call_later(timeout_s, expired)
        try:
            if not self.server.route(Message(subject, payload, inbox)):
                raise Unavailable(f"nobody listens to {subject}")
            return await answer
        finally:
            timer.cancel()
            del self._requests[answer]
            await subscription.aclose()

    # Sending.

    def _refusal(self, subject: str, size: int) -> ZocketError | None:
        if size > self.server.max_payload_bytes:
            return TooLarge(f"a message of {size} bytes, the server takes {self.server.max_payload_bytes}")
        if len(subject) > MAX_SUBJECT_BYTES:
            return TooLarge(f"a subject of {len(subject)} bytes, the limit is {MAX_SUBJECT_BYTES}")
        return None

    def send(self, messages: Sequence[Message]) -> None:
        """See `Broker.send`; a message that no server would take is dropped with an error in the log."""
        for message in messages:
            check_subject(message.subject)
            refusal = self._refusal(message.subject, len(message.payload))
            if refusal is not None:
                _log.error("A message is dropped: %s", refusal.message, extra={"subject": message.subject[:120]})
            elif self._up:
                self.server.route(message)
            elif not self._closed:
                self._hold(message)

    def _hold(self, message: Message) -> None:
        self._held.append(message)
        self._held_bytes += len(message.payload)
        while self._held_bytes > HELD_BYTES:
            self._held_bytes -= len(self._held.popleft().payload)

    def publish(
        self, subject: str, payload: bytes, message_id: str, done: Callable[[ZocketError | None], None]
    ) -> None:
        """See `Broker.publish`."""
        check_subject(subject)
        wire.check_header_value(message_id)
        loop = asyncio.get_running_loop()
        refusal = self._refusal(subject, len(payload) + wire.message_id_bytes(message_id))
        if not self._up or refusal is not None:
            loop.call_soon(_call, done, refusal if self._up else Unavailable(_AWAY))
            return
        self._reply(done, self.server.store(subject, payload, message_id))

    def _reply(self, done: Callable[..., None], outcome: object) -> None:
        if not self._answers:
            asyncio.get_running_loop().call_soon(self._answer)
        self._answers.append((done, outcome))

    def _answer(self) -> None:
        while self._answers:
            done, outcome = self._answers.popleft()
            _call(done, outcome)

    # Streams and consumers.

    def _require(self) -> None:
        if not self._up:
            raise Unavailable(_AWAY)

    async def _turn(self) -> None:
        self._require()
        await asyncio.sleep(0)
        self._require()

    async def ensure_stream(self, spec: StreamSpec) -> None:
        """See `Broker.ensure_stream`."""
        await self._turn()
        if spec.name in self.server.streams:
            return
        for other in self.server.streams.values():
            if any(overlaps(ours, theirs) for ours in spec.subjects for theirs in other.spec.subjects):
                raise Unavailable(f"the stream {spec.name} cannot be created: it overlaps with {other.spec.name}")
        self.server.streams[spec.name] = MemoryStream(spec, self._clock, self.server.next_incarnation())

    async def stream_info(self, stream: str) -> StreamInfo | None:
        """See `Broker.stream_info`."""
        await self._turn()
        found = self.server.streams.get(stream)
        if found is None:
            return None
        return StreamInfo(found.incarnation, found.spec.storage, found.last_sequence, found.spec.partitions)

    async def next_message(self, stream: str, subject: str, sequence: int) -> StoredMessage | None:
        """See `Broker.next_message`."""
        check_subject(subject)
        await self._turn()
        found = self.server.streams.get(stream)
        for stored in () if found is None else found.current().values():
            if stored.sequence >= sequence and matches(subject, stored.subject):
                return StoredMessage(stored.subject, stored.payload, stored.sequence)
        return None

    async def delete_message(self, stream: str, sequence: int) -> None:
        """See `Broker.delete_message`."""
        await self._turn()
        found = self.server.streams.get(stream)
        if found is not None:
            found.current().pop(sequence, None)

    async def take_over(
        self, spec: ConsumerSpec, callback: Callable[[list[Delivered]], None], lost: Callable[[], None]
    ) -> Subscription:
        """See `Broker.take_over`. An earlier delivery of this connection to the same durable ends without `lost`."""
        await self._turn()
        stream = self.server.streams.get(spec.stream)
        if stream is None:
            raise Unavailable(f"the stream {spec.stream} does not exist")
        _check_work_queue(stream, spec)
        for earlier in [item for item in self._deliveries if _serves(item, spec)]:
            await earlier.aclose()
        previous = stream.delete_consumer(spec.name)
        if previous is not None and isinstance(previous.target, _Delivery):
            previous.target.give_up()
        delivery = _Delivery(self, spec.subjects, callback, spec, lost)
        self._deliveries[delivery] = None
        stream.consumers[spec.name] = consumer = MemoryConsumer(stream, spec, delivery, self._clock)
        consumer.pump()
        return delivery

    async def consumer_names(self, stream: str) -> list[str]:
        """See `Broker.consumer_names`."""
        await self._turn()
        found = self.server.streams.get(stream)
        return [] if found is None else list(found.consumers)

    async def delete_consumer(self, stream: str, name: str) -> None:
        """See `Broker.delete_consumer`."""
        await self._turn()
        found = self.server.streams.get(stream)
        consumer = None if found is None else found.delete_consumer(name)
        if consumer is not None and isinstance(consumer.target, _Delivery):
            consumer.target.give_up()

    def _consumer(self, spec: ConsumerSpec | None) -> MemoryConsumer | None:
        stream = None if spec is None else self.server.streams.get(spec.stream)
        return None if stream is None or spec is None else stream.consumers.get(spec.name)

    def ack(self, delivered: Sequence[Delivered]) -> None:
        """See `Broker.ack`."""
        for consumer, sequence in self._current(delivered):
            consumer.settle(sequence)

    def nak(self, delivered: Sequence[Delivered], delay_s: float = 0.0) -> None:
        """See `Broker.nak`."""
        for consumer, sequence in self._current(delivered):
            consumer.postpone(sequence, delay_s)

    def term(self, delivered: Sequence[Delivered]) -> None:
        """See `Broker.term`."""
        self.ack(delivered)

    def in_progress(self, delivered: Sequence[Delivered]) -> None:
        """See `Broker.in_progress`."""
        for consumer, sequence in self._current(delivered):
            consumer.extend(sequence)

    def _current(self, delivered: Sequence[Delivered]) -> list[tuple[MemoryConsumer, int]]:
        found = []
        for item in delivered:
            handle = item.handle
            if isinstance(handle, _Handle) and handle.life is self.life and self._up:
                consumer = self._consumer(handle.consumer)
                if consumer is not None:
                    found.append((consumer, handle.sequence))
        return found

    # Key-value.

    async def get(self, bucket: str, key: str) -> Entry | None:
        """See `Broker.get`."""
        check_key(bucket, key)
        await self._turn()
        return self.server.buckets.get(bucket, {}).get(key)

    async def keys(self, bucket: str, prefix: str = "") -> list[str]:
        """See `Broker.keys`."""
        check_key(bucket, prefix or "all")
        await self._turn()
        head = f"{prefix}." if prefix else ""
        return [key for key in self.server.buckets.get(bucket, {}) if key.startswith(head)]

    async def entries(self, bucket: str) -> AsyncIterator[list[tuple[str, Entry]]]:
        """See `Broker.entries`."""
        await self._turn()
        yield list(self.server.buckets.get(bucket, {}).items())

    async def put(self, bucket: str, key: str, value: bytes, expected: int | None) -> int:
        """See `Broker.put`."""
        check_key(bucket, key)
        await self._turn()
        return self.server.write(bucket, key, value, expected or 0)

    def put_pipelined(
        self, bucket: str, key: str, value: bytes, expected: int | None, done: Callable[[int | ZocketError], None]
    ) -> None:
        """See `Broker.put_pipelined`. It is written on the next turn and answered on the one after."""
        check_key(bucket, key)
        loop = asyncio.get_running_loop()
        size = len(value) + wire.expected_sequence_bytes(expected or 0)
        refusal = self._refusal(key_subject(bucket, key), size)
        if not self._up or refusal is not None:
            loop.call_soon(_call, done, refusal if self._up else Unavailable(_AWAY))
            return
        if not self._puts:
            loop.call_soon(self._write)
        self._puts.append((done, bucket, key, value, expected or 0))

    def _write(self) -> None:
        while self._puts:
            done, bucket, key, value, expected = self._puts.popleft()
            outcome: int | ZocketError
            try:
                outcome = self.server.write(bucket, key, value, expected)
            except Conflict as error:
                outcome = error
            self._reply(done, outcome)

    async def delete(self, bucket: str, key: str, expected: int) -> None:
        """See `Broker.delete`."""
        check_key(bucket, key)
        await self._turn()
        self.server.write(bucket, key, None, expected)


def _serves(delivery: _Delivery, spec: ConsumerSpec) -> bool:
    consumer = delivery.consumer
    return consumer is not None and (consumer.stream, consumer.name) == (spec.stream, spec.name)


def _check_work_queue(stream: MemoryStream, spec: ConsumerSpec) -> None:
    for name, other in stream.consumers.items():
        if stream.spec.retention == "workqueue" and name != spec.name and overlaps(other.spec.subjects, spec.subjects):
            raise Unavailable(f"the consumer {spec.name} cannot be created: it overlaps with {name}")


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _call(callback: Callable[..., object], *arguments: object) -> None:
    try:
        callback(*arguments)
    except Exception:  # noqa: BLE001 — border: whoever listens must not end the delivery
        _log.exception("A callback of the broker failed")
