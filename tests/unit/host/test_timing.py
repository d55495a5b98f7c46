"""Timers, reminders and `@cron` on a host: turns of their own, set by a commit, logged when they raise."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from tests.unit.host.conftest import Recorder, Shelf
from zocket import Actor, ActorError, Due, cron, method
from zocket.core import AppDefinition
from zocket.errors import NoSessionError, Overloaded
from zocket.host import Host
from zocket.host.alarms import MemoryAlarms
from zocket.host.store import Key
from zocket.settings import Limits
from zocket.testing import VirtualClock, finalizers

if TYPE_CHECKING:
    from zocket import Timer


class It(Actor[dict[str, Any]]):
    """Notes when its timers ran."""

    timer: Timer
    slow_s = 0.0

    def note(self, what: str) -> None:
        assert self.caller.due is not None
        self.state.setdefault("notes", []).append(what)

    async def tick(self, what: str) -> None:
        if self.slow_s:
            await asyncio.sleep(self.slow_s)
        self.note(what)

    async def fails(self) -> None:
        self.note("never")
        raise RuntimeError("broken")

    async def looks(self) -> None:
        with pytest.raises(NoSessionError, match="the caller is timer"):
            assert self.session
        self.note(f"{self.message_id} {self.clients}")

    @method
    async def start(self, how: str, seconds: float, what: str = "tick", fail: bool = False) -> None:
        self.timer = getattr(self.timers, how)(seconds, self.tick, what)
        if fail:
            raise ActorError("no")

    @method
    async def stop(self, fail: bool = False) -> None:
        self.timer.cancel()
        if fail:
            raise ActorError("no")

    @method
    async def start_failing(self) -> None:
        self.timers.every(1, self.fails)
        self.reminders.set("failing", Due(every=1), self.fails)

    @method
    async def start_looking(self) -> None:
        self.timers.after(1, self.looks)
        self.reminders.set("look", Due(after=2), self.looks)

    @method
    async def slowly(self, seconds: float) -> None:
        self.slow_s = seconds

    @method
    async def block(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    @method
    async def notes(self) -> list[str]:
        return list(self.state.get("notes", []))

    @method
    async def remind(self, after: float, method: str = "tick") -> None:
        self.reminders.set("memo", Due(after=after), self.tick, "memo")


class Kept(It):
    durability = "file"


class Desk:
    """A host and one caller, on virtual time; `again` is the next process on the same stores."""

    clock: VirtualClock
    shelf: Shelf
    alarms: MemoryAlarms

    def __init__(self, cls: type[It], before: Desk | None = None) -> None:
        self.cls = cls
        self.clock = before.clock if before else VirtualClock()
        self.shelf = before.shelf if before else Shelf(self.clock)
        self.alarms = before.alarms if before else MemoryAlarms()
        definition = AppDefinition({"it": cls})
        self.host = Host(definition, clock=self.clock, limits=Limits(), store=self.shelf, alarms=self.alarms)
        self.alice = Recorder(self.host, "alice")
        finalizers.get().push_async_callback(self.host.abort)

    async def call(self, name: str, **given: Any) -> Any:
        self.alice.call(name, **given)
        await self.clock.advance(0.5)
        return self.alice.results()[-1]

    async def again(self, cls: type[It] | None = None) -> Desk:
        await self.host.abort()
        after = Desk(cls or self.cls, self)
        await after.host.timing.open(lambda _: True)
        after.host.timing.start()
        return after


BOTH = pytest.mark.parametrize("cls", [It, Kept])


@BOTH
async def test_a_turn_that_fails_neither_starts_nor_cancels(cls: type[It]) -> None:
    desk = Desk(cls)
    await desk.call("start", how="after", seconds=1, what="a", fail=True)
    await desk.clock.advance(5)
    assert await desk.call("notes") == []
    await desk.call("start", how="after", seconds=2, what="b")
    await desk.call("stop", fail=True)
    await desk.clock.advance(5)
    assert await desk.call("notes") == ["b"]
    await desk.call("start", how="every", seconds=1)
    await desk.call("stop")
    await desk.clock.advance(5)
    assert await desk.call("notes") == ["b"]
    assert await desk.call("stop") == "void", "one that is over may be cancelled"


@BOTH
async def test_a_late_call_is_left_out_and_the_times_do_not_drift(cls: type[It]) -> None:
    desk = Desk(cls)
    await desk.call("start", how="every", seconds=10)
    await desk.clock.advance(10)
    assert len(await desk.call("notes")) == 1
    desk.alice.call("block", seconds=25)
    await desk.clock.advance(24)
    desk.alice.call("notes")
    await desk.clock.advance(2)
    assert desk.alice.results()[-1] == ["tick", "tick"], "one waits at most"
    assert len(await desk.call("notes")) == 2
    await desk.clock.advance(4)
    assert len(await desk.call("notes")) == 3, "at 40 s, as if nothing had been late"


@BOTH
async def test_what_raises_is_logged_as_a_hook_and_the_schedule_goes_on(
    cls: type[It], caplog: pytest.LogCaptureFixture
) -> None:
    desk = Desk(cls)
    await desk.call("start_failing")
    await desk.clock.advance(3)
    found = [record for record in caplog.records if record.message == "fails raised"]
    assert len(found) == 6
    assert all(vars(record)["actor_id"] == "x" for record in found)
    assert await desk.call("notes") == []


@BOTH
async def test_nobody_calls_and_a_run_of_a_reminder_has_a_name(cls: type[It]) -> None:
    desk = Desk(cls)
    due = desk.clock.wall() + 2
    await desk.call("start_looking")
    await desk.clock.advance(3)
    timer, reminder = await desk.call("notes")
    assert timer == " ('alice',)"
    name, _, at = reminder.partition(" ")[0].rpartition("/")
    assert name == "it/x/look"
    assert abs(float(at) - due) < 0.1


async def test_timers_keep_nobody_in_memory_and_go_with_the_instance() -> None:
    class Idle(Kept):
        idle_after = 30.0

    desk = Desk(Idle)
    await desk.call("start", how="every", seconds=1)
    await desk.clock.advance(20)
    assert desk.host.instances == 1
    await desk.clock.advance(15)
    assert desk.host.instances == 0
    ran = len(await desk.call("notes"))
    assert 25 <= ran <= 35
    await desk.clock.advance(5)
    assert len(await desk.call("notes")) == ran


@BOTH
async def test_a_reminder_brings_an_instance_back(cls: type[It]) -> None:
    class Idle(cls):  # type: ignore[misc, valid-type]
        idle_after = 30.0

    desk = Desk(Idle)
    await desk.call("remind", after=120)
    await desk.clock.advance(60)
    assert desk.host.instances == 0
    await desk.clock.advance(60)
    assert await desk.call("notes") == ["memo"]


@BOTH
async def test_a_reminder_that_came_due_without_a_process_runs_late(cls: type[It]) -> None:
    desk = Desk(cls)
    await desk.call("remind", after=10)
    await desk.host.abort()
    await desk.clock.advance(100)
    desk = await desk.again()
    await desk.clock.advance(1)
    assert await desk.call("notes") == ["memo"]
    desk = await desk.again()
    await desk.clock.advance(1000)
    assert await desk.call("notes") == (["memo"] if cls is Kept else [])


@BOTH
async def test_a_reminder_whose_method_is_gone_waits_for_a_version_that_has_it(
    cls: type[It], caplog: pytest.LogCaptureFixture
) -> None:
    class Without(cls):  # type: ignore[misc, valid-type]
        tick = None

    desk = Desk(cls)
    await desk.call("remind", after=10)
    desk = await desk.again(Without)
    await desk.clock.advance(300)
    complaints = [record for record in caplog.records if "there is no tick that could run" in record.message]
    assert 3 <= len(complaints) <= 12
    desk = await desk.again(cls)
    await desk.clock.advance(1)
    assert await desk.call("notes") == ["memo"]


async def test_a_store_that_is_full_when_a_reminder_is_due_delays_it() -> None:
    desk = Desk(Kept)
    await desk.call("remind", after=10)
    desk.shelf.full = True
    await desk.clock.advance(30)
    desk.shelf.full = False
    await desk.clock.advance(60)
    assert await desk.call("notes") == ["memo"]


async def test_timers_go_on_after_their_instance_could_not_be_used_for_a_while() -> None:
    desk = Desk(Kept)
    await desk.call("start", how="every", seconds=1)
    resident = desk.host.resident(Key("it", "x"))
    assert resident is not None
    resident.failure = Overloaded("full")
    resident.failed_until = desk.clock.now() + 5
    await desk.clock.advance(10)
    assert 3 <= len(await desk.call("notes")) <= 7


async def test_a_store_that_loses_its_answers_does_not_double_a_run() -> None:
    desk = Desk(Kept)
    await desk.call("remind", after=10)
    desk.shelf.lose_answers = 3
    await desk.clock.advance(60)
    assert await desk.call("notes") == ["memo"]


class Nightly(It):
    @cron("0 4 * * *", tz="Europe/Rome")
    async def clean(self) -> None:
        self.note("clean")

    @cron("*/30 * * * *", id="main", missed="all")
    async def report(self) -> None:
        self.note("report")


class NightlyKept(Nightly):
    durability = "file"


DAY_S = 86_400


async def test_cron_of_a_durable_instance_runs_from_its_first_activation_on() -> None:
    desk = Desk(NightlyKept)
    await desk.clock.advance(3 * DAY_S)
    assert desk.host.instances == 0
    assert await desk.call("notes") == []
    await desk.clock.advance(2 * DAY_S)
    assert await desk.call("notes") == ["clean"] * 2
    await desk.host.abort()
    await desk.clock.advance(3 * DAY_S)
    desk = await desk.again()
    await desk.clock.advance(1)
    assert await desk.call("notes") == ["clean"] * 3, "one run for the three that were missed"


async def test_cron_of_an_instance_in_memory_runs_while_it_is_there() -> None:
    desk = Desk(Nightly)
    await desk.call("notes")
    await desk.clock.advance(2 * DAY_S)
    assert await desk.call("notes") == ["clean"] * 2
    assert await stored_alarms(desk) == []
    desk = await desk.again()
    assert await desk.call("notes") == []


async def stored_alarms(desk: Desk) -> list[Key]:
    return [key async for page in desk.alarms.entries() for key, _ in page]


def reports(desk: Desk) -> list[str]:
    main = desk.host.resident(Key("it", "main"))
    state = desk.shelf.state("main") if main is None else main.instance.document.state
    return list(state.get("notes", []))


@pytest.mark.parametrize("cls", [Nightly, NightlyKept])
async def test_cron_with_an_id_needs_nobody_to_call(cls: type[It]) -> None:
    desk = await Desk(cls).again()
    await desk.clock.advance(3601)
    assert reports(desk) == ["report"] * 2
    await desk.host.abort()
    await desk.clock.advance(3600)
    desk = await desk.again()
    await desk.clock.advance(1)
    assert reports(desk) == ["report"] * (4 if cls is NightlyKept else 2), "each that was missed"


async def test_a_cron_that_the_class_has_no_more_is_forgotten() -> None:
    desk = await Desk(NightlyKept).again()
    await desk.clock.advance(10)
    assert await stored_alarms(desk) == [Key("it", "main")]
    desk = await desk.again(Kept)
    await desk.clock.advance(3600)
    assert await stored_alarms(desk) == []
