"""A listening TCP port, with or without TLS.

Rules: the transports are aiofastnet's (picows brings and prefers it; the same on uvloop and on asyncio's own loop);
port 0 takes one free port for every address of the host.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import aiofastnet

from zocket.errors import BootError

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

BACKLOG: Final = 2_048
"""Connections that the kernel keeps until they are accepted: a gateway that restarts meets all its clients at once."""

FREE_PORT_ATTEMPTS: Final = 10
"""Times that a free port of the first address may turn out to be taken on the second."""


class Listener:
    """The open port."""

    def __init__(self, server: Any) -> None:
        self._server = server
        self.port: int = server.sockets[0].getsockname()[1]

    @classmethod
    async def bind(
        cls,
        factory: Callable[[], asyncio.Protocol],
        host: str,
        port: int,
        *,
        tls: ssl.SSLContext | None,
        reuse_port: bool,
    ) -> Listener:
        """Listens on every address of the host; an empty host is every address of the machine.

        Raises:
            BootError: the port is taken, or the host is none of this machine.
        """

        async def listen(at: int) -> Listener:
            loop = asyncio.get_running_loop()
            return cls(
                await aiofastnet.create_server(
                    loop, factory, host or None, at, ssl=tls, backlog=BACKLOG, reuse_port=reuse_port
                )
            )

        try:
            listener = await listen(port)
            attempts = FREE_PORT_ATTEMPTS
            while port == 0 and not listener.is_one_port():
                listener.close()
                attempts -= 1
                try:
                    listener = await listen(listener.port)
                except OSError:
                    if not attempts:
                        raise
                    listener = await listen(0)
        except OSError as error:
            raise BootError(f"cannot listen on {host or '*'} port {port}: {error.strerror or error}") from error
        return listener

    def is_one_port(self) -> bool:
        """Whether every address is listened to on the same port."""
        return len({sock.getsockname()[1] for sock in self._server.sockets}) == 1

    def close(self) -> None:
        """Accepts no more."""
        self._server.close()
