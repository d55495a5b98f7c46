"""The runtime process: boot in the order of the seed, serve, stop; or boot in standby and take over when told.

Rules: settings first, before anything is contacted (R1); every failure after that is reported to the control plane in
words that a person can act on, and ends the process with its own exit code (R9); `ready` is said only when the
consumers exist and `/health` answers (R8). With `ZOCKET_STANDBY=1` all that can fail is tried first, `standby` is
reported, and only the word of the control plane makes it take over; superseded, it is a spare and waits again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec

from zocket import exposition
from zocket.broker.access import open_broker
from zocket.clock import SystemClock
from zocket.contract import contract_of
from zocket.crashpoints import CrashPoints
from zocket.errors import BootError, Superseded, Unavailable, ZocketError
from zocket.ids import Scope
from zocket.runtime.bundle import fetch, load
from zocket.runtime.control_plane import ControlPlane
from zocket.runtime.replica import Replica
from zocket.runtime.runtime import Runtime
from zocket.runtime.standby import (
    RETRY_FIRST_S,
    RETRY_MOST_S,
    check_stored_state,
    run_smoke,
    wait_for_the_word,
)
from zocket.runtime.state_store import BrokerStateStore
from zocket.settings import check_internal_token, check_streams
from zocket.sockets.front import HttpFront

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
    from contextlib import AbstractAsyncContextManager

    from zocket.broker.nats import NatsBroker
    from zocket.clock import Clock
    from zocket.core import AppDefinition
    from zocket.settings import RuntimeSettings
    from zocket.sockets.connection import Answer, Route

EXIT_STOPPED: Final = 0
EXIT_BOOT_FAILED: Final = 1
EXIT_SUPERSEDED: Final = 3
"""Another runtime took the project over: nothing is wrong, and starting this one again would take it back."""
EXIT_LOST: Final = 4
"""The connection to NATS was closed for good."""

JSON: Final = "application/json"
T = TypeVar("T")

log = logging.getLogger("zocket.runtime")


def check(settings: RuntimeSettings) -> None:
    """Refuses settings that cannot work together, before anything is contacted.

    Raises:
        SettingsError: one of them cannot be used; the message names the variable.
    """
    Scope(settings.workspace_id, settings.project_id)
    check_internal_token(
        settings.internal_token, [settings.nats_url, settings.control_plane_url], dev_mode=settings.dev_mode
    )
    check_streams(settings.stream_storage, settings.stream_replicas)
    CrashPoints.parse(settings.crashpoint)


async def run(settings: RuntimeSettings, *, clock: Clock | None = None) -> int:
    """Boots and serves until SIGTERM, SIGINT, or until another runtime takes over; the exit code."""
    check(settings)
    process = RuntimeProcess(settings, clock or SystemClock())
    with _on_signals(process.stop):
        return await process.run()


@dataclass(frozen=True, slots=True)
class Prepared:
    """What a runtime needs to take over."""

    definition: AppDefinition
    broker: NatsBroker


class RuntimeProcess:
    """One boot and what follows."""

    def __init__(self, settings: RuntimeSettings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._scope = Scope(settings.workspace_id, settings.project_id)
        self._name = f"{socket.gethostname()}/{os.getpid()}"
        self._stopping = asyncio.Event()
        self._booting: asyncio.Task[Any] | None = None
        self._runtime: Runtime | Replica | None = None
        self._turn = 0

    def stop(self) -> None:
        """Stops cleanly; a boot in progress is given up."""
        self._stopping.set()
        if self._booting is not None:
            self._booting.cancel()

    async def run(self) -> int:
        """The whole life of the process; gives its exit code."""
        settings = self._settings
        try:
            async with ControlPlane.open(settings.control_plane_url, settings.internal_token) as control_plane:
                return await self._live(control_plane)
        except Superseded:
            return EXIT_SUPERSEDED
        except BootError as error:
            log.error("boot failed: %s", error.message)
            return EXIT_BOOT_FAILED

    async def _live(self, control_plane: ControlPlane) -> int:
        # The runtime ends before the port and the connection: it drains while `/ready` says that it does.
        async with AsyncExitStack() as outer:
            boot = self._boot_standby if self._settings.standby else self._boot
            prepared = await self._booted(control_plane, boot(control_plane, outer))
            if isinstance(prepared, int):
                return prepared
            while True:
                async with AsyncExitStack() as inner:
                    runtime = await self._booted(control_plane, self._take_over(prepared, control_plane, outer, inner))
                    if isinstance(runtime, int):
                        return runtime
                    if runtime is not None:
                        code = await self._wait_end(runtime, control_plane)
                        if code is not None:
                            return code
                # Superseded: what follows happens with nothing of the old life left.
                self._runtime = None

    async def _booted(self, control_plane: ControlPlane, step: Coroutine[None, None, T]) -> T | int:
        """What a part of the boot gives, or the exit code of a process that cannot go on, or need not."""
        self._booting = task = asyncio.current_task()
        try:
            return await step
        except asyncio.CancelledError:
            if task is None or not self._stopping.is_set() or task.uncancel():
                raise
            log.info("stopped while it started")
            return EXIT_STOPPED
        except Superseded:
            raise
        except Exception as error:  # noqa: BLE001 — border: whatever keeps the process from starting (R9)
            await self._report_failure(control_plane, error)
            return EXIT_BOOT_FAILED
        finally:
            self._booting = None

    async def _boot(self, control_plane: ControlPlane, outer: AsyncExitStack) -> Prepared:
        """The seed's order: whatever follows is the takeover."""
        definition = await self._load(control_plane)
        return Prepared(definition, await self._connect(outer, definition))

    async def _boot_standby(self, control_plane: ControlPlane, outer: AsyncExitStack) -> Prepared:
        """Everything that can fail is tried, and then said; no consumer is touched."""
        settings = self._settings
        definition = await self._load(control_plane)
        types = list(definition.actors)
        await control_plane.report_progress(settings.deployment_id, "smoke", types)
        await run_smoke(definition, clock=self._clock, limits=settings.limits)
        broker = await self._connect(outer, definition)
        await outer.enter_async_context(self._open_front(definition))
        return Prepared(definition, broker)

    async def _load(self, control_plane: ControlPlane) -> AppDefinition:
        settings = self._settings
        active = await control_plane.active(self._scope, settings.deployment_id)
        path = await fetch(control_plane, active, Path(settings.bundle_dir), self._clock)
        definition = load(path)
        if not definition.actors:
            raise BootError("the app has no actors: give App(actors={...}) at least one")
        if control_plane.takes_contract:
            await self._tell_contract(control_plane, definition)
        return definition

    async def _tell_contract(self, control_plane: ControlPlane, definition: AppDefinition) -> None:
        """Says what the app offers; it serves without that, too."""
        try:
            await control_plane.tell_contract(self._settings.deployment_id, contract_of(definition).encode())
        except BootError as error:
            log.warning("the contract could not be told: %s", error.message)

    async def _connect(self, outer: AsyncExitStack, definition: AppDefinition) -> NatsBroker:
        """The broker, once it is known that this version can use what is stored there."""
        settings = self._settings
        broker = await open_broker(
            settings.nats_url,
            settings.nats,
            name=self._name,
            boot_timeout_s=settings.nats_boot_timeout_s,
            replicas=settings.stream_replicas,
        )
        outer.push_async_callback(broker.aclose)
        await check_stored_state(definition, BrokerStateStore(broker, self._scope))
        return broker

    async def _take_over(
        self, prepared: Prepared, control_plane: ControlPlane, outer: AsyncExitStack, inner: AsyncExitStack
    ) -> Runtime | Replica | int | None:
        """The project is ours from here on; what it opens is closed by the stacks.

        None if somebody else took it in the same moment and this runtime is a spare again; the exit code if the word
        was to end.
        """
        settings = self._settings
        if settings.standby:
            types = list(prepared.definition.actors)
            await self._say_standby(control_plane, types)
            word = await wait_for_the_word(control_plane, settings.deployment_id, self._clock)
            if word.action == "stop":
                return EXIT_STOPPED
            self._turn = word.turn
        try:
            runtime = await inner.enter_async_context(self._open_runtime(prepared.definition, prepared.broker))
        except Unavailable as error:
            raise BootError(
                f"NATS refuses the streams or consumers: {error.message}. Is JetStream enabled on the server, and may "
                "this runtime use it?"
            ) from error
        except Superseded:
            if settings.standby:
                return None
            raise
        self._runtime = runtime
        if not settings.standby:
            await outer.enter_async_context(self._open_front(prepared.definition))
        await control_plane.report_ready(settings.deployment_id, runtime.actor_types)
        log.info("runtime is ready", extra={"deployment": settings.deployment_id})
        return runtime

    async def _say_standby(self, control_plane: ControlPlane, types: list[str]) -> None:
        """Until the control plane has heard it: a spare outlives a restart of the control plane."""
        delay_s = RETRY_FIRST_S
        while True:
            try:
                await control_plane.report_progress(self._settings.deployment_id, "standby", types)
                return
            except BootError as error:
                if error.code != Unavailable.default_code:
                    raise
                log.warning("standby could not be reported: %s", error.message)
                await self._clock.sleep(delay_s)
                delay_s = min(2 * delay_s, RETRY_MOST_S)

    def _open_runtime(
        self, definition: AppDefinition, broker: NatsBroker
    ) -> AbstractAsyncContextManager[Runtime | Replica]:
        """The whole project, or as a replica a share of one that is divided."""
        settings = self._settings
        open_one: Callable[..., AbstractAsyncContextManager[Runtime | Replica]] = Runtime.open
        if settings.partitions > 1:
            open_one = partial(Replica.open, partitions=settings.partitions, lease_s=settings.lease_s)
        return open_one(
            definition,
            self._scope,
            broker,
            clock=self._clock,
            limits=settings.limits,
            process_name=self._name,
            deployment_id=settings.deployment_id,
            dev_mode=settings.dev_mode,
            ack_wait_s=settings.ack_wait_s,
            drain_timeout_s=settings.drain_timeout_s,
            storage=settings.stream_storage,
            replicas=settings.stream_replicas,
            crashpoints=CrashPoints.parse(settings.crashpoint),
        )

    @asynccontextmanager
    async def _open_front(self, definition: AppDefinition) -> AsyncIterator[None]:
        settings = self._settings
        try:
            async with HttpFront.open(
                settings.api_host, settings.api_port, routes=self._routes(list(definition.actors))
            ) as front:
                log.info("health port answers", extra={"host": settings.api_host, "port": front.port})
                yield
        except BootError as error:
            raise BootError(f"API_PORT: {error.message}") from error

    def _routes(self, actor_types: list[str]) -> dict[str, Route]:
        settings = self._settings
        healthy = msgspec.json.encode(
            {
                "ok": True,
                "deploymentId": settings.deployment_id,
                "actorTypes": actor_types,
                "deployCount": 1,
                "workspaceId": settings.workspace_id,
                "projectId": settings.project_id,
            }
        )

        async def health() -> Answer:
            return 200, JSON, healthy

        async def ready() -> Answer:
            runtime = self._runtime
            serving = runtime is not None and runtime.serving and not self._stopping.is_set()
            return (200, JSON, b'{"ready":true}') if serving else (503, JSON, b'{"ready":false}')

        async def scrape() -> Answer:
            return (
                200,
                exposition.CONTENT_TYPE,
                exposition.render(self._runtime.samples() if self._runtime is not None else ()),
            )

        return {"/health": health, "/ready": ready, "/metrics": scrape}

    async def _wait_end(self, runtime: Runtime | Replica, control_plane: ControlPlane) -> int | None:
        """Until somebody asks for a stop, or the runtime cannot go on; None for a runtime that is a spare now."""
        asked = asyncio.create_task(self._stopping.wait())
        ended = asyncio.create_task(runtime.wait_stopped())
        heeding = asyncio.create_task(self._heed(runtime, control_plane))
        try:
            await asyncio.wait((asked, ended), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (asked, ended, heeding):
                task.cancel()
            results = await asyncio.gather(ended, asked, heeding, return_exceptions=True)
        failure = results[0]
        if isinstance(failure, Superseded):
            if self._settings.standby:
                return None
            raise failure
        if isinstance(failure, ZocketError):
            log.error("runtime ends: %s", failure.message)
            return EXIT_LOST
        return EXIT_STOPPED

    async def _heed(self, runtime: Runtime | Replica, control_plane: ControlPlane) -> None:
        """Further words while it serves: to end, or to take over from one that took over and died.

        That one said nothing before it died, and its consumers would be missed only after several heartbeats.
        """
        settings = self._settings
        while settings.standby:
            word = await wait_for_the_word(control_plane, settings.deployment_id, self._clock, since=self._turn)
            if word.action == "stop":
                self._stopping.set()
                return
            self._turn = word.turn
            runtime.look_again()

    async def _report_failure(self, control_plane: ControlPlane, error: Exception) -> None:
        """Says why to the log and to the control plane; a report that fails is logged, too."""
        if isinstance(error, ZocketError):
            message = error.message
            log.error("boot failed: %s", message)
        else:
            message = f"unexpected {type(error).__name__}: {error}"
            log.error("boot failed: %s", message, exc_info=error)
        try:
            await control_plane.report_failed(self._settings.deployment_id, message)
        except BootError as failure:
            log.error("the failure could not be reported: %s", failure.message)


@contextlib.contextmanager
def _on_signals(stop: Callable[[], None]) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stop)
    try:
        yield
    finally:
        for name in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(name)
