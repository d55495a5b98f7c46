"""One-way calls in one process: after the commit, in order, stored with the state, and what becomes of failures."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import TYPE_CHECKING, Any

import pytest

from tests.unit.host.conftest import Recorder, Shelf
from zocket import Actor, ActorError, method
from zocket.core import AppDefinition
from zocket.host import Host
from zocket.settings import Limits
from zocket.testing import VirtualClock, finalizers

if TYPE_CHECKING:
    from zocket.metrics import Sample


class Log(Actor[dict[str, list[Any]]]):
    @method
    async def note(self, text: str, pause_s: float = 0.0) -> int:
        if text == "bad":
            raise ActorError("no such note", code="refused")
        await asyncio.sleep(pause_s)
        lines = self.state.setdefault("lines", [])
        lines.append([text, self.caller.kind, self.caller.actor, self.caller.actor_id, list(self.caller.chain)])
        return len(lines)

    @method
    async def lines(self) -> list[str]:
        return [line[0] for line in self.state.get("lines", [])]

    @method
    async def callers(self) -> list[Any]:
        return [line[1:] for line in self.state.get("lines", [])]


class StoredLog(Log):
    durability = "file"


class Desk(Actor[dict[str, int]]):
    log: type[Log] = Log

    @method
    async def tell(self, *, texts: list[str], fail: bool = False, to: str = "l") -> int:
        for text in texts:
            self.actors.tell(self.actors.get(self.log, to).note, text=text)
        await asyncio.sleep(0.01)
        if fail:
            raise ActorError("no")
        return len(texts)

    @method
    async def many(self, count: int) -> None:
        for number in range(count):
            self.actors.tell(self.actors.get(self.log, "l").note, text=str(number))

    @method
    async def large(self, size: int) -> None:
        self.actors.tell(self.actors.get(self.log, "l").note, text="x" * size)

    @method
    async def itself(self) -> None:
        self.actors.tell(self.actors.get(type(self), self.id).tell, texts=["from myself"])


class StoredDesk(Desk):
    durability = "file"
    log = StoredLog


KINDS = {"memory": Desk, "durable": StoredDesk}


class World:
    def __init__(self, kind: str = "memory", store: Shelf | None = None, **limits: Any) -> None:
        self.clock = VirtualClock() if store is None else store.clock
        self.store = store or Shelf(self.clock)
        actors: dict[str, Any] = {"desk": KINDS[kind], "log": Log, "stored": StoredLog}
        self.log = "stored" if kind == "durable" else "log"
        self.host = Host(AppDefinition(actors), clock=self.clock, limits=Limits(**limits), store=self.store)
        finalizers.get().push_async_callback(self.host.abort)
        self.alice = Recorder(self.host, "alice")

    async def call(self, name: str, actor: str = "desk", actor_id: str = "x", **given: Any) -> Any:
        number = self.alice.call(name, actor_id, actor=actor, **given)
        await self.clock.advance(1.0)
        answer = next(item for item in self.alice.answers() if item["id"] == number)
        return answer.get("result", answer.get("code"))

    async def lines(self, actor_id: str = "l") -> Any:
        return await self.call("lines", self.log, actor_id)

    def outbox(self, actor_id: str = "x") -> list[Any]:
        found: list[Any] = json.loads(self.store.records["desk", actor_id].record).get("outbox", [])
        return found

    def counts(self) -> dict[str, float]:
        return {_name(sample): float(sample.value) for sample in self.host.tells.samples()}  # type: ignore[arg-type]


def _name(sample: Sample) -> str:
    return ":".join([sample.name, *(sample.labels or {}).values()])


@pytest.mark.parametrize("kind", KINDS)
async def test_one_way_calls_arrive_in_order_once_the_turn_has_committed(kind: str) -> None:
    world = World(kind)
    world.alice.call("tell", actor="desk", texts=["a", "b"])
    await world.clock.advance(0.005)
    assert (world.log, "l") not in world.host._residents, "nothing leaves while the turn runs"
    assert await world.call("tell", texts=["c"]) == 1
    assert await world.lines() == ["a", "b", "c"]
    assert await world.call("callers", world.log, "l") == [["actor", "desk", "x", []]] * 3
    assert world.host.pending == 0


@pytest.mark.parametrize("kind", KINDS)
async def test_nothing_of_a_failed_turn_leaves(kind: str) -> None:
    world = World(kind)
    assert await world.call("tell", texts=["a"], fail=True) == "actor_error"
    assert await world.lines() == []


async def test_an_instance_may_tell_itself() -> None:
    world = World()
    assert await world.call("itself") is None
    assert await world.lines() == ["from myself"]


@pytest.mark.parametrize("kind", KINDS)
async def test_a_one_way_call_that_fails_is_logged_and_counted_and_the_next_ones_arrive(
    kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    world = World(kind)
    with caplog.at_level(logging.WARNING, "zocket.host"):
        await world.call("tell", texts=["bad", "a"])
    assert [record.getMessage() for record in caplog.records] == ["a one-way call failed: refused"]
    assert caplog.records[0].__dict__["method"] == "note"
    assert world.counts() == {"tells": 2, "tells_waiting": 0, "tells_failed:refused": 1}
    assert await world.lines() == ["a"]


async def test_what_is_told_is_stored_with_the_state_until_it_has_arrived() -> None:
    world = World("durable")
    world.alice.call("tell", actor="desk", texts=["a", "b"])
    while ("desk", "x") not in world.store.records:
        await world.clock.advance(0.001)
    assert [told[1:4] for told in world.outbox()] == [["stored", "l", "note"]] * 2
    await world.clock.advance(1.0)
    assert world.outbox() == []
    assert world.host.pending == 0


@pytest.mark.parametrize("moment_s", [step / 500 for step in range(1, 60, 3)])
async def test_a_process_that_ends_at_any_moment_neither_loses_nor_doubles_what_was_told(moment_s: float) -> None:
    world = World("durable")
    world.alice.call("tell", actor="desk", texts=["a", "b", "c"])
    await world.clock.advance(moment_s)
    await world.host.abort()
    told = ("desk", "x") in world.store.records and "lines" not in world.outbox()
    successor = World("durable", world.store)
    for actor, actor_id in list(world.store.records):
        successor.host.revive(actor, actor_id)
    await successor.clock.advance(2.0)
    assert await successor.lines() == (["a", "b", "c"] if told else []), "all of them, if their turn was stored"
    if told:
        assert successor.outbox() == []


async def test_a_receiver_that_is_full_gets_them_when_it_is_not() -> None:
    world = World("durable")
    await world.call("tell", texts=["a"])
    world.store.full_for = "stored"
    await world.call("tell", texts=["b"])
    await world.clock.advance(3.0)
    assert [told[1:4] for told in world.outbox()] == [["stored", "l", "note"]]
    world.store.full_for = ""
    await world.clock.advance(5.0)
    assert await world.lines() == ["a", "b"]
    assert world.outbox() == []


async def test_an_instance_that_tells_too_much_is_told_so() -> None:
    world = World()
    assert await world.call("many", count=1_001) == "overloaded"
    assert await world.lines() == []
    assert await world.call("many", count=1_000) is None
    assert len(await world.lines()) == 1_000
    world = World(max_result_bytes=2_000)
    assert await world.call("large", size=3_000) == "too_large"


async def test_an_instance_stays_in_memory_until_what_it_told_has_arrived() -> None:
    world = World("durable", idle_after_s=2.0)
    world.alice.call("note", "l", actor="stored", text="slow", pause_s=20.0)
    await world.call("tell", texts=["a"])
    await world.clock.advance(10.0)
    assert ("desk", "x") in world.host._residents
    await world.clock.advance(20.0)
    assert ("desk", "x") not in world.host._residents
    assert await world.lines() == ["slow", "a"]


class Leaving(StoredDesk):
    async def on_deactivate(self) -> None:
        self.actors.tell(self.actors.get(StoredLog, "l").note, text="gone")


async def test_what_the_last_turn_tells_arrives_before_the_instance_is_gone_and_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(KINDS, "durable", Leaving)
    world = World("durable", idle_after_s=2.0)
    await world.call("tell", texts=["a"])
    await world.clock.advance(2.0)
    world.alice.call("note", "l", actor="stored", text="slow", pause_s=5.0)
    while ("desk", "x") in world.host._residents and not world.outbox():
        await world.clock.advance(0.01)
    late = world.alice.call("tell", actor="desk", texts=["late"])
    assert late not in [answer["id"] for answer in world.alice.answers()], "nothing runs behind the last turn"
    await world.clock.advance(6.0)
    assert ("desk", "x") in world.host._residents, "a fresh one, for what came late"
    await world.clock.advance(20.0)
    assert await world.lines() == ["a", "slow", "gone", "late", "gone"]
    assert ("desk", "x") not in world.host._residents
    assert world.outbox() == []
