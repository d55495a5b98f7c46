"""A clock that a test turns by hand, without any event loop."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable


class Planned:
    def __init__(self, callback: Callable[[], None]) -> None:
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        self.callback = None


class HandClock:
    def __init__(self) -> None:
        self._now = 100.0
        self._plan: list[tuple[float, int, Planned]] = []
        self._count = 0

    def now(self) -> float:
        return self._now

    def wall(self) -> float:
        return self._now

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> Planned:
        planned = Planned(callback)
        self._count += 1
        heapq.heappush(self._plan, (self._now + delay_s, self._count, planned))
        return planned

    async def sleep(self, delay_s: float) -> None:
        raise AssertionError("nothing in the broker sleeps on the clock")

    def advance(self, seconds: float) -> None:
        end = self._now + seconds
        while self._plan and self._plan[0][0] <= end:
            self._now, _, planned = heapq.heappop(self._plan)
            if planned.callback is not None:
                planned.callback()
        self._now = end


@pytest.fixture
def clock() -> HandClock:
    return HandClock()
