"""The whole platform on this machine: NATS, control plane, gateway, runtime, each a process of its own.

Rules: what is started last is stopped first, and everything has stopped when `run` returns; everything but the gateway
is on loopback; a part that dies is started again where it was, so that the others find it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import tempfile
from contextlib import AbstractContextManager, AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import httpx

from zocket.broker.server import NatsServer
from zocket.clock import SystemClock
from zocket.dev.addresses import LOOPBACK
from zocket.dev.child import Child
from zocket.dev.deploying import ControlPlane, Deployment
from zocket.dev.plan import DATA_DIRECTORY, LOCAL, Options, Plan
from zocket.dev.ports import free_port, gateway_port
from zocket.dev.rollout import Rollout
from zocket.dev.service import Service
from zocket.dev.sources import Sources, module_directory
from zocket.dev.status import StatusFile
from zocket.errors import BootError, UsageError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence

    from zocket.dev.console import Console
    from zocket.dev.packaging import Packed

LISTEN_TIMEOUT_S: Final = 20.0
"""A gateway on a busy machine needs seconds to start."""
POLL_S: Final = 0.05
NATS_CHECK_S: Final = 0.5
"""How often NATS is looked after; its process tells no event loop that it ended."""


async def run(
    options: Options,
    console: Console,
    ready: Callable[[Plan, Deployment | None], None],
    offers: Callable[[bytes], None] | None = None,
) -> int:
    """Runs the platform until SIGINT, SIGTERM or SIGHUP; a second one ends it without waiting. The exit code.

    Args:
        options: what is asked for.
        console: where everything is logged.
        ready: called once, when sockets are accepted and the first version is decided (None: it cannot start).
        offers: called with the contract of each version that serves.

    Raises:
        UsageError: there is no such app.
        BootError: a port is taken, or a part of the platform does not start.
    """
    platform = Platform(options, console, offers)
    running = asyncio.ensure_future(platform.run(ready))

    def stop() -> None:
        if running.cancelling():
            platform.kill()
            return
        console.tell("stopping")
        running.cancel()

    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(name, stop)
    try:
        return await running
    except asyncio.CancelledError:
        console.tell("stopped")
        return 0


class Platform:
    """One run; `run` is its whole life."""

    def __init__(self, options: Options, console: Console, offers: Callable[[bytes], None] | None) -> None:
        self._options = options
        self._console = console
        self._offers = offers
        self._clock = SystemClock()
        self._kills: list[Callable[[], None]] = []

    def kill(self) -> None:
        """Ends every process at once; `run` returns soon then."""
        for kill in self._kills:
            kill()

    async def run(self, ready: Callable[[Plan, Deployment | None], None]) -> int:
        """Runs until it is cancelled; gives an exit code only where it cannot go on. See the function `run`."""
        sources = Sources(self._options.target)
        packed = await sources.pack()
        port = gateway_port(self._options.host, self._options.port)
        async with AsyncExitStack() as stack:
            home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="zocket-dev-")))
            nats = await stack.enter_async_context(self._nats())
            plan = Plan(options=self._options, home=home, port=port, nats_url=nats.url)
            status = stack.enter_context(_published(plan, nats))
            records = await stack.enter_async_context(
                self._service("control", plan.command("control"), plan.control_environ(), status)
            )
            control = await stack.enter_async_context(ControlPlane.open(plan.control_url, plan.token, LOCAL))
            rollout = await stack.enter_async_context(self._rollout(plan, control, status))
            # The gateway is stopped before the runtime: its open calls still get their answers.
            pages = ("--dev-pages", str(module_directory(packed)), str(plan.status_path)) if self._options.page else ()
            gateway = await stack.enter_async_context(
                self._service("gateway", plan.command("gateway", *pages), plan.gateway_environ(), status)
            )
            await _up(records, control.wait_answering())
            if not await self._deploy(packed, rollout, control) and not self._options.reload:
                return 1
            await _up(gateway, _wait_listening(plan))
            ready(plan, rollout.serving)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._keep_nats(nats, status))
                if self._options.reload:
                    group.create_task(self._redeploy(sources, rollout, control))
        return 0

    @asynccontextmanager
    async def _nats(self) -> AsyncIterator[NatsServer]:
        store = DATA_DIRECTORY.absolute() / "nats" if self._options.persist else None
        nats = NatsServer(store_dir=store)
        try:
            await nats.start()
            self._console.tell(f"NATS answers at {nats.url}")
            yield nats
        finally:
            await nats.aclose()

    @asynccontextmanager
    async def _service(
        self, role: str, command: Sequence[str], environ: Mapping[str, str], status: StatusFile
    ) -> AsyncIterator[Service]:
        """Runs during the block; started again once it was `_up`."""
        service = Service(
            role,
            lambda: Child.start(command, environ, partial(self._console.hear, role)),
            clock=self._clock,
            console=self._console,
            restarts=False,
            started=lambda pid: status.update(**{role: {"pid": pid}}),
        )
        self._kills.append(service.kill)
        service.start()
        try:
            yield service
        finally:
            await service.stop()

    @asynccontextmanager
    async def _rollout(self, plan: Plan, control: ControlPlane, status: StatusFile) -> AsyncIterator[Rollout]:
        ports: dict[str, int] = {}

        async def launch(deployment: Deployment) -> Child:
            ports[deployment.id] = free_port()
            environ = plan.runtime_environ(deployment.id, ports[deployment.id])
            return await Child.start(plan.command("runtime"), environ, partial(self._console.hear, "runtime"))

        def serves(deployment: Deployment, pid: int) -> None:
            health = f"http://{LOOPBACK}:{ports[deployment.id]}/health"
            runtime = {"pid": pid, "deployment": deployment.id, "version": deployment.version, "health": health}
            status.update(runtime=runtime, actors=deployment.actor_types)

        async with Rollout.open(control, launch, clock=self._clock, console=self._console, serves=serves) as rollout:
            self._kills.append(rollout.kill)
            yield rollout

    async def _deploy(self, packed: Packed, rollout: Rollout, control: ControlPlane) -> bool:
        """A bundle becomes the next version; whether it serves."""
        serves = await rollout.deploy(packed)
        if serves and self._offers is not None and rollout.serving is not None:
            contract = await control.contract(rollout.serving.id)
            if contract is not None:
                self._offers(contract)
        return serves

    async def _redeploy(self, sources: Sources, rollout: Rollout, control: ControlPlane) -> None:
        """Every change of the sources that makes another bundle becomes a version."""
        async for _ in sources.changes():
            try:
                await self._deploy(await sources.pack(), rollout, control)
            except (UsageError, BootError) as error:
                self._console.tell(error.message, level="error")

    async def _keep_nats(self, nats: NatsServer, status: StatusFile) -> None:
        while True:
            await self._clock.sleep(NATS_CHECK_S)
            if not nats.running:
                self._console.tell("NATS has ended; starting it again", level="warning")
                await nats.restart()
                status.update(nats={"pid": nats.pid})


def _published(plan: Plan, nats: NatsServer) -> AbstractContextManager[StatusFile]:
    return StatusFile(plan.status_path).published(
        pid=os.getpid(),
        target=plan.options.target,
        nats={"url": nats.url, "pid": nats.pid},
        control={"url": plan.control_url},
        gateway={"url": plan.gateway_url, "metrics": plan.metrics_url},
    )


async def _up(service: Service, answering: Coroutine[None, None, None]) -> None:
    """Until a service answers; from then on it is started again when it dies.

    Raises:
        BootError: it ended instead, or did not answer in time.
    """
    tasks = asyncio.ensure_future(answering), asyncio.ensure_future(service.wait_ended())
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if not tasks[0].done():
            raise BootError(f"{service.role} cannot start; its log is above")
        tasks[0].result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    service.restarts = True


async def _wait_listening(plan: Plan) -> None:
    """Until the gateway answers.

    Raises:
        BootError: it did not in time.
    """
    try:
        async with asyncio.timeout(LISTEN_TIMEOUT_S), httpx.AsyncClient(trust_env=False) as client:
            while True:
                with contextlib.suppress(httpx.TransportError):
                    await client.get(f"{plan.page_url}health")
                    return
                await asyncio.sleep(POLL_S)
    except TimeoutError:
        raise BootError(f"the gateway did not answer within {LISTEN_TIMEOUT_S:g} s; its log is above") from None
