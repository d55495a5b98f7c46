"""Timers, reminders and `@cron` through the whole chain, in the test kit's time: across crashes and restarts, too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from pydantic import BaseModel

from zocket import Actor, App, Due, method
from zocket.testing import TestApp
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


@BOTH
async def test_reminders_survive_a_crash_and_timers_do_not(cls: type[Desk]) -> None:
    async with TestApp(App(actors={"desk": cls})) as t:
        desk = (await t.connect()).actor(cls, "d")
        await desk.after(10, "timer")
        await desk.remind("memo", 10)
        await desk.remind("gone", 10)
        assert await desk.forget("gone")
        assert not await desk.forget("gone")
        await t.crash()
        await t.clock.advance(11)
        assert [line.partition("@")[0] for line in await desk.lines()] == ["memo"]
        assert await desk.names() == []
        await t.crash()
        await t.clock.advance(600)
        lines = await desk.lines()
        assert len(lines) == (1 if cls is Ledger else 0)
