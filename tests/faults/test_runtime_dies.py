"""A runtime process that is killed, told to end, or stands still, under load and through real sockets."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.faults.conftest import Load, Platform

pytestmark = pytest.mark.nats

Until = Callable[..., Coroutine[Any, Any, None]]
ROOMS = [f"room{number}" for number in range(5)]


async def test_r15_after_kill_9_under_load_nobody_with_an_open_socket_is_silent(
    platform: Platform, load: type[Load]
) -> None:
    await platform.open()
    first = await platform.start_runtime()
    sockets = [await platform.socket() for _ in ROOMS]
    for socket, room in zip(sockets, ROOMS, strict=True):
        await socket.subscribe("state:sub", "event:sub", actor_id=room)
        await socket.wait_frames("state:snapshot", 1)
    calls = load(sockets, ROOMS, hold_s=0.01)
    await calls.more(50)
    first.kill()
    second = await platform.start_runtime()
    await calls.more(100)
    await calls.stop()
    for socket in sockets:
        await socket.wait_answers()
        assert set(socket.codes().values()) == {"ok"}
        await socket.wait_frames("state:snapshot", 2)
    # Fresh snapshots came by themselves, and patches and events after them.
    for number, (socket, room) in enumerate(zip(sockets, ROOMS, strict=True)):
        await socket.call("lines", room, "lines")
        lines = (await socket.wait_answer("lines"))["result"]
        assert socket.replica(room) == {"lines": lines}
        assert len(lines) == len(set(lines))
        assert socket.frames("event")[-1]["payload"] == lines[-1], number
    ran = Counter(line for _, _, line in platform.notes("leave"))
    assert set(ran.values()) <= {1, 2}
    by_second = [line for pid, _, line in platform.notes("leave") if pid == str(second.pid)]
    assert len(by_second) == len(set(by_second)), "the new runtime ran each call once"


async def test_r19_sigterm_under_load_hands_over_to_the_next_without_losing_or_doubling_a_call(
    platform: Platform, load: type[Load], until: Until
) -> None:
    await platform.open()
    first = await platform.start_runtime()
    sockets = [await platform.socket() for _ in ROOMS]
    slow = await platform.socket()
    calls = load(sockets, ROOMS, hold_s=0.05, pause_s=0.01)
    await calls.more(20)
    await slow.call("slow", "slow", "say", line="slow", hold_s=5.0)
    await until(lambda: any(line == "slow" for _, _, line in platform.notes("enter")), "the slow call runs")
    first.terminate()
    # The next one is there long before the first has finished what it had.
    second = await platform.start_runtime()
    await calls.more(50)
    await calls.stop()
    for socket in (*sockets, slow):
        await socket.wait_answers()
        assert set(socket.codes().values()) == {"ok"}
    assert await first.wait_exit() == 0
    assert second.process.poll() is None
    entered: Counter[Any] = Counter(line for _, _, line in platform.notes("enter"))
    assert set(entered) == {"slow", *(f"line{number}" for number in range(calls.count))}
    assert set(entered.values()) == {1}, [line for line, count in entered.items() if count > 1]


async def test_r18_a_superseded_runtime_that_wakes_up_in_the_middle_of_its_calls_disturbs_nobody(
    platform: Platform, until: Until
) -> None:
    await platform.open()
    first = await platform.start_runtime()
    watcher, caller = await platform.socket(), await platform.socket()
    await watcher.subscribe("state:sub", "event:sub", actor_id="a")
    await watcher.wait_frames("state:snapshot", 1)
    for room in ("a", "b"):
        await caller.call(room, room, "behind_gate", line=f"gate-{room}")
        await platform.wait_note("enter", first, f"gate-{room}")
    first.pause()
    paused = time.monotonic()
    platform.open_gate(first)
    second = await platform.start_runtime()
    for room in ("a", "b"):
        await platform.wait_note("enter", second, f"gate-{room}")
    await caller.call("c", "c", "say", line="c")
    assert (await caller.wait_answer("c"))["result"] == 1
    await until(lambda: time.monotonic() - paused > 2.0, "it stood still long enough to be noticed")
    first.resume()
    assert await first.wait_exit() == 3
    await platform.wait_note("leave", first, "gate-a")
    # Its results, its patch and its acknowledgements are worth nothing.
    assert list(caller.answered) == ["c"]
    assert len(watcher.frames("state:snapshot")) == 2
    assert watcher.frames("state:patch") == []
    second.kill()
    third = await platform.start_runtime()
    platform.open_gate(third)
    for room in ("a", "b"):
        assert (await caller.wait_answer(room))["result"] == 1
    await caller.call("lines", "a", "lines")
    assert (await caller.wait_answer("lines"))["result"] == ["gate-a"]
    assert watcher.replica("a") == {"lines": ["gate-a"]}


async def test_a_handler_that_blocks_the_loop_longer_than_the_redelivery_time_runs_once_and_nothing_is_lost(
    platform: Platform,
) -> None:
    """R15: the server delivers everything again, since nobody could say that it is in progress."""
    await platform.open()
    runtime = await platform.start_runtime(ACK_WAIT_S="0.5")
    socket = await platform.socket()
    await socket.subscribe("state:sub", actor_id="a")
    await socket.wait_frames("state:snapshot", 1)
    await socket.call("block", "a", "block", line="block", seconds=3.0)
    await platform.wait_note("enter", runtime, "block")
    for number in range(300):  # more than the window: some are delivered only after the others
        await socket.call(number, f"room{number % 30}" if number % 2 else "a", "say", line=f"line{number}")
        if number == 200:
            await socket.wait_answer("block")
    await socket.wait_answers()
    assert set(socket.codes().values()) == {"ok"}
    entered = Counter(line for _, _, line in platform.notes("enter"))
    assert len(entered) == 301
    assert set(entered.values()) == {1}
    await socket.call("lines", "a", "lines")
    lines = (await socket.wait_answer("lines"))["result"]
    assert lines == ["block", *(f"line{number}" for number in range(0, 300, 2))]
    assert socket.replica("a") == {"lines": lines}
    assert len(socket.frames("state:snapshot")) == 1, "nobody was disturbed"
    assert runtime.line("stood still") is not None
    assert runtime.process.poll() is None
