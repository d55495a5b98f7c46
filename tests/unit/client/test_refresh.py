"""A client that gives its server a fresh token before the present one expires."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from zocket.errors import Unavailable
from zocket.protocol import frames

if TYPE_CHECKING:
    from tests.unit.client.conftest import World


class Tokens:
    def __init__(self) -> None:
        self.given = 0
        self.error: Exception | None = None

    async def __call__(self) -> str:
        await asyncio.sleep(0)
        if self.error is not None:
            raise self.error
        self.given += 1
        return f"t{self.given}"


def welcome(world: World, expires_in_s: float | None, *features: str) -> None:
    expires_at = None if expires_in_s is None else world.clock.wall() + expires_in_s
    world.server.tell(frames.welcome("s_1", features, expires_at))


async def test_at_half_the_time_left_a_fresh_token_goes_to_the_server_and_again_after_it_was_taken(
    world: World,
) -> None:
    async with await world.client(fresh_token=Tokens()).open():
        welcome(world, 100, frames.REFRESH)
        await world.clock.advance(49)
        assert world.server.taken() == []
        await world.clock.advance(2)
        assert world.server.taken() == [{"type": "auth:refresh", "token": "t1"}]
        world.server.tell(frames.refreshed(world.clock.wall() + 100))
        await world.clock.advance(49)
        assert world.server.taken() == []
        await world.clock.advance(2)
        assert world.server.taken() == [{"type": "auth:refresh", "token": "t2"}]
        world.server.tell(frames.refreshed(None))
        await world.clock.advance(1_000)
        assert world.server.taken() == []


async def test_until_a_token_is_taken_it_asks_at_half_of_the_rest_and_stops_at_the_end(world: World) -> None:
    tokens = Tokens()
    async with await world.client(fresh_token=tokens).open():
        welcome(world, 80, frames.REFRESH)
        tokens.error = Unavailable("the token function failed")
        await world.clock.advance(41)
        assert world.server.taken() == []
        tokens.error = None
        await world.clock.advance(20)
        assert len(world.server.taken()) == 1
        await world.clock.advance(1_000)
        assert len(world.server.taken()) == 3
        assert world.clock.planned == 0


@pytest.mark.parametrize("missing", ["feature", "function", "expiry"])
async def test_nothing_is_sent_that_the_server_does_not_take_or_that_there_is_no_need_for(
    world: World, missing: str
) -> None:
    async with await world.client(fresh_token=None if missing == "function" else Tokens()).open():
        features = [] if missing == "feature" else [frames.REFRESH]
        welcome(world, None if missing == "expiry" else 100, *features)
        await world.clock.advance(200)
        assert world.server.taken() == []


async def test_a_lost_connection_ends_it_and_the_next_one_begins_anew(world: World) -> None:
    async with await world.client(fresh_token=Tokens()).open() as client:
        welcome(world, 100, frames.REFRESH)
        world.server.drop()
        await world.clock.advance(60)
        assert client.status == "open"
        assert world.server.taken() == []
        welcome(world, 20, frames.REFRESH)
        await world.clock.advance(11)
        assert world.server.taken() == [{"type": "auth:refresh", "token": "t1"}]
