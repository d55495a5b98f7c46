"""A divided project as the gateway sees it: each partition has a runtime of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from zocket.broker.port import ConsumerSpec
from zocket.ids import Partition
from zocket.protocol import subjects

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from tests.unit.gateway.conftest import World

    Open = Callable[..., AbstractAsyncContextManager[World]]


async def test_a_partition_that_another_runtime_took_is_subscribed_again_and_no_other(world: Open) -> None:
    async with world() as w:
        runtime = await w.runtime("room")
        client = w.client()
        names = [f"i{number}" for number in range(12)]
        for number in range(3):
            runtime.announce_partition(f"e_{number}", ["room"], Partition(number, 3))
        await w.settle()
        for name in names:
            client.subscribes("room", name)
        await w.settle()
        runtime.requests.clear()
        runtime.announce_partition("e_new", ["room"], Partition(1, 3))
        await w.settle()
        again = [request["message"]["actorId"] for request in runtime.requests]
        assert again == [name for name in names if subjects.partition_of_instance("room", name, 3) == 1]
        client.taken()
        for number, epoch in enumerate(("e_0", "e_1", "e_2", "e_new")):
            runtime.batches(w.gateway, ([client], {"type": "event", "n": number}), epoch=epoch)
        await w.settle()
        assert [frame["n"] for frame in client.taken()] == [0, 2, 3]


async def test_a_project_that_is_divided_anew_is_subscribed_again_whole(world: Open) -> None:
    async with world() as w:
        runtime = await w.runtime("room", epoch="e_1")
        client = w.client()
        names = [f"i{number}" for number in range(12)]
        for name in names:
            client.subscribes("room", name)
        await w.settle()
        runtime.requests.clear()
        for number in range(3):
            runtime.announce_partition(f"e_p{number}", ["room"], Partition(number, 3))
        await w.settle()
        assert sorted(request["message"]["actorId"] for request in runtime.requests) == sorted(names)
        client.taken()
        runtime.batches(w.gateway, ([client], {"type": "event", "n": 1}), epoch="e_1")
        await w.settle()
        assert client.taken() == []


@pytest.mark.parametrize("place", [Partition(3, 3), Partition(-1, 3), Partition(0, 0), Partition(0, 1_000_000)])
async def test_an_announcement_of_an_impossible_partition_changes_nothing(world: Open, place: Partition) -> None:
    async with world() as w:
        runtime = await w.runtime("room", epoch="e_1")
        client = w.client()
        await w.settle()
        runtime.announce_partition("e_2", ["other"], place)
        await w.settle()
        assert client.session.project.actor_types == {"room"}
        assert client.session.project.reigns[0].epoch == "e_1"


async def test_a_divided_project_that_has_not_announced_itself_yet_is_known_by_its_consumers(world: Open) -> None:
    async with world() as w:
        runtime = await w.runtime()
        for number in range(2):
            place = Partition(number, 2)
            name, pattern = (
                part(runtime.scope, "room", place) for part in (subjects.consumer, subjects.inbound_filter)
            )
            await runtime.broker.take_over(
                ConsumerSpec(subjects.INBOUND_STREAM, name, pattern), lambda _: None, lambda: None
            )
        client = w.client()
        client.taken()
        client.subscribes("room", "a")
        client.subscribes("board", "a")
        await w.settle()
        assert [(frame["code"], frame["actor"]) for frame in client.taken()] == [("unknown_actor", "board")]
