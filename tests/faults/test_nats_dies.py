"""A NATS server that is killed and started again under load: everything works afterwards, and no caller hangs."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.faults.conftest import Load, Platform

Until = Callable[..., Coroutine[Any, Any, None]]
pytestmark = pytest.mark.nats

ROOMS = [f"room{number}" for number in range(5)]
CALL_TIMEOUT_S = 8.0
"""Of the gateway on file storage, where a result that was on its way through the lost connection is not sent again."""


@pytest.mark.parametrize("storage", ["memory", "file"])
async def test_after_kill_9_of_nats_everything_works_and_every_caller_is_answered(
    platform: Platform, load: type[Load], until: Until, storage: str
) -> None:
    await platform.open(storage=storage, CALL_TIMEOUT_S="60" if storage == "memory" else str(CALL_TIMEOUT_S))
    runtime = await platform.start_runtime()
    sockets = [await platform.socket() for _ in ROOMS]
    for socket, room in zip(sockets, ROOMS, strict=True):
        await socket.subscribe("state:sub", "event:sub", actor_id=room)
        await socket.wait_frames("state:snapshot", 1)
    # More calls than the window of the consumer: most lie in the stream when the server dies.
    calls = load(sockets, ROOMS, hold_s=0.02, pause_s=0.0, open_calls=600)
    await calls.more(50)
    await until(lambda: calls.count - calls.answers() > 400, "calls wait in the stream")
    await platform.nats.kill()
    for socket, room in zip(sockets, ROOMS, strict=True):  # the load may have as many calls open as it wants
        await socket.call("away", room, "lines")
        assert (await socket.wait_answer("away"))["code"] == "unavailable"
    await platform.nats.start()
    await runtime.wait_line("the consumers are ours again")
    restarted_at = time.monotonic()
    await until(lambda: any(answered_after(socket, restarted_at) for socket in sockets), "calls are served again")
    await calls.stop()
    for socket in sockets:
        await socket.wait_answers(deadline_s=30.0)
    codes = Counter(code for socket in sockets for code in socket.codes().values())
    lost = {"unavailable"} if storage == "memory" else {"unavailable", "timeout"}
    assert codes.keys() <= {"ok", *lost}, codes
    assert codes["unavailable"] > 0
    slowest = max(socket.slowest_s() for socket in sockets)
    assert slowest < 30.0, codes
    # Everything works: whoever calls is served, and replicas follow without having asked.
    for socket, room in zip(sockets, ROOMS, strict=True):
        await socket.call("after", room, "say", line="after")
        assert "result" in await socket.wait_answer("after")
        await socket.call("lines", room, "lines")
        lines = (await socket.wait_answer("lines"))["result"]
        await until(lambda s=socket, r=room, n=lines: s.replica(r) == {"lines": n}, "the replica is the server's state")
        ran = [line for _, at, line in platform.notes("leave") if at == room]
        assert len(ran) == len(set(ran)), "no call ran twice"
        answered = {key for key, code in socket.codes().items() if code == "ok" and isinstance(key, int)}
        assert answered <= {int(line.removeprefix("line")) for line in lines if line != "after"}


def answered_after(socket: Any, moment: float) -> bool:
    return any(at > moment and "result" in frame for frame, at in socket.answered.values())
