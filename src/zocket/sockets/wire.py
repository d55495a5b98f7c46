"""The WebSocket protocol of one socket, by picows: it parses frames and writes control frames, nothing else.

Rules: only this file knows how picows is built inside. It is given a request head of our own (the client's was
checked already, and may be one that picows does not take, such as Firefox's `Connection: keep-alive, Upgrade`), and an
answer of our own, which the peer writes. It never closes the transport: it sees a `Line`, whose `close` asks the peer,
and which is the socket, too: its options are set where it was accepted. What it logs is no log line: its errors are the
client's violations and go to the peer.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from multidict import CIMultiDict
from picows import WSAutoPingStrategy, WSUpgradeResponseWithListener
from picows.picows import WSProtocol  # type: ignore[attr-defined]

from zocket.sockets.limits import READ_BUFFER_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable

    from zocket.sockets.peer import SocketPeer

_FORGOTTEN: Final[CIMultiDict[str]] = CIMultiDict()
"""In place of the headers that picows keeps for good, and nobody reads: 1.5 KiB of an idle socket."""


class Line:
    """The transport as picows sees it, and the socket that it asks for: it writes, and asks the peer for the end."""

    __slots__ = ("_peer", "_transport", "fileno", "get_write_buffer_size", "write", "writelines")

    def __init__(self, peer: SocketPeer, transport: asyncio.Transport) -> None:
        self._peer = peer
        self._transport = transport
        self.fileno = transport.get_extra_info("socket").fileno
        self.get_write_buffer_size = transport.get_write_buffer_size
        self.write: Callable[[bytes | bytearray], object] = transport.write
        self.writelines = transport.writelines

    def get_extra_info(self, name: str, default: object = None) -> object:
        """The socket is the line itself."""
        return self if name == "socket" else self._transport.get_extra_info(name, default)

    def setsockopt(self, *_: object) -> None:
        """Nothing: picows sets `TCP_NODELAY`, which is set already, and acknowledges at once, which takes a packet."""

    def getsockopt(self, *_: object) -> int:
        """What picows logs, and nobody reads."""
        return 0

    def close(self) -> None:
        """What picows calls some milliseconds after it sent a close frame on its own."""
        self._peer.hang_up()

    def abort(self) -> None:
        """What picows calls for a transport that does not close."""
        self._peer.abort()


class ViolationLog:
    """Stands in for the logger of one socket's picows, which reports a violation nowhere else."""

    __slots__ = ("_peer",)

    def __init__(self, peer: SocketPeer) -> None:
        self._peer = peer

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802 — logging's name
        """Spares picows its debug lines."""
        return False

    def error(self, message: str, *args: Any) -> None:
        """A frame could not be parsed; a close frame follows. `args` is ((code, reason),)."""
        code, reason = args[0] if args and isinstance(args[0], tuple) else (1002, message)
        self._peer.violated(int(code), str(reason))

    exception = error

    def info(self, message: str, *args: Any) -> None:
        """Opening and closing are logged above."""

    debug = warning = log = info


class Answer:
    """The answer to an upgrade as picows sees it, which adds the header `Sec-WebSocket-Accept`."""

    __slots__ = ("headers",)
    status = HTTPStatus.SWITCHING_PROTOCOLS

    def __init__(self) -> None:
        self.headers: Any = {}

    def to_bytes(self) -> bytearray:
        """What goes to the client."""
        accepted = self.headers["Sec-WebSocket-Accept"].encode("ascii")
        return bytearray(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Accept: %b\r\n\r\n" % accepted
        )


class Wire(WSProtocol):  # type: ignore[misc]
    """The protocol of an upgraded connection."""

    __slots__ = ("_peer",)

    def __init__(self, peer: SocketPeer, max_frame_bytes: int) -> None:
        super().__init__(
            host_port=None,
            ws_path=None,
            is_client_side=False,
            ws_listener_factory=lambda _request: WSUpgradeResponseWithListener(Answer(), peer),  # type: ignore[arg-type]
            logger=ViolationLog(peer),
            disconnect_on_exception=True,
            websocket_handshake_timeout=None,
            enable_auto_ping=False,
            auto_ping_idle_timeout=0,
            auto_ping_reply_timeout=0,
            auto_ping_strategy=WSAutoPingStrategy.PING_WHEN_IDLE,
            enable_auto_pong=False,
            max_frame_size=max_frame_bytes,
            extra_headers=None,
            read_buffer_init_size=READ_BUFFER_BYTES,
        )
        self._peer = peer

    def begin(self, transport: asyncio.Transport, key: str) -> bytes:
        """The answer to the upgrade, which is to be written before anything else.

        The peer's `on_ws_connected` has been called when this returns.
        """
        transport.set_protocol(self)
        line = Line(self._peer, transport)
        self.connection_made(line)
        answer: list[bytes | bytearray] = []
        line.write = answer.append
        self.feed(
            b"GET / HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Key: " + key.encode("ascii") + b"\r\n\r\n"
        )
        line.write = transport.write
        self.transport.request.headers = self.transport.response.headers = _FORGOTTEN
        return b"".join(answer)

    def feed(self, received: bytes) -> None:
        """Takes bytes as if they came from the transport."""
        rest = memoryview(received)
        while rest:
            buffer = self.get_buffer(-1)
            size = min(len(buffer), len(rest))
            buffer[:size] = rest[:size]
            self.buffer_updated(size)
            rest = rest[size:]

    def eof_received(self) -> bool:
        """The client closed its side: whatever is unsent has limited time."""
        self._peer.hang_up()
        return False


class Drain(asyncio.Protocol):
    """Discards what a client sends after the last word was said, until it closes."""

    __slots__ = ("_wire",)

    def __init__(self, wire: asyncio.BaseProtocol) -> None:
        self._wire = wire

    def connection_lost(self, exc: Exception | None) -> None:
        """The end, which picows must hear of too."""
        self._wire.connection_lost(exc)
