"""Cancelling calls through the whole chain, on the memory broker and on a real NATS server."""

from __future__ import annotations

import asyncio

import pytest
from pydantic import BaseModel

from zocket import Actor, App, method
from zocket.settings import Limits
from zocket.testing import TestApp

LIMIT_S = 60.0


class Notes(BaseModel):
    lines: list[str] = []


class Desk(Actor[Notes]):
    begun: asyncio.Event
    gate: asyncio.Event
    caught: list[str]

    @method
    async def work(self, line: str) -> str:
        self.state.lines.append(line)
        Desk.begun.set()
        try:
            await Desk.gate.wait()
        except asyncio.CancelledError:
            Desk.caught.append(line)
            raise
        return line

    @method
    async def lines(self) -> list[str]:
        return self.state.lines


class Archive(Desk):
    durability = "file"


app = App(actors={"desk": Desk, "archive": Archive})


@pytest.fixture(autouse=True)
def fresh_gate() -> None:
    Desk.begun, Desk.gate, Desk.caught = asyncio.Event(), asyncio.Event(), []


@pytest.mark.each_broker
@pytest.mark.parametrize("cls", [Desk, Archive])
async def test_a_task_that_is_cancelled_while_it_waits_cancels_its_call(cls: type[Desk]) -> None:
    async with TestApp(app) as t:
        desk = (await t.connect(rpc_timeout=LIMIT_S)).actor(cls, "one")
        await desk.lines()
        running = asyncio.create_task(desk.work("running"))
        await Desk.begun.wait()
        waiting = asyncio.create_task(desk.work("waiting"))
        await asyncio.sleep(0)
        waiting.cancel()
        running.cancel()
        assert await desk.lines() == []
        assert Desk.caught == ["running"]


@pytest.mark.each_broker
async def test_a_socket_that_closes_cancels_the_calls_that_asked_for_it() -> None:
    async with TestApp(app) as t:
        client, other = await t.connect(), await t.connect(rpc_timeout=LIMIT_S)
        call = asyncio.create_task(client.options(cancel_on_close=True).actor(Desk, "one").work("bound"))
        await Desk.begun.wait()
        await client.aclose()
        with pytest.raises(Exception, match="may or may not have run"):
            await call
        assert await other.actor(Desk, "one").lines() == []
        assert Desk.caught == ["bound"]


@pytest.mark.each_broker
async def test_a_cancellation_may_overtake_its_call() -> None:
    """The window of the type is full, so the call lies in the stream still when it is cancelled."""
    async with TestApp(app, limits=Limits(max_ack_pending=1)) as t:
        client = await t.connect(rpc_timeout=LIMIT_S)
        others = [asyncio.create_task(client.actor(Desk, name).work(name)) for name in "ab"]
        await Desk.begun.wait()
        late = asyncio.create_task(client.actor(Desk, "c").work("late"))
        await asyncio.sleep(0)
        late.cancel()
        assert t.runtime is not None
        async with asyncio.timeout(LIMIT_S):
            while not t.runtime._controls.early:  # noqa: ASYNC110 — nothing tells when it has arrived
                await asyncio.sleep(0.002)
        Desk.gate.set()
        await asyncio.gather(*others)
        assert await client.actor(Desk, "c").lines() == []
