"""A process that is kept running, with fake processes on virtual time."""

from __future__ import annotations

import asyncio
import io
from dataclasses import dataclass, field

import pytest

from zocket.dev.console import Console
from zocket.dev.service import FIRST_DELAY_S, MAX_DELAY_S, STEADY_S, Service
from zocket.testing.clock import VirtualClock


@dataclass
class FakeChild:
    """A process that ends when the test says so."""

    pid: int
    ended: asyncio.Future[int] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    stopped: bool = False

    async def wait(self) -> int:
        return await asyncio.shield(self.ended)

    async def stop(self, timeout_s: float = 0) -> None:
        self.stopped = True
        self.end(0)

    def kill(self) -> None:
        self.end(-9)

    def end(self, code: int) -> None:
        if not self.ended.done():
            self.ended.set_result(code)


class Bench:
    """A service on fake processes."""

    def __init__(self, *, restarts: bool = True) -> None:
        self.clock = VirtualClock()
        self.children: list[FakeChild] = []
        self.launched_at: list[float] = []
        self.pids: list[int] = []
        self.said = io.StringIO()
        self.service = Service(
            "runtime",
            self._launch,
            clock=self.clock,
            console=Console(stream=self.said),
            restarts=restarts,
            started=self.pids.append,
        )

    async def _launch(self) -> FakeChild:
        self.children.append(FakeChild(len(self.children) + 1))
        self.launched_at.append(self.clock.now())
        return self.children[-1]

    async def wait_launched(self, count: int) -> FakeChild:
        while len(self.children) < count or self.service.pid != count:
            await self.clock.sleep(0.01)
        return self.children[count - 1]


async def test_a_process_that_dies_is_started_again_and_told() -> None:
    bench = Bench()
    bench.service.start()
    (await bench.wait_launched(1)).end(-9)
    (await bench.wait_launched(2)).end(4)
    await bench.wait_launched(3)
    assert bench.pids == [1, 2, 3]
    assert "runtime (process 1) was ended by SIGKILL; starting it again" in bench.said.getvalue()
    assert "runtime (process 2) ended with code 4; starting it again" in bench.said.getvalue()
    await bench.service.stop()
    assert [child.stopped for child in bench.children] == [False, False, True]
    assert bench.service.pid is None


async def test_each_death_waits_longer_up_to_a_bound_and_a_steady_life_forgets_it() -> None:
    bench = Bench()
    bench.service.start()
    for count in range(1, 10):
        (await bench.wait_launched(count)).end(1)
    await bench.wait_launched(10)
    waits = [later - earlier for earlier, later in zip(bench.launched_at, bench.launched_at[1:], strict=False)]
    assert waits[0] == pytest.approx(FIRST_DELAY_S, abs=0.02)
    assert waits == sorted(waits)
    assert waits[-1] == pytest.approx(MAX_DELAY_S, abs=0.02)

    await bench.clock.advance(STEADY_S)
    bench.children[-1].end(1)
    died_at = bench.clock.now()
    await bench.wait_launched(11)
    assert bench.launched_at[-1] - died_at == pytest.approx(FIRST_DELAY_S, abs=0.02)
    await bench.service.stop()


async def test_one_that_may_not_be_started_again_ends_and_can_be_started_by_hand() -> None:
    bench = Bench(restarts=False)
    bench.service.start()
    (await bench.wait_launched(1)).end(3)
    await bench.service.wait_ended()
    assert (bench.service.ended, bench.service.exit_code, bench.service.pid) == (True, 3, None)
    bench.service.start()
    await bench.wait_launched(2)
    assert not bench.service.ended
    await bench.service.stop()


async def test_a_stop_between_two_lives_starts_nothing_more() -> None:
    bench = Bench()
    bench.service.start()
    (await bench.wait_launched(1)).end(1)
    await bench.clock.advance(FIRST_DELAY_S / 2)
    await bench.service.stop()
    await bench.clock.advance(10 * MAX_DELAY_S)
    assert len(bench.children) == 1


async def test_a_stop_while_a_process_is_being_started_gives_the_start_up() -> None:
    clock = VirtualClock()
    given_up = False

    async def slowly() -> FakeChild:
        nonlocal given_up
        try:
            await clock.sleep(1)
        except asyncio.CancelledError:
            given_up = True
            raise
        return FakeChild(1)

    service = Service("gateway", slowly, clock=clock, console=Console(stream=io.StringIO()))
    service.start()
    await clock.advance(0.5)
    await service.stop()
    assert given_up
    assert service.pid is None


async def test_one_that_cannot_be_started_says_so_to_who_waits() -> None:
    async def fails() -> FakeChild:
        raise FileNotFoundError("no such program")

    service = Service("gateway", fails, clock=VirtualClock(), console=Console(stream=io.StringIO()))
    service.start()
    with pytest.raises(FileNotFoundError):
        await service.wait_ended()
    await service.stop()


async def test_stopping_what_was_never_started_is_nothing() -> None:
    bench = Bench()
    await bench.service.stop()
    bench.service.kill()
    assert bench.children == []
