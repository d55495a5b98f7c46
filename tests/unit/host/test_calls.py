"""Calls from one actor to another in one process: answers, refusals, and what ends with the turn that made them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from tests.unit.host.conftest import Recorder, Shelf
from zocket import Actor, ActorError, method
from zocket.core import AppDefinition
from zocket.errors import HandleError, InvalidId, UsageError
from zocket.host import Host
from zocket.settings import Limits
from zocket.testing import VirtualClock, finalizers

if TYPE_CHECKING:
    from collections.abc import Sequence

SEEN: list[Any] = []


@pytest.fixture(autouse=True)
def nothing_seen() -> None:
    SEEN.clear()


class Bank(Actor[dict[str, int]]):
    @method
    async def pay(self, amount: int) -> int:
        if amount < 0:
            raise ActorError("too little", code="refused", data={"amount": amount})
        self.state["sum"] = self.state.get("sum", 0) + amount
        return self.state["sum"]

    @method
    async def who(self) -> list[Any]:
        caller = self.caller
        return [caller.kind, caller.actor, caller.actor_id, caller.chain, list(self.clients)]

    @method
    async def session_id(self) -> str:
        return self.session.id

    @method
    async def wait(self, seconds: float) -> None:
        SEEN.append("begun")
        self.state["waited"] = 1
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            SEEN.append("cancelled")
            raise
        SEEN.append("over")

    @method
    async def total(self) -> dict[str, int]:
        return self.state

    @method(timeout_s=2.0)
    async def pass_on(self, way: list[str]) -> str:
        if not way:
            return "end"
        if way[0] == "wait":
            await self.actors.get(Bank, "w").wait(50.0)
            return "waited"
        return await self.actors.get(type(self), way[0]).pass_on(way[1:])

    @method
    async def both_ways(self, other: str) -> str:
        """Waits until the other one is in its turn as well."""
        SEEN.append(self.id)
        await asyncio.sleep(0.1)
        assert len(SEEN) == 2
        return await self.actors.get(Bank, other).pass_on([])

    @method
    async def kinds(self) -> list[str]:
        handle = self.actors.get(Bank, "x")
        wrong: list[str] = []
        for attempt in (
            lambda: self.actors.get(Stranger, "x"),
            lambda: self.actors.get(Bank, ""),
            lambda: self.actors.tell(self.pay, 1),
            lambda: self.actors.tell(handle.pay),  # type: ignore[call-arg]
            lambda: handle.state,
        ):
            try:
                attempt()
            except (UsageError, TypeError, HandleError, InvalidId) as error:
                wrong.append(str(error))
        return wrong

    @method
    async def leave_behind(self) -> None:
        SEEN.append(asyncio.ensure_future(self.actors.get(Bank, "w").wait(50.0)))
        await asyncio.sleep(1.0)

    @method
    async def keep(self) -> None:
        SEEN.append(self)


class Kept(Bank):
    durability = "file"


class Stranger(Actor[dict[str, int]]):
    pass


class World:
    def __init__(self, **more: type[Actor[Any, Any]]) -> None:
        self.clock = VirtualClock()
        self.store = Shelf(self.clock)
        definition = AppDefinition({"bank": Bank, "kept": Kept, **more})
        self.host = Host(definition, clock=self.clock, limits=Limits(), store=self.store, window=256)
        finalizers.get().push_async_callback(self.host.abort)
        self.alice = Recorder(self.host, "alice", "alice@example")

    async def call(self, name: str, actor_id: str = "x", actor: str = "bank", **given: Any) -> dict[str, Any]:
        number = self.alice.call(name, actor_id, actor=actor, **given)
        await self.clock.advance(0.5)
        return next((answer for answer in self.alice.answers() if answer["id"] == number), {})


async def test_a_call_is_a_turn_of_the_other_instance_and_knows_who_calls() -> None:
    class Desk(Bank):
        @method
        async def ask(self) -> list[Any]:
            bank = self.actors.get(Bank, "b")
            assert await bank.pay(amount=3) == 3
            assert await bank.pay(4) == 7
            return await bank.who()

        @method
        async def ask_session(self) -> str:
            return await self.actors.get(Bank, "b").session_id()

    world = World(desk=Desk)
    answer = await world.call("ask", "d", "desk")
    assert answer["result"] == ["actor", "desk", "d", [["desk", "d"]], []], (
        "no session, and it is no client of the callee"
    )
    assert (await world.call("ask_session", "d", "desk"))["code"] == "internal"


async def test_an_error_of_the_callee_is_the_error_of_the_call_and_of_the_caller_that_does_not_catch_it() -> None:
    class Desk(Bank):
        @method
        async def ask(self, catch: bool) -> list[Any]:
            self.state["touched"] = 1
            try:
                return [await self.actors.get(Bank, "b").pay(amount=-1)]
            except ActorError as error:
                if not catch:
                    raise
                return [error.message, error.code, error.data, bool(error.request_id)]

    world = World(desk=Desk)
    assert (await world.call("ask", "d", "desk", catch=True))["result"] == [
        "too little",
        "refused",
        {"amount": -1},
        True,
    ]
    answer = await world.call("ask", "d", "desk", catch=False)
    assert (answer["error"], answer["code"], answer["data"]) == ("too little", "refused", {"amount": -1})


@pytest.mark.parametrize(
    ("way", "chain"),
    [(["x"], [["bank", "x"]] * 2), (["y", "x"], [["bank", "x"], ["bank", "y"], ["bank", "x"]])],
)
async def test_a_call_that_would_wait_for_itself_is_refused_at_once_with_the_chain(
    way: Sequence[str], chain: list[list[str]]
) -> None:
    world = World()
    answer = await world.call("pass_on", way=way)
    assert (answer["code"], answer["data"]) == ("cycle", chain)
    assert answer["error"].startswith(" → ".join("/".join(item) for item in chain))
    assert (await world.call("pass_on", way=["y", "z"]))["result"] == "end", "and everybody is free again"


async def test_two_turns_that_call_each_others_instance_do_not_wait_for_each_other() -> None:
    world = World()
    world.alice.call("both_ways", "a", actor="bank", other="b")
    world.alice.call("both_ways", "b", actor="bank", other="a")
    await world.clock.advance(1.0)
    codes = sorted(str(answer.get("code")) for answer in world.alice.answers())
    assert codes == ["None", "cycle"], "one is refused, and the other one gets its answer"


async def test_a_chain_is_bounded() -> None:
    world = World()
    answer = await world.call("pass_on", "0", way=[str(number) for number in range(1, 80)])
    assert answer["code"] == "cycle"
    assert "more than 64" in answer["error"]


async def test_the_time_limit_of_the_caller_ends_what_runs_for_it_all_along_the_chain() -> None:
    world = World()
    world.alice.call("pass_on", "a", actor="bank", way=["b", "wait"])
    await world.clock.advance(2.5)
    assert SEEN == ["begun", "cancelled"]
    assert [answer["code"] for answer in world.alice.answers()] == ["handler_timeout"]
    assert (await world.call("total", "w"))["result"] == {}, "what was cancelled is rolled back"
    assert world.host.pending == 0


async def test_a_call_that_waits_in_the_mailbox_never_runs_once_its_caller_is_gone() -> None:
    world = World()
    world.alice.call("wait", "w", actor="bank", seconds=5.0)
    world.alice.call("pass_on", "a", actor="bank", way=["wait"])
    await world.clock.advance(10.0)
    assert SEEN == ["begun", "over"]
    assert [answer.get("code") for answer in world.alice.answers()] == [None, "handler_timeout"]
    assert world.host.pending == 0


async def test_what_a_turn_leaves_behind_ends_with_it() -> None:
    world = World()
    world.alice.call("leave_behind", "a", actor="bank")
    await world.clock.advance(2.0)
    task, *seen = SEEN
    assert seen == ["begun", "cancelled"]
    with pytest.raises(Exception, match="is over"):
        await task


async def test_misuse_is_an_error_where_it_happens() -> None:
    world = World()
    found = (await world.call("kinds"))["result"]
    assert found[0] == "Stranger: not in this app (bank, kept)"
    assert found[1] == "actor id: may not be empty"
    assert found[2].startswith("tell: expected a method of a handle")
    assert "missing a required argument" in found[3]
    assert "the state lives on the server" in found[4]
    await world.call("keep", "k")
    kept = SEEN[-1]
    with pytest.raises(UsageError, match="inside a turn"):
        await kept.actors.get(Bank, "x").pay(amount=1)


async def test_a_turn_that_runs_again_takes_effect_once_on_a_durable_callee() -> None:
    class Desk(Bank):
        @method
        async def ask(self) -> list[int]:
            kept = self.actors.get(Kept, "k")
            return [await kept.pay(amount=1), await kept.pay(amount=1)]

    world = World(desk=Desk)
    for _ in range(2):  # the same message, delivered again
        world.alice.number = 0
        assert (await world.call("ask", "d", "desk"))["result"] == [1, 2]
    world.alice.number = 1
    assert (await world.call("ask", "d", "desk"))["result"] == [3, 4], "another call has effects of its own"
