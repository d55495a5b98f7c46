"""Queries through the whole chain, on the memory broker and on a real NATS server."""

from __future__ import annotations

import asyncio

import pytest
from pydantic import BaseModel

from zocket import Actor, ActorError, App, method, query
from zocket.testing import TestApp

LIMIT_S = 60.0


class Shelf(BaseModel):
    books: list[str] = []


class Library(Actor[Shelf]):
    begun: asyncio.Event
    gate: asyncio.Event

    @method
    async def buy(self, book: str) -> int:
        self.state.books.append(book)
        return len(self.state.books)

    @method
    async def order(self, book: str) -> int:
        self.state.books.append(book)
        Library.begun.set()
        await Library.gate.wait()
        return len(self.state.books)

    @query
    async def books(self) -> list[str]:
        await asyncio.sleep(0)
        return self.state.books

    @query
    async def steal(self) -> str:
        return self.state.books.pop()

    @method(beside=True)
    async def stop(self) -> bool:
        return self.cancel_running()


class Archive(Library):
    durability = "file"


app = App(actors={"library": Library, "archive": Archive})


@pytest.fixture(autouse=True)
def fresh_gate() -> None:
    Library.begun, Library.gate = asyncio.Event(), asyncio.Event()


@pytest.mark.each_broker
@pytest.mark.parametrize("cls", [Library, Archive])
async def test_a_query_reads_what_is_committed_beside_the_turn_in_progress(cls: type[Library]) -> None:
    async with TestApp(app) as t:
        library = (await t.connect(rpc_timeout=LIMIT_S)).actor(cls, "one")
        assert await library.books() == []
        assert await library.buy("a") == 1
        order = asyncio.create_task(library.order("b"))
        await Library.begun.wait()
        assert await library.books() == ["a"]
        Library.gate.set()
        assert await order == 2
        assert await library.books() == ["a", "b"]


@pytest.mark.each_broker
@pytest.mark.parametrize("cls", [Library, Archive])
async def test_a_method_beside_the_turn_cancels_it(cls: type[Library]) -> None:
    async with TestApp(app) as t:
        alice, bob = await t.connect(rpc_timeout=LIMIT_S), await t.connect(rpc_timeout=LIMIT_S)
        order = asyncio.create_task(alice.actor(cls, "one").order("b"))
        await Library.begun.wait()
        assert await bob.actor(cls, "one").stop()
        with pytest.raises(ActorError, match="order: cancelled by stop") as caught:
            await order
        assert caught.value.code == "cancelled"
        assert await bob.actor(cls, "one").books() == []


@pytest.mark.each_broker
async def test_after_a_crash_a_query_reads_what_was_stored() -> None:
    async with TestApp(app) as t:
        archive = (await t.connect(rpc_timeout=LIMIT_S)).actor(Archive, "one")
        await archive.buy("a")
        order = asyncio.create_task(archive.order("b"))
        await Library.begun.wait()
        await t.kill()
        Library.begun.clear()
        await t.start()
        assert await archive.books() == ["a"]
        await Library.begun.wait()
        Library.gate.set()
        assert await order == 2


async def test_a_query_that_writes_is_the_tests_failure() -> None:
    async with TestApp(app) as t:
        library = (await t.connect()).actor(Library, "one")
        await library.buy("a")
        with pytest.raises(ActorError, match="internal error"):
            await library.steal()
        [(_, failure)] = t.failures
        assert "A list at '/books' of library/one was written to outside a turn" in str(failure)
        t.failures.clear()
        assert await library.books() == ["a"]
