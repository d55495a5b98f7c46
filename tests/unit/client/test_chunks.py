"""Streamed calls at the client: chunks in order, one outcome, bounded memory."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from zocket.client.chunks import MAX_WAITING
from zocket.errors import ActorError, CallTimeout, Disconnected, Overloaded
from zocket.protocol import frames

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.unit.client.conftest import World
    from zocket.client import Client


class Reading:
    """A task that reads a stream to its end."""

    def __init__(self, chunks: AsyncIterator[Any]) -> None:
        self.found: list[Any] = []
        self.task = asyncio.create_task(self._read(chunks))

    async def _read(self, chunks: AsyncIterator[Any]) -> None:
        async with contextlib.aclosing(chunks):  # type: ignore[type-var]
            async for chunk in chunks:
                self.found.append(chunk)


async def begin(world: World, client: Client) -> tuple[Reading, dict[str, Any]]:
    """A stream that is being read, and its call's frame."""
    world.server.tell(frames.welcome("s_1", ("rpc:cancel",)))
    reading = Reading(client.dynamic("agent", "a").stream("words", n=1))
    await world.settle()
    [frame] = world.server.taken()
    assert (frame["type"], frame["method"], frame["input"]) == ("rpc", "words", {"n": 1})
    return reading, frame


def tell(world: World, call: dict[str, Any], number: int, value: bytes) -> None:
    world.server.tell(frames.chunk(msgspec.json.encode(call["id"]), number, value))


async def test_chunks_are_given_in_order_until_the_result_comes(world: World) -> None:
    async with await world.client().open() as client:
        reading, call = await begin(world, client)
        tell(world, call, 1, b'"a"')
        await world.settle()
        assert reading.found == ["a"]
        tell(world, call, 2, b'"b"')
        tell(world, call, 3, b'"c"')
        world.server.answer(call, None)
        await reading.task
        assert reading.found == ["a", "b", "c"]
        assert world.server.taken() == []
        assert world.clock.planned == 0


async def test_a_server_that_does_not_number_its_chunks_is_understood(world: World) -> None:
    async with await world.client().open() as client:
        reading, call = await begin(world, client)
        for _ in range(2):
            world.server.tell(b'{"type":"rpc:stream","id":%b,"chunk":1}' % msgspec.json.encode(call["id"]))
        world.server.answer(call, None)
        await reading.task
        assert reading.found == [1, 1]


@pytest.mark.parametrize(("number", "why"), [(1, "it began anew"), (3, "chunks were lost")])
async def test_a_chunk_out_of_order_interrupts_and_takes_the_call_back(world: World, number: int, why: str) -> None:
    async with await world.client().open() as client:
        reading, call = await begin(world, client)
        tell(world, call, 1, b"1")
        tell(world, call, number, b"2")
        with pytest.raises(Disconnected, match=f"agent/a.words: the stream was interrupted, {why}"):
            await reading.task
        assert reading.found == [1]
        assert world.server.taken() == [{"type": "rpc:cancel", "id": call["id"]}]


async def test_the_result_says_how_many_chunks_there_were(world: World) -> None:
    async with await world.client().open() as client:
        for number in (1, 2):
            reading, call = await begin(world, client)
            tell(world, call, 1, b"1")
            world.server.tell(frames.stream_end(msgspec.json.encode(call["id"]), b"%d" % number))
            if number == 1:
                await reading.task
        with pytest.raises(Disconnected, match="chunks were lost"):
            await reading.task
        assert reading.found == [1]


async def test_an_error_comes_after_what_arrived_before_it(world: World) -> None:
    async with await world.client().open() as client:
        reading, call = await begin(world, client)
        tell(world, call, 1, b"1")
        world.server.refuse(call, ActorError("no", code="over"))
        with pytest.raises(ActorError, match="no"):
            await reading.task
        assert reading.found == [1]
        assert world.server.taken() == []


async def test_whoever_stops_reading_takes_the_call_back(world: World) -> None:
    async with await world.client().open() as client:
        reading, call = await begin(world, client)
        reading.task.cancel()
        await world.settle()
        assert world.server.taken() == [{"type": "rpc:cancel", "id": call["id"]}]
        tell(world, call, 1, b"1")  # too late: nothing happens
        assert world.clock.planned == 0


async def test_a_reader_that_is_too_far_behind_gets_what_there_is_and_an_error(world: World) -> None:
    async with await world.client().open() as client:
        world.server.tell(frames.welcome("s_1", ("rpc:cancel",)))
        chunks = client.dynamic("agent", "a").stream("words")
        first = asyncio.create_task(anext(chunks))
        await world.settle()
        [call] = world.server.taken()
        for number in range(1, MAX_WAITING + 2):
            tell(world, call, number, b"1")
        found = [await first]
        with pytest.raises(Overloaded, match="1000 chunks of the stream wait"):
            found += [chunk async for chunk in chunks]
        assert world.server.taken() == [{"type": "rpc:cancel", "id": call["id"]}]


async def test_the_time_limit_begins_anew_with_each_chunk(world: World) -> None:
    async with await world.client(rpc_timeout=3).open() as client:
        reading, call = await begin(world, client)
        for number in range(1, 4):
            await world.clock.advance(2.9)
            tell(world, call, number, b"1")
        await world.clock.advance(3)
        with pytest.raises(CallTimeout):
            await reading.task
        assert reading.found == [1, 1, 1]
        assert world.server.taken() == [{"type": "rpc:cancel", "id": call["id"]}]


async def test_a_call_that_asks_for_the_result_alone_ignores_chunks(world: World) -> None:
    async with await world.client().open() as client:
        call = asyncio.create_task(client.dynamic("agent", "a").words())
        await world.settle()
        [frame] = world.server.taken()
        tell(world, frame, 1, b"1")
        world.server.answer(frame, None)
        assert await call is None
