"""What a project itself sets for its sessions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zocket.gateway.session import SessionLimits

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from tests.unit.gateway.conftest import Client, World


def refused(client: Client) -> int:
    return sum(frame.get("code") == "rate_limited" for frame in client.taken())


async def test_a_projects_rate_counts_instead_of_the_gateways(
    world: Callable[..., AbstractAsyncContextManager[World]],
) -> None:
    async with world() as opened:
        await opened.runtime("room")
        limited = opened.client(limits=SessionLimits(rate_per_s=1.0, rate_burst=3))
        free = opened.client()
        for client in (limited, free):
            for call_id in range(5):
                client.calls(call_id)
        assert (refused(limited), refused(free)) == (2, 0)
        await opened.clock.advance(1)
        limited.calls(6)
        assert refused(limited) == 0


async def test_what_a_project_leaves_open_is_the_gateways(
    world: Callable[..., AbstractAsyncContextManager[World]],
) -> None:
    async with world(rate_per_s=1.0, rate_burst=4) as opened:
        await opened.runtime("room")
        clients = [opened.client(limits=limits) for limits in (SessionLimits(rate_burst=2), SessionLimits(), None)]
        for client in clients:
            for call_id in range(5):
                client.calls(call_id)
        assert [refused(client) for client in clients] == [3, 1, 1]
