"""Starts the command `zocket` as a person would, in a directory of its own, and looks at what it leaves behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import psutil
import pytest

from tests.tied import tied

LIMIT_S: Final = 40.0
"""A busy machine starts the whole platform in less."""

APP: Final = """
from pydantic import BaseModel

from zocket import Actor, App, method


class State(BaseModel):
    count: int = 0


class Counter(Actor[State]):
    @method
    async def add(self) -> str:
        self.state.count += 1
        return f"VERSION {self.state.count}"


app = App(actors={"counter": Counter})
"""


@dataclass
class Command:
    """A running `zocket`.

    Attributes:
        seen: every process that was ever below it.
    """

    process: psutil.Popen
    directory: Path
    output: Path
    seen: list[psutil.Process] = field(default_factory=list)

    def text(self) -> str:
        return self.output.read_text()

    def status(self) -> dict[str, Any]:
        try:
            content: dict[str, Any] = json.loads((self.directory / "status.json").read_text())
        except (OSError, ValueError):
            return {}
        return content

    def wait_until(self, condition: Callable[[], Any]) -> Any:
        deadline = time.monotonic() + LIMIT_S
        while not (value := condition()):
            self.seen += [child for child in self._below() if child not in self.seen]
            assert self.process.poll() is None, f"it ended with {self.process.returncode}:\n{self.text()}"
            assert time.monotonic() < deadline, self.text()
            time.sleep(0.02)
        return value

    def wait_serving(self) -> str:
        """The URL for sockets, once the first version serves and the banner is written."""
        self.wait_until(lambda: "Ctrl-C stops" in self.text())
        self.seen += [child for child in self._below() if child not in self.seen]
        url: str = self.status()["gateway"]["url"]
        return url

    def wait_exit(self) -> int:
        code: int = self.process.wait(LIMIT_S)
        return code

    def stop(self, number: signal.Signals = signal.SIGINT) -> int:
        self.process.send_signal(number)
        return self.wait_exit()

    def left_over(self) -> list[psutil.Process]:
        """Processes that are still there, after a moment to go."""
        _, alive = psutil.wait_procs(self.seen, timeout=LIMIT_S / 4)
        return list(alive)

    def _below(self) -> list[psutil.Process]:
        try:
            return list(self.process.children(recursive=True))
        except psutil.NoSuchProcess:
            return []


Start = Callable[..., Command]


@pytest.fixture
def write_app(tmp_path: Path) -> Callable[[str], None]:
    """`write_app("one")` makes the counter answer `one 1`, `one 2`, …"""

    def write(version: str) -> None:
        (tmp_path / "counting.py").write_text(APP.replace("VERSION", version))

    write("one")
    return write


@pytest.fixture
def start(tmp_path: Path, write_app: Callable[[str], None]) -> Iterator[Start]:
    """`start("dev", "counting:app", "--port", "0")`; whatever is left of it is killed at the end."""
    commands: list[Command] = []

    def started(*arguments: str, **environ: str) -> Command:
        output = tmp_path / f"output-{len(commands)}.txt"
        with output.open("wb") as sink:
            process = psutil.Popen(
                tied(str(Path(sys.executable).with_name("zocket")), *arguments),
                cwd=tmp_path,
                env={**os.environ, **environ},
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
            )
        commands.append(Command(process, tmp_path, output))
        return commands[-1]

    yield started
    for command in commands:
        for process in [*command._below(), *command.seen, command.process]:
            if process.is_running():
                process.kill()
        command.process.wait(LIMIT_S)
