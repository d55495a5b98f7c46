"""Several requests in one message of the stream, as the runtime takes them."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

from zocket.core import Actor, method
from zocket.protocol import subjects

if TYPE_CHECKING:
    from tests.unit.runtime.conftest import Bench, Wire


class Notes(Actor[dict[str, Any]]):
    """A durable actor that keeps what it was given, in order."""

    durability = "file"

    @method
    async def add(self, text: str) -> list[str]:
        self.state.setdefault("all", []).append(text)
        return list(self.state["all"])


def envelope(wire: Wire, call_id: Any, actor: str = "room", method: str = "say", **more: Any) -> dict[str, Any]:
    return {
        "scope": {"workspaceId": wire.scope.workspace_id, "projectId": wire.scope.project_id},
        "sessionId": "s1",
        "userId": None,
        "claims": None,
        "gateway": "g",
        "message": {
            "type": "rpc",
            "id": call_id,
            "actor": actor,
            "actorId": "a",
            "method": method,
            "input": {"text": str(call_id)},
        },
        **more,
    }


def publish(wire: Wire, *parts: Any, actor: str = "room") -> None:
    wire.publish_raw(subjects.inbound(wire.scope, actor, "a"), json.dumps(parts).encode())


def results(wire: Wire) -> list[tuple[Any, Any]]:
    frames = [delivery["message"] for batch in wire.batches for delivery in batch["deliveries"]]
    return [(frame["id"], frame.get("code", frame.get("result"))) for frame in frames if frame["type"] == "rpc:result"]


def left(world: Bench) -> int:
    return len(world.server.streams[subjects.INBOUND_STREAM].current())


async def test_all_requests_of_a_burst_run_in_their_order_and_the_message_is_done_with_the_last(
    bench: type[Bench],
) -> None:
    """R15, for a message of several requests."""
    world = bench()
    wire = await world.wire()
    async with world.runtime() as runtime:
        publish(wire, *(envelope(wire, number) for number in range(5)))
        publish(wire, envelope(wire, 5))
        await world.settle()
        assert results(wire) == [(number, number + 1) for number in range(6)]
        assert left(world) == 0
        assert runtime.pending == 0


async def test_a_request_that_cannot_be_used_is_refused_alone(bench: type[Bench]) -> None:
    world = bench()
    wire = await world.wire()
    other = {"workspaceId": "ws", "projectId": "other"}
    deep = envelope(wire, 3)
    deep["message"]["actorId"] = "another"
    async with world.runtime():
        publish(wire, envelope(wire, 1), envelope(wire, 2, scope=other), deep, {"no": "envelope"}, 7, envelope(wire, 4))
        await world.settle()
        assert sorted(results(wire), key=lambda result: result[0]) == [(1, 1), (3, "invalid_frame"), (4, 2)]
        assert left(world) == 0


async def test_a_burst_that_is_none_is_given_up(bench: type[Bench]) -> None:
    world = bench()
    wire = await world.wire()
    async with world.runtime():
        publish(wire)
        wire.publish_raw(subjects.inbound(wire.scope, "room", "a"), b"[1,")
        publish(wire, *([{}] * 257))
        publish(wire, envelope(wire, 1))
        await world.settle()
        assert results(wire) == [(1, 1)]
        assert left(world) == 0


async def test_what_a_burst_has_in_the_state_already_does_not_run_again(bench: type[Bench]) -> None:
    world = bench()
    world.actors = {"notes": Notes}
    wire = await world.wire()
    parts = [envelope(wire, number, "notes", "add") for number in range(3)]
    async with world.runtime(storage="file") as first:
        publish(wire, *parts, actor="notes")
        await world.settle()
        assert left(world) == 0
        await first.abort()
    # The acknowledgement was lost on the way: the same message is there again.
    stream = world.server.streams[subjects.INBOUND_STREAM]
    stream.last_sequence = 0
    publish(wire, *parts, actor="notes")
    wire.batches.clear()
    async with world.runtime(storage="file"):
        await world.settle()
        publish(wire, envelope(wire, 3, "notes", "add"), envelope(wire, 4, "notes", "add"), actor="notes")
        await world.settle()
        assert [result for result in results(wire) if result[0] > 2] == [
            (3, ["0", "1", "2", "3"]),
            (4, ["0", "1", "2", "3", "4"]),
        ]
        assert left(world) == 0


async def test_r19_what_is_finished_of_a_burst_that_is_given_back_does_not_run_again(bench: type[Bench]) -> None:
    world = bench()
    wire = await world.wire()
    gate = asyncio.Event()
    async with world.runtime(drain_timeout_s=1.0):
        publish(wire, envelope(wire, 0))
        await world.settle()
        world.room.gate = gate
        publish(wire, *(envelope(wire, number) for number in range(1, 4)))
        await world.settle()
        gate.set()
        await world.settle()
        world.room.gate = asyncio.Event()
        publish(wire, envelope(wire, 4), envelope(wire, 5, method="fail"), envelope(wire, 6))
        publish(wire, *(envelope(wire, number, method="echo") for number in (7, 8)))
        await world.settle()
        assert results(wire)[-1] == (3, 4)
    world.room.gate = None
    ran = len(world.room.runs)
    async with world.runtime():
        await world.settle()
        assert world.room.runs[ran:] == ["4", "6"]
    assert sorted(number for number, _ in results(wire)) == list(range(9))


async def test_r19_a_burst_is_given_back_with_what_is_open_in_it(bench: type[Bench]) -> None:
    world = bench()
    wire = await world.wire()
    async with world.runtime(drain_timeout_s=1.0):
        publish(wire, envelope(wire, 1, method="echo"), envelope(wire, 2), envelope(wire, 3, method="stay"))
        world.room.gate = asyncio.Event()
        await world.settle()
        assert [number for number, _ in results(wire)] == [1]
    world.room.gate = None
    async with world.runtime():
        await world.settle()
        assert sorted(number for number, _ in results(wire)) == [1, 2, 3], "the first one was answered once"
        assert left(world) == 0
