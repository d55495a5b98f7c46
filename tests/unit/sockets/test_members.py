"""Waiting for members to leave."""

from __future__ import annotations

import asyncio

from zocket.sockets.members import Members


def test_waiting_ends_when_all_who_were_there_have_left_whoever_came_since() -> None:
    async def body() -> None:
        members = Members[int]()
        await members.wait_left()
        members.add(1)
        members.add(2)
        waiting = asyncio.create_task(members.wait_left())
        await asyncio.sleep(0)
        members.add(3)
        members.discard(1)
        await asyncio.sleep(0)
        assert not waiting.done()
        members.discard(2)
        await asyncio.wait_for(waiting, 1)
        assert list(members) == [3]

    asyncio.run(body())


def test_members_may_leave_while_they_are_looked_at() -> None:
    async def body() -> None:
        members = Members[int]()
        for member in range(5):
            members.add(member)
        for member in members:
            members.discard(member)
        assert len(members) == 0

    asyncio.run(body())
