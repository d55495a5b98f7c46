"""Several processes of one gateway on one port: `zocket gateway --workers N`.

Rules: each worker listens on the port by itself and the kernel shares the connections out; one that dies is started
again, more slowly each time; one that never served ends the command. A worker is told to stop by a signal, and by the
end of its standard input, which is the end of its parent, however that died.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import signal
import sys
from asyncio.subprocess import PIPE
from dataclasses import fields
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from zocket.clock import SystemClock
from zocket.dev.service import Service
from zocket.errors import BootError
from zocket.gateway.process import SERVING
from zocket.settings import GatewaySettings
from zocket.sockets.listener import reserve

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import Callable, Mapping, Sequence

STOP_MARGIN_S: Final = 10.0
"""A worker that needs so much longer than the drain that it is allowed is killed."""

_log: Final = logging.getLogger("zocket.gateway")


class Worker:
    """One process that serves; made by `start`."""

    def __init__(self, process: Process, serves: Callable[[], None], stop_timeout_s: float) -> None:
        self._process = process
        self._stop_timeout_s = stop_timeout_s
        self._hearing = asyncio.create_task(self._hear(serves))

    @classmethod
    async def start(
        cls, command: Sequence[str], environ: Mapping[str, str], serves: Callable[[], None], stop_timeout_s: float
    ) -> Worker:
        """Starts it; `serves` is called once it says that it serves.

        Raises:
            OSError: it cannot be started.
        """
        # In a session of its own: Ctrl-C on the terminal reaches the parent alone, which stops the workers in order.
        process = await asyncio.create_subprocess_exec(
            *command, env=environ, stdin=PIPE, stdout=PIPE, start_new_session=True
        )
        return cls(process, serves, stop_timeout_s)

    async def _hear(self, serves: Callable[[], None]) -> None:
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            if line.decode().strip() == SERVING:
                serves()

    @property
    def pid(self) -> int:
        """See `Running.pid`."""
        return self._process.pid

    async def wait(self) -> int:
        """See `Running.wait`."""
        code = await self._process.wait()
        # What it started itself may hold the pipe open; that is not waited for.
        await asyncio.wait((self._hearing,), timeout=0.2)
        self._hearing.cancel()
        return code

    async def stop(self, timeout_s: float | None = None) -> None:
        """See `Running.stop`; by default it has the time of its drain and some more."""
        self._signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(self._process.wait(), self._stop_timeout_s if timeout_s is None else timeout_s)
        except TimeoutError:
            self.kill()
        await self.wait()

    def kill(self) -> None:
        """See `Running.kill`."""
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)


class _Log:
    """Where a service tells of deaths and restarts."""

    def tell(self, text: str, *, level: str = "info") -> None:
        _log.log(logging.getLevelNamesMapping()[level.upper()], text)


class Workers:
    """The workers of one command.

    Args:
        settings: of the command.
        command: starts a worker, but for its number.
        environ: of the workers, but for what is each one's own.
        port: that all of them listen on.
    """

    def __init__(
        self, settings: GatewaySettings, command: Sequence[str], environ: Mapping[str, str], port: int
    ) -> None:
        self._settings = settings
        self._command = command
        self._environ = environ
        self._port = port
        self._serving = [asyncio.Event() for _ in range(settings.workers)]
        self._services = [
            Service(
                f"worker {number}", partial(self._launch, number), clock=SystemClock(), console=_Log(), restarts=False
            )
            for number in range(1, settings.workers + 1)
        ]

    async def _launch(self, number: int) -> Worker:
        environ = {**self._environ, **own_environment(self._settings, self._port, number)}
        stop_timeout_s = self._settings.drain_timeout_s + STOP_MARGIN_S
        worker: Worker
        worker = await Worker.start(
            [*self._command, "--worker", str(number)],
            environ,
            lambda: self._note_serving(number, worker.pid),
            stop_timeout_s,
        )
        return worker

    def _note_serving(self, number: int, pid: int) -> None:
        _log.info("worker %d is process %d", number, pid)
        self._services[number - 1].restarts = True
        self._serving[number - 1].set()

    async def run(self, stop: asyncio.Event) -> bool:
        """Serves until `stop`, or until a worker has ended that never served: False then. Nothing runs afterwards.

        Raises:
            BootError: a worker cannot be started.
        """
        stopped = asyncio.ensure_future(stop.wait())
        ended = []
        try:
            for service, serving in zip(self._services, self._serving, strict=True):
                service.start()
                ended.append(asyncio.ensure_future(service.wait_ended()))
                # One by one, so that what keeps all of them from starting is said once.
                if not await _wait(serving, (stopped, *ended)):
                    break
            else:
                _log.info("%d workers answer on port %d", len(self._services), self._port)
                await asyncio.wait((stopped, *ended), return_when=asyncio.FIRST_COMPLETED)
            _raise_what_ended(ended)
            return stop.is_set()
        finally:
            for service in self._services:
                service.restarts = False
            await asyncio.gather(*(service.stop() for service in self._services))
            for wait in (stopped, *ended):
                wait.cancel()


def _raise_what_ended(ended: Sequence[asyncio.Future[None]]) -> None:
    for wait in ended:
        if wait.done() and (error := wait.exception()) is not None:
            raise BootError(f"a worker cannot be started: {error}") from error


async def _wait(event: asyncio.Event, others: Sequence[asyncio.Future[Any]]) -> bool:
    """Whether the event was set before any of the others was done."""
    waiting = asyncio.ensure_future(event.wait())
    await asyncio.wait((waiting, *others), return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    return event.is_set()


def own_environment(settings: GatewaySettings, port: int, number: int) -> dict[str, str]:
    """Variables of one worker: the shared port, and a port for operators of its own, counted up from the first."""
    metrics_port = settings.metrics_port and settings.metrics_port + number - 1
    return {"PORT": str(port), "METRICS_PORT": str(metrics_port), "WORKERS": "1"}


def environment(flags: Mapping[str, Any], environ: Mapping[str, str]) -> dict[str, str]:
    """The environment with the options of the command line in it, and with a secret by which sessions are resumed."""
    named = {item.name: item.metadata["variable"] for item in fields(GatewaySettings) if item.metadata}
    given = {named[name]: str(value) for name, value in flags.items() if value is not None}
    secret = environ.get("RESUME_SECRET") or secrets.token_hex(32)  # one for all, so that sessions go on at any worker
    return {**environ, **given, "RESUME_SECRET": secret}


async def run(settings: GatewaySettings, flags: Mapping[str, Any], log_options: Sequence[str]) -> int:
    """Keeps the workers serving until SIGTERM or SIGINT; the exit code: 1 if one of them never served.

    Args:
        settings: of the command; `workers` says how many.
        flags: options of the command line, by names of settings.
        log_options: of the command line, for the workers.

    Raises:
        BootError: something listens on the port already.
    """
    stop = asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(name, stop.set)
    with reserve(settings.host, settings.port) as held:
        port: int = held.getsockname()[1]
        command = [sys.executable, "-m", "zocket", "gateway", *log_options]
        workers = Workers(settings, command, environment(flags, os.environ), port)
        return 0 if await workers.run(stop) else 1
