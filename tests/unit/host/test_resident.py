"""What an idle instance keeps, and what it must not lose."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from zocket.core import Actor, method
from zocket.host.resident import IDLE, NOBODY, NOTHING

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.unit.host.conftest import Bench


class Counter(Actor[dict[str, Any]]):
    def __init__(self) -> None:
        self.go = asyncio.Event()

    @method
    async def wait(self) -> int:
        await self.go.wait()
        return await self.add()

    @method
    async def add(self) -> int:
        self.state["n"] = self.state.get("n", 0) + 1
        return int(self.state["n"])


async def test_an_instance_in_memory_has_a_mailbox_only_while_it_has_something_to_do(
    bench: Callable[..., Bench],
) -> None:
    b = bench(Counter)
    session = b.session()
    session.call("add")
    resident = b.host._residents["it", "x"]
    assert resident.mailbox is not IDLE
    await b.quiet()
    assert resident.mailbox is IDLE
    for _ in range(2, 200):
        session.call("add")
    await b.quiet()
    assert session.results() == list(range(1, 200))
    assert resident.mailbox is IDLE


async def test_what_arrives_while_the_last_turn_is_suspended_is_served(bench: Callable[..., Bench]) -> None:
    b = bench(Counter)
    session = b.session()
    session.call("wait")
    await b.quiet()
    session.call("add")
    counter: Any = b.host._residents["it", "x"].instance.actor
    counter.go.set()
    await b.quiet()
    assert session.results() == [1, 2]


async def test_two_instances_never_share_a_mailbox(bench: Callable[..., Bench]) -> None:
    b = bench(Counter)
    session = b.session()
    for number in range(300):
        session.call("add", f"i{number % 100}")
    await b.quiet()
    assert sorted(session.results()) == sorted([1, 2, 3] * 100)


def test_what_is_put_into_a_mailbox_that_was_not_opened_is_not_lost_silently() -> None:
    piece = (NOBODY, NOTHING, "", None, 0.0, None)
    for put in (IDLE.append, IDLE.appendleft):
        with pytest.raises(AssertionError, match="not opened"):
            put(piece)
    with pytest.raises(AssertionError, match="not opened"):
        IDLE.extendleft([piece])
    assert not IDLE
