"""Streams, cancellations and queries of a standalone server: over its sockets, over ASGI, and from its own process."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.unit.server.test_asgi import Gated
from zocket import Actor, ActorError, App, Limits, method, query
from zocket.host.streams import WINDOW_CHUNKS
from zocket.server.local import Identity, LocalServer, LocalSession
from zocket.testing import VirtualClock


class Speaker(Actor[dict[str, int]]):
    made = 0
    ended = 0

    @method
    async def count(self, to: int, pause_s: float = 0.0, size: int = 0) -> AsyncIterator[str]:
        try:
            for number in range(1, to + 1):
                Speaker.made = number
                yield f"{number}" + "x" * size
                await asyncio.sleep(pause_s)
        finally:
            Speaker.ended += 1

    @method
    async def fail(self) -> AsyncIterator[int]:
        yield 1
        raise ActorError("no", code="over", data=[1])

    @query
    async def made_so_far(self) -> int:
        return Speaker.made


app = App(actors={"speaker": Speaker})


@pytest.fixture(autouse=True)
def nothing_made() -> None:
    Speaker.made = Speaker.ended = 0


class Peer:
    """A socket that keeps its frames, with a backlog that a test sets."""

    def __init__(self) -> None:
        self.frames: list[Any] = []
        self.unsent = 0
        self.session: LocalSession

    def send(self, frame: bytes) -> None:
        self.frames.append(json.loads(frame))

    def close(self, code: int, reason: str = "") -> None:
        pass

    def unsent_bytes(self) -> int:
        return self.unsent

    def pause(self) -> None:
        """Reads on."""

    def says(self, **frame: Any) -> None:
        self.session.received(json.dumps({"actor": "speaker", "actorId": "a", **frame}).encode())

    def chunks(self) -> list[str]:
        return [frame["chunk"] for frame in self.frames if frame["type"] == "rpc:stream"]


def joined(server: LocalServer) -> Peer:
    peer = Peer()
    peer.session = server.open_session(peer, Identity())
    return peer


async def test_a_client_is_told_that_it_may_cancel() -> None:
    async with LocalServer.open(app.definition, limits=Limits(), clock=VirtualClock()) as server:
        assert joined(server).frames[0]["features"] == ["rpc:cancel"]


async def test_a_stream_goes_on_as_its_socket_drains_and_outlives_the_time_limit_of_a_call() -> None:
    clock = VirtualClock()
    async with LocalServer.open(app.definition, limits=Limits(call_timeout_s=10), clock=clock) as server:
        peer = joined(server)
        peer.unsent = 1_000_000
        peer.says(type="rpc", id=1, method="count", input={"to": 200, "pause_s": 0.2})
        await clock.sleep(15)
        assert len(peer.chunks()) == WINDOW_CHUNKS
        peer.unsent = 0
        await clock.sleep(60)
        assert peer.chunks()[-1] == "200"
        assert peer.frames[-1] == {"type": "rpc:result", "id": 1, "seq": 200}


async def test_a_client_cancels_its_stream_and_a_socket_that_closes_does() -> None:
    clock = VirtualClock()
    async with LocalServer.open(app.definition, limits=Limits(), clock=clock) as server:
        peer, other = joined(server), joined(server)
        peer.says(type="rpc", id=1, method="count", input={"to": 100, "pause_s": 1})
        await clock.sleep(1.5)
        other.says(type="rpc:cancel", id=1)
        peer.says(type="rpc:cancel", id=2)
        await clock.sleep(0.1)
        assert Speaker.ended == 0
        peer.says(type="rpc:cancel", id=1)
        await clock.sleep(0.1)
        assert (peer.frames[-1]["code"], Speaker.ended) == ("cancelled", 1)
        peer.says(type="rpc", id=3, method="count", input={"to": 100, "pause_s": 1})
        await clock.sleep(1.5)
        peer.session.closed()
        await clock.sleep(0.1)
        assert Speaker.ended == 2
        assert server.host.pending == 0


async def test_over_asgi_a_client_that_does_not_read_holds_the_generator() -> None:
    limited = App(actors={"speaker": Speaker}, limits=Limits(slow_reader_bytes=2_048))
    async with limited.lifespan():
        socket = Gated(limited)
        for _ in range(2):
            await socket.next()
        socket.reads.clear()
        socket.send(type="rpc", id=1, actor="speaker", actorId="a", method="count", input={"to": 500, "size": 100})
        await asyncio.sleep(1)
        assert Speaker.made == WINDOW_CHUNKS
        socket.reads.set()
        frame = await socket.next()
        while frame["type"] == "rpc:stream":
            frame = await socket.next()
        assert frame == {"type": "rpc:result", "id": 1, "seq": 500}
        await socket.leave()


async def test_a_handle_of_the_process_itself_iterates_and_asks() -> None:
    async with app.lifespan():
        speaker = app.actor(Speaker, "a")
        async for number in speaker.count(to=1_000):
            if number == "3":
                break
        await asyncio.sleep(0.1)
        assert Speaker.ended == 1
        assert 3 <= await speaker.made_so_far() <= WINDOW_CHUNKS + 3
        with pytest.raises(ActorError, match="no") as caught:
            _ = [number async for number in speaker.fail()]
        assert (caught.value.code, caught.value.data) == ("over", [1])
