"""Reminders whose method ends the process, on the memory broker in virtual time; a death is `Runtime.abort`."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from zocket.core import Actor, Due, method
from zocket.host.trials import ALONE_S, AT_ONCE, PATIENCE_S
from zocket.protocol import subjects
from zocket.runtime.dead_letters import DeadLetters
from zocket.runtime.suspects import GRACE_S

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.unit.runtime.conftest import Bench, Wire
    from zocket.runtime.runtime import Runtime

EVERY_S = 100.0
DEAD_S = 5.0
"""Between a death and the next life."""


class Clockwork(Actor[dict[str, Any]]):
    """Its reminders note that they run; one may end its process, or wait."""

    ran: ClassVar[list[str]]
    kills: ClassVar[Callable[[], object]]
    deadly: ClassVar[bool] = True

    @method
    async def set(self, name: str, after: float, what: str, every: float = 0.0, missed: Any = "one") -> None:
        due = Due(after=after, every=every or None, missed=missed)
        self.reminders.set(name, due, getattr(self, what), name)

    @method
    async def cancel(self, name: str) -> bool:
        return self.reminders.cancel(name)

    @method
    async def note(self, name: str) -> None:
        self.ran.append(name)

    async def kill(self, name: str) -> None:
        self.ran.append(name)
        if self.deadly:
            type(self).kills()
            await asyncio.Event().wait()
        self.ran.append(f"{self.message_id} {self.caller.kind}")

    async def kill_late(self, name: str) -> None:
        await asyncio.sleep(10)
        await self.kill(name)

    async def wait(self, name: str) -> None:
        self.ran.append(name)
        await asyncio.sleep(20)
        self.ran.append(f"{name} is over")


class Lives:
    """A project whose runtimes die, one life after the other."""

    def __init__(self, bench: type[Bench], durability: str) -> None:
        self.bench = bench()
        self.clock = self.bench.clock
        self.actor: Any = type("It", (Clockwork,), {"ran": [], "durability": durability})
        self.bench.actors = {"it": self.actor}
        self.wire: Wire
        self.runtime: Runtime
        self.died = asyncio.Event()
        self._deaths: set[asyncio.Task[None]] = set()
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Lives:
        self.wire = await self.bench.wire()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def begin(self, **more: Any) -> Runtime:
        """The next life."""
        opened = self.bench.runtime(storage="file", **more)
        self.runtime = runtime = await self._stack.enter_async_context(opened)
        self.died.clear()
        self.actor.kills = lambda: self._deaths.add(asyncio.create_task(self._die(runtime)))
        await self.bench.settle()
        return runtime

    async def _die(self, runtime: Runtime) -> None:
        await runtime.abort()
        self.died.set()

    async def deaths(self, count: int) -> None:
        """So many lives that end by themselves."""
        for _ in range(count):
            await self.clock.advance(DEAD_S)
            await self.begin()
            await self.passes_until_death()

    async def passes_until_death(self) -> None:
        for _ in range(200):
            if self.died.is_set():
                return
            await self.clock.advance(1.0)
        raise AssertionError(f"nothing killed it: {self.actor.ran}")

    def call(self, called: str, actor_id: str = "a", **values: Any) -> None:
        self.wire.call(called, actor_id, actor="it", input=values)

    def set(self, name: str, after: float, what: str, actor_id: str = "a", **more: Any) -> None:
        self.call("set", actor_id, name=name, after=after, what=what, **more)

    def marks(self) -> Any:
        entry = self.bench.server.buckets[subjects.owner_bucket(self.bench.scope)].get("ws.proj.begun")
        return None if entry is None else json.loads(entry.value).get("runs", {})

    def dead_letters(self) -> list[dict[str, Any]]:
        stream = self.bench.server.streams.get(subjects.DEAD_LETTER_STREAM)
        return [] if stream is None else [json.loads(stored.payload) for stored in stream.current().values()]

    def given_up(self) -> object:
        samples = self.runtime.samples()
        return next((sample.value for sample in samples if sample.name == "reminder_runs_given_up"), None)


@pytest.fixture(params=["memory", "file"])
def durability(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def test_a_run_that_kills_its_process_is_given_up_after_three_deaths_and_the_schedule_goes_on(
    bench: type[Bench], durability: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with Lives(bench, durability) as lives:
        await lives.begin()
        start = lives.clock.wall()
        lives.set("poison", 10, "kill", every=EVERY_S)
        lives.set("good", 12, "note", every=EVERY_S)
        lives.set("other", 11, "note", actor_id="b")
        await lives.passes_until_death()
        await lives.deaths(2)
        assert lives.actor.ran.count("poison") == 3
        await lives.clock.advance(DEAD_S)
        await lives.begin(deployment_id="dpl_4", process_name="fourth")
        await lives.clock.advance(GRACE_S + 10)
        assert lives.actor.ran.count("poison") == 3
        assert {"good", "other"} <= set(lives.actor.ran)
        assert (lives.marks(), lives.given_up()) == ({}, 1)
        (letter,) = lives.dead_letters()
        assert [letter[name] for name in ("actor", "actorId", "method", "reminder")] == ["it", "a", "kill", "poison"]
        assert (letter["attempts"], letter["deployment"], letter["process"]) == (3, "dpl_4", "fourth")
        assert "3 times" in letter["cause"]
        assert letter["envelope"]["due"] == pytest.approx(start + 10, abs=1)
        assert letter["envelope"]["arguments"] == {"name": "poison"}
        record = next(record for record in caplog.records if "given up" in record.getMessage())
        assert (record.levelname, record.__dict__["actor"], record.__dict__["actor_id"]) == ("ERROR", "it", "a")
        assert "poison" in record.getMessage()
        await lives.clock.advance(start + 10 + EVERY_S - lives.clock.wall() + 2)
        assert lives.died.is_set(), "the next run is tried"
        assert lives.actor.ran.count("poison") == 4
        lives.actor.deadly = False
        await lives.begin()
        await lives.clock.advance(5)
        assert lives.actor.ran.count("poison") == 5
        assert lives.died.is_set() is False
        assert lives.marks() == {}
        assert len(lives.dead_letters()) == 1


async def test_a_reminder_that_was_for_once_is_over_when_its_run_is_given_up(
    bench: type[Bench], durability: str
) -> None:
    async with Lives(bench, durability) as lives:
        await lives.begin()
        lives.set("poison", 10, "kill")
        await lives.passes_until_death()
        await lives.deaths(2)
        await lives.begin()
        await lives.clock.advance(300)
        assert lives.actor.ran == ["poison"] * 3
        assert lives.runtime._host.timing.wheel.alarms == 0


async def test_with_missed_all_each_run_has_its_three_attempts(bench: type[Bench], durability: str) -> None:
    async with Lives(bench, durability) as lives:
        await lives.begin()
        lives.set("poison", 10, "kill", every=2, missed="all")
        await lives.passes_until_death()
        await lives.deaths(2)
        await lives.deaths(3)
        assert len(lives.dead_letters()) == 1
        await lives.begin()
        await lives.clock.advance(GRACE_S + 1)
        first, second = [letter["envelope"]["due"] for letter in lives.dead_letters()]
        assert second - first == pytest.approx(2.0)


async def test_a_replay_runs_it_once_under_the_same_message_id(bench: type[Bench], durability: str) -> None:
    async with Lives(bench, durability) as lives:
        await lives.begin()
        due = lives.clock.wall() + 10
        lives.set("poison", 10, "kill", every=EVERY_S, missed="skip")
        await lives.passes_until_death()
        await lives.deaths(2)
        await lives.begin()
        await lives.clock.advance(GRACE_S + 5)
        assert len(lives.dead_letters()) == 1
        lives.actor.ran.clear()
        lives.actor.deadly = False
        letters = DeadLetters(lives.bench.server.connect(), lives.bench.scope)
        ((number, _),) = await letters.newest(1)
        await letters.replay(number)
        await lives.clock.advance(5)
        assert lives.actor.ran == ["poison", f"it/a/poison/{due:.3f} timer"]
        assert lives.dead_letters() == []
        await lives.clock.advance(EVERY_S)
        assert lives.actor.ran[3:] == [f"it/a/poison/{due + EVERY_S:.3f} timer"], "the schedule is its own"


async def test_in_normal_service_and_after_a_clean_stop_nothing_is_marked(bench: type[Bench], durability: str) -> None:
    async with Lives(bench, durability) as lives:
        async with lives.bench.runtime(storage="file"):
            lives.set("good", 10, "note", every=10)
            await lives.clock.advance(15)
        await lives.clock.advance(30)
        await lives.begin()
        await lives.clock.advance(30)
        assert len(lives.actor.ran) >= 3
        assert lives.marks() is None
        assert lives.runtime._host.timing.trials is None
        assert lives.given_up() is None


async def test_what_came_due_after_the_takeover_is_not_marked(bench: type[Bench]) -> None:
    async with Lives(bench, "file") as lives:
        await lives.begin()
        lives.set("good", 10, "note")
        await lives.clock.advance(1)
        await lives.runtime.abort()
        await lives.begin()
        await lives.clock.advance(15)
        assert lives.actor.ran == ["good"]
        assert lives.marks() is None


async def test_suspects_are_marked_together_and_the_marks_go_when_they_have_run(bench: type[Bench]) -> None:
    async with Lives(bench, "memory") as lives:
        await lives.begin()
        count = 2 * AT_ONCE
        for number in range(count):
            lives.set(f"n{number}", 10, "note", actor_id=f"i{number}")
        await lives.clock.advance(1)
        await lives.runtime.abort()
        await lives.clock.advance(20)
        bucket = lives.bench.server.buckets[subjects.owner_bucket(lives.bench.scope)]
        await lives.begin()
        before = bucket["ws.proj.begun"].revision if "ws.proj.begun" in bucket else 0
        await lives.clock.advance(5)
        assert sorted(lives.actor.ran) == sorted(f"n{number}" for number in range(count))
        assert lives.marks() == {}
        assert bucket["ws.proj.begun"].revision - before <= 8


async def test_a_suspect_that_waits_lets_the_next_ones_run_after_a_second_and_holds_no_message_up(
    bench: type[Bench],
) -> None:
    async with Lives(bench, "memory") as lives:
        await lives.begin()
        lives.set("slow", 10, "wait", actor_id="slow")
        lives.set("late", 11, "note", actor_id="late")
        await lives.clock.advance(1)
        await lives.runtime.abort()
        await lives.clock.advance(20)
        await lives.begin()
        await lives.clock.advance(PATIENCE_S / 2)
        lives.call("note", "slow", name="behind it")
        lives.call("note", "b", name="beside it")
        await lives.clock.advance(PATIENCE_S + 1)
        assert {"slow", "late", "beside it"} == set(lives.actor.ran)
        await lives.clock.advance(20)
        assert lives.actor.ran[-2:] == ["slow is over", "behind it"]
        assert lives.marks() == {}


async def test_on_its_last_attempt_a_run_is_alone_so_that_no_innocent_is_given_up(bench: type[Bench]) -> None:
    async with Lives(bench, "file") as lives:
        await lives.begin()
        lives.set("poison", 10, "kill_late", actor_id="p")
        for number in range(5):
            lives.set(f"n{number}", 10, "wait", actor_id=f"i{number}")
        await lives.passes_until_death()
        await lives.deaths(1)
        assert len(lives.marks()) == 6, "they ran beside each other"
        await lives.deaths(1)
        await lives.begin()
        lives.call("note", "b", name="message")
        await lives.clock.advance(6 * ALONE_S)
        assert lives.actor.ran.count("poison") == 3
        assert {f"n{number} is over" for number in range(5)} | {"message"} <= set(lives.actor.ran)
        assert [letter["reminder"] for letter in lives.dead_letters()] == ["poison"]


async def test_during_a_last_attempt_no_message_begins(bench: type[Bench]) -> None:
    async with Lives(bench, "file") as lives:
        await lives.begin()
        lives.set("slow", 10, "wait")
        await lives.clock.advance(12)
        for _ in range(2):
            await lives.runtime.abort()
            await lives.begin()
            await lives.clock.advance(2)
        lives.actor.ran.clear()
        lives.call("note", "b", name="message")
        await lives.clock.advance(10)
        assert lives.actor.ran == []
        await lives.clock.advance(10)
        assert lives.actor.ran == ["slow is over", "message"]


async def test_a_row_of_redeploys_never_gives_up_a_long_run(bench: type[Bench]) -> None:
    async with Lives(bench, "file") as lives:
        await lives.begin()
        lives.set("slow", 10, "wait")
        await lives.clock.advance(12)
        for _ in range(5):
            await lives.begin()
            await lives.clock.advance(5)
        await lives.clock.advance(60)
        assert "slow is over" in lives.actor.ran
        assert lives.dead_letters() == []


async def test_a_runtime_that_stops_cleanly_takes_its_marks_back(bench: type[Bench]) -> None:
    async with Lives(bench, "file") as lives:
        await lives.begin()
        lives.set("slow", 10, "wait")
        await lives.clock.advance(12)
        await lives.runtime.abort()
        for _ in range(4):
            async with lives.bench.runtime(storage="file", drain_timeout_s=1.0):
                await lives.clock.advance(3)
                assert lives.marks() in ({}, None) or len(lives.marks()) == 1
            assert not lives.marks()
        await lives.begin()
        await lives.clock.advance(60)
        assert "slow is over" in lives.actor.ran
        assert lives.dead_letters() == []


async def test_a_suspect_that_is_cancelled_before_its_turn_does_not_run_and_holds_nobody_up(bench: type[Bench]) -> None:
    async with Lives(bench, "file") as lives:
        await lives.begin()
        lives.set("poison", 10, "kill")
        lives.set("good", 20, "note", actor_id="b")
        await lives.passes_until_death()
        await lives.deaths(2)
        await lives.begin()
        lives.call("cancel", name="poison")
        await lives.clock.advance(30)
        assert lives.actor.ran == ["poison"] * 3 + ["good"]
        assert not lives.marks()


async def test_while_the_dead_letter_cannot_be_stored_the_reminder_stays_and_the_others_go_on(
    bench: type[Bench],
) -> None:
    async with Lives(bench, "file") as lives:
        await lives.begin()
        lives.set("poison", 10, "kill", every=EVERY_S)
        lives.set("other", 60, "note", actor_id="b")
        await lives.passes_until_death()
        await lives.deaths(2)
        lives.bench.server.full_streams.add(subjects.DEAD_LETTER_STREAM)
        await lives.begin()
        await lives.clock.advance(60)
        assert lives.actor.ran == ["poison"] * 3 + ["other"]
        assert len(lives.marks()) == 1
        lives.bench.server.full_streams.clear()
        await lives.clock.advance(31)
        assert len(lives.dead_letters()) == 1
        assert lives.marks() == {}
