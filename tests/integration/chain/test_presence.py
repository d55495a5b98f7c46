"""A gateway that dies, and one that only fell silent, before the clients that stay (both brokers)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from zocket import Actor, App, method
from zocket.testing import TestApp

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.integration.chain.conftest import Outside

pytestmark = pytest.mark.each_broker

SUBSCRIPTION = {"type": "state:sub", "actor": "room", "actorId": "a"}


class Room(Actor[dict[str, Any]]):
    async def on_disconnect(self) -> None:
        self.state.setdefault("left", []).append(self.session.id)

    @method
    async def here(self) -> list[str]:
        return list(self.clients)

    @method
    async def add(self) -> int:
        self.state["count"] = self.state.get("count", 0) + 1
        return int(self.state["count"])


class Hall(Actor[dict[str, Any]]):
    durability = "file"

    async def on_connect(self) -> None:
        self.state.setdefault("log", []).append(f"+{self.session.user_id}")

    async def on_disconnect(self) -> None:
        self.state["log"].append(f"-{self.session.user_id}")

    @method
    async def here(self) -> list[str]:
        return list(self.clients)


app = App(actors={"room": Room, "hall": Hall})


async def passes_until(outside: Outside, t: TestApp, condition: Callable[[], object], what: str) -> None:
    """Time goes on second by second, each with what the broker has on its way then."""
    for _ in range(60):
        if condition():
            return
        await t.clock.advance(1)
        await t.settle()
    await outside.until(condition, what)


async def test_who_came_by_a_gateway_that_died_is_gone_and_everybody_else_stays(outside: Outside) -> None:
    async with TestApp(app) as t:
        stays, wire = outside.socket(t), await (await outside.wire(t)).spy()
        stays.subscribe("state:sub", "room", "a")
        for session in ("s_1", "s_2"):
            wire.inbound(SUBSCRIPTION, session, gateway="g_dead")
        wire.inbound(SUBSCRIPTION, "s_foreign")
        await stays.wait_frames("state:snapshot", 1)
        await wire.wait_frames_to("s_foreign", "state:snapshot", 1)
        await passes_until(outside, t, lambda: len((stays.replica() or {}).get("left", [])) == 2, "both have left")
        stays.call(1, "room", "a", "here")
        assert sorted((await stays.wait_answer(1))["result"]) == sorted([stays.id, "s_foreign"])
        assert sorted(stays.replica()["left"]) == ["s_1", "s_2"]


async def test_who_came_by_a_gateway_that_only_fell_silent_is_back_with_it(outside: Outside) -> None:
    async with TestApp(app) as t:
        socket, wire = outside.socket(t), await (await outside.wire(t)).spy()
        socket.subscribe("state:sub", "room", "a")
        await socket.wait_frames("state:snapshot", 1)
        outside.gateway(t)._liveness.stop()
        wire.inbound(SUBSCRIPTION, "s_foreign")
        seen = wire.frames_to
        await passes_until(outside, t, lambda: socket.id in str(seen("s_foreign")), "the session has left")
        outside.gateway(t)._liveness.say()
        await passes_until(outside, t, lambda: len(socket.frames("state:snapshot")) >= 2, "a new snapshot")
        socket.call(1, "room", "a", "add")
        await socket.wait_answer(1)
        await outside.until(lambda: socket.replica().get("count") == 1, "patches come again")
        socket.call(2, "room", "a", "here")
        assert socket.id in (await socket.wait_answer(2))["result"]


async def test_who_left_while_no_runtime_was_there_is_missed_by_a_durable_actor_and_who_stayed_is_not_greeted_again(
    outside: Outside,
) -> None:
    async with TestApp(app) as t:
        stays, leaves = outside.socket(t, user_id="stays"), outside.socket(t, user_id="leaves")
        stays.subscribe("state:sub", "hall", "a")
        await outside.until(lambda: "+stays" in str(stays.replica()), "it is greeted")
        leaves.subscribe("state:sub", "hall", "a")
        await outside.until(lambda: "+leaves" in str(stays.replica()), "and the other one")
        await t.kill()
        leaves.session.closed()
        await t.start()
        await passes_until(outside, t, lambda: "-leaves" in stays.replica()["log"], "it is missed")
        assert stays.replica()["log"] == ["+stays", "+leaves", "-leaves"]
        stays.call(1, "hall", "a", "here")
        assert (await stays.wait_answer(1))["result"] == [stays.id]
