"""Guards: one chain before everything that anybody does with an instance, and nothing of what it refuses."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import BaseModel

from tests.unit.host.conftest import Recorder, Shelf
from zocket import Access, Actor, ActorError, Event, method, query
from zocket.core import AppDefinition
from zocket.errors import DefinitionError, StaleReferenceError
from zocket.host import Host
from zocket.settings import Limits
from zocket.testing import VirtualClock, finalizers

if TYPE_CHECKING:
    from collections.abc import Callable


class Room(BaseModel):
    members: list[str] = []
    seen: list[str] = []


class It(Actor[Room]):
    told = Event[str]()

    async def on_connect(self) -> None:
        self.state.seen.append(f"+{self.session.user_id}")

    async def on_disconnect(self) -> None:
        self.state.seen.append(f"-{self.session.user_id}")

    @method
    async def join(self, user: str) -> None:
        self.state.members.append(user)
        self.told.emit(user)

    @method
    async def seen(self) -> list[str]:
        return list(self.state.seen)


class Refusing:
    """Refuses the kinds in `refused`, and remembers what it was asked."""

    def __init__(self, *refused: str) -> None:
        self.refused = refused
        self.asked: list[str] = []

    async def __call__(self, access: Access[Room]) -> None:
        await asyncio.sleep(0)
        self.asked.append(access.kind)
        if access.kind in self.refused:
            raise ActorError("members only", code="forbidden", data=access.kind)


async def test_guards_are_asked_in_order_before_everything_that_a_session_does(bench: Callable[..., Any]) -> None:
    order: list[str] = []

    def of_the_app(access: Access[Room]) -> None:
        given = f" {access.method} {access.arguments}" if access.method else ""
        order.append(f"app: {access.kind} {access.actor}/{access.actor_id} by {access.session.user_id}{given}")

    class Guarded(It):
        guards = [lambda access: order.append(f"class: {access.kind}")]

    b = bench(Guarded, guards=[of_the_app])
    alice = b.session("a", "alice")
    alice.watch()
    alice.listen()
    alice.call("join", user="alice")
    await b.quiet()
    assert order == [
        "app: connect it/x by alice",
        "class: connect",
        "app: state:sub it/x by alice",
        "class: state:sub",
        "app: event:sub it/x by alice",
        "class: event:sub",
        "app: rpc it/x by alice join {'user': 'alice'}",
        "class: rpc",
    ]
    assert alice.kinds() == ["state:snapshot", "state:patch", "event", "rpc:result"]


@pytest.mark.parametrize("durable", [False, True])
async def test_a_session_that_is_refused_stays_unknown_and_each_request_is_answered(durable: bool) -> None:
    class Kept(It):
        durability = "file" if durable else "memory"

    clock, guard = VirtualClock(), Refusing("connect")
    host = Host(
        AppDefinition({"it": Kept}, guards=[lambda access: guard(access) if access.session.user_id is None else None]),
        clock=clock,
        limits=Limits(),
        store=Shelf(clock),
    )
    finalizers.get().push_async_callback(host.abort)
    stranger, alice = Recorder(host, "s"), Recorder(host, "a", "alice")
    stranger.call("join", user="stranger")
    stranger.watch()
    stranger.listen()
    alice.call("join", user="alice")
    await clock.advance(1)
    stranger.call("join", user="late")  # it runs, if at all, when its session has ended
    host.sessions.disconnect("s")
    alice.call("seen")
    await clock.advance(1)
    assert [(frame["type"], frame["code"]) for frame in stranger.frames] == [
        ("rpc:result", "forbidden"),
        ("error", "forbidden"),
        ("error", "forbidden"),
        ("rpc:result", "forbidden"),
    ]
    assert (stranger.frames[0]["error"], stranger.frames[0]["data"]) == ("members only", "connect")
    assert alice.results() == ["void", ["+alice"]]
    assert guard.asked == ["connect"] * 4
    assert host.pending == 0


async def test_a_refused_subscription_is_told_with_an_error_frame_and_never_served(bench: Callable[..., Any]) -> None:
    b = bench(It, guards=[Refusing("state:sub", "event:sub")])
    s = b.session()
    s.watch()
    s.listen()
    s.call("join", user="me")
    await b.quiet()
    assert [frame["type"] for frame in s.frames] == ["error", "error", "rpc:result"]
    assert (s.frames[0]["actor"], s.frames[0]["actorId"], s.frames[0]["code"]) == ("it", "x", "forbidden")


async def test_a_guard_decides_by_the_committed_state_and_cannot_change_it(bench: Callable[..., Any]) -> None:
    def members_only(access: Access[Room]) -> None:
        if access.kind == "rpc" and access.method != "join" and access.session.user_id not in access.state.members:
            raise ActorError("members only", code="forbidden")
        with pytest.raises(StaleReferenceError):
            access.state.members.append("intruder")

    b = bench(It, guards=[members_only])
    alice = b.session("a", "alice")
    alice.call("seen")
    alice.call("join", user="alice")
    alice.call("seen")
    await b.quiet()
    assert alice.results() == ["members only", "void", ["+alice"]]


async def test_a_subscription_waits_for_its_guard_also_while_a_turn_is_suspended(bench: Callable[..., Any]) -> None:
    class Slow(It):
        @method
        async def nap(self) -> None:
            await asyncio.sleep(1)

    b = bench(Slow, guards=[Refusing("state:sub")])
    s, other = b.session("s"), b.session("o")
    s.call("nap")
    await b.quiet()
    other.watch()
    await b.quiet(2)
    assert [frame["type"] for frame in other.frames] == ["error"]


async def test_a_guard_that_raises_by_accident_or_hangs_refuses(
    bench: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(access: Access[Room]) -> None:
        if access.kind == "rpc":
            raise KeyError("a secret")
        if access.kind == "state:sub":
            await asyncio.sleep(60)

    b = bench(It, guards=[broken], handler_timeout_s=1.0)
    s = b.session()
    s.call("seen")
    s.watch()
    await b.quiet(5)
    assert [(frame["type"], frame["code"]) for frame in s.frames] == [
        ("rpc:result", "internal"),
        ("error", "handler_timeout"),
    ]
    assert "a secret" not in str(s.frames)
    assert "KeyError" in caplog.text


async def test_input_that_does_not_fit_is_refused_before_a_guard_is_asked(bench: Callable[..., Any]) -> None:
    guard = Refusing("rpc")
    b = bench(It, guards=[guard])
    s = b.session()
    s.call("join", user=7)
    await b.quiet()
    assert s.frames[0]["code"] == "validation_failed"
    assert guard.asked == ["connect"]


def test_a_guard_that_is_none_is_refused_with_its_place() -> None:
    with pytest.raises(DefinitionError, match="guards: 3 is not callable"):
        AppDefinition({"it": It}, guards=[3])  # type: ignore[list-item]

    class Wrong(It):
        guards = ["no"]  # type: ignore[list-item]

    with pytest.raises(DefinitionError, match=r"Wrong\.guards: 'no' is not callable"):
        AppDefinition({"it": Wrong})


async def test_a_query_and_a_call_beside_a_turn_are_asked_about_too(bench: Callable[..., Any]) -> None:
    class Asked(It):
        @method
        async def nap(self) -> None:
            await asyncio.sleep(1)

        @query
        async def peek(self) -> int:
            return len(self.state.members)

    refusing = Refusing("connect")
    b = bench(Asked, guards=[lambda access: refusing(access) if access.session.user_id is None else None])
    alice, stranger = b.session("a", "alice"), b.session("s")
    alice.call("nap")
    await b.quiet()
    alice.call("peek")
    stranger.call("peek")
    await b.quiet()
    assert alice.results() == [0]
    assert stranger.frames == []
    await b.quiet(2)
    assert (alice.results(), stranger.results()) == (["void", 0], ["members only"])

    c = bench(Asked, guards=[Refusing("rpc")])
    bob = c.session("b", "bob")
    bob.watch()
    await c.quiet()
    bob.call("peek")
    await c.quiet()
    assert bob.results() == ["members only"]
