"""The runtime on the memory broker, in virtual time."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from zocket.core import Actor, method
from zocket.errors import Superseded, Unavailable
from zocket.protocol import subjects
from zocket.testing.loop import VirtualLoop

if TYPE_CHECKING:
    from tests.unit.runtime.conftest import Bench


async def owner(bench: Bench) -> dict[str, Any] | None:
    entry = await bench.server.connect().get(subjects.owner_bucket(bench.scope), subjects.owner_key(bench.scope))
    return None if entry is None else json.loads(entry.value)


async def test_a_call_is_answered_and_a_second_one_finds_its_state(bench: type[Bench]) -> None:
    world = bench()
    wire = await world.wire()
    async with world.runtime():
        wire.call("say", input={"text": "a"}, call_id="one")
        wire.call("say", input={"text": "b"}, call_id=2)
        await world.settle()
        assert wire.frames() == [
            {"type": "rpc:result", "id": "one", "result": 1},
            {"type": "rpc:result", "id": 2, "result": 2},
        ]


async def test_r18_a_runtime_that_stood_still_sends_and_settles_nothing_until_it_knows_that_it_still_owns(
    bench: type[Bench],
) -> None:
    world = bench()
    wire = await world.wire()
    async with world.runtime() as old:
        world.room.gate = gate = asyncio.Event()
        wire.call("say", input={"text": "a"})
        await world.settle()
        connection = world.server.connect()
        entry = await connection.get(subjects.owner_bucket(world.scope), subjects.owner_key(world.scope))
        assert entry is not None
        successor = json.loads(entry.value) | {"epoch": "e_new", "process": "new"}
        await connection.put(
            subjects.owner_bucket(world.scope),
            subjects.owner_key(world.scope),
            json.dumps(successor).encode(),
            entry.revision,
        )
        gate.set()  # the turn ends in the very moment in which the process wakes up
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        loop.jump(5.0)
        with pytest.raises(Superseded):
            await old.wait_stopped()
        await world.settle()
        assert world.room.runs == ["a"]
        assert wire.frames() == []
    assert len(world.server.streams[subjects.INBOUND_STREAM].current()) == 1, "the request waits for the successor"


async def test_a_runtime_whose_loop_was_blocked_goes_on_after_a_look_at_its_record(bench: type[Bench]) -> None:
    world = bench()
    wire = await world.wire()
    async with world.runtime() as runtime:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        for number in range(3):
            wire.call("say", input={"text": "a"}, call_id=number)
            loop.jump(5.0)
            await world.settle()
            await world.clock.sleep(1.0)
        assert [frame["result"] for frame in wire.frames()] == [1, 2, 3]
        assert runtime.serving


async def test_what_the_broker_would_not_take_is_refused_before_the_commit(bench: type[Bench]) -> None:
    world = bench()
    world.server.max_payload_bytes = 400_000
    wire = await world.wire()
    async with world.runtime():
        wire.publish({"type": "state:sub", "actor": "room", "actorId": "a"})
        for text in ("x" * 200_000, "y" * 200_000):
            wire.call("say", input={"text": text}, call_id=text[0])
        wire.call("echo", input={"text": "z" * 390_000}, call_id="z")
        await world.settle()
        results = [frame for frame in wire.frames() if frame["type"] == "rpc:result"]
        assert [(frame["id"], frame.get("code")) for frame in results] == [
            ("x", None),
            ("y", "too_large"),
            ("z", "too_large"),
        ]
        assert [frame["type"] for frame in wire.frames() if frame["type"].startswith("state:")] == [
            "state:snapshot",
            "state:patch",
        ]


async def test_r5_one_consumer_per_actor_type_with_the_exact_name(bench: type[Bench]) -> None:
    world = bench()
    async with world.runtime():
        names = await world.server.connect().consumer_names(subjects.INBOUND_STREAM)
        assert sorted(names) == ["rt-ws-proj-other", "rt-ws-proj-room"]


async def test_a_session_of_an_existing_gateway_is_welcomed_with_its_first_frame(bench: type[Bench]) -> None:
    world = bench()
    wire = await world.wire()
    async with world.runtime():
        wire.call("who", userId="u", claims={"role": "x"})
        wire.call("who")
        await world.settle()
        frames = [item["message"] for item in wire.outbound]
        assert frames[0] == {"type": "welcome", "clientId": "s1"}
        assert [frame["type"] for frame in frames] == ["welcome", "rpc:result", "rpc:result"]
        assert frames[1]["result"] == ["s1", "u", {"role": "x"}]


async def test_a_gateway_that_announced_itself_gets_batches_and_no_welcome(bench: type[Bench]) -> None:
    world = bench()
    wire = await world.wire()
    async with world.runtime():
        for number in range(3):
            session = f"s{number}"
            wire.publish({"type": "event:sub", "actor": "room", "actorId": "a"}, session=session, gateway="g1")
        wire.call("say", input={"text": "hi"}, session="s0", gateway="g1")
        await world.settle()
        assert wire.outbound == []
        deliveries = [item for batch in wire.batches for item in batch["deliveries"]]
        event = {"type": "event", "actor": "room", "actorId": "a", "event": "said", "payload": "hi"}
        assert {"sessions": ["s0", "s1", "s2"], "message": event} in deliveries
        assert all(batch["scope"] == {"workspaceId": "ws", "projectId": "proj"} for batch in wire.batches)


async def test_r14_each_subscriber_of_an_existing_gateway_gets_one_message(bench: type[Bench]) -> None:
    world = bench()
    wire = await world.wire()
    async with world.runtime():
        for number in range(3):
            wire.publish({"type": "state:sub", "actor": "room", "actorId": "a"}, session=f"s{number}")
        await world.settle()
        wire.outbound.clear()
        wire.call("say", input={"text": "hi"}, session="s0")
        await world.settle()
        patches = [item["sessionId"] for item in wire.outbound if item["message"]["type"] == "state:patch"]
        assert sorted(patches) == ["s0", "s1", "s2"]
        assert len(wire.outbound) == 4


async def test_r6_a_disconnected_session_leaves_every_instance_that_knew_it(bench: type[Bench]) -> None:
    world = bench()
    wire = await world.wire()
    async with world.runtime():
        for actor_id in ("a", "b"):
            wire.publish({"type": "event:sub", "actor": "room", "actorId": actor_id})
        wire.call("say", "c", input={"text": "x"}, session="s2")
        await world.settle()
        wire.disconnect("s1")
        wire.disconnect("s1")
        await world.settle()
        assert sorted(world.room.hooks) == ["a lost s1", "b lost s1"]
        wire.outbound.clear()
        wire.call("say", input={"text": "x"}, session="s2")
        await world.settle()
        assert {item["sessionId"] for item in wire.outbound} == {"s2"}


async def test_r15_a_message_is_acknowledged_after_its_handler(bench: type[Bench]) -> None:
    world = bench()
    wire = await world.wire()
    world.room.gate = asyncio.Event()
    stream = world.server.streams
    async with world.runtime():
        wire.call("say", input={"text": "slow"})
        await world.settle()
        assert len(stream["INBOUND"].current()) == 1
        world.room.gate.set()
        await world.settle()
        assert len(stream["INBOUND"].current()) == 0


async def test_a_handler_that_runs_long_is_not_delivered_again(bench: type[Bench]) -> None:
    world = bench()
    wire = await world.wire()
    world.room.gate = asyncio.Event()
    async with world.runtime(ack_wait_s=3.0):
        wire.call("say", input={"text": "slow"})
        await asyncio.sleep(20)
        world.room.gate.set()
        await world.settle()
        assert world.room.runs == ["slow"]
        assert [frame["result"] for frame in wire.frames()] == [1]


async def test_the_runtime_announces_itself_at_boot_periodically_and_when_asked(bench: type[Bench]) -> None:
    from zocket.broker.port import Message

    world = bench()
    wire = await world.wire()
    async with world.runtime(process_name="p1") as runtime:
        await world.settle()
        assert wire.announced == [
            {
                "scope": {"workspaceId": "ws", "projectId": "proj"},
                "epoch": runtime.epoch,
                "actorTypes": ["room", "other"],
                "process": "p1",
                "inbound": "1",
                "bursts": True,
                "rank": 1,
                "controls": True,
                "mixed": 1,
            }
        ]
        wire.broker.send([Message(subjects.discovery(world.scope), b"")])
        await world.settle()
        assert len(wire.announced) == 2
        await asyncio.sleep(11)
        assert len(wire.announced) == 4


@pytest.mark.parametrize(
    ("change", "answered"),
    [
        ({"subject": "inbound.ws.proj.room.other-id"}, True),
        ({"subject": "inbound.ws.proj.room.a.more"}, True),
        ({"scope": {"workspaceId": "ws", "projectId": "elsewhere"}}, False),
        ({"session": "s1.>"}, False),
        ({"gateway": "*"}, False),
        ({"message": {"type": "rpc", "id": 9, "actor": "room"}}, True),
        ({"message": {"type": "unknown"}}, False),
        ({"message": 7}, False),
        ({"sessionId": None}, False),
    ],
)
async def test_an_envelope_that_cannot_be_used_is_refused_once_and_answered_where_possible(
    bench: type[Bench], change: dict[str, Any], answered: bool
) -> None:
    world = bench()
    wire = await world.wire()
    async with world.runtime() as runtime:
        subject = change.get("subject", "inbound.ws.proj.room.a")
        wire.call("say", input={"text": "x"}, call_id=9, **{**change, "subject": subject})
        await asyncio.sleep(40)
        assert world.room.runs == []
        assert [frame["code"] for frame in wire.frames()] == ["invalid_frame"] * answered
        assert [frame["id"] for frame in wire.frames()] == [9] * answered
        refused = [sample.value for sample in runtime.samples() if sample.name == "inbound_refused"]
        assert refused == [1]
        wire.call("say", input={"text": "next"})
        await world.settle()
        assert world.room.runs == ["next"]


async def test_an_envelope_that_is_no_json_is_refused(bench: type[Bench]) -> None:
    world = bench()
    wire = await world.wire()
    async with world.runtime():
        for payload in (b"", b"{", b"\xff", b"[" * 5_000):
            wire.publish_raw("inbound.ws.proj.room.a", payload)
        await world.settle()
        assert len(world.server.streams["INBOUND"].current()) == 0


@pytest.mark.parametrize("actor_id", ["a.b", "a b", "ü", "$x", "%41"])
async def test_an_id_is_accepted_as_token_and_as_an_existing_gateway_writes_it(
    bench: type[Bench], actor_id: str
) -> None:
    world = bench()
    wire = await world.wire()
    async with world.runtime():
        wire.call("say", actor_id, input={"text": "token"})
        if " " not in actor_id:
            wire.call("say", actor_id, input={"text": "raw"}, subject=f"inbound.ws.proj.room.{actor_id}")
        await world.settle()
        assert [frame["result"] for frame in wire.frames()] == ([1] if " " in actor_id else [1, 2])


# -- ownership -----------------------------------------------------------------------------------------------------


async def test_r18_the_newest_takes_over_and_the_other_stands_down_at_once(bench: type[Bench]) -> None:
    world = bench()
    wire = await world.wire()
    async with world.runtime(process_name="old") as old:
        wire.call("say", input={"text": "to the old one"})
        await world.settle()
        async with world.runtime(process_name="new") as new:
            with pytest.raises(Superseded, match="new"):
                await old.wait_stopped()
            assert not old.serving
            assert new.serving
            wire.call("say", input={"text": "to the new one"})
            await world.settle()
            assert [frame["result"] for frame in wire.frames()] == [1, 1]
            record = await owner(world)
            assert record is not None
            assert record["epoch"] == new.epoch


async def test_r18_what_the_old_one_still_runs_is_run_and_answered_by_the_new_one_alone(bench: type[Bench]) -> None:
    world = bench()
    wire = await world.wire()
    world.room.gate = gate = asyncio.Event()
    async with world.runtime():
        wire.call("say", input={"text": "in progress"})
        await world.settle()
        world.room.gate = None
        async with world.runtime():
            await world.settle()
            gate.set()
            await world.settle()
            assert world.room.runs == ["in progress", "in progress"]
            assert len(wire.frames()) == 1


@pytest.mark.parametrize("request_id", [None, "abc.1"])
async def test_the_message_id_is_the_same_when_a_message_comes_again_and_unlike_any_others(
    bench: type[Bench], request_id: str | None
) -> None:
    world = bench()
    wire = await world.wire()
    begun: list[str] = []

    class Named(Actor[dict[str, Any]]):
        @method
        async def stay(self) -> None:
            begun.append(self.message_id)
            await asyncio.Event().wait()

    async with world.runtime(actors={"room": Named}) as first:
        for session, actor_id in (("s1", "a"), ("s2", "b"), ("s2", "c")):
            wire.call("stay", actor_id, session=session, requestId=request_id if session == "s1" else None)
        await world.settle()
        await first.abort()
    async with world.runtime(actors={"room": Named}) as second:
        await world.clock.advance(10.0)  # what its predecessor may have died of is begun one after the other
        await second.abort()
    assert begun[:3] == begun[3:]
    assert len(set(begun)) == 3


async def test_a_stopped_runtime_that_wakes_up_does_not_take_anything_back(bench: type[Bench]) -> None:
    world = bench()
    old_broker = world.server.connect()
    async with world.runtime(broker=old_broker) as old:
        world.server.cut(old_broker, down_s=2.0)
        async with world.runtime() as new:
            with pytest.raises(Superseded):
                await old.wait_stopped()
            await asyncio.sleep(20)
            assert new.serving


async def test_consumers_of_actor_types_that_are_no_more_are_removed(bench: type[Bench]) -> None:
    world = bench()
    async with world.runtime(), world.runtime(actors={"room": world.room}):
        assert await world.server.connect().consumer_names(subjects.INBOUND_STREAM) == ["rt-ws-proj-room"]


async def test_a_consumer_that_somebody_deletes_comes_back(bench: type[Bench]) -> None:
    world = bench()
    wire = await world.wire()
    async with world.runtime() as runtime:
        await wire.broker.delete_consumer(subjects.INBOUND_STREAM, "rt-ws-proj-room")
        wire.call("say", input={"text": "x"})
        await asyncio.sleep(15)
        assert [frame["result"] for frame in wire.frames()] == [1]
        assert runtime.serving


async def test_after_a_broker_restart_with_its_memory_lost_everything_works_again(bench: type[Bench]) -> None:
    world = bench()
    wire = await world.wire()
    world.room.gate = asyncio.Event()
    async with world.runtime() as runtime:
        wire.call("say", input={"text": "before"}, call_id="before")
        await world.settle()
        world.server.stop()
        await world.settle()
        assert not runtime.serving
        world.server.start(lose_memory=True)
        await asyncio.sleep(5)
        assert runtime.serving
        world.room.gate.set()
        wire.call("say", input={"text": "after"}, call_id="after")
        await world.settle()
        assert [(frame["id"], frame["result"]) for frame in wire.frames()] == [("before", 1), ("after", 2)]
        assert world.room.runs == ["before", "after"]


async def test_after_a_cut_nothing_that_was_finished_or_is_still_here_runs_again(bench: type[Bench]) -> None:
    world = bench()
    wire, broker = await world.wire(), world.server.connect()
    world.room.gate = asyncio.Event()
    async with world.runtime(broker=broker):
        wire.call("say", "slow", input={"text": "held"})
        await world.settle()
        world.server.cut(broker)
        await asyncio.sleep(5)
        world.room.gate.set()
        await asyncio.sleep(40)
        assert world.room.runs == ["held"]
        assert len(world.server.streams["INBOUND"].current()) == 0
        assert [frame["result"] for frame in wire.frames()] == [1]


async def test_an_acknowledgement_that_was_lost_does_not_run_the_call_again(bench: type[Bench]) -> None:
    world = bench()
    wire, broker = await world.wire(), world.server.connect()
    async with world.runtime(broker=broker):
        acknowledge, broker.ack = broker.ack, lambda delivered: None  # type: ignore[method-assign]
        wire.call("say", input={"text": "once"})
        await world.settle()
        broker.ack = acknowledge  # type: ignore[method-assign]
        assert len(world.server.streams["INBOUND"].current()) == 1
        world.server.cut(broker)
        await asyncio.sleep(5)
        assert world.room.runs == ["once"]
        assert len(world.server.streams["INBOUND"].current()) == 0


@pytest.mark.parametrize("durability", ["memory", "file"])
async def test_watchers_of_a_state_whose_patches_were_lost_with_a_connection_get_a_snapshot(
    bench: type[Bench], durability: str
) -> None:
    world = bench()
    world.actors = {"room": type("Room", (world.room,), {"durability": durability})}
    wire, broker = await world.wire(), world.server.connect()
    async with world.runtime(broker=broker, storage="file"):
        wire.publish({"type": "state:sub", "actor": "room", "actorId": "a"})
        wire.publish({"type": "state:sub", "actor": "room", "actorId": "quiet"}, session="s2")
        await world.settle()
        send, broker.send = broker.send, lambda messages: None  # type: ignore[method-assign]
        wire.call("say", input={"text": "lost"}, session="s3")
        await world.settle()
        broker.send = send  # type: ignore[method-assign]
        wire.outbound.clear()
        world.server.cut(broker)
        await asyncio.sleep(5)
        assert [(frame["type"], frame["state"], frame["seq"]) for frame in wire.frames()] == [
            ("state:snapshot", {"lines": ["lost"]}, 1)
        ]
        assert [frame["type"] for frame in wire.frames("s2")] == ["state:snapshot"]
        wire.call("say", input={"text": "next"}, session="s3")
        await world.settle()
        assert [(frame["type"], frame["seq"]) for frame in wire.frames()[1:]] == [("state:patch", 2)]


# -- stop ----------------------------------------------------------------------------------------------------------


async def test_r19_a_stop_finishes_what_is_queued_and_leaves_nothing_behind(bench: type[Bench]) -> None:
    world = bench()
    wire = await world.wire()
    async with world.runtime():
        for number in range(20):
            wire.call("say", f"i{number % 3}", input={"text": "x"}, call_id=number)
        await world.settle()
    await world.settle()
    assert sorted(frame["id"] for frame in wire.frames()) == list(range(20))
    assert sorted(world.room.hooks) == ["i0 deactivated", "i1 deactivated", "i2 deactivated"]
    assert await wire.broker.consumer_names(subjects.INBOUND_STREAM) == []
    assert await owner(world) is None
    assert len(world.server.streams["INBOUND"].current()) == 0


async def test_r19_what_cannot_be_finished_in_time_goes_to_the_next_runtime(bench: type[Bench]) -> None:
    world = bench()
    wire = await world.wire()
    world.room.gate = asyncio.Event()
    async with world.runtime(drain_timeout_s=1.0):
        wire.call("say", input={"text": "stuck"}, call_id=1)
        wire.call("say", input={"text": "behind it"}, call_id=2)
        await world.settle()
    assert wire.frames() == []
    world.room.gate = None
    async with world.runtime():
        await world.settle()
        assert [(frame["id"], frame["result"]) for frame in wire.frames()] == [(1, 1), (2, 2)]


async def test_a_stop_leaves_the_successors_record_and_consumers_alone(bench: type[Bench]) -> None:
    world = bench()
    async with world.runtime() as old:
        new_one = world.runtime()
        new = await new_one.__aenter__()
        with pytest.raises(Superseded):
            await old.wait_stopped()
    record = await owner(world)
    assert record is not None
    assert record["epoch"] == new.epoch
    assert len(await world.server.connect().consumer_names(subjects.INBOUND_STREAM)) == 2
    await new_one.__aexit__(None, None, None)


async def test_a_stop_while_the_broker_is_away_ends(bench: type[Bench]) -> None:
    world = bench()
    async with world.runtime():
        world.server.stop()
        await world.settle()


async def test_a_start_without_a_broker_fails_and_leaves_nothing_running(bench: type[Bench]) -> None:
    world = bench()
    broker = world.server.connect()
    world.server.stop()
    with pytest.raises(Unavailable):
        async with world.runtime(broker=broker):
            raise AssertionError("it started")
    await world.settle()
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_connection_that_is_closed_for_good_ends_the_runtime(bench: type[Bench]) -> None:
    world = bench()
    broker = world.server.connect()
    async with world.runtime(broker=broker) as runtime:
        await broker.aclose()
        with pytest.raises(Unavailable, match="closed"):
            await runtime.wait_stopped()
