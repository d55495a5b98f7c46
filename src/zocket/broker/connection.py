"""One life of a connection to a NATS server: handshake, TLS, credentials, and what goes over it.

Rules: a connection that is lost is over and says so once, whoever needs another one dials again; the parser gives a
message straight to its `receive`, through no queue that could overflow; credentials never go over a connection that
was to be encrypted and is not. https://docs.nats.io/reference/reference-protocols/nats-protocol
"""

from __future__ import annotations

import asyncio
import logging
import re
import ssl
from collections import deque
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import urlsplit

import msgspec

from zocket.broker.parser import Parser, ProtocolViolation
from zocket.errors import BootError, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from zocket.broker.credentials import Credentials
    from zocket.broker.parser import Receiver

CONNECT_TIMEOUT_S: Final = 2.0
"""Time of one attempt to reach one server; a live one on the same continent answers in a tenth of it."""
PING_INTERVAL_S: Final = 3.0
"""Two unanswered pings end the connection, so a server that vanished without a word is noticed in about 9 s."""
UNANSWERED_PINGS: Final = 2
HANG_UP_TIMEOUT_S: Final = 2.0
"""A transport that does not end does not hold up the next connection."""
PING: Final = b"PING\r\n"
PONG: Final = b"PONG\r\n"

_log: Final = logging.getLogger("zocket.broker")
_PERMISSIONS: Final = "permissions violation"
_REFUSED: Final = re.compile(
    r"Permissions Violation for (Publish|Subscription) to \"(.*?)\"(?: using queue \".*\")?\Z", re.I
)
_REFUSALS: Final = ("authorization violation", "authentication", "user and password", "nkey", "jwt", "account")


class Rejected(BootError):
    """The server answered, and refuses these credentials: trying again does not help at boot."""


class _Refused(Exception):
    """The server ended the handshake with this text."""


class Info(msgspec.Struct):
    """What a server says of itself."""

    max_payload: int = 1024 * 1024
    tls_required: bool = False
    tls_available: bool = False
    nonce: str = ""
    connect_urls: list[str] = []
    ldm: bool = False


class Connection(asyncio.Protocol):
    """One connection; made by `dial`, over at `hang_up` or when `lost` is called.

    Attributes:
        url: of the server.
        max_payload: bytes that the server takes in one message, headers included.
    """

    def __init__(self, url: str, lost: Callable[[str], None], refused: Callable[[str], None]) -> None:
        self.url = url
        self.max_payload = 1024 * 1024
        self._report_lost = lost
        self._report_refused = refused
        self._refused_subscriptions: set[str] = set()
        self._over = False
        self._receivers: dict[int, Receiver] = {}
        self._last_sid = 0
        self._parser = Parser(self._receivers, self._line)
        self._transport: asyncio.Transport | None = None
        self._loop = asyncio.get_running_loop()
        self._info = Info()
        self._greeted: asyncio.Future[None] = self._loop.create_future()
        self._ended: asyncio.Future[None] = self._loop.create_future()
        self._pongs: deque[asyncio.Future[bool] | None] = deque()
        self._unanswered = 0
        self._ping_timer: asyncio.TimerHandle | None = None
        self._shaking_hands = True

    @classmethod
    async def dial(
        cls,
        url: str,
        *,
        name: str,
        credentials: Credentials,
        tls: ssl.SSLContext | None,
        lost: Callable[[str], None],
        refused: Callable[[str], None],
        hostname: str | None = None,
    ) -> Connection:
        """Connects to one server and authenticates.

        Args:
            url: `nats://host:port` or `tls://host:port`.
            name: of this client, for the server's own lists.
            credentials: who this process is.
            tls: for a server that wants TLS, and for `tls://`.
            lost: called once with the reason when the connection ends by itself.
            refused: called with each subject to which the server did not let us publish.
            hostname: that the server's certificate must be for, if it is not the URL's.

        Raises:
            Rejected: the server refuses the credentials.
            Unavailable: the server cannot be reached or does not answer as one.
            BootError: the credentials cannot be read.
        """
        connection = cls(url, lost, refused)
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                await connection._shake_hands(name, credentials, tls, hostname)
        except BaseException as error:
            connection._over = True
            await connection.hang_up()
            if isinstance(error, (_Refused, ProtocolViolation, OSError, TimeoutError, ValueError)):
                raise _translated(error, url) from None
            raise
        connection._shaking_hands = False
        connection._ping_timer = connection._loop.call_later(PING_INTERVAL_S, connection._keep_alive)
        return connection

    async def _shake_hands(
        self, name: str, credentials: Credentials, tls: ssl.SSLContext | None, hostname: str | None
    ) -> None:
        split = urlsplit(self.url)
        host, port = split.hostname or "", split.port or 0
        await self._loop.create_connection(lambda: self, host, port)
        await self._greeted
        assert self._transport is not None
        if split.scheme == "tls" and not (self._info.tls_required or self._info.tls_available):
            raise _Refused("the URL says tls:// and the server offers no TLS")
        if split.scheme == "tls" or self._info.tls_required:
            encrypted = await self._loop.start_tls(
                self._transport, self, tls or await _default_tls(), server_hostname=hostname or host
            )
            if encrypted is None:
                raise _Refused("the connection ended")
            self._transport = encrypted
        answer = await asyncio.to_thread(credentials.answer, self._info.nonce)
        options: dict[str, Any] = {
            "verbose": False,
            "pedantic": False,
            "lang": "python",
            "version": "zocket",
            "protocol": 1,
            "headers": True,
            "no_responders": True,
            "name": name,
            **answer,
        }
        self.write(b"CONNECT " + msgspec.json.encode(options) + b"\r\n")
        await self._ping()

    # Writing.

    def write(self, blob: bytes) -> None:
        """Gives bytes to the socket; what it does not take waits in `unwritten_bytes`."""
        if self._transport is not None and not self._ended.done():
            self._transport.write(blob)

    @property
    def unwritten_bytes(self) -> int:
        """Bytes that wait because the server does not read fast enough."""
        return 0 if self._transport is None else self._transport.get_write_buffer_size()

    async def round_trip(self, timeout_s: float) -> bool:
        """Whether the server has read, in time, everything that was written before."""
        if self._over:
            return False
        try:
            async with asyncio.timeout(timeout_s):
                return await self._ping()
        except (TimeoutError, _Refused):
            return False

    async def _ping(self) -> bool:
        """True once the server has answered; raises what ends the connection before."""
        pong: asyncio.Future[bool] = self._loop.create_future()
        self._pongs.append(pong)
        self.write(PING)
        return await pong

    def _keep_alive(self) -> None:
        if self._unanswered >= UNANSWERED_PINGS:
            self._lose("the server does not answer pings")
            return
        self._unanswered += 1
        self._pongs.append(None)
        self.write(PING)
        self._ping_timer = self._loop.call_later(PING_INTERVAL_S, self._keep_alive)

    # Receiving.

    def attach(self, receiver: Receiver) -> int:
        """Subscribes; the number is for `detach`."""
        self._last_sid += 1
        self._receivers[self._last_sid] = receiver
        self.write(f"SUB {receiver.subject} {self._last_sid}\r\n".encode())
        return self._last_sid

    def refuses(self, receiver: Receiver) -> bool:
        """Whether the server has refused this subscription; certain after a round trip."""
        return receiver.subject in self._refused_subscriptions

    def detach(self, sid: int) -> None:
        """Ends a subscription; nothing more is received."""
        if self._receivers.pop(sid, None) is not None:
            self.write(f"UNSUB {sid}\r\n".encode())

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        try:
            self._parser.feed(data)
        except ProtocolViolation as error:
            self._lose(str(error))

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        if not self._ended.done():
            self._ended.set_result(None)
        self._lose(str(exc) if exc is not None and str(exc) else "the connection ended")

    def _line(self, line: bytes) -> None:
        """A line that is no message."""
        if line == b"PING":
            self.write(PONG)
        elif line == b"PONG":
            self._unanswered = 0
            pong = self._pongs.popleft() if self._pongs else None
            if pong is not None and not pong.done():
                pong.set_result(True)
        elif line.startswith(b"INFO "):
            self._take_info(line[5:])
        elif line.startswith(b"-ERR"):
            self._take_error(line[4:].decode("utf-8", "replace").strip(" '"))
        elif line != b"+OK":
            raise ProtocolViolation(f"no line of the protocol: {line[:80]!r}")

    def _take_info(self, content: bytes) -> None:
        try:
            self._info = msgspec.json.decode(content, type=Info)
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise ProtocolViolation("an INFO that cannot be read") from None
        self.max_payload = self._info.max_payload
        if not self._greeted.done():
            self._greeted.set_result(None)
        elif self._info.ldm and not self._shaking_hands:
            self._lose("the server asks its clients to leave")

    def _take_error(self, text: str) -> None:
        if _PERMISSIONS not in text.lower() or self._shaking_hands:
            self._lose(text)
            return
        _log.error("NATS refuses: %s; the permissions of this process's NATS user decide", text)
        refused = _REFUSED.match(text)
        if refused is not None and refused[1].lower() == "publish":
            self._report_refused(refused[2])
        elif refused is not None:
            self._refused_subscriptions.add(refused[2])

    # The end.

    async def hang_up(self) -> None:
        """Closes the socket; what is still unwritten is given up."""
        self._over = True
        self._receivers.clear()
        self._stop_waiting("the connection was closed")
        if self._transport is not None:
            self._transport.abort()
            await asyncio.wait({self._ended}, timeout=HANG_UP_TIMEOUT_S)

    def abort(self) -> None:
        """Cuts the connection, as a failing network does."""
        if self._transport is not None:
            self._transport.abort()

    def _lose(self, reason: str) -> None:
        self._stop_waiting(reason)
        if not self._over:
            self._over = True
            if not self._shaking_hands:
                self._report_lost(reason)

    def _stop_waiting(self, reason: str) -> None:
        if self._ping_timer is not None:
            self._ping_timer.cancel()
        waiting: list[asyncio.Future[Any]] = [self._greeted, *(pong for pong in self._pongs if pong is not None)]
        self._pongs.clear()
        for future in waiting:
            if not future.done():
                future.set_exception(_Refused(reason))
                future.exception()  # somebody may wait, or nobody does any more

    @property
    def discovered(self) -> list[str]:
        """URLs of the servers of the cluster, as the server told last."""
        scheme = urlsplit(self.url).scheme
        return [f"{scheme}://{address}" for address in self._info.connect_urls]


async def _default_tls() -> ssl.SSLContext:
    """Reads the certificates of the machine from disk."""
    return await asyncio.to_thread(ssl.create_default_context)


def _translated(error: Exception, url: str) -> BootError | Unavailable:
    text = str(error) or type(error).__name__
    # A server gives refusals as text only, so there is nothing else to tell them apart by.
    if isinstance(error, _Refused) and any(word in text.lower() for word in _REFUSALS):
        return Rejected(f"NATS at {url} rejects the credentials of this process: {text}")
    return Unavailable(f"NATS at {url} cannot be reached: {text}")
