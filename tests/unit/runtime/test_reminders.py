"""Reminders of durable actors across the death of their runtime at every named place, on virtual time.

Each run kills the runtime the n-th time it comes to one place; whatever that is, each run of a reminder takes effect
once, at its time or late.
"""

from __future__ import annotations

from contextlib import AsyncExitStack
from itertools import count, pairwise
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from zocket.core import Actor, Due, StoredReminder, method
from zocket.core.reminders import earliest
from zocket.crashpoints import PLACES, CrashPoints
from zocket.host.alarms import decode_alarm, encode_alarm
from zocket.host.store import Key, decode_record
from zocket.ids import Partition
from zocket.protocol import subjects
from zocket.runtime.state_store import BrokerStateStore

if TYPE_CHECKING:
    from tests.unit.runtime.conftest import Bench
    from zocket.broker.memory import MemoryBroker
    from zocket.runtime.runtime import Runtime

END_S = 60.0


class Diary(Actor[dict[str, list[float]]]):
    durability = "file"

    @method
    async def begin(self) -> None:
        self.state.setdefault("calls", []).append(0.0)
        self.reminders.set("often", Due(every=10, missed="all"), self.note, "often")
        self.reminders.set("once", Due(after=15), self.note, "once")

    async def note(self, name: str) -> None:
        assert self.caller.due is not None
        self.state.setdefault(name, []).append(round(self.caller.due.timestamp(), 3))
        if name == "often" and len(self.state["often"]) == 2:
            self.reminders.set("later", Due(after=5), self.note, "later")


class Fuse(Actor[dict[str, int]]):
    """Its only reminder is set by a turn that no message causes, so no redelivery brings it back."""

    durability = "file"

    @method
    async def begin(self) -> None:
        self.timers.after(3, self.light)

    async def light(self) -> None:
        self.state["lit"] = self.state.get("lit", 0) + 1
        self.reminders.set("bang", Due(after=5), self.bang)

    async def bang(self) -> None:
        self.state["bang"] = self.state.get("bang", 0) + 1


class Deadly(CrashPoints):
    """Cuts its runtime off the n-th time that one place is reached, over all runtimes of a test."""

    def __init__(self, place: str, number: int) -> None:
        super().__init__({}, die=self.kill)
        self.place = place
        self.number = number
        self.reached = 0
        self.broker: MemoryBroker | None = None
        self.died = False

    def strikes(self, place: str) -> bool:
        self.reached += place == self.place
        return place == self.place and self.reached == self.number

    def kill(self) -> None:
        assert self.broker is not None
        self.died = True
        self.broker.abort()


ACTORS = {"diary": Diary, "fuse": Fuse}


class Life:
    """Runtimes one after the other: the next one comes when the present one has died or was replaced."""

    def __init__(self, world: Bench, deadly: Deadly) -> None:
        self.world = world
        self.deadly = deadly
        self.stack = AsyncExitStack()
        self.runtime: Runtime | None = None

    async def start(self) -> None:
        while self.runtime is None:
            self.deadly.broker = broker = self.world.server.connect()
            opened = self.world.runtime(
                broker=broker, actors=ACTORS, crashpoints=self.deadly, storage="file", drain_timeout_s=1.0
            )
            try:
                self.runtime = await self.stack.enter_async_context(opened)
            except Exception:
                if not self.deadly.died:
                    raise
            await self.bury()

    async def bury(self) -> None:
        """What died is taken away."""
        if self.deadly.died:
            self.deadly.died = False
            if self.runtime is not None:
                await self.runtime.abort()
            await self.stop()

    async def stop(self) -> None:
        self.runtime = None
        await self.stack.aclose()

    async def passes(self, seconds: float) -> None:
        """Time passes; a runtime that dies is followed by another one after 7 s."""
        until = self.world.clock.now() + seconds
        while self.world.clock.now() < until:
            await self.world.clock.advance(1.0)
            await self.bury()
            if self.runtime is None:
                await self.world.clock.advance(7.0)
                await self.start()


async def scenario(world: Bench, deadly: Deadly) -> tuple[dict[str, list[float]], dict[str, int]]:
    """The states at the end, after a clean redeployment in between."""
    wire = await world.wire()
    life = Life(world, deadly)
    await life.start()
    wire.call("begin", actor="diary")
    wire.call("begin", actor="fuse")
    await life.passes(25.0)
    await life.stop()
    await life.bury()
    await life.start()
    await life.passes(END_S)
    await life.passes(2.0)
    states = [await stored_state(world, actor) for actor in ACTORS]
    await life.stop()
    return states[0], states[1]


async def stored_state(world: Bench, actor: str) -> dict[str, Any]:
    store = BrokerStateStore(world.server.connect(), world.scope)
    stored = await store.load(actor, "a")
    assert stored is not None
    record = decode_record(stored.record)
    alarm = await store.alarms.load(actor, "a")
    assert (alarm is None) == (not record.reminders), "an alarm goes when nothing is due any more"
    assert alarm is None or decode_alarm(alarm.record).due <= earliest(record.reminders)
    return dict(msgspec.json.decode(record.state))


def check(diary: dict[str, list[float]], fuse: dict[str, int], now: float) -> None:
    assert len(diary["calls"]) == 1
    often = diary["often"]
    assert [round(late - early, 3) for early, late in pairwise(often)] == [10.0] * (len(often) - 1)
    assert now - 10.0 <= often[-1] <= now, "none is lost at the end either"
    assert diary["once"] == [round(often[0] + 5.0, 3)]
    assert len(diary["later"]) == 1
    assert fuse in ({}, {"lit": 1, "bang": 1}), "a timer may die with its process, a reminder that is stored does not"


@pytest.mark.parametrize("place", PLACES)
async def test_each_run_takes_effect_once_wherever_the_runtime_dies(bench: type[Bench], place: str) -> None:
    deaths = 0
    for number in count(1):
        world, deadly = bench(), Deadly(place, number)
        check(*await scenario(world, deadly), world.clock.wall())
        if deadly.reached < number:
            break
        deaths += 1
    assert deaths >= (2 if place in ("in_takeover", "after_takeover") else 1)


async def test_each_runtime_of_a_divided_project_wakes_its_own_instances(bench: type[Bench]) -> None:
    world = bench()
    ids = [f"i{number}" for number in range(20)]
    store = BrokerStateStore(world.server.connect(), world.scope)
    due = world.clock.wall() + 10.0
    for actor_id in ids:
        await store.alarms.put(Key("lobby", actor_id), encode_alarm(due, {"ring": StoredReminder("ring", due)}), 0)
    rang: list[tuple[int, str]] = []

    async with AsyncExitStack() as stack:
        for number in range(2):

            class Lobby(Actor[dict[str, int]]):
                place = number

                async def ring(self) -> None:
                    rang.append((self.place, self.id))

            partition = Partition(number, 2)
            await stack.enter_async_context(
                world.runtime(actors={"lobby": Lobby}, partition=partition, generation="g", lease_s=10.0)
            )
        await world.clock.advance(11.0)
    expected = sorted((subjects.partition_of_instance("lobby", actor_id, 2), actor_id) for actor_id in ids)
    assert sorted(rang) == expected
    assert {place for place, _ in rang} == {0, 1}
