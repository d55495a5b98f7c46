"""Sessions that are dropped: kept for the grace of the actor's class, and resumed or ended."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import BaseModel

from tests.unit.host.conftest import Bench, Recorder
from zocket import Access, Actor, ActorError, Event, method
from zocket.core import AppDefinition
from zocket.host import Host, grace
from zocket.settings import Limits
from zocket.testing import VirtualClock, finalizers

if TYPE_CHECKING:
    from collections.abc import Callable


class Log(BaseModel):
    lines: list[str] = []


class Plain(Actor[Log]):
    told = Event[str]()

    async def on_connect(self) -> None:
        self.state.lines.append(f"+{self.session.id}")

    async def on_disconnect(self) -> None:
        self.state.lines.append(f"-{self.session.id}")

    @method
    async def nap(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    @method
    async def write(self, line: str) -> None:
        self.state.lines.append(line)
        self.told.emit(line)

    @method
    async def drip(self) -> AsyncGenerator[int]:
        number = 0
        while True:
            yield number
            number += 1
            await asyncio.sleep(1)

    @method
    async def oust(self, who: str) -> bool:
        return self.kick(who)

    @method
    async def read(self) -> list[Any]:
        return [list(self.state.lines), sorted(self.clients)]


class It(Plain):
    grace = 10.0

    async def on_drop(self) -> None:
        self.state.lines.append(f"?{self.session.id}")

    async def on_resume(self) -> None:
        self.state.lines.append(f"!{self.session.id}")


def back(b: Any, session_id: str = "a") -> Recorder:
    """The session's next socket."""
    link: Recorder = b.session(session_id)
    b.host.sessions.resume(link)
    return link


async def read(b: Any, who: Recorder, actor_id: str = "x") -> Any:
    who.call("read", actor_id)
    await b.quiet()
    return who.results()[-1]


def samples(b: Bench) -> dict[str, float]:
    found: dict[str, float] = {}
    for sample in b.host.samples():
        if sample.name in ("sessions_away", "graces_ended"):
            assert isinstance(sample.value, int)
            found[sample.labels.get("outcome", "away") if sample.labels else "away"] = sample.value
    return found


async def test_one_that_is_back_in_time_stays_known_and_is_resumed(bench: Callable[..., Bench]) -> None:
    b = bench(It)
    link, other = b.session("a"), b.session("other")
    link.watch()
    await b.quiet()
    b.host.sessions.lapse(link)
    assert await read(b, other) == [["+a", "?a", "+other"], ["a", "other"]]
    assert samples(b) == {"away": 1, "resumed": 0, "expired": 0}
    await b.clock.sleep(9.9)
    back(b)
    assert await read(b, other) == [["+a", "?a", "+other", "!a"], ["a", "other"]]
    await b.clock.sleep(30)
    assert await read(b, other) == [["+a", "?a", "+other", "!a"], ["a", "other"]]
    assert samples(b) == {"away": 0, "resumed": 1, "expired": 0}


async def test_one_that_does_not_come_back_leaves_once_when_its_grace_is_over(bench: Callable[..., Bench]) -> None:
    b = bench(It)
    link, other = b.session("a"), b.session("other")
    link.call("read")
    await b.quiet()
    b.host.sessions.lapse(link)
    b.host.sessions.drop("a")
    await b.clock.sleep(9.9)
    assert await read(b, other) == [["+a", "?a", "+other"], ["a", "other"]]
    await b.clock.sleep(0.2)
    assert await read(b, other) == [["+a", "?a", "+other", "-a"], ["other"]]
    await b.clock.sleep(30)
    assert (await read(b, other))[0] == ["+a", "?a", "+other", "-a"]
    assert samples(b) == {"away": 0, "resumed": 0, "expired": 1}


async def test_one_that_is_back_too_late_is_introduced_anew(bench: Callable[..., Bench]) -> None:
    b = bench(It)
    link = b.session("a")
    link.call("read")
    await b.quiet()
    b.host.sessions.lapse(link)
    await b.clock.sleep(11)
    assert await read(b, back(b)) == [["+a", "?a", "-a", "+a"], ["a"]]


async def test_each_drop_has_a_grace_of_its_own(bench: Callable[..., Bench]) -> None:
    b = bench(It)
    link = b.session("a")
    link.call("read")
    await b.quiet()
    for _ in range(2):
        b.host.sessions.lapse(link)
        await b.clock.sleep(9)
        link = back(b)
    b.host.sessions.lapse(link)
    await b.clock.sleep(9)
    other = b.session("other")
    assert await read(b, other) == [["+a", "?a", "!a", "?a", "!a", "?a", "+other"], ["a", "other"]]
    await b.clock.sleep(2)
    assert (await read(b, other))[0][-1] == "-a"


async def test_while_it_is_away_nothing_is_sent_and_its_next_socket_subscribes_for_itself(
    bench: Callable[..., Bench],
) -> None:
    b = bench(It)
    link, other = b.session("a"), b.session("other")
    link.watch()
    link.listen()
    await b.quiet()
    b.host.sessions.lapse(link)
    lost = link
    other.call("write", line="one")
    await b.quiet()
    link = back(b)
    other.call("write", line="two")
    await b.quiet()
    link.watch()
    link.listen()
    other.call("write", line="three")
    await b.quiet()
    assert len(link.frames) == 3
    assert link.kinds()[0] == "state:snapshot"
    assert {"state:patch", "event"} <= set(link.kinds())
    assert lost.kinds() == ["state:snapshot"]


async def test_instances_with_and_without_a_grace_each_do_as_their_class_says() -> None:
    clock = VirtualClock()
    host = Host(AppDefinition({"it": It, "plain": Plain}), clock=clock, limits=Limits())
    finalizers.get().push_async_callback(host.abort)
    b = Bench(host, clock)
    link, other = b.session("a"), b.session("other")
    link.call("read", "x")
    link.call("read", "y")
    link.call("read", actor="plain")
    await b.quiet()
    host.sessions.lapse(link)
    await clock.sleep(1)
    link = back(b)
    link.call("read", actor="plain")
    await b.quiet()
    assert link.results() == [[["+a", "-a", "+a"], ["a"]]]
    for actor_id in ("x", "y"):
        assert await read(b, other, actor_id) == [["+a", "?a", "!a", "+other"], ["a", "other"]]


async def test_a_goodbye_while_it_is_away_ends_it_at_once(bench: Callable[..., Bench]) -> None:
    b = bench(It)
    link, other = b.session("a"), b.session("other")
    link.call("read")
    await b.quiet()
    b.host.sessions.lapse(link)
    b.host.sessions.disconnect("a")
    assert await read(b, other) == [["+a", "?a", "-a", "+other"], ["other"]]
    await b.clock.sleep(30)
    assert (await read(b, other))[0] == ["+a", "?a", "-a", "+other"]


async def test_one_that_is_away_can_be_kicked_and_is_introduced_when_it_is_back(bench: Callable[..., Bench]) -> None:
    b = bench(It)
    link, other = b.session("a"), b.session("other")
    link.call("read")
    await b.quiet()
    b.host.sessions.lapse(link)
    await b.clock.sleep(1)
    other.call("oust", who="a")
    assert await read(b, other) == [["+a", "?a", "+other", "-a"], ["other"]]
    await b.clock.sleep(1)
    link = back(b)
    assert await read(b, other) == [["+a", "?a", "+other", "-a"], ["other"]]
    assert (await read(b, link))[0] == ["+a", "?a", "+other", "-a", "+a"]
    await b.clock.sleep(30)
    assert (await read(b, other))[1] == ["a", "other"]


async def test_one_that_is_back_and_silent_is_known_by_its_new_socket(bench: Callable[..., Bench]) -> None:
    b = bench(It)
    link, other = b.session("a"), b.session("other")
    link.call("read")
    await b.quiet()
    b.host.sessions.lapse(link)
    new = back(b)
    other.call("oust", who="a")
    await b.quiet()
    assert [frame["code"] for frame in new.frames] == ["kicked"]


async def test_a_kick_overtakes_the_hooks_that_wait(bench: Callable[..., Bench]) -> None:
    """`on_disconnect` is the next turn; after it neither `on_drop` nor `on_resume` runs."""
    b = bench(It)
    link, other = b.session("a"), b.session("other")
    link.call("read")
    other.call("read")
    await b.quiet()
    other.call("nap", seconds=1)
    other.call("oust", who="a")
    await b.quiet()
    b.host.sessions.lapse(link)
    back(b)
    await b.clock.sleep(2)
    assert await read(b, other) == [["+a", "+other", "-a"], ["other"]]


async def test_one_that_is_back_before_its_hooks_could_run_has_both_in_order(bench: Callable[..., Bench]) -> None:
    b = bench(It)
    link, napper = b.session("a"), b.session("napper")
    link.watch()
    link.listen()
    napper.call("nap", seconds=1)
    await b.quiet()
    b.host.sessions.lapse(link)
    link = back(b)
    link.watch()
    link.listen()
    link.call("write", line="here")
    await b.clock.sleep(2)
    assert await read(b, napper) == [["+a", "+napper", "?a", "!a", "here"], ["a", "napper"]]
    assert link.kinds()[0] == "state:snapshot"
    assert {"state:patch", "event"} <= set(link.kinds())


async def test_the_end_of_a_second_grace_counts_also_while_the_hooks_of_the_first_wait(
    bench: Callable[..., Bench],
) -> None:
    b = bench(It, handler_timeout_s=60)
    link, napper = b.session("a"), b.session("napper")
    link.call("read")
    napper.call("nap", seconds=30)
    await b.quiet()
    b.host.sessions.lapse(link)
    b.host.sessions.lapse(back(b))
    await b.clock.sleep(31)
    assert await read(b, napper) == [["+a", "+napper", "?a", "!a", "?a", "-a"], ["napper"]]


async def test_what_the_lost_socket_had_asked_runs_once_and_changes_nothing_of_the_session(
    bench: Callable[..., Bench],
) -> None:
    b = bench(It)
    link, napper = b.session("a"), b.session("napper")
    link.call("read")
    napper.call("nap", seconds=1)
    await b.quiet()
    link.call("write", line="late")
    b.host.sessions.lapse(link)
    new = back(b)
    new.watch()
    new.listen()
    link.unwatch()
    link.unlisten()
    link.call("write", line="later")
    link.watch()
    await b.clock.sleep(2)
    new.frames.clear()
    napper.call("write", line="end")
    assert await read(b, napper) == [["+a", "+napper", "late", "?a", "!a", "later", "end"], ["a", "napper"]]
    assert sorted(new.kinds()) == ["event", "state:patch"]
    assert len(link.answers()) == 3
    await b.clock.sleep(30)
    assert (await read(b, napper))[1] == ["a", "napper"]


async def test_a_socket_that_was_dropped_brings_its_session_back_by_nothing(bench: Callable[..., Bench]) -> None:
    b = bench(It)
    link, other = b.session("a"), b.session("other")
    link.call("read")
    await b.quiet()
    b.host.sessions.drop("a")
    late = back(b)
    late.call("write", line="late")
    await b.clock.sleep(11)
    assert await read(b, other) == [["+a", "?a", "late", "-a", "+other"], ["other"]]


async def test_a_stream_ends_with_the_drop_and_a_call_goes_on(bench: Callable[..., Bench]) -> None:
    b = bench(It)
    link, other = b.session("a"), b.session("other")
    link.call("drip")
    await b.clock.sleep(2.5)
    link.call("write", line="queued")
    b.host.sessions.lapse(link)
    assert await read(b, other) == [["+a", "queued", "?a", "+other"], ["a", "other"]]
    assert link.answers()[0]["code"] == "cancelled"


async def test_a_refused_session_has_no_grace(bench: Callable[..., Bench]) -> None:
    async def slowly_no(access: Access[Log]) -> None:
        if access.kind == "connect" and access.session.id == "a":
            await asyncio.sleep(1)
            raise ActorError("no", code="no")

    b = bench(It, guards=[slowly_no])
    link, other = b.session("a"), b.session("other")
    link.call("read")
    await b.quiet()
    b.host.sessions.lapse(link)
    await b.clock.sleep(2)
    assert await read(b, other) == [["+other"], ["other"]]
    await b.clock.sleep(30)
    assert await read(b, other) == [["+other"], ["other"]]


async def test_a_class_without_hooks_keeps_who_is_away_in_its_clients(bench: Callable[..., Bench]) -> None:
    class Quiet(Actor[dict[str, Any]]):
        grace = 5
        idle_after = 1.0

        @method
        async def read(self) -> list[str]:
            return list(self.clients)

    b = bench(Quiet)
    link, other = b.session("a"), b.session("other")
    link.call("read")
    await b.quiet()
    b.host.sessions.lapse(link)
    await b.clock.sleep(4)
    assert await read(b, other) == ["a", "other"]
    await b.clock.sleep(2)
    assert await read(b, other) == ["other"]


async def test_where_too_many_are_away_the_first_to_end_ends_at_once(
    bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grace, "MAX_AWAY", 2)
    b = bench(It)
    links = [b.session(name) for name in "abc"]
    for link in links:
        link.call("read")
    await b.quiet()
    for link in links:
        b.host.sessions.lapse(link)
    assert await read(b, b.session("other")) == [
        ["+a", "+b", "+c", "?a", "?b", "?c", "-a", "+other"],
        ["b", "c", "other"],
    ]


async def test_a_flapping_client_leaves_nothing_behind(bench: Callable[..., Bench]) -> None:
    b = bench(It)
    link = b.session("a")
    link.call("read")
    await b.quiet()
    for _ in range(500):
        b.host.sessions.lapse(link)
        link = back(b)
    await b.quiet()
    assert len(b.host.sessions.grace._due) <= 2 * grace.OVER_KEPT
    assert samples(b) == {"away": 0, "resumed": 500, "expired": 0}


async def test_graces_of_different_length_end_in_their_time_also_after_many_have_ended_early() -> None:
    class Long(It):
        grace = 60.0

    clock = VirtualClock()
    host = Host(AppDefinition({"it": It, "long": Long}), clock=clock, limits=Limits())
    finalizers.get().push_async_callback(host.abort)
    b = Bench(host, clock)
    early, late = [f"early{number}" for number in range(200)], [f"late{number}" for number in range(20)]
    for actor, names in (("it", early), ("long", late), ("it", late)):
        for name in names:
            link = b.session(f"{name} of {actor}")
            link.call("read", actor=actor)
            await b.quiet()
            host.sessions.lapse(link)
    for name in early:
        back(b, f"{name} of it")
    host.sessions.lapse(back(b, "early0 of it"))
    await clock.sleep(11)
    looker = b.session("looker")
    assert (await read(b, looker))[1] == sorted(["looker", *(f"{name} of it" for name in early[1:])])
    looker.call("read", actor="long")
    await b.quiet()
    assert looker.results()[-1][1] == sorted(["looker", *(f"{name} of long" for name in late)])


async def test_an_abrupt_end_of_the_host_leaves_no_timer(bench: Callable[..., Bench]) -> None:
    b = bench(It)
    link = b.session("a")
    link.call("read")
    await b.quiet()
    b.host.sessions.lapse(link)
    await b.host.abort()
    await b.clock.sleep(30)
    assert samples(b)["expired"] == 0
