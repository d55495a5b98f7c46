"""Timers, reminders and `@cron` through the whole chain, in the test kit's time: across crashes and restarts, too."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pytest
from pydantic import BaseModel

from zocket import Actor, App, Due, cron, method
from zocket.host.store import Key
from zocket.runtime.state_store import BrokerStateStore
from zocket.testing import TestApp
from zocket.testing.app import SCOPE
from zocket.testing.clock import EPOCH_S

if TYPE_CHECKING:
    from zocket import Timer


class Log(BaseModel):
    lines: list[str] = []


class Desk(Actor[Log]):
    """In memory."""

    async def note(self, text: str) -> None:
        due = self.caller.due
        assert due is not None
        assert self.caller.kind == "timer"
        self.state.lines.append(f"{text}@{due.timestamp() - EPOCH_S:g}")

    @method
    async def after(self, seconds: float, text: str) -> None:
        self.timers.after(seconds, self.note, text)

    @method
    async def every(self, seconds: float, text: str) -> None:
        self.timer: Timer = self.timers.every(seconds, self.note, text=text)

    @method
    async def stop(self) -> None:
        self.timer.cancel()

    @method
    async def remind(self, name: str, after: float, every: float | None = None, missed: Any = "one") -> None:
        self.reminders.set(name, Due(after=after, every=every, missed=missed), self.note, text=name)

    @method
    async def forget(self, name: str) -> bool:
        return self.reminders.cancel(name)

    @method
    async def names(self) -> list[str]:
        return [item.name for item in self.reminders.list()]

    @method
    async def lines(self) -> list[str]:
        return list(self.state.lines)


class Ledger(Desk):
    durability = "file"


BOTH = pytest.mark.parametrize("cls", [Desk, Ledger])


@BOTH
async def test_timers_fire_in_their_order_and_reminders_beside_them(cls: type[Desk]) -> None:
    async with TestApp(App(actors={"desk": cls})) as t:
        desk = (await t.connect()).actor(cls, "d")
        await desk.after(20, "late")
        await desk.after(10, "soon")
        await desk.every(6, "tick")
        await desk.remind("memo", 15)
        start = t.clock.wall() - EPOCH_S
        await t.clock.advance(21)
        found = [line.partition("@") for line in await desk.lines()]
        assert [text for text, _, _ in found] == ["tick", "soon", "tick", "memo", "tick", "late"]
        assert [round(float(at) - start) for _, _, at in found] == [6, 10, 12, 15, 18, 20]
        await desk.stop()
        await t.clock.advance(60)
        assert len(await desk.lines()) == 6


async def texts(desk: Desk) -> list[str]:
    return [line.partition("@")[0] for line in await desk.lines()]


async def passes(t: TestApp, seconds: float) -> None:
    await t.clock.advance(seconds)
    await t.settle()


@pytest.mark.each_broker
@BOTH
async def test_reminders_survive_a_crash_and_timers_do_not(cls: type[Desk]) -> None:
    async with TestApp(App(actors={"desk": cls})) as t:
        desk = (await t.connect()).actor(cls, "d")
        await desk.after(100, "timer")
        await desk.remind("memo", 100)
        await desk.remind("gone", 100)
        assert await desk.forget("gone")
        assert not await desk.forget("gone")
        await t.settle()
        await t.crash()
        await passes(t, 101)
        assert await texts(desk) == ["memo"]
        assert await desk.names() == []
        await t.crash()
        await passes(t, 600)
        assert await texts(desk) == (["memo"] if cls is Ledger else [])


@pytest.mark.parametrize(("missed", "expected"), [("one", 1), ("all", 6), ("skip", 1)])
async def test_what_came_due_without_a_runtime_follows_its_rule(missed: str, expected: int) -> None:
    async with TestApp(App(actors={"desk": Ledger})) as t:
        desk = (await t.connect()).actor(Ledger, "d")
        await desk.remind("memo", 100, every=100, missed=missed)
        await t.stop()
        await t.clock.advance(630)
        await t.start()
        await passes(t, 0.5)
        assert await texts(desk) == ["memo"] * expected
        await passes(t, 100)
        assert await texts(desk) == ["memo"] * (expected + 1)


@pytest.mark.each_broker
@BOTH
async def test_a_runtime_that_takes_over_goes_on_where_the_other_was(cls: type[Desk]) -> None:
    async with TestApp(App(actors={"desk": cls})) as t:
        desk = (await t.connect()).actor(cls, "d")
        await desk.remind("memo", 100, every=100)
        await t.settle()
        await t.start()
        for _ in range(3):
            await passes(t, 100)
        assert await texts(desk) == ["memo"] * 3


@pytest.mark.each_broker
@BOTH
async def test_deleting_an_instance_takes_its_reminders_with_it(cls: type[Desk]) -> None:
    async with TestApp(App(actors={"desk": cls})) as t:
        desk = (await t.connect()).actor(cls, "d")
        await desk.remind("memo", 100)
        await t.settle()
        store = BrokerStateStore(await t._connect_broker("upkeep", t._stack), SCOPE)
        stored = await store.load("desk", "d")
        if stored is None:
            await store.delete_reminders(Key("desk", "d"))
        else:
            await store.delete(Key("desk", "d"), stored.revision)
        async with asyncio.timeout(20):
            while await desk.names():  # the runtime is told by a message of its own
                pass
        await passes(t, 200)
        assert await texts(desk) == []


class Reporter(Actor[Log]):
    durability = "file"

    @cron("*/30 * * * *", tz="Europe/Rome", id="main")
    async def report(self) -> None:
        due = self.caller.due
        assert due is not None
        self.state.lines.append(due.astimezone(ZoneInfo("Europe/Rome")).strftime("%H:%M"))

    @method
    async def lines(self) -> list[str]:
        return list(self.state.lines)


@pytest.mark.each_broker
async def test_cron_of_a_named_instance_runs_without_a_call() -> None:
    async with TestApp(App(actors={"reporter": Reporter})) as t:
        await t.settle()
        await passes(t, 1800)
        await t.crash()
        await passes(t, 1800)
        lines = await (await t.connect()).actor(Reporter, "main").lines()
        assert len(lines) == 2
        assert {line[-2:] for line in lines} == {"00", "30"}
