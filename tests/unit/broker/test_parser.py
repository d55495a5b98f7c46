"""What a server sends, cut up in any way, and bytes that no server sends."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zocket.broker.parser import MAX_LINE_BYTES, Parser, ProtocolViolation

Message = tuple[bytes, bytes, bytes, bytes | None]


class Ear:
    """A receiver that keeps everything."""

    subject = "x"

    def __init__(self) -> None:
        self.messages: list[Message] = []

    def receive(self, subject: bytes, reply: bytes, payload: bytes, header: bytes | None) -> None:
        self.messages.append((subject, reply, payload, header))


class World:
    def __init__(self) -> None:
        self.ear = Ear()
        self.lines: list[bytes] = []
        self.parser = Parser({1: self.ear}, self.lines.append)


TOKENS = st.text("abcXYZ_$-=%", min_size=1, max_size=12).map(str.encode)
HEADERS = st.none() | st.binary(max_size=30).map(lambda raw: b"NATS/1.0\r\n" + raw.hex().encode() + b"\r\n\r\n")
MESSAGES = st.tuples(TOKENS, TOKENS | st.just(b""), st.binary(max_size=200), HEADERS)
LINES = st.sampled_from([b"PING", b"PONG", b"+OK", b"-ERR 'no'", b'INFO {"a":1}'])


def encoded(item: bytes | Message) -> bytes:
    if isinstance(item, bytes):
        return item + b"\r\n"
    subject, reply, payload, header = item
    head = [subject, b"1", *([reply] if reply else [])]
    if header is None:
        return b"MSG %b %d\r\n%b\r\n" % (b" ".join(head), len(payload), payload)
    size = len(header) + len(payload)
    return b"HMSG %b %d %d\r\n%b%b\r\n" % (b" ".join(head), len(header), size, header, payload)


@given(st.lists(MESSAGES | LINES, max_size=12), st.data())
def test_whatever_way_the_bytes_are_split_the_same_comes_out(items: list[bytes | Message], data: st.DataObject) -> None:
    stream = b"".join(map(encoded, items))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=20)))
    world = World()
    for start, stop in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        world.parser.feed(stream[start:stop])
    assert world.ear.messages == [item for item in items if not isinstance(item, bytes)]
    assert world.lines == [item for item in items if isinstance(item, bytes)]


@given(st.binary(max_size=300), st.lists(st.binary(max_size=60), max_size=6))
def test_bytes_of_no_server_end_in_a_violation_or_in_lines_and_in_nothing_else(first: bytes, more: list[bytes]) -> None:
    world = World()
    with contextlib.suppress(ProtocolViolation):
        for part in (first, *more):
            world.parser.feed(part)


@pytest.mark.parametrize(
    "wrong",
    [
        b"MSG a 1\r\n",
        b"MSG a 1 -1\r\n",
        b"MSG a x 1\r\n",
        b"MSG a 1 r s 1\r\nx\r\n",
        b"MESSAGE a 1 1\r\nx\r\n",
        b"MSG a 1 1\r\nxyz\r\n",
        b"MSG a 1 999999999999\r\n",
        b"HMSG a 1 9 3\r\nabc\r\n",
        b"HMSG a 1 -1 3\r\nabc\r\n",
        b"HMSG a 1 3\r\nabc\r\n",
        b"x" * (MAX_LINE_BYTES + 1),
    ],
)
def test_a_message_that_contradicts_itself_is_a_violation(wrong: bytes) -> None:
    with pytest.raises(ProtocolViolation):
        World().parser.feed(wrong)


def test_a_message_of_a_subscription_that_ended_is_dropped_and_the_next_comes() -> None:
    world = World()
    world.parser.feed(b"MSG a 7 1\r\nx\r\nMSG b 1 1\r\ny\r\n")
    assert world.ear.messages == [(b"b", b"", b"y", None)]


def test_a_large_payload_in_many_pieces_is_put_together_once() -> None:
    world = World()
    payload = bytes(range(256)) * 20_000
    stream = b"MSG a 1 %d\r\n%b\r\nPING\r\n" % (len(payload), payload)
    for start in range(0, len(stream), 65_536):
        world.parser.feed(stream[start : start + 65_536])
    assert world.ear.messages == [(b"a", b"", payload, None)]
    assert world.lines == [b"PING"]
