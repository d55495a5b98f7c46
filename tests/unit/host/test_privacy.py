"""Private fields on their way out of a host: no byte of them leaves, and all of them are stored."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import jsonpatch
import pytest
from pydantic import BaseModel

from tests.unit.host.conftest import Recorder, Shelf
from zocket import Actor, ActorError, Event, Private, method
from zocket.core import AppDefinition
from zocket.host import Host
from zocket.host.store import Stored
from zocket.protocol.frames import StateSub
from zocket.settings import Limits
from zocket.testing import VirtualClock, finalizers

if TYPE_CHECKING:
    from collections.abc import Callable


class Player(BaseModel):
    name: str = ""
    hand: Private[list[str]] = []


class Table(BaseModel):
    players: dict[str, Player] = {}
    deck: Private[list[str]] = ["SECRET 1", "SECRET 2", "SECRET 3"]
    round: int = 0


class It(Actor[Table]):
    dealt = Event(Player)
    told = Event[Any]()

    @method
    async def deal(self, name: str) -> Player:
        player = self.state.players.setdefault(name, Player(name=name))
        player.hand.append(self.state.deck.pop())
        self.dealt.emit(player)
        self.told.emit({"players": [player]})
        return player

    @method
    async def shuffle(self) -> None:
        self.state.deck.reverse()

    @method
    async def next(self):  # type: ignore[no-untyped-def]
        self.state.round += 1
        return [self.state.players, self.state]

    @method
    async def fail(self) -> None:
        raise ActorError("no", data=self.state)

    @method
    async def told_on_purpose(self) -> str:
        return self.state.deck[0]


class Kept(It):
    durability = "file"


class Bench:
    def __init__(self, cls: type[Actor[Any, Any]]) -> None:
        self.cls = cls
        self.clock = VirtualClock()
        self.shelf = Shelf(self.clock)
        self.start()

    def start(self) -> None:
        self.host = Host(AppDefinition({"it": self.cls}), clock=self.clock, limits=Limits(), store=self.shelf)
        finalizers.get().push_async_callback(self.host.abort)

    def session(self, session_id: str, user_id: str | None = None) -> Recorder:
        return Recorder(self.host, session_id, user_id)


def replica(frames: list[dict[str, Any]]) -> Any:
    state: Any = None
    for frame in frames:
        if frame["type"] == "state:snapshot":
            state = frame["state"]
        elif frame["type"] == "state:patch":
            state = jsonpatch.apply_patch(state, frame["patches"])
    return state


@pytest.mark.parametrize("cls", [It, Kept])
async def test_nothing_private_leaves_in_snapshots_patches_results_events_and_errors(cls: type[It]) -> None:
    b = Bench(cls)
    alice, late = b.session("a"), b.session("b")
    alice.watch()
    alice.listen()
    alice.call("deal", name="bob")
    alice.call("shuffle")
    alice.call("deal", name="bob")
    alice.call("next")
    alice.call("fail")
    await b.clock.advance(1)
    late.watch()
    await b.clock.advance(1)
    assert "SECRET" not in json.dumps(alice.frames + late.frames)
    assert replica(alice.frames) == replica(late.frames) == {"players": {"bob": {"name": "bob"}}, "round": 1}
    results = alice.answers()
    assert results[0]["result"] == results[2]["result"] == {"name": "bob"}
    assert results[3]["result"] == [{"bob": {"name": "bob"}}, {"players": {"bob": {"name": "bob"}}, "round": 1}]
    assert results[4]["data"] == {"players": {"bob": {"name": "bob"}}, "round": 1}
    assert [frame["payload"] for frame in alice.frames if frame["type"] == "event"] == [
        {"name": "bob"}, {"players": [{"name": "bob"}]},
    ] * 2  # fmt: skip


async def test_a_value_that_a_handler_returns_by_itself_is_sent() -> None:
    b = Bench(It)
    alice = b.session("a")
    alice.call("told_on_purpose")
    await b.clock.advance(1)
    assert alice.results() == ["SECRET 1"]


async def test_a_change_that_is_only_private_is_stored_and_makes_no_frame_and_no_version() -> None:
    b = Bench(Kept)
    alice = b.session("a")
    alice.watch()
    await b.clock.advance(1)
    version = {"epoch": alice.frames[0]["epoch"], "seq": alice.frames[0]["seq"]}
    alice.call("shuffle")
    await b.clock.advance(1)
    assert alice.kinds() == ["state:snapshot", "rpc:result"]
    assert b.shelf.state()["deck"] == ["SECRET 3", "SECRET 2", "SECRET 1"]
    alice.call("next")
    await b.clock.advance(1)
    assert alice.frames[-2]["seq"] == version["seq"] + 1
    alice.call("shuffle")
    alice.call("shuffle")
    alice.call("shuffle")
    await b.clock.advance(1)
    await b.host.abort()
    b.start()
    back = b.session("c")
    b.host.submit(back, StateSub("it", "x", {"epoch": version["epoch"], "seq": version["seq"] + 1}), "r")
    await b.clock.advance(1)
    assert [(frame["type"], frame["patches"]) for frame in back.frames] == [("state:patch", [])]
    back.call("next")
    back.call("told_on_purpose")
    await b.clock.advance(1)
    assert back.frames[1]["seq"] == version["seq"] + 2
    assert back.results()[1] == "SECRET 1"


async def test_a_snapshot_beside_a_suspended_turn_has_nothing_private(bench: Callable[..., Any]) -> None:
    class Slow(It):
        @method
        async def wait(self) -> None:
            self.state.players["bob"] = Player(name="bob", hand=["SECRET"])
            await clock.sleep(5)

    b = bench(Slow)
    clock: VirtualClock = b.clock
    alice, bob = b.session("a"), b.session("b")
    alice.call("wait")
    await b.quiet()
    bob.watch()
    assert bob.frames[0]["state"] == {"players": {}, "round": 0}
    b.host.show_all()
    await clock.advance(6)
    assert "SECRET" not in json.dumps(bob.frames)
    assert replica(bob.frames) == {"players": {"bob": {"name": "bob"}}, "round": 0}


async def test_stored_state_that_does_not_fit_is_told_without_its_keys_and_values() -> None:
    b = Bench(Kept)
    record = {"version": 1, "state": {"deck": [{"SECRET": 1}]}, "watermarks": {}, "answers": {}}
    stored = json.dumps(record | {"epoch": "e", "seq": 0, "writer": "w", "commit": 1})
    b.shelf.records["it", "x"] = Stored(stored.encode(), 1)
    alice = b.session("a")
    alice.watch()
    alice.call("next")
    await b.clock.advance(1)
    assert alice.kinds() == ["error", "rpc:result"]
    assert alice.answers()[0]["code"] == "stored_state"
    assert "deck" not in json.dumps(alice.frames)
