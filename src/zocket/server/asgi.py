"""The standalone server as an ASGI application, for any ASGI server and for mounting into another app.

Rules: only the WebSocket scope is served (HTTP gets 404, except `/health`); a socket's frames are sent by one task of
its own, bounded in bytes; where nobody runs the lifespan, the server starts with the first socket.
Specification: https://asgi.readthedocs.io/en/latest/specs/www.html
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections import deque
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from zocket.errors import Unauthorized
from zocket.server.local import Identity, LocalServer, identify
from zocket.sockets.backlog import TRY_AGAIN_LATER, Backlog
from zocket.sockets.limits import SocketLimits
from zocket.sockets.metadata import metadata_of
from zocket.sockets.port import Refused

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
    from contextlib import AbstractAsyncContextManager

    from zocket.server.local import LocalSession

    Scope = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
    Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

log = logging.getLogger("zocket.server")


class AsgiPeer:
    """A `Peer` on ASGI's `send`; `session` is told when the client falls behind."""

    def __init__(self, send: Send, limits: SocketLimits, backlog: Backlog) -> None:
        self.session: LocalSession | None = None
        self._send = send
        self._limits = limits
        self._backlog = backlog
        self._slow_reader_bytes = limits.slow_reader_bytes
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._closing: tuple[int, str] | None = None
        self._wake = asyncio.Event()

    def send(self, frame: bytes) -> None:
        """See `Peer.send`."""
        if self._closing is not None:
            return
        self._waiting.append(frame)
        self._waiting_bytes += len(frame)
        if self._waiting_bytes > self._slow_reader_bytes:
            if self._waiting_bytes > self._limits.max_buffer_bytes:
                self.give_up("more bytes wait than one socket may hold")
            else:
                self._backlog.watch(self)
        self._wake.set()

    def unsent_bytes(self) -> int:
        """See `Reader.unsent_bytes`; what the ASGI server has taken is its own business."""
        return self._waiting_bytes

    def fell_behind(self) -> None:
        """See `Reader.fell_behind`."""
        if self.session is not None:
            self.session.fell_behind()

    def caught_up(self) -> None:
        """See `Reader.caught_up`."""
        if self.session is not None:
            self.session.caught_up()

    def give_up(self, reason: str) -> None:
        """Closes with 1013; what waits is dropped. `reason` is for the log."""
        if self._closing is None:
            log.info("a client reads too slowly", extra={"unsent_bytes": self._waiting_bytes, "reason": reason})
            self._waiting.clear()
            self.close(TRY_AGAIN_LATER, "the client reads too slowly")

    def close(self, code: int, reason: str = "") -> None:
        """See `Peer.close`."""
        if self._closing is None:
            self._closing = (code, reason)
        self._wake.set()

    async def write(self) -> None:
        """Sends what waits, until the socket is closed."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                frame = self._waiting.popleft()
                await self._send({"type": "websocket.send", "text": _decoded(frame)})
                self._waiting_bytes -= len(frame)
            if self._closing is not None:
                code, reason = self._closing
                await self._send({"type": "websocket.close", "code": code, "reason": reason})
                return


_last_frame, _last_text = b"", ""


def _decoded(frame: bytes) -> str:
    """The frame as text; a broadcast, which is one object for all its sockets, is decoded once."""
    global _last_frame, _last_text
    if frame is not _last_frame:
        _last_frame, _last_text = frame, frame.decode()
    return _last_text


class AsgiServer:
    """Serves one `LocalServer` at a time.

    Args:
        open_server: makes the running server, as an asynchronous context.
        authorize: who a token belongs to; None lets everybody in as unknown.
    """

    def __init__(
        self,
        open_server: Callable[[], AbstractAsyncContextManager[LocalServer]],
        authorize: Callable[[str | None], Awaitable[Identity | None]] | None,
    ) -> None:
        self._open_server = open_server
        self._authorize = authorize
        self._stack: AsyncExitStack | None = None
        self._starting: asyncio.Lock | None = None
        self.server: LocalServer | None = None
        self._backlog: Backlog | None = None

    async def start(self) -> LocalServer:
        """The running server; started now if it is not."""
        if self._starting is None:
            self._starting = asyncio.Lock()
        async with self._starting:
            if self.server is None:
                self._stack = AsyncExitStack()
                self.server = await self._stack.enter_async_context(self._open_server())
            return self.server

    async def stop(self) -> None:
        """Stops the running server, if there is one."""
        stack, self._stack, self.server, self._starting = self._stack, None, None, None
        if self._backlog is not None:
            self._backlog.cancel()
            self._backlog = None
        if stack is not None:
            await stack.aclose()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI application."""
        if scope["type"] == "websocket":
            await self._serve_socket(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._serve_lifespan(receive, send)
        elif scope["type"] == "http":
            await self._serve_http(scope, send)
        else:
            raise ValueError(f"unknown ASGI scope {scope['type']!r}")

    async def _serve_lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                await self.start()
                await send({"type": "lifespan.startup.complete"})
            else:
                await self.stop()
                await send({"type": "lifespan.shutdown.complete"})
                return

    async def _serve_http(self, scope: Scope, send: Send) -> None:
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        if path == "/health" and self.server is not None:
            status, body = 200, {"ok": True, "actorTypes": list(self.server.host.definition.actors)}
        else:
            status, body = 404, {"error": "connect here with a WebSocket", "code": "not_found"}
        content = json.dumps(body).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": content})

    async def _serve_socket(self, scope: Scope, receive: Receive, send: Send) -> None:
        server = await self.start()
        await receive()  # websocket.connect
        try:
            query = _query(scope)
            metadata = metadata_of(query)
            identity = await identify(self._authorize, _token(query, scope))
        except Unauthorized as error:
            await self._refuse(scope, send, Refused(401, error.code, error.message))
            return
        except Refused as refused:
            await self._refuse(scope, send, refused)
            return
        await send({"type": "websocket.accept"})
        limits = SocketLimits.of(server.limits)
        if self._backlog is None:
            self._backlog = Backlog(limits)
        backlog = self._backlog
        peer = AsgiPeer(send, limits, backlog)
        session = peer.session = server.open_session(peer, identity, metadata)
        writer = asyncio.ensure_future(peer.write())
        try:
            await self._read(session, peer, receive, server.limits.max_frame_bytes)
        finally:
            session.closed()
            backlog.discard(peer)
            writer.cancel()
            await asyncio.gather(writer, return_exceptions=True)

    async def _read(self, session: LocalSession, peer: AsgiPeer, receive: Receive, max_frame_bytes: int) -> None:
        while True:
            message = await receive()
            if message["type"] == "websocket.disconnect":
                return
            text = message.get("text")
            try:
                frame = text.encode() if text is not None else message.get("bytes") or b""
            except UnicodeEncodeError:
                continue
            if len(frame) > max_frame_bytes:
                peer.close(1009, f"a frame of {len(frame)} bytes, the limit is {max_frame_bytes}")
            else:
                session.received(frame)

    @staticmethod
    async def _refuse(scope: Scope, send: Send, error: Refused) -> None:
        if "websocket.http.response" not in scope.get("extensions", {}):
            await send({"type": "websocket.close", "code": 1008, "reason": error.message[:100]})
            return
        content = json.dumps({"error": error.message, "code": error.code}).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())]
        await send({"type": "websocket.http.response.start", "status": error.status, "headers": headers})
        await send({"type": "websocket.http.response.body", "body": content})


def _query(scope: Scope) -> dict[str, list[str]]:
    query: bytes = scope.get("query_string", b"")
    return parse_qs(query.decode("latin-1"))


def _token(query: Mapping[str, Sequence[str]], scope: Scope) -> str | None:
    """The token of `?token=` or `Authorization: Bearer`, or None."""
    found = query.get("token")
    if found:
        return found[0]
    for name, value in scope.get("headers", ()):
        if name == b"authorization" and value[:7].lower() == b"bearer ":
            return str(value[7:].strip(), "latin-1") or None
    return None
