"""Consumers that cannot be taken again in one go after a reconnect: no actor type stays unheard."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.unit.runtime.conftest import Other, Room
from zocket.errors import Unavailable

if TYPE_CHECKING:
    from tests.unit.runtime.conftest import Bench


@pytest.mark.parametrize("step", ["take_over", "get", "stream_info"])
@pytest.mark.parametrize("failures", [1, 3])
async def test_r18_every_actor_type_is_served_again_wherever_the_recovery_failed(
    bench: type[Bench], monkeypatch: pytest.MonkeyPatch, step: str, failures: int
) -> None:
    """The steps: one of the consumers, the owner record behind it, the look at the stream."""
    world = bench()
    world.actors = {"room": Room, "other": Other}
    wire = await world.wire()
    connection = world.server.connect()
    async with world.runtime(broker=connection):
        original, taken, left = getattr(connection, step), connection.take_over, failures
        names: list[str] = []

        async def failing(*args: Any) -> Any:
            nonlocal left
            is_other = getattr(args[0], "name", "") == "rt-ws-proj-other"
            late = is_other or {"rt-ws-proj-room", "rt-ws-proj-other"} <= {*names}
            if left and late:
                left -= 1
                raise Unavailable("the servers elect a leader")
            return await original(*args)

        async def noting(*args: Any) -> Any:
            subscription = await (failing if step == "take_over" else taken)(*args)
            names.append(args[0].name)
            return subscription

        monkeypatch.setattr(connection, step, failing)
        monkeypatch.setattr(connection, "take_over", noting)
        world.server.cut(connection, 1.0)
        wire.call("say", "r", actor="room", input={"text": "hi"}, gateway="g", call_id=1)
        wire.call("ping", "o", actor="other", gateway="g", call_id=2)
        await world.clock.advance(20.0)
        assert not left
        frames = [delivery["message"] for batch in wire.batches for delivery in batch["deliveries"]]
        assert {frame["id"]: frame["result"] for frame in frames} == {1: 1, 2: "pong"}


async def test_r18_every_actor_type_is_served_when_the_connection_was_lost_between_two_takings(
    bench: type[Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    world = bench()
    world.actors = {"room": Room, "other": Other}
    wire = await world.wire()
    connection = world.server.connect()
    taken, cut = connection.take_over, False

    async def cutting(*args: Any) -> Any:
        nonlocal cut
        subscription = await taken(*args)
        if not cut:
            cut = True
            world.server.cut(connection, 0.1)
            await world.clock.sleep(0.5)
        return subscription

    async with world.runtime(broker=connection) as runtime:
        monkeypatch.setattr(connection, "take_over", cutting)
        runtime.look_again()
        await world.clock.advance(10.0)
        assert cut
        wire.call("say", "r", actor="room", input={"text": "hi"}, gateway="g", call_id=1)
        wire.call("ping", "o", actor="other", gateway="g", call_id=2)
        await world.clock.advance(20.0)
        frames = [delivery["message"] for batch in wire.batches for delivery in batch["deliveries"]]
        assert {frame["id"]: frame["result"] for frame in frames} == {1: 1, 2: "pong"}
