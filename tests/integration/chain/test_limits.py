"""Every limit of a runtime through the whole chain: the code that docs/limits.md says, and all else goes on."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from zocket import Actor, App, Event, method
from zocket.settings import Limits
from zocket.testing import TestApp

if TYPE_CHECKING:
    from tests.integration.chain.conftest import Outside, RawSocket

pytestmark = pytest.mark.each_broker


class Tank(Actor[dict[str, Any]]):
    told = Event[str]()
    gate: asyncio.Event

    @method
    async def wait(self) -> None:
        await self.gate.wait()

    @method
    async def fill(self, size: int) -> None:
        self.state["content"] = "x" * size

    @method
    async def give(self, size: int) -> str:
        self.state["given"] = True
        return "x" * size

    @method
    async def tell(self, size: int) -> None:
        self.state["told"] = True
        self.told.emit("x" * size)

    @method
    async def keys(self) -> list[str]:
        return sorted(self.state)

    @method
    async def hold(self, seconds: float) -> None:
        self.state["held"] = True
        await asyncio.sleep(seconds)


app = App(actors={"tank": Tank})


async def code(socket: RawSocket, call_id: Any) -> str:
    answer = await socket.wait_answer(call_id)
    assert "code" not in answer or answer["requestId"]
    return str(answer.get("code", "ok"))


async def test_a_result_an_event_and_a_state_over_their_limits_change_nothing(outside: Outside) -> None:
    limits = replace(Limits(), max_result_bytes=2_000, max_state_bytes=4_000)
    async with TestApp(app, limits=limits) as t:
        socket = outside.socket(t)
        socket.subscribe("state:sub", "tank", "a")
        socket.subscribe("event:sub", "tank", "a")
        socket.call("fits", "tank", "a", "give", size=1_900)
        socket.call("result", "tank", "a", "give", size=2_001)
        socket.call("event", "tank", "a", "tell", size=2_001)
        socket.call("state", "tank", "a", "fill", size=4_001)
        socket.call("keys", "tank", "a", "keys")
        assert await code(socket, "fits") == "ok"
        assert await code(socket, "result") == "too_large"
        assert await code(socket, "event") == "internal", "the actor's own fault: no caller chose the event"
        assert await code(socket, "state") == "too_large"
        assert (await socket.wait_answer("keys"))["result"] == ["given"]
        assert socket.frames("event") == []
        assert socket.replica() == {"given": True}
        t.failures.clear()


async def test_at_the_cap_of_instances_a_new_one_is_refused_and_the_others_live(outside: Outside) -> None:
    async with TestApp(app, limits=replace(Limits(), max_instances=2)) as t:
        socket = outside.socket(t)
        for actor_id in ("a", "b", "c"):
            socket.call(actor_id, "tank", actor_id, "keys")
        assert [await code(socket, actor_id) for actor_id in ("a", "b", "c")] == ["ok", "ok", "overloaded"]
        socket.subscribe("state:sub", "tank", "c")
        problem = (await socket.wait_frames("error", 1))[0]
        assert (problem["code"], problem["actor"], problem["actorId"]) == ("overloaded", "tank", "c")
        socket.call("again", "tank", "a", "keys")
        assert await code(socket, "again") == "ok"


async def test_a_slow_instance_may_not_fill_the_window_of_its_type(outside: Outside) -> None:
    limits = replace(Limits(), max_ack_pending=20, overload_wait_s=0.2)
    async with TestApp(app, limits=limits) as t:
        socket = outside.socket(t)
        Tank.gate = asyncio.Event()
        socket.call("slow", "tank", "slow", "wait")
        for number in range(12):
            socket.call(number, "tank", "slow", "keys")
        await outside.until(lambda: outside.runtime(t).pending == 13, "all lie in the mailbox")
        await t.clock.advance(0.5)
        socket.call("refused", "tank", "slow", "keys")
        socket.call("other", "tank", "other", "keys")
        assert await code(socket, "refused") == "overloaded"
        assert await code(socket, "other") == "ok"
        assert "slow" not in socket.answers()
        Tank.gate.set()
        assert await code(socket, 11) == "ok"


async def test_a_handler_and_a_call_over_their_time_limits_are_answered_once(outside: Outside) -> None:
    limits = replace(Limits(), handler_timeout_s=0.5, call_timeout_s=1.0)
    async with TestApp(app, limits=limits) as t:
        socket = outside.socket(t)
        socket.call("handler", "tank", "a", "hold", seconds=30.0)
        assert await code(socket, "handler") == "handler_timeout"
        socket.call("keys", "tank", "a", "keys")
        assert (await socket.wait_answer("keys"))["result"] == []
        await t.kill()
        socket.call("call", "tank", "a", "keys")
        assert await code(socket, "call") == "timeout"
        await t.start()
        await t.settle()
        socket.call("late", "tank", "a", "keys")
        assert await code(socket, "late") == "ok"
        assert len(socket.answers()) == 4
