"""Deployments on their way: started in standby, let through the gate, watched for a while, or given back.

Rules: one deployment of a project is on its way at a time, in the order in which they were asked for; the old runtime
is touched only when the new one has taken over and lived through its grace; a failure before that leaves, or puts, the
old one where it was. What is decided is written down before it is done.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from zocket.control.deployments import PLATFORM
from zocket.control.failures import NotFound
from zocket.control.lifecycle import COMING, ImpossibleStep
from zocket.control.orchestration.gate import Gate, Refused
from zocket.control.orchestration.words import Words
from zocket.errors import Unavailable, ZocketError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from zocket.clock import Clock
    from zocket.control.changes import Changes
    from zocket.control.deployment_views import Target
    from zocket.control.deployments import Deployments
    from zocket.control.orchestration.launching import Launching
    from zocket.control.orchestration.port import Observation, Orchestrator
    from zocket.control.orchestration.words import Word
    from zocket.control.schemas import Report
    from zocket.settings import OrchestrationSettings

log = logging.getLogger("zocket.control")


class Supervision:
    """The runtimes of all projects; made by `open`."""

    def __init__(
        self,
        orchestrator: Orchestrator | None,
        deployments: Deployments,
        launching: Launching,
        *,
        settings: OrchestrationSettings,
        clock: Clock,
        changes: Changes,
        settled: Callable[[str], Awaitable[object]],
    ) -> None:
        self.orchestrator = orchestrator
        self._deployments = deployments
        self._launching = launching
        self._settings = settings
        self._clock = clock
        self._changes = changes
        self._settled = settled
        self._words = Words(clock, changes.closing)
        self._gates: dict[str, Gate] = {}
        self._turns: dict[str, asyncio.Lock] = {}
        self._looping: set[str] = set()
        self._noting = asyncio.Lock()
        self._serving: dict[str, str] = {}
        self._resumed = False
        self._tasks: set[asyncio.Task[None]] = set()

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        orchestrator: Orchestrator | None,
        deployments: Deployments,
        launching: Launching,
        *,
        settings: OrchestrationSettings,
        clock: Clock,
        changes: Changes,
        settled: Callable[[str], Awaitable[object]],
    ) -> AsyncIterator[Supervision]:
        """Nothing runs before `resume`, and what this process runs itself ends with the orchestrator's own block.

        Args:
            orchestrator: runs them; None where nobody here does.
            deployments: the records.
            launching: puts together what a runtime is told.
            settings: times.
            clock: time of waiting.
            changes: told when a runtime's state changes.
            settled: awaited with the id of a project after each of its rollouts.
        """
        supervision = cls(
            orchestrator,
            deployments,
            launching,
            settings=settings,
            clock=clock,
            changes=changes,
            settled=settled,
        )
        if orchestrator is not None:
            orchestrator.watch(supervision)
        try:
            yield supervision
        finally:
            tasks = list(supervision._tasks)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    # -- what others say -------------------------------------------------------------------------------------------

    def reported(self, report: Report) -> None:
        """A runtime said something, and it is written down."""
        gate = self._gates.get(report.deployment_id)
        if gate is not None:
            gate.heard(report)

    def changed(self, deployment_id: str) -> None:
        """See `Watcher.changed`."""
        gate = self._gates.get(deployment_id)
        observation = self.observe(deployment_id)
        if gate is not None:
            gate.observed(observation)
        elif observation is not None and observation.last_exit is not None and observation.restarts:
            self._note_crash(deployment_id, observation)
        self._changes.runtime_changed(self._launching.project_of(deployment_id), deployment_id)

    async def word(self, target: Target, since: int) -> tuple[Word, int]:
        """What a runtime is to do, and the number of this word; held back while it is none or the one of `since`."""
        if self._words.get(target.id) is None:
            if target.active:
                self._words.say(target.id, "activate")
            elif target.status in COMING:
                self._words.say(target.id, "wait")
        return await self._words.wait(target.id, since)

    def observe(self, deployment_id: str) -> Observation | None:
        """How the runtime of a deployment is."""
        return self.orchestrator.observe(deployment_id) if self.orchestrator is not None else None

    # -- what people want ------------------------------------------------------------------------------------------

    def deploy(self, deployment_id: str, by: str) -> None:
        """A deployment is to become the active one; what becomes of it is in its history.

        Before `resume` it only stays stored, and its turn comes then.
        """
        if self.orchestrator is not None and self._resumed:
            self._spawn(self._in_turn(deployment_id, by, self.orchestrator))

    async def resume(self, url: str) -> None:
        """After a start: what served serves again, what was on its way has failed, what waits has its turn.

        Args:
            url: where runtimes of this machine reach the control plane.
        """
        self._launching.control_url = url
        orchestrator = self.orchestrator
        if orchestrator is None:
            return
        self._resumed = True
        serving, coming, waiting = await self._deployments.orchestrated()
        for target in coming:
            reason = "the control plane was restarted while this deployment was on its way; deploy it again"
            await self._deployments.record(target.id, "fail", PLATFORM, reason)
        try:
            await orchestrator.sweep({target.id for target in serving})
        except Unavailable as error:
            log.error("what an earlier control plane left cannot be cleaned up: %s", error.message)
        for target in serving:
            self._words.say(target.id, "activate")
            self._serving[target.project_id] = target.id
            self._spawn(self._start_again(target, orchestrator))
        for target in waiting:
            self.deploy(target.id, PLATFORM)

    async def stop_project(self, project_id: str) -> None:
        """Ends a project's runtime, before its records go."""
        async with self._turn(project_id):
            active = await self._deployments.active_id(project_id)
            if active is not None and self.orchestrator is not None:
                self._words.say(active, "stop")
                await self.orchestrator.stop(active)
                self._words.forget(active)
            await self._launching.forget(project_id)
            self._serving.pop(project_id, None)

    # -- one deployment on its way ---------------------------------------------------------------------------------

    async def _in_turn(self, deployment_id: str, by: str, orchestrator: Orchestrator) -> None:
        try:
            target = await self._deployments.target(deployment_id)
            async with self._turn(target.project_id):
                await self._roll_out(target, by, orchestrator)
                await self._settled(target.project_id)
        except NotFound:
            log.info("a deployment is gone before its turn", extra={"deployment": deployment_id})
        except ZocketError as error:
            log.error("a deployment was given up: %s", error.message, extra={"deployment": deployment_id})

    async def _roll_out(self, target: Target, by: str, orchestrator: Orchestrator) -> None:
        old = await self._deployments.active_id(target.project_id)
        try:
            await self._deployments.record(target.id, "start", by)
        except ImpossibleStep:
            log.warning("a deployment serves already", extra={"deployment": target.id})
            return
        self._words.say(target.id, "wait")
        self._looping.discard(target.id)
        gate = self._gates[target.id] = Gate(self._clock)
        try:
            try:
                await orchestrator.start(await self._launching.prepare(target))
                await gate.wait_standby(self._settings.standby_timeout_s)
                await self._take_over(target, old, gate)
            except (Refused, Unavailable) as error:
                await self._refuse(target, old, error.message, orchestrator)
                return
            try:
                await gate.wait_grace(self._settings.grace_s)
            except Refused as error:
                await self._give_back(target, old, error.message, orchestrator)
                return
        finally:
            self._gates.pop(target.id, None)
        self._serving[target.project_id] = target.id
        if old is not None and old != target.id:
            await self._end(old, orchestrator)

    async def _take_over(self, target: Target, old: str | None, gate: Gate) -> None:
        """The old one keeps running and asks for the word once it was superseded; it is a spare until the end."""
        if gate.is_ready:  # a runtime that knows no standby took over by itself
            return
        if old is not None:
            self._words.say(old, "wait")
        self._words.say(target.id, "activate")
        await gate.wait_ready(self._settings.takeover_timeout_s)

    async def _refuse(self, target: Target, old: str | None, reason: str, orchestrator: Orchestrator) -> None:
        """It never served, or did not say so: the old one stays, or takes over again if it was superseded already."""
        taking_over = self._words.get(target.id) == "activate"
        self._words.say(target.id, "stop")
        done = await self._deployments.read(target.id)
        if done.status in COMING:
            await self._deployments.record(target.id, "fail", PLATFORM, reason)
        elif done.status == "active" and old is not None:  # its report came in this very moment
            await self._give_back(target, old, reason, orchestrator)
            return
        if old is not None and taking_over:
            # Not after the end of the new one: whoever claims last owns, and calls wait meanwhile.
            self._words.say(old, "activate")
            await self._deployments.note(old, f"version {target.version} failed at the takeover: {reason}")
        await self._end(target.id, orchestrator)

    async def _give_back(self, target: Target, old: str | None, reason: str, orchestrator: Orchestrator) -> None:
        """It served, and died: the old one takes over again; without an old one it is started again like any other."""
        if old is None or old == target.id:
            self._serving[target.project_id] = target.id
            await self._deployments.record(target.id, "crash", PLATFORM, reason)
            return
        await self._deployments.give_back(target.id, old, reason)
        self._words.say(target.id, "stop")
        self._words.say(old, "activate")
        await self._end(target.id, orchestrator)

    async def _end(self, deployment_id: str, orchestrator: Orchestrator) -> None:
        self._words.say(deployment_id, "stop")
        try:
            await orchestrator.stop(deployment_id)
        except Unavailable as error:
            log.error("a runtime cannot be stopped: %s", error.message, extra={"deployment": deployment_id})
            return  # the word stays, so that it ends by itself
        self._words.forget(deployment_id)
        await self._launching.ended(deployment_id)

    async def _start_again(self, target: Target, orchestrator: Orchestrator) -> None:
        try:
            async with self._turn(target.project_id):
                await orchestrator.start(await self._launching.prepare(target))
        except ZocketError as error:
            log.error("a runtime cannot be started: %s", error.message, extra={"deployment": target.id})
            await self._deployments.record(target.id, "crash", PLATFORM, error.message)

    # -- crashes ---------------------------------------------------------------------------------------------------

    def _note_crash(self, deployment_id: str, observation: Observation) -> None:
        """Once for each end of a runtime that serves, and once for a whole crash loop."""
        if deployment_id not in self._serving.values() or observation.state not in ("waiting", "crash_loop"):
            return
        assert observation.last_exit is not None
        message = observation.last_exit.message
        if observation.state == "waiting":
            self._looping.discard(deployment_id)
        elif deployment_id in self._looping:
            return
        else:
            self._looping.add(deployment_id)
            message = f"crash loop, it is started again ever more seldom: {message}"
        self._spawn(self._record_crash(deployment_id, message))

    async def _record_crash(self, deployment_id: str, message: str) -> None:
        try:
            async with self._noting:  # one after the other, in the order of the crashes
                await self._deployments.record(deployment_id, "crash", PLATFORM, message)
        except (NotFound, ImpossibleStep) as error:
            log.info("a crash is not written down: %s", error.message, extra={"deployment": deployment_id})

    def _turn(self, project_id: str) -> asyncio.Lock:
        return self._turns.setdefault(project_id, asyncio.Lock())

    def _spawn(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Future[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("the supervision of a deployment failed", exc_info=error)
