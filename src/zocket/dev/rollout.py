"""Versions of the app: each is a deployment with a runtime of its own; the newest that starts takes over.

Rules: the old runtime is stopped only when the new one serves; a version that cannot start changes nothing, and the old
one is brought back should it have stood down already; the same bundle is not deployed twice in a row.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from zocket.dev.deploying import DEPLOYED, POLL_S, STORED
from zocket.dev.service import Service

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from zocket.clock import Clock
    from zocket.dev.child import Running
    from zocket.dev.console import Console
    from zocket.dev.deploying import ControlPlane, Deployment
    from zocket.dev.packaging import Packed

BOOT_TIMEOUT_S: Final = 60.0
"""A version that has not started by then is given up; importing large libraries takes seconds."""


class Rollout:
    """The runtimes of one project; made by `open`.

    Attributes:
        serving: the deployment that serves, None before there is one.
    """

    def __init__(
        self,
        control: ControlPlane,
        launch: Callable[[Deployment], Awaitable[Running]],
        *,
        clock: Clock,
        console: Console,
        serves: Callable[[Deployment, int], None],
    ) -> None:
        self.serving: Deployment | None = None
        self._control = control
        self._launch = launch
        self._clock = clock
        self._console = console
        self._serves = serves
        self._runtime: Service | None = None
        self._coming: Service | None = None
        self._tried = ""

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        control: ControlPlane,
        launch: Callable[[Deployment], Awaitable[Running]],
        *,
        clock: Clock,
        console: Console,
        serves: Callable[[Deployment, int], None],
    ) -> AsyncIterator[Rollout]:
        """Nothing runs before the first `deploy`, and nothing after the block.

        Args:
            control: where bundles go, and who knows what became of them.
            launch: starts the runtime process of a deployment.
            clock: time of restarts and of giving up.
            console: tells what happens.
            serves: called with the deployment that serves now and the id of its process, also after each restart.
        """
        rollout = cls(control, launch, clock=clock, console=console, serves=serves)
        try:
            yield rollout
        finally:
            await asyncio.gather(*(service.stop() for service in rollout._services()))

    def kill(self) -> None:
        """Ends every runtime at once."""
        for service in self._services():
            service.kill()

    async def deploy(self, packed: Packed) -> bool:
        """A bundle becomes the next version, and serves if it can; whether something changed.

        Raises:
            BootError: the control plane is away, or refuses the bundle.
        """
        if packed.sha256 == self._tried:
            return False
        began = self._clock.now()
        deployment = await self._control.upload(packed.content)
        self._tried = packed.sha256
        self._coming = service = self._service(deployment)
        if self._runtime is not None:
            self._runtime.restarts = False  # it stands down by itself when the new one takes over
        service.start()
        decided = await self._wait_decided(deployment, service)
        if decided.status != DEPLOYED:
            await self._give_up(decided, service)
            return False
        await self._switch(decided, service)
        took_s = self._clock.now() - began
        self._console.tell(f"version {decided.version} serves, after {took_s:.1f} s (process {service.pid})")
        return True

    async def _switch(self, deployment: Deployment, service: Service) -> None:
        service.restarts = True
        if service.ended:
            service.start()  # it died between its report and now
        old, self._runtime, self._coming, self.serving = self._runtime, service, None, deployment
        if service.pid is not None:
            self._serves(deployment, service.pid)
        if old is not None:
            await old.stop()

    async def _give_up(self, deployment: Deployment, service: Service) -> None:
        await service.stop()
        self._coming = None
        if self._runtime is None or self.serving is None:
            self._console.tell(f"version {deployment.version} cannot start", level="error")
            return
        self._runtime.restarts = True
        if self._runtime.ended:
            self._runtime.start()
        kept = f"version {self.serving.version} goes on serving"
        self._console.tell(f"version {deployment.version} cannot start; {kept}", level="error")

    async def _wait_decided(self, deployment: Deployment, service: Service) -> Deployment:
        """What the runtime reported; a runtime that ended without a word, or says nothing in time, has failed."""
        deadline = self._clock.now() + BOOT_TIMEOUT_S
        while True:
            ended = service.ended
            deployment = await self._control.read(deployment.id)
            if deployment.status != STORED or ended:
                return deployment
            if self._clock.now() > deadline:
                self._console.tell(f"the runtime did not start within {BOOT_TIMEOUT_S:g} s", level="error")
                return deployment
            await self._clock.sleep(POLL_S)

    def _service(self, deployment: Deployment) -> Service:
        return Service(
            "runtime",
            lambda: self._launch(deployment),
            clock=self._clock,
            console=self._console,
            restarts=False,
            started=self._tell_started,
        )

    def _tell_started(self, pid: int) -> None:
        if self.serving is not None and self._runtime is not None and self._runtime.pid == pid:
            self._serves(self.serving, pid)

    def _services(self) -> list[Service]:
        return [service for service in (self._coming, self._runtime) if service is not None]
