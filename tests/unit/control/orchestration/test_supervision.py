"""Deployments on their way, over real records, with an orchestrator and runtimes that the test plays itself."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from zocket.clock import SystemClock
from zocket.control.bundles import StoredBundle
from zocket.control.changes import Changes
from zocket.control.database import Database
from zocket.control.deployments import Deployments
from zocket.control.environment import Environment
from zocket.control.orchestration.launching import Launching
from zocket.control.orchestration.port import Exit, Launch, Observation, Watcher
from zocket.control.orchestration.supervision import Supervision
from zocket.control.records import InternalToken, Project, Workspace
from zocket.control.schemas import Report
from zocket.control.secrets import Vault
from zocket.errors import Unavailable
from zocket.settings import ControlSettings, OrchestrationSettings

if TYPE_CHECKING:
    from pathlib import Path

    from zocket.control.deployment_schemas import DeploymentView, LogLine

pytestmark = pytest.mark.realtime  # SQLite has threads of its own

CLOCK = SystemClock()
BUNDLE = StoredBundle("a" * 64, "a" * 64, 3)
LIMIT_S = 20.0


class FakeOrchestrator:
    """Does what it is told, at once, and remembers it."""

    def __init__(self) -> None:
        self.running: dict[str, Launch] = {}
        self.said: list[str] = []
        self.swept: set[str] = set()
        self.observations: dict[str, Observation] = {}
        self.refuses: str | None = None
        self.watcher: Watcher | None = None

    def watch(self, watcher: Watcher) -> None:
        self.watcher = watcher

    async def start(self, launch: Launch) -> None:
        if self.refuses is not None:
            raise Unavailable(self.refuses)
        self.said.append(f"start {launch.deployment_id}")
        self.running[launch.deployment_id] = launch

    async def stop(self, deployment_id: str) -> None:
        self.said.append(f"stop {deployment_id}")
        self.running.pop(deployment_id, None)

    async def sweep(self, keep: Collection[str]) -> None:
        self.swept = set(keep)

    def observe(self, deployment_id: str) -> Observation | None:
        return self.observations.get(deployment_id)

    async def logs(self, deployment_id: str, *, lines: int, follow: bool) -> AsyncIterator[LogLine]:
        return
        yield

    def crash(self, deployment_id: str, state: Any, restarts: int) -> None:
        ended = Exit(9, 0, f"end number {restarts}")
        self.observations[deployment_id] = Observation(state, 0, restarts, None, ended)
        assert self.watcher is not None
        self.watcher.changed(deployment_id)


class World:
    """One control plane, two projects."""

    def __init__(self, database: Database, deployments: Deployments, orchestrator: FakeOrchestrator) -> None:
        self.database = database
        self.deployments = deployments
        self.orchestrator = orchestrator
        self.supervision: Supervision
        self.settled: list[str] = []

    async def upload(self, project_id: str = "prj_a") -> str:
        view = await self.deployments.add(project_id, BUNDLE, author="ada", message=None)
        self.supervision.deploy(view.id, "ada")
        return view.id

    async def report(self, deployment_id: str, status: Any, message: str | None = None) -> None:
        """What a runtime says, as the route takes it."""
        report = Report(deployment_id=deployment_id, status=status, message=message, actor_types=["counter"])
        await self.deployments.report(report)
        self.supervision.reported(report)

    async def word(self, deployment_id: str) -> str:
        target = await self.deployments.target(deployment_id)
        word, _ = await self.supervision.word(target, 0)
        return word

    async def take_over(self, deployment_id: str) -> None:
        """A runtime that does everything right."""
        await self.until(lambda: deployment_id in self.orchestrator.running)
        await self.report(deployment_id, "smoke")
        await self.report(deployment_id, "standby")
        assert await self.word(deployment_id) == "activate"
        await self.report(deployment_id, "ready")

    async def serve(self, project_id: str = "prj_a") -> str:
        """A deployment that serves and has lived through its grace."""
        before = len(self.settled)
        deployment_id = await self.upload(project_id)
        await self.take_over(deployment_id)
        await self.until(lambda: len(self.settled) > before)
        return deployment_id

    async def view(self, deployment_id: str) -> DeploymentView:
        return await self.deployments.read(deployment_id)

    async def status(self, deployment_id: str) -> str:
        return (await self.view(deployment_id)).status

    async def until(self, condition: Callable[[], Any]) -> None:
        deadline = time.monotonic() + LIMIT_S
        while True:
            value = condition()
            if asyncio.iscoroutine(value):
                value = await value
            if value:
                return
            assert time.monotonic() < deadline
            await asyncio.sleep(0.005)

    async def until_status(self, deployment_id: str, status: str) -> DeploymentView:
        async def reached() -> bool:
            return await self.status(deployment_id) == status

        await self.until(reached)
        return await self.view(deployment_id)


class OpenWorld:
    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def __call__(self, *, resume: bool = True, **settings: Any) -> AbstractAsyncContextManager[World]:
        return self._opened(resume, {"grace_s": 0.05, "standby_timeout_s": 5.0, "takeover_timeout_s": 5.0, **settings})

    @asynccontextmanager
    async def _opened(self, resume: bool, times: dict[str, Any]) -> AsyncIterator[World]:
        url = f"sqlite+aiosqlite:///{self._directory}/control.db"
        settings = ControlSettings(database_url=url, orchestration=OrchestrationSettings(**times))
        async with Database.open(url) as database:
            changes = Changes()
            world = World(database, Deployments(database, now_ms), FakeOrchestrator())
            await populate(database)
            environment = Environment(database, Vault.of("", self._directory / "key"), now_ms)

            async def settled(project_id: str) -> None:
                world.settled.append(project_id)

            async with Supervision.open(
                world.orchestrator,
                world.deployments,
                Launching(database, environment, settings, now_ms),
                settings=settings.orchestration,
                clock=CLOCK,
                changes=changes,
                settled=settled,
            ) as world.supervision:
                if resume:
                    await world.supervision.resume("http://control")
                yield world
                changes.close()


def now_ms() -> int:
    return int(CLOCK.wall() * 1000)


async def populate(database: Database) -> None:
    async with database.session() as session:
        if await session.get(Workspace, "wsp") is None:
            session.add(Workspace(id="wsp", name="wsp", created_at=1))
            await session.flush()
            for name in ("prj_a", "prj_b"):
                session.add(Project(id=name, workspace_id="wsp", name=name, slug=name[4:], created_at=1))


@pytest.fixture
def open_world(tmp_path: Path) -> OpenWorld:
    return OpenWorld(tmp_path)


async def test_the_old_one_is_touched_only_after_the_new_one_lived_through_its_grace(open_world: OpenWorld) -> None:
    async with open_world() as world:
        first = await world.serve()
        second = await world.upload()
        await world.until(lambda: second in world.orchestrator.running)
        await world.report(second, "standby")
        assert (await world.word(second), await world.status(first)) == ("activate", "active")
        assert first in world.orchestrator.running
        await world.report(second, "ready")
        assert (await world.status(first), await world.status(second)) == ("superseded", "active")
        await world.until(lambda: first not in world.orchestrator.running)
        assert await world.word(first) == "stop"
        assert world.orchestrator.said == [f"start {first}", f"start {second}", f"stop {first}"]


async def test_deployments_of_a_project_take_turns_and_those_of_another_do_not_wait(open_world: OpenWorld) -> None:
    async with open_world() as world:
        first, second, other = await world.upload(), await world.upload(), await world.upload("prj_b")
        await world.until(lambda: {first, other} <= set(world.orchestrator.running))
        assert await world.status(second) == "stored"
        await world.report(first, "failed", "no app in it")
        await world.take_over(second)
        view = await world.until_status(first, "failed")
        assert view.reason == "no app in it"
        assert view.history[-1].by == "runtime"


async def test_one_that_does_not_stand_by_in_time_is_refused_and_ended(open_world: OpenWorld) -> None:
    async with open_world(standby_timeout_s=0.1) as world:
        slow = await world.upload()
        view = await world.until_status(slow, "failed")
        assert "not in standby within 0.1 s" in (view.reason or "")
        await world.until(lambda: slow not in world.orchestrator.running)


async def test_an_orchestrator_that_refuses_is_the_reason(open_world: OpenWorld) -> None:
    async with open_world() as world:
        world.orchestrator.refuses = "no room in the cluster"
        view = await world.until_status(await world.upload(), "failed")
        assert view.reason == "no room in the cluster"


async def test_a_takeover_that_fails_is_given_back_with_the_message_on_both(open_world: OpenWorld) -> None:
    async with open_world() as world:
        old = await world.serve()
        new = await world.upload()
        await world.until(lambda: new in world.orchestrator.running)
        await world.report(new, "standby")
        assert await world.word(new) == "activate"
        waiting = asyncio.ensure_future(world.word(old))
        await world.report(new, "failed", "NATS refuses")
        assert await waiting == "activate"
        await world.until(lambda: new not in world.orchestrator.running)
        new_view, old_view = await world.view(new), await world.view(old)
        assert (new_view.status, old_view.status, old_view.active) == ("failed", "active", True)
        assert "NATS refuses" in (old_view.history[-1].detail or "")
        assert old in world.orchestrator.running


async def test_a_death_within_the_grace_gives_the_project_back(open_world: OpenWorld) -> None:
    async with open_world(grace_s=5.0) as world:
        old = await world.upload()
        await world.take_over(old)
        second = await world.upload()
        await world.until_status(old, "active")
        assert await world.status(second) == "stored"
    async with open_world(grace_s=0.3) as world:
        await world.until(lambda: second in world.orchestrator.running)
        await world.take_over(second)
        world.orchestrator.crash(second, "waiting", 1)
        view = await world.until_status(second, "failed")
        assert view.reason == "end number 1"
        restored = await world.view(old)
        assert (restored.status, restored.active) == ("active", True)
        assert await world.word(old) == "activate"


async def test_a_crash_loop_is_one_entry_of_the_history(open_world: OpenWorld) -> None:
    async with open_world() as world:
        served = await world.serve()
        world.orchestrator.crash(served, "waiting", 1)
        for restarts in range(2, 9):
            world.orchestrator.crash(served, "crash_loop", restarts)

        async def noted() -> bool:
            return "crash loop" in ((await world.view(served)).reason or "")

        await world.until(noted)
        details = [entry.detail for entry in (await world.view(served)).history if entry.detail]
        assert [detail for detail in details if "end number" in detail] == [
            "end number 1",
            "crash loop, it is started again ever more seldom: end number 2",
        ]
        await world.report(served, "ready")
        view = await world.view(served)
        assert (view.status, view.reason, view.history[-1].detail) == ("active", None, "it serves again")


async def test_after_a_restart_what_served_serves_what_was_coming_failed_and_what_waited_has_its_turn(
    open_world: OpenWorld,
) -> None:
    async with open_world() as world:
        served = await world.serve()
        coming = await world.upload()
        await world.until(lambda: coming in world.orchestrator.running)
        waiting = await world.upload()
    async with open_world() as world:
        assert "restarted" in ((await world.view(coming)).reason or "")
        assert world.orchestrator.swept == {served}
        await world.until(lambda: {served, waiting} <= set(world.orchestrator.running))
        assert await world.word(served) == "activate"
        await world.take_over(waiting)
        await world.until_status(served, "superseded")


async def test_before_the_resume_everything_only_waits(open_world: OpenWorld) -> None:
    async with open_world(resume=False) as world:
        stored = await world.upload()
        assert world.orchestrator.running == {}
        await world.supervision.resume("http://control")
        await world.take_over(stored)


async def test_a_runtime_gets_its_own_token_which_ends_with_it(open_world: OpenWorld) -> None:
    async def tokens() -> list[InternalToken]:
        from sqlalchemy import select

        async with world.database.reading() as session:
            return list(await session.scalars(select(InternalToken)))

    async with open_world() as world:
        first = await world.serve()
        launch = world.orchestrator.running[first]
        assert launch.environ["CONTROL_PLANE_INTERNAL_TOKEN"].startswith("zki_")
        assert launch.environ["CONTROL_PLANE_URL"] == "http://control"
        assert launch.environ["ZOCKET_STANDBY"] == "1"
        assert "zki_" not in repr(launch)
        assert [(token.project_id, token.kind) for token in await tokens()] == [("prj_a", "runtime")]
        second = await world.serve()

        async def replaced() -> bool:
            return [token.name for token in await tokens()] == [f"runtime of {second}"]

        await world.until(replaced)
        await world.supervision.stop_project("prj_a")
        assert (await tokens(), world.orchestrator.running) == ([], {})
