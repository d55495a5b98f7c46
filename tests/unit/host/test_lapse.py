"""Sessions that end without a goodbye, and may come back with another link."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from zocket import Actor, Event, method

if TYPE_CHECKING:
    from collections.abc import Callable


class Log(BaseModel):
    lines: list[str] = []


class It(Actor[Log]):
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
    async def read(self) -> list[Any]:
        return [list(self.state.lines), sorted(self.clients)]


async def test_a_lapsed_session_leaves_once_and_comes_back_with_its_next_request(bench: Callable[..., Any]) -> None:
    b = bench(It)
    link, other = b.session("a"), b.session("other")
    link.watch()
    await b.quiet()
    b.host.sessions.lapse(link)
    b.host.sessions.lapse(link)
    other.call("read")
    await b.quiet()
    assert other.results() == [[["+a", "-a", "+other"], ["other"]]]
    back = b.session("a")
    back.watch()
    other.call("read")
    await b.quiet()
    assert other.results()[-1] == [["+a", "-a", "+other", "+a"], ["a", "other"]]
    assert back.kinds() == ["state:snapshot"]


async def test_what_a_lapsed_session_had_asked_before_runs_and_does_not_bring_it_back(
    bench: Callable[..., Any],
) -> None:
    """Nobody would end it again: the link is not known any more."""
    b = bench(It)
    napper, link = b.session("napper"), b.session("a")
    napper.call("nap", seconds=1)
    await b.quiet()
    link.call("write", line="late")
    link.listen()
    b.host.sessions.lapse(link)
    await b.quiet(2)
    napper.call("read")
    await b.quiet()
    assert napper.results()[-1] == [["+napper", "late"], ["napper"]]
    assert len(link.answers()) == 1


async def test_one_that_is_back_before_its_hook_could_run_keeps_its_new_subscription(
    bench: Callable[..., Any],
) -> None:
    b = bench(It)
    link, napper = b.session("a"), b.session("napper")
    link.watch()
    link.listen()
    napper.call("nap", seconds=1)
    await b.quiet()
    b.host.sessions.lapse(link)
    back = b.session("a")
    back.watch()
    back.listen()
    await b.quiet(2)
    napper.call("write", line="hello")
    napper.call("read")
    await b.quiet()
    assert napper.results()[-1] == [["+a", "+napper", "-a", "+a", "hello"], ["a", "napper"]]
    assert back.kinds()[0] == "state:snapshot"
    assert {"state:patch", "event"} <= set(back.kinds()[1:])


async def test_a_goodbye_after_the_lapse_is_a_goodbye(bench: Callable[..., Any]) -> None:
    b = bench(It)
    link, other = b.session("a"), b.session("other")
    link.watch()
    await b.quiet()
    b.host.sessions.lapse(link)
    b.host.sessions.disconnect("a")
    b.session("a").call("write", line="late")
    other.call("read")
    await b.quiet()
    assert other.results() == [[["+a", "-a", "late", "+other"], ["other"]]]
