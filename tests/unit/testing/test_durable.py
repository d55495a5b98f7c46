"""Durable actors through the whole chain, on the memory broker and on a real NATS server."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from pydantic import BaseModel

from zocket import Actor, App, ZocketError, method
from zocket.settings import Limits
from zocket.testing import TestApp


class Count(BaseModel):
    value: int = 0
    seen: list[str] = []


class Counter(Actor[Count]):
    durability = "file"

    @method
    async def add(self, name: str) -> int:
        self.state.value += 1
        self.state.seen.append(name)
        return self.state.value

    @method
    async def slow(self, name: str, seconds: float) -> int:
        await asyncio.sleep(seconds)
        return await self.add(name)

    @method
    async def seen(self) -> list[str]:
        return self.state.seen


app = App(actors={"counter": Counter})


@pytest.mark.each_broker
async def test_state_survives_a_crash_and_subscribers_go_on_without_a_snapshot_of_nothing() -> None:
    async with TestApp(app) as t:
        client = await t.connect()
        counter = client.actor(Counter, "a/b.c*>%é")
        states = client.state(counter)
        assert (await anext(states)).value == 0
        assert await counter.add(name="x") == 1
        await t.settle()
        assert (await anext(states)).value == 1
        await t.crash()
        assert await counter.add(name="y") == 2
        await t.settle()
        state = await anext(states)
        while state.value < 2:
            state = await anext(states)
        assert state.seen == ["x", "y"]


@pytest.mark.each_broker
async def test_crashes_under_load_lose_and_double_nothing() -> None:
    async with TestApp(app) as t:
        clients = [await t.connect(rpc_timeout=60) for _ in range(5)]
        answers: dict[str, int] = {}

        async def call(number: int) -> None:
            name = f"call{number}"
            with contextlib.suppress(ZocketError):
                answers[name] = await clients[number % 5].actor(Counter, "one").add(name=name)

        calls = []
        for number in range(300):
            calls.append(asyncio.create_task(call(number)))
            if number % 3 == 0:
                await asyncio.sleep(0.001)
            if number in (60, 150, 220):
                await t.crash()
        await asyncio.gather(*calls)
        seen = await clients[0].actor(Counter, "one").seen()
        assert sorted(seen) == sorted(f"call{number}" for number in range(300))
        assert {name: seen.index(name) + 1 for name in answers} == answers
        assert len(answers) == 300


@pytest.mark.each_broker
async def test_instances_that_leave_memory_come_back_as_they_were_under_load() -> None:
    async with TestApp(app, limits=Limits(max_instances=3, idle_after_s=5)) as t:
        client = await t.connect(rpc_timeout=60)
        assert t.runtime is not None
        for turn in range(6):
            for room in range(6):
                assert await client.actor(Counter, f"room{room}").add(name=str(turn)) == turn + 1
        left = [sample for sample in t.runtime.samples() if sample.name == "evictions"]
        assert [(sample.labels, sample.value) for sample in left if sample.value] == [({"reason": "instances"}, 33)]
        await t.clock.advance(7)
        live = [sample.value for sample in t.runtime.samples() if sample.name == "instances"]
        assert live == [0]
        assert await client.actor(Counter, "room0").seen() == ["0", "1", "2", "3", "4", "5"]


@pytest.mark.each_broker
async def test_r18_the_older_runtime_never_commits_after_the_newer_one() -> None:
    async with TestApp(app) as t:
        client = await t.connect(rpc_timeout=60)
        counter = client.actor(Counter, "one")
        slow = asyncio.create_task(counter.slow(name="slow", seconds=0.3))
        await asyncio.sleep(0.05)
        old = t._runtime_stack
        await t.start()
        fast = asyncio.create_task(counter.add(name="fast"))
        assert await slow == 1
        assert await fast == 2
        await old.aclose()
        await asyncio.sleep(0.5)
        assert await counter.seen() == ["slow", "fast"]
