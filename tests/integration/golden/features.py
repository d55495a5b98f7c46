"""What a server of ours can do beside a client of old: each feature once, as it is met by one.

Rules: a feature leaves everybody connected and everything working; it gets two clients of old, `me` and `other`, that
may be subscribed to anything. What it shows beside that nobody got what it could not bear is asserted in it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from tests.integration.golden.everything import ACTORS
from tests.integration.golden.worlds import Seat, World

CHANGES = (
    "many", "append", "insert", "pop", "set", "sort", "reverse", "slice", "clear", "grow", "cut",
    "topic", "deep", "drop", "card", "hide", "deal",
)  # fmt: skip

Feature = Callable[[World, Seat, Seat], Awaitable[None]]
FEATURES: dict[str, Feature] = {}


def feature(function: Feature) -> Feature:
    FEATURES[function.__name__] = function
    return function


def back(seat: Seat) -> None:
    """Connects again, if the server has closed the socket."""
    if seat.client.closed_with is not None:
        seat.connect()


@feature
async def changes(world: World, me: Seat, other: Seat) -> None:
    for actor in ACTORS:
        for number, how in enumerate((*CHANGES[:5], *CHANGES)):
            await other.call(actor, "change", how=how, at=number % 3, value=number)


@feature
async def stream(world: World, me: Seat, other: Seat) -> None:
    before = me.client.ignored["rpc:stream"]
    answer = await me.call("box", "stream", to=5)
    assert {"result", "error"}.isdisjoint(answer), "it ends as a method that returns nothing"
    assert me.client.ignored["rpc:stream"] == before + 5
    assert (await me.call("kept", "stream", to=2, fails=True))["error"] == "on purpose"


@feature
async def flushes(world: World, me: Seat, other: Seat) -> None:
    await other.call("box", "in_parts", parts=4)
    await other.call("kept", "slowly", seconds=0.2)


@feature
async def cancelled_by_another(world: World, me: Seat, other: Seat) -> None:
    call = other.begin("box", "wait", seconds=50)
    await asyncio.sleep(0.05)
    other.say(type="rpc:cancel", id=call)
    assert (await other.answer(call))["code"] == "cancelled"


@feature
async def cancelled_on_close(world: World, me: Seat, other: Seat) -> None:
    other.say(type="rpc", id=-1, actor="box", actorId="a", method="wait", input={"seconds": 50}, cancelOnClose=True)
    await asyncio.sleep(0.05)
    other.vanish()
    await asyncio.sleep(0.05)
    other.connect()
    assert "error" not in await me.call("box", "change", how="append", at=0, value=3)


@feature
async def retried_with_a_key(world: World, me: Seat, other: Seat) -> None:
    for number in (1, 2):
        other.client.pending.add(-number)
        given = {"how": "append", "at": 0, "value": 5}
        other.say(type="rpc", id=-number, actor="box", actorId="a", method="change", input=given, idempotencyKey="k")
        await other.answer(-number)


@feature
async def token_given_by_another(world: World, me: Seat, other: Seat) -> None:
    other.say(type="auth:refresh", token=other.user_id)
    other.say(type="auth:refresh", token=5)
    await me.call("box", "whole")


@feature
async def resumed_by_another(world: World, me: Seat, other: Seat) -> None:
    for since in ({"epoch": "e_none", "seq": 1}, {"epoch": 5}, 7):
        other.client.subscribe("state:sub", "box", "a")
        other.say(type="state:sub", actor="box", actorId="a", since=since)


@feature
async def errors(world: World, me: Seat, other: Seat) -> None:
    for answer in (
        await me.call("box", "fail"),
        await me.call("box", "none"),
        await me.call("nobody", "none"),
        await me.call("box", "change", how=5),
        await me.call("box", "change", actor_id="", how="append", at=0, value=1),
        await me.call("box", "change", actor_id="x" * 300, how="append", at=0, value=1),
    ):
        assert isinstance(answer["error"], str)
    for place in (("nobody", "a"), ("box", ""), ("a b", "c")):
        me.subscribe("state:sub", *place)
        me.client.states.remove(place)
    me.say(type="rpc", id=None, actor="box", actorId="a", method="whole")
    await me.call("box", "whole")


@feature
async def kicked(world: World, me: Seat, other: Seat) -> None:
    await me.call("box", "whole")  # who is kicked by its id has been told it
    for actor in ("box", "kept"):
        for kind in ("state:sub", "event:sub"):
            me.subscribe(kind, actor, "a")
        told = me.client.ignored["error"] + 1
        assert (await other.call(actor, "part_with", session_id=me.client.session_id))["result"] is True
        await world.until(partial(lambda told: me.client.ignored["error"] >= told, told), "it is told")
    assert me.client.closed_with is None
    for place in (("box", "a"), ("kept", "a")):
        me.client.replicas.pop(place, None)  # an existing client stays at what it saw last
        me.subscribe("state:sub", *place)


@feature
async def kicked_and_closed(world: World, me: Seat, other: Seat) -> None:
    await me.call("box", "whole")
    await other.call("box", "part_with", session_id=me.client.session_id, close=True)
    await world.until(lambda: me.client.closed_with is not None, "closed")
    assert me.client.closed_with == 4403
    me.connect()


@feature
async def timers_and_reminders(world: World, me: Seat, other: Seat) -> None:
    for actor in ("box", "kept"):
        await other.call(actor, "later")
    await world.clock.advance(2)


@feature
async def calls_between_actors(world: World, me: Seat, other: Seat) -> None:
    me.subscribe("state:sub", "box", "told")
    me.subscribe("state:sub", "box", "asked")
    assert (await other.call("box", "elsewhere"))["result"] == 1


@feature
async def refused_by_a_guard(world: World, me: Seat, other: Seat) -> None:
    await other.call("guarded", "shut", actor_id="g", user_id=me.user_id)
    assert (await me.call("guarded", "whole", actor_id="g"))["error"] == "shut out"
    before = me.client.ignored["error"]
    for kind in ("state:sub", "event:sub"):
        me.subscribe(kind, "guarded", "g")
    await world.until(lambda: me.client.ignored["error"] >= before + 2, "both are refused")


@feature
async def view_that_fails(world: World, me: Seat, other: Seat) -> None:
    me.subscribe("state:sub", "shown", "v")
    other.subscribe("state:sub", "shown", "v")
    await other.call("shown", "change", actor_id="v", how="append", at=0, value=1)
    before = me.client.ignored["error"]
    await other.call("shown", "breaks", actor_id="v", broken=True)
    await world.until(lambda: me.client.ignored["error"] > before, "the view has ended")
    await other.call("shown", "breaks", actor_id="v", broken=False)
    for seat in (me, other):
        seat.client.replicas.pop(("shown", "v"), None)
        seat.client.states.discard(("shown", "v"))
        seat.say(type="state:unsub", actor="shown", actorId="v")


@feature
async def slow_reader(world: World, me: Seat, other: Seat) -> None:
    me.subscribe("state:sub", "box", "a")
    me.subscribe("event:sub", "box", "a")
    await me.call("box", "whole")
    me.unsent = 1_000_000
    me.session.fell_behind()
    before = me.client.received["state:patch"]
    for number in range(5):
        await other.call("box", "change", how="insert", at=0, value=number)
    assert me.client.received["state:patch"] == before
    me.unsent = 0
    me.session.caught_up()
    await me.call("box", "whole")


@feature
async def reconnected(world: World, me: Seat, other: Seat) -> None:
    me.vanish()
    await other.call("box", "change", how="append", at=0, value=4)
    me.connect()


@feature
async def call_that_takes_too_long(world: World, me: Seat, other: Seat) -> None:
    call = me.begin("box", "wait", "slow", seconds=40)
    await asyncio.sleep(0.05)
    await world.clock.advance(31)
    assert "error" in await me.answer(call)


@feature
async def idle_instances_leave(world: World, me: Seat, other: Seat) -> None:
    await other.call("kept", "change", actor_id="idle", how="append", at=0, value=4)
    await world.clock.advance(400)
    assert (await other.call("kept", "whole", actor_id="idle"))["result"]["items"]


@feature
async def runtime_crashes(world: World, me: Seat, other: Seat) -> None:
    if world.t is not None:
        call = me.begin("box", "wait", seconds=0.1)
        await world.t.crash()
        await me.answer(call)


@feature
async def too_many_frames(world: World, me: Seat, other: Seat) -> None:
    calls = [me.begin("box", "whole") for _ in range(300)]
    answers = [await me.answer(call) for call in calls]
    assert any("error" in answer for answer in answers)
    assert any("result" in answer for answer in answers)


def seated(world: World) -> tuple[Seat, Seat]:
    """Two clients of old, subscribed to everything."""
    seats = world.seat("ada"), world.seat("bob")
    for seat in seats:
        for actor in ACTORS:
            seat.subscribe("state:sub", actor, "a")
            seat.subscribe("event:sub", actor, "a")
    return seats


async def play(world: World, names: Any) -> None:
    """Goes through the features, and looks whether everybody has borne them."""
    me, other = seated(world)
    for name in names:
        await FEATURES[name](world, me, other)
        for seat in (me, other):
            back(seat)
        await world.settle()
        world.check()
    await world.check_states()
