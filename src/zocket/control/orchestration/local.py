"""Runtimes as supervised processes of this machine.

Rules: each has an environment of its own that holds nothing of ours, a directory of its own, and limits; it ends with
us, however we end; it is started again with backoff, and only a stop ends that.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
import shutil
import socket
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from zocket.control.orchestration.journal import Journal
from zocket.control.orchestration.port import Exit, Observation
from zocket.control.orchestration.process import Confinement, Process
from zocket.errors import SettingsError, Unavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection, Sequence

    from zocket.clock import Clock
    from zocket.control.deployment_schemas import LogLine
    from zocket.control.orchestration.port import Launch, Watcher
    from zocket.settings import OrchestrationSettings

FIRST_DELAY_S: Final = 0.25
"""Before the first restart: a process that was killed comes back at once."""
MAX_DELAY_S: Final = 30.0
"""Longest wait of a process that dies again and again."""
STEADY_S: Final = 10.0
"""A process that lived this long was healthy; its next death is a first one."""
CRASH_LOOP: Final = 5
"""Quick deaths in a row that make a crash loop."""
STOP_TIMEOUT_S: Final = 15.0
"""Longer than the drain of a runtime (10 s by default); then it is killed."""
LAST_WORDS: Final = 3
"""Lines of its output that the message of a bare exit holds."""
PORTS: Final = (20_000, 32_000)
"""Health ports: below the range from which the system gives ports to clients, so that nothing takes one in between."""
PORT_TRIES: Final = 200
LOOPBACK: Final = "127.0.0.1"

log = logging.getLogger("zocket.control")

COMMAND: Final = (sys.executable, "-P", "-m", "zocket", "runtime", "--log-format", "json")
"""`-P` keeps the working directory from being imported instead of the bundle."""


class LocalOrchestrator:
    """Processes of this machine; made by `open`. See `Orchestrator`."""

    def __init__(self, settings: OrchestrationSettings, clock: Clock, command: Sequence[str]) -> None:
        self._settings = settings
        self._clock = clock
        self._command = command
        self._home = Path(settings.runtime_dir).absolute()
        self._runtimes: dict[str, _Runtime] = {}
        self._journals: dict[str, Journal] = {}
        self._changed: Callable[[str], None] = lambda _: None

    @classmethod
    @asynccontextmanager
    async def open(
        cls, settings: OrchestrationSettings, clock: Clock, *, command: Sequence[str] = COMMAND
    ) -> AsyncIterator[LocalOrchestrator]:
        """Whatever is started during the block has stopped after it.

        Args:
            settings: directory, user and limits.
            clock: time of restarts.
            command: what a runtime is; another program in tests.

        Raises:
            SettingsError: the user does not exist, or only root may become it.
        """
        if settings.runtime_user and os.geteuid() != 0:
            raise SettingsError("RUNTIME_USER: only root can run processes as another user")
        if os.geteuid() == 0 and not settings.runtime_user:
            log.warning("runtimes run as root, and can read whatever the control plane can: set RUNTIME_USER")
        orchestrator = cls(settings, clock, command)
        orchestrator._confinement(None)
        try:
            yield orchestrator
        finally:
            await asyncio.gather(*(runtime.stop() for runtime in orchestrator._runtimes.values()))
            for journal in orchestrator._journals.values():
                journal.close()

    def watch(self, watcher: Watcher) -> None:
        """See `Orchestrator.watch`."""
        self._changed = watcher.changed

    async def start(self, launch: Launch) -> None:
        """See `Orchestrator.start`."""
        if launch.deployment_id in self._runtimes:
            return
        confinement = self._confinement(launch.memory_bytes)
        directory = self._home / "run" / launch.deployment_id
        try:
            await asyncio.to_thread(_prepare, directory, confinement)
            journal = self._journal(launch.deployment_id)
        except OSError as error:
            raise Unavailable(f"RUNTIME_DIR: {self._home} cannot be used ({error.strerror or error})") from error
        runtime = _Runtime(
            launch, self._command, directory, confinement, journal, clock=self._clock, changed=self._changed
        )
        self._runtimes[launch.deployment_id] = runtime
        runtime.begin()

    async def stop(self, deployment_id: str) -> None:
        """See `Orchestrator.stop`."""
        runtime = self._runtimes.get(deployment_id)
        if runtime is None:
            return
        await runtime.stop()
        if self._runtimes.get(deployment_id) is runtime:
            del self._runtimes[deployment_id]
        journal = self._journals.pop(deployment_id, None)
        if journal is not None:
            journal.close()
        await asyncio.to_thread(shutil.rmtree, runtime.directory, ignore_errors=True)
        self._changed(deployment_id)

    async def sweep(self, keep: Collection[str]) -> None:
        """See `Orchestrator.sweep`: an earlier process took its runtimes with it; only directories are left."""
        directory = self._home / "run"

        def remove() -> None:
            if directory.is_dir():
                for entry in directory.iterdir():
                    if entry.name not in keep and entry.name not in self._runtimes:
                        shutil.rmtree(entry, ignore_errors=True)

        await asyncio.to_thread(remove)

    def observe(self, deployment_id: str) -> Observation | None:
        """See `Orchestrator.observe`."""
        runtime = self._runtimes.get(deployment_id)
        return runtime.observation if runtime is not None else None

    def logs(self, deployment_id: str, *, lines: int, follow: bool) -> AsyncIterator[LogLine]:
        """See `Orchestrator.logs`."""
        journal = self._journals.get(deployment_id)
        if journal is None:
            return Journal.read(self._log_path(deployment_id), lines)
        return journal.tail(lines, follow=follow)

    def _journal(self, deployment_id: str) -> Journal:
        if deployment_id not in self._journals:
            self._journals[deployment_id] = Journal(self._log_path(deployment_id), self._clock)
        return self._journals[deployment_id]

    def _log_path(self, deployment_id: str) -> Path:
        return self._home / "logs" / f"{deployment_id}.jsonl"

    def _confinement(self, memory_bytes: int | None) -> Confinement:
        settings = self._settings
        return Confinement.of(
            settings.runtime_user,
            memory_bytes=memory_bytes or settings.runtime_memory_bytes,
            open_files=settings.runtime_open_files,
            processes=settings.runtime_processes,
        )


class _Runtime:
    """One runtime, kept running."""

    def __init__(
        self,
        launch: Launch,
        command: Sequence[str],
        directory: Path,
        confinement: Confinement,
        journal: Journal,
        *,
        clock: Clock,
        changed: Callable[[str], None],
    ) -> None:
        self.directory = directory
        self._launch = launch
        self._command = command
        self._confinement = confinement
        self._journal = journal
        self._clock = clock
        self._changed = changed
        self._process: Process | None = None
        self._task: asyncio.Task[None] | None = None
        self._port = 0
        self._restarts = self._quick = 0
        self._exit: Exit | None = None
        self.observation = Observation("starting", self._now_ms())

    def begin(self) -> None:
        """Starts it; to be followed by `stop`."""
        self._task = asyncio.create_task(self._keep())

    async def stop(self) -> None:
        """Ends it for good; it is gone when this returns."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        process, self._process = self._process, None
        if process is not None:
            await process.stop(STOP_TIMEOUT_S)

    async def _keep(self) -> None:
        while True:
            began = self._clock.now()
            code, message = await self._run()
            steady = self._clock.now() - began >= STEADY_S
            self._quick = 0 if steady else self._quick + 1
            self._exit = Exit(code, self._now_ms(), message)
            self._journal.write("platform", message)
            self._restarts += 1
            self._set("crash_loop" if self._quick >= CRASH_LOOP else "waiting")
            await self._clock.sleep(min(FIRST_DELAY_S * 2 ** max(self._quick - 1, 0), MAX_DELAY_S))

    async def _run(self) -> tuple[int | None, str]:
        """One life of the process: its exit code, and what is to be said about it."""
        self._set("starting")
        try:
            self._port = _free_port()
            self._process = process = await Process.start(
                self._command,
                environ=self._environ(),
                directory=self.directory,
                confinement=self._confinement,
                heard=self._journal.write,
            )
        except OSError as error:
            hint = "; can RUNTIME_USER read the interpreter?" if isinstance(error, PermissionError) else ""
            return None, f"the runtime cannot be started: {error.strerror or error}{hint}"
        self._set("running")
        code = await process.wait()
        self._process = None
        return code, _farewell(code, self._journal.last_words(LAST_WORDS))

    def _environ(self) -> dict[str, str]:
        home = str(self.directory)
        return {
            "LANG": "C.UTF-8",
            "PATH": os.defpath,
            "PYTHONUNBUFFERED": "1",
            "HOME": home,
            "TMPDIR": home,
            **self._launch.variables,
            **self._launch.environ,
            "API_HOST": LOOPBACK,
            "API_PORT": str(self._port),
            "BUNDLE_DIR": str(self.directory / "bundles"),
        }

    def _set(self, state: str) -> None:
        self.observation = Observation(
            state,  # type: ignore[arg-type]  # one of the four, by the callers above
            self._now_ms(),
            self._restarts,
            self._process.pid if self._process is not None and state == "running" else None,
            self._exit,
            f"http://{LOOPBACK}:{self._port}" if state == "running" else None,
        )
        self._changed(self._launch.deployment_id)

    def _now_ms(self) -> int:
        return int(self._clock.wall() * 1000)


def _farewell(code: int, last_words: Sequence[str]) -> str:
    how = f"ended with code {code}" if code >= 0 else f"was ended by signal {-code}"
    said = f"; its last words: {' / '.join(last_words)}" if last_words else ""
    return f"the runtime {how}{said}"


def _free_port() -> int:
    """A port of loopback that nobody listens on; the runtime itself binds it a moment later."""
    for _ in range(PORT_TRIES):
        port = random.randint(*PORTS)  # noqa: S311 — no secret
        with contextlib.suppress(OSError), contextlib.closing(socket.socket()) as probe:
            probe.bind((LOOPBACK, port))
            return port
    raise OSError("no port of loopback is free")


def _prepare(directory: Path, confinement: Confinement) -> None:
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    (directory / "bundles").mkdir(exist_ok=True, mode=0o700)
    confinement.give(directory)
    confinement.give(directory / "bundles")
