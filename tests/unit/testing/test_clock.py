"""Clocks that a test moves."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest

from zocket.testing import ShiftedClock, VirtualClock


async def test_advancing_a_virtual_clock_runs_what_becomes_due() -> None:
    clock = VirtualClock()
    fired: list[float] = []
    started, wall = clock.now(), clock.wall()
    for delay in (5.0, 1.0, 700.0):
        clock.call_later(delay, partial(fired.append, delay))
    await clock.advance(600)
    assert fired == [1.0, 5.0]
    assert clock.now() - started == pytest.approx(600)
    assert clock.wall() - wall == pytest.approx(600)


@pytest.mark.realtime
async def test_advancing_a_shifted_clock_runs_what_becomes_due_in_order_and_at_its_time() -> None:
    clock = ShiftedClock()
    fired: list[tuple[str, int]] = []
    started = clock.now()

    def note(name: str) -> None:
        fired.append((name, round(clock.now() - started)))

    def chain() -> None:
        note("a")
        clock.call_later(10, partial(note, "chained"))

    clock.call_later(50, lambda: note("b"))
    clock.call_later(10, chain)
    clock.call_later(900, lambda: note("never"))
    cancelled = clock.call_later(20, lambda: note("cancelled"))
    cancelled.cancel()
    sleeper = asyncio.create_task(clock.sleep(30))
    await asyncio.sleep(0)
    await clock.advance(100)
    assert fired == [("a", 10), ("chained", 20), ("b", 50)]
    await asyncio.wait_for(sleeper, 5)
    assert clock.now() - started == pytest.approx(100, abs=1)


@pytest.mark.realtime
async def test_a_shifted_clock_also_runs_by_itself() -> None:
    clock = ShiftedClock()
    await asyncio.wait_for(clock.sleep(0.01), 5)
