"""What a timer has told while its runtime process kills itself at a named place: on a real NATS server."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.faults.conftest import Platform

pytestmark = pytest.mark.nats

APP = """
from __future__ import annotations
import os, pathlib
from zocket import Actor, App, method
from zocket.crashpoints import CrashPoints

NOTES = pathlib.Path(os.environ["TEST_NOTES"])

class Log(Actor[list[str]]):
    durability = "file"

    @method
    async def note(self, text: str) -> None:
        self.state.append(text)
        with NOTES.open("a") as file:
            file.write(f"{os.getpid()} noted {text}\\n")

    @method
    async def lines(self) -> list[str]:
        return list(self.state)

class Desk(Actor[list[str]]):
    durability = "file"

    @method
    async def begin(self, place: str) -> None:
        self.timers.after(0.1, self.tell, place)

    async def tell(self, place: str) -> None:
        self.state.append(place)
        self.actors.tell(self.actors.get(Log, "l").note, text=place)
        CrashPoints.strikes = lambda points, reached: reached == place  # from the end of this turn on

app = App(actors={"log": Log, "room": Desk})
"""

PLACES = ["after_commit", "before_publish"]
ARMED = {"ZOCKET_CRASHPOINT": "before_commit:0"}
"""The app says where its process dies."""


def noted(platform: Platform, text: str) -> bool:
    return text in [line[-1] for line in platform.notes("noted")]


async def test_what_a_timer_told_leaves_without_anybody_using_its_sender_after_its_process_died(
    platform: Platform, until: Callable[..., Coroutine[Any, Any, None]]
) -> None:
    platform.control_plane.bundle = APP.encode()
    await platform.open(storage="file")
    socket = await platform.socket()
    runtime = await platform.start_runtime(**ARMED)
    for place in PLACES:
        await socket.call(place, place, "begin", place=place)
        await socket.wait_answer(place)
        assert await runtime.wait_exit() == -9
        runtime = await platform.start_runtime(**ARMED)
        await until(partial(noted, platform, place), f"what was told before the death {place} arrives")
    await socket.write({"type": "rpc", "id": "lines", "actor": "log", "actorId": "l", "method": "lines"})
    assert (await socket.wait_answer("lines"))["result"] == PLACES
