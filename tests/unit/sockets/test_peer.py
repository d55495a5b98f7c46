"""A peer on a transport that only records: whatever the bytes and however they are cut, and every state's rules."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zocket.sockets.backlog import CHECK_EVERY_S
from zocket.sockets.limits import Counts, SocketLimits
from zocket.sockets.peer import OPEN, SocketPeer, Sockets, State
from zocket.sockets.port import PAUSE_S
from zocket.testing.loop import VirtualLoop

if TYPE_CHECKING:
    from collections.abc import Callable

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
LIMITS = SocketLimits(max_frame_bytes=1_000, max_buffer_bytes=10_000, slow_reader_bytes=4_000)


class FakeSocket:
    def setsockopt(self, *_: object) -> None:
        """Whatever."""

    def getsockopt(self, *_: object) -> int:
        return 0

    def fileno(self) -> int:
        return 1_000_000  # nothing is there; the transport says that it buffers, so nothing is written to it directly


class FakeTransport:
    """Keeps what is written; `unread` is what it says that the client has not taken."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.unread = 1
        self.events: list[str] = []
        self.protocol: Any = None

    def write(self, octets: bytes) -> None:
        self.written.append(bytes(octets))

    def writelines(self, parts: Any) -> None:
        self.written.append(b"".join(parts))

    def get_write_buffer_size(self) -> int:
        return self.unread

    def get_extra_info(self, name: str, default: object = None) -> object:
        return FakeSocket() if name == "socket" else default

    def set_protocol(self, protocol: Any) -> None:
        self.protocol = protocol

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.events.append("eof")

    def pause_reading(self) -> None:
        self.events.append("pause")

    def resume_reading(self) -> None:
        self.events.append("resume")

    def close(self) -> None:
        self.events.append("close")

    def abort(self) -> None:
        self.events.append("abort")


class Recorder:
    def __init__(self) -> None:
        self.frames: list[bytes] = []
        self.closed_count = 0
        self.said_goodbye: bool | None = None
        self.events: list[str] = []
        self.answer: Callable[[], object] = lambda: None

    def received(self, frame: bytes) -> None:
        self.frames.append(frame)
        self.answer()

    def fell_behind(self) -> None:
        self.events.append("behind")

    def caught_up(self) -> None:
        self.events.append("caught up")

    def closed(self, *, said_goodbye: bool = False) -> None:
        self.closed_count += 1
        self.said_goodbye = said_goodbye


def opened(early: bytes = b"") -> tuple[SocketPeer, FakeTransport, Recorder, Sockets]:
    sockets = Sockets(LIMITS, Counts())
    transport, session = FakeTransport(), Recorder()
    as_transport: Any = transport
    peer = SocketPeer(sockets, as_transport, "remote")
    peer.begin(KEY, early, lambda _: session)
    assert transport.written.pop(0).startswith(b"HTTP/1.1 101 ")
    return peer, transport, session, sockets


async def test_the_answer_to_an_upgrade_and_the_first_frames_leave_in_one_write() -> None:
    peer, transport = fresh()

    def greet(opened: Any) -> Recorder:
        opened.send(b"welcome")
        opened.send(b"again")
        return Recorder()

    peer.begin(KEY, b"", greet)
    [octets] = transport.written
    head, _, frames = octets.partition(b"\r\n\r\n")
    assert head.splitlines()[0] == b"HTTP/1.1 101 Switching Protocols"
    assert b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in head.splitlines()  # RFC 6455, section 1.3
    assert frames == b"\x81\x07welcome\x81\x05again"
    await asyncio.sleep(0)
    assert len(transport.written) == 1


async def test_a_session_that_closes_while_it_is_made_is_heard_out_behind_the_answer() -> None:
    peer, transport = fresh()

    def refuse(opened: Any) -> Recorder:
        opened.send(b"no")
        opened.close(4403, "kicked")
        return Recorder()

    peer.begin(KEY, b"", refuse)
    head, _, frames = b"".join(transport.written).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101 ")
    assert frames == b"\x81\x02no\x88\x08" + (4403).to_bytes(2, "big") + b"kicked"


async def test_first_frames_that_the_client_does_not_take_count_as_its_backlog() -> None:
    peer, transport = fresh()
    transport.unread = LIMITS.slow_reader_bytes + 1
    peer.begin(KEY, b"", lambda _: Recorder())
    assert peer in peer._sockets.backlog._lags


def fresh() -> tuple[SocketPeer, FakeTransport]:
    transport = FakeTransport()
    as_transport: Any = transport
    return SocketPeer(Sockets(LIMITS, Counts()), as_transport, "remote"), transport


def frame(payload: bytes, opcode: int, *, fin: bool) -> bytes:
    mask = os.urandom(4)
    size = len(payload)
    head = (
        bytes((fin << 7 | opcode, 0x80 | size)) if size < 126 else bytes((fin << 7 | opcode, 0xFE, *divmod(size, 256)))
    )
    return head + mask + bytes(octet ^ mask[index % 4] for index, octet in enumerate(payload))


def cut(stream: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({place % (len(stream) + 1) for place in cuts})
    return [stream[start:end] for start, end in zip([0, *places], [*places, len(stream)], strict=True)]


MESSAGES = st.lists(st.lists(st.binary(max_size=200), min_size=1, max_size=4), max_size=6)


@given(messages=MESSAGES, cuts=st.lists(st.integers(0, 5_000), max_size=12), pinged=st.booleans(), early=st.booleans())
@settings(deadline=None)
def test_messages_arrive_whole_however_they_are_fragmented_and_cut(
    messages: list[list[bytes]], cuts: list[int], pinged: bool, early: bool
) -> None:
    stream = b""
    for parts in messages:
        for index, part in enumerate(parts):
            stream += frame(part, 0 if index else 2, fin=index == len(parts) - 1)
            if pinged:
                stream += frame(b"p%d" % index, 9, fin=True)

    async def body() -> None:
        pieces = cut(stream, cuts)
        peer, transport, session, _ = opened(pieces.pop(0) if early else b"")
        for piece in pieces:
            transport.protocol.feed(piece)
        assert session.frames == [b"".join(parts) for parts in messages]
        assert peer._state is OPEN
        await asyncio.sleep(0)
        assert len(transport.written) == (1 if pinged and messages else 0)  # of one turn, the last ping is answered

    asyncio.run(body())


def test_an_answer_leaves_in_the_round_of_the_loop_that_makes_it() -> None:
    async def body() -> list[bytes]:
        peer, transport, session, _ = opened()
        loop = asyncio.get_running_loop()
        session.answer = lambda: loop.call_soon(peer.send, b"answer")
        transport.protocol.feed(frame(b"call", 1, fin=True))
        await asyncio.sleep(0)
        return transport.written

    assert asyncio.run(body()) == [b"\x81\x06answer"]


@given(stream=st.binary(max_size=400), cuts=st.lists(st.integers(0, 400), max_size=5))
@settings(deadline=None)
def test_any_bytes_leave_the_socket_open_or_ending(stream: bytes, cuts: list[int]) -> None:
    async def body() -> None:
        peer, transport, session, sockets = opened()
        for piece in cut(stream, cuts):
            if peer._state is not OPEN:
                break
            transport.protocol.feed(piece)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        counts = sockets.counts
        if peer._state is OPEN:
            assert counts.violations == counts.oversize == 0
        else:
            assert peer._state in (State.CLOSING, State.LINGERING)
            assert len(sockets.closing) == 1
            assert transport.events in (["eof"], ["close"])
        transport.protocol.connection_lost(None)
        assert (peer._state.value, session.closed_count) == ("gone", 1)
        assert len(sockets.peers) == len(sockets.closing) == 0
        sockets.closing.cancel()

    asyncio.run(body())


@given(sizes=st.lists(st.integers(0, 4_000), max_size=30), unread=st.lists(st.integers(0, 12_000), max_size=30))
@settings(deadline=None)
def test_what_waits_never_exceeds_the_bound_unnoticed(sizes: list[int], unread: list[int]) -> None:
    async def body() -> None:
        peer, transport, _, sockets = opened()
        queued = 0
        for index, size in enumerate(sizes):
            if index < len(unread):
                await asyncio.sleep(0)  # the queue is written; how much of it is unread the client decides
                queued = 0
                transport.unread = unread[index]
            peer.send(b"s" * size)
            queued += size
            if peer._state is OPEN:
                assert queued <= LIMITS.max_buffer_bytes
            elif sockets.counts.slow:
                break
        assert sockets.counts.slow <= 1
        assert (sockets.counts.slow == 1) is (peer._state is State.CLOSING)
        sockets.closing.cancel()

    asyncio.run(body())


def test_a_full_transport_is_noticed_with_the_next_frame_that_does_not_fit() -> None:
    async def body() -> None:
        peer, transport, _, sockets = opened()
        transport.unread = 9_000
        peer.send(b"a" * 500)
        await asyncio.sleep(0)
        assert sockets.counts.slow == 0
        peer.send(b"b" * 600)
        assert sockets.counts.slow == 0, "together it is 9,600 and fits"
        peer.send(b"c" * 500)
        assert sockets.counts.slow == 1
        assert transport.written[-1][:4] == b"\x88\x0a" + (1013).to_bytes(2, "big")
        sockets.closing.cancel()

    asyncio.run(body())


def test_a_client_that_reads_frees_room_again() -> None:
    async def body() -> None:
        peer, transport, _, sockets = opened()
        for _ in range(50):
            transport.unread = 6_000
            peer.send(b"a" * 3_000)
            await asyncio.sleep(0)
            transport.unread = 0
            peer.send(b"b" * 9_000)
            await asyncio.sleep(0)
        assert sockets.counts.slow == 0
        assert peer._state is OPEN

    asyncio.run(body())


def test_nothing_is_written_after_the_close_frame() -> None:
    async def body() -> None:
        peer, transport, session, sockets = opened()
        peer.send(b"before")
        peer.close(1000, "done")
        peer.send(b"after")
        transport.protocol.feed(frame(b"too late", 1, fin=True) + frame(b"ping", 9, fin=True))
        await asyncio.sleep(0)
        assert transport.written == [b"\x81\x06before", b"\x88\x06\x03\xe8done"]
        assert session.frames == []
        transport.protocol.feed(frame(b"\x03\xe8", 8, fin=True))
        assert transport.events == ["close"]
        sockets.closing.cancel()

    asyncio.run(body())


def test_the_session_is_told_of_a_backlog_that_grows_and_of_its_end() -> None:
    async def body() -> None:
        peer, transport, session, sockets = opened()
        transport.unread = LIMITS.slow_reader_bytes + 1
        peer.send(b"a")
        await asyncio.sleep(0)
        assert len(sockets.backlog) == 1
        transport.unread = 2 * transport.unread
        await asyncio.sleep(2 * CHECK_EVERY_S)
        assert session.events == ["behind"]
        peer.send(b"b")
        transport.unread = 0
        await asyncio.sleep(2 * CHECK_EVERY_S)
        assert session.events == ["behind", "caught up"]
        assert len(sockets.backlog) == sockets.counts.slow == 0

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(body())


def test_a_socket_that_is_gone_is_watched_no_longer() -> None:
    async def body() -> None:
        peer, transport, session, sockets = opened()
        transport.unread = LIMITS.slow_reader_bytes + 1
        peer.send(b"a")
        await asyncio.sleep(0)
        transport.protocol.connection_lost(None)
        assert len(sockets.backlog) == 0
        await asyncio.sleep(2 * CHECK_EVERY_S)
        assert session.events == []

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(body())


CLOSES = [
    (b"\x03\xe8", True),
    (b"\x03\xe9bye", True),
    (b"", False),
    (b"\x03\xea", False),
    (b"\x03\xf3", False),
    (b"\x0f\xa0", False),
]
"""Payloads of a client's close frame: 1000, 1001, none, 1002, 1011, 4000."""


@pytest.mark.parametrize(("payload", "is_goodbye"), CLOSES)
async def test_a_client_says_goodbye_by_its_close_code(payload: bytes, is_goodbye: bool) -> None:
    peer, transport, session, _ = opened()
    transport.protocol.feed(frame(payload, 8, fin=True))
    transport.protocol.connection_lost(None)
    assert (session.closed_count, session.said_goodbye) == (1, is_goodbye)
    assert peer._state is State.GONE


async def test_a_lost_connection_is_no_goodbye_nor_is_the_answer_to_our_close() -> None:
    _, transport, session, _ = opened()
    transport.protocol.connection_lost(None)
    assert session.said_goodbye is False
    for too_slow in (False, True):
        peer, transport, session, _ = opened()
        if too_slow:
            peer.give_up("it does not read")
        else:
            peer.close(1012, "stopping")
        transport.protocol.feed(frame(b"\x03\xe8", 8, fin=True))
        transport.protocol.connection_lost(None)
        assert session.said_goodbye is False


@given(pauses=st.lists(st.booleans(), min_size=1, max_size=12), cuts=st.lists(st.integers(0, 400), max_size=4))
@settings(deadline=None)
def test_what_came_together_with_the_message_of_a_pause_waits_and_is_served_in_order(
    pauses: list[bool], cuts: list[int]
) -> None:
    stream = b"".join(frame(b"%d" % number, 1, fin=True) for number in range(len(pauses)))

    async def body() -> None:
        peer, transport, session, sockets = opened()

        def pause() -> None:
            if pauses[len(session.frames) - 1]:
                peer.pause()

        session.answer = pause
        for piece in cut(stream, cuts):
            transport.protocol.feed(piece)
        for number, paused in enumerate(pauses, 1):
            if paused:
                assert len(session.frames) == number
                await asyncio.sleep(PAUSE_S)
        assert session.frames == [b"%d" % number for number in range(len(pauses))]
        assert transport.events.count("resume") == (1 if any(pauses) else 0) or cuts
        assert transport.events[-1:] in ([], ["resume"])
        assert sockets.counts.messages_in == len(pauses)
        assert len(sockets.paused) == 0

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(body())


def test_a_client_that_closes_is_served_what_it_sent_before() -> None:
    async def body() -> None:
        peer, transport, session, sockets = opened()
        session.answer = peer.pause
        transport.protocol.feed(b"".join(frame(text, 1, fin=True) for text in (b"a", b"b", b"c")))
        assert session.frames == [b"a"]
        transport.protocol.feed(frame(b"\x03\xe8", 8, fin=True))
        assert session.frames == [b"a", b"b", b"c"]
        transport.protocol.connection_lost(None)
        assert session.said_goodbye
        assert len(sockets.paused) == 0
        sockets.closing.cancel()

    asyncio.run(body())


def test_nothing_that_waits_is_served_once_the_socket_is_closing_or_gone() -> None:
    async def body() -> None:
        for end in ("close", "fail", "lose"):
            peer, transport, session, sockets = opened()
            session.answer = peer.pause
            transport.protocol.feed(b"".join(frame(text, 1, fin=True) for text in (b"a", b"b", b"c")))
            if end == "close":
                peer.close(1000, "done")
            elif end == "lose":
                transport.protocol.connection_lost(None)
            else:
                session.answer = lambda: 1 / 0
            await asyncio.sleep(2 * PAUSE_S)
            assert session.frames == ([b"a", b"b"] if end == "fail" else [b"a"])
            assert sockets.counts.failed == (end == "fail")
            if end != "lose":
                assert transport.events[-1] == "resume", "the client's close frame is to be read"
            sockets.closing.cancel()

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(body())


def test_a_client_that_is_paused_counts_as_one_that_is_there() -> None:
    async def body() -> None:
        peer, transport, session, sockets = opened()
        sockets.ping_ticks, sockets.lost_ticks = 1, 2
        session.answer = peer.pause
        transport.protocol.feed(frame(b"a", 1, fin=True) * 5)
        for _ in range(4):
            await asyncio.sleep(PAUSE_S)
            peer.beat()
        assert transport.written == []
        assert "abort" not in transport.events

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(body())
