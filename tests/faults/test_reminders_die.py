"""Reminders of a durable actor while its runtime processes die at commits: on a real NATS server."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.faults.conftest import Platform, Socket

pytestmark = pytest.mark.nats

APP = """
from __future__ import annotations
import os, pathlib
from zocket import Actor, App, Due, method

NOTES = pathlib.Path(os.environ["TEST_NOTES"])

class Diary(Actor[list[float]]):
    durability = "file"

    @method
    async def begin(self, seconds: float) -> None:
        self.reminders.set("often", Due(every=seconds, missed="all"), self.write)

    @method
    async def lines(self) -> list[float]:
        return list(self.state)

    async def write(self) -> None:
        with NOTES.open("a") as file:
            file.write(f"{os.getpid()} attempt {self.message_id}\\n")
        self.state.append(self.caller.due.timestamp())

app = App(actors={"room": Diary})
"""


async def lines(socket: Socket, number: int) -> list[float]:
    await socket.call(number, "a", "lines")
    return list((await socket.wait_answer(number))["result"])


async def test_each_run_takes_effect_once_while_runtimes_die_at_their_commits(
    platform: Platform, until: Callable[..., Coroutine[Any, Any, None]]
) -> None:
    platform.control_plane.bundle = APP.encode()
    await platform.open(storage="file")
    first = await platform.start_runtime()
    socket = await platform.socket()
    await socket.call("begin", "a", "begin", seconds=1.0)
    assert "error" not in await socket.wait_answer("begin")
    first.kill()
    dying = platform.launch_runtime(ZOCKET_CRASHPOINT="before_commit:0.2,after_commit:0.4")
    assert await dying.wait_exit() == -9
    attempts = len(platform.notes("attempt"))
    await platform.start_runtime()
    await until(lambda: len(platform.notes("attempt")) >= attempts + 4, "runs go on")
    found = await lines(socket, 1)
    assert len(found) >= 4
    assert [round(late - early, 3) for early, late in pairwise(found)] == [1.0] * (len(found) - 1)
    names = {line[-1] for line in platform.notes("attempt")}
    assert {f"room/a/often/{due:.3f}" for due in found} <= names
