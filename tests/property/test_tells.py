"""One-way calls between durable actors while runtimes die and connections are cut, from a seed, in virtual time."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from typing import Any

import pytest

from zocket import Actor, App, ZocketError, method
from zocket.broker.memory import MemoryBroker
from zocket.host.store import decode_record
from zocket.protocol import subjects
from zocket.testing import TestApp
from zocket.testing.app import SCOPE

DESKS, LOGS, CALLS, FAULTS = 3, 2, 40, 5
SEEDS = [*range(14), 19, 69]
"""In the last ones a superseded runtime stores what a timer told after its successor has read the alarms."""


class Desk(Actor[dict[str, list[str]]]):
    durability = "file"

    @method
    async def work(self, name: str, logs: list[int], pause_s: float, fail: bool) -> None:
        self.timers.after(pause_s, self.tell, f"{name} later", logs)
        await self.tell(name, logs)
        await asyncio.sleep(pause_s)
        if fail:
            raise ValueError("dropped")

    async def tell(self, name: str, logs: list[int]) -> None:
        for log in logs:
            text = f"{name} to {log}"
            self.state.setdefault("told", []).append(text)
            self.actors.tell(self.actors.get(Log, f"l{log}").note, text=text)

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

    def ticks(self, most: int) -> float:
        """Seconds: what happens in the same tick meets in the middle of its work."""
        return self.rng.randrange(most) * 0.01

    async def call(self, client: Any, number: int) -> None:
        rng = self.rng
        logs = [rng.randrange(LOGS) for _ in range(rng.randrange(4))]
        desk = client.actor(Desk, f"d{rng.choice([number, number % DESKS])}")
        with suppress(ZocketError):
            await desk.work(name=f"n{number}", logs=logs, pause_s=self.ticks(3), fail=rng.random() < 0.1)

    async def strike(self, t: TestApp) -> None:
        for _ in range(FAULTS):
            await t.clock.sleep(self.ticks(20))
            for _ in range(self.rng.randrange(40)):
                await asyncio.sleep(0)
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


def unsent(t: TestApp) -> list[str]:
    """Instances whose records hold one-way calls."""
    assert t.memory is not None
    records = t.memory.buckets[subjects.state_bucket(SCOPE)]
    return [key for key, entry in records.items() if decode_record(entry.value).outbox]


@pytest.mark.parametrize("seed", SEEDS)
async def test_what_is_told_arrives_once_and_in_order_whatever_dies(seed: int) -> None:
    chaos = Chaos(seed)
    async with TestApp(app) as t:
        client = await t.connect(rpc_timeout=60.0)
        calls = []
        strike = asyncio.create_task(chaos.strike(t))
        for number in range(CALLS):
            calls.append(asyncio.create_task(chaos.call(client, number)))
            await t.clock.sleep(chaos.ticks(5))
        await strike
        await asyncio.gather(*calls)
        await t.clock.sleep(20.0)
        assert not unsent(t), "what the dead have told has left, and nobody has used them"
        notes = {log: await client.actor(Log, f"l{log}").notes() for log in range(LOGS)}
        for desk in (f"d{number}" for number in range(CALLS)):
            told = await client.actor(Desk, desk).told()
            for log in range(LOGS):
                arrived = [text for sender, text in notes[log] if sender == desk]
                assert arrived == [text for text in told if text.endswith(f"to {log}")]
        t.failures.clear()
