"""A listening TCP port, with or without TLS: accepts connections and gives each its protocol.

Rules: the transports are aiofastnet's (picows brings and prefers it; the same on uvloop and on asyncio's own loop), but
accepting is done here: aiofastnet's own server spins when the process runs out of file descriptors. Port 0 takes one
free port for every address of the host. A TLS handshake has limited time and ends with the listener.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import aiofastnet
from aiofastnet.selector_transport import SelectorSocketTransport  # type: ignore[import-not-found]

from zocket.errors import BootError
from zocket.sockets.limits import UNSENT_IN_KERNEL_BYTES

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Sequence

    from zocket.sockets.limits import SocketLimits

log = logging.getLogger("zocket.sockets")

BACKLOG: Final = 2_048
"""Connections that the kernel keeps until they are accepted: a gateway that restarts meets all its clients at once."""

ACCEPTS_PER_TURN: Final = 100
"""Connections accepted before the loop looks at the open ones again."""

RETRY_S: Final = 1.0
"""Pause of accepting when the process has no file descriptor left."""

FREE_PORT_ATTEMPTS: Final = 10
"""Times that a free port of the first address may turn out to be taken on the second."""

EXHAUSTED: Final = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
"""Errors of `accept` that pass when connections end."""


class Listener:
    """The open port."""

    def __init__(
        self,
        sockets: list[socket.socket],
        factory: Callable[[], asyncio.Protocol],
        tls: ssl.SSLContext | None,
        limits: SocketLimits,
    ) -> None:
        self.port: int = sockets[0].getsockname()[1]
        self._loop = asyncio.get_running_loop()
        self._sockets = sockets
        self._factory = factory
        self._tls = tls
        self._limits = limits
        self._beginning: set[asyncio.Task[None]] = set()
        for sock in sockets:
            self._listen(sock)

    @classmethod
    async def bind(
        cls,
        factory: Callable[[], asyncio.Protocol],
        host: str,
        port: int,
        *,
        limits: SocketLimits,
        tls: ssl.SSLContext | None,
        reuse_port: bool,
    ) -> Listener:
        """Listens on every address of the host; an empty host is every address of the machine.

        Raises:
            BootError: the port is taken, or the host is none of this machine.
        """
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
            addresses = list(dict.fromkeys((family, str(address[0])) for family, _, _, _, address in found))
            sockets = _bind_all(addresses, port, reuse_port=reuse_port)
        except OSError as error:
            raise BootError(f"cannot listen on {host or '*'} port {port}: {error.strerror or error}") from error
        return cls(sockets, factory, tls, limits)

    def close(self) -> None:
        """Accepts no more, and drops whose TLS handshake is not over."""
        for sock in self._sockets:
            self._loop.remove_reader(sock)
            sock.close()
        self._sockets = []
        for task in self._beginning:
            task.cancel()

    async def wait_closed(self) -> None:
        """Returns when nothing of the listener runs any more."""
        if self._beginning:
            await asyncio.wait(tuple(self._beginning))

    def _listen(self, sock: socket.socket) -> None:
        if sock in self._sockets:
            self._loop.add_reader(sock, self._accept, sock)

    def _accept(self, sock: socket.socket) -> None:
        for _ in range(ACCEPTS_PER_TURN):
            try:
                connection, _address = sock.accept()
            except (BlockingIOError, InterruptedError):
                return
            except ConnectionError:
                continue
            except OSError as error:
                if error.errno not in EXHAUSTED:
                    raise
                log.error("no connection can be accepted for now", extra={"reason": error.strerror})
                self._loop.remove_reader(sock)
                self._loop.call_later(RETRY_S, self._listen, sock)
                return
            with suppress(OSError):  # a socket that is gone already
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_IN_KERNEL_BYTES)
            if self._tls is None:
                SelectorSocketTransport(self._loop, connection, self._factory())
            else:
                task = self._loop.create_task(self._shake_hands(connection, self._tls))
                self._beginning.add(task)
                task.add_done_callback(self._beginning.discard)

    async def _shake_hands(self, connection: socket.socket, tls: ssl.SSLContext) -> None:
        connection.setblocking(False)
        try:
            await aiofastnet.connect_accepted_socket(
                self._loop,
                self._factory,
                connection,
                ssl=tls,
                ssl_handshake_timeout=self._limits.head_timeout_s,
                ssl_shutdown_timeout=self._limits.close_timeout_s,
            )
        except OSError as error:  # a reset, a failed handshake, or one that takes too long
            connection.close()
            log.debug("a connection failed before its first byte", extra={"reason": str(error)})


def reserve(host: str, port: int) -> socket.socket:
    """Holds a port on which processes of this user may then listen together (`reuse_port`), until it is closed.

    The socket does not listen, so no connection comes to it.

    Args:
        host: address or name; empty for every address of the machine.
        port: 0 for a free one.

    Raises:
        BootError: somebody listens there, the host is none of this machine, or the system cannot share a port.
    """
    if not hasattr(socket, "SO_REUSEPORT"):
        raise BootError("this system cannot share a port between processes: leave out --workers")
    held: socket.socket | None = None
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        family, address = found[0], str(found[4][0])
        with socket.socket(family) as alone:  # without sharing, so that a port in use is told
            alone.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            alone.bind((address, port))
            port = alone.getsockname()[1]
        held = socket.socket(family)
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        held.bind((address, port))
    except OSError as error:
        if held is not None:
            held.close()
        raise BootError(f"cannot listen on {host or '*'} port {port}: {error.strerror or error}") from error
    return held


def _bind_all(
    addresses: Sequence[tuple[socket.AddressFamily, str]], port: int, *, reuse_port: bool
) -> list[socket.socket]:
    """One listening socket an address, all on the same port; an address of a family that is switched off is left out.

    Raises:
        OSError: the port is taken on an address, or no address is of this machine.
    """
    for attempt in range(1, FREE_PORT_ATTEMPTS + 1):
        sockets: list[socket.socket] = []
        missing: OSError | None = None
        try:
            for family, address in addresses:
                at = port or (sockets[0].getsockname()[1] if sockets else 0)
                try:
                    sock = socket.create_server((address, at), family=family, backlog=BACKLOG, reuse_port=reuse_port)
                except OSError as error:
                    if error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                        raise
                    missing = error
                else:
                    sock.setblocking(False)
                    sockets.append(sock)
        except OSError as error:
            for sock in sockets:
                sock.close()
            if port or error.errno != errno.EADDRINUSE or attempt == FREE_PORT_ATTEMPTS:
                raise
        else:
            if missing is not None and not sockets:
                raise missing
            return sockets
    raise AssertionError  # the last attempt has returned or raised
