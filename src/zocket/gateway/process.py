"""The process around `Gateway`: settings, broker, authorization, the public port, the port for operators, signals.

Rules: whatever keeps it from starting is a `SettingsError` or a `BootError` of one line; the first signal drains, and
a stop ends in bounded time.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import sys
from collections import ChainMap
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from zocket.broker.access import open_broker
from zocket.clock import SystemClock
from zocket.errors import BootError, Unavailable
from zocket.exposition import CONTENT_TYPE, render
from zocket.gateway.authorization import ControlPlaneAuthorizer, control_plane
from zocket.gateway.gateway import RESTARTING_CODE, STOPPING, Gateway
from zocket.gateway.schema import SchemaRoute
from zocket.settings import check_internal_token, check_resume_secret, check_streams
from zocket.sockets.calls import HttpCalls, Rate, address_of
from zocket.sockets.front import HttpFront, SocketFront
from zocket.sockets.limits import SocketLimits
from zocket.sockets.port import Refused
from zocket.sockets.tls import server_context

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine, Mapping

    from zocket.broker.port import Broker
    from zocket.clock import Clock
    from zocket.gateway.session import Identity
    from zocket.settings import GatewaySettings
    from zocket.sockets.connection import Route
    from zocket.sockets.port import Head, Peer, SocketSession
    from zocket.sockets.refresh import Renew

_log: Final = logging.getLogger("zocket.gateway")

SERVING: Final = "serving"
"""What a worker writes on standard output once it serves."""
YOUNG_OBJECTS: Final = 10_000
"""New objects after which the collector looks at them, some 200 sessions."""
FLUSH_TIMEOUT_S: Final = 2.0
"""How long a stop waits until the broker has taken the last notices."""
_JSON: Final = "application/json"


@dataclass(frozen=True, slots=True)
class Serving:
    """A gateway process that runs.

    Attributes:
        port: of the WebSockets.
        metrics_port: of `/metrics` and `/ready`.
    """

    gateway: Gateway
    port: int
    metrics_port: int


class _Admitted(NamedTuple):
    identity: Identity
    renew: Renew[Identity]
    metadata: bytes
    resume: str


@asynccontextmanager
async def serve(
    settings: GatewaySettings,
    *,
    clock: Clock | None = None,
    pages: Mapping[str, Route] | None = None,
    reuse_port: bool = False,
) -> AsyncIterator[Serving]:
    """The gateway, answering during the block; drained at its end.

    Args:
        settings: address, NATS, control plane, limits, TLS.
        clock: the machine's by default.
        pages: further GET routes on the public port, looked up at each request (`zocket dev`).
        reuse_port: other processes may listen on the public port, too.

    Raises:
        SettingsError: the published token toward another machine, a certificate that cannot be used, or a RESUME_SECRET
            that is too short.
        BootError: NATS is away or refuses, or a port is taken.
    """
    clock = clock or SystemClock()
    check_internal_token(
        settings.internal_token, [settings.control_plane_url, settings.nats_url], dev_mode=settings.dev_mode
    )
    check_streams(settings.stream_storage, settings.stream_replicas)
    check_resume_secret(settings.resume_secret)
    tls = server_context(settings.tls_certificate, settings.tls_key) if _wants_tls(settings) else None
    limits = SocketLimits.of(settings.limits)
    async with AsyncExitStack() as stack:
        broker = await _open_broker(settings, stack)
        gateway = await _open_gateway(broker, settings, clock, stack)
        client = await stack.enter_async_context(control_plane(settings.control_plane_url, settings.internal_token))
        authorize = ControlPlaneAuthorizer(client, clock)

        def admitted(head: Head, identity: Identity) -> _Admitted:
            return _Admitted(identity, partial(authorize.renew, head.host), head.metadata, head.resume)

        async def admit(head: Head) -> _Admitted:
            if not gateway.accepting:
                raise Refused(503, Unavailable.default_code, STOPPING)
            return admitted(head, await authorize(head))

        def known(head: Head) -> _Admitted | None:
            identity = authorize.known(head) if gateway.accepting else None
            return None if identity is None else admitted(head, identity)

        def open_socket(peer: Peer, admitted: _Admitted) -> SocketSession:
            return gateway.open_session(peer, *admitted)

        async def health() -> tuple[int, str, bytes]:
            return 200, _JSON, b'{"ok":true}'

        async def ready() -> tuple[int, str, bytes]:
            return (200, _JSON, b'{"ready":true}') if gateway.ready else (503, _JSON, b'{"ready":false}')

        async def metrics() -> tuple[int, str, bytes]:
            return 200, CONTENT_TYPE, render(chain(gateway.samples(), front.statistics().samples()))

        def rate(admitted: _Admitted, head: Head) -> Rate:
            identity = admitted[0]
            caller = identity.user_id or address_of(head)
            known, bounds = identity.user_id is not None, gateway.limits_of(identity)
            return Rate((identity.scope, known, caller), bounds.rate_per_s, bounds.rate_burst)

        calls = HttpCalls(admit, open_socket, rate=rate, now=clock.now, admit_timeout_s=limits.admit_timeout_s)
        front = await stack.enter_async_context(
            SocketFront.open(
                settings.host,
                settings.port,
                admit=admit,
                known=known,
                open=open_socket,
                private={"/schema": SchemaRoute(client, admit)},
                calls=calls,
                routes=ChainMap({"/health": health}, pages or {}),  # type: ignore[arg-type]  # never written to
                limits=limits,
                tls=tls,
                reuse_port=reuse_port,
            )
        )
        operators = await stack.enter_async_context(
            HttpFront.open(settings.metrics_host, settings.metrics_port, routes={"/metrics": metrics, "/ready": ready})
        )
        _log.info("gateway %s answers on port %d, metrics on %d", gateway.gateway_id, front.port, operators.port)
        try:
            yield Serving(gateway, front.port, operators.port)
        finally:
            front.stop_listening()
            await gateway.drain(settings.drain_timeout_s)
            await front.close_sockets(RESTARTING_CODE, STOPPING)


async def run(settings: GatewaySettings, *, pages: Mapping[str, Route] | None = None, worker: bool = False) -> int:
    """Serves until SIGTERM or SIGINT, then drains; the exit code. `pages` as of `serve`.

    A `worker` shares its port with others, writes `SERVING` once it serves, and stops also when standard input ends.

    Raises:
        SettingsError: see `serve`.
        BootError: see `serve`.
        Unavailable: the connection to NATS was closed for good.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stop.set)
    try:
        async with serve(settings, pages=pages, reuse_port=worker) as serving:
            if worker:
                loop.add_reader(sys.stdin.fileno(), _parent_is_gone, stop)
                sys.stdout.write(f"{SERVING}\n")
                sys.stdout.flush()
            _spare_collector()
            await _first(stop.wait(), serving.gateway.wait_failed())
            _log.info("gateway is stopping")
    finally:
        for name in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(name)
    _log.info("gateway stopped")
    return 0


def _spare_collector() -> None:
    """Cyclic garbage is looked for seldom, and never in what was made for the start.

    A crowd of clients makes objects that stay; by default they would be looked through again and again meanwhile.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS)


def _parent_is_gone(stop: asyncio.Event) -> None:
    """Standard input can be read: a parent writes nothing there, so it has ended."""
    asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
    stop.set()


async def _first(*waits: Coroutine[Any, Any, object]) -> None:
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()


def _wants_tls(settings: GatewaySettings) -> bool:
    return bool(settings.tls_certificate or settings.tls_key)


async def _open_broker(settings: GatewaySettings, stack: AsyncExitStack) -> Broker:
    broker = await open_broker(
        settings.nats_url,
        settings.nats,
        name="gateway",
        boot_timeout_s=settings.nats_boot_timeout_s,
        replicas=settings.stream_replicas,
    )
    stack.push_async_callback(broker.aclose)
    stack.push_async_callback(broker.drain, FLUSH_TIMEOUT_S)
    return broker


async def _open_gateway(broker: Broker, settings: GatewaySettings, clock: Clock, stack: AsyncExitStack) -> Gateway:
    try:
        return await stack.enter_async_context(
            Gateway.open(
                broker,
                clock=clock,
                limits=settings.limits,
                stream_storage=settings.stream_storage,
                partitions=settings.partitions,
                stream_replicas=settings.stream_replicas,
                resume_secret=settings.resume_secret.encode(),
            )
        )
    except Unavailable as error:
        raise BootError(
            f"the streams INBOUND and OUTBOUND cannot be made: {error.message}. "
            "Is JetStream enabled on the NATS server?"
        ) from error
