"""A gateway on the memory broker, its clients, and a runtime that a test scripts."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from zocket.broker.memory import MemoryBroker, MemoryServer
from zocket.broker.port import ConsumerSpec, Delivered, Message
from zocket.broker.streams import transport_streams
from zocket.gateway.gateway import Gateway
from zocket.gateway.session import GatewaySession, Identity
from zocket.ids import WHOLE, Partition, Scope
from zocket.protocol import envelopes, subjects
from zocket.settings import Limits
from zocket.testing.clock import VirtualClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager

SCOPE = Scope("acme", "chat")


class Client:
    """A peer that keeps what it gets; `closed` is the code and reason it was closed with."""

    def __init__(self) -> None:
        self.frames: list[Any] = []
        self.closed: tuple[int, str] | None = None
        self.unsent = 0
        self.session: GatewaySession

    def send(self, frame: bytes) -> None:
        self.frames.append(json.loads(frame))

    def close(self, code: int, reason: str = "") -> None:
        if self.closed is None:
            self.closed = (code, reason)

    def unsent_bytes(self) -> int:
        return self.unsent

    def pause(self) -> None:
        """Reads on."""

    def says(self, frame: bytes | dict[str, Any]) -> None:
        self.session.received(frame if isinstance(frame, bytes) else json.dumps(frame).encode())

    def calls(self, call_id: Any = 1, actor: str = "room", actor_id: str = "a", method: str = "m", **more: Any) -> None:
        self.says({"type": "rpc", "id": call_id, "actor": actor, "actorId": actor_id, "method": method, **more})

    def subscribes(self, actor: str = "room", actor_id: str = "a", kind: str = "state:sub") -> None:
        self.says({"type": kind, "actor": actor, "actorId": actor_id})

    def taken(self) -> list[Any]:
        """What came since the last time."""
        taken, self.frames = self.frames, []
        return taken

    @property
    def session_id(self) -> str:
        return self.session.edge.session_id


class Runtime:
    """A scripted runtime of one project: collects what reaches its consumers and the notices of sessions."""

    def __init__(self, server: MemoryServer, scope: Scope) -> None:
        self.scope = scope
        self.broker: MemoryBroker = server.connect()
        self.requests: list[Any] = []
        self.subjects: list[str] = []
        self.notices: defaultdict[str, list[Any]] = defaultdict(list)
        self.discoveries = 0
        self.announces: tuple[str, list[str]] | None = None
        self.grace = False

    async def start(self, *actor_types: str, epoch: str | None = None) -> None:
        """Takes over the consumers; with an epoch it announces itself, now and whenever it is asked."""
        for spec in transport_streams():
            await self.broker.ensure_stream(spec)
        await self.broker.subscribe(subjects.discovery(self.scope), self._discovered)
        for name in ("connected", "disconnected"):
            await self.broker.subscribe(
                f"session.{name}.{self.scope.workspace_id}.{self.scope.project_id}", self._noticed
            )
        await self.consume(*actor_types)
        if epoch is not None:
            self.announce(epoch, *actor_types)

    async def consume(self, *actor_types: str) -> None:
        for actor in actor_types:
            spec = ConsumerSpec(
                subjects.INBOUND_STREAM,
                subjects.consumer(self.scope, actor),
                subjects.inbound_filter(self.scope, actor),
            )
            await self.broker.take_over(spec, self._inbound, lambda: None)

    def announce(self, epoch: str, *actor_types: str) -> None:
        self.announces = (epoch, list(actor_types))
        self._announce()

    def _announce(self) -> None:
        if self.announces is not None:
            self.announce_partition(*self.announces)

    def announce_partition(
        self,
        epoch: str,
        actor_types: list[str],
        place: Partition = WHOLE,
        *,
        bursts: bool = False,
        mixed: int = 0,
        rank: int = 0,
        controls: bool = False,
    ) -> None:
        record = envelopes.Announcement(
            envelopes.wire_scope(self.scope),
            epoch,
            actor_types,
            partition=place.number,
            partitions=place.count,
            bursts=bursts,
            mixed=mixed,
            rank=rank,
            controls=controls,
            grace=self.grace,
        )
        self.broker.send([Message(subjects.announcement(self.scope), envelopes.encode(record))])

    def _discovered(self, messages: list[Message]) -> None:
        self.discoveries += len(messages)
        self._announce()

    def _noticed(self, messages: list[Message]) -> None:
        for message in messages:
            self.notices[message.subject.split(".")[1]].append(json.loads(message.payload))

    def _inbound(self, messages: list[Delivered]) -> None:
        for message in messages:
            self.subjects.append(message.subject)
            self.requests.append(json.loads(message.payload))
        self.broker.ack(messages)

    def sends(self, client: Client, frame: dict[str, Any] | bytes, scope: Scope | None = None) -> None:
        """One frame in the way of a foreign runtime."""
        text = frame if isinstance(frame, bytes) else json.dumps(frame).encode()
        head = envelopes.outbound_head(scope or self.scope, client.session_id)
        self.broker.send([Message(subjects.outbound(self.scope, client.session_id), envelopes.outbound(head, text))])

    def batches(
        self,
        gateway: Gateway,
        *deliveries: tuple[list[Client], dict[str, Any] | bytes],
        scope: Scope | None = None,
        epoch: str | None = None,
        lapsed: bool = False,
    ) -> None:
        """Frames for several sessions in the way of our own."""
        entries = [
            envelopes.delivery(
                envelopes.session_list([client.session_id for client in clients]),
                frame if isinstance(frame, bytes) else json.dumps(frame).encode(),
            )
            for clients, frame in deliveries
        ]
        head = envelopes.encode(envelopes.wire_scope(scope or self.scope))
        epoch_json = b"" if epoch is None else envelopes.encode(epoch)
        payload = envelopes.batch(head, entries, epoch_json, lapsed=lapsed)
        self.broker.send([Message(subjects.gateway(self.scope, gateway.gateway_id), payload)])


class World:
    """The server, the gateway and whoever joins."""

    def __init__(self, server: MemoryServer, broker: MemoryBroker, gateway: Gateway, clock: VirtualClock) -> None:
        self.server = server
        self.broker = broker
        self.gateway = gateway
        self.clock = clock

    def client(self, scope: Scope = SCOPE, **identity: Any) -> Client:
        client = Client()
        client.session = self.gateway.open_session(client, Identity(scope, **identity))
        return client

    async def runtime(self, *actor_types: str, epoch: str | None = None, scope: Scope = SCOPE) -> Runtime:
        runtime = Runtime(self.server, scope)
        await runtime.start(*actor_types, epoch=epoch)
        await self.settle()
        return runtime

    async def settle(self) -> None:
        """Lets everything that is on its way arrive; no time passes."""
        for _ in range(20):
            await asyncio.sleep(0)


@pytest.fixture
def world() -> Callable[..., AbstractAsyncContextManager[World]]:
    @asynccontextmanager
    async def open_world(**limits: Any) -> AsyncIterator[World]:
        clock = VirtualClock()
        server = MemoryServer(clock)
        broker = server.connect()
        async with Gateway.open(
            broker, clock=clock, limits=replace(Limits(), **limits), gateway_id="g_test"
        ) as gateway:
            yield World(server, broker, gateway, clock)
        await broker.aclose()

    return open_world
