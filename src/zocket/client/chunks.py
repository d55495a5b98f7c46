"""The chunks of a streamed call that arrived and were not taken yet.

Rules: they are taken in order and without a gap; a reader that falls too far behind gets an error instead of one.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Final

from zocket.errors import Disconnected, Overloaded

if TYPE_CHECKING:
    from zocket.errors import ZocketError

MAX_WAITING: Final = 1_000
"""Chunks that wait for whoever iterates; one more ends the stream with `Overloaded`."""
MAX_WAITING_BYTES: Final = 16 * 1024 * 1024
"""The same bound in bytes of JSON."""


class Chunks:
    """Arrived chunks of one call, which `what` names in errors."""

    __slots__ = ("_arrived", "_last", "_waiting", "_waiting_bytes", "_what")

    def __init__(self, what: str) -> None:
        self._what = what
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._last = 0
        self._arrived: asyncio.Future[None] | None = None

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def push(self, number: int | None, value: bytes) -> ZocketError | None:
        """A chunk came; the error that it ends the stream with, if it does."""
        if number is not None and (error := self.missing(number)) is not None:
            return error
        self._last += 1
        self._waiting_bytes += len(value)
        if len(self._waiting) >= MAX_WAITING or self._waiting_bytes > MAX_WAITING_BYTES:
            return Overloaded(f"{self._what}: {len(self._waiting)} chunks of the stream wait for its reader")
        self._waiting.append(value)
        self.wake()
        return None

    def missing(self, number: int) -> ZocketError | None:
        """The error that the stream ends with if `number` does not come next."""
        if number == self._last + 1:
            return None
        why = "it began anew" if number <= self._last else "chunks were lost"
        message = f"the stream was interrupted, {why}; the call may or may not have taken effect"
        return Disconnected(f"{self._what}: {message}")

    def take(self) -> bytes:
        """The next chunk."""
        value = self._waiting.popleft()
        self._waiting_bytes -= len(value)
        return value

    async def wait(self) -> None:
        """Waits for the next chunk, or for `wake`."""
        self._arrived = asyncio.get_running_loop().create_future()
        await self._arrived

    def wake(self) -> None:
        """There is something to look at."""
        if self._arrived is not None and not self._arrived.done():
            self._arrived.set_result(None)
