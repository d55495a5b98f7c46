"""Who counts as a slow reader, and for how long; on virtual time, with sockets that only say how much waits."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from zocket.sockets.backlog import CHECK_EVERY_S, Backlog
from zocket.sockets.limits import SocketLimits
from zocket.testing.loop import VirtualLoop

if TYPE_CHECKING:
    from collections.abc import Coroutine

MARK, TIMEOUT_S, TOTAL = 1_000, 8.0, 50_000
LIMITS = SocketLimits(slow_reader_bytes=MARK, slow_reader_timeout_s=TIMEOUT_S, max_buffered_total_bytes=TOTAL)


class Reader:
    def __init__(self, unsent: int) -> None:
        self.unsent = unsent
        self.told: list[str] = []

    def unsent_bytes(self) -> int:
        return self.unsent

    def fell_behind(self) -> None:
        self.told.append("behind")

    def caught_up(self) -> None:
        self.told.append("caught up")

    def give_up(self, reason: str) -> None:
        self.told.append("given up")


def run(body: Coroutine[None, None, None]) -> None:
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(body)


async def look() -> None:
    await asyncio.sleep(CHECK_EVERY_S * 1.5)


def test_a_backlog_that_grows_by_the_mark_is_behind_until_half_of_it_is_left() -> None:
    async def body() -> None:
        backlog, reader = Backlog(LIMITS), Reader(MARK + 1)
        backlog.watch(reader)
        await look()
        assert reader.told == []
        reader.unsent = 2 * MARK + 2
        await look()
        assert reader.told == ["behind"]
        reader.unsent = MARK
        await look()
        assert reader.told == ["behind"]
        reader.unsent = MARK // 2
        await look()
        assert reader.told == ["behind", "caught up"]
        assert len(backlog) == 0

    run(body())


def test_a_large_frame_that_is_on_its_way_is_no_reason() -> None:
    async def body() -> None:
        backlog, reader = Backlog(LIMITS), Reader(30 * MARK)
        backlog.watch(reader)
        while reader.unsent > MARK // 2:  # small frames come meanwhile, the line takes more than that
            await asyncio.sleep(TIMEOUT_S / 5)
            reader.unsent -= MARK
            backlog.watch(reader)
        await look()
        assert (reader.told, len(backlog)) == ([], 0)

    run(body())


def test_what_comes_on_top_of_a_large_frame_counts_from_what_is_left_of_it() -> None:
    async def body() -> None:
        backlog, reader = Backlog(LIMITS), Reader(30 * MARK)
        backlog.watch(reader)
        reader.unsent = 10 * MARK
        await look()
        reader.unsent = 11 * MARK
        await look()
        assert reader.told == []
        reader.unsent = 11 * MARK + 1
        await look()
        assert reader.told == ["behind"]

    run(body())


def test_a_backlog_that_stays_is_behind_after_a_quarter_of_the_time_and_given_up_after_all_of_it() -> None:
    async def body() -> None:
        backlog, reader = Backlog(LIMITS), Reader(2 * MARK)
        backlog.watch(reader)
        await asyncio.sleep(TIMEOUT_S / 4 - 0.2)
        assert reader.told == []
        await asyncio.sleep(0.4)
        assert reader.told == ["behind"]
        reader.unsent = MARK  # it has read as much as the mark, and has its time again
        await asyncio.sleep(TIMEOUT_S - 0.4)
        assert reader.told == ["behind"]
        await asyncio.sleep(0.6)
        assert reader.told == ["behind", "given up"]
        assert len(backlog) == 0

    run(body())


def test_over_the_total_the_largest_backlogs_go_first() -> None:
    async def body() -> None:
        backlog = Backlog(LIMITS)
        readers = [Reader(size) for size in (20_000, 29_000, 1_500, 24_000)]
        for reader in readers:
            backlog.watch(reader)
        await look()
        assert [reader.told for reader in readers] == [[], ["given up"], [], []]

    run(body())


def test_whoever_is_gone_is_told_nothing_and_nobody_is_left_to_look_at() -> None:
    async def body() -> None:
        backlog, reader, other = Backlog(LIMITS), Reader(2 * MARK), Reader(2 * MARK)
        backlog.watch(reader)
        backlog.watch(other)
        backlog.discard(reader)
        backlog.cancel()
        await asyncio.sleep(2 * TIMEOUT_S)
        assert reader.told == other.told == []
        assert backlog._timer is None

    run(body())
