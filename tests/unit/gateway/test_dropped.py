"""What runtimes send that do not own their part of the project, and the calls whose answer was dropped with it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from zocket.gateway.gateway import LOST_AFTER_S
from zocket.ids import Partition

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from tests.unit.gateway.conftest import Client, Runtime, World

    Open = Callable[..., AbstractAsyncContextManager[World]]


async def superseded_answers(w: World, *call_ids: int) -> tuple[Runtime, Client]:
    """Calls that `e_1` answers after it was superseded by `e_2`."""
    runtime = await w.runtime("room", epoch="e_1")
    client = w.client()
    for call_id in call_ids:
        client.calls(call_id)
    await w.settle()
    runtime.announce("e_2", "room")
    for call_id in call_ids:
        runtime.batches(w.gateway, ([client], result(call_id)), epoch="e_1")
    await w.settle()
    assert [frame["type"] for frame in client.taken()] == ["welcome"]
    return runtime, client


def result(call_id: int) -> dict[str, Any]:
    return {"type": "rpc:result", "id": call_id, "result": "done"}


async def test_r18_the_successor_of_a_superseded_runtime_answers_however_long_it_takes(world: Open) -> None:
    async with world() as w:
        runtime, client = await superseded_answers(w, 1)
        await w.clock.advance(2 * LOST_AFTER_S)
        assert client.taken() == []
        runtime.batches(w.gateway, ([client], result(1)), epoch="e_2")
        await w.settle()
        assert client.taken() == [result(1)]


async def test_a_call_whose_runtimes_were_all_superseded_is_answered_soon(world: Open) -> None:
    """The first one's acknowledgement counts for the second one's consumer, so the third never gets the call."""
    async with world() as w:
        runtime, client = await superseded_answers(w, 1)
        runtime.announce("e_3", "room")
        await w.settle()
        await w.clock.advance(LOST_AFTER_S - 0.1)
        assert client.taken() == []
        await w.clock.advance(0.2)
        [answer] = client.taken()
        assert (answer["id"], answer["code"]) == (1, "unavailable")
        assert "may have taken effect" in answer["error"]


async def test_a_call_that_was_answered_after_all_or_came_later_is_left_alone(world: Open) -> None:
    async with world() as w:
        runtime, client = await superseded_answers(w, 1, 2)
        runtime.announce("e_3", "room")
        client.calls(3)
        await w.settle()
        runtime.batches(w.gateway, ([client], result(1)), ([client], result(2)), epoch="e_3")
        await w.settle()
        client.taken()
        client.calls(2)  # the id is free again
        await w.settle()
        await w.clock.advance(LOST_AFTER_S + 0.1)
        assert client.taken() == []
        assert set(client.session.edge.pending) == {b"2", b"3"}


async def test_a_new_owner_of_another_partition_tells_nothing_of_the_call(world: Open) -> None:
    async with world() as w:
        runtime = await w.runtime("room")
        client = w.client()
        for number in range(2):
            runtime.announce_partition(f"e_{number}", ["room"], Partition(number, 2))
        client.calls(1)
        await w.settle()
        runtime.announce_partition("e_2", ["room"], Partition(0, 2))
        runtime.batches(w.gateway, ([client], result(1)), epoch="e_0")
        await w.settle()
        client.taken()
        runtime.announce_partition("e_3", ["room"], Partition(1, 2))
        await w.settle()
        await w.clock.advance(LOST_AFTER_S + 0.1)
        assert client.taken() == []
        runtime.announce_partition("e_4", ["room"], Partition(0, 2))
        await w.settle()
        await w.clock.advance(LOST_AFTER_S + 0.1)
        assert [answer["code"] for answer in client.taken()] == ["unavailable"]


async def test_a_session_that_has_ended_is_told_nothing(world: Open) -> None:
    async with world() as w:
        runtime, client = await superseded_answers(w, 1)
        runtime.announce("e_3", "room")
        await w.settle()
        client.session.closed()
        await w.clock.advance(LOST_AFTER_S + 0.1)
        assert client.taken() == []


async def test_states_of_a_runtime_that_was_never_heard_wait_for_its_word(world: Open) -> None:
    """It may have been superseded while the gateway was cut off, and not know it."""
    async with world() as w:
        runtime = await w.runtime("room", epoch="e_1")
        client = w.client()
        client.subscribes()
        client.calls(1)
        await w.settle()
        client.taken()
        frames = [{"type": f"state:{kind}", "actor": "room", "actorId": "a"} for kind in ("snapshot", "patch")]
        states = [json.dumps(frame, separators=(",", ":")).encode() for frame in frames]
        event = {"type": "event", "actor": "room", "actorId": "a"}
        sent: list[dict[str, Any] | bytes] = [*states, event, result(1)]
        runtime.batches(w.gateway, *(([client], frame) for frame in sent), epoch="e_2")
        await w.settle()
        assert client.taken() == [event, result(1)]
        runtime.requests.clear()
        runtime.announce("e_2", "room")
        await w.settle()
        assert [request["message"]["type"] for request in runtime.requests] == ["state:sub"]
        runtime.batches(w.gateway, *(([client], frame) for frame in states), epoch="e_2")
        await w.settle()
        assert client.taken() == frames


async def test_states_pass_while_not_every_partition_was_heard(world: Open) -> None:
    async with world() as w:
        runtime = await w.runtime("room")
        client = w.client()
        runtime.announce_partition("e_0", ["room"], Partition(0, 2))
        await w.settle()
        client.taken()
        snapshot = b'{"type":"state:snapshot","actor":"room","actorId":"a"}'
        runtime.batches(w.gateway, ([client], snapshot), epoch="e_1")
        await w.settle()
        assert client.taken() == [json.loads(snapshot)]
        runtime.announce_partition("e_2", ["room"], Partition(0, 2))
        await w.settle()
        runtime.batches(w.gateway, ([client], snapshot), epoch="e_0")
        await w.settle()
        assert client.taken() == []
