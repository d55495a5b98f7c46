"""Requests of one loop turn to the same instance, or to instances of one type, published as one message.

Rules: only to a runtime that said it takes them; the requests of an instance keep the order in which they came; each is
told by itself whether the stream has it. A single request is published as the contract has it.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Final

from zocket.protocol import envelopes

if TYPE_CHECKING:
    from collections.abc import Callable

    from zocket.broker.port import Broker
    from zocket.errors import ZocketError

    Done = Callable[[ZocketError | None], None]
    """Told once: None if the stream has the request."""

MAX_BURST_BYTES: Final = 64 * 1024
"""A burst is published before it grows beyond this; one message that the broker delivers again costs no more."""


class _Burst:
    __slots__ = ("done", "message_id", "parts", "size", "subject")

    def __init__(self, subject: str, message_id: str) -> None:
        self.subject = subject
        self.message_id = message_id
        self.parts: list[bytes] = []
        self.done: list[Done] = []
        self.size = 0


class Bursts:
    """What the sessions of a gateway publish in this loop turn."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._open: dict[str, _Burst] = {}

    def add(self, row: str, subject: str, envelope: bytes, message_id: str, done: Done) -> None:
        """Publishes the envelope at the end of this loop turn; `done` is called as by `Broker.publish`.

        Args:
            row: what may be in one message, in the order of these calls.
            subject: of the envelope; a message goes to that of its first one.
            envelope: the request.
            message_id: names it; a message has that of its first one.
            done: told about this request.
        """
        if not self._open:
            asyncio.get_running_loop().call_soon(self.flush)
        burst = self._open.get(row)
        if burst is None:
            burst = self._open[row] = _Burst(subject, message_id)
        elif burst.size + len(envelope) > MAX_BURST_BYTES or len(burst.parts) >= envelopes.MAX_PARTS:
            self.flush()
            asyncio.get_running_loop().call_soon(self.flush)
            burst = self._open[row] = _Burst(subject, message_id)
        burst.parts.append(envelope)
        burst.done.append(done)
        burst.size += len(envelope)

    def flush(self) -> None:
        """Publishes everything now."""
        bursts, self._open = self._open, {}
        for burst in bursts.values():
            self._publish(burst)

    def _publish(self, burst: _Burst) -> None:
        if len(burst.parts) == 1:
            self._broker.publish(burst.subject, burst.parts[0], burst.message_id, burst.done[0])
        else:
            payload = envelopes.burst(burst.parts)
            self._broker.publish(burst.subject, payload, burst.message_id, partial(_tell_all, burst.done))


def _tell_all(waiting: list[Done], error: ZocketError | None) -> None:
    for done in waiting:
        done(error)
