"""Gives the server a fresh token before the present one expires, so that the connection goes on.

Rules: at half the time that is left, and again at half of the rest until the server has taken one; where that fails the
server closes the connection at the end, and the next one begins with a fresh token anyway.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from zocket.errors import ZocketError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from zocket.clock import Clock, TimerHandle

LAST_S: Final = 5.0
"""With less time left there is no further attempt."""

_log = logging.getLogger("zocket.client")


class TokenRefresh:
    """Of one client, over all its connections.

    Args:
        source: gives a fresh token.
        clock: measures what is left.
        offer: sends a token to the server.
    """

    def __init__(self, source: Callable[[], Awaitable[str | None]], clock: Clock, offer: Callable[[str], None]) -> None:
        self._source = source
        self._clock = clock
        self._offer = offer
        self._expires_at = 0.0
        self._timer: TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None

    def expires(self, at: float | None) -> None:
        """The token of the present connection expires then, in seconds since the epoch; None: never."""
        self.cancel()
        if at is not None:
            self._expires_at = at
            self._plan()

    def cancel(self) -> None:
        """The connection is gone."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._task is not None:
            self._task.cancel()
            self._task = None

    def _plan(self) -> None:
        left_s = self._expires_at - self._clock.wall()
        if left_s >= LAST_S:
            self._timer = self._clock.call_later(left_s / 2, self._begin)

    def _begin(self) -> None:
        self._plan()
        if self._task is None or self._task.done():
            # It ends with its connection, at `cancel`, so the task is this object's own.
            self._task = asyncio.get_running_loop().create_task(self._refresh())

    async def _refresh(self) -> None:
        try:
            token = await self._source()
        except ZocketError as error:
            _log.warning("no fresh token: %s", error.message)
            return
        if token is not None:
            self._offer(token)
