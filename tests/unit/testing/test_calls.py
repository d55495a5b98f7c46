"""Calls between actors through the whole chain, on the memory broker and on a real NATS server."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from zocket import Actor, App, method
from zocket.errors import UsageError
from zocket.testing import TestApp


class Bank(Actor[dict[str, int]]):
    durability = "file"

    @method
    async def pay(self, amount: int) -> int:
        self.state["sum"] = self.state.get("sum", 0) + amount
        return self.state["sum"]


class Desk(Actor[dict[str, int]]):
    durability = "file"

    @method
    async def order(self, amount: int) -> int:
        paid = await self.actors.get(Bank, "b").pay(amount=amount)
        self.actors.tell(self.actors.get(Desk, "statistics").count)
        return paid

    @method
    async def count(self) -> None:
        self.state["count"] = self.state.get("count", 0) + 1

    @method
    async def copy(self, name: str) -> AsyncIterator[str]:
        async for line in self.actors.get(Desk, name).lines(count=100):
            yield f"{name}: {line}"

    @method
    async def lines(self, count: int) -> AsyncIterator[str]:
        for number in range(count):
            self.state["count"] = number
            yield str(number)

    @method
    async def counted(self) -> int:
        return self.state.get("count", 0)


app = App(actors={"bank": Bank, "desk": Desk})


@pytest.mark.each_broker
async def test_actors_call_each_other_and_server_code_calls_them_across_crashes() -> None:
    async with TestApp(app) as t:
        client = await t.connect()
        assert await client.actor(Desk, "d").order(amount=3) == 3
        await t.settle()
        await t.crash()
        assert await app.actor(Desk, "d").order(amount=4) == 7
        await t.settle()
        assert await app.actor(Desk, "statistics").counted() == 2
    with pytest.raises(UsageError, match="not connected in this process"):
        await app.actor(Desk, "d").counted()


@pytest.mark.each_broker
async def test_a_client_iterates_over_an_actor_that_iterates_over_another_one() -> None:
    async with TestApp(app) as t:
        client = await t.connect()
        lines = [line async for line in client.actor(Desk, "d").copy(name="e")]
        assert lines == [f"e: {number}" for number in range(100)]
        assert await client.actor(Desk, "e").counted() == 99
