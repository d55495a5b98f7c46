"""Framing by the letter of RFC 6455, section 5.2."""

from __future__ import annotations

import asyncio
import struct
from typing import TYPE_CHECKING, Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zocket.sockets.limits import Counts
from zocket.sockets.outgoing import Outgoing, text_header

if TYPE_CHECKING:
    from zocket.sockets.peer import SocketPeer


@pytest.mark.parametrize(
    ("length", "header"),
    [
        (0, b"\x81\x00"),
        (125, b"\x81\x7d"),
        (126, b"\x81\x7e\x00\x7e"),
        (65_535, b"\x81\x7e\xff\xff"),
        (65_536, b"\x81\x7f\x00\x00\x00\x00\x00\x01\x00\x00"),
    ],
)
def test_a_header_says_the_length_in_the_shortest_way(length: int, header: bytes) -> None:
    assert text_header(length) == header


def unframed(octets: bytes) -> list[bytes]:
    frames = []
    while octets:
        assert octets[0] == 0x81
        size, start = octets[1], 2
        if size == 126:
            (size,), start = struct.unpack_from("!H", octets, 2), 4
        elif size == 127:
            (size,), start = struct.unpack_from("!Q", octets, 2), 10
        frames.append(octets[start : start + size])
        octets = octets[start + size :]
    return frames


@given(st.lists(st.lists(st.sampled_from([b"", b"a", b"b" * 125, b"c" * 126, b"d" * 70_000]), max_size=4), max_size=5))
def test_what_is_framed_can_be_read_back_whatever_was_framed_before(batches: list[list[bytes]]) -> None:
    async def body() -> None:
        counts = Counts()
        outgoing = Outgoing(counts)
        for batch in batches:
            assert unframed(outgoing.framed(list(batch))) == batch
        assert counts.messages_out == sum(map(len, batches))

    asyncio.run(body())


def test_a_broadcast_is_framed_once() -> None:
    async def body() -> None:
        outgoing = Outgoing(Counts())
        first, second = b"x" * 1000, b"y" * 1000
        assert outgoing.framed([first, second]) is outgoing.framed([first, second])
        assert outgoing.framed([first]) is not outgoing.framed([second])

    asyncio.run(body())


class Fake:
    remote = "fake"

    def __init__(self, log: list[str], *, fails: bool = False) -> None:
        self.log = log
        self.fails = fails

    def flush(self) -> None:
        if self.fails:
            raise TypeError("no bytes")
        self.log.append("flush")

    def abort(self) -> None:
        self.log.append("abort")


def test_a_planned_flush_takes_along_what_is_sent_until_then() -> None:
    async def body() -> list[str]:
        log: list[str] = []
        outgoing = Outgoing(Counts())
        asyncio.get_running_loop().call_soon(outgoing.add, cast("SocketPeer", cast("Any", Fake(log))))
        outgoing.plan()
        await asyncio.sleep(0)
        return log

    assert asyncio.run(body()) == ["flush"]


def test_every_peer_is_flushed_in_the_same_turn_also_after_one_that_fails(caplog: pytest.LogCaptureFixture) -> None:
    async def body() -> list[str]:
        log: list[str] = []
        outgoing = Outgoing(Counts())
        for fake in (Fake(log), Fake(log, fails=True), Fake(log)):
            outgoing.add(cast("SocketPeer", cast("Any", fake)))
        assert log == []
        await asyncio.sleep(0)
        return log

    assert asyncio.run(body()) == ["flush", "abort", "flush"]
    assert "could not be written to" in caplog.text
