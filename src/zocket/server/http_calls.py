"""Who may open a socket of a standalone server, or make a call over HTTP, and how often."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from zocket.errors import Unauthorized
from zocket.server.local import Identity, identify
from zocket.sockets.calls import HttpCalls, Rate, address_of
from zocket.sockets.port import Refused

if TYPE_CHECKING:
    from zocket.server.local import Authorize, LocalServer
    from zocket.sockets.port import Admit, Head, Peer, SocketSession

Admitted = tuple[Identity, bytes, str]
"""Who was let in, and `metadata` and `resume` of `Head`."""

log = logging.getLogger("zocket.server")


def admission(authorize: Authorize | None) -> Admit[Admitted]:
    """Who knocks, by `App(authorize=…)`; without it everybody is let in as unknown."""

    async def admit(head: Head) -> Admitted:
        try:
            return await identify(authorize, head.token), head.metadata, head.resume
        except Unauthorized as error:
            raise Refused(401, error.code, error.message) from error
        except Exception as error:  # border: a developer's authorize
            log.error("authorize raised", exc_info=error)
            raise Refused(500, "internal", "internal error") from error

    return admit


def http_calls(server: LocalServer, admit: Admit[Admitted], admit_timeout_s: float) -> HttpCalls[Admitted]:
    """What answers `/call/…` of this server."""

    def open_session(peer: Peer, admitted: Admitted) -> SocketSession:
        return server.open_session(peer, *admitted)

    def rate(admitted: Admitted, head: Head) -> Rate:
        identity = admitted[0]
        caller = ("user", identity.user_id) if identity.user_id is not None else ("address", address_of(head))
        return Rate(caller, server.limits.rate_per_s, server.limits.rate_burst)

    return HttpCalls(admit, open_session, rate=rate, now=server.clock.now, admit_timeout_s=admit_timeout_s)
