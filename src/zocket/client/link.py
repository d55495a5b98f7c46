"""Keeps one connection open: the first attempt, the loss, the attempts after it.

Rules: one connection at a time, and a connection that was replaced is not heard any more; the first attempt fails in
the open; after that attempts go on for ever with full jitter, except after a refused token and a socket that an actor
had closed or whose session went on elsewhere; every attempt has a limit.
"""

from __future__ import annotations

import asyncio
import logging
import random
from typing import TYPE_CHECKING, Final, Literal, Protocol

from zocket.errors import Disconnected, Unauthorized, Unavailable, UsageError, ZocketError
from zocket.protocol.edge import KICKED_CODE

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from zocket.client.transport import Connection, Transport
    from zocket.clock import Clock

Status = Literal["connecting", "open", "reconnecting", "closed"]

BACKOFF_MIN_S: Final = 0.25
"""Upper end of the random delay before the first attempt to reconnect; it doubles with every attempt."""
BACKOFF_MAX_S: Final = 2.0
"""Upper end of any delay: a server that comes back is found within two seconds. A connection that held for so long also
starts the delays anew."""

_log = logging.getLogger("zocket.client")


class LinkOwner(Protocol):
    """Who uses the connection."""

    @property
    def resume(self) -> str:
        """As of `Receiver.resume`, for the next connection."""

    def connected(self) -> None:
        """A connection is open; frames may be sent."""

    def received(self, frame: bytes) -> None:
        """A frame came."""

    def dropped(self, error: Disconnected) -> None:
        """The connection is gone; another one is being tried."""

    def ended(self, error: ZocketError | None) -> None:
        """There will be no further connection; the error says why, None if that was asked for. Called once."""


class _Attempt:
    """What one connection reports to; it passes on nothing once the link has another one."""

    def __init__(self, link: Link, resume: str) -> None:
        self._link = link
        self.resume = resume
        self.connection: Connection | None = None
        self.closed: Disconnected | None = None

    def on_frame(self, frame: bytes | str, /) -> None:
        self._link.frame_of(self, frame.encode() if isinstance(frame, str) else frame)

    def on_closed(self, code: int | None, reason: str, /) -> None:
        if self.closed is None:
            why = f" (close code {code}{': ' + reason if reason else ''})" if code else ""
            self.closed = Disconnected(f"the connection to the server dropped{why}", data={"close_code": code})
            self._link.closed_of(self)


class Link:
    """One connection after another to the same server.

    Args:
        transport: opens them.
        owner: is told what happens.
        clock: delays and time limits go by it.
        connect_timeout_s: time limit of each attempt.
        reconnect: False ends the link with its first connection.
        jitter: gives numbers in [0, 1); a delay is so much of its upper end.
    """

    def __init__(
        self,
        transport: Transport,
        owner: LinkOwner,
        *,
        clock: Clock,
        connect_timeout_s: float,
        reconnect: bool,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.status: Status = "connecting"
        self.end: ZocketError | None = None
        self._transport = transport
        self._owner = owner
        self._clock = clock
        self._connect_timeout_s = connect_timeout_s
        self._reconnect = reconnect
        self._jitter = jitter
        self._attempt: _Attempt | None = None
        self._opened_at = 0.0
        self._failures = 0
        self._keeper: asyncio.Task[None] | None = None
        self._started = False
        self._changed = asyncio.Event()

    async def start(self) -> None:
        """Opens the first connection.

        Raises:
            Unauthorized: the server refuses the token.
            Unavailable: the attempt failed or took too long.
            UsageError: it was started before.
        """
        if self._started:
            raise UsageError("this client was opened before: call connect() again for another one")
        self._started = True
        try:
            await self._connect()
        except BaseException as error:
            self._finish(error if isinstance(error, ZocketError) else None)
            raise

    def send(self, frame: bytes) -> None:
        """Sends a frame over the open connection; without one it is dropped."""
        if self._attempt is not None and self._attempt.connection is not None:
            self._attempt.connection.send(frame)

    async def aclose(self) -> None:
        """Ends the link, and waits until its connection is gone."""
        attempt, self._attempt = self._attempt, None
        self._finish(None)
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.wait([self._keeper])
        if attempt is not None and attempt.connection is not None and attempt.closed is None:
            await attempt.connection.close()

    async def statuses(self) -> AsyncGenerator[Status, None]:
        """The present status, then the newest after every change; ends after `closed`."""
        given: Status | None = None
        while given != "closed":
            if self.status == given:
                await self._changed.wait()
            else:
                given = self.status
                yield given

    async def wait_open(self) -> None:
        """Waits for an open connection.

        Raises:
            ZocketError: there will be none; the error that ended the link, or `Disconnected`.
        """
        while self.status != "open":
            if self.status == "closed":
                raise self.end or Disconnected("the client was closed")
            await self._changed.wait()

    def frame_of(self, attempt: _Attempt, frame: bytes) -> None:
        """A connection received a frame."""
        if attempt is self._attempt:
            self._owner.received(frame)

    def closed_of(self, attempt: _Attempt) -> None:
        """A connection is gone."""
        if attempt is not self._attempt or attempt.closed is None or self.status != "open":
            return
        self._attempt = None
        if not self._reconnect or attempt.closed.data == {"close_code": KICKED_CODE}:
            self._finish(attempt.closed)
            return
        _log.warning("connection lost", extra={"server": str(self._transport), "reason": attempt.closed.message})
        self._set_status("reconnecting")
        self._owner.dropped(attempt.closed)
        if self._clock.now() - self._opened_at >= BACKOFF_MAX_S:
            self._failures = 0
        if self._keeper is None or self._keeper.done():
            # The link outlives every scope of its user's code and ends with `aclose`, so the task is its own.
            self._keeper = asyncio.create_task(self._connect_again())

    async def _connect_again(self) -> None:
        try:
            while self.status == "reconnecting":
                upper_end_s = min(BACKOFF_MAX_S, BACKOFF_MIN_S * 2 ** min(self._failures, 8))
                self._failures += 1
                await self._clock.sleep(upper_end_s * self._jitter())
                try:
                    await self._connect()
                except Unavailable as error:
                    _log.info("no connection yet", extra={"server": str(self._transport), "reason": error.message})
        except ZocketError as error:  # a refused token, or one that cannot be sent
            self._finish(error)
        except Exception as error:  # noqa: BLE001 — border: a transport of the developer's own; nobody may hang by it
            _log.exception("the transport failed", extra={"server": str(self._transport)})
            self._finish(Unavailable(f"the transport failed: {error!r}"))

    async def _connect(self) -> None:
        """One attempt, within its time limit; afterwards the link is open."""
        attempt = self._attempt = _Attempt(self, self._owner.resume)
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(None) as limit:
                # The limit is due by our clock, not by the loop's.
                timer = self._clock.call_later(self._connect_timeout_s, lambda: limit.reschedule(loop.time()))
                try:
                    attempt.connection = await self._transport.connect(attempt)
                finally:
                    timer.cancel()
        except TimeoutError as error:
            raise Unavailable(f"no connection to {self._transport} within {self._connect_timeout_s:g} s") from error
        if self._attempt is not attempt:
            await attempt.connection.close()
            raise Disconnected("the client was closed")
        if attempt.closed is not None:
            raise Unavailable(attempt.closed.message)
        self._opened_at = self._clock.now()
        self._set_status("open")
        _log.info("connected", extra={"server": str(self._transport)})
        self._owner.connected()

    def _finish(self, error: ZocketError | None) -> None:
        if self.status == "closed":
            return
        self.end = error
        if isinstance(error, Unauthorized):
            _log.warning("the server refuses the token", extra={"server": str(self._transport)})
        self._set_status("closed")
        self._owner.ended(error)

    def _set_status(self, status: Status) -> None:
        self.status = status
        self._changed.set()
        self._changed.clear()
