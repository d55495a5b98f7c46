"""Three NATS servers that die one after the other under load: nothing is lost, and nobody waits in vain."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import pytest
from pydantic import BaseModel

from tests.integration.nats.conftest import Kit, until
from zocket import Actor, App, Due, ZocketError, method
from zocket.settings import Limits

if TYPE_CHECKING:
    from tests.integration.nats.conftest import NatsCluster
    from zocket.client import Client

pytestmark = pytest.mark.nats


class Lines(BaseModel):
    lines: list[str] = []


class Notes(Actor[Lines]):
    @method
    async def add(self, line: str) -> int:
        self.state.lines.append(line)
        return len(self.state.lines)

    @method
    async def all(self) -> list[str]:
        return list(self.state.lines)


class Kept(Notes):
    durability = "file"

    @method
    async def count(self, to: int) -> AsyncIterator[int]:
        for number in range(1, to + 1):
            yield number

    @method
    async def wait(self) -> None:
        await asyncio.sleep(60)

    @method
    async def add_later(self, line: str) -> None:
        self.reminders.set("add", Due(after=0.05), self.add, line=line)


class Quick(Notes):
    pass


app = App(actors={"kept": Kept, "quick": Quick})


class Load:
    """Calls in the background to one instance, each with a line of its own, `width` of them open."""

    def __init__(self, client: Client, actor: type[Notes], width: int = 8) -> None:
        self.answered: dict[str, int] = {}
        self.refused: dict[str, str] = {}
        self.actor = client.actor(actor, "one")
        self._count = 0
        self._stopping = False
        self._tasks = [asyncio.create_task(self._run()) for _ in range(width)]

    async def _run(self) -> None:
        while not self._stopping:
            line = f"line{self._count}"
            self._count += 1
            try:
                self.answered[line] = await self.actor.add(line=line)
            except ZocketError as error:
                self.refused[line] = error.code
                await asyncio.sleep(0.05)  # what a caller does who tries again
            await asyncio.sleep(0.005)

    async def more(self, count: int = 20) -> None:
        wanted = len(self.answered) + count
        await until(lambda: len(self.answered) >= wanted, f"{count} more answers")

    async def stop(self) -> None:
        self._stopping = True
        await asyncio.gather(*self._tasks)


@pytest.mark.timeout(240)
async def test_servers_of_a_cluster_die_in_turn_and_nothing_is_lost_or_doubled(
    cluster: NatsCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zocket.broker.nats.API_TIMEOUT_S", 1.0)  # asks the next leader sooner
    kit = Kit(cluster.url, replicas=3)
    await kit.start_gateway(await kit.broker("gateway"), Limits(call_timeout_s=6))
    await kit.start_runtime(app, await kit.broker("runtime"), ack_wait_s=5.0)
    client, watcher = await kit.client(), await kit.client()
    streams = {actor: watcher.state(watcher.actor(actor, "one")) for actor in (Kept, Quick)}
    loads = {actor: Load(client, actor) for actor in (Kept, Quick)}
    for load in loads.values():
        await load.more()
    for server in cluster.servers:
        await server.kill()
        for load in loads.values():
            await load.more()
        await server.start()
        await cluster.wait_healthy()
    for load in loads.values():
        await load.more()
    for load in loads.values():
        await load.stop()
    for actor, load in loads.items():
        lines = await client.actor(actor, "one").all()
        assert len(lines) == len(set(lines)), "no call took effect twice"
        assert {line: lines.index(line) + 1 for line in load.answered} == load.answered
        assert set(lines) <= load.answered.keys() | load.refused.keys()
        assert set(Counter(load.refused.values())) <= {"unavailable", "timeout"}, Counter(load.refused.values())
        async with asyncio.timeout(30):
            async for state in streams[actor]:
                if state.lines == lines:
                    break
