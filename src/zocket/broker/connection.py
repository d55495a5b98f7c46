"""One life of a connection to a NATS server: the handshake, TLS, credentials and parser of nats-py, with our delivery.

Rules: the only file that knows nats-py; a connection that is lost is over and says so once, whoever needs another one
dials again; a message goes straight from the parser to its `receive`, through no queue that could overflow.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol
from urllib.parse import unquote, urlsplit

from nats import errors as nats_errors
from nats.aio.client import Client

from zocket.errors import BootError, Unavailable

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

CONNECT_TIMEOUT_S: Final = 2.0
"""Time of one attempt to reach one server; a live one on the same continent answers in a tenth of it."""
PING_INTERVAL_S: Final = 3
"""Two unanswered pings end the connection, so a server that vanished without a word is noticed in about 9 s."""
HANG_UP_TIMEOUT_S: Final = 2.0
"""A peer that does not answer the end of TLS does not hold up the next connection."""
DEFAULT_PORT: Final = 4222

_log: Final = logging.getLogger("zocket.broker")
_PERMISSIONS: Final = "permissions violation"
_REFUSED: Final = re.compile(r'permissions violation for (publish|subscription) to "(.*?)"(?: using queue ".*")?\'?\Z')
"""nats-py gives it in lower case, so a subject can be recognised only by its lower case, too."""
_REFUSALS: Final = ("authorization violation", "authentication", "user and password", "nkey", "jwt")


class Rejected(BootError):
    """The server answered, and refuses these credentials: trying again does not help at boot."""


class Receiver(Protocol):
    """What one subscription does with its messages."""

    subject: str

    def receive(self, subject: bytes, reply: bytes, payload: bytes, header: bytes | None) -> None:
        """Takes one message; never raises."""


@dataclass(frozen=True)
class Credentials:
    """How to authenticate; a user and password or a token may stand in the URL instead."""

    user: str = ""
    password: str = field(default="", repr=False)
    token: str = field(default="", repr=False)
    credentials_file: str = ""
    """Path of a `.creds` file (JWT and seed); needs the package `nkeys`."""
    seed_file: str = ""
    """Path of an NKEY seed; needs the package `nkeys`."""
    inbox_prefix: str = "_INBOX"
    """Under which this process may subscribe to its private inboxes."""


@dataclass(frozen=True)
class Servers:
    """The servers of a comma-separated URL, without the credentials that stood in it."""

    urls: tuple[str, ...]
    credentials: Credentials

    @classmethod
    def parse(cls, url: str, credentials: Credentials) -> Servers:
        """Reads `nats://a:4222,tls://user:password@b`.

        Raises:
            BootError: a part has no host, a bad port or another scheme.
        """
        urls = []
        for part in filter(None, (piece.strip() for piece in url.split(","))):
            split = urlsplit(part if "://" in part else f"nats://{part}")
            try:
                host, port = split.hostname, split.port or DEFAULT_PORT
            except ValueError:
                host, port = None, 0
            if not host or split.scheme not in ("nats", "tls"):
                raise BootError(f"NATS_URL: expected nats://host:port or tls://host:port, got {_without_user(part)!r}")
            if split.username and not (credentials.user or credentials.token):
                credentials = _with_user(credentials, unquote(split.username), split.password)
            urls.append(f"{split.scheme}://{f'[{host}]' if ':' in host else host}:{port}")
        if not urls:
            raise BootError("NATS_URL: names no server")
        return cls(tuple(urls), credentials)

    def __str__(self) -> str:
        return ",".join(self.urls)


def _with_user(credentials: Credentials, user: str, password: str | None) -> Credentials:
    change = {"token": user} if password is None else {"user": user, "password": unquote(password)}
    return Credentials(**{**vars(credentials), **change})


def _without_user(url: str) -> str:
    return url.rpartition("@")[2]


class Connection(Client):
    """One connection; made by `dial`, over at `hang_up` or when `lost` is called."""

    def __init__(self, lost: Callable[[str], None], refused: Callable[[str], None]) -> None:
        super().__init__()
        self._report_lost = lost
        self._report_refused = refused
        self._refused_subscriptions: set[str] = set()
        self._over = False
        self._receivers: dict[int, Receiver] = {}
        self._last_sid = 0
        self._reason = ""
        self._round_trips: set[asyncio.Future[Any]] = set()

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
    ) -> Connection:
        """Connects to one server and authenticates.

        `lost` is called once with the reason when it ends by itself; `refused` with each subject, in lower case, to
        which the server did not let us publish.

        Raises:
            Rejected: the server refuses the credentials.
            Unavailable: the server cannot be reached or does not answer as one.
            BootError: the credentials cannot be read.
        """
        connection = cls(lost, refused)
        try:
            await connection._connect_once(url, name, credentials, tls)
        except BaseException as error:
            connection._over = True
            await connection.hang_up()
            if isinstance(error, (nats_errors.Error, OSError, TimeoutError, ValueError)):
                raise connection._translated(error, url) from None
            raise
        if connection._over:
            raise Unavailable(f"NATS at {url} ended the connection at once")
        return connection

    async def _connect_once(self, url: str, name: str, credentials: Credentials, tls: ssl.SSLContext | None) -> None:
        try:
            await self.connect(
                [url],
                name=name,
                tls=tls,
                error_cb=self._note,
                allow_reconnect=False,
                max_reconnect_attempts=1,
                reconnect_time_wait=0,
                connect_timeout=CONNECT_TIMEOUT_S,  # type: ignore[arg-type]
                ping_interval=PING_INTERVAL_S,
                user=credentials.user or None,
                password=credentials.password or None,
                token=credentials.token or None,
                user_credentials=credentials.credentials_file or None,
                nkeys_seed=credentials.seed_file or None,
                inbox_prefix=credentials.inbox_prefix,
            )
        except ModuleNotFoundError as error:
            raise BootError(f"NATS credentials of this kind need the package {error.name}: pip install nkeys") from None
        assert self._reading_task is not None
        self._reading_task.add_done_callback(self._reading_ended)

    def _translated(self, error: Exception, url: str) -> BootError | Unavailable:
        # nats-py gives refusals of the server as text only, so there is nothing else to tell them apart by.
        text = self._reason if isinstance(error, nats_errors.NoServersError) and self._reason else str(error)
        text = text.removeprefix("nats: ").strip("'\" ") or type(error).__name__
        if any(word in text.lower() for word in _REFUSALS):
            return Rejected(f"NATS at {url} rejects the credentials of this process: {text}")
        return Unavailable(f"NATS at {url} cannot be reached: {text}")

    async def _note(self, error: Exception) -> None:
        self._reason = str(error) or type(error).__name__

    # Writing.

    def write(self, blob: bytes) -> None:
        """Gives bytes to the socket; what it does not take waits in `unwritten_bytes`."""
        if not self._over and self._transport is not None:
            self._transport.write(blob)

    @property
    def unwritten_bytes(self) -> int:
        """Bytes that wait because the server does not read fast enough."""
        writer = getattr(self._transport, "_io_writer", None)
        return 0 if writer is None else int(writer.transport.get_write_buffer_size())

    async def round_trip(self, timeout_s: float) -> bool:
        """Whether the server has read, in time, everything that was written before."""
        if self._over:
            return False
        pong: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._round_trips.add(pong)
        try:
            await self._send_ping(pong)
            # Never cancelled: nats-py sets the result of a ping without looking, and a cancelled one ends its reader.
            await asyncio.wait({pong}, timeout=timeout_s)
            return pong.done() and pong.result() is True
        finally:
            self._round_trips.discard(pong)

    # Receiving.

    def attach(self, receiver: Receiver) -> int:
        """Subscribes; the number is for `detach`."""
        self._last_sid += 1
        self._receivers[self._last_sid] = receiver
        self.write(f"SUB {receiver.subject} {self._last_sid}\r\n".encode())
        return self._last_sid

    def refuses(self, receiver: Receiver) -> bool:
        """Whether the server has refused this subscription; certain after a round trip."""
        return receiver.subject.lower() in self._refused_subscriptions

    def detach(self, sid: int) -> None:
        """Ends a subscription; nothing more is received."""
        if self._receivers.pop(sid, None) is not None:
            self.write(f"UNSUB {sid}\r\n".encode())

    async def _process_msg(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes | None) -> None:
        receiver = self._receivers.get(sid)
        if receiver is not None:
            receiver.receive(subject, reply, data, headers)

    # The end.

    async def hang_up(self) -> None:
        """Closes the socket; what is still unwritten is given up."""
        self._over = True
        self._receivers.clear()
        self._end_round_trips()
        self._pending, self._pending_data_size = [], 0
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(HANG_UP_TIMEOUT_S):
                await self._close(Client.CLOSED, do_cbs=False)

    def _lose(self, reason: str) -> None:
        if not self._over:
            self._over = True
            self._end_round_trips()
            self._report_lost(reason)

    def _end_round_trips(self) -> None:
        for pong in self._round_trips:
            if not pong.done():
                pong.set_result(False)
        self._pongs.clear()

    def _reading_ended(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        self._lose(str(error) if error else "the connection ended")

    async def _process_op_err(self, e: Exception) -> None:
        self._lose(str(e) or type(e).__name__)

    async def _process_err(self, err_msg: str) -> None:
        if _PERMISSIONS in err_msg:
            _log.error("NATS refuses: %s; the permissions of this process's NATS user decide", err_msg.strip("'"))
            refused = _REFUSED.search(err_msg)
            if refused is not None and refused[1] == "publish":
                self._report_refused(refused[2])
            elif refused is not None:
                self._refused_subscriptions.add(refused[2])
        else:
            self._lose(err_msg.strip("'"))

    def _connect_command(self) -> bytes:
        # nats-py speaks TLS only if the server asks for it; who wrote tls:// must not send credentials in the clear.
        scheme = self._current_server.uri.scheme if self._current_server else ""
        if scheme == "tls" and not self._server_info.get("tls_required"):
            raise nats_errors.Error("the URL says tls:// and the server offers no TLS")
        return super()._connect_command()

    @property
    def discovered(self) -> list[str]:
        """URLs of further servers of the cluster, as the server told."""
        scheme = self._current_server.uri.scheme if self._current_server else "nats"
        return [f"{scheme}://{uri.netloc}" for uri in self.discovered_servers]
