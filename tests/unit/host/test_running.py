"""Cancelled calls: dropped in the mailbox, rolled back in their turn, left alone once they have taken effect."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import pytest

from tests.unit.host.test_durable import House, Log, raw
from zocket import Actor, method
from zocket.protocol.frames import NO_INPUT, Rpc

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.unit.host.conftest import Bench, Recorder


class It(Actor[Log]):
    """`caught` has what handlers noticed of their cancellation."""

    caught: list[str] = []

    @method
    async def add(self, line: str = "") -> int:
        self.state.count += 1
        self.state.lines.append(line)
        return self.state.count

    @method
    async def nap(self, seconds: float, line: str = "") -> int:
        await self.add(f"in {line}")
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            self.caught.append(line)
            raise
        return await self.add(f"out {line}")

    @method
    async def swallow(self, seconds: float) -> str:
        await self.add("swallowed")
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            self.caught.append("swallowed")
        return "done all the same"

    @method
    async def raise_cancelled(self) -> None:
        raise asyncio.CancelledError

    @method
    async def await_cancelled(self) -> None:
        task = asyncio.ensure_future(asyncio.sleep(10))
        task.cancel()
        await task

    @method
    async def read(self) -> list[str]:
        return self.state.lines


class Kept(It):
    durability = "file"


@pytest.fixture(autouse=True)
def nothing_caught() -> None:
    It.caught.clear()


def cancel(s: Recorder, number: int, actor_id: str = "x") -> bool:
    assert s.session is not None
    return s.host.cancel("it", actor_id, s.session.id, f"r{number}")


def call_bound(s: Recorder, name: str, **given: Any) -> None:
    """A call that ends with its session."""
    s.number += 1
    request = Rpc(raw(s.number), "it", "x", name, raw(given) if given else NO_INPUT, cancel_on_close=True)
    s.host.submit(s, request, f"r{s.number}")


class TestInTheTurn:
    async def test_a_running_call_is_rolled_back_and_answered_and_the_next_one_runs(
        self, bench: Callable[..., Bench]
    ) -> None:
        b = bench(It)
        s = b.session()
        s.watch()
        s.call("nap", seconds=60, line="a")
        s.call("read")
        await b.quiet(1)
        assert cancel(s, 1)
        await b.quiet()
        first, second = s.answers()
        assert (first["code"], first["error"]) == ("cancelled", "nap: the caller has cancelled the call")
        assert second["result"] == []
        assert It.caught == ["a"]
        assert s.kinds().count("state:patch") == 0
        assert b.host.pending == 0

    async def test_a_handler_that_swallows_its_cancellation_has_no_effect_either(
        self, bench: Callable[..., Bench]
    ) -> None:
        b = bench(It)
        s = b.session()
        s.call("swallow", seconds=60)
        await b.quiet(1)
        cancel(s, 1)
        s.call("read")
        await b.quiet()
        assert [answer.get("code", answer.get("result")) for answer in s.answers()] == ["cancelled", []]
        assert It.caught == ["swallowed"]

    async def test_only_the_session_that_made_a_call_cancels_it(self, bench: Callable[..., Bench]) -> None:
        b = bench(It)
        s, other = b.session("s"), b.session("other")
        s.call("nap", seconds=1)
        await b.quiet(0.5)
        assert not cancel(other, 1)
        await b.quiet(1)
        assert s.results() == [2]

    async def test_a_call_that_has_taken_effect_stays(self, bench: Callable[..., Bench]) -> None:
        b = bench(It)
        s = b.session()
        s.call("add")
        await b.quiet()
        assert not cancel(s, 1)
        assert not cancel(s, 1, "nobody")
        await b.quiet()
        assert s.results() == [1]

    async def test_its_time_limit_comes_first(self, bench: Callable[..., Bench]) -> None:
        b = bench(It, handler_timeout_s=1)
        s = b.session()
        s.call("nap", seconds=60)
        await b.quiet(0.999)
        asyncio.get_running_loop().call_later(0.001, cancel, s, 1)
        await b.quiet(1)
        assert [answer["code"] for answer in s.answers()] == ["handler_timeout"]

    @pytest.mark.parametrize("name", ["raise_cancelled", "await_cancelled"])
    async def test_a_cancelled_error_of_the_handlers_own_is_no_cancellation(
        self, bench: Callable[..., Bench], name: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        b = bench(It)
        s = b.session()
        with caplog.at_level(logging.ERROR, "zocket.host"):
            s.call(name)
            await b.quiet()
        assert [answer["code"] for answer in s.answers()] == ["internal"]
        s.call("add")
        await b.quiet()
        assert s.answers()[1]["result"] == 1

    async def test_a_caller_in_this_process_cancels_by_not_waiting(self, bench: Callable[..., Bench]) -> None:
        b = bench(It)
        call = asyncio.ensure_future(b.host.call("it", "x", "nap", b'{"seconds":60,"line":"a"}', 100))
        await b.quiet(1)
        call.cancel()
        await b.quiet()
        assert It.caught == ["a"]
        assert b.host.pending == 0


class TestInTheMailbox:
    async def test_a_waiting_call_is_answered_at_once_and_never_runs(self, bench: Callable[..., Bench]) -> None:
        b = bench(It)
        s, done = b.session(), list[int]()
        s.call("nap", seconds=10, line="a")
        s.call("add", line="b", done=lambda: done.append(2))
        s.call("add", line="c")
        await b.quiet(1)
        assert cancel(s, 2)
        assert cancel(s, 2)
        assert [(answer["id"], answer["code"]) for answer in s.answers()] == [(2, "cancelled")]
        await b.quiet(20)
        s.call("read")
        await b.quiet()
        assert s.results()[3] == ["in a", "out a", "c"]
        assert [answer["id"] for answer in s.answers()] == [1, 2, 3, 4]
        assert done == [2]
        assert b.host.pending == 0


class TestTheEndOfTheSession:
    async def test_cancels_what_asked_for_it_and_nothing_else(self, bench: Callable[..., Bench]) -> None:
        b = bench(It)
        s, plain, other = b.session("s"), b.session("plain"), b.session("other")
        call_bound(s, "nap", seconds=10, line="bound")
        plain.call("nap", actor_id="y", seconds=10, line="plain")
        await b.quiet(1)
        b.host.sessions.disconnect("s")
        b.host.sessions.disconnect("plain")
        await b.quiet(20)
        other.call("read")
        other.call("read", actor_id="y")
        await b.quiet()
        assert It.caught == ["bound"]
        assert other.results() == [[], ["in plain", "out plain"]]

    async def test_what_waits_does_not_begin(self, bench: Callable[..., Bench]) -> None:
        b = bench(It)
        s, other = b.session("s"), b.session("other")
        other.call("nap", seconds=5, line="first")
        call_bound(s, "add", line="bound")
        s.call("add", line="plain")
        await b.quiet(1)
        b.host.sessions.disconnect("s")
        await b.quiet(10)
        other.call("read")
        await b.quiet()
        assert other.results()[1] == ["in first", "out first", "plain"]

    async def test_also_by_the_death_of_its_gateway(self, bench: Callable[..., Bench]) -> None:
        b = bench(It)
        s = b.session("s")
        call_bound(s, "nap", seconds=10, line="bound")
        await b.quiet(1)
        b.host.sessions.lapse(s)
        await b.quiet()
        assert It.caught == ["bound"]


class TestADurableInstance:
    async def test_a_call_that_was_answered_cancelled_has_no_effect_when_it_comes_again(self) -> None:
        house = House(Kept)
        s = house.session()
        house.deliver(s, 1, "nap", seconds=60, line="a")
        house.deliver(s, 2, "nap", seconds=1, line="b")
        house.deliver(s, 3, "add", line="c")
        await house.clock.sleep(1)
        assert cancel(s, 1)
        await house.clock.sleep(0.5)
        assert cancel(s, 3)
        await house.clock.sleep(5)
        assert [answer.get("code", answer.get("result")) for answer in s.answers()] == ["cancelled", 2, "cancelled"]
        assert house.done == [1, 2, 3]
        await house.restart()
        again = house.session("s")
        for sequence, name in enumerate(("nap", "nap", "add"), 1):
            house.deliver(again, sequence, name, **({"line": "c"} if name == "add" else {"seconds": 0, "line": "ab"}))
        await house.clock.sleep(5)
        assert [answer.get("code", answer.get("result")) for answer in again.answers()] == ["repeated", 2, "cancelled"]
        assert house.shelf.state()["lines"] == ["in b", "out b"]

    async def test_also_if_nothing_else_was_to_be_stored(self) -> None:
        house = House(Kept)
        s = house.session()
        house.deliver(s, 1, "nap", seconds=60, line="a")
        await house.clock.sleep(1)
        assert cancel(s, 1)
        await house.clock.sleep(1)
        assert house.done == [1]
        await house.restart()
        again = house.session("s")
        house.deliver(again, 1, "add", line="a")
        await house.clock.sleep(1)
        assert [answer["code"] for answer in again.answers()] == ["cancelled"]
        assert house.shelf.state()["lines"] == []

    async def test_a_waiting_call_keeps_its_place_so_that_nothing_before_it_is_taken_for_done(self) -> None:
        house = House(Kept)
        s = house.session()
        house.deliver(s, 1, "nap", seconds=5, line="a")
        house.deliver(s, 2, "add", line="b")
        house.deliver(s, 3, "add", line="c")
        await house.clock.sleep(1)
        assert cancel(s, 3)
        assert s.answers() == []
        await house.restart()
        again = house.session("s")
        for sequence, name in enumerate(("add", "add", "add"), 1):
            house.deliver(again, sequence, name, line=str(sequence))
        await house.clock.sleep(5)
        assert house.shelf.state()["lines"] == ["1", "2", "3"]

    async def test_a_call_that_ran_before_it_was_delivered_again_gets_its_answer(self) -> None:
        house = House(Kept)
        s = house.session()
        house.deliver(s, 1, "add", line="a")
        await house.clock.sleep(1)
        await house.restart()
        again = house.session("s")
        house.deliver(again, 1, "add", line="a")
        assert cancel(again, 1)
        await house.clock.sleep(1)
        assert again.results() == [1]
        assert house.host.pending == 0

    async def test_an_instance_that_leaves_memory_takes_the_cancellation_along(self) -> None:
        leaving = asyncio.Event()

        class Leaving(Kept):
            async def on_deactivate(self) -> None:
                leaving.set()
                await asyncio.sleep(1)

        house = House(Leaving)
        s = house.session()
        house.deliver(s, 1, "add", line="a")
        await leaving.wait()
        house.deliver(s, 2, "add", line="b")
        house.deliver(s, 3, "add", line="c")
        assert cancel(s, 2)
        await house.clock.sleep(5)
        assert [answer.get("code", answer.get("result")) for answer in s.answers()] == [1, "cancelled", 2]
        assert house.done == [1, 2, 3]
        assert house.host.pending == 0

    async def test_a_call_that_waits_for_the_store_is_not_cancelled(self) -> None:
        house = House(Kept)
        house.shelf.delay_s = 1.0
        s = house.session()
        house.deliver(s, 1, "add", line="a")
        await house.clock.sleep(1.5)
        assert not cancel(s, 1)
        await house.clock.sleep(5)
        assert s.results() == [1]


async def test_hooks_are_no_calls(bench: Callable[..., Bench]) -> None:
    class Slow(It):
        async def on_connect(self) -> None:
            await asyncio.sleep(1)
            self.state.lines.append(f"+{self.session.id}")

    b = bench(Slow)
    s = b.session()
    s.call("read")
    await b.quiet(0.5)
    assert not s.host.cancel("it", "x", "s1", "")
    await b.quiet(1)
    assert s.results() == [["+s1"]]
