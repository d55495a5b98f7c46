"""Who may open a socket of a standalone server, or make a call over HTTP, and how often."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from zocket.errors import Unauthorized
from zocket.server.local import Identity
from zocket.sockets.calls import HttpCalls, Rate, address_of
from zocket.sockets.port import Refused

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from zocket.server.local import LocalServer
    from zocket.sockets.port import Admit, Head, Peer, SocketSession

log = logging.getLogger("zocket.server")


def admission(authorize: Callable[[str | None], Awaitable[Identity | None]] | None) -> Admit[Identity]:
    """Who knocks, by `App(authorize=…)`; without it everybody is let in as unknown."""

    async def admit(head: Head) -> Identity:
        if authorize is None:
            return Identity()
        try:
            identity = await authorize(head.token)
        except Unauthorized as error:
            raise Refused(401, error.code, error.message) from error
        except Exception as error:  # border: a developer's authorize
            log.error("authorize raised", exc_info=error)
            raise Refused(500, "internal", "internal error") from error
        if identity is None:
            raise Refused(401, "unauthorized", "the token is missing or not accepted")
        return identity

    return admit


def http_calls(server: LocalServer, admit: Admit[Identity], admit_timeout_s: float) -> HttpCalls[Identity]:
    """What answers `/call/…` of this server."""

    def open_session(peer: Peer, admitted: Identity) -> SocketSession:
        return server.open_session(peer, admitted)

    def rate(identity: Identity, head: Head) -> Rate:
        caller = ("user", identity.user_id) if identity.user_id is not None else ("address", address_of(head))
        return Rate(caller, server.limits.rate_per_s, server.limits.rate_burst)

    return HttpCalls(admit, open_session, rate=rate, now=server.clock.now, admit_timeout_s=admit_timeout_s)
