"""Idempotency keys through the whole chain, on the memory broker and on a real NATS server."""

from __future__ import annotations

import asyncio
import secrets

import pytest
from pydantic import BaseModel

from zocket import Actor, ActorError, App, method
from zocket.errors import Overloaded
from zocket.testing import TestApp

LIMIT_S = 60.0


class Payments(BaseModel):
    paid: list[str] = []


class Till(Actor[Payments]):
    """`pay` gives another receipt whenever it runs."""

    begun: asyncio.Event
    gate: asyncio.Event
    attempts: list[str]

    @method
    async def pay(self, name: str) -> str:
        self.state.paid.append(name)
        return secrets.token_hex(8)

    @method
    async def pay_slowly(self, name: str) -> str:
        Till.begun.set()
        await Till.gate.wait()
        return await self.pay(name)

    @method
    async def refuse(self) -> None:
        raise ActorError("no", code="refused", data=secrets.token_hex(8))

    @method
    async def be_busy(self, times: int) -> str:
        Till.attempts.append(self.message_id)
        if len(Till.attempts) <= times:
            raise Overloaded("the bank is busy")
        return await self.pay("at last")

    @method
    async def paid(self) -> list[str]:
        return self.state.paid


class Ledger(Till):
    durability = "file"


app = App(actors={"till": Till, "ledger": Ledger})


@pytest.fixture(autouse=True)
def fresh_gate() -> None:
    Till.begun, Till.gate, Till.attempts = asyncio.Event(), asyncio.Event(), []


@pytest.mark.each_broker
async def test_a_retry_over_a_new_socket_and_over_a_new_runtime_has_one_effect_and_the_same_answer() -> None:
    async with TestApp(app) as t:
        client = await t.connect(user_id="alice", rpc_timeout=LIMIT_S)
        ledger = client.options(idempotency_key="order-17").actor(Ledger, "one")
        refused = client.options(idempotency_key="order-18").actor(Ledger, "one")
        receipt = await ledger.pay("a")
        with pytest.raises(ActorError) as first:
            await refused.refuse()
        await t.drop(client)
        assert await ledger.pay("a") == receipt
        await t.crash()
        assert await ledger.pay("a") == receipt
        with pytest.raises(ActorError) as again:
            await refused.refuse()
        assert (again.value.code, again.value.data) == ("refused", first.value.data)
        assert again.value.request_id == first.value.request_id
        with pytest.raises(ActorError, match="another method or another input") as mismatch:
            await ledger.pay("b")
        assert mismatch.value.code == "idempotency_mismatch"
        other = await t.connect(user_id="bob", rpc_timeout=LIMIT_S)
        assert await other.options(idempotency_key="order-17").actor(Ledger, "one").pay("c") != receipt
        assert await client.actor(Ledger, "one").paid() == ["a", "c"]


@pytest.mark.each_broker
@pytest.mark.parametrize("cls", [Till, Ledger])
async def test_a_call_whose_socket_drops_while_it_runs_is_sent_again_and_runs_once(cls: type[Till]) -> None:
    async with TestApp(app) as t:
        client = await t.connect(user_id="alice", rpc_timeout=LIMIT_S)
        call = asyncio.create_task(client.options(idempotency_key=True).actor(cls, "one").pay_slowly("a"))
        await Till.begun.wait()
        await t.drop(client)
        await client.ready
        Till.gate.set()
        await call
        assert await client.actor(cls, "one").paid() == ["a"]


@pytest.mark.parametrize("cls", [Till, Ledger])
async def test_a_busy_actor_is_tried_again_under_one_message_id(cls: type[Till]) -> None:
    async with TestApp(app) as t:
        client = await t.connect(user_id="alice")
        till = client.options(idempotency_key=True, timeout=LIMIT_S).actor(cls, "one")
        await till.be_busy(4)
        assert len(Till.attempts) == 5
        assert len(set(Till.attempts)) == 1
        assert await client.actor(cls, "one").paid() == ["at last"]


@pytest.mark.each_broker
async def test_drops_and_crashes_under_load_fail_no_call_and_double_none() -> None:
    async with TestApp(app) as t:
        clients = [await t.connect(user_id="alice", rpc_timeout=LIMIT_S) for _ in range(4)]
        names = [f"call{number}" for number in range(200)]
        calls = []
        for number, name in enumerate(names):
            client = clients[number % 4]
            calls.append(
                asyncio.create_task(client.options(idempotency_key=True).actor(Ledger, f"l{number % 3}").pay(name))
            )
            if number % 4 == 0:
                await asyncio.sleep(0.001)
            if number in (50, 100, 150):
                await t.drop(clients[0])
                await t.drop(clients[1])
            if number in (80, 150):
                await t.crash()
        receipts = await asyncio.gather(*calls)
        assert len(set(receipts)) == len(names)
        found = [paid for number in range(3) for paid in await clients[0].actor(Ledger, f"l{number}").paid()]
        assert sorted(found) == sorted(names)
