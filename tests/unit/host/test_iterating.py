"""Actors that iterate over the streams of others: in order, no faster than they are taken, ended with their turn."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest

from tests.unit.host.conftest import Recorder, Shelf
from zocket import Actor, ActorError, method, query
from zocket.core import AppDefinition
from zocket.errors import Cancelled, UsageError
from zocket.host import Host
from zocket.host.streams import WINDOW_CHUNKS
from zocket.settings import Limits
from zocket.testing import VirtualClock, finalizers

SEEN: list[Any] = []


@pytest.fixture(autouse=True)
def nothing_seen() -> None:
    SEEN.clear()


class Writer(Actor[dict[str, int]]):
    @method(timeout_s=5.0)
    async def write(self, count: int, pause_s: float = 0.0, fails: bool = False) -> AsyncIterator[int]:
        try:
            for number in range(count):
                if pause_s:
                    await asyncio.sleep(pause_s)
                SEEN.append(number)
                yield number
            if fails:
                raise ActorError("no more ink", code="dry", data=count)
            self.state["written"] = count
        except asyncio.CancelledError:
            SEEN.append("cancelled")
            raise

    @method
    async def who(self) -> AsyncIterator[list[Any]]:
        caller = self.caller
        yield [caller.kind, caller.actor, caller.actor_id, list(caller.chain)]

    @method
    async def written(self) -> int:
        return self.state.get("written", 0)

    @method
    async def echo(self, way: list[str]) -> AsyncIterator[str]:
        yield self.id
        if way:
            async for name in self.actors.get(Writer, way[0]).echo(way=way[1:]):
                yield name


class Reader(Actor[dict[str, Any]]):
    @method(timeout_s=2.0)
    async def read(self, count: int, pause_s: float = 0.0, fails: bool = False, slow_s: float = 0.0) -> list[int]:
        taken = []
        async for number in self.actors.get(Writer, "w").write(count, pause_s=pause_s, fails=fails):
            taken.append(number)
            if slow_s:
                await asyncio.sleep(slow_s)
        return taken

    @method
    async def pass_on(self, count: int) -> AsyncIterator[int]:
        async for number in self.actors.get(Writer, "w").write(count=count):
            yield number * 10

    @method
    async def who(self) -> Any:
        return [answer async for answer in self.actors.get(Writer, "w").who()]

    @method
    async def first(self) -> int:
        async with aclosing(_generator(self.actors.get(Writer, "w").write(10, pause_s=0.01))) as numbers:
            async for number in numbers:
                return number
        return -1

    @method
    async def one(self) -> int:
        taken = []
        async for number in self.actors.get(Writer, "w").write(10, pause_s=0.01):
            taken.append(number)
            break
        return taken[0]

    @method
    async def begin(self) -> int:
        numbers = self.actors.get(Writer, "w").write(10, pause_s=0.01)
        SEEN.append(numbers)
        return await anext(numbers)

    @method
    async def twice(self) -> list[int]:
        async def all_of(name: str) -> int:
            return sum([number async for number in self.actors.get(Writer, name).write(5, pause_s=0.01)])

        return list(await asyncio.gather(all_of("a"), all_of("b")))

    @query
    async def looking(self) -> list[int]:
        return [number async for number in self.actors.get(Writer, "w").write(count=3)]


def _generator(iterator: AsyncIterator[int]) -> AsyncGenerator[int, None]:
    assert isinstance(iterator, AsyncGenerator)
    return iterator


class KeptWriter(Writer):
    durability = "file"


class World:
    def __init__(self, writer: type[Writer] = Writer) -> None:
        self.clock = VirtualClock()
        self.store = Shelf(self.clock)
        definition = AppDefinition({"writer": writer, "reader": Reader} if writer is Writer else {"writer": writer})
        self.host = Host(definition, clock=self.clock, limits=Limits(), store=self.store, window=256)
        finalizers.get().push_async_callback(self.host.abort)
        self.alice = Recorder(self.host, "alice", "alice@example")

    async def call(self, name: str, actor: str = "reader", actor_id: str = "r", s: float = 0.5, **given: Any) -> Any:
        number = self.alice.call(name, actor_id, actor=actor, **given)
        await self.clock.advance(s)
        return next((answer for answer in self.alice.answers() if answer["id"] == number), {})


async def test_chunks_come_in_order_and_the_writers_turn_commits() -> None:
    world = World()
    assert (await world.call("read", count=200))["result"] == list(range(200))
    assert (await world.call("written", "writer", "w"))["result"] == 200
    assert (await world.call("read", count=0))["result"] == []


async def test_the_writer_knows_who_iterates() -> None:
    answer = await World().call("who")
    assert answer["result"] == [["actor", "reader", "r", [["reader", "r"]]]]


async def test_a_stream_may_pass_on_the_chunks_of_another_one() -> None:
    world = World()
    number = world.alice.call("pass_on", "r", actor="reader", count=3)
    await world.clock.advance(0.5)
    chunks = [frame["chunk"] for frame in world.alice.frames if frame["type"] == "rpc:stream"]
    assert chunks == [0, 10, 20]
    assert [answer["seq"] for answer in world.alice.answers() if answer["id"] == number] == [3]


async def test_an_error_of_the_writer_is_the_error_of_the_iteration() -> None:
    answer = await World().call("read", count=2, fails=True)
    assert (answer["error"], answer["code"], answer["data"]) == ("no more ink", "dry", 2)


async def test_the_writer_waits_for_the_reader() -> None:
    world = World()
    number = world.alice.call("read", "r", actor="reader", count=1_000, slow_s=1.0)
    await world.clock.advance(3.5)
    assert len(SEEN) <= WINDOW_CHUNKS + 4
    await world.clock.advance(1_000)
    assert next(answer["result"] for answer in world.alice.answers() if answer["id"] == number) == list(range(1_000))


async def test_a_stream_that_makes_progress_outlasts_the_time_limits_of_both_turns_and_a_silent_one_does_not() -> None:
    world = World()
    assert (await world.call("read", s=20, count=10, pause_s=1.5))["result"] == list(range(10))
    answer = await world.call("read", s=20, count=10, pause_s=3.0)
    assert answer["code"] == "handler_timeout"
    assert SEEN[-1] == "cancelled"


@pytest.mark.parametrize("leave", ["first", "one", "begin"])
async def test_leaving_the_loop_and_ending_the_turn_cancel_the_writer(leave: str) -> None:
    world = World()
    assert (await world.call(leave))["result"] == 0
    assert SEEN[-1] == "cancelled"
    assert (await world.call("written", "writer", "w"))["result"] == 0
    assert (await world.call("read", count=2))["result"] == [0, 1], "nobody waits for the one that was left"
    if leave == "begin":
        with pytest.raises(Cancelled, match="the turn that called it is over"):
            await asyncio.wait_for(_drain(SEEN[0]), 1)


async def _drain(numbers: AsyncIterator[int]) -> None:
    async for _ in numbers:
        pass


async def test_the_cancelled_reader_cancels_its_writer() -> None:
    world = World()
    number = world.alice.call("read", "r", actor="reader", count=100, pause_s=0.1)
    await world.clock.advance(0.35)
    assert world.host.cancel("reader", "r", "alice", f"r{number}")
    await world.clock.advance(0.1)
    assert SEEN == [0, 1, 2, "cancelled"]


async def test_several_streams_run_at_once() -> None:
    assert (await World().call("twice"))["result"] == [10, 10]


async def test_a_stream_that_would_wait_for_itself_is_refused_with_the_chain() -> None:
    world = World()
    assert (await world.call("echo", "writer", "a", way=["b", "c"])).get("seq") == 3
    answer = await world.call("echo", "writer", "a", way=["b", "a"])
    assert (answer["code"], answer["data"]) == ("cycle", [["writer", "a"], ["writer", "b"], ["writer", "a"]])


async def test_a_stream_of_a_durable_writer_commits_once() -> None:
    world = World(KeptWriter)
    numbers = [int(chunk) async for chunk in world.host.stream("writer", "w", "write", b'{"count":3}', 1.0)]
    assert numbers == [0, 1, 2]
    assert (await world.call("written", "writer", "w"))["result"] == 3


async def test_a_query_may_not_call_others() -> None:
    answer = await World().call("looking")
    assert answer["code"] == "internal"


async def test_outside_of_a_turn_there_is_no_stream() -> None:
    world = World()
    await world.call("begin")
    resident: Any = world.host.resident(("reader", "r"))  # type: ignore[arg-type]
    handle = resident.instance.actor.actors.get(Writer, "w")
    with pytest.raises(UsageError, match="inside a turn"):
        await _drain(handle.write(count=1))
