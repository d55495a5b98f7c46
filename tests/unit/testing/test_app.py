"""`TestApp`: the kit's own promises, on the memory broker and on a real NATS server."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Any

import pytest
from pydantic import BaseModel

from zocket import Actor, ActorError, App, CallTimeout, Disconnected, Event, method
from zocket.errors import Superseded, UsageError
from zocket.testing import TestApp


class Log(BaseModel):
    lines: list[str] = []
    online: dict[str, str] = {}


class Room(Actor[Log]):
    said = Event[str]()

    async def on_connect(self) -> None:
        self.state.online[self.session.id] = self.session.user_id or "guest"

    async def on_disconnect(self) -> None:
        del self.state.online[self.session.id]

    @method
    async def say(self, line: str) -> int:
        self.state.lines.append(line)
        self.said.emit(line)
        return len(self.state.lines)

    @method
    async def nap(self, seconds: float) -> str:
        await asyncio.sleep(seconds)
        return "awake"

    @method
    async def fail(self, on_purpose: bool) -> None:
        raise ActorError("meant") if on_purpose else KeyError("not meant")

    @method
    async def claims(self) -> dict[str, Any]:
        return dict(self.session.claims)


app = App(actors={"room": Room})


@pytest.mark.each_broker
async def test_each_broker_is_the_one_that_the_test_is_named_after(request: pytest.FixtureRequest) -> None:
    async with TestApp(app) as t:
        assert request.node.name.endswith("[nats]" if t.memory is None else "[memory]")


@pytest.mark.each_broker
async def test_r20_two_clients_see_each_other() -> None:
    async with TestApp(app) as t:
        alice, bob = await t.connect(user_id="alice"), await t.connect(user_id="bob")
        room = alice.actor(Room, "general")
        states, heard = bob.state(bob.actor(Room, "general")), bob.events(bob.actor(Room, "general"), Room.said)
        assert (await anext(states)).lines == []
        assert await room.say(line="hi") == 1
        assert await anext(heard) == "hi"
        await t.settle()
        assert (await anext(states)).lines == ["hi"]


@pytest.mark.each_broker
async def test_r6_a_dropped_client_leaves_and_comes_back_as_a_new_session() -> None:
    async with TestApp(app) as t:
        alice, bob = await t.connect(user_id="alice"), await t.connect(user_id="bob")
        await alice.actor(Room, "general").say(line="x")
        states = bob.state(bob.actor(Room, "general"))
        first = alice.id
        await t.drop(alice)
        await alice.ready
        await t.settle()
        online = (await anext(states)).online
        assert alice.id != first
        assert first not in online
        assert list(online.values()) == ["bob"]
        await alice.actor(Room, "general").say(line="y")
        await t.settle()
        assert sorted((await anext(states)).online.values()) == ["alice", "bob"]


@pytest.mark.each_broker
async def test_r16_state_in_memory_is_gone_after_a_crash_and_subscribers_get_the_new_one_by_themselves() -> None:
    async with TestApp(app) as t:
        alice = await t.connect()
        room = alice.actor(Room, "general")
        states = alice.state(room)
        await room.say(line="before")
        await t.settle()
        assert (await anext(states)).lines == ["before"]
        await t.crash()
        async for state in states:
            if state.lines == []:
                break
        assert await room.say(line="after") == 1


async def test_r15_a_call_that_the_crash_interrupted_runs_again() -> None:
    async with TestApp(app) as t:
        alice = await t.connect(rpc_timeout=60)
        call = asyncio.create_task(alice.actor(Room, "general").nap(seconds=5.0))
        await t.clock.advance(1)
        await t.crash()
        await t.clock.advance(10)
        assert await call == "awake"


@pytest.mark.each_broker
async def test_r15_calls_made_while_no_runtime_lives_wait_for_the_next_one() -> None:
    async with TestApp(app) as t:
        alice = await t.connect()
        room = alice.actor(Room, "general")
        await room.say(line="x")
        await t.kill()
        call = asyncio.create_task(room.say(line="y"))
        await asyncio.sleep(0.05)
        assert not call.done()
        await t.start()
        assert await call == 1


@pytest.mark.each_broker
async def test_r18_a_second_runtime_takes_over_and_the_first_stands_down() -> None:
    async with TestApp(app) as t:
        alice = await t.connect()
        await alice.actor(Room, "general").say(line="x")
        first, first_stack = t.runtime, t._runtime_stack
        await t.start()
        assert await alice.actor(Room, "general").say(line="y") == 1
        assert first is not None
        with pytest.raises(Superseded):
            await asyncio.wait_for(first.wait_stopped(), 20)
        await first_stack.aclose()


@pytest.mark.each_broker
async def test_a_client_that_lost_its_socket_gets_only_the_patches_that_it_missed() -> None:
    async with TestApp(app) as t:
        alice, bob = await t.connect(), await t.connect()
        states = bob.state(bob.actor(Room, "general"))
        assert (await anext(states)).lines == []
        await alice.actor(Room, "general").say(line="a")
        await t.settle()
        received: list[str] = []
        receive = bob.received
        bob.received = lambda frame: (received.append(json.loads(frame)["type"]), receive(frame))[1]  # type: ignore[method-assign, func-returns-value]
        await t.drop(bob)
        await alice.actor(Room, "general").say(line="b")
        await bob.ready
        await t.settle()
        assert (await anext(states)).lines == ["a", "b"]
        assert "state:patch" in received
        assert "state:snapshot" not in received


async def test_a_call_gives_up_after_its_time_limit_on_the_kits_clock() -> None:
    async with TestApp(app) as t:
        alice = await t.connect(rpc_timeout=10)
        started = t.clock.now()
        with pytest.raises(CallTimeout):
            await alice.actor(Room, "general").nap(seconds=20.0)
        assert t.clock.now() - started == pytest.approx(10, abs=0.1)


async def test_a_failure_inside_an_actor_ends_the_test_with_itself() -> None:
    with pytest.raises(KeyError, match="not meant"):
        async with TestApp(app) as t:
            await (await t.connect()).actor(Room, "general").fail(on_purpose=False)


async def test_a_failure_that_the_test_swallowed_is_raised_at_the_end() -> None:
    with pytest.raises(KeyError, match="not meant"):
        async with TestApp(app) as t:
            await swallow((await t.connect()).actor(Room, "general"))


async def swallow(room: Room) -> None:
    with contextlib.suppress(ActorError):
        await room.fail(on_purpose=False)


async def test_expected_failures_can_be_taken_out_and_meant_errors_are_none() -> None:
    async with TestApp(app) as t:
        room = (await t.connect()).actor(Room, "general")
        with pytest.raises(ActorError, match="meant"):
            await room.fail(on_purpose=True)
        assert t.failures == []
        with pytest.raises(ActorError, match="internal error"):
            await room.fail(on_purpose=False)
        assert isinstance(t.failures[0][1], KeyError)
        t.failures.clear()


async def test_claims_reach_the_session() -> None:
    async with TestApp(app) as t:
        client = await t.connect(user_id="u", claims={"role": "owner", "teams": [1, 2]})
        assert await client.actor(Room, "general").claims() == {"role": "owner", "teams": [1, 2]}


async def test_a_call_in_flight_is_rejected_when_its_socket_drops() -> None:
    async with TestApp(app) as t:
        alice = await t.connect()
        call = asyncio.create_task(alice.actor(Room, "general").nap(seconds=5.0))
        await t.clock.advance(1)
        await t.drop(alice)
        with pytest.raises(Disconnected):
            await call


async def test_nats_on_virtual_time_is_refused_with_advice() -> None:
    with pytest.raises(UsageError, match="mark the test"):
        async with TestApp(app, broker="nats"):
            pass
