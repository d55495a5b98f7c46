"""Kicks: what a session that an actor parts with is told, loses, and may do afterwards."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import BaseModel

from tests.unit.host.conftest import Bench, Recorder, Shelf
from zocket import Access, Actor, ActorError, Event, method
from zocket.core import AppDefinition
from zocket.errors import UsageError
from zocket.host import Host
from zocket.settings import Limits
from zocket.testing import VirtualClock, finalizers

if TYPE_CHECKING:
    from collections.abc import Callable


class Log(BaseModel):
    lines: list[str] = []
    banned: list[str] = []


class It(Actor[Log]):
    told = Event[str]()

    async def on_connect(self) -> None:
        self.state.lines.append(f"+{self.session.id}")

    async def on_disconnect(self) -> None:
        self.state.lines.append(f"-{self.session.id}")

    @method
    async def write(self, line: str) -> None:
        self.state.lines.append(line)
        self.told.emit(line)

    @method
    async def oust(self, who: str, reason: str = "", close: bool = False, nap_s: float = 0, fail: bool = False) -> bool:
        known = self.kick(who, reason, close=close)
        if nap_s:
            await asyncio.sleep(nap_s)
        if fail:
            raise ActorError("no")
        return known

    @method
    async def oust_later(self, who: str, nap_s: float) -> None:
        await asyncio.sleep(nap_s)
        self.kick(who)

    @method
    async def read(self) -> list[Any]:
        return [list(self.state.lines), sorted(self.clients)]


class Kept(It):
    durability = "file"


both = pytest.mark.parametrize("cls", [It, Kept])


def open_bench(cls: type[It]) -> Bench:
    clock = VirtualClock()
    host = Host(AppDefinition({"it": cls}), clock=clock, limits=Limits(), store=Shelf(clock))
    finalizers.get().push_async_callback(host.abort)
    return Bench(host, clock)


async def answer(b: Bench, link: Recorder, name: str, /, **given: Any) -> Any:
    link.call(name, **given)
    await b.quiet(1)
    return link.results()[-1]


@both
async def test_a_kicked_session_is_told_and_gets_nothing_more(cls: type[It]) -> None:
    b = open_bench(cls)
    mod, troll = b.session("mod"), b.session("troll")
    troll.watch()
    troll.listen()
    await b.quiet(1)
    assert await answer(b, mod, "oust", who="troll", reason="be nice") is True
    assert await answer(b, mod, "read") == [["+troll", "+mod", "-troll"], ["mod"]]
    await answer(b, mod, "write", line="peace")
    assert troll.kinds().count("error") == 1
    assert troll.frames[-1] == {
        "type": "error",
        "code": "kicked",
        "message": "be nice",
        "actor": "it",
        "actorId": "x",
        "requestId": "",
    }


@both
async def test_a_kick_of_a_failed_turn_and_of_a_stranger_is_none(cls: type[It]) -> None:
    b = open_bench(cls)
    mod, troll = b.session("mod"), b.session("troll")
    troll.watch()
    await b.quiet(1)
    assert await answer(b, mod, "oust", who="troll", fail=True) == "no"
    assert await answer(b, mod, "oust", who="nobody") is False
    assert await answer(b, mod, "read") == [["+troll", "+mod"], ["mod", "troll"]]
    assert "error" not in troll.kinds()


@both
async def test_a_kicked_session_comes_back_with_its_next_request_and_leaves_once_each_time(cls: type[It]) -> None:
    b = open_bench(cls)
    mod, troll = b.session("mod"), b.session("troll")
    await answer(b, troll, "write", line="a")
    await answer(b, mod, "oust", who="troll")
    await answer(b, troll, "write", line="b")
    b.host.sessions.disconnect("troll")
    lines, here = await answer(b, mod, "read")
    assert lines == ["+troll", "a", "+mod", "-troll", "+troll", "b", "-troll"]
    assert here == ["mod"]


@both
async def test_what_a_kicked_session_has_waiting_is_refused_and_does_not_bring_it_back(cls: type[It]) -> None:
    b = open_bench(cls)
    mod, troll, done = b.session("mod"), b.session("troll"), list[str]()
    await answer(b, troll, "write", line="a")
    mod.call("oust", who="troll", nap_s=1)
    await b.quiet()
    troll.call("write", line="late", done=lambda: done.append("call"))
    troll.listen()
    await b.quiet(2)
    lines, here = await answer(b, mod, "read")
    if cls is Kept:  # its turns run ahead of the store: this one ran before the kick was stored
        assert lines[-2:] == ["late", "-troll"]
    else:
        assert lines == ["+troll", "a", "+mod", "-troll"]
        assert troll.answers()[-1]["code"] == "kicked"
    assert here == ["mod"]
    assert done == ["call"]
    assert await b.host.drain(1)


@both
async def test_what_a_kicked_session_had_cancelled_is_answered_once_and_does_not_bring_it_back(cls: type[It]) -> None:
    b = open_bench(cls)
    mod, troll, done = b.session("mod"), b.session("troll"), list[str]()
    await answer(b, troll, "write", line="a")
    mod.call("oust", who="troll")
    mod.call("oust", who="nobody", nap_s=1)
    number = troll.call("write", line="late", done=lambda: done.append("call"))
    assert b.host.cancel("it", "x", "troll", f"r{number}")
    await b.quiet(2)
    assert [frame.get("code") for frame in troll.answers()] == [None, "cancelled"]
    assert await answer(b, mod, "read") == [["+troll", "a", "+mod", "-troll"], ["mod"]]
    assert done == ["call"]
    assert await b.host.drain(1)


@both
async def test_one_that_is_kicked_twice_or_ends_meanwhile_leaves_once(cls: type[It]) -> None:
    b = open_bench(cls)
    mod, troll = b.session("mod"), b.session("troll")
    await answer(b, troll, "write", line="a")
    mod.call("oust", who="troll", nap_s=1)
    mod.call("oust", who="troll")
    await b.quiet()
    b.host.sessions.disconnect("troll")
    await b.quiet(3)
    lines, _ = await answer(b, mod, "read")
    assert lines.count("-troll") == 1
    assert await b.host.drain(1)


@both
async def test_who_kicks_itself_gets_its_answer_and_then_its_socket_closed(cls: type[It]) -> None:
    b = open_bench(cls)

    class Closing(Recorder):
        __slots__ = ()

        def dismiss(self, frame: bytes) -> None:
            self.frames.append({"type": "closed by", "frame": json.loads(frame)["code"]})

    alice = Closing(b.host, "alice")
    assert await answer(b, alice, "oust", who="alice", close=True) is True
    assert alice.kinds() == ["rpc:result", "closed by"]


class Strict(It):
    async def on_connect(self) -> None:
        if self.session.user_id == "troll":
            self.kick(self.session.id, "not you")
        else:
            await super().on_connect()


class Gated(It):
    guards = [lambda access: refuse_banned(access)]

    @method
    async def ban(self, who: str) -> None:
        self.state.banned.append(who)
        self.kick(who)


def refuse_banned(access: Access[Log]) -> None:
    if access.caller.session is not None and access.session.id in access.state.banned:
        raise ActorError("banned", code="forbidden")


async def test_a_kick_in_on_connect_refuses_the_request_that_came_with_it(bench: Callable[..., Any]) -> None:
    b = bench(Strict)
    mod, troll = b.session("mod"), b.session("t", "troll")
    assert await answer(b, troll, "write", line="a") == "not you"
    assert troll.answers()[0]["code"] == "kicked"
    assert await answer(b, mod, "read") == [["-t", "+mod"], ["mod"]]


async def test_a_guard_keeps_a_kicked_session_out(bench: Callable[..., Any]) -> None:
    b = bench(Gated)
    mod, troll = b.session("mod"), b.session("troll")
    troll.watch()
    await answer(b, mod, "ban", who="troll")
    assert await answer(b, troll, "write", line="a") == "banned"
    troll.watch()
    await b.quiet()
    assert troll.frames[-1]["code"] == "forbidden"
    assert await answer(b, mod, "read") == [["+troll", "+mod", "-troll"], ["mod"]]


async def test_one_that_is_kicked_before_its_on_connect_could_run_was_never_here(bench: Callable[..., Any]) -> None:
    b = bench(It)
    mod, early = b.session("mod"), b.session("early")
    mod.call("oust_later", who="early", nap_s=1)
    await b.quiet()
    early.watch()  # served beside the turn that naps; its `on_connect` waits
    await b.quiet(2)
    assert await answer(b, mod, "read") == [["+mod"], ["mod"]]
    assert early.kinds() == ["state:snapshot", "error"]
    assert await b.host.drain(1)


async def test_one_that_is_back_before_its_on_disconnect_could_run_stays() -> None:
    """The kick is carried out when it is stored, while a later turn is suspended."""
    b = open_bench(Kept)
    mod, troll = b.session("mod"), b.session("troll")
    await answer(b, troll, "write", line="a")
    mod.call("oust", who="troll")
    mod.call("oust", who="nobody", nap_s=1)
    await b.quiet(0.5)
    assert troll.kinds()[-1] == "error"
    troll.watch()
    await b.quiet(1)
    assert await answer(b, mod, "read") == [["+troll", "a", "+mod", "-troll", "+troll"], ["mod", "troll"]]
    await answer(b, mod, "write", line="b")
    assert troll.kinds()[-1] == "state:patch"


async def test_a_reason_is_bounded(bench: Callable[..., Any]) -> None:
    b = bench(It, dev_mode=True)
    alice = b.session("alice")
    assert "the limit is 1000" in await answer(b, alice, "oust", who="alice", reason="x" * 1_001)
    with pytest.raises(UsageError, match="inside a turn"):
        b.host._residents["it", "x"].instance.actor.kick("alice")
