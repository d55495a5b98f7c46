"""Streams and consumers as a NATS server keeps them, in memory: what is stored, delivered, pending and delivered again.

Rules: no event loop and no connection, only a clock; whatever becomes deliverable is handed to the consumer's target at
once, which spreads it over loop turns; the numbers and the order are those of JetStream (work queue and limits
retention, explicit acknowledgement, redelivery before what is new).
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Protocol

from zocket.broker.jetstream import DUPLICATE_WINDOW_S
from zocket.broker.matching import matches
from zocket.protocol.subjects import with_partition

if TYPE_CHECKING:
    from collections.abc import Iterable

    from zocket.broker.port import ConsumerSpec, StreamSpec
    from zocket.clock import Clock, TimerHandle


@dataclass(slots=True)
class Stored:
    """A message of a stream."""

    sequence: int
    subject: str
    payload: bytes
    message_id: str
    stored_s: float


class Target(Protocol):
    """Where a consumer delivers to."""

    @property
    def listening(self) -> bool:
        """Whether its connection is up."""

    def deliver(self, stored: Stored, attempt: int) -> None:
        """Takes one message."""


@dataclass(slots=True)
class _Pending:
    deadline_s: float
    attempt: int


class MemoryConsumer:
    """A durable push consumer."""

    def __init__(self, stream: MemoryStream, spec: ConsumerSpec, target: Target, clock: Clock) -> None:
        self.spec = spec
        self.target = target
        self._stream = stream
        self._clock = clock
        self._next = 1
        self._pending: dict[int, _Pending] = {}
        self._again: list[int] = []
        self._attempts: dict[int, int] = {}
        self._timer: TimerHandle | None = None
        self._timer_s = 0.0

    def pump(self) -> None:
        """Delivers what the window allows: first what comes again, in order, then what is new."""
        while self.target.listening and len(self._pending) < self.spec.max_ack_pending:
            stored = self._take()
            if stored is None:
                break
            attempt = self._attempts.get(stored.sequence, 0) + 1
            self._attempts[stored.sequence] = attempt
            self._pending[stored.sequence] = _Pending(self._clock.now() + self.spec.ack_wait_s, attempt)
            self.target.deliver(stored, attempt)
        if self._timer is None:  # one that runs is early enough: a new deadline is the latest
            self._arm()

    def _take(self) -> Stored | None:
        messages = self._stream.current()
        while self._again:
            stored = messages.get(heappop(self._again))
            if stored is not None:
                return stored
        while self._next <= self._stream.last_sequence:
            stored = messages.get(self._next)
            self._next += 1
            if stored is not None and matches(self.spec.subjects, stored.subject):
                return stored
        return None

    def settle(self, sequence: int) -> None:
        """Acknowledged or given up; also late, when it is about to come again."""
        if sequence >= self._next:
            return
        self._pending.pop(sequence, None)
        self._attempts.pop(sequence, None)
        self._again = sorted(item for item in self._again if item != sequence)
        self._stream.settled(sequence)
        self.pump()

    def postpone(self, sequence: int, delay_s: float) -> None:
        """Comes again after `delay_s`; until then it stays in the window."""
        pending = self._pending.get(sequence)
        if pending is None:
            return
        pending.deadline_s = self._clock.now() + delay_s
        if delay_s > 0:
            self._arm()
        else:
            self._expire()

    def extend(self, sequence: int) -> None:
        """The redelivery time starts anew."""
        pending = self._pending.get(sequence)
        if pending is not None:
            pending.deadline_s = self._clock.now() + self.spec.ack_wait_s

    def stop(self) -> None:
        """The consumer is deleted: nothing comes again."""
        self._pending.clear()
        self._again.clear()
        self._next = self._stream.last_sequence + 1
        self._disarm()

    def _arm(self) -> None:
        if not self._pending:
            return
        earliest_s = min(pending.deadline_s for pending in self._pending.values())
        if self._timer is None or earliest_s < self._timer_s:
            self._disarm()
            self._timer_s = earliest_s
            self._timer = self._clock.call_later(max(0.0, earliest_s - self._clock.now()), self._expire)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _expire(self) -> None:
        self._disarm()
        now_s = self._clock.now()
        for sequence in [number for number, pending in self._pending.items() if pending.deadline_s <= now_s]:
            del self._pending[sequence]
            heappush(self._again, sequence)
        self.pump()


@dataclass
class MemoryStream:
    """A stream of one server."""

    spec: StreamSpec
    clock: Clock
    incarnation: str = ""
    last_sequence: int = 0
    consumers: dict[str, MemoryConsumer] = field(default_factory=dict)
    _messages: OrderedDict[int, Stored] = field(default_factory=OrderedDict)
    _ids: OrderedDict[str, float] = field(default_factory=OrderedDict)

    def captures(self, subject: str) -> bool:
        """Whether a message on this subject belongs here."""
        return any(matches(pattern, subject) for pattern in self.spec.subjects)

    def store(self, subject: str, payload: bytes, message_id: str = "") -> None:
        """Keeps a message, unless this `message_id` was stored within the window of deduplication."""
        now_s = self.clock.now()
        if message_id and not self._is_new(message_id, now_s):
            return
        self.last_sequence += 1
        subject = with_partition(subject, self.spec.partitions)
        self._messages[self.last_sequence] = Stored(self.last_sequence, subject, payload, message_id, now_s)
        self.current()
        for consumer in self.consumers.values():
            consumer.pump()

    def _is_new(self, message_id: str, now_s: float) -> bool:
        window_s = min(DUPLICATE_WINDOW_S, self.spec.max_age_s or DUPLICATE_WINDOW_S)
        while self._ids and next(iter(self._ids.values())) <= now_s - window_s:
            self._ids.popitem(last=False)
        if message_id in self._ids:
            return False
        self._ids[message_id] = now_s
        return True

    def current(self) -> dict[int, Stored]:
        """The messages younger than the age limit, by sequence."""
        if self.spec.max_age_s:
            oldest_s = self.clock.now() - self.spec.max_age_s
            while self._messages and next(iter(self._messages.values())).stored_s <= oldest_s:
                self._messages.popitem(last=False)
        return self._messages

    def settled(self, sequence: int) -> None:
        """A consumer is done with a message; a work queue drops it."""
        if self.spec.retention == "workqueue":
            self._messages.pop(sequence, None)

    def delete_consumer(self, name: str) -> MemoryConsumer | None:
        """Removes a consumer; what it had not acknowledged stays for the next one."""
        consumer = self.consumers.pop(name, None)
        if consumer is not None:
            consumer.stop()
        return consumer


def capturing(streams: Iterable[MemoryStream], subject: str) -> MemoryStream | None:
    """The stream that takes messages on this subject; streams never overlap."""
    return next((stream for stream in streams if stream.captures(subject)), None)
