"""A gateway says that it is there, whether anybody is connected or not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zocket.broker.memory import MemoryServer
from zocket.gateway.gateway import Gateway
from zocket.gateway.liveness import ALIVE_EVERY_S
from zocket.protocol import subjects
from zocket.settings import Limits
from zocket.testing.clock import VirtualClock

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from tests.unit.gateway.conftest import World
    from zocket.broker.port import Message

    Open = Callable[..., AbstractAsyncContextManager[World]]


async def heard(w: World) -> list[Message]:
    """What is said from now on."""
    messages: list[Message] = []
    await w.server.connect().subscribe(subjects.ANY_ALIVE, messages.extend)
    return messages


async def test_it_is_said_at_once_and_every_second_until_the_gateway_ends() -> None:
    clock = VirtualClock()
    server = MemoryServer(clock)
    broker = server.connect()
    messages: list[Message] = []
    await server.connect().subscribe(subjects.ANY_ALIVE, messages.extend)
    async with Gateway.open(broker, clock=clock, limits=Limits(), gateway_id="g_test"):
        await clock.advance(9.5 * ALIVE_EVERY_S)
        assert [message.subject for message in messages] == [subjects.alive("g_test")] * 10
    await clock.advance(10 * ALIVE_EVERY_S)
    assert len(messages) == 10


async def test_it_is_said_on_while_the_gateway_drains(world: Open) -> None:
    async with world() as w:
        messages = await heard(w)
        await w.runtime("room", epoch="e_1")
        w.client().calls()
        await w.gateway.drain(5 * ALIVE_EVERY_S)
        assert len(messages) >= 4


async def test_what_could_not_be_said_is_not_made_up_for(world: Open) -> None:
    async with world() as w:
        messages = await heard(w)
        w.server.cut(w.broker, down_s=60)
        await w.clock.advance(60 + 2.5 * ALIVE_EVERY_S)
        assert 2 <= len(messages) <= 3
