"""The counter, in process: no port, no broker, no waiting."""

import pytest

from examples.counter.app import Counter, app
from zocket import ZocketError
from zocket.testing import TestApp


async def test_everybody_moves_the_same_number() -> None:
    async with TestApp(app) as t:
        alice, bob = await t.connect(), await t.connect()
        assert await alice.actor(Counter, "main").add() == 1
        assert await bob.actor(Counter, "main").add(amount=10) == 11
        await alice.actor(Counter, "main").reset()
        assert await bob.actor(Counter, "main").add(amount=-2) == -2


async def test_counters_of_different_ids_are_apart() -> None:
    async with TestApp(app) as t:
        alice = await t.connect()
        await alice.actor(Counter, "main").add(amount=5)
        assert await alice.actor(Counter, "other").add() == 1


async def test_a_watcher_sees_the_number_and_how_many_watch() -> None:
    async with TestApp(app) as t:
        alice, bob = await t.connect(), await t.connect()
        counter = alice.actor(Counter, "main")
        await bob.actor(Counter, "main").add(amount=3)
        await counter.add()
        async for state in alice.state(counter):
            assert (state.count, state.watching) == (4, 2)
            break


async def test_a_step_that_is_too_large_changes_nothing() -> None:
    async with TestApp(app) as t:
        alice = await t.connect()
        counter = alice.actor(Counter, "main")
        with pytest.raises(ZocketError) as caught:
            await counter.add(amount=1_000)
        assert caught.value.code == "validation_failed"
        assert await counter.add() == 1
