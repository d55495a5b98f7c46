"""A project in two partitions, each with a runtime of its own."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

from zocket.ids import Partition
from zocket.protocol import subjects

if TYPE_CHECKING:
    from tests.unit.runtime.conftest import Bench, Wire
    from zocket.broker.memory import MemoryBroker
    from zocket.runtime.runtime import Runtime


def lies_in(actor: str, number: int, count: int = 2) -> str:
    """An id of an instance in this partition."""
    names = (f"{actor}{index}" for index in range(100))
    return next(name for name in names if subjects.partition_of_instance(actor, name, count) == number)


class Divided:
    """Two runtimes, a partition each, and a gateway made by hand."""

    def __init__(self, world: Bench, actors: dict[str, Any]) -> None:
        self.world = world
        self.actors = actors
        self.stack = AsyncExitStack()
        self.brokers: list[MemoryBroker] = []
        self.runtimes: list[Runtime] = []
        self.wire: Wire

    async def __aenter__(self) -> Divided:
        self.wire = await self.world.wire()
        for number in range(2):
            broker = self.world.server.connect()
            self.brokers.append(broker)
            runtime = self.world.runtime(
                broker=broker, actors=self.actors, partition=Partition(number, 2), storage="file"
            )
            self.runtimes.append(await self.stack.enter_async_context(runtime))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stack.aclose()

    async def call(self, name: str, actor_id: str, seconds: float = 1.0, **given: Any) -> Any:
        """The answer to a call of an instance of `desk`."""
        self.wire.batches.clear()
        self.wire.call(name, actor_id, actor="desk", input=given, gateway="g1")
        await self.world.clock.advance(seconds)
        deliveries = [item for batch in self.wire.batches for item in batch["deliveries"]]
        return next((item["message"] for item in deliveries if item["sessions"] == ["s1"]), None)
