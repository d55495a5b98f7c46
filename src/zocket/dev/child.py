"""One process that `zocket dev` runs: started, read line by line, stopped in bounded time.

Rules: a child is in a session of its own, so Ctrl-C on the terminal reaches only us, who stop the children in order; on
Linux the kernel kills it when we die, however we die; its output is read as long as it runs, so it never blocks.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, STDOUT
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from asyncio import StreamReader
    from asyncio.subprocess import Process
    from collections.abc import Callable, Mapping, Sequence

STOP_TIMEOUT_S: Final = 6.0
"""A child that was asked to stop is killed after this; longer than the drain that `zocket dev` allows it."""
MAX_LINE_BYTES: Final = 1_048_576
"""A line of output beyond this is cut into several."""
_READ_BYTES: Final = 65_536
_PR_SET_PDEATHSIG: Final = 1


def _dies_with_parent() -> Callable[[], None] | None:
    """What a new process calls so that the kernel kills it with its parent; None where the system cannot."""
    if not sys.platform.startswith("linux"):
        return None
    prctl, parent = ctypes.CDLL(None).prctl, os.getpid()

    def tie() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before the call
            os._exit(1)

    return tie


_TIE: Final = _dies_with_parent()
"""For `preexec_fn`; only to be used by the thread and process that imported this module."""


class Running(Protocol):
    """A process as its keeper sees it."""

    @property
    def pid(self) -> int:
        """Its id."""

    async def wait(self) -> int:
        """Its exit code, when it has ended and its output is read; negative for a signal."""

    async def stop(self, timeout_s: float = STOP_TIMEOUT_S) -> None:
        """Asks it to stop, kills it after the time, and returns when it is gone."""

    def kill(self) -> None:
        """Ends it at once."""


class Child:
    """A real process; made by `start`."""

    def __init__(self, process: Process, reading: asyncio.Task[None]) -> None:
        self._process = process
        self._reading = reading

    @classmethod
    async def start(cls, arguments: Sequence[str], environ: Mapping[str, str], heard: Callable[[str], None]) -> Child:
        """Starts a program.

        Args:
            arguments: the program and its arguments.
            environ: its whole environment.
            heard: called with each line of its output and errors.

        Raises:
            OSError: it cannot be started.
        """
        process = await asyncio.create_subprocess_exec(
            *arguments,
            stdin=DEVNULL,
            stdout=PIPE,
            stderr=STDOUT,
            env=dict(environ),
            start_new_session=True,
            preexec_fn=_TIE,
        )
        assert process.stdout is not None
        return cls(process, asyncio.create_task(_read(process.stdout, heard)))

    @property
    def pid(self) -> int:
        """Its id."""
        return self._process.pid

    async def wait(self) -> int:
        """See `Running.wait`."""
        code = await self._process.wait()
        # What it started itself may hold the pipe open; that is not waited for.
        await asyncio.wait((self._reading,), timeout=0.2)
        self._reading.cancel()
        return code

    async def stop(self, timeout_s: float = STOP_TIMEOUT_S) -> None:
        """See `Running.stop`."""
        self._signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(self._process.wait(), timeout_s)
        except TimeoutError:
            self.kill()
        await self.wait()

    def kill(self) -> None:
        """Ends it and what it started, at once."""
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)


async def _read(output: StreamReader, heard: Callable[[str], None]) -> None:
    pending = b""
    while chunk := await output.read(_READ_BYTES):
        *lines, pending = (pending + chunk).split(b"\n")
        if len(pending) > MAX_LINE_BYTES:
            lines.append(pending)
            pending = b""
        for line in lines:
            heard(line.decode("utf-8", "replace").rstrip("\r"))
    if pending:
        heard(pending.decode("utf-8", "replace"))
