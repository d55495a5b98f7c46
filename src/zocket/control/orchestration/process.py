"""One process of a runtime: confined, heard line by line, stopped in bounded time.

Rules: it is in a session of its own, so what it starts can be ended with it; on Linux the kernel kills it when we die,
however we die; its output is read as long as it runs, so it never blocks; between fork and exec nothing is done but
system calls.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import pwd
import resource
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from zocket.errors import SettingsError

if TYPE_CHECKING:
    from asyncio import StreamReader
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

MAX_LINE_BYTES: Final = 65_536
"""A line of output beyond this is cut into several."""
_READ_BYTES: Final = 65_536
_PR_SET_PDEATHSIG: Final = 1
_PR_SET_NO_NEW_PRIVS: Final = 38


@dataclass(frozen=True, slots=True)
class Confinement:
    """What a process may be and use.

    Attributes:
        user, group: ids it runs as, None for ours.
        limits: (resource, value) pairs; both the soft and the hard limit.
    """

    user: int | None = None
    group: int | None = None
    limits: tuple[tuple[int, int], ...] = ()

    @classmethod
    def of(cls, user: str, *, memory_bytes: int, open_files: int, processes: int) -> Confinement:
        """From settings, where 0 means no limit of its own.

        Raises:
            SettingsError: there is no such user.
        """
        limits = (
            (resource.RLIMIT_AS, memory_bytes),
            (resource.RLIMIT_NOFILE, open_files),
            (resource.RLIMIT_NPROC, processes),
        )
        bounded = tuple((kind, value) for kind, value in limits if value)
        if not user:
            return cls(limits=(*bounded, (resource.RLIMIT_CORE, 0)))
        try:
            entry = pwd.getpwnam(user)
        except KeyError:
            raise SettingsError(f"RUNTIME_USER: there is no user {user!r} on this machine") from None
        return cls(entry.pw_uid, entry.pw_gid, (*bounded, (resource.RLIMIT_CORE, 0)))

    def give(self, path: Path) -> None:
        """The file belongs to who the process runs as."""
        if self.user is not None and self.group is not None:
            os.chown(path, self.user, self.group)

    def enter(self) -> Callable[[], None]:
        """What the new process calls before it becomes the program."""
        is_linux, parent = sys.platform.startswith("linux"), os.getpid()
        prctl: Any = ctypes.CDLL(None).prctl if is_linux else None
        limits = [(kind, _at_most(kind, value)) for kind, value in self.limits]

        def confine() -> None:
            for kind, value in limits:
                resource.setrlimit(kind, (value, value))
            if self.user is not None and self.group is not None:
                os.setgroups([])
                os.setgid(self.group)
                os.setuid(self.user)
            if prctl is not None:
                prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
                prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # after the change of user, which would undo it
                if os.getppid() != parent:  # it died before the call
                    os._exit(1)

        return confine


def _at_most(kind: int, value: int) -> int:
    """A limit cannot be above the one that we have ourselves, unless we are root."""
    hard = resource.getrlimit(kind)[1]
    return value if hard == resource.RLIM_INFINITY else min(value, hard)


class Process:
    """A running process; made by `start`."""

    def __init__(self, process: asyncio.subprocess.Process, reading: Sequence[asyncio.Task[None]]) -> None:
        self._process = process
        self._reading = reading

    @classmethod
    async def start(
        cls,
        arguments: Sequence[str],
        *,
        environ: Mapping[str, str],
        directory: Path,
        confinement: Confinement,
        heard: Callable[[str, str], None],
    ) -> Process:
        """Starts a program.

        Args:
            arguments: the program and its arguments.
            environ: its whole environment.
            directory: its working directory.
            confinement: what it may.
            heard: called with `stdout` or `stderr` and each line.

        Raises:
            OSError: it cannot be started.
        """
        process = await asyncio.create_subprocess_exec(
            *arguments,
            stdin=DEVNULL,
            stdout=PIPE,
            stderr=PIPE,
            env=dict(environ),
            cwd=directory,
            start_new_session=True,
            preexec_fn=confinement.enter(),
        )
        assert process.stdout is not None
        assert process.stderr is not None
        reading = [
            asyncio.create_task(_read(process.stdout, "stdout", heard)),
            asyncio.create_task(_read(process.stderr, "stderr", heard)),
        ]
        return cls(process, reading)

    @property
    def pid(self) -> int:
        """Its id."""
        return self._process.pid

    async def wait(self) -> int:
        """Its exit code, when it has ended and its output is read; negative for a signal. What it started is ended."""
        code = await self._process.wait()
        self._kill_group()
        # What left its session may still hold the pipes open; that is not waited for.
        await asyncio.wait(self._reading, timeout=0.5)
        for task in self._reading:
            task.cancel()
        return code

    async def stop(self, timeout_s: float) -> None:
        """Asks it to stop, kills it after the time, and returns when it is gone."""
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(self._process.wait(), timeout_s)
        except TimeoutError:
            self._kill_group()
        await self.wait()

    def _kill_group(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)


async def _read(output: StreamReader, stream: str, heard: Callable[[str, str], None]) -> None:
    pending = b""
    while chunk := await output.read(_READ_BYTES):
        *lines, pending = (pending + chunk).split(b"\n")
        if len(pending) > MAX_LINE_BYTES:
            lines.append(pending)
            pending = b""
        for line in lines:
            heard(stream, line.decode("utf-8", "replace").rstrip("\r"))
    if pending:
        heard(stream, pending.decode("utf-8", "replace"))
