"""The port of a gateway or a standalone server: WebSockets, calls, a few HTTP paths; and one with those paths alone.

Rules: `open` owns everything behind the port and leaves nothing behind; a stop ends in bounded time whatever the
clients do.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Generic

from zocket.sockets.connection import HttpConnection, Site
from zocket.sockets.heartbeat import Heartbeat
from zocket.sockets.limits import Counts, SocketLimits, SocketStatistics
from zocket.sockets.listener import Listener
from zocket.sockets.peer import SocketPeer, Sockets
from zocket.sockets.port import A

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Mapping

    from zocket.sockets.connection import AnswerCall, PrivateRoute, Route, Take
    from zocket.sockets.port import Admit, Head, Known, Open

GOING_AWAY: Final = 1001
"""Close code of sockets that are still open when a front is left."""

_NO_ROUTES: Final[Mapping[str, Any]] = {}


class HttpFront:
    """A port that answers GET and HEAD on fixed paths."""

    def __init__(self, listener: Listener, site: Site) -> None:
        self._listener = listener
        self._site = site
        self.port = listener.port

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        host: str,
        port: int,
        *,
        routes: Mapping[str, Route],
        limits: SocketLimits = SocketLimits(),  # noqa: B008 — frozen
        tls: ssl.SSLContext | None = None,
        reuse_port: bool = False,
    ) -> AsyncIterator[HttpFront]:
        """Listens until the block is left.

        Args:
            host: address or name; empty for every address of the machine.
            port: 0 for a free one, see `port`.
            routes: path → async callable that gives status, content type and body.
            limits: bounds of a connection.
            tls: from `server_context`; without it the port speaks plain HTTP.
            reuse_port: several processes may listen on the port, the kernel shares the connections out.

        Raises:
            BootError: the port cannot be listened on.
        """
        site = Site(routes, limits, Counts(), upgrade=None, private={})
        listener = await _listen(site, host, port, tls=tls, reuse_port=reuse_port)
        try:
            yield cls(listener, site)
        finally:
            listener.close()
            await listener.wait_closed()
            await site.stop()


class SocketFront:
    """A port that upgrades to WebSockets whom `admit` admits."""

    def __init__(self, listener: Listener, site: Site, sockets: Sockets) -> None:
        self._listener = listener
        self._site = site
        self._sockets = sockets
        self.port = listener.port

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        host: str,
        port: int,
        *,
        admit: Admit[A],
        open: Open[A],  # noqa: A002 — the verb of the port
        known: Known[A] | None = None,
        routes: Mapping[str, Route] = _NO_ROUTES,
        private: Mapping[str, PrivateRoute] = _NO_ROUTES,
        calls: AnswerCall | None = None,
        limits: SocketLimits = SocketLimits(),  # noqa: B008 — frozen
        tls: ssl.SSLContext | None = None,
        reuse_port: bool = False,
    ) -> AsyncIterator[SocketFront]:
        """Listens until the block is left; sockets that are still open then are closed with 1001.

        Args:
            host: address or name; empty for every address of the machine.
            port: 0 for a free one, see `port`.
            admit: decides about each upgrade, while other connections go on.
            open: makes the session of an admitted socket.
            known: whom it need not be asked about; None to ask about everybody.
            routes: path → async callable that gives status, content type and body.
            private: the same for paths that are answered by who asks.
            calls: answers POST and OPTIONS below `/call/`; None for 405.
            limits: bounds of a connection.
            tls: from `server_context`; without it the port speaks plain HTTP and ws://.
            reuse_port: several processes may listen on the port, the kernel shares the connections out.

        Raises:
            BootError: the port cannot be listened on.
        """
        counts = Counts()
        sockets = Sockets(limits, counts)
        upgrade = _Upgrade(sockets, admit, known, open)
        site = Site(routes, limits, counts, upgrade=upgrade, private=private, calls=calls)
        listener = await _listen(site, host, port, tls=tls, reuse_port=reuse_port)
        heartbeat = Heartbeat(sockets)
        try:
            yield cls(listener, site, sockets)
        finally:
            listener.close()
            await listener.wait_closed()
            await asyncio.gather(site.stop(), sockets.close_all(GOING_AWAY, "going away"))
            heartbeat.cancel()
            sockets.closing.cancel()
            sockets.paused.cancel()
            sockets.backlog.cancel()

    def stop_listening(self) -> None:
        """Accepts no more connections; open ones go on."""
        self._listener.close()

    async def close_sockets(self, code: int, reason: str = "") -> None:
        """Closes every open socket, and returns when all are gone: within the limits' `close_timeout_s`."""
        await self._sockets.close_all(code, reason)

    def statistics(self) -> SocketStatistics:
        """The numbers of this moment."""
        counts = self._site.counts
        return SocketStatistics(
            sockets=len(self._sockets.peers),
            connections=len(self._site.connections),
            **{name: getattr(counts, name) for name in Counts.__slots__},
        )


async def _listen(site: Site, host: str, port: int, *, tls: ssl.SSLContext | None, reuse_port: bool) -> Listener:
    factory = partial(HttpConnection, site)
    return await Listener.bind(factory, host, port, limits=site.limits, tls=tls, reuse_port=reuse_port)


class _Upgrade(Generic[A]):
    """Makes sockets of those who are admitted."""

    def __init__(self, sockets: Sockets, admit: Admit[A], known: Known[A] | None, open_session: Open[A]) -> None:
        self._sockets = sockets
        self._admit = admit
        self._known = known
        self._open = open_session

    def at_once(self, head: Head) -> Take | None:
        admitted = None if self._known is None else self._known(head)
        return None if admitted is None else self._take(head, admitted)

    async def ask(self, head: Head) -> Take:
        return self._take(head, await self._admit(head))

    def _take(self, head: Head, admitted: A) -> Take:
        def take(transport: asyncio.Transport, key: str, early: bytes) -> None:
            peer = SocketPeer(self._sockets, transport, head.remote)
            peer.begin(key, early, lambda opened: self._open(opened, admitted))

        return take
