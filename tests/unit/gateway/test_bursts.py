"""Requests of one loop turn to the same instance, as one message."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from zocket.gateway.bursts import MAX_BURST_BYTES
from zocket.protocol import subjects

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from tests.unit.gateway.conftest import Client, Runtime, World

    Open = Callable[..., AbstractAsyncContextManager[World]]


async def taking_bursts(w: World, *, mixed: int = 0) -> Runtime:
    runtime = await w.runtime("room", "board")
    w.client()
    await w.settle()
    runtime.announce_partition("e_1", ["room", "board"], bursts=True, mixed=mixed)
    await w.settle()
    return runtime


def ids(content: Any) -> Any:
    """The call ids of a message, with a burst's in a list."""
    return [ids(part) for part in content] if isinstance(content, list) else content["message"].get("id")


async def test_requests_of_one_turn_to_an_instance_are_one_message_in_their_order(world: Open) -> None:
    async with world() as w:
        runtime = await taking_bursts(w)
        alice, bob = w.client(), w.client()
        for number in range(3):
            alice.calls(number)
            bob.calls(10 + number)
        alice.calls(20, actor_id="b")
        alice.subscribes()
        await w.settle()
        assert [ids(content) for content in runtime.requests] == [[0, 10, 1, 11, 2, 12, None], 20]
        assert runtime.subjects == ["inbound.acme.chat.room.a", "inbound.acme.chat.room.b"]
        first = runtime.requests[0]
        assert [part["sessionId"] for part in first[:2]] == [alice.session_id, bob.session_id]
        assert len({part["requestId"] for part in first}) == 7


async def test_a_single_request_is_the_envelope_of_the_contract(world: Open) -> None:
    async with world() as w:
        runtime = await taking_bursts(w)
        client = w.client()
        client.calls(1)
        await w.settle()
        client.calls(2)
        await w.settle()
        assert [ids(content) for content in runtime.requests] == [1, 2]


async def test_a_runtime_that_does_not_say_that_it_takes_bursts_gets_none(world: Open) -> None:
    async with world() as w:
        runtime = await w.runtime("room", epoch="e_1")
        client = w.client()
        await w.settle()
        client.calls(1)
        client.calls(2)
        await w.settle()
        assert [ids(content) for content in runtime.requests] == [1, 2]


async def test_what_waits_goes_first_when_the_next_runtime_takes_no_bursts(world: Open) -> None:
    async with world() as w:
        runtime = await taking_bursts(w)
        client: Client = w.client()
        client.calls(1)
        client.calls(2)
        client.session.project.takes_bursts = False
        client.calls(3)
        await w.settle()
        assert [ids(content) for content in runtime.requests] == [[1, 2], 3]


async def test_a_burst_is_bounded_and_what_follows_keeps_its_order(world: Open) -> None:
    async with world(max_pending_calls=1_000) as w:
        runtime = await taking_bursts(w)
        client = w.client()
        for number in range(600):
            client.calls(number)
        for number in range(600, 603):
            client.calls(number, text="x" * (MAX_BURST_BYTES // 2))
        await w.settle()
        parts = [ids(content) for content in runtime.requests]
        flat = [one for part in parts for one in (part if isinstance(part, list) else [part])]
        assert flat == list(range(603))
        assert max(len(part) for part in parts if isinstance(part, list)) <= 256
        assert len(parts) >= 5


async def test_each_request_of_a_burst_that_cannot_be_published_is_answered(world: Open) -> None:
    async with world() as w:
        await taking_bursts(w)
        client = w.client()
        client.taken()
        w.server.full_streams.add(subjects.INBOUND_STREAM)
        client.calls(1)
        client.calls(2)
        await w.settle()
        assert [(frame["id"], frame["code"]) for frame in client.taken()] == [(1, "overloaded"), (2, "overloaded")]


async def test_requests_of_one_turn_to_instances_of_a_type_are_one_message_where_that_is_taken(world: Open) -> None:
    async with world() as w:
        runtime = await taking_bursts(w, mixed=1)
        client = w.client()
        for number, (actor, actor_id) in enumerate([("room", "a"), ("board", "a"), ("room", "b"), ("room", "a")]):
            client.calls(number, actor=actor, actor_id=actor_id)
        await w.settle()
        assert [ids(content) for content in runtime.requests] == [[0, 2, 3], 1]
        assert runtime.subjects == ["inbound.acme.chat.room.a", "inbound.acme.chat.board.a"]


async def test_in_a_divided_stream_they_are_of_one_partition(world: Open) -> None:
    async with world() as w:
        runtime = await taking_bursts(w, mixed=2)
        client = w.client()
        rooms = [f"r{number}" for number in range(12)]
        for number, room in enumerate(rooms):
            client.calls(number, actor_id=room)
        await w.settle()
        parts = [subjects.partition_of_instance("room", room, 2) for room in rooms]
        expected = [[number for number, part in enumerate(parts) if part == wanted] for wanted in (0, 1)]
        assert sorted(ids(content) for content in runtime.requests) == sorted(expected)


async def test_a_full_message_takes_those_that_were_opened_before_along(world: Open) -> None:
    """An instance keeps its order when what its runtime takes changes within a turn."""
    async with world(max_pending_calls=1_000) as w:
        runtime = await taking_bursts(w)
        client = w.client()
        client.calls(0)
        client.session.project.mixed = 1
        for number in range(1, 4):
            client.calls(number, text="x" * (MAX_BURST_BYTES // 3))
        await w.settle()
        assert [ids(content) for content in runtime.requests] == [0, [1, 2], 3]
