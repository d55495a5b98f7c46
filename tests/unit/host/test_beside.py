"""Queries and what else runs beside a turn: committed state, never the open turn, no trace."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import pytest

from tests.unit.host.test_durable import House, Log, raw
from zocket import Actor, Call, CallNext, Event, method, query
from zocket.core import AppDefinition
from zocket.errors import DefinitionError
from zocket.protocol.frames import NO_INPUT, Rpc

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.unit.host.conftest import Bench


class It(Actor[Log]):
    told = Event[str]()
    plain = "of the class"
    asked: list[str] = []

    @method
    async def add(self, line: str) -> int:
        self.plain = line
        self.state.lines.append(line)
        return len(self.state.lines)

    @method
    async def nap(self, line: str, seconds: float) -> int:
        await self.add(line)
        await asyncio.sleep(seconds)
        return len(self.state.lines)

    @query
    async def lines(self, seconds: float = 0.0) -> list[list[str]]:
        before = list(self.state.lines)
        if seconds:
            await asyncio.sleep(seconds)
        return [before, self.state.lines]

    @query
    async def surroundings(self) -> list[Any]:
        self.asked.append(self.message_id)
        seen = [self.id, self.session.id, self.caller.kind, self.ctx, self.plain, list(self.clients)]
        self.plain = "of the query"
        return seen

    @query(timeout_s=1)
    async def slow(self) -> None:
        await asyncio.sleep(60)

    @query
    async def misuse(self, how: str) -> None:
        match how:
            case "write":
                self.state.lines.append("x")
            case "assign":
                self.state.count = 1
            case "emit":
                self.told.emit("x")
            case "flush":
                await self.flush()
            case "cancel":
                self.cancel_running()

    @query
    async def each(self) -> AsyncIterator[str]:
        for line in self.state.lines:
            await asyncio.sleep(0.1)
            yield line

    @method(beside=True)
    async def stop(self) -> bool:
        return self.cancel_running()

    @method
    async def stop_myself(self) -> bool:
        return self.cancel_running()


class Kept(It):
    durability = "file"


@pytest.fixture(autouse=True)
def nothing_asked() -> None:
    It.asked.clear()


class TestTheState:
    async def test_a_query_does_not_wait_for_the_turn_in_progress_and_does_not_see_it(
        self, bench: Callable[..., Bench]
    ) -> None:
        b = bench(It)
        s = b.session()
        s.call("add", line="a")
        s.call("nap", line="b", seconds=10)
        await b.quiet(1)
        s.call("lines")
        await b.quiet()
        assert s.results() == [1, [["a"], ["a"]]]
        await b.quiet(10)
        s.call("lines")
        await b.quiet()
        assert s.results()[2:] == [[["a"], ["a"]], [["a", "b"], ["a", "b"]]]

    async def test_one_that_waits_itself_reads_one_state_to_its_end(self, bench: Callable[..., Bench]) -> None:
        b = bench(It)
        s = b.session()
        s.call("add", line="a")
        s.call("lines", seconds=5)
        await b.quiet(1)
        s.call("nap", line="b", seconds=2)
        s.call("add", line="c")
        await b.quiet(3)
        assert s.results() == [1, 2, 3]
        await b.quiet(2)
        assert s.answers()[1]["result"] == [["a"], ["a"]]

    async def test_a_state_of_which_a_turn_was_rolled_back_is_as_it_was(self, bench: Callable[..., Bench]) -> None:
        b = bench(It, handler_timeout_s=1)
        s = b.session()
        s.call("add", line="a")
        s.call("nap", line="b", seconds=10)
        await b.quiet(2)
        s.call("lines")
        await b.quiet()
        assert s.answers()[2]["result"] == [["a"], ["a"]]

    async def test_of_a_durable_instance_what_is_stored_is_read(self) -> None:
        house = House(Kept)
        house.shelf.delay_s = 1.0
        s = house.session()
        house.deliver(s, 1, "add", line="a")
        house.deliver(s, 2, "lines")
        await house.clock.sleep(1.5)
        assert s.results() == [[[], []]], "loaded, and the first turn is on its way to the store"
        house.deliver(s, 3, "lines")
        await house.clock.sleep(1)
        house.deliver(s, 4, "lines")
        await house.clock.sleep(1)
        assert s.results() == [1, [[], []], [[], []], [["a"], ["a"]]]
        assert house.shelf.saves == 1

    async def test_it_is_copied_once_for_all_queries(self, bench: Callable[..., Bench]) -> None:
        states = []

        class Shared(It):
            @query
            async def share(self) -> None:
                await asyncio.sleep(0)
                states.append(self.state)

        b = bench(Shared)
        s = b.session()
        s.call("share")
        s.call("share")
        await b.quiet()
        s.call("add", line="a")
        await b.quiet()
        s.call("share")
        await b.quiet()
        assert states[0] is states[1]
        assert states[0] is not states[2]

    async def test_one_that_never_waits_reads_a_state_at_rest_as_it_is_and_cannot_write_to_it(
        self, bench: Callable[..., Bench], caplog: pytest.LogCaptureFixture
    ) -> None:
        states = []

        class Plain(It):
            @query
            async def share(self) -> int:
                states.append(self.state)
                return len(self.state.lines)

            @query
            async def write(self) -> None:
                self.state.lines.append("x")

        b = bench(Plain)
        s = b.session()
        s.call("add", line="a")
        await b.quiet()
        s.call("share")
        s.call("share")
        s.call("write")
        await b.quiet()
        s.call("nap", line="b", seconds=5)
        await b.quiet(1)
        s.call("share")
        await b.quiet(5)
        s.call("share")
        await b.quiet()
        assert [answer.get("result", answer.get("code")) for answer in s.answers()] == [1, 1, 1, "internal", 2, 1, 2]
        live, again, copied, later = states
        assert live is again is later
        assert copied is not live

    async def test_with_middleware_even_that_one_reads_a_copy(self, bench: Callable[..., Bench]) -> None:
        async def delay(call: Call, call_next: CallNext) -> Any:
            result = await call_next(call)
            await asyncio.sleep(1 if call.method == "share" else 0)
            return result

        class Plain(It):
            @query
            async def share(self) -> list[str]:
                return self.state.lines

        b = bench(Plain, middleware=[delay])
        s = b.session()
        s.call("share")
        await b.quiet(0.5)
        s.call("nap", line="a", seconds=5)
        await b.quiet(1)
        assert s.results() == [[]]


class TestWhatAQueryMayNot:
    @pytest.mark.parametrize("how", ["write", "assign", "emit", "flush", "cancel"])
    async def test_it_leaves_no_trace(
        self, bench: Callable[..., Bench], how: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        b = bench(It)
        s = b.session()
        s.watch()
        s.listen()
        s.call("nap", line="a", seconds=1)
        await b.quiet(0.5)
        with caplog.at_level(logging.ERROR, "zocket.host"):
            s.call("misuse", how=how)
            await b.quiet()
        assert [answer["code"] for answer in s.answers()] == ["internal"]
        assert "UsageError" in caplog.text or "StaleReferenceError" in caplog.text
        await b.quiet(1)
        s.call("lines")
        await b.quiet()
        assert s.results()[0::2] == [1, [["a"], ["a"]]]
        assert s.kinds().count("event") == 0
        assert s.kinds().count("state:patch") == 1

    async def test_what_it_sets_on_itself_stays_with_it(self, bench: Callable[..., Bench]) -> None:
        async def around(call: Call, call_next: CallNext) -> Any:
            call.ctx = call.method
            return await call_next(call)

        b = bench(It, middleware=[around])
        s = b.session("s9")
        s.call("surroundings")
        s.call("add", line="plain")
        s.call("surroundings")
        await b.quiet()
        s.call("surroundings")
        await b.quiet()
        first, _, second, third = s.results()
        assert first == ["x", "s9", "client", "surroundings", "of the class", ["s9"]]
        assert second[4] in ("of the class", "plain")
        assert third[4] == "plain"


class TestItsPlace:
    async def test_before_the_instance_is_active_it_waits(self, bench: Callable[..., Bench]) -> None:
        class Slow(It):
            async def on_activate(self) -> None:
                await asyncio.sleep(1)
                self.state.lines.append("active")

        b = bench(Slow)
        s = b.session()
        s.call("lines")
        await b.quiet(0.5)
        assert s.results() == []
        await b.quiet(1)
        assert s.results() == [[["active"], ["active"]]]
        assert b.host.pending == 0

    async def test_an_idle_instance_greets_a_new_session_first_and_a_busy_one_later(
        self, bench: Callable[..., Bench]
    ) -> None:
        class Greeting(It):
            async def on_connect(self) -> None:
                self.state.lines.append(f"+{self.session.id}")

        b = bench(Greeting)
        first, second = b.session("first"), b.session("second")
        first.call("lines")
        await b.quiet()
        assert first.results() == [[["+first"], ["+first"]]]
        first.call("nap", line="a", seconds=5)
        await b.quiet(1)
        second.call("lines")
        await b.quiet()
        assert second.results() == [[["+first"], ["+first"]]]
        await b.quiet(5)
        second.call("lines")
        await b.quiet()
        assert second.results()[1][0] == ["+first", "a", "+second"]

    async def test_delivered_again_it_runs_again(self) -> None:
        house = House(Kept)
        s = house.session()
        house.deliver(s, 1, "lines")
        house.deliver(s, 2, "add", line="a")
        await house.clock.sleep(1)
        await house.restart()
        again = house.session()
        house.deliver(again, 1, "lines")
        house.deliver(again, 2, "add", line="a")
        await house.clock.sleep(1)
        assert again.results() == [[["a"], ["a"]], 1]
        assert sorted(house.done) == [1, 1, 2, 2]

    async def test_an_idempotency_key_means_nothing_to_it(self, bench: Callable[..., Bench]) -> None:
        b = bench(It)
        s = b.session()
        for number in (1, 2):
            request = Rpc(raw(number), "it", "x", "surroundings", NO_INPUT, idempotency_key="k")
            s.host.submit(s, request, f"r{number}")
        await b.quiet()
        assert len(It.asked) == 2


class TestItsEnd:
    async def test_it_has_a_time_limit(self, bench: Callable[..., Bench], caplog: pytest.LogCaptureFixture) -> None:
        b = bench(It)
        s = b.session()
        s.call("nap", line="a", seconds=5)
        s.call("slow")
        await b.quiet(2)
        [answer] = s.answers()
        assert (answer["code"], answer["error"]) == ("handler_timeout", "slow: ran longer than its limit of 1 s")
        await b.quiet(5)
        assert s.results()[0] == 1

    async def test_its_caller_cancels_it_and_nothing_else(self, bench: Callable[..., Bench]) -> None:
        b = bench(It)
        s = b.session()
        s.call("nap", line="a", seconds=5)
        s.call("lines", seconds=60)
        await b.quiet(1)
        assert s.host.cancel("it", "x", "s1", "r2")
        await b.quiet(5)
        assert [answer.get("code", answer.get("result")) for answer in s.answers()] == [1, "cancelled"]
        assert b.host.pending == 0

    async def test_it_may_be_a_stream(self, bench: Callable[..., Bench]) -> None:
        b = bench(It)
        s = b.session()
        s.call("add", line="a")
        s.call("add", line="b")
        await b.quiet()
        s.call("each")
        await b.quiet(0.15)
        s.call("add", line="c")
        await b.quiet(1)
        assert [frame.get("chunk") for frame in s.frames if frame["id"] == 3] == ["a", "b", None]
        assert s.answers()[2] == {"type": "rpc:result", "id": 3, "seq": 2}

    async def test_a_stop_waits_for_it(self, bench: Callable[..., Bench]) -> None:
        b = bench(It)
        s = b.session()
        s.call("lines", seconds=1)
        await b.quiet(0.5)
        assert b.host.pending == 1
        assert await b.host.drain(5)
        assert s.results() == [[[], []]]
        s.call("lines", seconds=60)
        await b.quiet()
        await b.host.abort()
        assert len(s.answers()) == 1


class TestCancellingTheTurn:
    async def test_a_method_beside_it_cancels_whichever_call_runs(self, bench: Callable[..., Bench]) -> None:
        b = bench(It)
        s, other = b.session("s"), b.session("other")
        s.call("nap", line="a", seconds=60)
        await b.quiet(1)
        other.call("stop")
        other.call("stop", actor_id="y")
        await b.quiet()
        assert (s.answers()[0]["code"], s.answers()[0]["error"]) == ("cancelled", "nap: cancelled by stop")
        assert other.results() == [True, False]
        other.call("stop")
        other.call("lines")
        await b.quiet()
        assert other.results()[2:] == [False, [[], []]]

    async def test_a_hook_is_not_cancelled(self, bench: Callable[..., Bench]) -> None:
        class Slow(It):
            async def on_connect(self) -> None:
                await asyncio.sleep(1)

        b = bench(Slow)
        s, other = b.session("s"), b.session("other")
        s.call("add", line="a")
        await b.quiet(0.5)
        other.call("stop")
        await b.quiet()
        assert other.results() == [False]

    async def test_only_a_method_beside_it_may(
        self, bench: Callable[..., Bench], caplog: pytest.LogCaptureFixture
    ) -> None:
        b = bench(It)
        s = b.session()
        with caplog.at_level(logging.ERROR, "zocket.host"):
            s.call("stop_myself")
            await b.quiet()
        assert "only for methods with @method(beside=True)" in caplog.text


def test_what_runs_beside_a_turn_has_nothing_to_publish() -> None:
    class Broken(Actor[Log]):
        @method(beside=True, publish_every=1)
        async def go(self) -> None: ...

    with pytest.raises(DefinitionError, match=r"Broken\.go: what runs beside a turn changes nothing"):
        AppDefinition({"it": Broken})
