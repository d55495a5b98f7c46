"""A gateway process that is killed, and one that stands still, while another one serves on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.faults.conftest import Platform

pytestmark = pytest.mark.nats

Until = Callable[..., Coroutine[Any, Any, None]]


async def test_sessions_of_a_killed_gateway_leave_and_those_of_a_paused_one_come_back(
    platform: Platform, until: Until
) -> None:
    await platform.open()
    runtime = await platform.start_runtime()
    killed, paused = await platform.start_gateway(), await platform.start_gateway()
    stays = await platform.socket()
    gone, back = await platform.socket(gateway=killed), await platform.socket(gateway=paused)
    for socket in (stays, gone, back):
        await socket.subscribe("state:sub", actor_id="a")
        await socket.wait_frames("state:snapshot", 1)
    await stays.call("before", "a", "here")
    assert (await stays.wait_answer("before"))["result"] == sorted([stays.id, gone.id, back.id])
    paused.pause()
    killed.kill()
    for socket in (gone, back):
        await platform.wait_note("disconnect", runtime, socket.id)
    await stays.call("meanwhile", "a", "here")
    assert (await stays.wait_answer("meanwhile"))["result"] == [stays.id]
    paused.resume()
    await back.wait_frames("state:snapshot", 2)
    await stays.call("say", "a", "say", line="hello")
    await until(lambda: back.replica("a") == {"lines": ["hello"]}, "the state is shown again")
    await stays.call("after", "a", "here")
    assert (await stays.wait_answer("after"))["result"] == sorted([stays.id, back.id])
    connects = Counter(session for *_, session in platform.notes("connect"))
    disconnects = Counter(session for *_, session in platform.notes("disconnect"))
    assert connects[gone.id] == disconnects[gone.id] == 1
    assert connects[back.id] == disconnects[back.id] + 1 >= 2
