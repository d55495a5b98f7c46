"""Sessions that an actor parts with, and sessions whose token is refreshed (both brokers)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import BaseModel, Field

from zocket import Actor, ActorError, App, method
from zocket.errors import Disconnected
from zocket.protocol.edge import EXPIRED_CODE, KICKED_CODE
from zocket.testing import TestApp

if TYPE_CHECKING:
    from tests.integration.chain.conftest import Outside
    from zocket.client import Client

pytestmark = pytest.mark.each_broker


class Room(Actor[dict[str, Any]]):
    async def on_disconnect(self) -> None:
        self.state.setdefault("left", []).append(self.session.id)

    @method
    async def oust(self, who: str, close: bool = False) -> bool:
        return self.kick(who, "be nice", close=close)

    @method
    async def add(self) -> int:
        self.state["count"] = self.state.get("count", 0) + 1
        return int(self.state["count"])

    @method
    async def here(self) -> list[str]:
        return list(self.clients)

    @method
    async def role(self) -> str:
        return str(self.session.claims["role"])


class Person(BaseModel):
    name: str = Field(max_length=20)
    colour: str = "grey"


class BoardState(BaseModel):
    here: dict[str, Person] = {}


class Board(Actor[BoardState]):
    async def on_connect(self) -> None:
        self.state.here[self.session.id] = Person.model_validate(self.session.metadata)

    async def on_disconnect(self) -> None:
        self.state.here.pop(self.session.id, None)

    @method
    async def oust_user(self, user_id: str) -> list[bool]:
        return [self.kick(session.id) for session in self.presence.values() if session.user_id == user_id]

    @method
    async def say_and_fail(self) -> None:
        self.state.here.clear()
        raise ActorError("no")


class StoredBoard(Board):
    durability = "file"


class Hall(Room):
    durability = "file"


app = App(actors={"room": Room, "hall": Hall, "board": Board, "stored": StoredBoard})


@pytest.mark.parametrize("actor", ["room", "hall"])
async def test_a_kicked_session_gets_nothing_more_also_of_the_next_runtime(outside: Outside, actor: str) -> None:
    async with TestApp(app) as t:
        mod, troll = outside.socket(t), outside.socket(t)
        for socket in (mod, troll):
            socket.subscribe("state:sub", actor, "a")
            await socket.wait_frames("state:snapshot", 1)
        mod.call(1, actor, "a", "oust", who=troll.id)
        assert (await mod.wait_answer(1))["result"] is True
        (frame,) = await troll.wait_frames("error", 1)
        assert (frame["code"], frame["message"], frame["actorId"]) == ("kicked", "be nice", "a")
        await outside.until(lambda: mod.replica().get("left") == [troll.id], "its on_disconnect")
        await t.crash()
        await mod.wait_frames("state:snapshot", 2)
        mod.call(2, actor, "a", "add")
        await mod.wait_answer(2)
        mod.call(3, actor, "a", "here")
        assert (await mod.wait_answer(3))["result"] == [mod.id]
        await t.settle()
        assert [frame["type"] for frame in troll.received] == ["welcome", "state:snapshot", "error"]
        assert troll.closed_with is None


async def test_a_kick_that_closes_ends_the_client_and_its_sessions_everywhere(outside: Outside) -> None:
    async with TestApp(app) as t:
        mod, troll = await t.connect(), await t.connect()
        lobby, room = troll.actor(Room, "lobby"), troll.actor(Room, "a")
        await lobby.add()
        assert troll.id is not None
        states = troll.state(room)
        await anext(states)
        assert await mod.actor(Room, "a").oust(who=troll.id, close=True)
        with pytest.raises(ActorError, match="be nice"):
            await asyncio.wait_for(anext(states), 10)
        await outside.until(lambda: troll.status == "closed", "its client is closed")
        with pytest.raises(Disconnected, match=str(KICKED_CODE)):
            await room.add()
        watched = mod.state(mod.actor(Room, "lobby"))
        async with asyncio.timeout(10):
            async for state in watched:
                if state.get("left"):
                    break


async def test_who_kicks_itself_out_has_its_answer_before_its_socket_closes(outside: Outside) -> None:
    async with TestApp(app) as t:
        socket = outside.socket(t)
        socket.call(1, "room", "a", "oust", who=socket.id, close=True)
        assert (await socket.wait_answer(1))["result"] is True
        await outside.until(lambda: socket.closed_with is not None, "its socket is closed")
        assert socket.closed_with == KICKED_CODE
        assert socket.frames("error")[0]["code"] == "kicked"


async def test_a_session_of_an_existing_gateway_is_told_and_keeps_its_socket(outside: Outside) -> None:
    async with TestApp(app) as t:
        mod, wire = outside.socket(t), await (await outside.wire(t)).spy()
        wire.inbound({"type": "state:sub", "actor": "room", "actorId": "a"})
        await wire.wait_frames_to("s_foreign", "state:snapshot", 1)
        mod.call(1, "room", "a", "oust", who="s_foreign", close=True)
        assert (await mod.wait_answer(1))["result"] is True
        (frame,) = await wire.wait_frames_to("s_foreign", "error", 1)
        assert frame["code"] == "kicked"


@pytest.mark.parametrize("actor", [Room, Hall])
async def test_a_refreshed_token_keeps_the_socket_and_gives_new_claims(outside: Outside, actor: type[Room]) -> None:
    async with TestApp(app) as t:
        begin = t.clock.wall()
        client = await t.connect(user_id="ada", claims={"role": "guest", "exp": begin + 60})
        room = client.actor(actor, "a")
        assert await room.role() == "guest"
        session_id = client.id
        t.reissue(client, {"role": "admin", "exp": begin + 600})
        assert await room.role() == "guest"
        await t.clock.advance(31)
        async with asyncio.timeout(10):
            while await room.role() != "admin":
                pass
        await t.clock.advance(60)
        assert await room.role() == "admin"
        assert client.id == session_id
        await t.crash()
        assert await client.options(idempotency_key=True).actor(actor, "a").role() == "admin"


async def test_without_another_token_the_socket_is_closed(
    outside: Outside,
) -> None:
    async with TestApp(app) as t:
        begin = t.clock.wall()
        socket = outside.socket(t, user_id="ada", expires_at=begin + 30)
        await t.clock.advance(32)
        await outside.until(lambda: socket.closed_with == EXPIRED_CODE, "its socket is closed")


async def here(client: Client, board: Board, names: list[str]) -> BoardState:
    """The state of the board as soon as these people are there."""
    async with asyncio.timeout(10):
        async for state in client.state(board):
            if sorted(person.name for person in state.here.values()) == names:
                return state
    raise AssertionError("the stream has ended")


@pytest.mark.parametrize("actor", [Board, StoredBoard])
async def test_who_is_here_under_which_name_is_seen_by_all_and_known_again_after_a_crash(actor: type[Board]) -> None:
    async with TestApp(app) as t:
        ada = await t.connect(user_id="u1", metadata={"name": "Ada", "colour": "red"})
        bob = await t.connect(user_id="u2", metadata={"name": "Bob"})
        board = ada.actor(actor, "b")
        await here(ada, board, ["Ada"])
        kept = bob.state(bob.actor(actor, "b"))
        await anext(kept)
        state = await here(ada, board, ["Ada", "Bob"])
        assert sorted(person.colour for person in state.here.values()) == ["grey", "red"]
        with pytest.raises(ActorError):
            await board.say_and_fail()
        watch = ada.state(board)
        await anext(watch)
        await t.crash()
        await here(ada, board, ["Ada", "Bob"])
        assert await board.oust_user(user_id="u2") == [True]
        await here(ada, board, ["Ada"])
