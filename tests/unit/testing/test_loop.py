"""Virtual time: waiting takes none, everything keeps its order, and what never comes fails."""

from __future__ import annotations

import asyncio
import time

import pytest

from zocket.testing import Deadlock, VirtualLoop


async def test_an_hour_passes_at_once_and_in_order() -> None:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    started, real = loop.time(), time.monotonic()
    order: list[str] = []

    async def sleeper(name: str, seconds: float) -> None:
        await asyncio.sleep(seconds)
        order.append(name)

    await asyncio.gather(sleeper("late", 3600), sleeper("early", 1), sleeper("middle", 60))
    assert order == ["early", "middle", "late"]
    assert loop.time() - started == pytest.approx(3600)
    assert time.monotonic() - real < 5


async def test_time_stands_still_while_something_is_ready() -> None:
    loop = asyncio.get_running_loop()
    fired: list[float] = []
    loop.call_later(0.001, lambda: fired.append(loop.time()))
    for _ in range(1000):
        await asyncio.sleep(0)
    assert fired == []
    await asyncio.sleep(0.002)
    assert len(fired) == 1


async def test_a_timeout_fires_at_its_time() -> None:
    loop = asyncio.get_running_loop()
    started = loop.time()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(30):
            await asyncio.Event().wait()
    assert loop.time() - started == pytest.approx(30)


async def test_threads_are_waited_for_in_real_time() -> None:
    loop = asyncio.get_running_loop()
    loop.call_later(5, lambda: None)
    started = loop.time()
    await asyncio.to_thread(time.sleep, 0.05)
    assert loop.time() == started


def test_waiting_for_nothing_is_a_deadlock_and_no_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zocket.testing.loop.THREAD_WAIT_S", 0.05)
    loop = VirtualLoop()
    try:
        with pytest.raises(Deadlock, match="never comes"):
            loop.run_until_complete(loop.create_future())
    finally:
        loop.close()
