"""What a gateway says of calls under way to runtimes that hear it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from zocket.ids import Partition
from zocket.protocol import frames, subjects

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from tests.unit.gateway.conftest import Client, World

    Open = Callable[..., AbstractAsyncContextManager[World]]


async def heard(w: World, client: Client, place: Partition, *, controls: bool = True) -> list[tuple[str, Any]]:
    """What the runtimes of all partitions hear of a call that is cancelled."""
    found: list[tuple[str, Any]] = []
    runtime = await w.runtime("room")
    await runtime.broker.subscribe(
        "runtime.control.>",
        lambda messages: found.extend((item.subject, json.loads(item.payload)) for item in messages),
    )
    runtime.announce_partition("e1", ["room"], place, controls=controls)
    await w.settle()
    client.calls(7)
    client.says({"type": "rpc:cancel", "id": 7})
    client.says({"type": "rpc:cancel", "id": 8})
    await w.settle()
    return found


async def test_a_cancelled_call_is_told_to_the_owner_of_its_partition(world: Open) -> None:
    async with world() as w:
        client = w.client()
        number = subjects.partition_of_instance("room", "a", 4)
        [(subject, control)] = await heard(w, client, Partition(number, 4))
        assert subject == f"runtime.control.acme.chat.{number}"
        assert control == {
            "scope": {"workspaceId": "acme", "projectId": "chat"},
            "sessionId": client.session_id,
            "requestId": f"{client.session.edge.request_prefix}1",
            "actor": "room",
            "actorId": "a",
        }


async def test_chunks_pass_in_order_and_are_credited_when_the_socket_has_room(world: Open) -> None:
    async with world(call_timeout_s=10) as w:
        client = w.client()
        client.unsent = 10_000_000
        found = await heard(w, client, Partition(0, 1))
        found.clear()
        runtime = await w.runtime("room")
        for number in range(1, 33):
            runtime.batches(w.gateway, ([client], frames.chunk(b"7", number, b'"a"')))
        runtime.batches(w.gateway, ([client], frames.chunk(b"8", 16, b'"of no call"')))
        await w.clock.sleep(1)
        assert [frame["seq"] for frame in client.taken() if frame["type"] == "rpc:stream"] == list(range(1, 33))
        assert found == []
        client.unsent = 0
        await w.clock.sleep(1)
        assert [control["received"] for _, control in found] == [32]
        runtime.batches(w.gateway, ([client], frames.result(b"7", None)), ([client], frames.chunk(b"7", 33, b"1")))
        await w.settle()
        assert [frame["type"] for frame in client.taken()] == ["rpc:result"]


async def test_each_chunk_renews_the_time_limit_of_its_call(world: Open) -> None:
    async with world(call_timeout_s=10) as w:
        client = w.client()
        await heard(w, client, Partition(0, 1))
        runtime = await w.runtime("room")
        for number in range(1, 4):
            await w.clock.sleep(9)
            runtime.batches(w.gateway, ([client], frames.chunk(b"7", number, b"1")))
        await w.clock.sleep(9)
        assert {frame["type"] for frame in client.taken()} == {"welcome", "rpc:stream"}
        await w.clock.sleep(3)
        assert [frame["code"] for frame in client.taken()] == ["timeout"]


async def test_a_runtime_that_did_not_say_that_it_hears_is_told_nothing(world: Open) -> None:
    async with world() as w:
        client = w.client()
        assert await heard(w, client, Partition(0, 1), controls=False) == []
        assert len(client.session.edge.pending) == 1
