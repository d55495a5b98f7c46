"""Clocks that a test moves: `VirtualClock` on a virtual loop, `ShiftedClock` beside real servers.

Rules: `advance` runs everything that becomes due on the way, in its order, before it returns.
"""

from __future__ import annotations

import asyncio
import heapq
import time
from itertools import count
from typing import TYPE_CHECKING, Final, Protocol

from zocket.clock import Clock
from zocket.testing.loop import VirtualLoop

if TYPE_CHECKING:
    from collections.abc import Callable

    from zocket.clock import TimerHandle

EPOCH_S: Final = 1_800_000_000.0
"""Time of day at which a virtual clock starts (January 2027): constant, so that a failure repeats."""


class MovableClock(Clock, Protocol):
    """A clock with a hand to turn it."""

    async def advance(self, seconds: float) -> None:
        """Moves the time forward; what becomes due on the way happens now."""


class VirtualClock:
    """The time of a `VirtualLoop`."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._started = self._loop.time()
        self.now = self._loop.time

    def wall(self) -> float:
        """See `Clock.wall`."""
        return EPOCH_S + self._loop.time() - self._started

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> TimerHandle:
        """See `Clock.call_later`."""
        return self._loop.call_later(delay_s, callback)

    async def sleep(self, delay_s: float) -> None:
        """See `Clock.sleep`."""
        await asyncio.sleep(delay_s)

    async def advance(self, seconds: float) -> None:
        """See `MovableClock.advance`; what is due at its end happens, too."""
        await asyncio.sleep(seconds)
        if isinstance(self._loop, VirtualLoop):
            await self._loop.quiet()


class _Planned:
    __slots__ = ("callback", "cancelled")

    def __init__(self, callback: Callable[[], None]) -> None:
        self.callback = callback
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class ShiftedClock:
    """Real time plus what a test has advanced: for tests beside servers that have a time of their own."""

    def __init__(self) -> None:
        self._shift_s = 0.0
        self._numbers = count()
        self._planned: list[tuple[float, int, _Planned]] = []
        self._timer: asyncio.TimerHandle | None = None

    def now(self) -> float:
        """See `Clock.now`."""
        return time.monotonic() + self._shift_s

    def wall(self) -> float:
        """See `Clock.wall`."""
        return time.time() + self._shift_s

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> TimerHandle:
        """See `Clock.call_later`."""
        planned = _Planned(callback)
        heapq.heappush(self._planned, (self.now() + delay_s, next(self._numbers), planned))
        self._set_timer()
        return planned

    async def sleep(self, delay_s: float) -> None:
        """See `Clock.sleep`."""
        over = asyncio.Event()
        timer = self.call_later(delay_s, over.set)
        try:
            await over.wait()
        finally:
            timer.cancel()

    async def advance(self, seconds: float) -> None:
        """See `MovableClock.advance`."""
        end = self.now() + seconds
        while self._planned and self._planned[0][0] <= end:
            self._shift_s += max(0.0, self._planned[0][0] - self.now())
            self._run_due()
            await asyncio.sleep(0)
        self._shift_s += max(0.0, end - self.now())
        self._set_timer()
        await asyncio.sleep(0)

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._planned:
            delay_s = max(0.0, self._planned[0][0] - self.now())
            self._timer = asyncio.get_running_loop().call_later(delay_s, self._run_due)

    def _run_due(self) -> None:
        while self._planned and self._planned[0][0] <= self.now():
            planned = heapq.heappop(self._planned)[2]
            if not planned.cancelled:
                planned.callback()
        self._set_timer()
