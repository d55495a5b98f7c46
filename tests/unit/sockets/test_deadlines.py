"""Deadlines by the loop's clock, which the test moves."""

from __future__ import annotations

import asyncio

from zocket.sockets.deadlines import Deadlines


class Loop(asyncio.SelectorEventLoop):
    """Time stands still but for `advance`."""

    now = 1000.0

    def time(self) -> float:
        return self.now


async def advance(seconds: float) -> None:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, Loop)
    loop.now += seconds
    for _ in range(3):
        await asyncio.sleep(0)


def test_who_stays_expires_in_the_order_of_arrival_and_who_leaves_does_not() -> None:
    async def body() -> None:
        expired: list[str] = []
        deadlines = Deadlines[str](10, expired.append)
        deadlines.add("first")
        await advance(4)
        deadlines.add("second")
        deadlines.add("gone")
        deadlines.add("first")  # keeps its time
        deadlines.discard("gone")
        await advance(5)
        assert expired == []
        await advance(1)
        assert expired == ["first"]
        assert len(deadlines) == 1
        await advance(4)
        assert expired == ["first", "second"]
        deadlines.add("third")
        await advance(11)
        assert expired == ["first", "second", "third"]

    with asyncio.Runner(loop_factory=Loop) as runner:
        runner.run(body())


def test_an_expired_item_may_start_over() -> None:
    async def body() -> None:
        times: list[str] = []

        def again(item: str) -> None:
            times.append(item)
            if len(times) < 3:
                deadlines.add(item)

        deadlines = Deadlines[str](10, again)
        deadlines.add("x")
        for _ in range(5):
            await advance(10.1)
        assert times == ["x"] * 3

    with asyncio.Runner(loop_factory=Loop) as runner:
        runner.run(body())


def test_nothing_expires_after_cancel() -> None:
    async def body() -> None:
        expired: list[str] = []
        deadlines = Deadlines[str](10, expired.append)
        deadlines.add("x")
        deadlines.cancel()
        await advance(20)
        assert expired == []
        assert len(deadlines) == 0

    with asyncio.Runner(loop_factory=Loop) as runner:
        runner.run(body())
