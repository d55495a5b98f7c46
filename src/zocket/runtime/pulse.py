"""Notices that this process stood still: it was stopped, or something blocked its event loop.

Rules: whoever sends beats first, so that nothing leaves between waking up and noticing it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from zocket.clock import Clock

BEAT_S: Final = 0.5
"""How often it beats at least."""
STOOD_STILL_S: Final = 1.5
"""Without a beat for so long the process stood still. A handler that blocks the loop for as long costs one look at the
owner record; taking over takes a new process about as long."""


class Pulse:
    """Beats, and tells when it had not for too long.

    Args:
        clock: whose time goes on while the process does not.
        stood_still: called with the seconds that it had stood still.
        allowed_s: between two beats.
    """

    __slots__ = ("_allowed_s", "_at", "_now", "_stood_still")

    def __init__(self, clock: Clock, stood_still: Callable[[float], None], allowed_s: float = STOOD_STILL_S) -> None:
        self._now = clock.now
        self._stood_still = stood_still
        self._allowed_s = allowed_s
        self._at = clock.now()

    def beat(self) -> None:
        """The process is alive now."""
        before, self._at = self._at, self._now()
        if self._at - before > self._allowed_s:
            self._stood_still(self._at - before)
