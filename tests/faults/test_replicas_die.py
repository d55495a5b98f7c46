"""Two runtime processes that share a project: one is killed, stands still, or is told to end, under load."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.faults.conftest import Child, Load, Platform

pytestmark = pytest.mark.nats

Until = Callable[..., Coroutine[Any, Any, None]]
ROOMS = [f"room{number}" for number in range(12)]
DIVIDED: Any = {"PARTITIONS": "4"}


async def open_two(platform: Platform) -> tuple[Child, Child]:
    """Two runtimes that serve two partitions each."""
    await platform.open(**DIVIDED)
    first = await platform.start_runtime(**DIVIDED)
    second = await platform.start_runtime(**DIVIDED)
    await shared(platform, first, second)
    return first, second


async def shared(platform: Platform, *runtimes: Child) -> None:
    """Waits until these runtimes serve all partitions, each the same number."""
    for runtime in runtimes:
        await platform.wait_metric(runtime, "zocket_partitions_held", 4 / len(runtimes))


def served_by(platform: Platform, runtime: Child) -> set[str]:
    return {room for pid, room, _ in platform.notes("enter") if pid == str(runtime.pid)}


async def test_r15_the_rooms_of_a_killed_replica_go_on_in_the_other_and_those_stay_as_they_are(
    platform: Platform, until: Until
) -> None:
    first, second = await open_two(platform)
    socket = await platform.socket()
    for room in ROOMS:
        await socket.subscribe("state:sub", actor_id=room)
        await socket.call(f"1 {room}", room, "say", line="before")
    await socket.wait_answers()
    moved = served_by(platform, first)
    assert moved
    assert moved | served_by(platform, second) == set(ROOMS)
    # What it has not acknowledged when it dies is run again.
    await platform.wait_metric(first, "zocket_acknowledgements_outstanding", 0)
    first.kill()
    for room in ROOMS:
        await socket.call(f"2 {room}", room, "say", line="after")
    await socket.wait_answers()
    lines = {room: socket.answered[f"2 {room}"][0]["result"] for room in ROOMS}
    assert lines == {room: 1 if room in moved else 2 for room in ROOMS}, "state in memory is where it was"
    await socket.wait_frames("state:snapshot", len(ROOMS) + len(moved))
    await until(lambda: all(len(socket.replica(room)["lines"]) == lines[room] for room in ROOMS), "replicas follow")
    snapshots = Counter(frame["actorId"] for frame in socket.frames("state:snapshot"))
    assert snapshots == {room: 2 if room in moved else 1 for room in ROOMS}


async def test_r18_a_replica_that_stood_still_gives_up_what_the_other_took_and_takes_its_share_again(
    platform: Platform, load: type[Load]
) -> None:
    first, second = await open_two(platform)
    sockets = [await platform.socket() for _ in range(4)]
    calls = load(sockets, ROOMS, pause_s=0.01)
    await calls.more(30)
    first.pause()
    await calls.more(200)
    first.resume()
    await shared(platform, first, second)
    await calls.more(50)
    await calls.stop()
    for socket in sockets:
        await socket.wait_answers()
        assert set(socket.codes().values()) == {"ok"}
    assert first.process.poll() is None
    assert second.process.poll() is None


async def test_r19_a_replica_that_is_told_to_end_hands_its_share_over_without_losing_or_doubling_a_call(
    platform: Platform, load: type[Load]
) -> None:
    first, second = await open_two(platform)
    sockets = [await platform.socket() for _ in range(4)]
    calls = load(sockets, ROOMS, hold_s=0.02, pause_s=0.01)
    await calls.more(30)
    first.terminate()
    assert await first.wait_exit() == 0
    await shared(platform, second)
    await calls.more(50)
    await calls.stop()
    for socket in sockets:
        await socket.wait_answers()
        assert set(socket.codes().values()) == {"ok"}
    entered: Counter[Any] = Counter(line for _, _, line in platform.notes("enter"))
    assert set(entered.values()) == {1}, [line for line, count in entered.items() if count > 1]
    assert len(entered) == calls.count
