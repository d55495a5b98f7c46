"""Methods that yield: chunks before the result, no faster than they are taken, and one turn all the same."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import BaseModel

from tests.unit.host.test_durable import House, Log
from zocket import Actor, ActorError, Call, CallNext, method
from zocket.errors import CallTimeout
from zocket.host.streams import BLIND_PAUSE_S, WINDOW_CHUNKS

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.unit.host.conftest import Bench, Recorder


class Line(BaseModel):
    text: str


class It(Actor[Log]):
    """`made` counts what generators have yielded, `ended` how they ended."""

    made = 0
    ended: list[str] = []

    @method
    async def words(self, text: str, pause_s: float = 0.0) -> AsyncIterator[str]:
        for word in text.split():
            if pause_s:
                await asyncio.sleep(pause_s)
            self.state.lines.append(word)
            yield word

    @method(timeout_s=2)
    async def count(self, to: int, size: int = 0, pause_s: float = 0.0) -> AsyncIterator[str]:
        try:
            for number in range(1, to + 1):
                It.made = number
                yield str(number) + "x" * size
                if pause_s:
                    await asyncio.sleep(pause_s)
        except BaseException as error:
            It.ended.append(type(error).__name__)
            raise

    @method
    async def fail(self) -> AsyncIterator[int]:
        self.state.count += 1
        yield 1
        raise ActorError("no more", code="over")

    @method
    async def wrong(self) -> AsyncIterator[Line]:
        yield Line(text="right")
        yield 5  # type: ignore[misc]

    @method
    async def read(self) -> list[str]:
        return self.state.lines


class Kept(It):
    durability = "file"


@pytest.fixture(autouse=True)
def nothing_made() -> None:
    It.made = 0
    It.ended.clear()


def credit(s: Recorder, call_number: int, number: int) -> None:
    assert s.session is not None
    s.host.credit(s.session.id, f"r{call_number}", number)


class TestChunks:
    async def test_come_in_order_before_the_patch_and_a_result_of_nothing(self, bench: Callable[..., Bench]) -> None:
        b = bench(It)
        s = b.session()
        s.watch()
        s.call("words", text="a b", pause_s=1)
        await b.quiet(1.5)
        assert s.frames[1:] == [{"type": "rpc:stream", "id": 1, "seq": 1, "chunk": "a"}]
        await b.quiet(1)
        assert [frame["type"] for frame in s.frames[1:]] == ["rpc:stream", "rpc:stream", "state:patch", "rpc:result"]
        assert s.frames[-1] == {"type": "rpc:result", "id": 1, "seq": 2}
        assert b.host.pending == 0

    async def test_an_error_after_them_drops_what_the_turn_changed(self, bench: Callable[..., Bench]) -> None:
        b = bench(It)
        s = b.session()
        s.watch()
        s.call("fail")
        await b.quiet()
        assert [frame["type"] for frame in s.frames[1:]] == ["rpc:stream", "rpc:result"]
        assert s.frames[-1]["code"] == "over"

    async def test_one_that_does_not_fit_its_annotation_ends_the_call(self, bench: Callable[..., Bench]) -> None:
        b = bench(It)
        s = b.session()
        s.call("wrong")
        await b.quiet()
        assert s.frames[0]["chunk"] == {"text": "right"}
        assert [answer["code"] for answer in s.answers()] == ["internal"]

    async def test_one_over_the_limit_ends_the_call(self, bench: Callable[..., Bench]) -> None:
        b = bench(It, max_result_bytes=1_024)
        s = b.session()
        s.call("count", to=1, size=2_000)
        await b.quiet()
        assert [frame.get("code") for frame in s.frames] == ["too_large"]

    async def test_middleware_runs_around_all_of_them(self, bench: Callable[..., Bench]) -> None:
        seen: list[Any] = []

        async def around(call: Call, call_next: CallNext) -> Any:
            seen.append(call.arguments["text"])
            seen.append(await call_next(call))
            return None

        b = bench(It, middleware=[around])
        s = b.session()
        s.call("words", text="a b")
        await b.quiet()
        assert s.kinds() == ["rpc:stream", "rpc:stream", "rpc:result"]
        assert seen == ["a b", None]


class TestBackPressure:
    async def test_the_generator_waits_while_a_window_of_chunks_is_not_taken(self, bench: Callable[..., Bench]) -> None:
        b = bench(It)
        s = b.session()
        s.call("count", to=WINDOW_CHUNKS + 20)
        await b.quiet(1)
        assert It.made == WINDOW_CHUNKS
        credit(s, 1, 16)
        await b.quiet(1)
        assert It.made == WINDOW_CHUNKS + 16
        credit(s, 1, WINDOW_CHUNKS)
        await b.quiet(1)
        assert s.frames[-1]["type"] == "rpc:result"

    async def test_or_a_window_of_bytes(self, bench: Callable[..., Bench]) -> None:
        b = bench(It)
        s = b.session()
        s.call("count", to=10, size=100_000)
        await b.quiet(1)
        assert It.made == 3
        credit(s, 1, 1)
        await b.quiet(0.5)
        assert It.made == 4

    async def test_a_gateway_that_does_not_credit_gets_a_window_at_a_time(self, bench: Callable[..., Bench]) -> None:
        b = bench(It)
        s = b.session()
        s.credits = False
        s.call("count", to=3 * WINDOW_CHUNKS)
        await b.quiet(BLIND_PAUSE_S / 2)
        assert It.made == WINDOW_CHUNKS
        await b.quiet(BLIND_PAUSE_S)
        assert It.made == 2 * WINDOW_CHUNKS
        await b.quiet(2 * BLIND_PAUSE_S)
        assert s.frames[-1] == {"type": "rpc:result", "id": 1, "seq": 3 * WINDOW_CHUNKS}

    async def test_a_caller_that_takes_nothing_does_not_hold_the_instance_for_ever(
        self, bench: Callable[..., Bench]
    ) -> None:
        b = bench(It)
        s = b.session()
        s.call("count", to=1_000)
        s.call("read")
        await b.quiet(3)
        assert [answer.get("code", answer.get("result")) for answer in s.answers()] == ["handler_timeout", []]
        assert It.ended == ["GeneratorExit"]


class TestTheTimeLimit:
    async def test_is_that_between_two_chunks(self, bench: Callable[..., Bench]) -> None:
        b = bench(It)
        s = b.session()
        s.call("count", to=5, pause_s=1.5)
        await b.quiet(10)
        assert s.kinds() == ["rpc:stream"] * 5 + ["rpc:result"]
        assert "code" not in s.frames[-1]
        s.call("count", to=5, pause_s=2.5)
        await b.quiet(1.9)
        assert len(s.answers()) == 1
        await b.quiet(0.2)
        assert s.frames[-1]["code"] == "handler_timeout"
        assert It.ended == ["CancelledError"]

    async def test_begins_anew_when_chunks_have_been_taken(self, bench: Callable[..., Bench]) -> None:
        b = bench(It)
        s = b.session()
        s.call("count", to=2, size=300_000, pause_s=1.5)
        await b.quiet(1.5)
        credit(s, 1, 1)
        await b.quiet(1.6)
        credit(s, 1, 2)
        await b.quiet(5)
        assert s.kinds() == ["rpc:stream"] * 2 + ["rpc:result"]
        assert "code" not in s.frames[-1]


class TestTheEnd:
    async def test_of_the_session_cancels(self, bench: Callable[..., Bench]) -> None:
        b = bench(It)
        s, other = b.session("s"), b.session("other")
        s.call("words", text="a b c", pause_s=1)
        await b.quiet(1.5)
        b.host.sessions.disconnect("s")
        other.call("read")
        await b.quiet()
        assert other.results() == [[]]

    async def test_a_stream_that_waits_for_its_turn_does_not_begin_then(self, bench: Callable[..., Bench]) -> None:
        b = bench(It)
        s, other = b.session("s"), b.session("other")
        other.call("words", text="a", pause_s=1)
        s.call("count", to=5)
        await b.quiet(0.5)
        b.host.sessions.disconnect("s")
        await b.quiet(1)
        assert It.made == 0
        assert b.host.pending == 0


class TestFromThisProcess:
    async def test_whoever_iterates_sets_the_pace_and_cancels_by_leaving(self, bench: Callable[..., Bench]) -> None:
        b = bench(It)
        chunks = b.host.stream("it", "x", "count", b'{"to":1000}', 10)
        assert await anext(chunks) == b'"1"'
        await b.quiet(1)
        assert It.made == WINDOW_CHUNKS
        for number in range(2, 11):
            assert await anext(chunks) == b'"%d"' % number
        await b.quiet()
        assert It.made == WINDOW_CHUNKS + 9
        await chunks.aclose()
        await b.quiet()
        assert It.ended == ["GeneratorExit"]
        assert b.host.pending == 0

    async def test_it_ends_with_the_methods_end_or_its_error(self, bench: Callable[..., Bench]) -> None:
        b = bench(It)
        assert [chunk async for chunk in b.host.stream("it", "x", "words", b'{"text":"a b"}', 10)] == [b'"a"', b'"b"']
        with pytest.raises(ActorError, match="no more"):
            _ = [chunk async for chunk in b.host.stream("it", "x", "fail", None, 10)]
        with pytest.raises(CallTimeout, match=r"it\.words: neither a chunk nor the end within 5 s"):
            _ = [chunk async for chunk in b.host.stream("it", "x", "words", b'{"text":"a","pause_s":9}', 5)]

    async def test_whoever_asks_for_the_result_alone_gets_no_chunks(self, bench: Callable[..., Bench]) -> None:
        b = bench(It)
        answer = await b.host.call("it", "x", "count", b'{"to":1000}', 10)
        assert (answer.error, answer.result, It.made) == (None, None, 1_000)


async def test_the_chunks_of_a_durable_instance_leave_at_once_and_its_answer_when_it_is_stored() -> None:
    house = House(Kept)
    house.shelf.delay_s = 1.0
    s = house.session()
    house.deliver(s, 1, "words", text="a b")
    await house.clock.sleep(1.5)
    assert s.kinds() == ["rpc:stream", "rpc:stream"]
    await house.clock.sleep(1)
    assert s.kinds()[2:] == ["rpc:result"]
    assert house.shelf.state()["lines"] == ["a", "b"]
