"""The standalone server as an ASGI application, for any ASGI server and for mounting into another app.

Rules: WebSockets are served, and of HTTP `/health`, `/schema` and `/call/…`, else 404; what waits for a socket is
bounded in bytes (`asgi_peer.py` sends it); where nobody runs the lifespan, the server starts with the first socket or
call.
Specification: https://asgi.readthedocs.io/en/latest/specs/www.html
"""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, quote

from zocket.contract import contract_of
from zocket.errors import Unauthorized
from zocket.protocol.http_calls import PREFIX
from zocket.server.asgi_peer import AsgiPeer, Outbound
from zocket.server.http_calls import Admitted, admission, http_calls
from zocket.server.local import Identity, LocalServer, identify
from zocket.sockets.backlog import Backlog
from zocket.sockets.calls import CALL_METHODS, HttpCalls, Reply
from zocket.sockets.limits import SocketLimits
from zocket.sockets.metadata import metadata_of
from zocket.sockets.port import ABNORMAL, PAUSE_S, Head, Refused, is_goodbye
from zocket.sockets.resumption import resume_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
    from contextlib import AbstractAsyncContextManager

    from zocket.core import AppDefinition
    from zocket.server.local import LocalSession

    Scope = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
    Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class AsgiServer:
    """Serves one `LocalServer` at a time.

    Args:
        definition: what is served.
        open_server: makes the running server, as an asynchronous context.
        authorize: who a token belongs to; None lets everybody in as unknown.
    """

    def __init__(
        self,
        definition: AppDefinition,
        open_server: Callable[[], AbstractAsyncContextManager[LocalServer]],
        authorize: Callable[[str | None], Awaitable[Identity | None]] | None,
    ) -> None:
        self._definition = definition
        self._open_server = open_server
        self._authorize = authorize
        self._stack: AsyncExitStack | None = None
        self._starting: asyncio.Lock | None = None
        self.server: LocalServer | None = None
        self._backlog: Backlog | None = None
        self._contract: bytes | None = None
        self._outbound: Outbound | None = None
        self._calls: HttpCalls[Admitted] | None = None

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
        self._calls = None
        if self._backlog is not None:
            self._backlog.cancel()
            self._backlog = self._outbound = None
        if stack is not None:
            await stack.aclose()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI application."""
        if scope["type"] == "websocket":
            await self._serve_socket(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._serve_lifespan(receive, send)
        elif scope["type"] == "http":
            await self._serve_http(scope, receive, send)
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

    async def _serve_http(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        if path == "/health" and self.server is not None:
            reply = Reply(200, _json({"ok": True, "actorTypes": list(self.server.host.definition.actors)}))
        elif path == "/schema":
            reply = await self._schema_reply(scope)
        elif path.startswith(PREFIX):
            reply = await self._answer_call(scope, receive)
        else:
            reply = Reply(404, _json({"error": "connect here with a WebSocket", "code": "not_found"}))
        await _send(send, "http.response", reply)

    async def _schema_reply(self, scope: Scope) -> Reply:
        try:
            return Reply(200, await self._schema(scope))
        except Unauthorized as error:
            return Reply(401, _json({"error": error.message, "code": error.code}))

    async def _answer_call(self, scope: Scope, receive: Receive) -> Reply:
        if scope["method"] not in CALL_METHODS:
            body = _json({"error": "a call is made with POST", "code": "method_not_allowed"})
            return Reply(405, body, (("Allow", ", ".join(CALL_METHODS)),))
        server = await self.start()
        limits = SocketLimits.of(server.limits)
        if self._calls is None:
            self._calls = http_calls(server, admission(self._authorize), limits.admit_timeout_s)
        try:
            async with asyncio.timeout(limits.head_timeout_s):
                content = await _body(receive, limits.max_frame_bytes)
        except TimeoutError:
            return Reply(408, _json({"error": "the request did not come in time", "code": "timeout"}))
        if content is None:
            message = f"a body may have {limits.max_frame_bytes} bytes"
            return Reply(413, _json({"error": message, "code": "too_large"}))
        raw: bytes = scope.get("raw_path") or quote(scope["path"]).encode()
        root = quote(scope.get("root_path", ""))
        return await self._calls(scope["method"], _head(scope), raw.decode("latin-1").removeprefix(root), content)

    async def _schema(self, scope: Scope) -> bytes:
        """The contract, for whoever may open a socket."""
        await identify(self._authorize, _token(_query(scope), scope))
        if self._contract is None:
            self._contract = contract_of(self._definition).encode()
        return self._contract

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
        if self._backlog is None or self._outbound is None:
            self._backlog, self._outbound = Backlog(limits), Outbound()
        outbound = self._outbound
        peer = AsgiPeer(send, limits, self._backlog, outbound)
        session = peer.session = server.open_session(peer, identity, metadata, resume_of(query, _headers(scope)))
        code = ABNORMAL
        try:
            code = await self._read(session, peer, outbound, receive, server.limits.max_frame_bytes)
        finally:
            session.closed(said_goodbye=is_goodbye(code) and not peer.is_closing)
            await peer.aclose()

    @staticmethod
    async def _read(
        session: LocalSession, peer: AsgiPeer, outbound: Outbound, receive: Receive, max_frame_bytes: int
    ) -> int:
        """Passes frames on until the socket is gone; its close code as the ASGI server says.

        1005 is what some servers say of a connection that was lost, too.
        """
        while True:
            message = await receive()
            if message["type"] == "websocket.disconnect":
                code: int = message.get("code", ABNORMAL)
                return code
            text = message.get("text")
            try:
                frame = text.encode() if text is not None else message.get("bytes") or b""
            except UnicodeEncodeError:
                continue
            if len(frame) > max_frame_bytes:
                peer.close(1009, f"a frame of {len(frame)} bytes, the limit is {max_frame_bytes}")
            else:
                session.received(frame)
                outbound.plan()
                if peer.is_paused:
                    await asyncio.sleep(PAUSE_S)
                    peer.is_paused = False

    @staticmethod
    async def _refuse(scope: Scope, send: Send, error: Refused) -> None:
        if "websocket.http.response" not in scope.get("extensions", {}):
            await send({"type": "websocket.close", "code": 1008, "reason": error.message[:100]})
            return
        body = _json({"error": error.message, "code": error.code})
        await _send(send, "websocket.http.response", Reply(error.status, body))


def _json(value: dict[str, Any]) -> bytes:
    return json.dumps(value).encode()


async def _send(send: Send, kind: str, reply: Reply) -> None:
    own = (("content-type", "application/json"), ("content-length", str(len(reply.body))))
    headers = [(name.lower().encode(), value.encode("latin-1")) for name, value in (*own, *reply.headers)]
    await send({"type": f"{kind}.start", "status": reply.status, "headers": headers})
    await send({"type": f"{kind}.body", "body": reply.body})


async def _body(receive: Receive, limit: int) -> bytes | None:
    """The body of a request; None if it is larger than it may be, or its client has gone."""
    body = bytearray()
    while True:
        message = await receive()
        body += message.get("body", b"")
        if len(body) > limit or message["type"] != "http.request":
            return None
        if not message.get("more_body", False):
            return bytes(body)


def _head(scope: Scope) -> Head:
    headers = _headers(scope)
    host, port = (scope.get("client") or ("", 0))[:2]
    return Head(
        path=scope["path"],
        host=headers.get("host", "").partition(":")[0].lower(),
        token=_token(_query(scope), scope),
        remote=f"{host}:{port}",
        headers=headers,
    )


def _headers(scope: Scope) -> dict[str, str]:
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in scope.get("headers", ())}


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
