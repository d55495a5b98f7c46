from __future__ import annotations

import asyncio
from typing import Any

import pytest

from zocket.control.orchestration.gate import REPORT_WAIT_S, Gate, Refused
from zocket.control.orchestration.port import Exit, Observation
from zocket.control.schemas import Report
from zocket.testing.clock import VirtualClock

ENDED = Observation("waiting", 0, 1, None, Exit(9, 0, "the runtime ended with code 9"))


def report(status: Any, message: str | None = None) -> Report:
    return Report(deployment_id="d", status=status, message=message)


async def test_standby_then_ready_then_alive_for_a_while_passes() -> None:
    gate = Gate(VirtualClock())
    waiting = asyncio.ensure_future(gate.wait_standby(10))
    gate.observed(Observation("running", 0))
    gate.heard(report("smoke"))
    await asyncio.sleep(1)
    assert not waiting.done()
    gate.heard(report("standby"))
    await waiting
    gate.heard(report("ready"))
    await gate.wait_ready(10)
    began = asyncio.get_running_loop().time()
    await gate.wait_grace(5)
    assert asyncio.get_running_loop().time() - began == 5
    assert gate.is_ready


async def test_one_that_knows_no_standby_passes_by_being_ready() -> None:
    gate = Gate(VirtualClock())
    gate.heard(report("ready"))
    await gate.wait_standby(10)


async def test_its_own_words_are_the_reason() -> None:
    gate = Gate(VirtualClock())
    gate.heard(report("failed", "no app in it"))
    with pytest.raises(Refused, match="no app in it"):
        await gate.wait_standby(10)


async def test_the_report_of_a_process_that_ended_is_waited_for_a_moment() -> None:
    gate = Gate(VirtualClock())
    waiting = asyncio.ensure_future(gate.wait_standby(10))
    gate.observed(ENDED)
    await asyncio.sleep(REPORT_WAIT_S / 2)
    gate.heard(report("failed", "its own words"))
    with pytest.raises(Refused, match="its own words"):
        await waiting


async def test_an_end_without_a_word_is_the_reason_itself() -> None:
    gate = Gate(VirtualClock())
    gate.observed(ENDED)
    with pytest.raises(Refused, match="ended with code 9"):
        await gate.wait_standby(10)


async def test_one_that_takes_too_long_is_refused() -> None:
    gate = Gate(VirtualClock())
    with pytest.raises(Refused, match="not in standby within 10 s"):
        await gate.wait_standby(10)
    gate.heard(report("standby"))
    with pytest.raises(Refused, match="not ready after its activation within 3 s"):
        await gate.wait_ready(3)


async def test_a_death_within_the_grace_is_noticed() -> None:
    gate = Gate(VirtualClock())
    gate.heard(report("ready"))
    waiting = asyncio.ensure_future(gate.wait_grace(5))
    await asyncio.sleep(4)
    gate.observed(ENDED)
    with pytest.raises(Refused, match="ended with code 9"):
        await waiting
