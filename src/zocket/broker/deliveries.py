"""Subscriptions as the NATS adapter keeps them: messages collected per loop turn, given to a callback as one list.

Rules: a callback that raises is logged and never ends its delivery; after `close` nothing more is given; a push
delivery that misses its heartbeats, or one of its messages, is lost, once, unless the connection itself is away.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from zocket.broker import wire
from zocket.broker.port import Delivered, Message

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from zocket.broker.connection import Connection
    from zocket.broker.port import ConsumerSpec

IDLE_HEARTBEAT_S: Final = 2.0
"""How often the server says that an idle consumer still exists."""
LOST_AFTER_S: Final = 3 * IDLE_HEARTBEAT_S + 0.5
"""Without a word for so long the consumer counts as gone: three heartbeats and some slack."""
CHECK_S: Final = 1.0

_log: Final = logging.getLogger("zocket.broker")
_HEARTBEAT: Final = 100


class Handle(NamedTuple):
    """How to settle a delivered message, and the only connection on which that counts."""

    connection: Connection | None
    reply: bytes


class Delivery:
    """What both kinds share: the batch of this loop turn and the connection that it is attached to."""

    def __init__(self, subject: str, callback: Callable[[list[Any]], None], loop: asyncio.AbstractEventLoop) -> None:
        self.subject = subject
        self._callback = callback
        self._loop = loop
        self._batch: list[Any] = []
        self._connection: Connection | None = None
        self._sid = 0
        self.closed = False

    def attach(self, connection: Connection) -> None:
        """Subscribes on this connection; again on the next one after it is lost."""
        self._connection = connection
        self._sid = connection.attach(self)

    def suspend(self) -> None:
        """The connection is away until the next `attach`."""
        self._connection = None

    def close(self) -> None:
        """No more messages, not even those of the open batch."""
        self.closed = True
        self._batch.clear()
        if self._connection is not None:
            self._connection.detach(self._sid)
            self._connection = None

    def receive(self, subject: bytes, reply: bytes, payload: bytes, header: bytes | None) -> None:
        """Takes one message from the parser."""
        raise NotImplementedError

    def _add(self, item: Message | Delivered) -> None:
        if not self._batch:
            self._loop.call_soon(self._flush)
        self._batch.append(item)

    def _flush(self) -> None:
        if self.closed or not self._batch:
            return
        batch, self._batch = self._batch, []
        try:
            self._callback(batch)
        except Exception:  # noqa: BLE001 — border: whoever listens must not end the delivery
            _log.exception("The callback of a subscription failed", extra={"subject": self.subject})


class CoreDelivery(Delivery):
    """A core subscription."""

    def receive(self, subject: bytes, reply: bytes, payload: bytes, header: bytes | None) -> None:
        """See `Delivery.receive`; what the server itself says is left out."""
        if header is None or not wire.status(header):
            self._add(Message(subject.decode("utf-8", "replace"), payload, reply.decode("utf-8", "replace")))


class PushDelivery(Delivery):
    """A push consumer's private inbox. Nothing is given before `start`, so that a take-over has returned first."""

    def __init__(
        self,
        inbox: str,
        spec: ConsumerSpec,
        callback: Callable[[list[Delivered]], None],
        lost: Callable[[], None],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        super().__init__(inbox, callback, loop)
        self.key = (spec.stream, spec.name)
        self._lost = lost
        self._started = False
        self._next = 1
        self._seen_s = self._checked_s = loop.time()
        self._check: asyncio.TimerHandle | None = None

    def attach(self, connection: Connection) -> None:
        """See `Delivery.attach`; the heartbeats are awaited anew."""
        super().attach(connection)
        self._seen_s = self._loop.time()

    def suspend(self) -> None:
        """See `Delivery.suspend`; what was on its way is lost, so the numbers go on anywhere."""
        super().suspend()
        self._next = 0

    def start(self) -> None:
        """The consumer exists: gives what came already, and watches the heartbeats."""
        if self.closed:  # lost meanwhile
            return
        self._started = True
        self._seen_s = self._checked_s = self._loop.time()
        self._check = self._loop.call_later(CHECK_S, self._watch)
        if self._batch:
            self._loop.call_soon(self._flush)

    def close(self) -> None:
        """See `Delivery.close`."""
        super().close()
        if self._check is not None:
            self._check.cancel()

    def receive(self, subject: bytes, reply: bytes, payload: bytes, header: bytes | None) -> None:
        """See `Delivery.receive`; answers what the server says about the consumer."""
        self._seen_s = self._loop.time()
        if header is not None and (status := wire.status(header)):
            self._receive_status(status, reply, header)
            return
        try:
            sequence, attempt, number = wire.delivery_numbers(reply)
        except ValueError:
            _log.warning("A message without a stream's reply subject is ignored", extra={"subject": self.subject})
            return
        if number > self._next and self._next:
            # A server of a cluster died with messages on their way to ours: they would come again late, out of order.
            self._lose(f"deliveries {self._next} to {number - 1} did not arrive")
            return
        if number >= self._next:  # else the next leader of the consumer repeats what did arrive
            self._next = number + 1
        handle = Handle(self._connection, reply)
        self._add(Delivered(subject.decode("utf-8", "replace"), payload, sequence, attempt, handle))

    def _receive_status(self, status: int, reply: bytes, header: bytes) -> None:
        if status == _HEARTBEAT:
            wanted = reply or wire.header_value(header, b"Nats-Consumer-Stalled")
            if wanted and self._connection is not None:
                self._connection.write(wire.settlement(wanted, b""))
            last = wire.header_value(header, b"Nats-Last-Consumer")
            if last.isdigit() and int(last) >= self._next > 0:
                self._lose(f"deliveries {self._next} to {int(last)} did not arrive")
            return
        self._lose(wire.status_text(header))

    def _flush(self) -> None:
        if self._started:
            super()._flush()

    def _watch(self) -> None:
        now = self._loop.time()
        if now - self._checked_s > 2 * CHECK_S:
            # This process itself stood still; what came meanwhile is still in the socket. One more heartbeat's time.
            self._seen_s = max(self._seen_s, now - LOST_AFTER_S + IDLE_HEARTBEAT_S + CHECK_S)
        self._checked_s = now
        if self._connection is not None and now - self._seen_s > LOST_AFTER_S:
            self._lose(f"no heartbeat for {now - self._seen_s:.1f} s")
        else:
            self._check = self._loop.call_later(CHECK_S, self._watch)

    def _lose(self, reason: str) -> None:
        if self.closed:
            return
        _log.warning("The consumer is gone: %s", reason, extra={"stream": self.key[0], "consumer": self.key[1]})
        self.close()
        try:
            self._lost()
        except Exception:  # noqa: BLE001 — border: whoever listens must not end the connection
            _log.exception("The callback for a lost consumer failed", extra={"consumer": self.key[1]})
