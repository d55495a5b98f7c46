"""Views: what each audience sees, and that nothing else of the state leaves."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import BaseModel

from tests.unit.host.conftest import Recorder, Shelf
from tests.unit.host.test_privacy import Bench, replica
from zocket import Actor, ActorError, Event, Private, Session, method, view
from zocket.core import AppDefinition
from zocket.errors import DefinitionError, StaleReferenceError
from zocket.host import Host
from zocket.protocol.frames import StateSub
from zocket.settings import Limits
from zocket.testing import VirtualClock, finalizers

if TYPE_CHECKING:
    from collections.abc import Callable


class Hand(BaseModel):
    cards: list[str] = []
    note: Private[str] = ""


class Board(BaseModel):
    hands: dict[str, Hand] = {}
    table: list[str] = []
    bad: bool = False


class Seen(BaseModel):
    mine: Hand | None = None
    counts: dict[str, int] = {}
    table: list[str] = []


class It(Actor[Board]):
    def __init__(self) -> None:
        self.looks: list[str | None] = []

    @view(key=lambda session: session.user_id)
    def seen_by(self, user_id: str | None) -> Seen:
        self.looks.append(user_id)
        if self.state.bad and user_id == "bob":
            raise RuntimeError("SECRET reason")
        if user_id == "mallory":
            raise ActorError("not at this table", code="forbidden")
        mine = self.state.hands.get(user_id or "")
        counts = {name: len(hand.cards) for name, hand in self.state.hands.items()}
        return Seen(mine=mine, counts=counts, table=self.state.table)

    @method
    async def give(self, name: str, card: str) -> None:
        self.state.hands.setdefault(name, Hand()).cards.append(card)
        self.state.hands[name].note = "SECRET note"

    @method
    async def turn_bad(self) -> None:
        self.state.bad = True

    @method
    async def nothing(self) -> None:
        """Changes nothing."""

    @method
    async def slow(self, card: str) -> None:
        self.state.table.append(card)
        await pause()
        self.state.table.append("second")

    @method
    async def looked(self) -> list[str | None]:
        looks, self.looks[:] = list(self.looks), []
        return looks


class Kept(It):
    durability = "file"


async def pause() -> None:
    """Set by a test."""


BOTH = pytest.mark.parametrize("cls", [It, Kept])


@BOTH
async def test_each_audience_gets_its_view_and_nothing_else(cls: type[It]) -> None:
    b = Bench(cls)
    alice, bob, again, stranger = b.session("a", "alice"), b.session("b", "bob"), b.session("c", "bob"), b.session("d")
    everyone = (alice, bob, again, stranger)
    for one in everyone:
        one.watch()
    alice.call("give", name="alice", card="ALICE 1")
    await b.clock.advance(1)
    alice.call("give", name="bob", card="BOB 1")
    alice.call("give", name="bob", card="BOB 2")
    await b.clock.advance(1)
    assert "BOB" not in json.dumps(alice.frames + stranger.frames)
    assert "ALICE" not in json.dumps(bob.frames + again.frames + stranger.frames)
    assert "SECRET" not in json.dumps([one.frames for one in everyone])
    counts = {"alice": 1, "bob": 2}
    assert replica(alice.frames) == {"mine": {"cards": ["ALICE 1"]}, "counts": counts, "table": []}
    assert replica(bob.frames) == {"mine": {"cards": ["BOB 1", "BOB 2"]}, "counts": counts, "table": []}
    assert bob.frames == again.frames
    assert replica(stranger.frames) == {"mine": None, "counts": counts, "table": []}
    assert "state:patch" in stranger.kinds()


@BOTH
async def test_a_view_is_computed_once_for_an_audience_and_a_commit(cls: type[It]) -> None:
    b = Bench(cls)
    sessions = [b.session(f"s{number}", f"user{number % 2}") for number in range(6)]
    for one in sessions:
        one.watch()
    sessions[0].call("looked")
    await b.clock.advance(1)
    assert sessions[0].results() == [["user0", "user1"]]
    for name in ("nothing", "turn_bad", "looked"):
        sessions[0].call(name)
        await b.clock.advance(1)
    assert sessions[0].results()[-1] == ["user0", "user1"]
    assert "state:patch" not in sessions[0].kinds()  # the view is as it was


async def test_turns_that_are_stored_together_are_seen_together() -> None:
    b = Bench(Kept)
    alice = b.session("a", "alice")
    alice.watch()
    await b.clock.advance(1)
    for number in range(50):
        alice.call("give", name="alice", card=str(number))
    alice.call("looked")
    await b.clock.advance(1)
    patches = [frame for frame in alice.frames if frame["type"] == "state:patch"]
    assert len(patches) == b.shelf.saves <= 3
    alice.call("looked")
    await b.clock.advance(1)
    assert sum(len(looks) for looks in alice.results()[-2:]) == 1 + len(patches)
    assert replica(alice.frames)["mine"]["cards"] == [str(number) for number in range(50)]


@BOTH
async def test_a_view_that_raises_refuses_the_subscription(cls: type[It], caplog: pytest.LogCaptureFixture) -> None:
    b = Bench(cls)
    mallory, bob = b.session("m", "mallory"), b.session("b", "bob")
    mallory.watch()
    bob.call("turn_bad")
    await b.clock.advance(1)
    bob.watch()
    bob.call("give", name="bob", card="BOB")
    await b.clock.advance(1)
    refusal = {"type": "error", "code": "forbidden", "message": "not at this table", "requestId": "rs"}
    assert mallory.frames == [refusal | {"actor": "it", "actorId": "x"}]
    assert [(frame["code"], frame["message"]) for frame in bob.frames if frame["type"] == "error"] == [
        ("internal", "internal error")
    ]
    assert not {"state:snapshot", "state:patch"} & {*mallory.kinds(), *bob.kinds()}
    assert "SECRET reason" in caplog.text


@BOTH
async def test_an_audience_whose_view_fails_is_told_and_gets_nothing_stale(
    cls: type[It], caplog: pytest.LogCaptureFixture
) -> None:
    b = Bench(cls)
    alice, bob = b.session("a", "alice"), b.session("b", "bob")
    alice.watch()
    bob.watch()
    await b.clock.advance(1)
    alice.call("turn_bad")
    alice.call("give", name="alice", card="1")
    await b.clock.advance(1)
    alice.call("give", name="alice", card="2")
    await b.clock.advance(1)
    assert bob.kinds() == ["state:snapshot", "error"]
    error = bob.frames[1]
    assert (error["code"], error["message"], error["actorId"]) == ("internal", "internal error", "x")
    logged = [record for record in caplog.records if getattr(record, "request", "") == error["requestId"]]
    assert "SECRET reason" in str(logged[0].exc_info)
    assert replica(alice.frames)["mine"]["cards"] == ["1", "2"]


@BOTH
async def test_who_comes_back_gets_what_it_missed_of_its_view_or_a_snapshot(cls: type[It]) -> None:
    b = Bench(cls)
    alice, again, bob = b.session("a", "alice"), b.session("c", "alice"), b.session("b", "bob")
    alice.watch()
    bob.watch()
    alice.call("give", name="alice", card="1")
    await b.clock.advance(1)
    last = alice.frames[-2]
    assert last["type"] == "state:patch"
    version = {"epoch": last["epoch"], "seq": last["seq"]}
    alice.call("give", name="alice", card="2")
    await b.clock.advance(1)
    b.host.submit(again, StateSub("it", "x", version), "r")
    b.host.submit(bob, StateSub("it", "x", version), "r")
    await b.clock.advance(1)
    assert [frame["type"] for frame in again.frames] == ["state:patch"]
    assert again.frames[0]["patches"] == [
        {"op": "add", "path": "/mine/cards/1", "value": "2"},
        {"op": "replace", "path": "/counts/alice", "value": 2},
    ]
    assert bob.kinds()[-1] == "state:snapshot"  # a version of another audience is none


@BOTH
async def test_groups_end_with_their_last_member_and_a_session_that_is_gone_gets_nothing(cls: type[It]) -> None:
    b = Bench(cls)
    alice, bob = b.session("a", "alice"), b.session("b", "bob")
    alice.watch()
    bob.watch()
    await b.clock.advance(1)
    bob.unwatch()
    b.host.sessions.disconnect("a")
    await b.clock.advance(1)
    bob.call("give", name="bob", card="1")
    bob.call("looked")
    await b.clock.advance(1)
    assert bob.results()[-1] == ["alice", "bob"]
    assert alice.kinds() == ["state:snapshot"]
    assert "state:patch" not in bob.kinds()


async def test_a_subscription_waits_for_the_turn_and_a_snapshot_for_all_shows_what_is_committed(
    bench: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    b = bench(It)
    monkeypatch.setitem(globals(), "pause", lambda: b.clock.sleep(5))
    alice, bob = b.session("a", "alice"), b.session("b", "bob")
    alice.watch()
    await b.quiet()
    alice.call("slow", card="first")
    await b.quiet()
    bob.watch()
    await b.quiet()
    assert bob.frames == []
    b.host.show_all()
    assert alice.frames[-1]["state"]["table"] == []
    await b.clock.advance(6)
    assert replica(alice.frames)["table"] == replica(bob.frames)["table"] == ["first", "second"]


async def test_a_durable_instance_shows_what_is_stored_while_later_turns_run(monkeypatch: pytest.MonkeyPatch) -> None:
    b = Bench(Kept)
    monkeypatch.setitem(globals(), "pause", lambda: b.clock.sleep(5))
    alice = b.session("a", "alice")
    alice.watch()
    await b.clock.advance(1)
    alice.call("give", name="alice", card="1")
    alice.call("slow", card="open")
    await b.clock.advance(1)
    assert replica(alice.frames) == {"mine": {"cards": ["1"]}, "counts": {"alice": 1}, "table": []}
    await b.clock.advance(6)
    assert replica(alice.frames)["table"] == ["open", "second"]


async def test_a_store_that_is_away_shows_nothing_that_is_not_stored() -> None:
    b = Bench(Kept)
    alice, bob = b.session("a", "alice"), b.session("b", "bob")
    alice.watch()
    await b.clock.advance(1)
    b.shelf.away = True
    alice.call("give", name="alice", card="1")
    await b.clock.advance(1)
    bob.watch()
    await b.clock.advance(1)
    assert replica(alice.frames)["mine"] is None
    assert replica(bob.frames)["counts"] == {}
    b.shelf.away = False
    await b.clock.advance(5)
    assert replica(alice.frames)["counts"] == replica(bob.frames)["counts"] == {"alice": 1}


async def test_what_somebody_else_wrote_is_shown_to_every_audience() -> None:
    b = Bench(Kept)
    alice, bob = b.session("a", "alice"), b.session("b", "bob")
    alice.watch()
    bob.watch()
    alice.call("give", name="alice", card="1")
    await b.clock.advance(1)
    stored = b.shelf.records["it", "x"]
    record = json.loads(stored.record)
    record["state"]["hands"]["alice"]["cards"] = ["2"]
    record["epoch"], record["writer"] = "another", "another"
    b.shelf.saves += 1
    b.shelf.records["it", "x"] = type(stored)(json.dumps(record).encode(), b.shelf.saves)
    b.host.reread("it", "x")
    await b.clock.advance(1)
    assert replica(alice.frames)["mine"]["cards"] == ["2"]
    assert replica(bob.frames)["counts"] == {"alice": 1}
    assert alice.kinds()[-1] == bob.kinds()[-1] == "state:snapshot"
    before = [frame for frame in alice.frames if frame["type"] == "state:patch"][-1]
    b.host.submit(alice, StateSub("it", "x", {"epoch": before["epoch"], "seq": before["seq"]}), "r")
    await b.clock.advance(1)
    assert alice.kinds()[-1] == "state:snapshot"


async def test_a_view_changes_nothing(bench: Callable[..., Any], caplog: pytest.LogCaptureFixture) -> None:
    class Writes(Actor[Board]):
        @view
        def everything(self) -> Board:
            self.state.table.append("x")
            return self.state

        @method
        async def table(self) -> list[str]:
            return self.state.table

    b = bench(Writes)
    alice = b.session("a")
    alice.watch()
    alice.call("table")
    await b.quiet()
    assert alice.kinds() == ["error", "rpc:result"]
    assert alice.results() == [[]]
    assert any(record.exc_info and record.exc_info[0] is StaleReferenceError for record in caplog.records)


@BOTH
async def test_a_session_id_that_comes_back_as_somebody_else_sees_only_its_own(cls: type[It]) -> None:
    b = Bench(cls)
    alice, bob = b.session("same", "alice"), b.session("same", "bob")
    alice.watch()
    await b.clock.advance(1)
    bob.watch()
    bob.call("give", name="alice", card="ALICE")
    bob.call("give", name="bob", card="BOB")
    await b.clock.advance(1)
    assert "ALICE" not in json.dumps(bob.frames)
    assert replica(bob.frames)["mine"] == {"cards": ["BOB"]}
    assert alice.kinds() == ["state:snapshot"]


async def test_a_view_beside_a_suspended_turn_has_no_caller_and_takes_no_part_in_it(
    bench: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    class Emits(Actor[Board]):
        told = Event[str]()
        emit = False

        @view
        def asked(self) -> str:
            if self.emit:
                self.told.emit("never")
            return self.caller.kind

        @method
        async def wait(self) -> str:
            await b.clock.sleep(5)
            return self.caller.kind

        @method
        async def begin_to_emit(self) -> None:
            self.emit = True

    b = bench(Emits)
    alice = b.session("a")
    alice.watch()
    alice.listen()
    alice.call("wait")
    await b.quiet()
    b.host.show_all()
    assert [frame["state"] for frame in alice.frames] == ["instance", "instance"]
    await b.clock.advance(6)
    alice.call("begin_to_emit")
    alice.call("wait")
    await b.quiet()
    b.host.show_all()
    await b.clock.advance(6)
    assert alice.results() == ["client", "void", "client"]
    assert "event" not in alice.kinds()
    assert alice.kinds()[-2:] == ["error", "rpc:result"]


async def test_a_view_outside_a_turn_has_no_caller(bench: Callable[..., Any]) -> None:
    class Asks(Actor[Board]):
        @view
        def asked(self) -> dict[str, Any]:
            return {"caller": self.caller.kind, "id": self.id, "clients": list(self.clients)}

    b = bench(Asks)
    alice = b.session("a")
    alice.watch()
    await b.quiet()
    assert alice.frames[0]["state"] == {"caller": "instance", "id": "x", "clients": ["a"]}


async def test_a_view_without_a_key_is_one_for_all_and_may_become_another_kind_of_json(
    bench: Callable[..., Any],
) -> None:
    class Odd(Actor[Board]):
        @view
        def odd(self) -> list[str] | dict[str, str] | int:
            table = list(self.state.table)
            return len(table) if len(table) > 2 else {"only": table[0]} if len(table) == 1 else table

        @method
        async def put(self) -> None:
            self.state.table.append(f"t{len(self.state.table)}")

    b = bench(Odd)
    alice, bob = b.session("a", "alice"), b.session("b", "bob")
    alice.watch()
    bob.watch()
    await b.quiet()
    for expected in ({"only": "t0"}, ["t0", "t1"], 3, 4):
        alice.call("put")
        await b.quiet()
        assert replica(alice.frames) == replica(bob.frames) == expected
    versions = [(frame["epoch"], frame["seq"]) for frame in alice.frames if "epoch" in frame]
    assert len(set(versions)) == len(versions)


async def test_a_view_over_the_limit_of_a_state_is_refused() -> None:
    class Large(Actor[Board]):
        @view
        def large(self) -> str:
            return "x" * 2000

    clock = VirtualClock()
    host = Host(AppDefinition({"it": Large}), clock=clock, limits=Limits(max_state_bytes=1000), store=Shelf(clock))
    finalizers.get().push_async_callback(host.abort)
    alice = Recorder(host, "a")
    alice.watch()
    await clock.advance(1)
    assert alice.frames[0]["code"] == "too_large"


async def test_a_key_that_fails_refuses_the_subscription(bench: Callable[..., Any]) -> None:
    class Keyed(Actor[Board]):
        @view(key=lambda session: session.claims["role"])
        def of_role(self, role: str) -> str:
            return role

    class Unhashable(Actor[Board]):
        @view(key=lambda session: [])  # type: ignore[type-var]
        def of_list(self, key: list[int]) -> str:
            return ""

    for cls in (Keyed, Unhashable):
        b = bench(cls)
        alice = b.session("a")
        alice.watch()
        await b.quiet()
        assert [frame["code"] for frame in alice.frames] == ["internal"]


def key(session: Session) -> str:
    return session.id


def test_what_is_wrong_with_a_view_is_said_when_the_app_is_made() -> None:
    class Waits(Actor[Board]):
        @view
        async def waits(self) -> int:
            return 1

    class NoKey(Actor[Board]):
        @view(key=key)  # type: ignore[arg-type]
        def no_key(self) -> int:
            return 1

    class NoReturn(Actor[Board]):
        @view
        def no_return(self):  # type: ignore[no-untyped-def]
            return 1

    class Two(Actor[Board]):
        @view
        def one(self) -> int:
            return 1

        @view
        def two(self) -> int:
            return 2

    class Reserved(Actor[Board]):
        @view
        def clients(self) -> int:  # type: ignore[override]
            return 1

    messages = {
        Reserved: "Reserved.clients: the name is reserved",
        Waits: "Waits.waits: a view is written as a plain `def`",
        NoKey: "NoKey.no_key: a view takes self and the key of its audience",
        NoReturn: "NoReturn.no_return: a view needs a return annotation",
        Two: "Two.two: the class has a view already, Two.one",
    }
    for cls, message in messages.items():
        with pytest.raises(DefinitionError, match=message):
            AppDefinition({"it": cls})


async def test_an_override_of_a_view_is_the_view(bench: Callable[..., Any]) -> None:
    class Narrow(It):
        def seen_by(self, user_id: str | None) -> Seen:
            return Seen(table=["only this"])

    b = bench(Narrow)
    alice = b.session("a")
    alice.watch()
    await b.quiet()
    assert alice.frames[0]["state"]["table"] == ["only this"]
