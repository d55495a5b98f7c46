"""Which ports `zocket dev` takes.

Rules: a port that somebody asked for is taken or refused, never replaced; ports that nobody asked for lie below the
range from which the system hands out its own, so that nothing takes one between the choice and its use.
"""

from __future__ import annotations

import errno
import random
import socket
from typing import Final

from zocket.errors import BootError

GATEWAY_PORT: Final = 3_000
"""Where the gateway and the page are unless somebody says otherwise."""
NEIGHBOURS: Final = 50
"""Ports behind the default that are tried when it is taken."""
LOWEST: Final = 20_000
HIGHEST: Final = 32_000
"""The range of ports that nobody asked for; systems hand out ports from 32768 on."""
_ATTEMPTS: Final = 200


def is_free(host: str, port: int) -> bool:
    """Whether nobody listens there now.

    Raises:
        BootError: there is no such host.
    """
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise BootError(f"cannot listen on {host}: {error.strerror or error}") from error
    for family, _, _, _, where in found:
        try:
            socket.create_server(where[:2], family=family).close()
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return False
            # Whatever else it is (no such address, no permission): the server that wants the port says it better.
    return True


def gateway_port(host: str, wanted: int | None) -> int:
    """The port of the gateway: the wanted one, or the default or the next free one.

    Raises:
        BootError: the wanted one is taken; or all that were tried are.
    """
    if wanted == 0:
        return free_port(host)
    if wanted is not None:
        if not is_free(host, wanted):
            raise BootError(
                f"port {wanted} is taken by another program: stop it, choose another --port, "
                "or leave --port out to get a free one"
            )
        return wanted
    for port in range(GATEWAY_PORT, GATEWAY_PORT + NEIGHBOURS):
        if is_free(host, port):
            return port
    raise BootError(f"the ports {GATEWAY_PORT} to {port} are all taken: choose one with --port")


def free_port(host: str = "127.0.0.1") -> int:
    """A free port that the system does not hand out by itself.

    Raises:
        BootError: there is none.
    """
    for _ in range(_ATTEMPTS):
        port = random.randint(LOWEST, HIGHEST)  # noqa: S311 — not a secret
        if is_free(host, port):
            return port
    raise BootError(f"no free port between {LOWEST} and {HIGHEST} on {host}")
