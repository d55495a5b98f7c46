"""Several requests in one message of the stream, as the runtime takes them."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

from tests.unit.runtime.divided import Divided, lies_in
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
    deep["message"]["actor"] = "notes"
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


def to(wire: Wire, actor_id: str, call_id: int, method: str = "say", actor: str = "room") -> dict[str, Any]:
    part = envelope(wire, call_id, actor, method)
    part["message"]["actorId"] = actor_id
    return part


async def test_requests_to_several_instances_of_a_type_run_and_the_slow_one_holds_up_no_other(
    bench: type[Bench],
) -> None:
    world = bench()
    wire = await world.wire()
    async with world.runtime() as runtime:
        world.room.gate = asyncio.Event()
        publish(wire, to(wire, "a", 1), to(wire, "b", 2, "echo"), to(wire, "c", 3, "echo"), to(wire, "a", 4, "echo"))
        await world.settle()
        assert sorted(number for number, _ in results(wire)) == [2, 3]
        assert left(world) == 1, "the message is done with its last request"
        world.room.gate.set()
        await world.settle()
        assert sorted(number for number, _ in results(wire)) == [1, 2, 3, 4]
        assert (left(world), runtime.pending) == (0, 0)


async def test_r19_what_is_finished_behind_the_open_part_of_a_mixed_burst_does_not_run_again(
    bench: type[Bench],
) -> None:
    world = bench()
    wire = await world.wire()
    async with world.runtime(drain_timeout_s=1.0):
        world.room.gate = asyncio.Event()
        publish(wire, to(wire, "a", 1), to(wire, "b", 2, "echo"), to(wire, "c", 3, "echo"))
        await world.settle()
    world.room.gate = None
    ran = len(world.room.runs)
    async with world.runtime():
        await world.settle()
        assert world.room.runs[ran:] == ["1"]
    assert sorted(number for number, _ in results(wire)) == [1, 2, 3]


async def test_each_durable_instance_of_a_mixed_burst_knows_its_own_part(bench: type[Bench]) -> None:
    world = bench()
    world.actors = {"notes": Notes}
    wire = await world.wire()
    parts = [to(wire, "ab"[number % 2], number, "add", "notes") for number in range(4)]
    async with world.runtime(storage="file") as first:
        publish(wire, *parts, actor="notes")
        await world.settle()
        await first.abort()
    stream = world.server.streams[subjects.INBOUND_STREAM]
    stream.last_sequence = 0
    publish(wire, *parts, actor="notes")
    wire.batches.clear()
    async with world.runtime(storage="file"):
        await world.settle()
        publish(wire, to(wire, "a", 4, "add", "notes"), to(wire, "b", 5, "add", "notes"), actor="notes")
        await world.settle()
        assert sorted(results(wire))[-2:] == [(4, ["0", "2", "4"]), (5, ["1", "3", "5"])]


async def test_a_part_of_another_partition_is_refused(bench: type[Bench]) -> None:
    here, there = lies_in("desk", 0), lies_in("desk", 1)
    async with Divided(bench(), {"desk": Room}) as divided:
        wire = divided.wire
        parts = [to(wire, here, 1, "where", "desk"), to(wire, there, 2, "where", "desk")]
        wire.publish_raw(subjects.inbound(wire.scope, "desk", here), json.dumps(parts).encode())
        await divided.world.clock.advance(1.0)
        assert sorted(results(wire)) == [(1, here), (2, "unavailable")]


class Room(Actor[dict[str, Any]]):
    @method
    async def where(self, text: str) -> str:
        return self.id
