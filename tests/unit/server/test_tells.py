"""One-way calls of a standalone server across its death: the file of durable actors is all that is left."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from zocket import Actor, App, Limits, method
from zocket.server.local import LocalServer

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.realtime


class Log(Actor[dict[str, list[str]]]):
    durability = "file"
    reached: asyncio.Event
    gate: asyncio.Event

    @method
    async def note(self, text: str) -> None:
        Log.reached.set()
        await Log.gate.wait()
        self.state.setdefault("lines", []).append(text)

    @method
    async def lines(self) -> list[str]:
        return self.state.get("lines", [])


class Desk(Actor[dict[str, Any]]):
    durability = "file"

    @method
    async def tell(self, texts: list[str]) -> None:
        for text in texts:
            self.actors.tell(self.actors.get(Log, "l").note, text=text)


app = App(actors={"log": Log, "desk": Desk})


async def test_what_a_dead_server_had_not_delivered_is_delivered_by_the_next_one_though_nobody_asks(
    tmp_path: Path,
) -> None:
    Log.reached, Log.gate = asyncio.Event(), asyncio.Event()
    path = str(tmp_path / "state.db")
    async with LocalServer.open(app.definition, limits=Limits(), state_file=path) as server:
        await app.actor(Desk, "d").tell(texts=["a", "b"])
        await asyncio.wait_for(Log.reached.wait(), 20)
        await server.host.abort()
    Log.gate.set()
    async with LocalServer.open(app.definition, limits=Limits(), state_file=path):
        async with asyncio.timeout(20):
            while len(lines := await app.actor(Log, "l").lines()) < 2:  # noqa: ASYNC110 — what is waited for is in a store
                await asyncio.sleep(0.01)
        assert lines == ["a", "b"]
    async with LocalServer.open(app.definition, limits=Limits(), state_file=path) as server:
        assert server.host.instances == 0, "nothing is left to deliver"
