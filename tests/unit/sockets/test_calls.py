"""Calls over HTTP: who may, how often, and what a session does for one call."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from zocket.protocol import frames
from zocket.sockets.calls import MAX_BUCKETS, HttpCalls, Rate, Reply
from zocket.sockets.port import Head, Refused

if TYPE_CHECKING:
    from zocket.sockets.port import Peer

PATH = "/call/room/a/post"


class Session:
    def __init__(self, world: World, peer: Peer) -> None:
        self.world = world
        self.peer = peer

    def received(self, frame: bytes) -> None:
        self.world.frames.append(json.loads(frame))
        self.peer.send(frames.welcome("s1"))
        if self.world.closes:
            self.peer.close(1012, "the gateway is stopping")
        elif self.world.answers:
            self.peer.send(frames.result(b"1", b"7"))
            self.peer.send(frames.result(b"1", b"8"))

    def fell_behind(self) -> None: ...

    def caught_up(self) -> None: ...

    def closed(self, *, said_goodbye: bool = False) -> None:
        self.world.closed += 1


class World:
    def __init__(self, *, per_s: float = 0.0, burst: int = 2) -> None:
        self.frames: list[Any] = []
        self.closed = 0
        self.answers = True
        self.closes = False
        self.refuses: Refused | Exception | None = None
        self.now = 0.0
        self.decides = asyncio.Event()
        self.decides.set()
        self.calls = HttpCalls(
            self.admit,
            lambda peer, _: Session(self, peer),
            rate=lambda admitted, _: Rate(admitted, per_s, burst),
            now=lambda: self.now,
            admit_timeout_s=0.01,
        )

    async def admit(self, head: Head) -> str:
        await self.decides.wait()
        if self.refuses is not None:
            raise self.refuses
        return head.token or "nobody"

    async def ask(self, body: bytes = b"{}", *, method: str = "POST", path: str = PATH, **more: str) -> Reply:
        head = Head(path, "h", more.pop("token", None), "1.2.3.4:5", more)
        return await self.calls(method, head, path, body)


def code_of(reply: Reply) -> tuple[int, str]:
    return reply.status, json.loads(reply.body)["code"]


async def test_a_call_is_a_session_of_one_frame() -> None:
    world = World()
    reply = await world.ask(b'{"text":"a"}', **{"idempotency-key": "k"})
    assert (reply.status, reply.body) == (200, b'{"result":7}')
    assert [frame["input"] for frame in world.frames] == [{"text": "a"}]
    assert world.frames[0]["idempotencyKey"] == "k"
    assert world.closed == 1


async def test_what_is_no_call_opens_no_session() -> None:
    world = World()
    assert code_of(await world.ask(path="/call/room/a")) == (404, "not_found")
    assert code_of(await world.ask(path="/call/room/%FF/post")) == (400, "invalid_frame")
    assert code_of(await world.ask(b"{")) == (400, "invalid_frame")
    assert (world.frames, world.closed) == ([], 0)


async def test_who_may_not_open_a_socket_may_not_call() -> None:
    world = World()
    for refused in (Refused(401, "unauthorized", "no"), Refused(503, "unavailable", "away")):
        world.refuses = refused
        assert code_of(await world.ask()) == (refused.status, refused.code)
    world.refuses = RuntimeError("secret")
    reply = await world.ask()
    assert code_of(reply) == (500, "internal")
    assert b"secret" not in reply.body
    world.decides.clear()
    assert code_of(await world.ask()) == (503, "unavailable")
    assert world.frames == []


async def test_a_page_may_read_what_it_asked_unless_its_origin_is_refused() -> None:
    world = World()
    allowed = ("Access-Control-Allow-Origin", "https://a.example")
    assert allowed in (await world.ask(origin="https://a.example")).headers
    assert ("Vary", "Origin") in (await world.ask()).headers
    preflight = await world.ask(method="OPTIONS", origin="https://a.example")
    assert preflight.status == 200
    assert allowed in preflight.headers
    assert dict(preflight.headers)["Access-Control-Allow-Headers"] == "authorization, content-type, idempotency-key"
    world.refuses = Refused(401, "unauthorized", "no token")
    assert (await world.ask(method="OPTIONS", origin="https://a.example")).status == 200, "it cannot send its token"
    world.refuses = Refused(403, "origin_refused", "no")
    for method in ("OPTIONS", "POST"):
        reply = await world.ask(method=method, origin="https://a.example")
        assert reply.status == 403
        assert allowed not in reply.headers
    assert len(world.frames) == 2


async def test_the_rate_counts_over_all_requests_of_one_caller() -> None:
    world = World(per_s=1.0, burst=2)
    assert [(await world.ask(token="a")).status for _ in range(3)] == [200, 200, 429]
    assert (await world.ask(token="b")).status == 200
    world.now += 1.0
    assert [(await world.ask(token="a")).status for _ in range(2)] == [200, 429]
    assert world.calls._buckets.keys() == {"b", "a"}
    world.calls._buckets |= {f"u{number}": None for number in range(MAX_BUCKETS)}  # type: ignore[misc]
    await world.ask(token="c")
    assert "b" not in world.calls._buckets


async def test_a_session_that_is_closed_from_above_is_an_error() -> None:
    world = World()
    world.closes = True
    assert code_of(await world.ask()) == (503, "unavailable")
    assert world.closed == 1


async def test_a_client_that_goes_ends_the_session() -> None:
    world = World()
    world.answers = False
    asking = asyncio.ensure_future(world.ask())
    await asyncio.sleep(0.001)
    assert world.frames
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert world.closed == 1
