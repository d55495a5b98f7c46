"""Who does not keep up with reading: one timer for the sockets of a front, running only while there are any.

Rules: a socket comes here when more than `slow_reader_bytes` of it are unsent, and leaves when half of that is. It is
*behind* while its backlog grows, or does not shrink for a quarter of `slow_reader_timeout_s`: a large frame on its way
over a slow line is no reason. A backlog that does not shrink for the whole time ends the socket, and so does the sum
over all sockets here when it is over `max_buffered_total_bytes`: the largest backlogs first.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from zocket.sockets.limits import SocketLimits

TRY_AGAIN_LATER: Final = 1013
"""Close code of a socket whose client does not read (registry of RFC 6455)."""

CHECK_EVERY_S: Final = 0.05
"""What arrives for a client within this time may wait beside `slow_reader_bytes` before anything is left out."""

PATIENCE: Final = 0.25
"""Part of `slow_reader_timeout_s` after which a backlog that stays as it is counts as growing."""


class Reader(Protocol):
    """A socket as its backlog is watched."""

    def unsent_bytes(self) -> int:
        """What waits for the client in this process."""

    def fell_behind(self) -> None:
        """The backlog grows: the session should send less."""

    def caught_up(self) -> None:
        """The backlog is gone; only after `fell_behind`."""

    def give_up(self, reason: str) -> None:
        """Ends the socket with 1013."""


class _Lag:
    """One socket's backlog.

    Attributes:
        since: when it last shrank by `slow_reader_bytes`, or came (the loop's seconds).
        shrunk_to: its size then.
        least: its smallest size so far.
    """

    __slots__ = ("is_behind", "least", "shrunk_to", "since", "unsent")

    def __init__(self, unsent: int, now: float) -> None:
        self.since = now
        self.unsent = self.least = self.shrunk_to = unsent
        self.is_behind = False


class Backlog:
    """The sockets with a backlog."""

    def __init__(self, limits: SocketLimits) -> None:
        self._limits = limits
        self._lags: dict[Reader, _Lag] = {}
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._lags)

    def watch(self, reader: Reader) -> None:
        """The socket has more than `slow_reader_bytes` unsent; one that is here already stays as it is."""
        if reader not in self._lags:
            loop = asyncio.get_running_loop()
            self._lags[reader] = _Lag(reader.unsent_bytes(), loop.time())
            if self._timer is None:
                self._timer = loop.call_later(CHECK_EVERY_S, self._check)

    def discard(self, reader: Reader) -> None:
        """The socket is gone."""
        self._lags.pop(reader, None)

    def cancel(self) -> None:
        """Watches nobody any more."""
        self._lags.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _check(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        for reader, lag in list(self._lags.items()):
            self._look(reader, lag, now)
        self._bound_total()
        self._timer = loop.call_later(CHECK_EVERY_S, self._check) if self._lags else None

    def _look(self, reader: Reader, lag: _Lag, now: float) -> None:
        mark, timeout_s = self._limits.slow_reader_bytes, self._limits.slow_reader_timeout_s
        lag.unsent = unsent = reader.unsent_bytes()
        if unsent <= mark // 2:
            self.discard(reader)
            if lag.is_behind:
                reader.caught_up()
            return
        lag.least = min(lag.least, unsent)
        if unsent <= lag.shrunk_to - mark:
            lag.shrunk_to, lag.since = unsent, now
        if now - lag.since >= timeout_s:
            self.discard(reader)
            reader.give_up(f"{unsent} bytes wait, and the client does not read them")
        elif not lag.is_behind and (unsent > lag.least + mark or now - lag.since >= timeout_s * PATIENCE):
            lag.is_behind = True
            reader.fell_behind()

    def _bound_total(self) -> None:
        excess = sum(lag.unsent for lag in self._lags.values()) - self._limits.max_buffered_total_bytes
        if excess <= 0:
            return
        for reader, lag in sorted(self._lags.items(), key=lambda item: -item[1].unsent):
            self.discard(reader)
            excess -= lag.unsent
            reader.give_up("the clients that do not read have too many bytes waiting together")
            if excess <= 0:
                return
