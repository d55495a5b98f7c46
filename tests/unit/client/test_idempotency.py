"""Calls with an idempotency key: sent again until they are answered or their time is up, under the same key."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from zocket.client import DynamicHandle
from zocket.errors import ActorError, CallTimeout, Disconnected, Overloaded, Unauthorized, Unavailable, UsageError

if TYPE_CHECKING:
    from tests.unit.client.conftest import World
    from zocket.client import Client


def keyed(client: Client, key: Any = "order-17", timeout: float | None = None) -> DynamicHandle:
    return client.options(idempotency_key=key, timeout=timeout).dynamic("chat", "general")


def keys(frames: list[dict[str, Any]]) -> list[str | None]:
    return [frame.get("idempotencyKey") for frame in frames]


async def test_a_call_survives_a_dropped_socket_under_the_same_key(world: World) -> None:
    async with await world.client().open() as client:
        call = asyncio.create_task(keyed(client).pay(sum=3))
        await world.settle()
        first = world.server.taken()
        world.server.drop(1012, "restart")
        await world.clock.advance(0.25)
        [again] = world.server.taken()
        assert keys([*first, again]) == ["order-17", "order-17"]
        assert again["input"] == {"sum": 3}
        world.server.answer(again, b"7")
        assert await call == 7
        assert world.clock.planned == 0


async def test_after_a_drop_they_go_in_their_order_and_before_the_calls_that_waited(world: World) -> None:
    async with await world.client().open() as client:
        room = client.dynamic("chat", "general")
        sent = [asyncio.create_task(keyed(client, f"k{n}").pay(n=n)) for n in range(3)]
        plain = asyncio.create_task(room.pay(n=99))
        await world.settle()
        world.server.drop()
        waiting = asyncio.create_task(room.pay(n=3))
        await world.clock.advance(0.25)
        assert [frame["input"]["n"] for frame in world.server.frames] == [0, 1, 2, 3]
        for frame in world.server.taken():
            world.server.answer(frame, None)
        await asyncio.gather(*sent, waiting)
        with pytest.raises(Disconnected, match="may or may not have run"):
            await plain


@pytest.mark.parametrize("error", [Overloaded("busy"), Unavailable("away")])
async def test_what_passes_is_tried_again_after_a_growing_delay(world: World, error: Exception) -> None:
    async with await world.client().open() as client:
        call = asyncio.create_task(keyed(client).pay())
        for delay_s in (0.25, 0.5, 1.0, 2.0, 2.0):
            await world.settle()
            world.server.refuse(world.server.taken()[0], error)
            await world.clock.advance(delay_s - 0.01)
            assert world.server.frames == []
            await world.clock.advance(0.01)
        world.server.answer(world.server.taken()[0], b"1")
        assert await call == 1


async def test_its_time_limit_covers_all_retries_and_says_what_the_last_one_met(world: World) -> None:
    async with await world.client(rpc_timeout=60).open() as client:
        call = asyncio.create_task(keyed(client, timeout=1).pay())
        await world.settle()
        world.server.refuse(world.server.taken()[0], Overloaded("busy"))
        await world.clock.advance(0.25)
        world.server.refuse(world.server.taken()[0], Unavailable("away"))
        await world.clock.advance(0.75)
        with pytest.raises(CallTimeout, match=r"within 1 s; it was refused 2 times, at last with unavailable"):
            await call
        assert len(world.server.taken()) == 1
        await world.clock.advance(10)
        assert world.server.frames == []
        assert world.clock.planned == 0


@pytest.mark.parametrize("code", ["idempotency_mismatch", "internal", "handler_timeout", "rate_limited", "repeated"])
async def test_any_other_error_is_the_answer(world: World, code: str) -> None:
    async with await world.client().open() as client:
        call = asyncio.create_task(keyed(client).pay())
        await world.settle()
        world.server.refuse(world.server.taken()[0], ActorError("no", code=code))
        with pytest.raises(ActorError, match="no"):
            await call


async def test_without_a_key_nothing_is_tried_again(world: World) -> None:
    async with await world.client().open() as client:
        call = asyncio.create_task(client.options(timeout=3).dynamic("chat", "general").pay())
        await world.settle()
        [frame] = world.server.taken()
        assert "idempotencyKey" not in frame
        world.server.refuse(frame, Overloaded("busy"))
        with pytest.raises(ActorError, match="busy"):
            await call


async def test_true_makes_another_key_for_each_call_and_keeps_it_over_a_retry(world: World) -> None:
    async with await world.client().open() as client:
        room = keyed(client, True)
        calls = [asyncio.create_task(room.pay()) for _ in range(2)]
        await world.settle()
        first = keys(world.server.taken())
        world.server.drop()
        await world.clock.advance(0.25)
        again = world.server.taken()
        assert keys(again) == first
        assert len(set(first)) == 2
        for frame in again:
            world.server.answer(frame, None)
        await asyncio.gather(*calls)


async def test_a_drop_during_the_delay_sends_it_once_more_and_no_oftener(world: World) -> None:
    async with await world.client().open() as client:
        call = asyncio.create_task(keyed(client).pay())
        await world.settle()
        world.server.refuse(world.server.taken()[0], Overloaded("busy"))
        world.transport.outcomes.append(Unavailable("not yet"))
        world.server.drop()
        await world.clock.advance(5)
        [frame] = world.server.taken()
        world.server.answer(frame, None)
        await call


@pytest.mark.parametrize("stage", ["sent", "delayed", "waiting"])
async def test_the_end_of_the_client_ends_them_in_every_stage(world: World, stage: str) -> None:
    async with await world.client().open() as client:
        call = asyncio.create_task(keyed(client).pay())
        await world.settle()
        if stage == "delayed":
            world.server.refuse(world.server.taken()[0], Overloaded("busy"))
        elif stage == "waiting":
            world.transport.outcomes.append(Unauthorized("expired"))
            world.server.drop()
            await world.clock.advance(0.25)
        await client.aclose()
        with pytest.raises(Unauthorized if stage == "waiting" else Disconnected, match="pay"):
            await call
        assert world.clock.planned == 0


async def test_a_cancelled_call_is_not_sent_again(world: World) -> None:
    async with await world.client().open() as client:
        call = asyncio.create_task(keyed(client).pay())
        await world.settle()
        world.server.refuse(world.server.taken()[0], Overloaded("busy"))
        call.cancel()
        await world.clock.advance(5)
        assert world.server.frames == []


@pytest.mark.parametrize(
    "options",
    [
        {"idempotency_key": ""},
        {"idempotency_key": "x" * 129},
        {"idempotency_key": "é"},
        {"idempotency_key": "a\nb"},
        {"idempotency_key": 5},
        {"idempotency_key": False},
        {"timeout": 0},
        {"timeout": float("nan")},
    ],
)
async def test_options_that_cannot_be_are_refused_where_they_are_written(world: World, options: Any) -> None:
    async with await world.client().open() as client:
        with pytest.raises(UsageError, match="expected"):
            client.options(**options)


async def test_a_handle_with_options_names_its_instance_like_any_other(world: World) -> None:
    async with await world.client().open() as client, await world.client().open() as other:
        async with client.state(keyed(client)):
            await world.settle()
            [frame] = world.transport.connections[0].taken()
            assert (frame["type"], frame["actorId"]) == ("state:sub", "general")
        with pytest.raises(UsageError, match="a handle of this client"):
            other.state(keyed(client))
