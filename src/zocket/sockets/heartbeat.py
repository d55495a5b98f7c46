"""Finds clients that are gone without a word: one timer for all sockets of a front.

Rule: a socket that receives costs nothing but a flag; pings go only to clients that were quiet for a whole idle time.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from zocket.sockets.peer import Sockets

TICKS: Final = 5
"""Looks at every socket in the shorter of both times: a ping is at most a fifth late."""


class Heartbeat:
    """Calls `beat` of every peer in turn until it is cancelled."""

    def __init__(self, sockets: Sockets) -> None:
        limits = sockets.limits
        self._sockets = sockets
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        if limits.ping_idle_s > 0:
            self._tick_s = min(limits.ping_idle_s, limits.pong_timeout_s) / TICKS
            sockets.ping_ticks = max(1, round(limits.ping_idle_s / self._tick_s))
            sockets.lost_ticks = sockets.ping_ticks + max(1, round(limits.pong_timeout_s / self._tick_s))
            self._timer = self._loop.call_later(self._tick_s, self._beat)

    def cancel(self) -> None:
        """No more pings."""
        if self._timer is not None:
            self._timer.cancel()

    def _beat(self) -> None:
        self._timer = self._loop.call_later(self._tick_s, self._beat)
        for peer in self._sockets.peers:
            peer.beat()
