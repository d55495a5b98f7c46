"""Calls: one outcome, one time limit, never sent twice."""

from __future__ import annotations

import asyncio
import gc
from typing import TYPE_CHECKING

import pytest

from zocket.errors import ActorError, CallTimeout, Disconnected, Unauthorized, Unavailable
from zocket.protocol import frames

if TYPE_CHECKING:
    from tests.unit.client.conftest import World


async def test_a_call_gives_the_servers_answer(world: World) -> None:
    async with await world.client().open() as client:
        call = asyncio.create_task(client.dynamic("chat", "general").post(text="hi"))
        await world.settle()
        [frame] = world.server.taken()
        assert (frame["method"], frame["input"]) == ("post", {"text": "hi"})
        world.server.answer(frame, b'{"n":1}')
        assert await call == {"n": 1}
        assert world.clock.planned == 0


async def test_answers_find_their_calls_in_any_order(world: World) -> None:
    async with await world.client().open() as client:
        room = client.dynamic("chat", "general")
        calls = [asyncio.create_task(room.post(n=n)) for n in range(3)]
        await world.settle()
        for frame in reversed(world.server.taken()):
            world.server.answer(frame, str(frame["input"]["n"] * 10).encode())
        assert await asyncio.gather(*calls) == [0, 10, 20]


async def test_an_error_of_the_server_is_raised_with_all_it_says(world: World) -> None:
    async with await world.client().open() as client:
        call = asyncio.create_task(client.dynamic("chat", "general").post())
        await world.settle()
        world.server.refuse(world.server.taken()[0], ActorError("no", code="forbidden", data=[1], request_id="r_1"))
        with pytest.raises(ActorError) as caught:
            await call
        error = caught.value
        assert (error.message, error.code, error.data, error.request_id) == ("no", "forbidden", [1], "r_1")


async def test_a_call_without_an_answer_ends_with_its_time_limit(world: World) -> None:
    async with await world.client(rpc_timeout=3).open() as client:
        call = asyncio.create_task(client.dynamic("chat", "general").post())
        await world.clock.advance(2.9)
        assert not call.done()
        await world.clock.advance(0.1)
        with pytest.raises(CallTimeout, match=r"chat/general\.post: no answer within 3 s"):
            await call
        world.server.answer(world.server.taken()[0], b"1")  # too late: nothing happens


async def test_a_task_that_is_cancelled_takes_its_call_back_where_the_server_knows_that(world: World) -> None:
    async with await world.client().open() as client:
        for features in ((), ("rpc:cancel",)):
            world.server.tell(frames.welcome("s_1", features))
            call = asyncio.create_task(client.dynamic("chat", "general").post())
            await world.settle()
            [frame] = world.server.taken()
            call.cancel()
            await world.settle()
            taken = [{"type": "rpc:cancel", "id": frame["id"]}] if features else []
            assert world.server.taken() == taken
            world.server.answer(frame, b"1")  # too late: nothing happens
            assert world.clock.planned == 0


async def test_a_call_that_was_not_sent_is_not_taken_back(world: World) -> None:
    async with await world.client().open() as client:
        world.server.tell(frames.welcome("s_1", ("rpc:cancel",)))
        world.server.drop()
        call = asyncio.create_task(client.dynamic("chat", "general").post())
        await world.settle()
        call.cancel()
        await world.clock.advance(5)
        assert world.server.taken() == []


async def test_waiting_for_the_connection_and_for_the_answer_share_one_time_limit(world: World) -> None:
    async with await world.client(rpc_timeout=3).open() as client:
        opens = asyncio.Event()
        world.transport.outcomes.append(opens)
        world.server.drop()
        call = asyncio.create_task(client.dynamic("chat", "general").post())
        await world.clock.advance(2)
        assert client.status == "reconnecting"
        opens.set()
        await world.settle()
        assert [frame["type"] for frame in world.server.frames] == ["rpc"]
        await world.clock.advance(0.9)
        assert not call.done()
        await world.clock.advance(0.1)
        with pytest.raises(CallTimeout, match="no answer"):
            await call


async def test_a_call_that_never_got_a_connection_says_so_and_is_not_sent_later(world: World) -> None:
    async with await world.client(rpc_timeout=1).open() as client:
        opens = asyncio.Event()
        world.transport.outcomes.append(opens)
        world.server.drop()
        call = asyncio.create_task(client.dynamic("chat", "general").post())
        await world.clock.advance(1)
        with pytest.raises(CallTimeout, match="no connection within 1 s"):
            await call
        opens.set()
        await client.ready
        assert world.server.frames == []


async def test_calls_that_wait_for_the_connection_are_sent_in_their_order(world: World) -> None:
    async with await world.client().open() as client:
        world.server.drop()
        room = client.dynamic("chat", "general")
        calls = [asyncio.create_task(room.post(n=n)) for n in range(5)]
        await world.clock.advance(0.25)
        assert [frame["input"]["n"] for frame in world.server.frames] == [0, 1, 2, 3, 4]
        for frame in world.server.taken():
            world.server.answer(frame, None)
        await asyncio.gather(*calls)


async def test_a_dropped_connection_rejects_its_calls_and_they_are_not_sent_again(world: World) -> None:
    async with await world.client().open() as client:
        call = asyncio.create_task(client.dynamic("chat", "general").post())
        await world.settle()
        world.server.drop(1012, "restart")
        with pytest.raises(
            Disconnected, match=r"chat/general\.post: .*1012: restart.*may or may not have run"
        ) as caught:
            await call
        assert caught.value.data == {"close_code": 1012}
        await world.clock.advance(0.25)
        assert client.status == "open"
        assert world.server.frames == []


async def test_closing_the_client_rejects_what_is_open_and_what_comes_later(world: World) -> None:
    client = await world.client().open()
    room = client.dynamic("chat", "general")
    call = asyncio.create_task(room.post())
    await world.settle()
    await client.aclose()
    with pytest.raises(Disconnected, match="the client was closed"):
        await call
    with pytest.raises(Disconnected, match=r"chat/general\.post: the client was closed"):
        await room.post()
    assert world.clock.planned == 0


async def test_closing_the_client_rejects_calls_that_wait_for_a_connection(world: World) -> None:
    client = await world.client().open()
    world.server.drop()
    call = asyncio.create_task(client.dynamic("chat", "general").post())
    await world.settle()
    await client.aclose()
    with pytest.raises(Disconnected, match="the client was closed"):
        await call


async def test_a_cancelled_caller_frees_its_call(world: World) -> None:
    async with await world.client().open() as client:
        call = asyncio.create_task(client.dynamic("chat", "general").post())
        await world.settle()
        assert (len(client._calls), client._session.pending_calls) == (1, 1)
        call.cancel()
        await world.settle()
        assert (len(client._calls), client._session.pending_calls) == (0, 0)
        assert world.clock.planned == 0
        world.server.answer(world.server.taken()[0], b"1")


async def test_a_caller_cancelled_while_it_waits_for_the_connection_is_not_sent(world: World) -> None:
    async with await world.client().open() as client:
        world.server.drop()
        call = asyncio.create_task(client.dynamic("chat", "general").post())
        await world.settle()
        call.cancel()
        await world.clock.advance(0.25)
        assert world.server.frames == []


async def test_a_caller_cancelled_in_the_same_turn_as_its_error_leaves_no_complaint(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    async with await world.client().open() as client:
        call = asyncio.create_task(client.dynamic("chat", "general").post())
        await world.settle()
        world.server.drop()
        call.cancel()
        await world.settle()
        assert call.cancelled()
    del call
    gc.collect()
    assert [record for record in caplog.records if record.name == "asyncio"] == []


async def test_a_refused_token_on_the_way_rejects_what_waits_with_it(world: World) -> None:
    async with await world.client().open() as client:
        world.transport.outcomes.append(Unauthorized("the token has expired"))
        world.server.drop()
        room = client.dynamic("chat", "general")
        call = asyncio.create_task(room.post())
        await world.clock.advance(0.25)
        with pytest.raises(Unauthorized, match="the token has expired"):
            await call
        with pytest.raises(Unauthorized, match="the token has expired"):
            await room.post()
        assert client.status == "closed"


async def test_a_failed_first_connection_rejects_later_calls_with_its_reason(world: World) -> None:
    world.transport.outcomes.append(Unavailable("nobody listens"))
    client = world.client()
    with pytest.raises(Unavailable, match="nobody listens"):
        await client.open()
    with pytest.raises(Unavailable, match="nobody listens"):
        await client.dynamic("chat", "general").post()
