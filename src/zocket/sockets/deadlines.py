"""Things that must be over within one fixed time, watched by a single timer.

Rules: every item waits equally long, so the oldest is always due first; an item that is over in time costs one
dictionary entry and no timer.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class Deadlines(Generic[T]):
    """Calls `expired(item)` for each item that was not discarded within `after_s` seconds."""

    __slots__ = ("_after_s", "_due", "_expired", "_loop", "_timer")

    def __init__(self, after_s: float, expired: Callable[[T], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._after_s = after_s
        self._expired = expired
        self._due: dict[T, float] = {}
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._due)

    def add(self, item: T) -> None:
        """Starts the time of an item; one that runs already keeps its time."""
        due = self._due.setdefault(item, self._loop.time() + self._after_s)
        if self._timer is None:
            self._timer = self._loop.call_at(due, self._check)

    def discard(self, item: T) -> None:
        """The item is over in time, or was never here."""
        self._due.pop(item, None)

    def cancel(self) -> None:
        """Forgets every item."""
        self._due.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _check(self) -> None:
        self._timer = None
        now = self._loop.time()
        late = [item for item, due in self._due.items() if due <= now]
        for item in late:
            del self._due[item]
        if self._due:
            self._timer = self._loop.call_at(next(iter(self._due.values())), self._check)
        for item in late:
            self._expired(item)
