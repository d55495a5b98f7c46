"""One-way calls of turns that no message caused, across the death of their runtime, while nobody uses their sender."""

from __future__ import annotations

import asyncio
import json
import math
from typing import TYPE_CHECKING, Any

import pytest

from tests.unit.runtime.crashing import Once
from zocket.core import Actor, Due, method
from zocket.errors import Overloaded
from zocket.protocol import subjects
from zocket.settings import Limits

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.unit.runtime.conftest import Bench, Wire
    from zocket.broker.memory import MemoryBroker

AROUND_A_TELL = ("before_commit", "after_commit", "before_publish", "before_ack")


class Log(Actor[dict[str, list[str]]]):
    durability = "file"

    @method
    async def note(self, text: str) -> None:
        self.state.setdefault("told", []).append(text)


class Desk(Actor[dict[str, list[str]]]):
    """Tells in turns of each kind; its state says what it has told."""

    durability = "file"

    @method
    async def tell(self) -> None:
        told = self.state.setdefault("told", [])
        told.append(f"number {len(told)}")
        self.actors.tell(self.actors.get(Log, "l").note, text=told[-1])

    @method
    async def by_timer(self) -> None:
        self.timers.after(0.1, self.tell)

    @method
    async def by_reminder(self) -> None:
        self.reminders.set("tell", Due(after=0.1), self.tell)

    @method(publish_every=0.01)
    async def by_flush(self) -> None:
        """Runs again after a crash, with what it has flushed."""
        if not self.state:
            await self.tell()
            await asyncio.sleep(0.0101)

    @method
    async def rest(self) -> None:
        self.state.setdefault("rests", []).append("one")


class Greeting(Desk):
    async def on_connect(self) -> None:
        await self.tell()

    async def on_disconnect(self) -> None:
        await self.tell()


class Waking(Desk):
    async def on_activate(self) -> None:
        await self.tell()


class Asking(Actor[dict[str, int]]):
    @method
    async def ask(self) -> None:
        await self.actors.get(Desk, "d").tell()


ACTORS: dict[str, Any] = {"log": Log, "desk": Desk, "greeting": Greeting, "waking": Waking, "asking": Asking}


def _leave(wire: Wire) -> None:
    wire.call("rest", "d", actor="greeting")
    wire.broker._clock.call_later(0.5, lambda: wire.disconnect("s1"))  # type: ignore[attr-defined]


CAUSES: dict[str, tuple[str, Callable[[Wire], None]]] = {
    "timer": ("desk", lambda wire: wire.call("by_timer", "d", actor="desk")),
    "reminder": ("desk", lambda wire: wire.call("by_reminder", "d", actor="desk")),
    "flush": ("desk", lambda wire: wire.call("by_flush", "d", actor="desk")),
    "call of an actor": ("desk", lambda wire: wire.call("ask", "a", actor="asking")),
    "on_connect and on_disconnect": ("greeting", _leave),
    "on_activate": ("waking", lambda wire: wire.call("rest", "d", actor="waking")),
}
"""By what causes a turn that tells: the type of the sender, and what sets that off."""


def told(world: Bench, actor: str, actor_id: str = "d") -> list[str]:
    return list(_record(world, actor, actor_id).get("state", {}).get("told", []))


def outbox(world: Bench, actor: str) -> list[Any]:
    return list(_record(world, actor, "d").get("outbox", []))


def _record(world: Bench, actor: str, actor_id: str) -> dict[str, Any]:
    stored = world.server.buckets.get(subjects.state_bucket(world.scope), {})
    entry = stored.get(f"{actor}.{actor_id}")
    return {} if entry is None else dict(json.loads(entry.value))


def alarms(world: Bench) -> list[str]:
    return list(world.server.buckets.get(subjects.reminder_bucket(world.scope), {}))


def alarm_writes(world: Bench, monkeypatch: pytest.MonkeyPatch) -> list[bytes | None]:
    """What is written to the bucket of alarms from now on; None is a deletion."""
    written: list[bytes | None] = []
    write = world.server.write

    def noted(bucket: str, key: str, value: bytes | None, expected: int) -> int:
        if bucket == subjects.reminder_bucket(world.scope):
            written.append(value)
        return write(bucket, key, value, expected)

    monkeypatch.setattr(world.server, "write", noted)
    return written


@pytest.mark.parametrize("cause", CAUSES)
async def test_what_no_message_caused_leaves_soon_after_a_crash_at_each_place_without_anybody_using_its_sender(
    bench: type[Bench], cause: str
) -> None:
    sender, set_off = CAUSES[cause]
    waited = 0
    for place in AROUND_A_TELL:
        for nth in range(1, 8):
            world = bench()
            wire = await world.wire()
            broker = world.server.connect()
            crash = Once(place, nth, broker)
            async with world.runtime(broker=broker, actors=ACTORS, storage="file", crashpoints=crash) as runtime:
                set_off(wire)
                for _ in range(100):
                    await world.clock.advance(0.02)
                    if crash.struck:
                        break
                await runtime.abort()
            waited += bool(outbox(world, sender))
            async with world.runtime(actors=ACTORS, storage="file"):
                await world.clock.advance(3.0)
                assert told(world, "log", "l") == told(world, sender), f"{place} {nth}"
                assert outbox(world, sender) == []
                assert alarms(world) == []
    assert waited, "some deaths left something unsent"


def refuse_tells(broker: MemoryBroker, monkeypatch: pytest.MonkeyPatch, *, until: float = math.inf) -> None:
    """The stream is full for one-way calls of this connection."""
    publish, clock = broker.publish, broker._clock

    def full_for_tells(subject: str, payload: bytes, message_id: str, done: Any) -> None:
        if message_id.startswith("tell:") and clock.now() < until:
            asyncio.get_running_loop().call_soon(done, Overloaded("the stream is full"))
        else:
            publish(subject, payload, message_id, done)

    monkeypatch.setattr(broker, "publish", full_for_tells)


@pytest.mark.parametrize("way", ["by_timer", "by_flush"])
async def test_what_cannot_leave_keeps_its_alarm_until_some_later_runtime_has_sent_it(
    bench: type[Bench], monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    world = bench()
    wire = await world.wire()
    written = alarm_writes(world, monkeypatch)
    for method_name in (way, "rest"):
        broker = world.server.connect()
        refuse_tells(broker, monkeypatch)
        async with world.runtime(broker=broker, actors=ACTORS, storage="file") as runtime:
            wire.call(method_name, "d", actor="desk")
            await world.clock.advance(1.0)
            alarm_was_written = len(written)
            wire.call("rest", "d", actor="desk")
            await world.clock.advance(30.0)
            assert len(outbox(world, "desk")) == 1
            assert alarms(world) == ["desk.d"]
            assert len(written) == alarm_was_written, "however often it rings, and whatever else is stored"
            broker.abort()
            await runtime.abort()
    async with world.runtime(actors=ACTORS, storage="file"):
        await world.clock.advance(1.0)
        assert told(world, "log", "l") == ["number 0"]
        assert outbox(world, "desk") == alarms(world) == []


async def test_what_a_message_caused_needs_no_alarm_and_what_none_caused_needs_one(
    bench: type[Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    world = bench()
    wire = await world.wire()
    written = alarm_writes(world, monkeypatch)
    async with world.runtime(actors=ACTORS, storage="file"):
        for _ in range(3):
            wire.call("tell", "d", actor="desk")
            await world.clock.advance(0.5)
        assert len(told(world, "log", "l")) == 3
        assert written == []
        wire.call("by_timer", "d", actor="desk")
        await world.clock.advance(5.0)
        assert len(told(world, "log", "l")) == 4
        assert [value is None for value in written] == [False, True], "set before the record, deleted after it"


class Leaving(Desk):
    async def on_activate(self) -> None:
        self.state.setdefault("lives", []).append("one")

    async def on_deactivate(self) -> None:
        await self.tell()


@pytest.mark.parametrize("refused_until_s", [0.0, 2.9, 3.0, 3.1, 4.0, 10.0])
async def test_what_the_last_turn_tells_does_not_wake_its_instance_again(
    bench: type[Bench], monkeypatch: pytest.MonkeyPatch, refused_until_s: float
) -> None:
    world = bench()
    wire = await world.wire()
    broker = world.server.connect()
    refuse_tells(broker, monkeypatch, until=world.clock.now() + refused_until_s)
    actors = {**ACTORS, "leaving": Leaving}
    async with world.runtime(broker=broker, actors=actors, storage="file", limits=Limits(idle_after_s=2.0)):
        wire.call("rest", "d", actor="leaving")
        await world.clock.advance(60.0)
        assert told(world, "log", "l") == ["number 0"]
        assert _record(world, "leaving", "d")["state"]["lives"] == ["one"]
        assert alarms(world) == []
