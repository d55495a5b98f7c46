"""Streams of states and events: what they deliver, when they end, what they cost."""

from __future__ import annotations

import asyncio
import gc
from typing import TYPE_CHECKING, Any

import pytest

from zocket.client import streams
from zocket.errors import ActorError, Disconnected, EventError, Overloaded, Unauthorized, UsageError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.unit.client.conftest import ServerSide, World
    from zocket.client import Client


async def collect(stream: AsyncIterator[Any], into: list[Any]) -> None:
    into.extend([item async for item in stream])


def kinds(server: ServerSide) -> list[str]:
    return [frame["type"] for frame in server.taken()]


def append(index: int, value: int) -> bytes:
    return b'[{"op":"add","path":"/%d","value":%d}]' % (index, value)


async def test_states_are_the_snapshot_and_then_every_change(world: World) -> None:
    async with await world.client().open() as client:
        states = client.state(client.dynamic("chat", "general"))
        assert kinds(world.server) == ["state:sub"]
        world.server.snapshot(b"[]")
        assert await anext(states) == []
        world.server.patch(append(0, 1))
        assert await anext(states) == [1]
        waiting = asyncio.create_task(anext(states))
        await world.settle()
        assert not waiting.done()
        world.server.patch(append(1, 2))
        assert await waiting == [1, 2]


async def test_a_slow_reader_gets_the_newest_state_only(world: World) -> None:
    async with await world.client().open() as client:
        states = client.state(client.dynamic("chat", "general"))
        world.server.snapshot(b"[]")
        for n in range(1_000):
            world.server.patch(append(n, n))
        assert await anext(states) == list(range(1_000))
        waiting = asyncio.create_task(anext(states))
        await world.settle()
        assert not waiting.done()
        waiting.cancel()


async def test_plain_states_share_what_did_not_change(world: World) -> None:
    async with await world.client().open() as client:
        states = client.state(client.dynamic("chat", "general"))
        world.server.snapshot(b'{"a":[1],"b":[2]}')
        first = await anext(states)
        world.server.patch(b'[{"op":"add","path":"/a/1","value":3}]')
        second = await anext(states)
        assert (first, second) == ({"a": [1], "b": [2]}, {"a": [1, 3], "b": [2]})
        assert second["b"] is first["b"]


async def test_states_go_on_after_a_reconnect_with_the_present_one(world: World) -> None:
    async with await world.client().open() as client:
        states = client.state(client.dynamic("chat", "general"))
        world.server.snapshot(b"[1]")
        assert await anext(states) == [1]
        world.server.drop()
        waiting = asyncio.create_task(anext(states))
        await world.clock.advance(0.25)
        assert kinds(world.server) == ["state:sub"]
        world.server.patch(append(1, 2))  # of before the snapshot: ignored
        await world.settle()
        assert not waiting.done()
        world.server.snapshot(b"[1,2,3]")
        assert await waiting == [1, 2, 3]


async def test_a_subscription_made_without_a_connection_is_sent_with_the_next_one(world: World) -> None:
    async with await world.client().open() as client:
        world.server.drop()
        states = client.state(client.dynamic("chat", "general"))
        events = client.events(client.dynamic("chat", "general"), "posted")
        await world.clock.advance(0.25)
        assert sorted(kinds(world.server)) == ["event:sub", "state:sub"]
        world.server.snapshot(b"1")
        world.server.event("posted", b"2")
        assert (await anext(states), await anext(events)) == (1, 2)


async def test_subscriptions_are_sent_before_the_calls_that_waited(world: World) -> None:
    async with await world.client().open() as client:
        world.server.drop()
        room = client.dynamic("chat", "general")
        call = asyncio.create_task(room.post())
        await world.settle()
        states = client.state(room)
        await world.clock.advance(0.25)
        assert kinds(world.server) == ["state:sub", "rpc"]
        call.cancel()
        await states.aclose()


async def test_readers_of_one_instance_share_one_subscription(world: World) -> None:
    async with await world.client().open() as client:
        room = client.dynamic("chat", "general")
        first = client.state(room)
        world.server.snapshot(b"[1]")
        second = client.state(client.dynamic("chat", "general"))
        assert kinds(world.server) == ["state:sub"]
        assert await anext(first) == await anext(second) == [1]
        await first.aclose()
        assert kinds(world.server) == []
        world.server.patch(append(1, 2))
        assert await anext(second) == [1, 2]
        await second.aclose()
        assert kinds(world.server) == ["state:unsub"]


async def test_a_stream_after_the_last_one_asks_for_a_new_snapshot(world: World) -> None:
    async with await world.client().open() as client:
        room = client.dynamic("chat", "general")
        async with client.state(room):
            world.server.snapshot(b"[1]")
        states = client.state(room)
        assert kinds(world.server) == ["state:sub", "state:unsub", "state:sub"]
        waiting = asyncio.create_task(anext(states))
        await world.settle()
        assert not waiting.done()
        world.server.snapshot(b"[2]")
        assert await waiting == [2]


async def test_a_loop_that_is_left_gives_its_subscription_back(world: World) -> None:
    async with await world.client().open() as client:
        room = client.dynamic("chat", "general")

        async def read_one() -> None:
            async for _ in client.state(room):
                break
            async for _ in client.events(room, "posted"):
                break

        reading = asyncio.create_task(read_one())
        await world.settle()
        world.server.snapshot(b"[1]")
        await world.settle()
        world.server.event("posted", b"1")
        await reading
        gc.collect()
        await world.settle()
        assert kinds(world.server) == ["state:sub", "event:sub", "state:unsub", "event:unsub"]


async def test_closing_a_stream_ends_the_reader_that_waits(world: World) -> None:
    async with await world.client().open() as client:
        states = client.state(client.dynamic("chat", "general"))
        seen: list[Any] = []
        reading = asyncio.create_task(collect(states, seen))
        await world.settle()
        await states.aclose()
        await states.aclose()
        await reading
        assert seen == []
        with pytest.raises(StopAsyncIteration):
            await anext(states)


async def test_a_closed_stream_hears_nothing_of_those_that_share_its_subscription(world: World) -> None:
    async with await world.client().open() as client:
        room = client.dynamic("chat", "general")
        closed, states = client.state(room), client.state(room)
        silent, events = client.events(room, "posted"), client.events(room, "posted")
        await closed.aclose()
        await silent.aclose()
        world.server.snapshot(b"[1]")
        world.server.event("posted", b"1")
        assert (await anext(states), await anext(events)) == ([1], 1)
        with pytest.raises(StopAsyncIteration):
            await anext(closed)
        with pytest.raises(StopAsyncIteration):
            await anext(silent)


async def test_one_stream_is_for_one_reader(world: World) -> None:
    async with await world.client().open() as client:
        states = client.state(client.dynamic("chat", "general"))
        waiting = asyncio.create_task(anext(states))
        await world.settle()
        with pytest.raises(UsageError, match="one stream for each reader"):
            await anext(states)
        world.server.snapshot(b"1")
        assert await waiting == 1


async def test_a_cancelled_reader_loses_nothing(world: World) -> None:
    async with await world.client().open() as client:
        events = client.events(client.dynamic("chat", "general"), "posted")
        waiting = asyncio.create_task(anext(events))
        await world.settle()
        world.server.event("posted", b"1")
        waiting.cancel()
        await asyncio.wait([waiting])
        assert await anext(events) == 1


async def test_events_come_in_order_and_only_those_asked_for(world: World) -> None:
    async with await world.client().open() as client:
        events = client.events(client.dynamic("chat", "general"), "posted")
        assert kinds(world.server) == ["event:sub"]
        for n in range(3):
            world.server.event("posted", str(n).encode())
            world.server.event("left", b'"x"')
            world.server.event("posted", b'"elsewhere"', actor_id="other")
        assert [await anext(events) for _ in range(3)] == [0, 1, 2]


async def test_a_reader_that_falls_too_far_behind_gets_what_came_and_then_an_error(world: World) -> None:
    async with await world.client().open() as client:
        room = client.dynamic("chat", "general")
        slow, quick = client.events(room, "posted"), client.events(room, "posted")
        for n in range(streams.MAX_WAITING_EVENTS + 5):
            world.server.event("posted", str(n).encode())
            assert await anext(quick) == n
        seen = [await anext(slow) for _ in range(streams.MAX_WAITING_EVENTS)]
        assert seen == list(range(streams.MAX_WAITING_EVENTS))
        with pytest.raises(Overloaded, match=r"chat/general: the reader of posted is 1000 events behind"):
            await anext(slow)
        world.server.event("posted", b'"more"')
        assert await anext(quick) == "more"


async def test_large_events_are_bounded_in_bytes(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "MAX_WAITING_EVENT_BYTES", 100)
    async with await world.client().open() as client:
        events = client.events(client.dynamic("chat", "general"), "posted")
        for _ in range(4):
            world.server.event("posted", b'"%b"' % (b"x" * 38))
            await anext(events)
        for _ in range(3):
            world.server.event("posted", b'"%b"' % (b"x" * 38))
        assert [len(await anext(events)) for _ in range(2)] == [38, 38]
        with pytest.raises(Overloaded):
            await anext(events)


async def test_closing_the_client_ends_streams_after_what_arrived(world: World) -> None:
    client = await world.client().open()
    room = client.dynamic("chat", "general")
    states, events = client.state(room), client.events(room, "posted")
    waiting = asyncio.create_task(anext(client.events(room, "left"), "the end"))
    world.server.snapshot(b"[1]")
    world.server.event("posted", b"1")
    world.server.event("posted", b"2")
    await world.settle()
    await client.aclose()
    assert await waiting == "the end"
    assert [state async for state in states] == [[1]]
    assert [event async for event in events] == [1, 2]


@pytest.mark.parametrize("kind", ["state", "events"])
async def test_a_client_that_was_shut_out_ends_its_streams_with_the_reason(world: World, kind: str) -> None:
    async with await world.client().open() as client:
        room = client.dynamic("chat", "general")
        stream = client.state(room) if kind == "state" else client.events(room, "posted")
        waiting = asyncio.create_task(anext(stream))
        world.transport.outcomes.append(Unauthorized("expired"))
        world.server.drop()
        await world.clock.advance(0.25)
        with pytest.raises(Unauthorized, match="expired"):
            await waiting
        with pytest.raises(Unauthorized, match="expired"):
            client.state(room)


async def test_a_client_without_reconnect_ends_its_streams_with_the_loss(world: World) -> None:
    client = await world.client(reconnect=False).open()
    states = client.state(client.dynamic("chat", "general"))
    world.server.drop(1011, "oops")
    with pytest.raises(Disconnected, match="1011: oops"):
        await anext(states)
    await client.aclose()


async def test_a_closed_client_gives_no_streams(world: World) -> None:
    client = await world.client().open()
    await client.aclose()
    room = client.dynamic("chat", "general")
    with pytest.raises(Disconnected, match="closed"):
        client.state(room)
    with pytest.raises(Disconnected, match="closed"):
        client.events(room, "posted")


async def test_a_refused_subscription_ends_its_streams_with_the_servers_error(world: World) -> None:
    from zocket.protocol import frames

    async with await world.client().open() as client:
        room = client.dynamic("chat", "general")
        states, events, other = (
            client.state(room),
            client.events(room, "posted"),
            client.state(client.dynamic("a", "b")),
        )
        world.server.taken()
        world.server.tell(frames.problem(ActorError("Unknown actor: chat", code="unknown_actor"), "chat", "general"))
        for stream in (states, events):
            with pytest.raises(ActorError) as caught:
                await anext(stream)
            assert caught.value.code == "unknown_actor"
        assert sorted(kinds(world.server)) == ["event:unsub", "state:unsub"]
        world.server.snapshot(b"1", "a", "b")
        assert await anext(other) == 1


async def test_a_problem_of_no_instance_is_logged(world: World, caplog: pytest.LogCaptureFixture) -> None:
    from zocket.protocol import frames

    async with await world.client().open() as client:
        states = client.state(client.dynamic("chat", "general"))
        world.server.tell(frames.problem(ActorError("slow down", code="rate_limited", request_id="r_7")))
        [record] = [record for record in caplog.records if record.levelname == "WARNING"]
        assert (record.__dict__["code"], record.__dict__["request"]) == ("rate_limited", "r_7")
        world.server.snapshot(b"1")
        assert await anext(states) == 1


async def test_a_patch_that_does_not_fit_asks_for_the_state_anew(world: World) -> None:
    async with await world.client().open() as client:
        room = client.dynamic("chat", "general")
        states, others = client.state(room), client.state(room)
        world.server.snapshot(b"[1]")
        assert await anext(states) == [1]
        world.server.taken()
        waiting, other = asyncio.create_task(anext(states)), asyncio.create_task(anext(others))
        assert await other == [1]
        other = asyncio.create_task(anext(others))
        await world.settle()
        world.server.patch(append(7, 7))
        await world.settle()
        assert kinds(world.server) == ["state:sub"]
        world.server.snapshot(b"[1,2]")
        assert await waiting == await other == [1, 2]


async def test_only_handles_of_the_client_have_streams(world: World) -> None:
    async with await world.client().open() as client, await world.client().open() as other:
        with pytest.raises(UsageError, match="a handle of this client"):
            client.state(other.dynamic("chat", "general"))
        with pytest.raises(UsageError, match="a handle of this client"):
            client.events("chat", "posted")  # type: ignore[call-overload]


async def test_an_event_of_a_dynamic_handle_is_named_by_text(world: World) -> None:
    async with await world.client().open() as client:
        with pytest.raises(EventError, match="wire name"):
            client.events(client.dynamic("chat", "general"), 7)  # type: ignore[call-overload]


async def test_streams_leave_nothing_behind(world: World) -> None:
    async with await world.client().open() as client:
        for _ in range(3):
            await _open_and_close(client)
        assert (client._state_streams, client._event_streams) == ({}, {})


async def _open_and_close(client: Client) -> None:
    room = client.dynamic("chat", "general")
    async with client.state(room), client.state(room), client.events(room, "posted"):
        pass
