"""The process of `zocket serve`: one port with the actors behind the fast socket front, no broker.

Rules: the port is open before anything is announced; SIGTERM and SIGINT finish open calls, close the sockets with 1001
and run `on_deactivate`.
"""

from __future__ import annotations

import asyncio
import json
import logging
import signal
from collections import ChainMap
from contextlib import asynccontextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

from zocket import exposition
from zocket.contract import contract_of
from zocket.server.http_calls import admission, http_calls
from zocket.server.local import Identity, LocalServer
from zocket.sockets.front import HttpFront, SocketFront
from zocket.sockets.limits import SocketLimits
from zocket.sockets.tls import server_context

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

    from zocket.core import AppDefinition
    from zocket.settings import ServeSettings
    from zocket.sockets.connection import PrivateRoute, Route
    from zocket.sockets.port import Admit, Head

log = logging.getLogger("zocket.server")


@asynccontextmanager
async def serve(
    definition: AppDefinition,
    settings: ServeSettings,
    *,
    authorize: Callable[[str | None], Awaitable[Identity | None]] | None = None,
    pages: Mapping[str, Route] | None = None,
) -> AsyncIterator[int]:
    """The standalone server, answering during the block; gives its port.

    Args:
        definition: what is served.
        settings: address, limits, TLS.
        authorize: as `App(authorize=…)`.
        pages: further GET routes on the same port.

    Raises:
        BootError: the port is taken.
        SettingsError: a certificate that cannot be used.
    """
    limits = settings.limits
    socket_limits = SocketLimits.of(limits)
    wants_tls = settings.tls_certificate or settings.tls_key
    tls = server_context(settings.tls_certificate, settings.tls_key) if wants_tls else None
    admit = admission(authorize)
    async with (
        LocalServer.open(
            definition,
            limits=limits,
            dev_mode=settings.dev_mode,
            drain_timeout_s=settings.drain_timeout_s,
            state_file=settings.state_file,
            authorize=authorize,
        ) as server,
        SocketFront.open(
            settings.host,
            settings.port,
            admit=admit,
            open=lambda peer, admitted: server.open_session(peer, *admitted),
            calls=http_calls(server, admit, socket_limits.admit_timeout_s),
            routes=_routes(definition, pages or {}),
            private={"/schema": _schema(definition, admit)},
            limits=socket_limits,
            tls=tls,
        ) as front,
    ):

        async def scrape() -> tuple[int, str, bytes]:
            samples = [*server.samples(), *front.statistics().samples()]
            return 200, exposition.CONTENT_TYPE, exposition.render(samples)

        routes = {"/metrics": scrape}
        async with HttpFront.open(settings.metrics_host, settings.metrics_port, routes=routes) as metrics_front:
            extra = {"port": front.port, "metrics_port": metrics_front.port, "actors": sorted(definition.actors)}
            log.info("serving", extra=extra)
            yield front.port
            front.stop_listening()


async def run(
    definition: AppDefinition,
    settings: ServeSettings,
    *,
    authorize: Callable[[str | None], Awaitable[Identity | None]] | None = None,
    pages: Mapping[str, Route] | None = None,
    ready: Callable[[int], None] | None = None,
) -> int:
    """Serves until SIGTERM or SIGINT; the exit code. `ready` is called with the port; errors as of `serve`."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stop.set)
    async with serve(definition, settings, authorize=authorize, pages=pages) as port:
        if ready is not None:
            ready(port)
        await stop.wait()
        log.info("stopping")
    return 0


def _schema(definition: AppDefinition, admit: Admit[Any]) -> PrivateRoute:
    contract = cache(lambda: contract_of(definition).encode())

    async def schema(head: Head) -> tuple[int, str, bytes]:
        await admit(head)
        return 200, "application/json", contract()

    return schema


def _routes(definition: AppDefinition, pages: Mapping[str, Route]) -> Mapping[str, Route]:
    """`/health`, and the pages as they are at each request."""
    body = json.dumps({"ok": True, "actorTypes": list(definition.actors)}).encode()

    async def health() -> tuple[int, str, bytes]:
        return 200, "application/json", body

    return ChainMap({"/health": health}, pages)  # type: ignore[arg-type]  # the second map is never written to
