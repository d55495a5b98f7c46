"""The connection: first attempt, loss, attempts after it, statuses."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import pytest

from zocket.client import connect
from zocket.errors import Disconnected, Unauthorized, Unavailable, UsageError
from zocket.protocol import frames

if TYPE_CHECKING:
    from tests.unit.client.conftest import World


async def test_a_client_is_open_inside_its_block_and_closed_after_it(world: World) -> None:
    async with connect("memory", transport=world.transport, clock=world.clock) as client:
        assert world.status_of(client) == "open"
        assert client.ready
        await client.ready
    assert world.status_of(client) == "closed"
    assert not client.ready
    assert world.server.closed


async def test_an_awaited_client_is_open_until_it_is_closed(world: World) -> None:
    client = await connect("memory", transport=world.transport, clock=world.clock)
    assert world.status_of(client) == "open"
    await client.aclose()
    await client.aclose()
    assert world.status_of(client) == "closed"
    with pytest.raises(Disconnected, match="closed"):
        await client.ready


async def test_the_client_has_the_id_that_the_server_told_it(world: World) -> None:
    async with await world.client().open() as client:
        assert client.id is None
        world.server.tell(frames.welcome("s_1"))
        assert client.id == "s_1"
        world.server.drop()
        assert client.id is None
        await world.clock.advance(0.25)
        world.server.tell(frames.welcome("s_2").decode())
        assert client.id == "s_2"


async def test_a_connection_can_be_used_once(world: World) -> None:
    opening = connect("memory", transport=world.transport, clock=world.clock)
    async with opening:
        with pytest.raises(UsageError, match="opened before"):
            await opening


@pytest.mark.parametrize("error", [Unavailable("nobody listens"), Unauthorized("no such token")])
async def test_the_first_attempt_fails_in_the_open(world: World, error: Exception) -> None:
    world.transport.outcomes.append(error)
    client = world.client()
    with pytest.raises(type(error), match=str(error)):
        await client.open()
    assert (client.status, world.transport.attempts) == ("closed", 1)


async def test_the_first_attempt_has_a_time_limit(world: World) -> None:
    world.transport.outcomes.append(asyncio.Event())
    opening = asyncio.create_task(world.client(connect_timeout=4).open())
    await world.clock.advance(3.9)
    assert not opening.done()
    await world.clock.advance(0.1)
    with pytest.raises(Unavailable, match="no connection to memory within 4 s"):
        await opening
    assert world.clock.planned == 0


async def test_a_cancelled_first_attempt_leaves_a_closed_client(world: World) -> None:
    world.transport.outcomes.append(asyncio.Event())
    client = world.client()
    opening = asyncio.create_task(client.open())
    await world.settle()
    assert world.status_of(client) == "connecting"
    opening.cancel()
    await world.settle()
    assert world.status_of(client) == "closed"
    assert world.clock.planned == 0


async def test_a_client_closed_during_its_first_attempt_does_not_open(world: World) -> None:
    opens = asyncio.Event()
    world.transport.outcomes.append(opens)
    client = world.client()
    opening = asyncio.create_task(client.open())
    await world.settle()
    await client.aclose()
    opens.set()
    with pytest.raises(Disconnected, match="closed"):
        await opening
    assert world.status_of(client) == "closed"
    assert world.server.closed


async def test_attempts_go_on_for_ever_with_growing_delays(world: World) -> None:
    async with await world.client().open() as client:
        world.transport.outcomes.extend(Unavailable("nobody listens") for _ in range(6))
        world.server.drop()
        await world.clock.advance(60)
        assert world.status_of(client) == "open"
        assert world.clock.sleeps == [0.25, 0.5, 1, 2, 2, 2, 2]
        assert len(world.transport.connections) == 2


async def test_the_jitter_is_full(world: World) -> None:
    parts = iter([0.0, 0.5, 0.999])
    async with await world.client(jitter=lambda: next(parts)).open():
        world.transport.outcomes.extend(Unavailable("nobody listens") for _ in range(2))
        world.server.drop()
        await world.clock.advance(10)
        assert world.clock.sleeps == [0, 0.25, 0.999]


async def test_a_connection_that_never_holds_is_not_hammered(world: World) -> None:
    async with await world.client().open():
        for _ in range(4):
            world.server.drop()
            await world.settle()
            await world.clock.advance(world.clock.sleeps[-1])
        assert world.clock.sleeps == [0.25, 0.5, 1, 2]


async def test_a_connection_that_held_starts_the_delays_anew(world: World) -> None:
    async with await world.client().open():
        for _ in range(3):
            world.server.drop()
            await world.clock.advance(0.25)
            await world.clock.advance(2)
        assert world.clock.sleeps == [0.25, 0.25, 0.25]


async def test_every_attempt_has_a_time_limit(world: World) -> None:
    async with await world.client(connect_timeout=4).open() as client:
        world.transport.outcomes.append(asyncio.Event())
        world.server.drop()
        await world.clock.advance(0.25 + 4)
        assert (client.status, world.transport.attempts) == ("reconnecting", 2)
        await world.clock.advance(0.5)
        assert (client.status, world.transport.attempts) == ("open", 3)


async def test_a_refused_token_ends_the_attempts(world: World) -> None:
    async with await world.client().open() as client:
        world.transport.outcomes.append(Unauthorized("the token has expired"))
        world.server.drop()
        await world.clock.advance(60)
        assert (client.status, world.transport.attempts) == ("closed", 2)
        with pytest.raises(Unauthorized, match="expired"):
            await client.ready


async def test_a_transport_that_breaks_closes_the_client(world: World, caplog: pytest.LogCaptureFixture) -> None:
    async with await world.client().open() as client:
        world.transport.outcomes.append(ZeroDivisionError("oops"))
        world.server.drop()
        await world.clock.advance(1)
        with pytest.raises(Unavailable, match="oops"):
            await client.ready
    assert "the transport failed" in caplog.text


async def test_without_reconnect_the_first_loss_closes_the_client(world: World) -> None:
    client = await world.client(reconnect=False).open()
    world.server.drop(1001, "bye")
    await world.clock.advance(60)
    assert (client.status, world.transport.attempts) == ("closed", 1)
    with pytest.raises(Disconnected, match="1001: bye"):
        await client.ready
    await client.aclose()


async def test_statuses_follow_the_connection(world: World) -> None:
    seen: list[str] = []

    async def follow() -> None:
        seen.extend([status async for status in client.statuses()])

    client = world.client()
    following = asyncio.create_task(follow())
    await world.settle()
    await client.open()
    await world.settle()
    world.server.drop()
    await world.clock.advance(0.25)
    await client.aclose()
    await following
    assert seen == ["connecting", "open", "reconnecting", "open", "closed"]


async def test_a_replaced_connection_is_not_heard_any_more(world: World) -> None:
    async with await world.client().open() as client:
        old = world.server
        old.drop()
        await world.clock.advance(0.25)
        old.tell(frames.welcome("old"))
        assert client.id is None
        old.closed = False
        old.drop()
        assert world.status_of(client) == "open"


async def test_a_connection_lost_while_it_opens_is_a_failed_attempt(world: World) -> None:
    class Dropping:
        attempts = 0

        async def connect(self, receiver: Any, /) -> Any:
            connection = await world.transport.connect(receiver)
            self.attempts += 1
            if self.attempts == 2:
                connection.drop()
            return connection

    transport = Dropping()
    async with await world.client_of(transport).open() as client:
        world.server.drop()
        await world.clock.advance(0.25)
        assert world.status_of(client) == "reconnecting"
        await world.clock.advance(0.5)
        assert world.status_of(client) == "open"


async def test_a_connection_lost_by_its_first_frame_is_tried_again(world: World) -> None:
    async with await world.client().open() as client:
        client.dynamic("chat", "general")
        stream = client.events(client.dynamic("chat", "general"), "posted")
        dropped = []

        def drop_at_once(frame: bytes, /) -> None:
            dropped.append(frame)
            world.server.drop()

        connect_before = world.transport.connect

        async def connect_and_drop(receiver: Any, /) -> Any:
            connection = await connect_before(receiver)
            if world.transport.attempts == 2:
                connection.send = drop_at_once  # type: ignore[method-assign]
            return connection

        world.transport.connect = connect_and_drop  # type: ignore[method-assign]
        world.server.drop()
        await world.clock.advance(0.25)
        assert (client.status, len(dropped)) == ("reconnecting", 1)
        await world.clock.advance(0.5)
        assert world.status_of(client) == "open"
        assert [frame["type"] for frame in world.server.frames] == ["event:sub"]
        await stream.aclose()


async def test_losing_and_finding_the_server_is_logged_without_secrets(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with await world.client().open():
        world.server.drop()
        await world.clock.advance(0.25)
    said = [record.getMessage() for record in caplog.records if record.name == "zocket.client"]
    assert said == ["connected", "connection lost", "connected"]
