"""Calls with an idempotency key: one effect and one answer over every retry, in memory and durable alike."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from tests.unit.host.test_durable import House, Log
from zocket import Actor, ActorError, method
from zocket.errors import Overloaded
from zocket.host.answers import KEPT_S, MAX_KEYS
from zocket.host.store import Position
from zocket.protocol.frames import NO_INPUT, Rpc

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.unit.host.conftest import Bench, Recorder


class Till(Actor[Log]):
    """Counts what runs in `runs`, which no rollback undoes."""

    runs: list[str] = []

    @method
    async def pay(self, line: str = "") -> int:
        self.runs.append(self.message_id)
        self.state.count += 1
        self.state.lines.append(line)
        return self.state.count

    @method
    async def pay_slowly(self, line: str, seconds: float) -> int:
        await asyncio.sleep(seconds)
        return await self.pay(line)

    @method
    async def void(self) -> None:
        await self.pay()

    @method
    async def fail(self, code: str = "broke") -> None:
        self.runs.append(self.message_id)
        raise ActorError(f"no, at {len(self.runs)}", code=code, data={"at": len(self.runs)})

    @method
    async def crash(self) -> None:
        self.runs.append(self.message_id)
        raise ValueError("a bug")

    @method
    async def refuse(self) -> None:
        self.runs.append(self.message_id)
        raise Overloaded("the bank is busy")

    @method(timeout_s=1)
    async def hang(self) -> None:
        self.runs.append(self.message_id)
        await asyncio.sleep(60)

    @method
    async def large(self, size: int) -> str:
        self.runs.append(self.message_id)
        return "x" * size

    @method
    async def read(self) -> int:
        return self.state.count

    @method
    async def name(self) -> str:
        return self.message_id


class KeptTill(Till):
    durability = "file"


@pytest.fixture(autouse=True)
def no_runs() -> None:
    Till.runs.clear()


def ask(
    link: Recorder, name: str, key: str = "", actor_id: str = "x", position: Position | None = None, **given: Any
) -> int:
    """Calls a method; the id of the call."""
    link.number += 1
    body = msgspec.Raw(msgspec.json.encode(given)) if given else NO_INPUT
    request = Rpc(msgspec.Raw(b"%d" % link.number), "it", actor_id, name, body, key)
    link.host.submit(link, request, f"abc.{link.number}", None, position)
    return link.number


def said(frame: dict[str, Any]) -> dict[str, Any]:
    """An answer without its id."""
    return {name: value for name, value in frame.items() if name != "id"}


# -- in memory -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "given"),
    [("pay", {"line": "a"}), ("void", {}), ("fail", {}), ("crash", {}), ("pay", {"line": 5}), ("large", {"size": 9})],
)
async def test_a_retry_gets_the_same_answer_and_runs_nothing(
    bench: Callable[..., Bench], name: str, given: dict[str, Any]
) -> None:
    made = bench(Till)
    first, second = made.session("s1", "alice"), made.session("s2", "alice")
    second.number = 10
    ask(first, name, "k", **given)
    await made.quiet()
    runs = len(Till.runs)
    ask(second, name, "k", **given)
    ask(second, "read")
    await made.quiet()
    answer, read = second.answers()
    assert answer["id"] == 11
    assert said(answer) == said(first.answers()[0])
    assert len(Till.runs) == runs
    assert read["result"] == (1 if name == "void" or given == {"line": "a"} else 0)


async def test_a_retry_while_the_first_one_waits_or_runs_waits_behind_it(bench: Callable[..., Bench]) -> None:
    made = bench(Till)
    s = made.session()
    for _ in range(3):
        ask(s, "pay_slowly", "k", line="a", seconds=2)
    await made.quiet(1)
    assert s.answers() == []
    await made.quiet(2)
    assert s.results() == [1, 1, 1]
    assert len(Till.runs) == 1


@pytest.mark.parametrize("name", ["refuse", "hang", "fail"])
async def test_what_passes_and_what_ran_out_of_time_is_no_answer_and_runs_again(
    bench: Callable[..., Bench], name: str
) -> None:
    made = bench(Till)
    s = made.session()
    given: dict[str, Any] = {"code": "unavailable"} if name == "fail" else {}
    ask(s, name, "k", **given)
    await made.quiet(2)
    ask(s, name, "k", **given)
    await made.quiet(2)
    assert len(Till.runs) == 2
    assert len(set(Till.runs)) == 1


async def test_a_key_with_another_method_or_input_is_refused(bench: Callable[..., Bench]) -> None:
    made = bench(Till)
    s = made.session()
    ask(s, "pay", "k", line="a")
    ask(s, "pay", "k", line="b")
    ask(s, "void", "k")
    ask(s, "pay", "k", line="a")
    await made.quiet()
    assert [frame.get("code") for frame in s.answers()] == [None, "idempotency_mismatch", "idempotency_mismatch", None]
    assert [frame.get("requestId") for frame in s.answers()[1:3]] == ["abc.2", "abc.3"]
    assert len(Till.runs) == 1


async def test_a_key_is_the_users_and_the_instances_own(bench: Callable[..., Bench]) -> None:
    made = bench(Till)
    alice, bob, nobody, anyone = (
        made.session("s1", "alice"),
        made.session("s2", "bob"),
        made.session("s3"),
        made.session("s4"),
    )
    for link in (alice, bob, nobody, anyone):
        ask(link, "pay", "k", line="a")
        await made.quiet()
    assert [link.results() for link in (alice, bob, nobody, anyone)] == [[1], [2], [3], [3]]
    ask(alice, "pay", "k", "y", line="a")
    await made.quiet()
    assert alice.results() == [1, 1]
    assert len(Till.runs) == len(set(Till.runs)) == 4


async def test_a_key_is_forgotten_ten_minutes_after_its_answer(bench: Callable[..., Bench]) -> None:
    made = bench(Till)
    s = made.session()
    ask(s, "pay", "k")
    await made.quiet(KEPT_S - 2)
    ask(s, "pay", "k")
    await made.quiet(3)
    ask(s, "pay", "k")
    await made.quiet()
    assert s.results() == [1, 1, 2]


async def test_an_answer_that_is_too_large_to_keep_is_repeated_as_gone_and_not_run(bench: Callable[..., Bench]) -> None:
    made = bench(Till)
    s = made.session()
    for _ in range(2):
        ask(s, "large", "k", size=100_000)
        await made.quiet()
    assert len(s.answers()[0]["result"]) == 100_000
    assert s.answers()[1]["code"] == "repeated"
    assert len(Till.runs) == 1


async def test_calls_without_a_key_make_no_table(bench: Callable[..., Bench]) -> None:
    made = bench(Till)
    s = made.session()
    ask(s, "pay")
    ask(s, "pay")
    await made.quiet()
    [resident] = made.host._residents.values()
    assert s.results() == [1, 2]
    assert resident.answered is None


# -- the name of a call --------------------------------------------------------------------------------------------


async def test_the_message_id_is_the_same_over_retries_and_no_other_calls(bench: Callable[..., Bench]) -> None:
    made = bench(Till)
    first, second = made.session("s_1", "alice"), made.session("s_2", "alice")
    ask(first, "refuse", "k")
    ask(second, "refuse", "k")
    ask(second, "refuse", "l")
    ask(second, "refuse", "k", "y")
    await made.quiet()
    assert Till.runs[0] == Till.runs[1]
    assert len(set(Till.runs)) == 3


async def test_without_a_key_the_message_id_names_session_and_message(bench: Callable[..., Bench]) -> None:
    made = bench(Till)
    first, second = made.session("s_1"), made.session("s_2")
    ask(first, "name")
    ask(second, "name")
    ask(second, "name")
    await made.quiet()
    assert [*first.results(), *second.results()] == ["s_1.1", "s_2.1", "s_2.2"]
    server = [await made.host.call("it", "x", "name", None, 1) for _ in range(2)]
    assert len({bytes(frame.result) for frame in server if frame.result is not None}) == 2


# -- durable -------------------------------------------------------------------------------------------------------


def at(sequence: int) -> Position:
    return Position("INBOUND:1", sequence)


@pytest.mark.parametrize("name", ["pay", "fail", "void"])
async def test_the_answer_outlives_the_process(name: str) -> None:
    house = House(KeptTill)
    s = house.session()
    ask(s, name, "k", position=at(1))
    await house.clock.sleep(1)
    await house.restart()
    again = house.session("other")
    ask(again, name, "k", position=at(2))
    ask(again, "read", position=at(3))
    await house.clock.sleep(1)
    assert said(again.answers()[0]) == said(s.answers()[0])
    assert again.answers()[1]["result"] == (0 if name == "fail" else 1)
    assert len(Till.runs) == 1


async def test_a_retry_is_answered_only_after_the_store() -> None:
    house = House(KeptTill)
    house.shelf.delay_s = 1.0
    s, other = house.session(), house.session("other")
    ask(s, "read")
    await house.clock.sleep(2)
    ask(s, "pay", "k")
    await house.clock.sleep(0.5)
    ask(other, "pay", "k")
    await house.clock.sleep(0.3)
    assert other.answers() == []
    await house.clock.sleep(1)
    assert (s.results(), other.results()) == ([0, 1], [1])
    assert len(Till.runs) == 1


async def test_an_error_with_a_key_waits_for_the_store_that_keeps_it() -> None:
    house = House(KeptTill)
    house.shelf.delay_s = 1.0
    s = house.session()
    ask(s, "read")
    await house.clock.sleep(2)
    ask(s, "fail", "k")
    await house.clock.sleep(0.9)
    assert s.results() == [0]
    await house.clock.sleep(1)
    assert s.results() == [0, "no, at 1"]
    assert house.shelf.saves == 1


async def test_a_retry_of_a_turn_that_the_store_lost_runs_it() -> None:
    async def owns() -> bool:
        return True

    house = House(KeptTill, owns=owns)
    s = house.session()
    ask(s, "pay", "k", line="a")
    await house.clock.sleep(1)
    house.shelf.records.pop(("it", "x"))  # what is stored says: nothing happened
    ask(s, "pay", "l", line="b")
    ask(s, "pay", "k", line="a")
    await house.clock.sleep(5)
    assert s.results() == [1, 1, 2]
    assert house.shelf.state()["lines"] == ["b", "a"]


async def test_a_repeated_message_whose_answer_is_gone_is_answered_by_its_key() -> None:
    house = House(KeptTill)
    s = house.session()
    for number, key in ((1, "k"), (2, "")):
        ask(s, "pay", key, position=at(number))
        await house.clock.sleep(1)
    await house.restart()
    again = house.session("other")
    ask(again, "pay", "k", position=at(1))
    await house.clock.sleep(1)
    assert again.results() == [1]


async def test_the_record_holds_keys_only_where_there_were_some_and_no_more_than_the_bound() -> None:
    house = House(KeptTill)
    s = house.session()
    ask(s, "pay", position=at(1))
    await house.clock.sleep(1)
    assert "keyed" not in json.loads(house.shelf.records["it", "x"].record)
    for number in range(MAX_KEYS + 5):
        ask(s, "pay", f"k{number}")
    await house.clock.sleep(1)
    assert len(json.loads(house.shelf.records["it", "x"].record)["keyed"]) == MAX_KEYS
    ask(s, "pay", "k5")
    ask(s, "pay", "k4")
    await house.clock.sleep(1)
    assert s.results()[-2:] == [7, MAX_KEYS + 7]
