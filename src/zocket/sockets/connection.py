"""One connection before it is a WebSocket: reads the head, answers a route or a call, or asks who may upgrade.

Rules: one request a connection; the bytes of a head, of a body and those that come early are bounded, and so is the
time of the first two; a client that vanishes while it is waited for cancels the waiting; after an answer to a client
that may still be sending, its bytes are discarded until it closes, since closing at once would make the kernel throw
the answer away.
"""

from __future__ import annotations

import asyncio
import logging
from enum import Enum
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol

from zocket.errors import INTERNAL
from zocket.sockets.deadlines import Deadlines
from zocket.sockets.goodbye import say_goodbye
from zocket.sockets.http import CONTINUE, JSON, Request, answer, read_request, refusal
from zocket.sockets.members import Members
from zocket.sockets.port import Refused

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping

    from zocket.sockets.calls import Reply
    from zocket.sockets.limits import Counts, SocketLimits
    from zocket.sockets.port import Head

log = logging.getLogger("zocket.sockets")

MAX_EARLY_BYTES: Final = 65_536
"""Bytes kept of a client that sends before it is admitted; beyond it the connection is not read for a while."""

ERROR_STATUS: Final = 400
"""Least HTTP status that counts as refused."""

Answer = tuple[int, str, bytes]
"""Status, content type and body."""


class Route(Protocol):
    """What a path is answered with."""

    async def __call__(self) -> Answer:
        """The answer to one GET."""


class PrivateRoute(Protocol):
    """What a path is answered with, to somebody who may have it."""

    async def __call__(self, head: Head) -> Answer:
        """The answer to one GET.

        Raises:
            Refused: it is answered with its status.
        """


class Take(Protocol):
    """Takes an admitted connection over; it may not touch it afterwards."""

    def __call__(self, transport: asyncio.Transport, key: str, early: bytes) -> None:
        """`early` are the bytes that came after the head."""


class Upgrade(Protocol):
    """Who becomes a WebSocket."""

    def at_once(self, head: Head) -> Take | None:
        """Takes who is known already; None if somebody has to be asked.

        Raises:
            Refused: it is answered with its status.
        """

    async def ask(self, head: Head) -> Take:
        """Takes who is admitted.

        Raises:
            Refused: it is answered with its status.
        """


class AnswerCall(Protocol):
    """What the requests below `/call/` are answered with."""

    async def __call__(self, method: str, head: Head, path: str, body: bytes) -> Reply:
        """The answer to one POST or OPTIONS; `path` as it stands in the request line."""


class State(Enum):
    """Where a connection is."""

    READING = "reading"
    BODY = "body"
    ROUTING = "routing"
    ADMITTING = "admitting"
    ANSWERED = "answered"
    OVER = "over"


class Site:
    """What the connections of one front share."""

    def __init__(
        self,
        routes: Mapping[str, Route],
        limits: SocketLimits,
        counts: Counts,
        upgrade: Upgrade | None,
        private: Mapping[str, PrivateRoute],
        calls: AnswerCall | None = None,
    ) -> None:
        self.calls = calls
        self.max_body_bytes = -1 if calls is None else limits.max_frame_bytes
        self.routes = routes
        self.private = private
        self.limits = limits
        self.counts = counts
        self.upgrade = upgrade
        self.connections: Members[HttpConnection] = Members()
        self.tasks: set[asyncio.Task[None]] = set()
        self.heads: Deadlines[HttpConnection] = Deadlines(limits.head_timeout_s, HttpConnection.head_expired)
        self.lingering: Deadlines[HttpConnection] = Deadlines(limits.close_timeout_s, HttpConnection.linger_expired)

    async def stop(self) -> None:
        """Ends every connection; to be called when no more are accepted. Bounded by `close_timeout_s`."""
        for connection in self.connections:
            connection.shut()
        try:
            async with asyncio.timeout(self.limits.close_timeout_s):
                await self.connections.wait_left()
        except TimeoutError:
            for connection in self.connections:
                connection.abort()
            await self.connections.wait_left()
        if self.tasks:
            await asyncio.wait(tuple(self.tasks), timeout=self.limits.close_timeout_s)
        self.heads.cancel()
        self.lingering.cancel()


class HttpConnection(asyncio.Protocol):
    """One accepted connection."""

    __slots__ = (
        "_early",
        "_ended",
        "_head",
        "_request",
        "_searched",
        "_site",
        "_state",
        "_task",
        "_transport",
        "_unsent",
    )

    def __init__(self, site: Site) -> None:
        self._site = site
        self._state = State.READING
        self._head = bytearray()
        self._searched = 0
        self._early = bytearray()
        self._unsent = 0
        self._ended = False
        self._task: asyncio.Task[None] | None = None
        self._request: Request | None = None
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The head's time starts."""
        self._transport = transport  # type: ignore[assignment]
        self._site.connections.add(self)
        self._site.heads.add(self)

    def data_received(self, data: bytes) -> None:
        """Part of the head or of a body, or bytes that come early, or what nobody asked for."""
        if self._state is State.READING:
            self._head += data
            self._look_for_end()
        elif self._state is State.BODY:
            self._early += data
            self._look_for_body()
        elif self._state is State.ADMITTING:
            self._early += data
            if len(self._early) > MAX_EARLY_BYTES:
                self._transport.pause_reading()

    def eof_received(self) -> bool:
        """A client that asked by GET may have closed its side; everyone else is gone."""
        self._ended = True
        return self._state is State.ROUTING and self._transport.get_extra_info("ssl_object") is None

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing of this connection stays."""
        self._leave()
        self._state = State.OVER
        if self._task is not None:
            self._task.cancel()

    def head_expired(self) -> None:
        """The head, or the body, did not come in time."""
        self._refuse(Refused(408, "timeout", "the request did not come in time"))

    def linger_expired(self) -> None:
        """The client did not close: a download that advances goes on, everything else ends."""
        unsent = self._transport.get_write_buffer_size()
        if self._transport.is_closing() or unsent >= self._unsent > 0:
            self.abort()
            return
        self._unsent = unsent
        if not unsent:
            self._transport.close()
        self._site.lingering.add(self)

    def abort(self) -> None:
        """Cuts the connection."""
        self._transport.abort()

    def shut(self) -> None:
        """The front stops: whoever waits for an answer is told so, an answer on its way has some time."""
        if self._state in (State.ROUTING, State.ADMITTING):
            self._refuse(Refused(503, "unavailable", "the server is stopping"))
        elif self._state in (State.READING, State.BODY):
            self.abort()

    def _look_for_end(self) -> None:
        limit = self._site.limits.max_head_bytes
        end = self._head.find(b"\r\n\r\n", max(0, self._searched - 3), limit)
        self._searched = len(self._head)
        if end < 0:
            if self._searched >= limit:
                self._refuse(Refused(431, "too_large", f"the request head is longer than {limit} bytes"))
            return
        self._site.heads.discard(self)
        self._site.counts.requests += 1
        head, self._early = bytes(self._head[: end + 4]), self._head[end + 4 :]
        self._head = bytearray()
        try:
            self._serve(read_request(head, self._remote(), max_body_bytes=self._site.max_body_bytes))
        except Refused as refused:
            self._refuse(refused)

    def _serve(self, request: Request) -> None:
        if request.key is not None:
            upgrade = self._site.upgrade
            if upgrade is None:
                raise Refused(404, "not_found", "there is no WebSocket here")
            take = upgrade.at_once(request.head)
            if take is None:
                self._wait_for(State.ADMITTING, self._admit(request, request.key, upgrade))
            else:
                self._state = State.ADMITTING
                self._hand_over(take, request.key)
        elif request.path:
            self._state, self._request = State.BODY, request
            self._site.heads.add(self)
            if request.waits and len(self._early) < request.body_bytes:
                self._transport.write(CONTINUE)
            self._look_for_body()
        else:
            self._wait_for(State.ROUTING, self._answer_route(request, self._route(request.head)))

    def _route(self, head: Head) -> Route:
        private = self._site.private.get(head.path)
        if private is not None:
            return partial(private, head)
        route = self._site.routes.get(head.path)
        if route is None:
            raise Refused(404, "not_found", "there is nothing at this path")
        return route

    def _look_for_body(self) -> None:
        request, calls = self._request, self._site.calls
        assert request is not None
        assert calls is not None
        if len(self._early) >= request.body_bytes:
            body, self._early = bytes(self._early[: request.body_bytes]), bytearray()
            self._site.heads.discard(self)
            self._wait_for(State.ROUTING, self._answer_call(request, calls, body))

    async def _answer_call(self, request: Request, calls: AnswerCall, body: bytes) -> None:
        reply = await calls(request.method, request.head, request.path, body)
        self._finish(reply.status, answer(reply.status, JSON, reply.body, headers=reply.headers))

    def _wait_for(self, state: State, work: Coroutine[None, None, None]) -> None:
        self._state = state
        self._task = asyncio.get_running_loop().create_task(work)
        self._site.tasks.add(self._task)
        self._task.add_done_callback(self._site.tasks.discard)

    async def _answer_route(self, request: Request, route: Route) -> None:
        try:
            status, content_type, body = await route()
        except Refused as refused:
            self._refuse(refused, head_only=request.head_only)
            return
        except Exception:  # border: a route is code from outside of this package
            log.exception("a route failed", extra={"path": request.head.path})
            self._refuse(Refused(500, INTERNAL, "the request failed"), head_only=request.head_only)
            return
        self._finish(status, answer(status, content_type, body, head_only=request.head_only))

    async def _admit(self, request: Request, key: str, upgrade: Upgrade) -> None:
        try:
            async with asyncio.timeout(self._site.limits.admit_timeout_s):
                take = await upgrade.ask(request.head)
        except Refused as refused:
            self._refuse(refused)
        except TimeoutError:
            log.warning("an upgrade was not decided in time", extra={"remote": request.head.remote})
            self._refuse(Refused(503, "unavailable", "the authorization took too long"))
        except Exception:  # border: whoever decides is code from outside of this package
            log.exception("an upgrade could not be decided", extra={"remote": request.head.remote})
            self._refuse(Refused(500, INTERNAL, "the upgrade failed"))
        else:
            self._hand_over(take, key)

    def _hand_over(self, take: Take, key: str) -> None:
        if self._state is not State.ADMITTING or self._transport.is_closing():
            return
        self._leave()
        self._state = State.OVER
        self._task = None
        take(self._transport, key, bytes(self._early))
        self._transport.resume_reading()

    def _refuse(self, refused: Refused, *, head_only: bool = False) -> None:
        self._finish(refused.status, refusal(refused, head_only=head_only))

    def _finish(self, status: int, payload: bytes) -> None:
        if self._state in (State.ANSWERED, State.OVER):
            return
        if status >= ERROR_STATUS:
            self._site.counts.refused += 1
        self._state = State.ANSWERED
        self._early = bytearray()
        self._site.heads.discard(self)
        self._transport.write(payload)
        self._unsent = self._transport.get_write_buffer_size()
        self._site.lingering.add(self)
        self._transport.resume_reading()
        say_goodbye(self._transport, ended=self._ended)

    def _leave(self) -> None:
        self._site.connections.discard(self)
        self._site.heads.discard(self)
        self._site.lingering.discard(self)

    def _remote(self) -> str:
        peername = self._transport.get_extra_info("peername")
        if not peername:
            return ""
        host, port = peername[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
