"""A runtime that comes back after another one had the project for a while, and left."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from zocket.core import Actor, method
from zocket.errors import Unavailable
from zocket.host.store import decode_record
from zocket.protocol import subjects
from zocket.protocol.envelopes import MAX_PARTS
from zocket.runtime.state_store import key_of

if TYPE_CHECKING:
    from tests.unit.runtime.conftest import Bench


class Notes(Actor[dict[str, Any]]):
    """A durable actor."""

    durability = "file"

    @method
    async def add(self, text: str) -> int:
        self.state[text] = True
        return len(self.state)

    @method
    async def add_slowly(self, text: str) -> int:
        await asyncio.sleep(4.0)
        return await self.add(text)

    @method
    async def read(self) -> list[str]:
        return list(self.state)


async def test_what_another_owner_stored_meanwhile_is_read_before_anything_is_answered(bench: type[Bench]) -> None:
    """R18. The owner record is gone again when the first one looks, so nothing tells it but the gap itself."""
    world = bench()
    world.actors = {"notes": Notes}
    wire = await world.wire()
    connection = world.server.connect()
    async with world.runtime(broker=connection, storage="file"):
        wire.call("add", "n", actor="notes", input={"text": "first"}, gateway="g")
        wire.publish({"type": "state:sub", "actor": "notes", "actorId": "n"}, gateway="g", session="s2")
        await world.settle()
        world.server.cut(connection, 3.0)
        async with world.runtime(storage="file"):
            wire.call("add", "n", actor="notes", input={"text": "second"}, gateway="g", call_id=2)
            await world.settle()
        assert subjects.owner_key(world.scope) not in world.server.buckets[subjects.owner_bucket(world.scope)]
        await world.clock.advance(5.0)
        wire.batches.clear()
        wire.call("read", "n", actor="notes", gateway="g", call_id=3)
        await world.settle()
        frames = [delivery["message"] for batch in wire.batches for delivery in batch["deliveries"]]
        assert frames == [{"type": "rpc:result", "id": 3, "result": ["first", "second"]}]


async def test_r18_a_watcher_never_sees_the_state_from_before_another_owner_came(
    bench: type[Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a reconnect every watcher gets a snapshot, and of an instance in doubt only once it was read again."""
    world = bench()
    world.actors = {"notes": Notes}
    wire = await world.wire()
    connection = world.server.connect()
    async with world.runtime(broker=connection, storage="file"):
        wire.call("add", "n", actor="notes", input={"text": "first"}, gateway="g")
        wire.publish({"type": "state:sub", "actor": "notes", "actorId": "n"}, gateway="g", session="s2")
        await world.settle()
        world.server.cut(connection, 3.0)
        async with world.runtime(storage="file"):
            wire.call("add", "n", actor="notes", input={"text": "second"}, gateway="g", call_id=2)
            await world.settle()
        wire.batches.clear()
        get = connection.get

        async def get_slowly(bucket: str, key: str) -> Any:
            if bucket == subjects.state_bucket(world.scope):
                await world.clock.sleep(1.0)
            return await get(bucket, key)

        monkeypatch.setattr(connection, "get", get_slowly)
        await world.clock.advance(5.0)
        frames = [delivery["message"] for batch in wire.batches for delivery in batch["deliveries"]]
        shown = [list(frame["state"]) for frame in frames if frame["type"] == "state:snapshot"]
        assert shown, "the watcher gets a snapshot"
        assert all(state == ["first", "second"] for state in shown)


async def test_r18_a_call_of_a_lost_stream_is_refused_once_another_owner_has_served_the_next_one(
    bench: type[Bench],
) -> None:
    """The other owner never got it: run afterwards, it would come behind later calls of the same client."""
    world = bench()
    world.actors = {"notes": Notes}
    wire = await world.wire()
    connection = world.server.connect()
    async with world.runtime(broker=connection, storage="file"):
        wire.call("add", "n", actor="notes", input={"text": "first"}, gateway="g")
        await world.settle()
        wire.call("add_slowly", "n", actor="notes", input={"text": "old"}, gateway="g", call_id=2)
        wire.call("add", "n", actor="notes", input={"text": "behind"}, gateway="g", call_id=3)
        await world.settle()
        world.server.cut(connection, 3.0)
        world.server.streams.pop(subjects.INBOUND_STREAM)
        async with world.runtime(storage="file"):
            wire.call("add", "n", actor="notes", input={"text": "new"}, gateway="g", call_id=4)
            await world.settle()
        await world.clock.advance(5.0)
        wire.call("read", "n", actor="notes", gateway="g", call_id=5)
        await world.settle()
        frames = [delivery["message"] for batch in wire.batches for delivery in batch["deliveries"]]
        answers = {frame["id"]: frame for frame in frames}
        assert answers[5]["result"] == ["first", "new"]
        assert answers[2]["code"] == answers[3]["code"] == "unavailable"


async def test_a_stream_that_is_made_anew_in_the_middle_of_a_takeover_gives_its_messages_its_own_name(
    bench: type[Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a number of the old life would hide a call of the new one for ever."""
    world = bench()
    world.actors = {"notes": Notes}
    wire = await world.wire()
    connection = world.server.connect()
    take_over = connection.take_over
    lives: list[str] = []

    async def remake_first(*arguments: Any) -> Any:
        if not lives:
            old = world.server.streams.pop(subjects.INBOUND_STREAM)
            lives.append(old.incarnation)
            await connection.ensure_stream(old.spec)
            wire.call("add", "n", actor="notes", input={"text": "early"}, gateway="g")
        return await take_over(*arguments)

    monkeypatch.setattr(connection, "take_over", remake_first)
    with pytest.raises(Unavailable, match="made anew"):
        async with world.runtime(broker=connection, storage="file"):
            pass
    async with world.runtime(broker=connection, storage="file"):
        wire.call("add", "n", actor="notes", input={"text": "first"}, gateway="g")
        await world.settle()
        entry = await connection.get(subjects.state_bucket(world.scope), key_of("notes", "n"))
        assert entry is not None
        present = world.server.streams[subjects.INBOUND_STREAM].incarnation
        assert present not in lives
        assert decode_record(entry.value).watermarks == {f"INBOUND:{present}": 2 * MAX_PARTS}
