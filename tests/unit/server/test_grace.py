"""Dropped sessions of a standalone server, over its own sockets and over ASGI."""

from __future__ import annotations

import asyncio
import json
import re
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from tests.unit.server.test_asgi import Socket
from zocket import Actor, App, Identity, Limits, method
from zocket.core import AppDefinition
from zocket.protocol.edge import EXPIRED_CODE, KICKED_CODE
from zocket.server.local import LocalServer
from zocket.testing import VirtualClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from zocket.server.local import LocalSession


class Game(Actor[dict[str, Any]]):
    grace = 10.0

    async def on_connect(self) -> None:
        self.note("+")

    async def on_drop(self) -> None:
        self.note("?")

    async def on_resume(self) -> None:
        self.note("!")

    async def on_disconnect(self) -> None:
        self.note("-")

    def note(self, what: str) -> None:
        self.state.setdefault("log", []).append(f"{what}{self.session.user_id}")

    @method
    async def log(self) -> list[Any]:
        return [list(self.state["log"]), self.session.id, self.message_id]

    @method
    async def colour(self) -> Any:
        return self.session.metadata.get("colour")

    @method
    async def oust(self) -> bool:
        return self.kick(self.session.id, close=True)


class Plain(Actor[dict[str, Any]]):
    @method
    async def hello(self) -> str:
        return "hello"


ADA, BOB = Identity("ada"), Identity("bob")


class Peer:
    def __init__(self) -> None:
        self.frames: list[Any] = []
        self.closed: tuple[int, str] | None = None
        self.session: LocalSession

    def send(self, frame: bytes) -> None:
        self.frames.append(json.loads(frame))

    def close(self, code: int, reason: str = "") -> None:
        self.closed = code, reason

    def unsent_bytes(self) -> int:
        return 0

    def pause(self) -> None:
        """Reads on."""

    @property
    def resume(self) -> str:
        return str(self.frames[0]["resume"])

    @property
    def id(self) -> str:
        return str(self.frames[0]["clientId"])


class House:
    """A standalone server and its sockets."""

    def __init__(self, server: LocalServer, clock: VirtualClock) -> None:
        self.server = server
        self.clock = clock

    def open(self, identity: Identity = ADA, resume: str = "", metadata: bytes = b"") -> Peer:
        peer = Peer()
        peer.session = self.server.open_session(peer, identity, metadata, resume)
        return peer

    async def ask(self, peer: Peer, name: str = "log", actor_id: str = "x") -> Any:
        frame = {"type": "rpc", "id": 1, "actor": "game", "actorId": actor_id, "method": name}
        peer.session.received(json.dumps(frame).encode())
        await self.clock.sleep(0.01)
        return [frame for frame in peer.frames if frame["type"] == "rpc:result"][-1]["result"]


@asynccontextmanager
async def opened() -> AsyncIterator[House]:
    clock = VirtualClock()
    definition = AppDefinition({"game": Game})
    async with LocalServer.open(definition, limits=Limits(), clock=clock) as server:
        yield House(server, clock)


async def test_a_dropped_session_goes_on_at_the_next_socket_under_its_id() -> None:
    async with opened() as house:
        first = house.open()
        log, session_id, message_id = await house.ask(first)
        first.session.closed()
        await house.clock.sleep(5)
        second = house.open(resume=first.resume, metadata=b'{"colour":"red"}')
        assert second.id == first.id == session_id
        assert second.resume != first.resume
        log, session_id, next_message_id = await house.ask(second)
        assert (log, session_id) == (["+ada", "?ada", "!ada"], first.id)
        assert next_message_id != message_id  # both are the first call of their socket
        second.session.closed()
        await house.clock.sleep(11)
        other = house.open(BOB)
        assert (await house.ask(other))[0] == ["+ada", "?ada", "!ada", "?ada", "-ada", "+bob"]


async def test_the_next_socket_brings_its_own_metadata() -> None:
    async with opened() as house:
        first = house.open(metadata=b'{"colour":"red"}')
        assert await house.ask(first, "colour") == "red"
        first.session.closed()
        assert await house.ask(house.open(resume=first.resume, metadata=b'{"colour":"blue"}'), "colour") == "blue"


async def test_a_goodbye_is_the_end_also_if_the_client_comes_back_with_its_token() -> None:
    async with opened() as house:
        first = house.open()
        await house.ask(first)
        first.session.closed(said_goodbye=True)
        await house.clock.sleep(1)
        second = house.open(resume=first.resume)
        assert (await house.ask(second))[0] == ["+ada", "-ada", "+ada"]


async def test_the_newer_of_two_sockets_wins_and_the_older_one_is_closed_for_good() -> None:
    async with opened() as house:
        first = house.open()
        await house.ask(first)
        second = house.open(resume=first.resume)
        assert first.closed == (KICKED_CODE, "replaced")
        assert first.frames[-1]["code"] == "replaced"
        first.session.closed()
        assert (await house.ask(second))[0] == ["+ada", "?ada", "!ada"]
        third = house.open(resume=first.resume)
        assert second.closed == (KICKED_CODE, "replaced")
        assert third.id == first.id
        await house.clock.sleep(30)
        assert (await house.ask(third))[0] == ["+ada", "?ada", "!ada", "?ada", "!ada"]


@pytest.mark.parametrize("whose", ["forged", "bob's", "another server's", "expired"])
async def test_a_token_that_does_not_count_gives_a_new_session_and_leaves_the_old_one_alone(whose: str) -> None:
    async with opened() as house, opened() as elsewhere:
        first = house.open()
        await house.ask(first)
        token = {"forged": first.resume[:-4] + "AAAA", "another server's": elsewhere.open().resume}.get(
            whose, first.resume
        )
        if whose == "expired":
            await house.clock.sleep(86_401)
        second = house.open(BOB if whose == "bob's" else ADA, resume=token)
        assert second.id != first.id
        assert first.closed is None
        samples = {
            sample.labels["outcome"]: sample.value
            for sample in house.server.samples()
            if sample.name == "resumptions" and sample.labels
        }
        assert samples == {"taken": 0, "refused": 1}


async def test_who_is_kicked_with_its_socket_has_no_grace() -> None:
    async with opened() as house:
        first, other = house.open(), house.open(BOB)
        await house.ask(first)
        await house.ask(first, "oust", actor_id="another")
        await house.clock.sleep(0.1)
        assert first.closed == (KICKED_CODE, "kicked")
        first.session.closed()
        assert (await house.ask(other))[0] == ["+ada", "-ada", "+bob"]


async def test_a_socket_closed_for_its_token_is_a_drop() -> None:
    async with opened() as house:
        identity = Identity("ada", {"exp": house.clock.wall() + 5})
        first = house.open(identity)
        await house.ask(first)
        await house.clock.sleep(7)
        assert first.closed is not None
        assert first.closed[0] == EXPIRED_CODE
        first.session.closed()
        assert (await house.ask(house.open(resume=first.resume)))[0] == ["+ada", "?ada", "!ada"]


async def test_without_a_grace_there_is_nothing_to_resume_with() -> None:
    clock = VirtualClock()
    async with LocalServer.open(AppDefinition({"plain": Plain}), limits=Limits(), clock=clock) as server:
        peer = Peer()
        peer.session = server.open_session(peer, ADA)
        assert "resume" not in peer.frames[0]
        assert server.open_session(Peer(), ADA, b"", "x.y").session_id != peer.session.session_id


CODES = [(1000, "-"), (1001, "-"), (1005, "?"), (None, "?"), (1006, "?"), (1011, "?"), (1012, "?"), (4000, "?")]


@pytest.mark.parametrize(("code", "hook"), CODES)
async def test_over_asgi_the_close_code_tells_a_goodbye_from_a_drop(code: int | None, hook: str) -> None:
    app = App(actors={"game": Game})
    async with app.lifespan():
        socket, other = await joined(app), await joined(app)
        await asked(socket)
        gone = {"type": "websocket.disconnect"} | ({} if code is None else {"code": code})
        socket.to_app.put_nowait(gone)
        await socket.task
        assert (await asked(other))[0] == ["+None", f"{hook}None", "+None"]


@pytest.mark.parametrize("where", ["query", "header"])
async def test_over_asgi_a_session_is_resumed(where: str) -> None:
    app = App(actors={"game": Game})
    async with app.lifespan():
        socket = await joined(app)
        await asked(socket)
        socket.to_app.put_nowait({"type": "websocket.disconnect", "code": 1006})
        await socket.task
        token = socket.welcome["resume"].encode()
        options: Any = {"query": b"resume=" + token} if where == "query" else {"headers": [(b"x-zocket-resume", token)]}
        back = await joined(app, **options)
        assert back.welcome["clientId"] == socket.welcome["clientId"]
        assert (await asked(back))[0] == ["+None", "?None", "!None"]


async def test_over_asgi_a_socket_that_this_side_closes_is_no_goodbye() -> None:
    """Some servers then report the code that they were told to close with."""
    app = App(actors={"game": Game}, limits=Limits(max_frame_bytes=1_024))
    async with app.lifespan():
        socket, other = await joined(app), await joined(app)
        await asked(socket)
        socket.to_app.put_nowait({"type": "websocket.receive", "text": "x" * 2_000})
        assert (await socket.next())["code"] == 1009
        socket.to_app.put_nowait({"type": "websocket.disconnect", "code": 1000})
        await socket.task
        assert (await asked(other))[0] == ["+None", "?None", "+None"]


async def test_a_call_over_http_is_a_session_that_ends_at_once() -> None:
    app = App(actors={"game": Game})
    async with app.lifespan():
        scope = {
            "type": "http",
            "method": "POST",
            "path": "/call/game/x/log",
            "query_string": b"",
            "headers": [],
        }
        sent: list[Any] = []

        async def receive() -> Any:
            return {"type": "http.request", "body": b""}

        async def send(message: Any) -> None:
            sent.append(message)

        await app(scope, receive, send)
        assert re.search(rb"\+None", sent[-1]["body"])
        other = await joined(app)
        assert (await asked(other))[0] == ["+None", "-None", "+None"]


class Joined(Socket):
    """A socket that was accepted."""

    welcome: dict[str, Any]


async def joined(app: App, **options: Any) -> Joined:
    socket = Joined(app, **options)
    assert (await socket.next())["type"] == "websocket.accept"
    socket.welcome = await socket.next()
    return socket


async def asked(socket: Socket) -> Any:
    socket.send(type="rpc", id=1, actor="game", actorId="x", method="log")
    async with asyncio.timeout(5):
        while (frame := await socket.next())["type"] != "rpc:result":
            pass
    return frame["result"]
