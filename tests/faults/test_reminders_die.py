"""Reminders while their runtime processes die, at commits or by the reminders themselves: on a real NATS server."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from tests.faults.conftest import SCOPE
from zocket.runtime.dead_letters import DeadLetters

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

class Bomb(Actor[list[float]]):
    durability = "file"

    @method
    async def begin(self) -> None:
        self.reminders.set("bomb", Due(after=0.1, every=3600), self.explode)

    async def explode(self) -> None:
        with NOTES.open("a") as file:
            file.write(f"{os.getpid()} explode {self.message_id}\\n")
        os._exit(9)

app = App(actors={"room": Diary, "bomb": Bomb})
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


async def test_a_reminder_that_kills_its_process_is_given_up_and_everything_else_goes_on(
    platform: Platform, until: Callable[..., Coroutine[Any, Any, None]]
) -> None:
    platform.control_plane.bundle = APP.encode()
    await platform.open(storage="file")
    runtime = await platform.start_runtime()
    socket = await platform.socket()
    await socket.call("diary", "a", "begin", seconds=1.0)
    await socket.wait_answer("diary")
    await socket.write({"type": "rpc", "id": "bomb", "actor": "bomb", "actorId": "b", "method": "begin"})
    for _ in range(3):
        assert await runtime.wait_exit() == 9
        runtime = platform.launch_runtime()
    given_up = await runtime.wait_line("a run of the reminder bomb is given up")
    assert (given_up["actor"], given_up["actor_id"], given_up["level"]) == ("bomb", "b", "error")
    await platform.wait_metric(runtime, "zocket_reminder_runs_given_up_total", 1)
    broker = await platform.broker()
    ((number, letter),) = await DeadLetters(broker, SCOPE).newest(10)
    assert (letter.actor, letter.actor_id, letter.method, letter.reminder) == ("bomb", "b", "explode", "bomb")
    written = len(platform.notes("attempt"))
    await until(lambda: len(platform.notes("attempt")) > written, "the other reminder goes on")
    assert await lines(socket, 1)
    assert len(platform.notes("explode")) == 3
    await DeadLetters(broker, SCOPE).replay(number)
    assert await runtime.wait_exit() == 9
    assert len({name for _, name in platform.notes("explode")}) == 1, "a replay has the message id of its run"
