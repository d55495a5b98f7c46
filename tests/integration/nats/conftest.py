"""NATS as it is in production: a cluster of three servers on loopback, and the platform on it in this process."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import urllib.request
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from zocket.broker.nats import NatsBroker
from zocket.broker.server import NatsServer
from zocket.client import Client
from zocket.clock import SystemClock
from zocket.gateway.gateway import Gateway
from zocket.gateway.session import Identity
from zocket.ids import Scope
from zocket.runtime.runtime import Runtime
from zocket.settings import Limits
from zocket.testing.app import Transport, finalizers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from zocket.app import App

DEADLINE_S = 60.0
SCOPE = Scope("ws", "proj")


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


async def until(condition: Callable[[], object], what: str = "the condition") -> None:
    try:
        async with asyncio.timeout(DEADLINE_S):
            while not condition():  # noqa: ASYNC110 — a condition of any kind
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"{what}: not within {DEADLINE_S:g} s") from None


class NatsCluster:
    """Three servers that keep each other's streams."""

    def __init__(self) -> None:
        routes, self._monitors = free_ports(3), free_ports(3)
        urls = json.dumps([f"nats://127.0.0.1:{port}" for port in routes])
        self.servers = [
            NatsServer(
                config=f"server_name: n{number}\nhttp: 127.0.0.1:{monitor}\n"
                f"cluster {{ name: c, listen: 127.0.0.1:{route}, routes: {urls} }}\n"
            )
            for number, (route, monitor) in enumerate(zip(routes, self._monitors, strict=True))
        ]

    @property
    def url(self) -> str:
        return ",".join(server.url for server in self.servers)

    async def start(self) -> None:
        await asyncio.gather(*(server.start() for server in self.servers))
        await self.wait_healthy()

    async def wait_healthy(self) -> None:
        """JetStream has a leader, and every server has every stream and consumer up to date."""
        async with asyncio.timeout(DEADLINE_S):
            while not all([await asyncio.to_thread(_is_healthy, port) for port in self._monitors]):  # noqa: ASYNC110
                await asyncio.sleep(0.05)

    async def aclose(self) -> None:
        await asyncio.gather(*(server.aclose() for server in self.servers))


def _is_healthy(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


@pytest.fixture
def cluster() -> Iterator[NatsCluster]:
    made = NatsCluster()
    try:
        asyncio.run(made.start())
        yield made
    finally:
        asyncio.run(made.aclose())


class Kit:
    """Gateway and runtime on NATS, and clients of them."""

    def __init__(self, url: str, *, replicas: int = 1) -> None:
        self.clock = SystemClock()
        self.gateway: Gateway | None = None
        self._url = url
        self._stack = finalizers.get()
        self._replicas = replicas

    async def broker(self, name: str, url: str = "", **options: Any) -> NatsBroker:
        broker = await NatsBroker.open(url or self._url, name=name, replicas=self._replicas, **options)
        self._stack.push_async_callback(broker.aclose)
        return broker

    async def start_gateway(self, broker: NatsBroker, limits: Limits | None = None) -> None:
        self.gateway = await self._stack.enter_async_context(
            Gateway.open(
                broker,
                clock=self.clock,
                limits=limits or Limits(),
                stream_storage="file",
                stream_replicas=self._replicas,
            )
        )

    @asynccontextmanager
    async def runtime(
        self, app: App, broker: NatsBroker, *, scope: Scope = SCOPE, ack_wait_s: float = 30.0
    ) -> AsyncIterator[Runtime]:
        async with Runtime.open(
            app.definition,
            scope,
            broker,
            clock=self.clock,
            limits=Limits(),
            process_name="test",
            ack_wait_s=ack_wait_s,
            storage="file",
            replicas=self._replicas,
        ) as runtime:
            yield runtime

    async def start_runtime(self, app: App, broker: NatsBroker, **options: Any) -> Runtime:
        return await self._stack.enter_async_context(self.runtime(app, broker, **options))

    async def client(self, *, scope: Scope = SCOPE, rpc_timeout: float = 30.0) -> Client:
        client = Client(Transport(self, Identity(scope, None, b"null")), rpc_timeout=rpc_timeout, clock=self.clock)
        self._stack.push_async_callback(client.aclose)
        await client.open()
        return client
