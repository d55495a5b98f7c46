"""Calls between the runtimes of a divided project, and one-way calls across the death of their sender."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.unit.runtime.crashing import Once
from tests.unit.runtime.divided import Divided, lies_in
from zocket.core import Actor, method
from zocket.crashpoints import PLACES
from zocket.errors import ActorError, Overloaded
from zocket.handles import ActorHandle
from zocket.protocol import envelopes, subjects

if TYPE_CHECKING:
    from tests.unit.runtime.conftest import Bench

SEEN: list[Any] = []


class Log(Actor[dict[str, list[str]]]):
    durability = "file"

    @method
    async def note(self, text: str) -> int:
        if text == "bad":
            raise ActorError("no such note", code="refused", data=[1])
        lines = self.state.setdefault("lines", [])
        lines.append(text)
        return len(lines)

    @method
    async def lines(self) -> list[str]:
        return self.state.get("lines", [])

    @method
    async def who(self) -> list[Any]:
        return [self.caller.kind, self.caller.actor, self.caller.actor_id, list(self.caller.chain), list(self.clients)]

    @method
    async def wait(self, seconds: float) -> None:
        SEEN.append("begun")
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            SEEN.append("cancelled")
            raise
        SEEN.append("over")


class Desk(Actor[dict[str, list[str]]]):
    @method
    async def ask(self, other: str, text: str) -> list[Any]:
        log = self.actors.get(Log, other)
        SEEN.append("asked")
        return [await log.note(text=text), await log.who()]

    @method(timeout_s=2.0)
    async def ask_long(self, other: str) -> None:
        await self.actors.get(Log, other).wait(50.0)

    @method
    async def round(self, way: list[str]) -> None:
        await self.actors.get(Desk, way[0]).round(way[1:])

    @method
    async def tell(self, other: str, texts: list[str]) -> None:
        self.state.setdefault("told", []).extend(texts)
        for text in texts:
            self.actors.tell(self.actors.get(Log, other).note, text=text)


class KeptDesk(Desk):
    durability = "file"


ACTORS: dict[str, Any] = {"log": Log, "desk": Desk, "kept": KeptDesk}


@pytest.fixture(autouse=True)
def nothing_seen() -> None:
    SEEN.clear()


async def test_a_call_reaches_an_instance_of_another_partition_and_knows_who_calls(bench: type[Bench]) -> None:
    desk, log = lies_in("desk", 0), lies_in("log", 1)
    async with Divided(bench(), ACTORS) as divided:
        answer = await divided.call("ask", desk, other=log, text="a")
        assert answer["result"] == [1, ["actor", "desk", desk, [["desk", desk]], []]]
        answer = await divided.call("ask", desk, other=log, text="bad")
        assert (answer["error"], answer["code"], answer["data"]) == ("no such note", "refused", [1])
        counted = [sample for sample in divided.runtimes[0].samples() if sample.name == "calls_elsewhere"]
        assert [sample.value for sample in counted] == [3]


async def test_a_cycle_through_another_partition_is_refused_with_the_chain(bench: type[Bench]) -> None:
    here, there = lies_in("desk", 0), lies_in("desk", 1)
    async with Divided(bench(), ACTORS) as divided:
        answer = await divided.call("round", here, way=[there, here])
    assert answer["code"] == "cycle"
    assert answer["data"] == [["desk", here], ["desk", there], ["desk", here]]


async def test_the_end_of_the_callers_turn_ends_the_call_in_the_other_runtime(bench: type[Bench]) -> None:
    async with Divided(bench(), ACTORS) as divided:
        answer = await divided.call("ask_long", lies_in("desk", 0), 3.0, other=lies_in("log", 1))
        assert answer["code"] == "handler_timeout"
        assert SEEN == ["begun", "cancelled"]


async def test_a_call_outlives_neither_its_caller_nor_the_death_of_the_callers_runtime(bench: type[Bench]) -> None:
    """The word that it is cancelled never comes: the time that travels with the call ends it."""
    async with Divided(bench(), ACTORS) as divided:
        divided.wire.call(
            "ask_long", lies_in("desk", 0), actor="desk", input={"other": lies_in("log", 1)}, gateway="g1"
        )
        await divided.world.settle()
        assert SEEN == ["begun"]
        divided.brokers[0].abort()
        await divided.runtimes[0].abort()
        await divided.world.clock.advance(3.0)
        assert SEEN == ["begun", "cancelled"]


async def test_an_answer_that_was_lost_with_the_connection_is_asked_for_again_and_the_effect_is_single(
    bench: type[Bench],
) -> None:
    desk, log = lies_in("desk", 0), lies_in("log", 1)
    async with Divided(bench(), ACTORS) as divided:
        lost = divided.runtimes[0]._correspondence.answered
        divided.runtimes[0]._correspondence._answer = lambda *_: None  # type: ignore[method-assign]
        divided.wire.call("ask", desk, actor="desk", input={"other": log, "text": "a"}, gateway="g1")
        await divided.world.clock.advance(0.5)
        del divided.runtimes[0]._correspondence._answer
        divided.world.server.cut(divided.brokers[0], 0.2)
        await divided.world.clock.advance(5.0)
        assert lost is not None
        answer = await divided.call("ask", desk, other=log, text="b")
        assert answer["result"][0] == 2
        assert SEEN == ["asked", "asked"]


async def test_server_code_reaches_instances_of_every_partition(bench: type[Bench]) -> None:
    async with Divided(bench(), ACTORS) as divided:
        runtime = divided.runtimes[0]
        definition = runtime._host.definition
        for number in range(2):
            log = ActorHandle(definition.invokers[-1], definition.actors["log"], lies_in("log", number))
            call = asyncio.ensure_future(log.who())
            await divided.world.clock.advance(1.0)
            assert await call == ["server", "", "", [], []]
        assert len(definition.invokers) == 1
    assert definition.invokers == []


@pytest.mark.parametrize("desk", ["desk", "kept"])
async def test_one_way_calls_arrive_in_order_by_the_stream(bench: type[Bench], desk: str) -> None:
    world = bench()
    wire = await world.wire()
    async with world.runtime(actors=ACTORS, storage="file"):
        wire.call("tell", "d", actor=desk, input={"other": "l", "texts": ["a", "b"]})
        wire.call("tell", "d", actor=desk, input={"other": "l", "texts": ["bad", "c"]})
        await world.clock.advance(1.0)
        wire.call("lines", "l", actor="log", session="s2")
        await world.clock.advance(1.0)
        assert wire.frames("s2") == [{"type": "rpc:result", "id": 1, "result": ["a", "b", "c"]}]


async def test_one_that_the_stream_refuses_leaves_before_those_behind_it_and_holds_up_no_other_receiver(
    bench: type[Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    world = bench()
    wire = await world.wire()
    broker = world.server.connect()
    publish, refused = broker.publish, list[str]()

    def full_at_first(subject: str, payload: bytes, message_id: str, done: Any) -> None:
        if b'"a"' in payload and subject.endswith(".l") and len(refused) < 2:
            refused.append(message_id)
            asyncio.get_running_loop().call_soon(done, Overloaded("the stream is full"))
        else:
            publish(subject, payload, message_id, done)

    monkeypatch.setattr(broker, "publish", full_at_first)
    async with world.runtime(broker=broker, actors=ACTORS, storage="file"):
        wire.call("tell", "d", actor="desk", input={"other": "l", "texts": ["a", "b"]})
        wire.call("tell", "d", actor="desk", input={"other": "m", "texts": ["a"]})
        await world.clock.advance(0.05)
        for session, log in (("s2", "l"), ("s3", "m")):
            wire.call("lines", log, actor="log", session=session)
        await world.clock.advance(0.04)
        assert [wire.frames(session)[-1]["result"] for session in ("s2", "s3")] == [[], ["a"]]
        await world.clock.advance(5.0)
        wire.call("lines", "l", actor="log", session="s2")
        await world.clock.advance(1.0)
        assert wire.frames("s2")[-1]["result"] == ["a", "b"]
        assert len(set(refused)) == 1, "always under the same name"


AROUND_A_TELL = ("before_commit", "after_commit", "before_publish", "before_ack")


@pytest.mark.parametrize("nth", [1, 2, 3, 4])
@pytest.mark.parametrize("place", AROUND_A_TELL)
@pytest.mark.parametrize("desk", ["desk", "kept"])
async def test_a_crash_at_any_place_around_a_one_way_call_neither_loses_nor_doubles_it(
    bench: type[Bench], desk: str, place: str, nth: int
) -> None:
    world = bench()
    wire = await world.wire()
    broker = world.server.connect()
    crash = Once(place, nth, broker)
    async with world.runtime(broker=broker, actors=ACTORS, storage="file", crashpoints=crash) as runtime:
        wire.call("tell", "d", actor=desk, input={"other": "l", "texts": ["a", "b"]})
        await world.clock.advance(1.0)
        await runtime.abort()
    async with world.runtime(actors=ACTORS, storage="file"):
        await world.clock.advance(5.0)
        wire.call("lines", "l", actor="log", session="s2")
        await world.clock.advance(1.0)
    assert wire.frames("s2")[-1]["result"] == ["a", "b"]
    stored = world.server.buckets[subjects.state_bucket(world.scope)]
    assert not any("outbox" in json.loads(entry.value) for entry in stored.values())
    assert set(AROUND_A_TELL) < set(PLACES)


async def test_an_envelope_of_an_actor_that_subscribes_is_refused(bench: type[Bench]) -> None:
    world = bench()
    wire = await world.wire()
    async with world.runtime(actors=ACTORS, storage="file"):
        caller = json.loads(envelopes.encode(envelopes.CalledBy("desk", "d")))
        wire.publish({"type": "state:sub", "actor": "log", "actorId": "l"}, gateway="rt_x", caller=caller)
        await world.clock.advance(1.0)
        assert wire.batches == []
