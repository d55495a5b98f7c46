"""Actors that call each other over the partitions of a project, on the memory broker and on a real NATS server."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.integration.runtime.test_replicas import PARTITIONS, Fleet
from zocket import Actor, ActorError, App, method
from zocket.protocol import subjects

pytestmark = pytest.mark.each_broker


class Log(Actor[dict[str, list[str]]]):
    durability = "file"

    @method
    async def note(self, text: str) -> int:
        self.state.setdefault("lines", []).append(text)
        return len(self.state["lines"])

    @method
    async def lines(self) -> list[str]:
        return self.state.get("lines", [])


class Desk(Actor[dict[str, int]]):
    begun: asyncio.Event
    cancelled: asyncio.Event

    @method
    async def note_in_all(self, text: str) -> list[int]:
        return [await self.actors.get(Log, name).note(text=text) for name in logs()]

    @method
    async def tell_all(self, texts: list[str]) -> None:
        for text in texts:
            for name in logs():
                self.actors.tell(self.actors.get(Log, name).note, text=text)

    @method
    async def round(self, way: list[str]) -> None:
        await self.actors.get(Desk, way[0]).round(way[1:])

    @method(timeout_s=1.0)
    async def hurry(self, other: str) -> None:
        await self.actors.get(Desk, other).wait()

    @method
    async def wait(self) -> None:
        Desk.begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            Desk.cancelled.set()


app = App(actors={"log": Log, "desk": Desk})


def one_in(actor: str, number: int) -> str:
    """The id of an instance in this partition."""
    names = (f"{actor}{index}" for index in range(1_000))
    return next(name for name in names if subjects.partition_of_instance(actor, name, PARTITIONS) == number)


def logs() -> list[str]:
    return [one_in("log", number) for number in range(PARTITIONS)]


async def test_calls_reach_every_partition_and_cycles_and_time_limits_hold_over_them() -> None:
    Desk.begun, Desk.cancelled = asyncio.Event(), asyncio.Event()
    async with Fleet(app) as fleet:
        await fleet.join()
        await fleet.join()
        await fleet.until(3, 3)
        client = await fleet.connect()
        desk = client.actor(Desk, one_in("desk", 0))
        assert await desk.note_in_all(text="a") == [1] * PARTITIONS
        await desk.tell_all(texts=["b", "c"])
        for name in logs():
            log: Any = client.actor(Log, name)
            while len(lines := await log.lines()) < 3:  # noqa: ASYNC110 — what is waited for is in another process
                await asyncio.sleep(0.02)
            assert lines == ["a", "b", "c"]

        way = [one_in("desk", number) for number in (1, 2, 0)]
        with pytest.raises(ActorError, match="would wait for itself") as caught:
            await desk.round(way=way)
        assert caught.value.code == "cycle"
        assert caught.value.data == [["desk", name] for name in (way[2], *way)]

        with pytest.raises(ActorError, match="ran longer than its limit of 1 s"):
            await desk.hurry(other=way[1])
        assert Desk.begun.is_set()
        await asyncio.wait_for(Desk.cancelled.wait(), 20)
