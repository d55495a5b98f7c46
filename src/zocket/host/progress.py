"""Waiting for something that others bring about, with a limit of the host's own clock."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from zocket.clock import Clock


class Progress:
    """Where one task waits for a condition, and others say that it may hold.

    Args:
        clock: of the limit.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._made = asyncio.Event()

    def made(self) -> None:
        """The condition is looked at again."""
        self._made.set()

    async def wait_until(self, holds: Callable[[], bool], most_s: float = math.inf) -> None:
        """Waits until the condition holds, at most so many seconds."""
        expired = False

        def expire() -> None:
            nonlocal expired
            expired = True
            self._made.set()

        timer = None if most_s == math.inf else self._clock.call_later(most_s, expire)
        try:
            while not holds() and not expired:
                self._made.clear()
                await self._made.wait()
        finally:
            if timer is not None:
                timer.cancel()
