"""Clients that stop reading, on real sockets: standalone, and through gateway, broker and runtime."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import jsonpatch
import pytest
from websockets.asyncio.client import connect

from tests.integration.sockets.conftest import Raw, World, client_frame
from zocket import Actor, App, method
from zocket.gateway.session import Identity as GatewayIdentity
from zocket.protocol import frames
from zocket.protocol.client_session import ClientSession, Instance
from zocket.server.local import Identity, LocalServer
from zocket.settings import Limits
from zocket.sockets.front import SocketFront
from zocket.sockets.limits import SocketLimits
from zocket.testing import TestApp
from zocket.testing.app import SCOPE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from zocket.metrics import Sample
    from zocket.sockets.port import Head, Open

pytestmark = pytest.mark.realtime

AT_ONCE = 50
DEADLINE_S = 40.0
each_way = pytest.mark.parametrize("way", ["standalone", "memory", pytest.param("nats", marks=pytest.mark.nats)])


def padding(count: int) -> str:
    """Makes every patch more than a kilobyte."""
    return str(count).zfill(1_000)


class Hot(Actor[dict[str, Any]]):
    @method
    async def change(self, count: int) -> None:
        self.state["count"] = count
        self.state["padding"] = padding(count)


app = App(actors={"hot": Hot})


class Server:
    """A server under test, whichever way it is put together."""

    def __init__(self, way: str, world: World, limits: Limits) -> None:
        self.way = way
        self.world = world
        self.limits = limits
        self.scraped: Any = None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Server]:
        if self.way == "standalone":
            async with LocalServer.open(app.definition, limits=self.limits) as local:
                self.scraped = local.samples
                async with self._front(lambda peer, _: local.open_session(peer, Identity())):
                    yield self
        else:
            async with TestApp(app, broker=self.way, limits=self.limits) as t:  # type: ignore[arg-type]
                assert t.gateway is not None
                gateway, identity = t.gateway, GatewayIdentity(SCOPE)
                self.scraped = gateway.samples
                async with self._front(lambda peer, _: gateway.open_session(peer, identity)):
                    yield self

    @asynccontextmanager
    async def _front(self, opened: Open[Head]) -> AsyncIterator[None]:
        async def admit(head: Head) -> Head:
            return head

        limits = replace(SocketLimits.of(self.limits), close_timeout_s=DEADLINE_S)
        async with SocketFront.open("127.0.0.1", 0, admit=admit, open=opened, limits=limits) as self.world.front:
            try:
                yield
            finally:
                self.world.close_raws()

    def metric(self, name: str) -> Any:
        samples: Iterable[Sample] = self.scraped()
        return next(sample.value for sample in samples if sample.name == name)

    async def subscriber(self) -> Raw:
        """Subscribes with a small receive buffer, and reads nothing."""
        raw = await self.world.raw(receive_buffer=4_096)
        await asyncio.get_running_loop().sock_sendall(raw.sock, client_frame(frames.request("state:sub", "hot", "h")))
        return raw

    async def change(self, numbers: range, watcher: Watcher) -> None:
        """Calls in order, no more of them under way than the watcher has caught up with; the last number remains."""
        async with connect(self.world.url) as writer:
            for start in range(0, len(numbers), AT_ONCE):
                some = numbers[start : start + AT_ONCE]
                for number in some:
                    await writer.send(
                        frames.call(b"%d" % number, "hot", "h", "change", b'{"count":%d}' % number), text=True
                    )
                answered = 0
                while answered < len(some):
                    frame = json.loads(await asyncio.wait_for(writer.recv(), DEADLINE_S))
                    answered += frame["type"] == "rpc:result" and "error" not in frame
                await self.world.until(lambda last=some[-1]: watcher.count == last)  # type: ignore[misc]


class Watcher:
    """Reads everything, and applies every patch in the plain way that knows no versions."""

    def __init__(self) -> None:
        self.kinds: list[str] = []
        self.state: Any = None

    def take(self, text: bytes | str) -> None:
        frame = json.loads(text)
        self.kinds.append(frame["type"])
        if frame["type"] == "state:snapshot":
            self.state = frame["state"]
        elif frame["type"] == "state:patch":
            self.state = jsonpatch.apply_patch(self.state, frame["patches"])

    @property
    def count(self) -> int | None:
        return (self.state or {}).get("count")


async def watch(server: Server, watcher: Watcher, last: int) -> None:
    async with connect(server.world.url, max_size=None) as socket:
        await socket.send(frames.request("state:sub", "hot", "h"), text=True)
        while watcher.count != last:
            watcher.take(await asyncio.wait_for(socket.recv(), DEADLINE_S))


@pytest.fixture
def world() -> World:
    return World()


@each_way
async def test_a_client_that_reads_on_jumps_to_the_right_state_with_one_snapshot(way: str, world: World) -> None:
    changes = 10_000 if way == "standalone" else 2_000
    async with Server(way, world, Limits()).running() as server:
        raw = await server.subscriber()
        reader, replica = Watcher(), ClientSession()
        replica.opened()
        ours = replica.watch(Instance("hot", "h"))
        replica.outgoing.clear()

        async def read_until(last: int) -> None:
            while reader.count != last:
                text = (await raw.frame())[1]
                reader.take(text)
                replica.receive(text)

        while "state:snapshot" not in reader.kinds:
            reader.take(frame := (await raw.frame())[1])
            replica.receive(frame)
        neighbour = Watcher()
        watching = asyncio.create_task(watch(server, neighbour, changes + 1))
        await world.until(lambda: len(world.front._sockets.peers) == 2)
        await server.change(range(1, changes + 1), neighbour)
        assert neighbour.kinds.count("state:patch") >= changes - 1, "who reads misses nothing"
        await world.until(lambda: server.metric("sessions_behind") == 1)
        await read_until(changes)
        await world.until(lambda: server.metric("sessions_behind") == 0)
        assert reader.kinds.count("state:snapshot") == 2
        assert reader.kinds.count("state:patch") < changes / 2
        assert server.metric("frames_coalesced") + reader.kinds.count("state:patch") >= changes
        assert ours.plain() == reader.state == {"count": changes, "padding": padding(changes)}
        await server.change(range(changes + 1, changes + 2), neighbour)
        await watching
        await read_until(changes + 1)
        assert reader.kinds[-1] == "state:patch", "it is one like any other again"
        assert ours.plain() == reader.state
        assert replica.outgoing == [], "it has seen no hole"


@each_way
async def test_a_client_that_never_reads_is_closed_with_1013_and_its_neighbour_sees_every_patch(
    way: str, world: World
) -> None:
    limits = replace(Limits(), slow_reader_bytes=4_096, slow_reader_timeout_s=0.3)
    async with Server(way, world, limits).running() as server:
        raw = await server.subscriber()
        neighbour = Watcher()
        last = 0
        stop = 1_000_000
        watching = asyncio.create_task(watch(server, neighbour, stop))
        await world.until(lambda: len(world.front._sockets.peers) == 2)
        while not world.front.statistics().slow:
            await server.change(range(last + 1, last + AT_ONCE + 1), neighbour)
            last += AT_ONCE
        await server.change(range(stop, stop + 1), neighbour)
        await watching
        assert neighbour.kinds.count("state:snapshot") == 1
        assert neighbour.kinds.count("state:patch") >= last
        assert await raw.close_code() == 1013
