"""Commit points inside a turn through the whole chain, on the memory broker and on a real NATS server."""

from __future__ import annotations

import asyncio

import pytest
from pydantic import BaseModel

from zocket import Actor, ActorError, App, Disconnected, method
from zocket.testing import TestApp

LIMIT_S = 60.0


class Steps(BaseModel):
    done: list[str] = []


class Worker(Actor[Steps]):
    gate: asyncio.Event
    runs: int

    @method
    async def work(self, fail: bool = False) -> list[str]:
        Worker.runs += 1
        self.state.done.append("first")
        await self.flush()
        self.state.done.append("second")
        await Worker.gate.wait()
        if fail:
            raise ActorError("no")
        return self.state.done

    @method(publish_every=0.01)
    async def work_on(self) -> None:
        self.state.done.append("first")
        await Worker.gate.wait()

    @method
    async def done(self) -> list[str]:
        return self.state.done


class Kept(Worker):
    durability = "file"


app = App(actors={"worker": Worker, "kept": Kept})


@pytest.fixture(autouse=True)
def fresh_gate() -> None:
    Worker.gate, Worker.runs = asyncio.Event(), 0


@pytest.mark.each_broker
@pytest.mark.parametrize("cls", [Worker, Kept])
@pytest.mark.parametrize("name", ["work", "work_on"])
async def test_watchers_see_what_was_flushed_while_the_handler_goes_on(cls: type[Worker], name: str) -> None:
    async with TestApp(app) as t:
        client = await t.connect(rpc_timeout=LIMIT_S)
        worker = client.actor(cls, "one")
        async with client.state(worker) as states, asyncio.timeout(LIMIT_S):
            assert (await anext(states)).done == []
            call = asyncio.create_task(getattr(worker, name)())
            assert (await anext(states)).done == ["first"]
            assert not call.done()
            Worker.gate.set()
            await call


@pytest.mark.each_broker
@pytest.mark.parametrize("cls", [Worker, Kept])
async def test_a_failure_returns_to_the_flush(cls: type[Worker]) -> None:
    async with TestApp(app) as t:
        worker = (await t.connect(rpc_timeout=LIMIT_S)).actor(cls, "one")
        Worker.gate.set()
        with pytest.raises(ActorError, match="no"):
            await worker.work(fail=True)
        assert await worker.done() == ["first"]


@pytest.mark.each_broker
@pytest.mark.parametrize(("cls", "kept"), [(Worker, []), (Kept, ["first"])])
async def test_a_call_whose_runtime_died_runs_again_on_what_was_stored(cls: type[Worker], kept: list[str]) -> None:
    async with TestApp(app) as t:
        client = await t.connect(rpc_timeout=LIMIT_S)
        worker = client.actor(cls, "one")
        async with client.state(worker) as states, asyncio.timeout(LIMIT_S):
            assert (await anext(states)).done == []
            call = asyncio.create_task(worker.work())
            assert (await anext(states)).done == ["first"]
        await t.kill()
        Worker.gate.set()
        await t.start()
        assert await call == [*kept, "first", "second"]
        assert Worker.runs == 2


async def test_a_socket_that_closes_cancels_back_to_the_flush() -> None:
    async with TestApp(app) as t:
        client, other = await t.connect(), await t.connect()
        call = asyncio.create_task(client.options(cancel_on_close=True).actor(Kept, "one").work())
        await t.clock.advance(1)
        await client.aclose()
        with pytest.raises(Disconnected):
            await call
        assert await other.actor(Kept, "one").done() == ["first"]
