"""One-way calls between durable actors while runtimes die and connections are cut, from a seed, in virtual time."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from typing import Any

import pytest

from zocket import Actor, App, ZocketError, method
from zocket.broker.memory import MemoryBroker
from zocket.testing import TestApp

DESKS, LOGS, CALLS, FAULTS = 3, 2, 40, 5


class Desk(Actor[dict[str, list[str]]]):
    durability = "file"

    @method
    async def work(self, name: str, logs: list[int], pause_s: float, fail: bool) -> None:
        for log in logs:
            text = f"{name} to {log}"
            self.state.setdefault("told", []).append(text)
            self.actors.tell(self.actors.get(Log, f"l{log}").note, text=text)
        await asyncio.sleep(pause_s)
        if fail:
            raise ValueError("dropped")

    @method
    async def told(self) -> list[str]:
        return self.state.get("told", [])


class Log(Actor[dict[str, list[list[str]]]]):
    durability = "file"

    @method
    async def note(self, text: str) -> None:
        self.state.setdefault("notes", []).append([self.caller.actor_id, text])

    @method
    async def notes(self) -> list[list[str]]:
        return self.state.get("notes", [])


app = App(actors={"desk": Desk, "log": Log})


class Chaos:
    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)

    async def call(self, client: Any, number: int) -> None:
        rng = self.rng
        logs = [rng.randrange(LOGS) for _ in range(rng.randrange(4))]
        desk = client.actor(Desk, f"d{rng.randrange(DESKS)}")
        with suppress(ZocketError):
            await desk.work(name=f"n{number}", logs=logs, pause_s=rng.random() * 0.02, fail=rng.random() < 0.1)

    async def strike(self, t: TestApp) -> None:
        for _ in range(FAULTS):
            await t.clock.sleep(self.rng.random() * 0.2)
            match self.rng.randrange(3):
                case 0:
                    await t.kill()
                    await t.start()
                case 1:
                    await t.start()  # another one takes over
                case _:
                    assert t.memory is not None
                    assert isinstance(t._runtime_broker, MemoryBroker)
                    t.memory.cut(t._runtime_broker, self.rng.random())


@pytest.mark.parametrize("seed", range(16))
async def test_what_is_told_arrives_once_and_in_order_whatever_dies(seed: int) -> None:
    chaos = Chaos(seed)
    async with TestApp(app) as t:
        client = await t.connect(rpc_timeout=60.0)
        calls = []
        strike = asyncio.create_task(chaos.strike(t))
        for number in range(CALLS):
            calls.append(asyncio.create_task(chaos.call(client, number)))
            await t.clock.sleep(chaos.rng.random() * 0.04)
        await strike
        await asyncio.gather(*calls)
        await t.clock.sleep(20.0)
        notes = {log: await client.actor(Log, f"l{log}").notes() for log in range(LOGS)}
        for desk in (f"d{number}" for number in range(DESKS)):
            told = await client.actor(Desk, desk).told()
            for log in range(LOGS):
                arrived = [text for sender, text in notes[log] if sender == desk]
                assert arrived == [text for text in told if text.endswith(f"to {log}")]
        t.failures.clear()
