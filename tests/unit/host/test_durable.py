"""Durable instances: nothing is visible before it is stored, and nothing runs twice."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import BaseModel

from zocket import Actor, ActorError, Event, method, migrate
from zocket.core import AppDefinition
from zocket.errors import DefinitionError
from zocket.host import Host
from zocket.host.store import Position, Stored
from zocket.protocol.frames import NO_INPUT, Rpc
from zocket.settings import Limits
from zocket.testing import VirtualClock, finalizers

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import msgspec

from tests.unit.host.conftest import Recorder, Shelf


class Log(BaseModel):
    count: int = 0
    lines: list[str] = []


class It(Actor[Log]):
    durability = "file"
    told = Event[str]()

    @method
    async def add(self, line: str = "") -> int:
        self.state.count += 1
        self.state.lines.append(line)
        self.told.emit(line)
        return self.state.count

    @method
    async def read(self) -> int:
        return self.state.count

    @method
    async def fail(self) -> None:
        self.state.count += 100
        raise ActorError(f"no, at {self.state.count}")

    @method
    async def nap(self, seconds: float) -> int:
        self.state.count += 1
        await asyncio.sleep(seconds)
        return self.state.count


class House:
    """A host with a shelf; `restart` is a new process on the same shelf."""

    def __init__(self, cls: type[Actor[Any]] = It, owns: Callable[[], Awaitable[bool]] | None = None) -> None:
        self.clock = VirtualClock()
        self.shelf = Shelf(self.clock)
        self.cls = cls
        self.owns = owns
        self.done: list[int] = []
        self.start()

    def start(self) -> Host:
        definition = AppDefinition({"it": self.cls})
        self.host = Host(definition, clock=self.clock, limits=Limits(), store=self.shelf, owns=self.owns)
        finalizers.get().push_async_callback(self.host.abort)
        return self.host

    async def restart(self) -> None:
        await self.host.abort()
        self.start()

    def session(self, session_id: str = "s", user_id: str | None = None) -> Recorder:
        return Recorder(self.host, session_id, user_id)

    def deliver(self, s: Recorder, sequence: int, name: str, source: str = "INBOUND:1", **given: Any) -> None:
        body = NO_INPUT if not given else raw(given)
        request = Rpc(raw(sequence), "it", "x", name, body)
        position = Position(source, sequence)
        self.host.submit(s, request, f"r{sequence}", lambda: self.done.append(sequence), position)


def raw(value: Any) -> msgspec.Raw:
    import msgspec

    return msgspec.Raw(msgspec.json.encode(value))


def test_a_durable_actor_without_a_store_is_refused() -> None:
    with pytest.raises(DefinitionError, match="it: durable actors need a store"):
        Host(AppDefinition({"it": It}), clock=None, limits=Limits())  # type: ignore[arg-type]


async def test_nothing_is_visible_before_it_is_stored() -> None:
    house = House()
    house.shelf.delay_s = 1.0
    s, other = house.session("s"), house.session("o")
    s.watch()
    s.listen()
    await house.clock.sleep(2)
    house.deliver(s, 1, "add", line="a")
    await house.clock.sleep(0.5)
    assert s.kinds() == ["state:snapshot"]
    assert house.done == []
    other.watch()
    await house.clock.sleep(0.1)
    assert other.frames[0]["state"] == {"count": 0, "lines": []}
    await house.clock.sleep(1)
    assert s.kinds() == ["state:snapshot", "state:patch", "event", "rpc:result"]
    assert other.kinds() == ["state:snapshot", "state:patch"]
    assert other.frames[1]["seq"] == other.frames[0]["seq"] + 1
    assert house.done == [1]
    assert house.shelf.state() == {"count": 1, "lines": ["a"]}


async def test_what_is_committed_during_a_save_goes_into_the_next_one() -> None:
    house = House()
    house.shelf.delay_s = 0.1
    s = house.session()
    for number in range(1, 101):
        house.deliver(s, number, "add")
    await house.clock.sleep(2)
    assert s.results() == list(range(1, 101))
    assert house.shelf.saves <= 3


async def test_state_survives_the_process_and_subscribers_resume() -> None:
    house = House()
    s = house.session()
    s.watch()
    house.deliver(s, 1, "add", line="a")
    await house.clock.sleep(1)
    version = {"epoch": s.frames[-2]["epoch"], "seq": s.frames[-2]["seq"]}
    await house.restart()
    again = house.session()
    again.watch()
    again.call("read")
    await house.clock.sleep(1)
    assert again.frames[0]["state"] == {"count": 1, "lines": ["a"]}
    assert {"epoch": again.frames[0]["epoch"], "seq": again.frames[0]["seq"]} == version
    assert again.results() == [1]


async def test_a_message_that_is_in_the_state_is_answered_again_and_does_not_run() -> None:
    house = House()
    s = house.session()
    house.deliver(s, 7, "add", line="a")
    await house.clock.sleep(1)
    await house.restart()
    again = house.session()
    house.deliver(again, 7, "add", line="a")
    house.deliver(again, 8, "add", line="b")
    await house.clock.sleep(1)
    assert again.results() == [1, 2]
    assert house.shelf.state()["lines"] == ["a", "b"]
    assert house.done == [7, 7, 8]


async def test_a_stream_that_was_made_again_counts_from_one() -> None:
    house = House()
    s = house.session()
    house.deliver(s, 7, "add", line="a")
    await house.clock.sleep(1)
    house.deliver(s, 1, "add", source="INBOUND:2", line="b")
    await house.clock.sleep(1)
    assert house.shelf.state()["lines"] == ["a", "b"]


async def test_an_old_repeated_message_is_told_that_its_answer_is_gone() -> None:
    house = House()
    s = house.session()
    for number in (1, 2):
        house.deliver(s, number, "add")
        await house.clock.sleep(1)
    await house.restart()
    again = house.session()
    house.deliver(again, 1, "add")
    await house.clock.sleep(1)
    assert again.frames[0]["code"] == "repeated"
    assert house.shelf.state()["count"] == 2


async def test_an_error_waits_for_the_turns_that_it_saw() -> None:
    house = House()
    house.shelf.delay_s = 1.0
    s = house.session()
    house.deliver(s, 1, "read")
    await house.clock.sleep(2)
    house.deliver(s, 2, "add")
    house.deliver(s, 3, "fail")
    await house.clock.sleep(0.5)
    assert s.results() == [0]
    await house.clock.sleep(3)
    assert s.results() == [0, 1, "no, at 101"]
    assert house.shelf.state()["count"] == 1


async def test_reading_alone_stores_nothing() -> None:
    house = House()
    s = house.session()
    house.deliver(s, 1, "read")
    await house.clock.sleep(1)
    assert s.results() == [0]
    assert house.shelf.saves == 0


async def test_a_store_that_is_away_is_waited_for() -> None:
    house = House()
    s = house.session()
    house.deliver(s, 1, "add")
    await house.clock.sleep(1)
    house.shelf.away = True
    house.deliver(s, 2, "add")
    await house.clock.sleep(30)
    assert s.results() == [1]
    house.shelf.away = False
    await house.clock.sleep(5)
    assert s.results() == [1, 2]
    assert house.done == [1, 2]


async def test_a_full_store_fails_what_it_does_not_take_and_service_goes_on_when_there_is_room() -> None:
    house = House()
    s = house.session()
    s.watch()
    house.deliver(s, 1, "add", line="a")
    await house.clock.sleep(1)
    house.shelf.full = True
    for number in (2, 3):
        house.deliver(s, number, "add", line="lost")
    house.deliver(s, 4, "read")
    await house.clock.sleep(1)
    assert [frame.get("code") for frame in s.frames if frame["type"] == "rpc:result"][1:] == ["overloaded"] * 3
    assert house.done == [1, 2, 3, 4]
    house.deliver(s, 5, "read")
    await house.clock.sleep(1)
    assert s.results()[-1] == 1, "reading needs no room"
    house.shelf.full = False
    house.deliver(s, 6, "add", line="b")
    await house.clock.sleep(1)
    assert s.results()[-1] == 2
    assert house.shelf.state()["lines"] == ["a", "b"]
    assert [f["type"] for f in s.frames].count("state:patch") == 2, "nothing of the lost turns was shown"


@pytest.mark.parametrize("shared", [True, False])
async def test_an_instance_that_a_full_store_does_not_let_start_is_tried_again(shared: bool) -> None:
    class Greeting(It):
        async def on_activate(self) -> None:
            self.state.lines.append("hello")

    house = House(Greeting)
    house.shelf.shared = shared
    house.shelf.full = True
    s = house.session()
    house.deliver(s, 1, "add", line="a")
    s.watch()
    await house.clock.sleep(0.5)
    assert {frame["code"] for frame in s.frames if "code" in frame} == {"overloaded"}
    assert "rpc:result" in s.kinds()
    assert house.done == [1]
    assert await house.host.drain(1)
    house.shelf.full = False
    await house.clock.sleep(1)
    house.deliver(s, 2, "add", line="b")
    await house.clock.sleep(1)
    assert s.results()[-1] == 1
    assert house.shelf.state()["lines"] == ["hello", "b"]
    if not shared:
        shown = [frame for frame in s.frames if frame["type"] in ("state:snapshot", "state:patch")]
        last = max(index for index, frame in enumerate(shown) if frame["type"] == "state:snapshot")
        assert [frame["type"] for frame in shown[last:]] == ["state:snapshot", "state:patch", "state:patch"]
        assert len({frame["epoch"] for frame in shown[last:]}) == 1, "who watches follows from the second start on"


async def test_a_save_whose_acknowledgement_was_lost_is_found_and_not_run_again() -> None:
    house = House()
    s = house.session()
    house.shelf.lose_answers = 1
    house.deliver(s, 1, "add", line="a")
    await house.clock.sleep(5)
    house.deliver(s, 2, "add", line="b")
    await house.clock.sleep(5)
    assert s.results() == [1, 2]
    assert house.shelf.state()["lines"] == ["a", "b"]


async def test_a_stale_commit_is_refused_and_nothing_of_it_leaves() -> None:
    async def owns() -> bool:
        return False

    house = House(owns=owns)
    old, s = house.host, house.session()
    s.watch()
    house.deliver(s, 1, "add", line="old")
    await house.clock.sleep(1)
    house.start()
    new = house.session("n")
    house.deliver(new, 2, "add", line="new")
    await house.clock.sleep(1)
    seen = len(s.frames)
    house.host = old
    house.deliver(s, 3, "add", line="stale")
    await house.clock.sleep(5)
    assert len(s.frames) == seen
    assert 3 not in house.done
    assert house.shelf.state()["lines"] == ["old", "new"]
    assert await old.drain(1)


async def test_a_record_that_somebody_else_wrote_is_taken_up_while_the_instance_is_ours() -> None:
    async def owns() -> bool:
        return True

    house = House(owns=owns)
    s = house.session()
    house.deliver(s, 1, "add", line="a")
    await house.clock.sleep(1)
    record = json.loads(house.shelf.records["it", "x"].record)
    record["state"]["lines"] = ["edited"]
    record["writer"] = "an operator"
    house.shelf.saves += 1
    house.shelf.records["it", "x"] = Stored(json.dumps(record).encode(), house.shelf.saves)
    house.deliver(s, 2, "add", line="b")
    await house.clock.sleep(5)
    assert s.results() == [1, 2]
    assert house.shelf.state()["lines"] == ["edited", "b"]


async def test_a_save_that_goes_wrong_during_the_last_turn_is_settled_without_a_further_request() -> None:
    house = House()
    s = house.session()
    house.deliver(s, 1, "add", line="a")
    await house.clock.sleep(1)
    house.deliver(s, 2, "add", line="b")
    house.deliver(s, 3, "nap", seconds=1.0)
    known = house.shelf.records["it", "x"]
    house.shelf.records["it", "x"] = Stored(known.record, known.revision + 100)
    await house.clock.sleep(10)
    assert s.results() == [1, 2, 3]
    assert house.done == [1, 2, 3]


class TestRewritten:
    """Somebody beside the host writes or deletes a record, and says so."""

    async def start(self, *, shared: bool = True) -> tuple[House, Recorder]:
        async def owns() -> bool:
            return True

        house = House(owns=owns)
        house.shelf.shared = shared
        s = house.session()
        s.watch()
        house.deliver(s, 1, "add", line="a")
        await house.clock.sleep(1)
        s.frames.clear()
        return house, s

    def write(self, house: House, **changes: Any) -> None:
        record = json.loads(house.shelf.records["it", "x"].record) | {"writer": "an operator", **changes}
        house.shelf.saves += 1
        house.shelf.records["it", "x"] = Stored(json.dumps(record).encode(), house.shelf.saves)

    async def test_a_deleted_instance_begins_anew_at_once_and_its_subscribers_see_it(self) -> None:
        house, s = await self.start()
        del house.shelf.records["it", "x"]
        house.host.reread("it", "x")
        house.deliver(s, 2, "read")
        await house.clock.sleep(1)
        assert [frame["type"] for frame in s.frames] == ["state:snapshot", "rpc:result"]
        assert s.frames[0]["state"] == {"count": 0, "lines": []}
        assert s.frames[1]["result"] == 0
        house.deliver(s, 3, "add", line="b")
        await house.clock.sleep(1)
        assert house.shelf.state() == {"count": 1, "lines": ["b"]}

    async def test_a_record_with_another_epoch_is_shown_and_goes_on(self) -> None:
        house, s = await self.start()
        self.write(house, state={"count": 7, "lines": []}, epoch="e_restored")
        house.host.reread("it", "x")
        await house.clock.sleep(1)
        assert [(frame["type"], frame["epoch"], frame["state"]["count"]) for frame in s.frames] == [
            ("state:snapshot", "e_restored", 7)
        ]
        house.deliver(s, 2, "add")
        await house.clock.sleep(1)
        assert s.frames[-1]["result"] == 8

    async def test_a_turn_that_runs_meanwhile_runs_again_on_what_was_written(self) -> None:
        house, s = await self.start()
        house.deliver(s, 2, "nap", seconds=1.0)
        await house.clock.sleep(0.5)
        self.write(house, state={"count": 40, "lines": []}, epoch="e_restored")
        house.host.reread("it", "x")
        await house.clock.sleep(5)
        assert s.frames[-1]["result"] == 41
        assert house.done == [1, 2]

    async def test_what_could_not_be_used_is_activated_again(self) -> None:
        house, s = await self.start()
        self.write(house, version=99)
        await house.restart()
        s = house.session()
        house.deliver(s, 2, "read")
        await house.clock.sleep(1)
        assert s.frames[-1]["code"] == "stored_state"
        self.write(house, version=1)
        house.host.reread("it", "x")
        house.deliver(s, 3, "add", line="b")
        await house.clock.sleep(1)
        assert s.frames[-1]["result"] == 2

    async def test_what_does_not_live_here_is_left_alone(self) -> None:
        house, s = await self.start()
        house.host.reread("it", "nobody")
        house.host.reread("other", "x")
        assert house.host.instances == 1
        assert s.frames == []


async def test_a_state_that_the_store_does_not_take_fails_its_call_alone() -> None:
    house = House()
    s = house.session()
    house.deliver(s, 1, "add", line="a")
    await house.clock.sleep(1)
    house.shelf.max_bytes = 600
    for number, line in ((2, "b"), (3, "x" * 500), (4, "c"), (5, "y" * 500), (6, "d")):
        house.deliver(s, number, "add", line=line)
    await house.clock.sleep(30)
    answers = [frame.get("result", frame.get("code")) for frame in s.answers()]
    assert answers == [1, 2, "too_large", 3, "too_large", 4]
    assert house.shelf.state()["lines"] == ["a", "b", "c", "d"]
    assert sorted(house.done) == [1, 2, 3, 4, 5, 6]


async def test_too_many_unsaved_turns_make_the_instance_wait() -> None:
    house = House()
    s = house.session()
    house.deliver(s, 1, "add")
    await house.clock.sleep(1)
    house.shelf.away = True
    for number in range(2, 1000):
        house.deliver(s, number, "add")
    await house.clock.sleep(5)
    assert house.host.pending == 998
    house.shelf.away = False
    await house.clock.sleep(60)
    assert s.results() == list(range(1, 1000))


async def test_an_earlier_writer_cannot_commit_once_the_next_one_has_loaded_the_instance() -> None:
    owners = [True]

    async def owns() -> bool:
        return owners[-1]

    house = House(owns=owns)
    house.shelf.shared = True
    old, s = house.host, house.session()
    house.deliver(s, 1, "add", line="a")
    await house.clock.sleep(1)
    house.start()
    new = house.session("n")
    house.deliver(new, 2, "read")
    await house.clock.sleep(1)
    assert new.results() == [1]
    house.host = old
    owners.append(False)
    house.deliver(s, 3, "add", line="late")
    await house.clock.sleep(1)
    assert s.results() == [1]
    assert house.shelf.state()["lines"] == ["a"]


async def test_an_instance_that_is_loaded_after_another_process_owns_it_is_not_served() -> None:
    """Its owner may have loaded it already and would read on without seeing what is stored here."""

    async def owns() -> bool:
        return False

    house = House(owns=owns)
    house.shelf.shared = True
    s = house.session()
    house.deliver(s, 1, "add", line="a")
    await house.clock.sleep(5)
    assert s.results() == []
    assert house.done == []
    assert (house.host.instances, house.host.pending) == (0, 0)
    assert house.shelf.state()["lines"] == []


class TestMigration:
    @staticmethod
    async def stored(house: House, state: Any, version: int) -> None:
        s = house.session()
        house.deliver(s, 1, "add")
        await house.clock.sleep(1)
        record = json.loads(house.shelf.records["it", "x"].record) | {"state": state, "version": version}
        house.shelf.records["it", "x"] = Stored(json.dumps(record).encode(), house.shelf.saves)

    async def test_older_state_is_brought_up_step_by_step(self) -> None:
        class Third(It):
            version = 3

            @migrate(from_version=1)
            @staticmethod
            def first(state: dict[str, Any]) -> dict[str, Any]:
                return {"count": state["n"]}

            @migrate(from_version=2)
            @staticmethod
            def second(state: dict[str, Any]) -> dict[str, Any]:
                return {**state, "lines": ["migrated"]}

        house = House(Third)
        await self.stored(house, {"n": 41}, 1)
        await house.restart()
        s = house.session()
        house.deliver(s, 2, "add", line="new")
        await house.clock.sleep(1)
        assert s.results() == [42]
        assert house.shelf.state() == {"count": 42, "lines": ["migrated", "new"]}
        assert json.loads(house.shelf.records["it", "x"].record)["version"] == 3

    @pytest.mark.parametrize(("state", "version"), [({"count": 1}, 9), ({"count": "many"}, 1), ({"n": 1}, 0)])
    async def test_state_that_cannot_be_used_is_an_error_and_stays_as_it_is(self, state: Any, version: int) -> None:
        house = House()
        await self.stored(house, state, version)
        before = house.shelf.records["it", "x"]
        await house.restart()
        s = house.session()
        house.deliver(s, 2, "add")
        s.watch()
        await house.clock.sleep(1)
        assert s.frames[0]["code"] == "stored_state"
        assert s.kinds() == ["rpc:result", "error"]
        assert house.shelf.records["it", "x"] == before

    def test_a_migration_out_of_range_or_doubled_or_with_self_is_refused(self) -> None:
        def step(state: Any) -> Any:
            return state

        bad: list[dict[str, Any]] = [
            {"version": 1, "a": migrate(from_version=1)(staticmethod(step))},
            {"version": 3, "a": migrate(from_version=1)(lambda self, state: state)},
            {"version": 0},
            {"durability": "tape"},
        ]
        for attributes in bad:
            with pytest.raises(DefinitionError):
                AppDefinition({"it": type("Bad", (It,), attributes)})


class Guests(It):
    async def on_disconnect(self) -> None:
        self.state.lines.append(f"-{self.session.id}")


async def test_an_on_disconnect_whose_save_was_refused_runs_again() -> None:
    house = House(Guests)
    s, other = house.session("s"), house.session("other")
    house.deliver(s, 1, "add", line="a")
    await house.clock.sleep(1)
    stored = house.shelf.records["it", "x"]
    house.shelf.records["it", "x"] = Stored(stored.record, stored.revision + 100)
    house.host.sessions.disconnect("s")
    other.call("read")
    await house.clock.sleep(1)
    assert house.shelf.state()["lines"] == ["a", "-s"]
    assert other.results() == [1]
