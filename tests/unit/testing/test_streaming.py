"""Methods that yield through the whole chain, on the memory broker and on a real NATS server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from pydantic import BaseModel

from zocket import Actor, ActorError, App, Disconnected, method
from zocket.errors import CallTimeout, UsageError
from zocket.host.streams import WINDOW_CHUNKS
from zocket.testing import TestApp

LIMIT_S = 60.0


class Text(BaseModel):
    words: list[str] = []


class Writer(Actor[Text]):
    gate: asyncio.Event
    made: int
    ended: asyncio.Event

    @method
    async def speak(self, text: str, pause_s: float = 0.0) -> AsyncIterator[str]:
        for word in text.split():
            await asyncio.sleep(pause_s)
            self.state.words.append(word)
            yield word

    @method
    async def wait(self) -> AsyncIterator[int]:
        try:
            yield 1
            self.state.words.append("one")
            await Writer.gate.wait()
            yield 2
        finally:
            Writer.ended.set()

    @method
    async def count(self, to: int) -> AsyncIterator[int]:
        for number in range(1, to + 1):
            Writer.made = number
            yield number

    @method
    async def fail(self) -> AsyncIterator[int]:
        yield 1
        raise ActorError("enough", code="over", data=[1])

    @method
    async def words(self) -> list[str]:
        return self.state.words


class Keeper(Writer):
    durability = "file"


app = App(actors={"writer": Writer, "keeper": Keeper})


@pytest.fixture(autouse=True)
def fresh_gate() -> None:
    Writer.gate, Writer.ended, Writer.made = asyncio.Event(), asyncio.Event(), 0


@pytest.mark.each_broker
@pytest.mark.parametrize("cls", [Writer, Keeper])
async def test_chunks_arrive_in_order_and_the_state_with_the_end(cls: type[Writer]) -> None:
    async with TestApp(app) as t:
        writer = (await t.connect(rpc_timeout=LIMIT_S)).actor(cls, "one")
        assert [word async for word in writer.speak(text="a b c")] == ["a", "b", "c"]
        assert await writer.words() == ["a", "b", "c"]
        assert [number async for number in writer.count(to=1_000)] == list(range(1, 1_001))


@pytest.mark.each_broker
async def test_an_error_comes_after_the_chunks_before_it() -> None:
    async with TestApp(app) as t:
        client = await t.connect(rpc_timeout=LIMIT_S)
        chunks = client.dynamic("writer", "one").stream("fail")
        assert await anext(chunks) == 1
        with pytest.raises(ActorError, match="enough") as caught:
            await anext(chunks)
        assert (caught.value.code, caught.value.data) == ("over", [1])


@pytest.mark.each_broker
async def test_leaving_the_loop_cancels_the_call_and_drops_what_it_changed() -> None:
    async with TestApp(app) as t:
        writer = (await t.connect(rpc_timeout=LIMIT_S)).actor(Writer, "one")
        async for number in writer.wait():
            assert number == 1
            break
        async with asyncio.timeout(LIMIT_S):
            await Writer.ended.wait()
        assert await writer.words() == []


@pytest.mark.each_broker
async def test_a_caller_that_vanishes_ends_its_stream() -> None:
    async with TestApp(app) as t:
        client, other = await t.connect(rpc_timeout=LIMIT_S), await t.connect(rpc_timeout=LIMIT_S)
        chunks = aiter(client.actor(Writer, "one").wait())
        assert await anext(chunks) == 1
        await t.drop(client)
        with pytest.raises(Disconnected, match="may or may not have run"):
            await anext(chunks)
        async with asyncio.timeout(LIMIT_S):
            await Writer.ended.wait()
        assert await other.actor(Writer, "one").words() == []


@pytest.mark.each_broker
async def test_a_stream_whose_runtime_died_is_interrupted_and_never_doubled() -> None:
    async with TestApp(app) as t:
        client = await t.connect(rpc_timeout=LIMIT_S)
        chunks = aiter(client.actor(Keeper, "one").wait())
        assert await anext(chunks) == 1
        await t.kill()
        await t.start()
        with pytest.raises(Disconnected, match="interrupted, it began anew"):
            await anext(chunks)
        assert await client.actor(Keeper, "one").words() == []


@pytest.mark.each_broker
async def test_a_full_socket_holds_the_generator() -> None:
    async with TestApp(app) as t:
        client = await t.connect(rpc_timeout=LIMIT_S)
        socket = t._transports[client].socket
        assert socket is not None
        socket._unsent_bytes += 10_000_000
        chunks = aiter(client.actor(Writer, "one").count(to=500))
        for number in range(1, WINDOW_CHUNKS + 1):
            assert await anext(chunks) == number
        late = asyncio.ensure_future(anext(chunks))
        await asyncio.sleep(0.1)
        assert Writer.made == WINDOW_CHUNKS
        socket._unsent_bytes -= 10_000_000
        assert await late == WINDOW_CHUNKS + 1
        assert [number async for number in chunks][-1] == 500


async def test_the_time_limit_of_the_caller_is_that_between_two_chunks() -> None:
    async with TestApp(app) as t:
        writer = (await t.connect(rpc_timeout=3)).actor(Writer, "one")
        assert [word async for word in writer.speak(text="a b c d", pause_s=2)] == ["a", "b", "c", "d"]
        with pytest.raises(CallTimeout, match="no answer within 3 s"):
            _ = [word async for word in writer.speak(text="a", pause_s=4)]


async def test_the_gateways_time_limit_of_a_call_begins_anew_with_each_chunk() -> None:
    async with TestApp(app) as t:
        writer = (await t.connect(rpc_timeout=1_000)).actor(Writer, "one")
        text = " ".join("abcdefgh")
        assert [word async for word in writer.speak(text=text, pause_s=20)] == list("abcdefgh")


async def test_a_stream_has_no_idempotency_key() -> None:
    async with TestApp(app) as t:
        client = await t.connect()
        with pytest.raises(UsageError, match="cannot be called with an idempotency key"):
            _ = [word async for word in client.options(idempotency_key="k").actor(Writer, "one").speak(text="a")]
