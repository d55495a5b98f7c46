"""What is done to stored state beside a runtime that serves it, on the memory broker and on a real NATS server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from pydantic import BaseModel

from zocket import Actor, App, method
from zocket.host.store import Key
from zocket.runtime.state_store import BrokerStateStore
from zocket.testing import TestApp
from zocket.testing.app import SCOPE
from zocket.upkeep import backup_file, operations

pytestmark = pytest.mark.each_broker
LIMIT_S = 20.0
KEY = Key("counter", "one")


class Count(BaseModel):
    value: int = 0


class Counter(Actor[Count]):
    durability = "file"

    @method
    async def add(self) -> int:
        self.state.value += 1
        return self.state.value

    @method
    async def read(self) -> int:
        return self.state.value


app = App(actors={"counter": Counter})


async def beside(t: TestApp) -> BrokerStateStore:
    """The project's store on a connection of its own, as a command has it."""
    return BrokerStateStore(await t._connect_broker("upkeep", t._stack), SCOPE)


async def delete(store: BrokerStateStore) -> None:
    await store.delete(KEY, (await operations.find(store, KEY)).revision)


async def until(states: AsyncIterator[Count], value: int) -> None:
    async with asyncio.timeout(LIMIT_S):
        while (await anext(states)).value != value:
            pass


async def test_a_deleted_instance_is_shown_anew_and_goes_on_from_its_initial_state() -> None:
    async with TestApp(app) as t:
        client = await t.connect()
        counter, store = client.actor(Counter, "one"), await beside(t)
        states = client.state(counter)
        assert [await counter.add() for _ in range(3)] == [1, 2, 3]
        await until(states, 3)
        await delete(store)
        await until(states, 0)  # without a call of anybody
        assert await counter.read() == 0
        assert await counter.add() == 1
        await until(states, 1)


async def test_a_runtime_that_was_told_nothing_finds_out_at_its_next_write() -> None:
    async with TestApp(app) as t:
        client = await t.connect()
        counter, store = client.actor(Counter, "one"), await beside(t)
        states = client.state(counter)
        assert [await counter.add() for _ in range(3)] == [1, 2, 3]
        store._tell_runtime = lambda key: None  # type: ignore[method-assign]
        await delete(store)
        assert await counter.add() == 1
        await until(states, 1)


async def test_a_restored_instance_is_shown_and_goes_on_from_there(tmp_path: Path) -> None:
    async with TestApp(app) as t:
        client = await t.connect()
        counter, store = client.actor(Counter, "one"), await beside(t)
        states = client.state(counter)
        assert [await counter.add() for _ in range(3)] == [1, 2, 3]
        path = tmp_path / "state.jsonl"
        with backup_file.create(path, backup_file.Header(backup_file.FORMAT)) as writer:
            await operations.back_up(store, writer)
        assert [await counter.add() for _ in range(4)] == [4, 5, 6, 7]
        await until(states, 7)
        await operations.restore(store, await operations.plan(store, operations.check(path), replace=True))
        await until(states, 3)
        assert await counter.read() == 3
        assert await counter.add() == 4
        await until(states, 4)
