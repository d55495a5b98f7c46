"""Commit points inside a turn: what has left stays, what has not is rolled back, and the store has the last word."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import pytest

from tests.unit.host.test_durable import House, Log
from zocket import Actor, ActorError, Event, method
from zocket.core import AppDefinition
from zocket.errors import DefinitionError, PlatformError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.unit.host.conftest import Bench


class It(Actor[Log]):
    told = Event[str]()
    runs: list[str] = []
    caught: list[str] = []

    def note(self, line: str) -> None:
        self.state.lines.append(line)
        self.told.emit(line)

    @method
    async def add(self, line: str) -> int:
        self.note(line)
        return len(self.state.lines)

    @method
    async def steps(self, *, names: str, pause_s: float = 0.0, fail: bool = False) -> int:
        self.runs.append(names)
        for name in names:
            self.note(name)
            await self.flush()
            await asyncio.sleep(pause_s)
        self.note("end")
        if fail:
            raise ActorError("no")
        return len(self.state.lines)

    @method
    async def swallow(self) -> str:
        self.note("flushed")
        try:
            await self.flush()
        except PlatformError as error:
            self.caught.append(type(error).__name__)
        return "done all the same"

    @method
    async def large(self, size: int) -> None:
        self.runs.append("large")
        self.note("x" * size)
        await self.flush()

    @method(publish_every=1)
    async def regularly(self, count: int, pause_s: float = 0.4, fail: bool = False) -> int:
        self.runs.append("regularly")
        for number in range(count):
            self.note(str(number))
            await asyncio.sleep(pause_s)
        if fail:
            raise ActorError("no")
        return len(self.state.lines)

    @method(publish_every=1)
    async def briefly_wrong(self) -> None:
        inner: list[Any] = []
        self.state.lines.append(inner)  # type: ignore[arg-type]
        inner.append(object())
        await asyncio.sleep(1.5)
        self.state.lines.pop()
        self.note("right")

    @method
    async def flushed_words(self) -> AsyncIterator[str]:
        for word in "ab":
            self.note(word)
            await self.flush()
            yield word

    @method
    async def read(self) -> list[str]:
        return self.state.lines


class Kept(It):
    durability = "file"


@pytest.fixture(autouse=True)
def nothing_run() -> None:
    It.runs.clear()
    It.caught.clear()


def groups(frames: list[dict[str, Any]]) -> list[int]:
    """How many events followed each patch."""
    found: list[int] = []
    for kind in seen(frames):
        if kind == "patch":
            found.append(0)
        elif kind == "event":
            found[-1] += 1
    return found


def seen(frames: list[dict[str, Any]]) -> list[Any]:
    """What a session got, in short."""
    short = {"state:patch": "patch", "event": "event", "rpc:result": "result", "rpc:stream": "chunk"}
    return [short[frame["type"]] for frame in frames if frame["type"] in short]


class TestInMemory:
    async def test_what_was_flushed_leaves_while_the_handler_goes_on(self, bench: Callable[..., Bench]) -> None:
        b = bench(It)
        s = b.session()
        s.watch()
        s.listen()
        s.call("steps", names="ab", pause_s=1)
        await b.quiet(0.5)
        assert seen(s.frames) == ["patch", "event"]
        await b.quiet(1)
        assert seen(s.frames) == ["patch", "event"] * 2
        await b.quiet(1)
        assert seen(s.frames) == ["patch", "event"] * 3 + ["result"]
        assert [frame["seq"] for frame in s.frames if frame["type"] == "state:patch"] == [1, 2, 3]
        assert s.results() == [3]

    async def test_a_later_failure_returns_to_the_last_flush(self, bench: Callable[..., Bench]) -> None:
        b = bench(It)
        s = b.session()
        s.watch()
        s.listen()
        s.call("steps", names="ab", fail=True)
        s.call("read")
        await b.quiet()
        assert s.results() == ["no", ["a", "b"]]
        assert seen(s.frames) == ["patch", "event", "patch", "event", "result", "result"]

    async def test_so_does_a_cancellation(self, bench: Callable[..., Bench]) -> None:
        b = bench(It)
        s = b.session()
        s.call("steps", names="ab", pause_s=10)
        await b.quiet(11)
        assert s.host.cancel("it", "x", "s1", "r1")
        s.call("read")
        await b.quiet()
        assert s.results()[1] == ["a", "b"]

    async def test_a_stream_flushes_between_its_chunks(self, bench: Callable[..., Bench]) -> None:
        b = bench(It)
        s = b.session()
        s.watch()
        s.call("flushed_words")
        await b.quiet()
        assert seen(s.frames) == ["patch", "chunk", "patch", "chunk", "result"]

    async def test_outside_a_turn_there_is_nothing_to_flush(self, bench: Callable[..., Bench]) -> None:
        class Late(It):
            left: asyncio.Task[None]

            @method
            async def leave(self) -> None:
                Late.left = asyncio.ensure_future(self._later())

            async def _later(self) -> None:
                await asyncio.sleep(1)
                await self.flush()

        b = bench(Late)
        s = b.session()
        s.call("leave")
        await b.quiet(2)
        with pytest.raises(Exception, match=r"Late\.flush: there is no turn"):
            await Late.left


class TestRegularly:
    async def test_a_long_handler_is_published_where_it_waits(self, bench: Callable[..., Bench]) -> None:
        b = bench(It)
        s = b.session()
        s.watch()
        s.listen()
        s.call("regularly", count=6)
        await b.quiet(2.2)
        assert groups(s.frames) == [3, 2]
        await b.quiet(1)
        assert groups(s.frames) == [3, 2, 1]
        assert s.results() == [6]

    async def test_a_short_one_leaves_as_a_whole_and_an_idle_one_sends_nothing(
        self, bench: Callable[..., Bench]
    ) -> None:
        b = bench(It)
        s = b.session()
        s.watch()
        s.listen()
        s.call("regularly", count=2)
        s.call("regularly", count=1, pause_s=5)
        await b.quiet(10)
        assert groups(s.frames) == [2, 1]

    async def test_a_later_failure_returns_to_what_was_published(self, bench: Callable[..., Bench]) -> None:
        b = bench(It)
        s = b.session()
        s.call("regularly", count=4, fail=True)
        s.call("read")
        await b.quiet(5)
        assert s.results() == ["no", ["0", "1", "2"]]

    async def test_a_state_that_is_wrong_for_a_moment_waits(self, bench: Callable[..., Bench]) -> None:
        b = bench(It)
        s = b.session()
        s.call("briefly_wrong")
        s.call("read")
        await b.quiet(5)
        assert s.results() == ["void", ["right"]]

    @pytest.mark.parametrize("every", [0, -1, float("inf"), "1", True])
    def test_the_time_is_a_number_above_0(self, every: Any) -> None:
        class Broken(Actor[Log]):
            @method(publish_every=every)
            async def go(self) -> None: ...

        with pytest.raises(DefinitionError, match=r"Broken\.go: publish_every: expected seconds above 0"):
            AppDefinition({"it": Broken})


class TestDurable:
    async def test_nothing_of_a_flush_is_visible_before_it_is_stored(self) -> None:
        house = House(Kept)
        house.shelf.delay_s = 1.0
        s = house.session()
        s.watch()
        await house.clock.sleep(1.5)
        house.deliver(s, 1, "steps", names="a")
        await house.clock.sleep(0.9)
        assert seen(s.frames) == []
        await house.clock.sleep(0.2)
        assert (seen(s.frames), house.shelf.state()["lines"]) == (["patch"], ["a"])
        await house.clock.sleep(1)
        assert seen(s.frames) == ["patch", "patch", "result"]
        assert house.done == [1]
        assert house.host.pending == 0

    async def test_a_call_whose_process_dies_after_a_flush_runs_again_on_what_was_flushed(self) -> None:
        house = House(Kept)
        s = house.session()
        house.deliver(s, 1, "add", line="before")
        house.deliver(s, 2, "steps", names="a", pause_s=10)
        await house.clock.sleep(5)
        await house.restart()
        again = house.session()
        house.deliver(again, 1, "add", line="before")
        house.deliver(again, 2, "steps", names="a", pause_s=1)
        await house.clock.sleep(5)
        assert house.shelf.state()["lines"] == ["before", "a", "a", "end"]
        assert again.results() == [1, 4]

    async def test_one_that_has_ended_does_not(self) -> None:
        house = House(Kept)
        s = house.session()
        house.deliver(s, 1, "steps", names="ab")
        await house.clock.sleep(5)
        await house.restart()
        again = house.session()
        house.deliver(again, 1, "steps", names="ab")
        await house.clock.sleep(5)
        assert again.results() == [3]
        assert house.shelf.state()["lines"] == ["a", "b", "end"]

    async def test_a_flush_that_somebody_elses_write_refuses_runs_the_call_again(self) -> None:
        house = House(Kept)
        s = house.session()
        house.deliver(s, 1, "add", line="before")
        await house.clock.sleep(1)
        house.shelf.delay_s = 1.0
        house.deliver(s, 2, "steps", names="a")
        house.deliver(s, 3, "add", line="after")
        await house.clock.sleep(0.5)
        key = ("it", "x")
        house.shelf.records[key] = type(house.shelf.records[key])(house.shelf.records[key].record, 99)
        house.shelf.saves = 99
        await house.clock.sleep(20)
        assert It.runs == ["a", "a"]
        assert house.shelf.state()["lines"] == ["before", "a", "end", "after"]
        assert s.results() == [1, 3, 4]
        assert house.done == [1, 2, 3]
        assert house.host.pending == 0

    async def test_a_handler_that_ignores_that_has_no_effect_then(self) -> None:
        house = House(Kept)
        s = house.session()
        house.deliver(s, 1, "add", line="before")
        await house.clock.sleep(1)
        house.shelf.full = True
        house.deliver(s, 2, "swallow")
        await house.clock.sleep(1)
        house.shelf.full = False
        house.deliver(s, 3, "read")
        await house.clock.sleep(5)
        assert [answer.get("code", answer.get("result")) for answer in s.answers()] == [1, "overloaded", ["before"]]
        assert It.caught == ["Overloaded"]
        assert house.host.pending == 0

    async def test_a_flush_that_the_store_finds_too_large_fails_the_call_and_no_other(self) -> None:
        house = House(Kept)
        house.shelf.max_bytes = 2_000
        s = house.session()
        house.deliver(s, 1, "large", size=3_000)
        house.deliver(s, 2, "add", line="after")
        await house.clock.sleep(20)
        assert [answer.get("code", answer.get("result")) for answer in s.answers()] == ["too_large", 1]
        assert len(It.runs) == 2
        assert house.shelf.state()["lines"] == ["after"]
        assert house.host.pending == 0

    async def test_while_the_store_is_away_a_flush_waits(self) -> None:
        house = House(Kept)
        s = house.session()
        house.deliver(s, 1, "add", line="before")
        await house.clock.sleep(1)
        house.shelf.away = True
        house.deliver(s, 2, "steps", names="a")
        await house.clock.sleep(10)
        house.shelf.away = False
        await house.clock.sleep(10)
        assert s.results() == [1, 3]
        assert It.runs == ["a"]

    async def test_regular_flushes_come_one_after_the_other(self) -> None:
        house = House(Kept)
        house.shelf.delay_s = 2.5
        s = house.session()
        s.watch()
        s.listen()
        await house.clock.sleep(3)
        house.deliver(s, 1, "regularly", count=15)
        await house.clock.sleep(20)
        assert groups(s.frames) == [3, 7, 5]
        assert s.results() == [15]
        assert house.host.pending == 0

    async def test_a_regular_flush_that_is_refused_runs_the_call_again(self) -> None:
        house = House(Kept)
        s = house.session()
        house.deliver(s, 1, "add", line="before")
        await house.clock.sleep(1)
        house.shelf.delay_s = 0.5
        house.deliver(s, 2, "regularly", count=5)
        await house.clock.sleep(1.2)
        key = ("it", "x")
        house.shelf.records[key] = type(house.shelf.records[key])(house.shelf.records[key].record, 99)
        house.shelf.saves = 99
        await house.clock.sleep(20)
        assert It.runs == ["regularly", "regularly"]
        assert house.shelf.state()["lines"] == ["before", *"01234"]
        assert house.host.pending == 0
