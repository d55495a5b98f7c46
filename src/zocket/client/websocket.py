"""The default transport: WebSocket text frames by the `websockets` library.

Rules: the token travels in the `Authorization` header, what resumes a session in `X-Zocket-Resume`, and neither is in a
log line, message or repr; certificates of `wss` are verified unless a context says otherwise; no compression (frames
are small and latency counts). The library's debug lines are never written: they hold headers and payloads.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections import deque
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlsplit

import msgspec

from zocket.errors import Unauthorized, Unavailable, UsageError
from zocket.protocol.metadata import encode_metadata
from zocket.settings import is_loopback

try:
    from websockets.asyncio.client import connect as open_websocket
    from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException
except ImportError as error:
    raise UsageError("the client needs the package websockets: pip install 'zocket[client]'") from error

if TYPE_CHECKING:
    import ssl
    from collections.abc import Awaitable, Callable, Mapping

    from websockets.asyncio.client import ClientConnection

    from zocket.client.transport import Receiver

    TokenSource = str | Callable[[], str | Awaitable[str]] | None

MAX_FRAME_BYTES: Final = 64 * 1024 * 1024
"""Largest frame taken from a server: eight times the largest state that a server with default limits holds."""
MAX_UNSENT_BYTES: Final = 64 * 1024 * 1024
"""Frames that wait for the network; with more the connection is given up. As much as 256 pending calls of 256 kB."""
CLOSE_TIMEOUT_S: Final = 2.0
"""How long a clean close waits for the server's answer to it."""

_log = logging.getLogger("zocket.client")


class _NoDebug(logging.LoggerAdapter[logging.Logger]):
    """The library's logger without its debug lines, at whatever level logging is."""

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802 — logging's name
        return level > logging.DEBUG and super().isEnabledFor(level)


_library_log: Final = _NoDebug(logging.getLogger("zocket.client.websocket"), {})


class WebSocketTransport:
    """Connections to one `ws://` or `wss://` address.

    Args:
        url: where the gateway or the standalone server listens.
        token: the session's token, or a function (plain or async) that is asked for it before every connection.
        ssl: for `wss`; None verifies certificates by the system's authorities.
        metadata: what the client says of itself, for every connection.

    Raises:
        UsageError: the address is no `ws://` or `wss://` address, the token cannot stand in a header, or the metadata
            cannot be used.
    """

    def __init__(
        self,
        url: str,
        *,
        token: TokenSource = None,
        ssl: ssl.SSLContext | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        self._url, self._name = _checked(url)
        if said := encode_metadata(metadata):
            self._url += f"{'&' if '?' in url else '?'}metadata={quote(said)}"
        self._secure = self._url.startswith("wss://")
        if ssl is not None and not self._secure:
            raise UsageError(f"{self._name}: ssl= is for wss:// addresses")
        self._token = token if token is None or callable(token) else _header_safe(token)
        self._ssl = ssl
        if token is not None and not self._secure and not is_loopback(self._name):
            _log.warning("the token travels unencrypted: use wss://", extra={"server": self._name})

    def __str__(self) -> str:
        return self._name

    def __repr__(self) -> str:
        return f"<WebSocketTransport {self._name}>"

    async def connect(self, receiver: Receiver, /) -> WebSocketConnection:
        """See `Transport.connect`."""
        options: dict[str, Any] = {}
        token = await self.fresh_token()
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        if _is_header_value(receiver.resume):
            headers["X-Zocket-Resume"] = receiver.resume
        if headers:
            options["additional_headers"] = headers
        if self._ssl is not None:
            options["ssl"] = self._ssl
        try:
            socket = await open_websocket(
                self._url,
                compression=None,
                max_size=MAX_FRAME_BYTES,
                open_timeout=None,  # the caller's time limit counts
                close_timeout=CLOSE_TIMEOUT_S,
                logger=_library_log,
                **options,
            )
        except InvalidStatus as refusal:
            raise self._refused(refusal) from None
        except (OSError, WebSocketException) as failure:
            raise Unavailable(f"no connection to {self._name}: {failure or type(failure).__name__}") from failure
        return WebSocketConnection(socket, receiver)

    async def fresh_token(self) -> str | None:
        """The token, asked for now if it comes from a function.

        Raises:
            Unavailable: the function failed.
            UsageError: what it gave cannot stand in a header.
        """
        source = self._token
        if source is None or isinstance(source, str):
            return source
        try:
            token = source()
            if inspect.isawaitable(token):
                token = await token
        except Exception as error:  # border: the developer's function; it may work the next time
            raise Unavailable(f"no connection to {self._name}: the token function failed ({error!r})") from error
        return _header_safe(token)

    def _refused(self, refusal: InvalidStatus) -> Unauthorized | Unavailable:
        status = refusal.response.status_code
        said = _said(refusal.response.body)
        if status in (401, 403):
            return Unauthorized(said or f"{self._name} refuses the token (HTTP {status})")
        return Unavailable(f"no connection to {self._name}: HTTP {status}" + (f", {said}" if said else ""))


class WebSocketConnection:
    """One open WebSocket: a task reads, another writes what `send` left for it."""

    def __init__(self, socket: ClientConnection, receiver: Receiver) -> None:
        self._socket = socket
        self._receiver = receiver
        self._unsent: deque[bytes] = deque()
        self._unsent_bytes = 0
        self._has_unsent = asyncio.Event()
        self._closed = False
        self._reading = asyncio.create_task(self._read())

    def send(self, frame: bytes, /) -> None:
        """See `Connection.send`."""
        if self._closed:
            return
        self._unsent.append(frame)
        self._unsent_bytes += len(frame)
        self._has_unsent.set()
        if self._unsent_bytes > MAX_UNSENT_BYTES:
            self._closed = True
            _log.warning("the connection is given up: the server does not read")
            self._socket.transport.abort()

    async def close(self) -> None:
        """See `Connection.close`."""
        await self._socket.close()
        await asyncio.wait([self._reading])

    async def _read(self) -> None:
        """Owns the connection until it is gone."""
        ends = False  # the loop ends: nobody may start anything in it any more
        writing = asyncio.create_task(self._write())
        try:
            while True:
                self._receiver.on_frame(await self._socket.recv(decode=False))
        except ConnectionClosed:
            pass
        except asyncio.CancelledError:
            ends = True
            raise
        finally:
            self._closed = True
            self._unsent.clear()
            writing.cancel()
            if not ends:
                self._receiver.on_closed(self._socket.close_code, self._socket.close_reason or "")

    async def _write(self) -> None:
        try:
            while True:
                await self._has_unsent.wait()
                while self._unsent:
                    frame = self._unsent.popleft()
                    self._unsent_bytes -= len(frame)
                    await self._socket.send(frame, text=True)
                self._has_unsent.clear()
        except ConnectionClosed:
            pass  # the reader reports it


def _checked(url: str) -> tuple[str, str]:
    """The address, and what may be said of it: no query, no user, no password."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host = None
    if host is None or parts.scheme not in ("ws", "wss"):
        shown = url.partition("?")[0].rpartition("@")[2]
        raise UsageError(f"expected an address such as ws://localhost:3000 or wss://example.com, got {shown!r}")
    name = f"[{host}]" if ":" in host else host
    return url, f"{parts.scheme}://{name}" + ("" if port is None else f":{port}") + parts.path.rstrip("/")


def _is_header_value(text: str) -> bool:
    return text.isascii() and text.isprintable() and text.strip() == text != ""


def _header_safe(token: str) -> str:
    if not (isinstance(token, str) and _is_header_value(token)):
        raise UsageError("token: expected printable ASCII without spaces around it, as it stands in a header")
    return token


def _said(body: bytes | bytearray | None) -> str:
    """The server's own words in the body of a refused upgrade, if there are any."""
    try:
        said = msgspec.json.decode(body or b"", type=dict[str, Any]).get("error")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""
    return said if isinstance(said, str) else ""
