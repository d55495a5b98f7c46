"""Actors that iterate over the streams of instances in another runtime of a divided project."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import pytest

from tests.unit.runtime.divided import Divided, lies_in
from zocket.core import Actor, method
from zocket.errors import ActorError
from zocket.handles import ActorHandle
from zocket.host.streams import WINDOW_CHUNKS

if TYPE_CHECKING:
    from tests.unit.runtime.conftest import Bench

SEEN: list[Any] = []


class Writer(Actor[dict[str, int]]):
    @method(timeout_s=5.0)
    async def write(self, count: int, pause_s: float, fails: bool = False) -> AsyncIterator[int]:
        try:
            for number in range(count):
                await asyncio.sleep(pause_s)
                SEEN.append(number)
                yield number
            if fails:
                raise ActorError("no more ink", code="dry", data=count)
        except asyncio.CancelledError:
            SEEN.append("cancelled")
            raise


class Desk(Actor[dict[str, Any]]):
    @method(timeout_s=2.0)
    async def read(self, other: str, count: int, pause_s: float = 0.0, slow_s: float = 0.0, fails: bool = False) -> Any:
        taken = []
        try:
            async for number in self.actors.get(Writer, other).write(count, pause_s=pause_s, fails=fails):
                taken.append(number)
                if slow_s:
                    await asyncio.sleep(slow_s)
        except ActorError as error:
            return [taken, error.code, error.data]
        return taken

    @method
    async def first(self, other: str) -> int:
        numbers = self.actors.get(Writer, other).write(100, pause_s=0.1)
        return await anext(aiter(numbers))


ACTORS: dict[str, Any] = {"writer": Writer, "desk": Desk}
DESK, WRITER = lies_in("desk", 0), lies_in("writer", 1)


@pytest.fixture(autouse=True)
def nothing_seen() -> None:
    SEEN.clear()


async def test_chunks_and_the_error_at_their_end_come_from_another_runtime(bench: type[Bench]) -> None:
    async with Divided(bench(), ACTORS) as divided:
        assert (await divided.call("read", DESK, other=WRITER, count=300))["result"] == list(range(300))
        answer = await divided.call("read", DESK, other=WRITER, count=2, fails=True)
        assert answer["result"] == [[0, 1], "dry", 2]


async def test_the_writer_waits_for_a_reader_in_another_runtime(bench: type[Bench]) -> None:
    async with Divided(bench(), ACTORS) as divided:
        answer = await divided.call("read", DESK, 3.0, other=WRITER, count=500, slow_s=0.2)
        assert answer is None
        assert len(SEEN) <= WINDOW_CHUNKS + 1
        await divided.world.clock.advance(200)
        assert list(range(500)) == SEEN


async def test_progress_outlasts_the_time_limits_of_both_and_of_the_call(bench: type[Bench]) -> None:
    async with Divided(bench(), ACTORS) as divided:
        answer = await divided.call("read", DESK, 60.0, other=WRITER, count=30, pause_s=1.5)
        assert answer["result"] == list(range(30))
        answer = await divided.call("read", DESK, 10.0, other=WRITER, count=3, pause_s=3.0)
        assert answer["code"] == "handler_timeout"
        assert SEEN[-1] == "cancelled"


async def test_the_end_of_the_readers_turn_cancels_the_writer(bench: type[Bench]) -> None:
    async with Divided(bench(), ACTORS) as divided:
        assert (await divided.call("first", DESK, 5.0, other=WRITER))["result"] == 0
        assert SEEN[-1] == "cancelled"
        assert len(SEEN) < 5


async def test_a_lost_connection_ends_the_iteration_with_an_error_and_never_with_a_part(bench: type[Bench]) -> None:
    async with Divided(bench(), ACTORS) as divided:
        divided.wire.batches.clear()
        given = {"other": WRITER, "count": 30, "pause_s": 0.1}
        divided.wire.call("read", DESK, actor="desk", input=given, gateway="g1")
        await divided.world.clock.advance(1.0)
        divided.world.server.cut(divided.brokers[0], 0.2)
        await divided.world.clock.advance(10.0)
        deliveries = [item for batch in divided.wire.batches for item in batch["deliveries"]]
        (answer,) = [item["message"] for item in deliveries if item["sessions"] == ["s1"]]
        taken, code, _ = answer["result"]
        assert code == "unavailable"
        assert taken == list(range(len(taken)))
        assert SEEN[-1] == "cancelled"


async def test_server_code_iterates_over_instances_of_every_partition(bench: type[Bench]) -> None:
    async with Divided(bench(), ACTORS) as divided:
        definition = divided.runtimes[0]._host.definition
        for number in range(2):
            writer = ActorHandle(definition.invokers[-1], definition.actors["writer"], lies_in("writer", number))

            async def all_of(handle: ActorHandle) -> list[int]:
                return [chunk async for chunk in handle.write(count=40, pause_s=0.01)]

            iterating = asyncio.ensure_future(all_of(writer))
            await divided.world.clock.advance(2.0)
            assert await iterating == list(range(40))
