"""Flushes and cancellations of durable actors while runtimes die at random moments, in virtual time."""

from __future__ import annotations

import asyncio
import random

import pytest
from pydantic import BaseModel

from zocket import Actor, ActorError, App, method, query
from zocket.testing import TestApp

SEEDS = range(12)
CALLS = 25


class Books(BaseModel):
    begun: list[str] = []
    total: int = 0
    done: list[int] = []


class Till(Actor[Books]):
    durability = "file"
    runs = 0

    @method
    async def pay(self, number: int, pause_s: float) -> int:
        """Its first step is flushed, and taken once though the method may run several times."""
        Till.runs += 1
        if self.message_id not in self.state.begun:
            self.state.begun.append(self.message_id)
            self.state.total += number
            await self.flush()
        await asyncio.sleep(pause_s)
        self.state.done.append(number)
        return self.state.total

    @method
    async def work(self, number: int, pause_s: float) -> int:
        await asyncio.sleep(pause_s)
        self.state.done.append(number)
        return number

    @method(beside=True)
    async def stop(self) -> bool:
        return self.cancel_running()

    @query
    async def books(self) -> Books:
        return self.state


app = App(actors={"till": Till})


async def kill_now_and_then(t: TestApp, chance: random.Random) -> None:
    for _ in range(6):  # never the same call three times, which would be given up
        await asyncio.sleep(chance.uniform(0.35, 0.9))
        await t.kill()
        await asyncio.sleep(chance.uniform(0.0, 0.3))
        await t.start()


@pytest.mark.parametrize("seed", SEEDS)
async def test_a_step_that_was_flushed_is_never_lost_and_one_that_looks_is_never_taken_twice(seed: int) -> None:
    chance = random.Random(seed)
    async with TestApp(app) as t:
        till = (await t.connect(rpc_timeout=600)).actor(Till, "one")
        calls = [asyncio.create_task(till.pay(number, chance.uniform(0, 0.3))) for number in range(CALLS)]
        seen = []
        killing = asyncio.create_task(kill_now_and_then(t, chance))
        while not all(call.done() for call in calls):
            seen.append((await till.books()).total)
            await asyncio.sleep(0.1)
        await killing
        assert [await call for call in calls] == [sum(range(number + 1)) for number in range(CALLS)]
        books = await till.books()
        assert books.done == list(range(CALLS))
        assert (books.total, len(books.begun)) == (sum(range(CALLS)), CALLS)
        assert seen == sorted(seen), "what a query has told was taken back"


@pytest.mark.parametrize("seed", SEEDS)
async def test_a_call_is_answered_cancelled_exactly_if_it_never_takes_effect(seed: int) -> None:
    chance = random.Random(seed)
    async with TestApp(app) as t:
        alice, bob = await t.connect(rpc_timeout=600), await t.connect(rpc_timeout=600)
        till = alice.actor(Till, "one")
        calls = [asyncio.create_task(till.work(number, chance.uniform(0, 0.3))) for number in range(CALLS)]
        killing = asyncio.create_task(kill_now_and_then(t, chance))
        while not all(call.done() for call in calls):
            await asyncio.sleep(chance.uniform(0, 0.3))
            await bob.actor(Till, "one").stop()
        await killing
        answers = await asyncio.gather(*calls, return_exceptions=True)
        cancelled = [number for number, answer in enumerate(answers) if isinstance(answer, ActorError)]
        assert all(answer.code == "cancelled" for answer in answers if isinstance(answer, ActorError))
        assert (await bob.actor(Till, "one").books()).done == [n for n in range(CALLS) if n not in cancelled]
        assert 0 < len(cancelled) < CALLS
