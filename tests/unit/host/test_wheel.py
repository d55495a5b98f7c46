"""The wheel beside a store of alarms that is slow, away, full, or written by others."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING

import pytest

from zocket.core import StoredReminder
from zocket.errors import Overloaded, Unavailable
from zocket.host.alarms import MemoryAlarms, decode_alarm, encode_alarm
from zocket.host.store import Key, Stored
from zocket.host.wheel import RING_AT_ONCE, RING_PAUSE_S, Wheel
from zocket.testing import VirtualClock, finalizers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from zocket.errors import ZocketError

KEY = Key("it", "x")


class Clock(VirtualClock):
    def __init__(self) -> None:
        super().__init__()
        self.start = self.wall()


class SlowAlarms(MemoryAlarms):
    """Each write takes a second, and can be refused."""

    shared = True

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.clock = clock
        self.away = self.full = False
        self.writes: list[float] = []

    async def load(self, actor: str, actor_id: str) -> Stored | None:
        if self.away:
            raise Unavailable("away")
        return await super().load(actor, actor_id)

    async def entries(self) -> AsyncIterator[list[tuple[Key, Stored]]]:
        if self.away:
            raise Unavailable("away")
        async for page in super().entries():
            yield page

    async def put(self, key: Key, alarm: bytes, expected: int) -> int:
        await self.clock.sleep(1.0)
        if self.away:
            raise Unavailable("away")
        if self.full:
            raise Overloaded("full")
        revision = await super().put(key, alarm, expected)
        self.writes.append(decode_alarm(alarm).due - self.clock.start)
        return revision


class Scene:
    """A wheel, what it woke, and a second one that is another process on the same store."""

    def __init__(self, before: Scene | None = None, *, owner: bool = True) -> None:
        self.clock: Clock = before.clock if before else Clock()
        self.store: SlowAlarms = before.store if before else SlowAlarms(self.clock)
        self.woken: list[float] = []
        self.told: list[ZocketError | None] = []
        self.owner = owner
        self.wheel = Wheel(
            self.store,
            self.clock,
            wake=lambda key: self.woken.append(round(self.clock.wall() - self.clock.start, 3)),
            found=lambda key, reminders: None,
            owns=self._owns,
        )
        finalizers.get().push_async_callback(self.wheel.abort)

    async def _owns(self) -> bool:
        return self.owner

    def at(self, seconds: float) -> float:
        return self.clock.start + seconds

    def before(self, due: float) -> None:
        self.wheel.set_before(KEY, self.at(due), self.told.append)

    async def stored(self) -> float:
        found = await self.store.load(*KEY)
        return math.inf if found is None else decode_alarm(found.record).due - self.clock.start

    async def open(self) -> Scene:
        await self.wheel.open(lambda _: True)
        self.wheel.start()
        return self


async def test_an_alarm_is_stored_before_anybody_goes_on_and_set_later_after() -> None:
    scene = Scene()
    scene.before(10.0)
    await scene.clock.advance(0.5)
    assert scene.told == []
    await scene.clock.advance(1.0)
    assert scene.told == [None]
    scene.before(20.0)
    assert scene.told == [None, None], "it rings early enough already"
    scene.wheel.settle(KEY, scene.at(20.0))
    await scene.clock.advance(1.0)
    assert await scene.stored() == 20.0
    scene.wheel.settle(KEY, math.inf)
    await scene.clock.advance(1.0)
    assert await scene.stored() == math.inf


async def test_a_write_that_moves_it_back_is_waited_for() -> None:
    scene = Scene()
    scene.before(10.0)
    await scene.clock.advance(1.5)
    scene.wheel.settle(KEY, scene.at(100.0))
    await scene.clock.advance(0.5)
    scene.told.clear()
    scene.before(50.0)
    assert scene.told == [], "the store may say 100 in a moment"
    await scene.clock.advance(3.0)
    assert scene.told == [None]
    assert scene.store.writes == [10.0, 100.0, 50.0]


async def test_who_stays_due_is_woken_again_with_pauses() -> None:
    scene = Scene()
    scene.before(10.0)
    await scene.clock.advance(200.0)
    assert scene.woken == [10.0, 15.0, 25.0, 45.0, 85.0, 145.0]
    scene.wheel.settle(KEY, scene.at(300.0))
    await scene.clock.advance(99.0)
    assert len(scene.woken) == 6
    await scene.clock.advance(2.0)
    assert scene.woken[6:] == [300.0]


async def test_a_store_that_is_away_or_full_is_told_to_who_waits() -> None:
    scene = Scene()
    scene.store.full = True
    scene.before(10.0)
    await scene.clock.advance(1.0)
    assert [type(error) for error in scene.told] == [Overloaded]
    scene.store.full, scene.store.away = False, True
    scene.before(10.0)
    await scene.clock.advance(1.5)
    assert type(scene.told[-1]) is Unavailable
    scene.store.away = False
    scene.before(10.0)
    await scene.clock.advance(5.0)
    assert scene.told[-1] is None
    assert await scene.stored() == 10.0


async def test_alarms_of_a_predecessor_ring_and_are_not_believed_before_they_are_written_here() -> None:
    old = await Scene().open()
    old.before(10.0)
    await old.clock.advance(1.5)
    new = await Scene(old).open()
    old.owner = False
    old.wheel.settle(KEY, old.at(500.0))  # on its way while the new owner has read 10
    await new.clock.advance(1.5)
    assert await new.stored() == 500.0
    new.before(15.0)
    assert new.told == [], "somebody else may have written it"
    await new.clock.advance(3.0)
    assert new.told == [None]
    assert await new.stored() == 10.0
    old.wheel.settle(KEY, old.at(900.0))
    await new.clock.advance(5.0)
    assert await new.stored() == 10.0, "who is not the owner gives up at the first refusal"
    assert new.woken


async def test_after_a_load_an_alarm_is_written_once_whatever_was_known() -> None:
    scene = await Scene().open()
    scene.before(10.0)
    await scene.clock.advance(1.5)
    scene.wheel.settle(KEY, scene.at(10.0))
    await scene.clock.advance(1.5)
    assert scene.store.writes == [10.0]
    await scene.store.put(KEY, encode_alarm(scene.at(500.0)), 1)  # an earlier owner moves it back
    scene.wheel.loaded(KEY)
    scene.wheel.settle(KEY, scene.at(10.0))
    await scene.clock.advance(3.0)
    assert await scene.stored() == 10.0


async def test_nobody_goes_on_without_an_alarm_because_the_process_ends() -> None:
    scene = Scene()
    scene.before(10.0)
    await scene.clock.advance(0.5)
    await scene.wheel.abort()
    await scene.clock.advance(5.0)
    assert scene.told == []


async def test_an_alarm_that_a_predecessor_stored_before_it_knew_is_found_soon_after_the_start() -> None:
    scene = await Scene().open()
    await scene.store.put(KEY, encode_alarm(scene.at(2.0)), 0)
    await scene.clock.advance(8.0)
    assert scene.woken[:1] == [5.0]


async def test_an_alarm_that_was_stored_after_the_reading_is_found_at_the_next_one() -> None:
    scene = await Scene().open()
    await scene.clock.advance(6.0)
    await scene.store.put(KEY, encode_alarm(scene.at(5.0)), 0)
    await scene.clock.advance(30.0)
    assert scene.woken == []
    await scene.clock.advance(600.0)
    assert scene.woken
    other = Key("it", "y")
    await scene.store.put(other, encode_alarm(0.0), 0)
    scene.woken.clear()
    scene.wheel.reread(other)
    await scene.clock.advance(0.1)
    assert len(scene.woken) == 1


async def test_a_store_that_is_away_at_boot_is_read_when_it_is_back() -> None:
    scene = Scene()
    await scene.store.put(KEY, encode_alarm(scene.at(5.0)), 0)
    scene.store.away = True
    await scene.open()
    await scene.clock.advance(30.0)
    assert scene.woken == []
    scene.store.away = False
    await scene.clock.advance(6.0)
    assert len(scene.woken) == 1


async def test_reminders_of_an_actor_in_memory_that_were_not_known_here_are_kept() -> None:
    scene = Scene()
    entry = StoredReminder("m", scene.at(50.0))
    await scene.store.put(KEY, encode_alarm(scene.at(50.0), {"old": entry}), 0)
    mine = StoredReminder("m", scene.at(70.0))
    scene.wheel.settle(KEY, mine.due, {"new": mine})
    await scene.clock.advance(5.0)
    assert set(scene.wheel.reminders_of(KEY)) == {"old", "new"}
    found = await scene.store.load(*KEY)
    assert found is not None
    assert set(decode_alarm(found.record).reminders) == {"old", "new"}
    assert await scene.stored() == 50.0


async def test_an_alarm_that_cannot_be_read_rings_at_once() -> None:
    scene = Scene()
    scene.store._alarms[KEY] = Stored(b"\x00", 7)
    await scene.open()
    await scene.clock.advance(0.1)
    assert len(scene.woken) == 1


async def test_the_end_waits_for_what_is_not_stored_yet() -> None:
    scene = Scene()
    scene.wheel.settle(KEY, scene.at(10.0))
    await asyncio.sleep(0)
    await scene.wheel.aclose(5.0)
    assert await scene.stored() == 10.0


@pytest.mark.parametrize("step_s", [-30.0, 30.0])
async def test_a_clock_that_is_set_is_noticed(step_s: float) -> None:
    scene = Scene()
    scene.before(300.0)
    await scene.clock.advance(10.0)
    scene.clock._started -= step_s
    await scene.clock.advance(300.0 - 10.0 - step_s - 1.0)
    assert scene.woken == []
    await scene.clock.advance(2.0)
    assert scene.woken == [300.0]


async def test_many_that_are_due_at_once_are_woken_in_portions() -> None:
    scene = Scene()
    for number in range(2 * RING_AT_ONCE + 1):
        scene.store._alarms[Key("it", str(number))] = Stored(encode_alarm(scene.at(10.0)), number + 1)
    await scene.open()
    await scene.clock.advance(10.0)
    assert len(scene.woken) == RING_AT_ONCE
    await scene.clock.advance(2 * RING_PAUSE_S)
    assert len(scene.woken) == 2 * RING_AT_ONCE + 1
