"""Versions that take over, fail, die; with a fake control plane and fake runtimes on virtual time."""

from __future__ import annotations

import asyncio
import io
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from zocket.dev.console import Console
from zocket.dev.deploying import DEPLOYED, STORED, ControlPlane, Deployment
from zocket.dev.packaging import Packed
from zocket.dev.rollout import BOOT_TIMEOUT_S, Rollout
from zocket.testing.clock import VirtualClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@dataclass
class FakeRuntime:
    deployment: Deployment
    pid: int
    stopped: bool = False
    ended: asyncio.Future[int] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

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


class FakeControl(ControlPlane):
    """Decides a deployment as soon as it is asked, as `plan` says."""

    def __init__(self) -> None:
        self.plan: dict[int, str] = {}
        self.deployments: dict[str, Deployment] = {}

    async def upload(self, bundle: bytes) -> Deployment:
        version = len(self.deployments) + 1
        deployment = Deployment(f"dpl_{version}", version, STORED, (), None)
        self.deployments[deployment.id] = deployment
        return deployment

    async def read(self, deployment_id: str) -> Deployment:
        await asyncio.sleep(0.01)
        deployment = self.deployments[deployment_id]
        return replace(deployment, status=self.plan.get(deployment.version, DEPLOYED))


@dataclass
class Bench:
    rollout: Rollout
    control: FakeControl
    clock: VirtualClock
    runtimes: list[FakeRuntime]
    served: list[tuple[int, int]]
    said: io.StringIO

    def running(self) -> list[int]:
        """Versions that have a process."""
        return [runtime.deployment.version for runtime in self.runtimes if not runtime.ended.done()]


@asynccontextmanager
async def bench() -> AsyncIterator[Bench]:
    runtimes: list[FakeRuntime] = []
    served: list[tuple[int, int]] = []
    clock, control, said = VirtualClock(), FakeControl(), io.StringIO()

    async def launch(deployment: Deployment) -> FakeRuntime:
        runtimes.append(FakeRuntime(deployment, 100 + len(runtimes)))
        return runtimes[-1]

    async with Rollout.open(
        control,
        launch,
        clock=clock,
        console=Console(stream=said),
        serves=lambda deployment, pid: served.append((deployment.version, pid)),
    ) as rollout:
        yield Bench(rollout, control, clock, runtimes, served, said)
    assert all(runtime.ended.done() for runtime in runtimes)


def bundle(text: str) -> Packed:
    return Packed(text.encode(), text, "app:app", (), ())


async def test_a_version_that_starts_replaces_the_one_before() -> None:
    async with bench() as b:
        assert await b.rollout.deploy(bundle("a"))
        assert b.running() == [1]
        assert await b.rollout.deploy(bundle("b"))
        assert b.running() == [2]
        assert b.runtimes[0].stopped
        assert b.served == [(1, 100), (2, 101)]
        assert b.rollout.serving is not None
        assert b.rollout.serving.version == 2


async def test_the_same_bundle_is_not_deployed_twice_in_a_row() -> None:
    async with bench() as b:
        assert await b.rollout.deploy(bundle("a"))
        assert not await b.rollout.deploy(bundle("a"))
        assert len(b.runtimes) == 1


async def test_a_version_that_cannot_start_leaves_the_one_before_alone() -> None:
    async with bench() as b:
        b.control.plan[2] = "failed"
        await b.rollout.deploy(bundle("a"))
        assert not await b.rollout.deploy(bundle("b"))
        assert b.running() == [1]
        assert "version 2 cannot start; version 1 goes on serving" in b.said.getvalue()
        assert await b.rollout.deploy(bundle("a"))  # back to what it was: another version all the same


async def test_an_old_version_that_stood_down_for_one_that_failed_is_brought_back() -> None:
    async with bench() as b:
        b.control.plan[2] = STORED
        await b.rollout.deploy(bundle("a"))
        deploying = asyncio.ensure_future(b.rollout.deploy(bundle("b")))
        await b.clock.advance(1)
        b.runtimes[0].end(3)
        await b.clock.advance(1)
        assert b.running() == [2]
        b.control.plan[2] = "failed"
        assert not await deploying
        await b.clock.advance(1)
        assert b.running() == [1]


async def test_a_runtime_that_ends_without_a_word_or_stays_silent_has_failed() -> None:
    async with bench() as b:
        b.control.plan = {1: STORED, 2: STORED}
        deploying = asyncio.ensure_future(b.rollout.deploy(bundle("a")))
        await b.clock.advance(1)
        b.runtimes[0].end(1)
        assert not await deploying
        began = b.clock.now()
        assert not await b.rollout.deploy(bundle("b"))
        assert BOOT_TIMEOUT_S <= b.clock.now() - began < BOOT_TIMEOUT_S + 1
        assert b.runtimes[1].stopped
        assert "the runtime did not start within 60 s" in b.said.getvalue()
        assert b.rollout.serving is None


async def test_a_runtime_that_is_killed_comes_back_as_the_same_version() -> None:
    async with bench() as b:
        await b.rollout.deploy(bundle("a"))
        b.runtimes[0].end(-9)
        await b.clock.advance(1)
        assert b.running() == [1]
        assert b.served == [(1, 100), (1, 101)]


async def test_the_end_stops_what_serves_and_what_is_coming() -> None:
    async with bench() as b:
        b.control.plan[2] = STORED
        await b.rollout.deploy(bundle("a"))
        deploying = asyncio.ensure_future(b.rollout.deploy(bundle("b")))
        await b.clock.advance(1)
        assert b.running() == [1, 2]
        deploying.cancel()
    assert [runtime.stopped for runtime in b.runtimes] == [True, True]
