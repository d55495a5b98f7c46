"""Private fields and views through the whole chain, standalone, on the memory broker and on a real NATS server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import BaseModel

from zocket import Actor, ActorError, App, Private, method, view
from zocket.client import Client
from zocket.clock import SystemClock
from zocket.errors import UsageError
from zocket.server.local import Identity, LocalServer
from zocket.settings import Limits
from zocket.testing import TestApp

if TYPE_CHECKING:
    from pathlib import Path

    from zocket.client.streams import StateStream
    from zocket.client.transport import Receiver

Connect = Callable[[str], Awaitable[Client]]


class Player(BaseModel):
    name: str = ""
    hand: Private[list[str]] = []


class Table(BaseModel):
    players: dict[str, Player] = {}
    deck: Private[list[str]] = ["ace", "king", "queen", "jack"]


class Open(Actor[Table]):
    """Shows its state."""

    @method
    async def draw(self) -> Player:
        name = self.session.user_id or ""
        self.state.players.setdefault(name, Player(name=name)).hand.append(self.state.deck.pop())
        return self.state.players[name]

    @method
    async def shuffle(self) -> int:
        self.state.deck.reverse()
        return len(self.state.deck)


class Hand(BaseModel):
    mine: list[str] = []
    others: dict[str, int] = {}


class Held(Open):
    """Shows everybody the own hand."""

    durability = "file"

    @view(key=lambda session: session.user_id)
    def hand_of(self, user_id: str | None) -> Hand:
        if user_id is None:
            raise ActorError("take a seat first", code="forbidden")
        hands = {name: player.hand for name, player in self.state.players.items()}
        mine = hands.pop(user_id, [])
        return Hand(mine=mine, others={name: len(hand) for name, hand in hands.items()})


class KeptOpen(Open):
    durability = "file"


app = App(actors={"open": Open, "kept": KeptOpen, "held": Held})


class Pipe:
    """Connects a client to a server without a gateway, in this process."""

    def __init__(self, server: LocalServer, user_id: str | None) -> None:
        self.server = server
        self.user_id = user_id
        self.seen: list[bytes] = []

    def __str__(self) -> str:
        return "the test"

    async def connect(self, receiver: Receiver) -> Pipe:
        self.receiver, self.loop = receiver, asyncio.get_running_loop()
        self.session = self.server.open_session(_Peer(self), Identity(self.user_id))
        return self

    def send(self, frame: bytes) -> None:
        self.loop.call_soon(self.session.received, frame)

    async def close(self) -> None:
        self.session.closed()
        self.receiver.on_closed(1000, "")


class _Peer:
    def __init__(self, pipe: Pipe) -> None:
        self.pipe = pipe

    def send(self, frame: bytes) -> None:
        self.pipe.loop.call_soon(self.pipe.receiver.on_frame, frame)

    def unsent_bytes(self) -> int:
        return 0

    def pause(self) -> None:
        """Reads on."""

    def close(self, code: int, reason: str = "") -> None:
        self.pipe.loop.call_soon(self.pipe.receiver.on_closed, code, reason)


@asynccontextmanager
async def standalone(tmp_path: Path) -> AsyncIterator[Connect]:
    clients: list[Client] = []
    async with LocalServer.open(app.definition, limits=Limits(), state_file=str(tmp_path / "state.db")) as server:

        async def connect(user_id: str) -> Client:
            client = Client(Pipe(server, user_id or None), clock=SystemClock())
            clients.append(client)
            return await client.open()

        yield connect
        for client in clients:
            await client.aclose()


@asynccontextmanager
async def over_a_broker(tmp_path: Path) -> AsyncIterator[Connect]:
    async with TestApp(app) as t:
        yield lambda user_id: t.connect(user_id=user_id or None)


async def until(states: StateStream[Any], condition: Callable[[Any], object]) -> Any:
    async with asyncio.timeout(30):
        async for state in states:
            if condition(state):
                return state
    raise AssertionError("the states ended")


async def check(connect: Connect) -> None:
    alice, bob, stranger = [await connect(name) for name in ("alice", "bob", "")]
    for cls, name in ((Open, "open"), (KeptOpen, "kept")):
        room, plain = alice.actor(cls, "x"), alice.state(alice.dynamic(name, "x"))
        states = bob.state(bob.actor(cls, "x"))
        assert (await anext(states)).deck == Table().deck  # a client reads the default: it knows nothing better
        assert await room.draw() == Player(name="alice")
        assert await room.shuffle() == 3
        seen = await until(states, lambda state: state.players)
        assert seen.players == {"alice": Player(name="alice")}
        assert await until(plain, lambda state: state["players"]) == {"players": {"alice": {"name": "alice"}}}
    held, hands = bob.actor(Held, "x"), alice.state(alice.actor(Held, "x"), Held.hand_of)
    assert await anext(hands) == Hand()
    await alice.actor(Held, "x").draw()
    await held.draw()
    await held.draw()
    assert await until(hands, lambda hand: hand.others == {"bob": 2}) == Hand(mine=["jack"], others={"bob": 2})
    late = bob.state(held, Held.hand_of)
    assert await until(late, lambda hand: True) == Hand(mine=["queen", "king"], others={"alice": 1})
    with pytest.raises(ActorError, match="take a seat first"):
        await anext(stranger.state(stranger.actor(Held, "x"), Held.hand_of))
    with pytest.raises(UsageError, match=r"client\.state\(handle, Held\.hand_of\)"):
        bob.state(held)
    with pytest.raises(UsageError, match="Open has no view"):
        bob.state(bob.actor(Open, "x"), Open.shuffle)


@pytest.mark.realtime
async def test_nothing_private_leaves_a_standalone_server_and_views_are_per_audience(tmp_path: Path) -> None:
    async with standalone(tmp_path) as connect:
        await check(connect)


@pytest.mark.each_broker
async def test_nothing_private_leaves_a_runtime_and_views_are_per_audience(tmp_path: Path) -> None:
    async with over_a_broker(tmp_path) as connect:
        await check(connect)


@pytest.mark.each_broker
async def test_private_state_and_views_survive_a_crash() -> None:
    async with TestApp(app) as t:
        alice, bob = await t.connect(user_id="alice"), await t.connect(user_id="bob")
        states = bob.state(bob.actor(KeptOpen, "x"))
        hands = alice.state(alice.actor(Held, "x"), Held.hand_of)
        await anext(states)
        await anext(hands)
        assert await alice.actor(KeptOpen, "x").shuffle() == 4  # changes nothing that anybody sees
        await alice.actor(Held, "x").draw()
        await t.crash()
        await alice.actor(KeptOpen, "x").draw()
        await bob.actor(Held, "x").draw()
        assert await until(hands, lambda hand: hand.others) == Hand(mine=["jack"], others={"bob": 1})
        assert (await until(states, lambda state: state.players)).players == {"alice": Player(name="alice")}
        assert t.runtime is not None
        kept = next(r for r in t.runtime._host._residents.values() if r.instance.definition.name == "kept")
        assert kept.instance.document.state.players["alice"].hand == ["ace"]  # of the shuffled deck


@pytest.mark.each_broker
async def test_who_reconnects_sees_the_view_of_its_own_audience_again() -> None:
    async with TestApp(app) as t:
        alice, bob = await t.connect(user_id="alice"), await t.connect(user_id="bob")
        hands = alice.state(alice.actor(Held, "x"), Held.hand_of)
        assert await anext(hands) == Hand()
        await t.drop(alice)
        await bob.actor(Held, "x").draw()
        assert await until(hands, lambda hand: hand.others) == Hand(others={"bob": 1})
