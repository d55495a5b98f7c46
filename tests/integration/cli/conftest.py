"""A home, a machine's processes and a person with a browser: what `zocket` meets where it is used."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from websockets.sync.client import connect

from tests.tied import tied

LIMIT_S: Final = 40.0
"""A busy machine starts a process in less."""
EMAIL: Final = "ada@example.com"
PASSWORD: Final = "correct horse battery staple"
INTERNAL: Final = "an internal token of the test"


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass
class Machine:
    """A directory with a home of its own, and the `zocket` processes in it.

    Attributes:
        environ: what a command gets besides; no variable of ours comes from outside.
    """

    directory: Path
    nats_url: str
    environ: dict[str, str] = field(default_factory=dict)
    control_url: str = ""
    _running: list[tuple[subprocess.Popen[bytes], Path]] = field(default_factory=list)

    def run(self, *arguments: str, cwd: Path | None = None, stdin: str = "", **environ: str) -> Ended:
        """A command from its beginning to its end."""
        ended = subprocess.run(
            [sys.executable, "-m", "zocket", *arguments],
            cwd=cwd or self.directory,
            env=self._environ(environ),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )
        return Ended(ended.returncode, ended.stdout, ended.stderr)

    def start(self, *arguments: str, **environ: str) -> Path:
        """A command that goes on until the end of the test; the file of its output."""
        output = self.directory / f"{arguments[0]}-{len(self._running)}.log"
        with output.open("wb") as sink:
            process = subprocess.Popen(
                tied(sys.executable, "-m", "zocket", *arguments),
                cwd=self.directory,
                env=self._environ(environ),
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
            )
        self._running.append((process, output))
        return output

    def start_control(self) -> None:
        """The control plane with its local orchestrator, as little told as it can be."""
        log = self.start("control", "--port", "0", RUNTIME_NATS_URL=self.nats_url, RUNTIME_GRACE_S="0.2")
        self.control_url = wait_line(log, r'"url": "(http:[^"]+)"')

    def start_gateway(self) -> int:
        """A gateway; its port."""
        log = self.start(
            "gateway",
            "--port",
            "0",
            "--host",
            "127.0.0.1",
            NATS_URL=self.nats_url,
            CONTROL_PLANE_URL=self.control_url,
            METRICS_PORT="0",
        )
        return int(wait_line(log, r"answers on port (\d+)"))

    def approve(self, code: str) -> None:
        """Confirms a code in a browser, signed in by password."""
        with httpx.Client(base_url=self.control_url, timeout=LIMIT_S, trust_env=False) as browser:
            signed_in = browser.post("/api/auth/login", json={"email": EMAIL, "password": PASSWORD})
            assert signed_in.is_success, signed_in.text
            browser.headers["x-zocket-csrf"] = signed_in.json()["csrf"]
            flow = browser.post("/api/auth/device/lookup", json={"userCode": code})
            assert flow.is_success, flow.text
            approved = browser.post(f"/api/auth/device/{flow.json()['deviceCode']}/approve", json={})
            assert approved.is_success, approved.text

    def sign_in(self) -> None:
        """`zocket auth login`, approved by a person."""
        log = self.start("auth", "login", self.control_url)
        self.approve(wait_line(log, r"code=([A-Z0-9-]+)"))
        wait_line(log, r"(Signed in to)")

    def stop(self) -> None:
        for process, _ in self._running:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process, _ in self._running:
            try:
                process.wait(LIMIT_S)
            finally:
                process.kill()

    def _environ(self, more: dict[str, str]) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.directory / "home"),
            "CONTROL_PLANE_INTERNAL_TOKEN": INTERNAL,
            **self.environ,
            **more,
        }


def wait_line(log: Path, pattern: str) -> str:
    """What the pattern's group is in a log, once it is there."""
    deadline = time.monotonic() + LIMIT_S
    while True:
        match = re.search(pattern, log.read_text())
        if match:
            return match[1]
        assert time.monotonic() < deadline, f"{pattern} is not in {log}:\n{log.read_text()}"
        time.sleep(0.03)


def call(port: int, host: str, method: str, **input_: Any) -> Any:
    """The result of one call by a client that knows a host name and a port."""
    here = socket.create_connection(("127.0.0.1", port), LIMIT_S)
    with connect(f"ws://{host}:{port}/", sock=here, open_timeout=LIMIT_S) as client:
        request = {"type": "rpc", "id": "1", "actor": "counter", "actorId": "main", "method": method, "input": input_}
        client.send(json.dumps(request))
        while True:
            frame = json.loads(client.recv(LIMIT_S))
            if frame["type"] == "rpc:result":
                assert "error" not in frame, frame
                return frame["result"]


@pytest.fixture
def machine(tmp_path: Path, nats_url: str) -> Iterator[Machine]:
    (tmp_path / "home").mkdir()
    found = Machine(tmp_path, nats_url)
    yield found
    found.stop()


@pytest.fixture
def person() -> tuple[str, str]:
    """Address and password of the administrator."""
    return EMAIL, PASSWORD


@pytest.fixture
def calling() -> Callable[..., Any]:
    """`calling(port, host, method, **input)`."""
    return call
