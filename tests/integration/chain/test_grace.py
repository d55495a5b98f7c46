"""Clients that lose their socket and come back with the same session, or do not (both brokers)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from zocket import Actor, App, method
from zocket.errors import Disconnected
from zocket.gateway.gateway import RESTARTING_CODE, Gateway
from zocket.protocol.edge import KICKED_CODE
from zocket.settings import Limits
from zocket.testing import TestApp

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.integration.chain.conftest import Outside, RawSocket
    from zocket.client import Client

pytestmark = pytest.mark.each_broker

GRACE_S = 60.0
"""Longer than what a test may take in real time; the clock of the kit goes over it in a moment."""
STEP_S = 5.0


async def later(t: TestApp, seconds: float) -> None:
    """Lets time go by in steps in which a gateway that lives is heard: no real server comes along with a leap."""
    while seconds > 0:
        await t.clock.advance(min(STEP_S, seconds))
        await t.settle()
        seconds -= STEP_S


class Plain(Actor[dict[str, Any]]):
    async def on_connect(self) -> None:
        self.note("+")

    async def on_disconnect(self) -> None:
        self.note("-")

    def note(self, what: str) -> None:
        log = self.state.setdefault("log", [])
        log.append(f"{what}{self.session.user_id}")
        self.state["ids"] = sorted({*self.state.get("ids", ()), self.session.id})

    @method
    async def add(self, pause_s: float = 0) -> int:
        await asyncio.sleep(pause_s)
        self.state["count"] = self.state.get("count", 0) + 1
        return int(self.state["count"])

    @method
    async def drip(self) -> AsyncGenerator[int]:
        number = 0
        while True:
            yield number
            number += 1
            await asyncio.sleep(0.05)

    @method
    async def oust(self, who: str) -> bool:
        return self.kick(who)


class Game(Plain):
    grace = GRACE_S

    async def on_drop(self) -> None:
        self.note("?")

    async def on_resume(self) -> None:
        self.note("!")


class Stored(Game):
    durability = "file"


app = App(actors={"game": Game, "stored": Stored, "plain": Plain})

KINDS = pytest.mark.parametrize("cls", [Game, Stored])


class Looker:
    """Somebody else who watches the instance."""

    def __init__(self, outside: type[Outside], t: TestApp, cls: type[Plain]) -> None:
        self._outside = outside
        self.socket = outside.socket(t, user_id="looker")
        self.socket.subscribe("state:sub", cls.__name__.lower(), "x")

    def lines(self, who: str = "ada") -> list[str]:
        state = self.socket.replica() or {}
        return [line for line in state.get("log", []) if line.endswith(who)]

    async def sees(self, *lines: str) -> None:
        await self._outside.until(lambda: self.lines() == list(lines), f"{lines}, there is {self.socket.replica()}")


async def until_new_id(outside: type[Outside], client: Client) -> str:
    await outside.until(lambda: client.id is not None, "it is back")
    assert client.id is not None
    return client.id


@KINDS
async def test_a_client_that_is_back_in_time_is_the_same_session_and_goes_on(
    outside: type[Outside], cls: type[Plain]
) -> None:
    async with TestApp(app) as t:
        client, looker = await t.connect(user_id="ada"), Looker(outside, t, cls)
        game = client.actor(cls, "x")
        states = client.state(game)
        assert await game.add() == 1
        session_id = client.id
        for times in range(1, 3):
            await t.drop(client)
            await looker.sees("+ada", *["?ada", "!ada"] * times)
            assert await until_new_id(outside, client) == session_id
            assert await game.add() == 1 + times
        async with asyncio.timeout(20):
            async for state in states:
                if state.get("count") == 3:
                    break
        await later(t, 2 * GRACE_S)
        assert await game.add() == 4
        assert looker.lines() == ["+ada", "?ada", "!ada", "?ada", "!ada"]
        assert session_id in looker.socket.replica()["ids"]
        await client.aclose()
        await looker.sees("+ada", "?ada", "!ada", "?ada", "!ada", "-ada")


@KINDS
async def test_a_client_that_does_not_come_back_leaves_once_when_its_grace_is_over(
    outside: type[Outside], cls: type[Plain]
) -> None:
    async with TestApp(app) as t:
        looker = Looker(outside, t, cls)
        await looker.socket.wait_frames("state:snapshot", 1)
        leaver = await joined(outside, t, cls)
        leaver.session.closed()
        await looker.sees("+ada", "?ada")
        await later(t, GRACE_S - 5)
        await t.settle()
        assert looker.lines() == ["+ada", "?ada"]
        await later(t, 10)
        await looker.sees("+ada", "?ada", "-ada")
        late = outside.socket(t, user_id="ada", resume=token_of(leaver))
        late.call(1, cls.__name__.lower(), "x", "add")
        await late.wait_answer(1)
        await looker.sees("+ada", "?ada", "-ada", "+ada")
        await later(t, 2 * GRACE_S)
        await t.settle()
        assert looker.lines() == ["+ada", "?ada", "-ada", "+ada"]


async def test_an_actor_without_a_grace_sees_the_end_and_a_beginning_of_the_same_session(
    outside: type[Outside],
) -> None:
    async with TestApp(app) as t:
        client, looker = await t.connect(user_id="ada"), Looker(outside, t, Plain)
        plain = client.actor(Plain, "x")
        await plain.add()
        session_id = client.id
        await t.drop(client)
        await looker.sees("+ada", "-ada")
        assert await until_new_id(outside, client) == session_id
        await plain.add()
        await looker.sees("+ada", "-ada", "+ada")
        assert len(looker.socket.replica()["ids"]) == 2


@KINDS
async def test_a_drop_during_a_call_and_a_stream(outside: type[Outside], cls: type[Plain]) -> None:
    async with TestApp(app) as t:
        client, looker = await t.connect(user_id="ada"), Looker(outside, t, cls)
        stream = client.actor(cls, "y").drip()
        assert await anext(stream) == 0
        call = asyncio.ensure_future(client.actor(cls, "x").add(pause_s=0.2))
        await outside.until(lambda: looker.lines() == ["+ada"], "the call has begun")
        await t.drop(client)
        with pytest.raises(Disconnected):
            await call
        with pytest.raises(Disconnected):
            async for _ in stream:
                pass
        await looker.sees("+ada", "?ada", "!ada")
        assert await client.actor(cls, "x").add() == 2
        async with asyncio.timeout(20):
            assert await client.actor(cls, "y").add() == 1  # the stream has let the instance go


@KINDS
async def test_one_that_is_away_is_kicked(outside: type[Outside], cls: type[Plain]) -> None:
    async with TestApp(app) as t:
        looker = Looker(outside, t, cls)
        leaver = await joined(outside, t, cls)
        leaver.session.closed()
        await looker.sees("+ada", "?ada")
        looker.socket.call(1, cls.__name__.lower(), "x", "oust", who=leaver.id)
        assert (await looker.socket.wait_answer(1))["result"] is True
        await looker.sees("+ada", "?ada", "-ada")
        back = outside.socket(t, user_id="ada", resume=token_of(leaver))
        assert back.id == leaver.id
        back.call(1, cls.__name__.lower(), "x", "add")
        await back.wait_answer(1)
        await looker.sees("+ada", "?ada", "-ada", "+ada")


async def test_the_runtime_restarts_during_the_grace(outside: type[Outside]) -> None:
    """A durable actor knows still who is away; one in memory has forgotten everybody."""
    async with TestApp(app) as t:
        looker = Looker(outside, t, Stored)
        leavers = [await joined(outside, t, Stored, user_id=name) for name in ("ada", "bob")]
        memory = await joined(outside, t, Game)
        for leaver in (*leavers, memory):
            leaver.session.closed()
        await outside.until(lambda: looker.lines("bob") == ["+bob", "?bob"], "bob is away")
        await looker.sees("+ada", "?ada")
        await t.crash()
        back = outside.socket(t, user_id="ada", resume=token_of(leavers[0]))
        back.call(1, "stored", "x", "add")
        await back.wait_answer(1)
        await looker.sees("+ada", "?ada", "!ada")
        assert looker.lines("bob") == ["+bob", "?bob"]
        await later(t, GRACE_S + 1)
        await outside.until(lambda: looker.lines("bob") == ["+bob", "?bob", "-bob"], "bob is gone")
        await looker.sees("+ada", "?ada", "!ada")
        again = Looker(outside, t, Game)
        forgotten = outside.socket(t, user_id="ada", resume=token_of(memory))
        forgotten.call(1, "game", "x", "add")
        await forgotten.wait_answer(1)
        await again.sees("+ada")


async def test_a_drained_gateway_hands_its_sessions_to_another_one_with_the_same_secret(
    outside: type[Outside],
) -> None:
    async with TestApp(app) as t, gateways(outside, t) as (first, second, stranger):
        looker = Looker(outside, t, Game)
        leaver = await joined(outside, t, Game, gateway=first)
        await first.drain(0)
        assert leaver.closed_with == RESTARTING_CODE
        leaver.session.closed()
        await looker.sees("+ada", "?ada")
        elsewhere = outside.socket(t, user_id="ada", resume=token_of(leaver), gateway=stranger)
        assert elsewhere.id != leaver.id
        back = outside.socket(t, user_id="ada", resume=token_of(leaver), gateway=second)
        assert back.id == leaver.id
        await looker.sees("+ada", "?ada", "!ada")
        back.call(1, "game", "x", "add")
        assert (await back.wait_answer(1))["result"] == 2


async def test_a_client_whose_lost_socket_lives_on_at_another_gateway_is_believed(outside: type[Outside]) -> None:
    """A phone that changes networks: its gateway finds out a minute later."""
    async with TestApp(app) as t, gateways(outside, t) as (first, second, _):
        looker = Looker(outside, t, Game)
        half_open = await joined(outside, t, Game, gateway=first)
        back = outside.socket(t, user_id="ada", resume=token_of(half_open), gateway=second)
        back.call(1, "game", "x", "add")
        assert (await back.wait_answer(1))["result"] == 2
        await looker.sees("+ada", "?ada", "!ada")
        await outside.until(lambda: half_open.closed_with == KICKED_CODE, "the old socket is closed")
        assert half_open.frames("error")[-1]["code"] == "replaced"
        half_open.session.closed()
        await t.settle()
        await later(t, 2 * GRACE_S)
        back.call(2, "game", "x", "add")
        assert (await back.wait_answer(2))["result"] == 3
        assert looker.lines() == ["+ada", "?ada", "!ada"]


async def test_a_clients_own_connection_ends_for_good_when_somebody_resumes_its_session(
    outside: type[Outside],
) -> None:
    async with TestApp(app) as t:
        client = await t.connect(user_id="ada")
        await client.actor(Game, "x").add()
        await outside.until(lambda: client.resume, "it has a token")
        thief = outside.socket(t, user_id="eve", resume=client.resume)
        assert thief.id != client.id
        assert client.status == "open"
        other = outside.socket(t, user_id="ada", resume=client.resume)
        assert other.id == client.id
        await outside.until(lambda: client.status == "closed", "the older one is closed")
        with pytest.raises(Disconnected, match=str(KICKED_CODE)):
            await client.actor(Game, "x").add()


async def test_who_returns_with_another_user_is_another_session(outside: type[Outside]) -> None:
    async with TestApp(app) as t:
        client, looker = await t.connect(user_id="ada"), Looker(outside, t, Game)
        await client.actor(Game, "x").add()
        session_id = client.id
        transport = t._transports[client]
        transport.identity = type(transport.identity)(transport.identity.scope, "bob")
        await t.drop(client)
        assert await until_new_id(outside, client) != session_id
        await client.actor(Game, "x").add()
        await looker.sees("+ada", "?ada")
        await outside.until(lambda: looker.lines("bob") == ["+bob"], "bob is introduced")


async def test_an_existing_gateways_session_ends_at_once(outside: type[Outside]) -> None:
    async with TestApp(app) as t:
        looker, wire = Looker(outside, t, Game), await (await outside.wire(t)).spy()
        frame = {"type": "rpc", "id": 1, "actor": "game", "actorId": "x", "method": "add"}
        wire.inbound(frame, userId="ada")
        await wire.wait_frames_to("s_foreign", "rpc:result", 1)
        scope = wire.envelope(None)["scope"]
        wire.send(
            f"session.disconnected.{wire.scope.workspace_id}.{wire.scope.project_id}",
            {"scope": scope, "sessionId": "s_foreign", "disconnectedAt": 1},
        )
        await looker.sees("+ada", "-ada")


async def test_a_kick_with_the_socket_is_no_drop(outside: type[Outside]) -> None:
    class Bouncer(Game):
        @method
        async def out(self) -> bool:
            return self.kick(self.session.id, close=True)

    async with TestApp(App(actors={"game": Bouncer})) as t:
        looker = Looker(outside, t, Game)
        client = await t.connect(user_id="ada")
        await client.actor(Bouncer, "y").add()
        await client.actor(Bouncer, "x").add()
        assert await client.actor(Bouncer, "y").out()
        await outside.until(lambda: client.status == "closed", "its client is closed")
        await looker.sees("+ada", "-ada")


async def joined(
    outside: type[Outside], t: TestApp, cls: type[Plain], *, user_id: str = "ada", gateway: Gateway | None = None
) -> RawSocket:
    """A socket whose session the instance knows, and that has a token to go on with it."""
    socket = outside.socket(t, user_id=user_id, gateway=gateway)
    socket.call(1, cls.__name__.lower(), "x", "add")
    await socket.wait_answer(1)
    await outside.until(lambda: token_of(socket), "its token")
    return socket


def token_of(socket: RawSocket) -> str:
    return str(socket.frames("welcome")[-1].get("resume", ""))


@asynccontextmanager
async def gateways(outside: type[Outside], t: TestApp) -> AsyncIterator[tuple[Gateway, Gateway, Gateway]]:
    """Two gateways with one secret, and one with another."""
    secret = b"the secret of one installation !"
    brokers = [(await outside.wire(t)).broker for _ in range(3)]
    async with (
        Gateway.open(brokers[0], clock=t.clock, limits=Limits(), stream_storage="file", resume_secret=secret) as first,
        Gateway.open(brokers[1], clock=t.clock, limits=Limits(), stream_storage="file", resume_secret=secret) as second,
        Gateway.open(brokers[2], clock=t.clock, limits=Limits(), stream_storage="file") as stranger,
    ):
        yield first, second, stranger
