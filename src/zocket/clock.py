"""Time as an argument: whoever waits or measures is handed a `Clock`, so that a test can move it.

Rules: seconds everywhere; `now()` is monotonic and only good for differences, `wall()` is the time of day.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable


class TimerHandle(Protocol):
    """A planned call that can still be cancelled; cancelling one that ran does nothing."""

    def cancel(self) -> None:
        """The planned call does not happen."""


class Clock(Protocol):
    """Where time comes from."""

    def now(self) -> float:
        """Monotonic seconds."""

    def wall(self) -> float:
        """Seconds since the epoch."""

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> TimerHandle:
        """Calls back once in the running event loop, not before `delay_s` have passed."""

    async def sleep(self, delay_s: float) -> None:
        """Waits for `delay_s`."""


class SystemClock:
    """The machine's clock and the running event loop's timers."""

    now = staticmethod(time.monotonic)
    wall = staticmethod(time.time)

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> TimerHandle:
        """See `Clock.call_later`."""
        return asyncio.get_running_loop().call_later(delay_s, callback)

    async def sleep(self, delay_s: float) -> None:
        """See `Clock.sleep`."""
        await asyncio.sleep(delay_s)
