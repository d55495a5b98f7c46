"""Real processes on loopback: started, waited for, stopped.

Rules: whoever starts a process stops it, whatever happens in between; the kernel kills it when the starter dies; its
output goes to a file that an error shows the end of; a wait has a deadline and notices a process that ended.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any, Final, Self

from websockets.exceptions import WebSocketException
from websockets.sync.client import connect

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

BIN: Final = os.path.dirname(sys.executable)
"""Where the commands of this environment are: `zocket`, `uvicorn`."""
READY_TIMEOUT_S: Final = 40.0
"""Until a service answers; generous, since other programs may keep both cores busy."""
STOP_TIMEOUT_S: Final = 10.0
"""After it a process that was asked to stop is killed."""
POLL_S: Final = 0.05
_PORTS: Final = (20_000, 32_000)
"""Below the range from which the system gives ports to clients, so that nothing takes one before its server does."""
_INHERITED: Final = ("HOME", "LANG", "LC_ALL", "PATH", "PYTHONPATH", "TMPDIR")
_PR_SET_PDEATHSIG: Final = 1


class BenchmarkError(Exception):
    """Something could not be started or did not answer; its text is for a person."""


def _tie() -> Callable[[], None] | None:
    if not sys.platform.startswith("linux"):
        return None
    prctl = ctypes.CDLL(None).prctl
    return lambda: prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


dies_with_us: Final = _tie()
"""For `preexec_fn`: the kernel kills the process when ours ends, however it ends. Only for the main thread."""


def free_port() -> int:
    """A port of loopback on which nothing listens."""
    for _ in range(200):
        port = random.randint(*_PORTS)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise BenchmarkError("no free port")


class Process:
    """One program, running during the `with` block.

    Args:
        name: in messages, and of its log.
        arguments: the program and its arguments.
        home: directory of its log.
        environ: variables beside the few that it inherits.
        directory: its working directory.
    """

    def __init__(
        self, name: str, arguments: Sequence[str], home: Path, *, environ: Mapping[str, str], directory: Path
    ) -> None:
        self.name = name
        self._log = home / f"{name}.log"
        self._arguments = list(arguments)
        self._directory = directory
        inherited = {key: os.environ[key] for key in _INHERITED if key in os.environ}
        self._environ = {**inherited, "PYTHONUNBUFFERED": "1", **environ}
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        with self._log.open("wb") as log:
            # A session of its own: Ctrl-C on a terminal reaches only us, who stop everything in order.
            self._process = subprocess.Popen(
                self._arguments,
                cwd=self._directory,
                env=self._environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=dies_with_us,
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        process = self._process
        if process is None or process.poll() is not None:
            return
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    @property
    def pid(self) -> int:
        """Its id."""
        assert self._process is not None
        return self._process.pid

    @property
    def code(self) -> int | None:
        """How it ended, as `subprocess` says it; None while it runs."""
        assert self._process is not None
        return self._process.poll()

    def send(self, number: signal.Signals) -> None:
        """Sends it a signal; nothing happens if it has ended."""
        assert self._process is not None
        self._process.send_signal(number)

    def log(self) -> str:
        """All that it wrote."""
        return self._log.read_text(errors="replace")

    def wait_until(self, what: str, holds: Callable[[], bool]) -> None:
        """Returns when the condition holds.

        Raises:
            BenchmarkError: the process ended, or the condition does not come to hold in time; with the end of its log.
        """

        def holds_or_ended() -> bool:
            assert self._process is not None
            if (code := self._process.poll()) is not None:
                raise BenchmarkError(f"it ended with code {code}")
            return holds()

        try:
            wait_until(what, holds_or_ended)
        except BenchmarkError as error:
            raise BenchmarkError(f"{self.name}: {error}:\n{self.log_end()}") from None

    def log_end(self) -> str:
        """The last lines that it wrote."""
        return "\n".join(self.log().splitlines()[-12:])


def wait_until(what: str, holds: Callable[[], bool]) -> None:
    """Returns when the condition holds; raises BenchmarkError if it does not in time."""
    limit = time.monotonic() + READY_TIMEOUT_S
    while not holds():
        if time.monotonic() > limit:
            raise BenchmarkError(f"{what}: not within {READY_TIMEOUT_S:g} s")
        time.sleep(POLL_S)


def listens(port: int) -> bool:
    """Whether somebody listens on a port of loopback."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2):
            return True
    except OSError:
        return False


def answers(url: str) -> bool:
    """Whether a GET is answered with 200."""
    try:
        with urllib.request.urlopen(url, timeout=2) as response:
            return bool(response.status == 200)
    except (OSError, urllib.error.URLError):
        return False


def read(url: str) -> str:
    """The text of a GET; empty if it is not answered with 200."""
    try:
        with urllib.request.urlopen(url, timeout=2) as response:
            return response.read().decode() if response.status == 200 else ""
    except (OSError, urllib.error.URLError):
        return ""


def request(verb: str, url: str, body: bytes, headers: Mapping[str, str]) -> Any:
    """Sends a body; the JSON of the answer.

    Raises:
        BenchmarkError: it was refused; the text says why.
    """
    message = urllib.request.Request(url, data=body, method=verb, headers=dict(headers))
    try:
        with urllib.request.urlopen(message, timeout=10) as response:
            return json.load(response)
    except urllib.error.HTTPError as error:
        raise BenchmarkError(f"{verb} {error.code}: {error.read().decode(errors='replace')[:300]}") from error


def serves_calls(url: str) -> bool:
    """Whether a call goes the whole way and comes back with a result."""
    call = {"type": "rpc", "id": "ready", "actor": "counter", "actorId": "ready", "method": "increment"}
    try:
        with connect(url, open_timeout=2, close_timeout=2, proxy=None, compression=None) as client:
            client.send(json.dumps(call))
            while True:
                frame = json.loads(client.recv(timeout=2))
                if frame.get("id") == "ready":
                    return "result" in frame
    except (OSError, TimeoutError, WebSocketException):
        return False
