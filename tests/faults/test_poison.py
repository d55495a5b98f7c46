"""A call that ends its runtime's process, through real sockets and processes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from zocket.broker.nats import NatsBroker
from zocket.ids import Scope
from zocket.runtime.dead_letters import DeadLetters

if TYPE_CHECKING:
    from tests.faults.conftest import Platform

pytestmark = pytest.mark.nats


async def test_a_call_that_kills_its_process_is_given_up_and_everybody_else_is_served(
    platform: Platform,
) -> None:
    await platform.open()
    runtime = await platform.start_runtime()
    poisoner, other = await platform.socket(), await platform.socket()
    await other.call("slow", "slow", "say", line="slow", hold_s=0.5)
    await poisoner.call("poison", "a", "die", line="poison")
    for number in range(20):
        await (poisoner if number % 2 else other).call(number, "ba"[number % 2], "say", line=f"line{number}")
    for _ in range(3):
        assert await runtime.wait_exit() == 9
        runtime = platform.launch_runtime()
    for socket in (poisoner, other):
        await socket.wait_answers()
    codes = poisoner.codes() | other.codes()
    assert codes.pop("poison") == "dead_letter"
    assert list(codes.values()) == ["ok"] * 21
    assert len([line for _, _, line in platform.notes("enter") if line == "poison"]) == 3
    behind = [line for pid, room, line in platform.notes("leave") if room == "a" and pid == str(runtime.pid)]
    assert behind == [f"line{number}" for number in range(1, 20, 2)]
    broker = await NatsBroker.open(platform.nats.url, name="test")
    ((_, letter),) = await DeadLetters(broker, Scope("ws_faults", "prj_faults")).newest(10)
    await broker.aclose()
    assert (letter.actor, letter.actor_id, letter.method, letter.attempts) == ("room", "a", "die", 3)
    assert runtime.line("a message is given up") is not None
    assert runtime.process.poll() is None
