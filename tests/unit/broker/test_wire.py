from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zocket.broker import wire
from zocket.errors import UsageError


def test_a_publish_with_and_without_reply() -> None:
    assert wire.publish_head("a.b", "", 3) == b"PUB a.b 3\r\n"
    assert wire.publish_head("a.b", "r", 3) == b"PUB a.b r 3\r\n"
    assert wire.publish_head("ä", "", 0) == "PUB ä 0\r\n".encode()


@given(st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=60), st.integers(0, 10**7))
def test_the_sizes_of_a_publish_with_id_are_those_of_its_header(message_id: str, size: int) -> None:
    wire.check_header_value(message_id)
    line, _, header = wire.publish_with_id_head("a.b", "_INBOX.x.1", message_id, size).partition(b"\r\n")
    operation, subject, reply, header_bytes, total = line.split(b" ")
    assert (operation, subject, reply) == (b"HPUB", b"a.b", b"_INBOX.x.1")
    assert int(header_bytes) == len(header) == wire.message_id_bytes(message_id)
    assert int(total) == len(header) + size
    assert wire.header_value(header, b"nats-msg-id") == message_id.encode()
    assert header.endswith(b"\r\n\r\n")


@given(st.integers(0, 2**63), st.integers(0, 10**7))
def test_the_sizes_of_a_publish_over_a_sequence_are_those_of_its_header(expected: int, size: int) -> None:
    line, _, header = wire.publish_expecting_head("a.b", "_INBOX.x.1", expected, size).partition(b"\r\n")
    operation, subject, reply, header_bytes, total = line.split(b" ")
    assert (operation, subject, reply) == (b"HPUB", b"a.b", b"_INBOX.x.1")
    assert int(header_bytes) == len(header) == wire.expected_sequence_bytes(expected)
    assert int(total) == len(header) + size
    assert wire.header_value(header, b"Nats-Expected-Last-Subject-Sequence") == b"%d" % expected
    assert header.endswith(b"\r\n\r\n")


def test_a_publish_with_headers_is_whole() -> None:
    command = wire.publish_with_headers("a", "r", {"K": "v", "L": "w"}, b"xy")
    assert command == b"HPUB a r 24 26\r\nNATS/1.0\r\nK: v\r\nL: w\r\n\r\nxy\r\n"


@pytest.mark.parametrize("value", ["", " a", "a ", "a\r\nb: c", "a\nb", "ä", "a\x00"])
def test_a_header_value_that_could_end_its_line_is_refused(value: str) -> None:
    with pytest.raises(UsageError):
        wire.check_header_value(value)


def test_acknowledgements_are_one_command_each() -> None:
    assert wire.acknowledgements([b"r1"]) == b"PUB r1 4\r\n+ACK\r\n"
    assert wire.acknowledgements([b"r1", b"r2"]) == b"PUB r1 4\r\n+ACK\r\nPUB r2 4\r\n+ACK\r\n"


def test_other_verdicts() -> None:
    assert wire.settlement(b"r", wire.TERM) == b"PUB r 5\r\n+TERM\r\n"
    assert wire.settlement(b"r", wire.IN_PROGRESS) == b"PUB r 4\r\n+WPI\r\n"
    assert wire.settlement(b"r", b"") == b"PUB r 0\r\n\r\n"
    assert wire.negative(0) == b"-NAK"
    assert wire.negative(1.5) == b'-NAK {"delay": 1500000000}'


@pytest.mark.parametrize(
    "reply",
    [
        b"$JS.ACK.INBOUND.rt-w-p-chat.3.41.50.1700000000000000000.7",
        b"$JS.ACK._.hash.INBOUND.rt-w-p-chat.3.41.50.1700000000000000000.7",
        b"$JS.ACK.domain.hash.INBOUND.rt-w-p-chat.3.41.50.1700000000000000000.7.token",
    ],
)
def test_both_forms_of_a_reply_subject_name_the_numbers_of_the_delivery(reply: bytes) -> None:
    assert wire.delivery_numbers(reply) == (41, 3, 50)


@pytest.mark.parametrize("reply", [b"", b"_INBOX.a.b", b"$JS.ACK.a.b.c.d.e.f.g", b"$JS.ACK.a.b.1.2.3.4.5.6"])
def test_another_reply_subject_is_refused(reply: bytes) -> None:
    with pytest.raises(ValueError, match=r"no reply subject|invalid literal"):
        wire.delivery_numbers(reply)


def test_a_status_is_only_what_the_server_made() -> None:
    heartbeat = b"NATS/1.0 100 Idle Heartbeat\r\nNats-Last-Consumer: 8\r\n\r\n"
    assert wire.status(heartbeat) == 100
    assert wire.status_text(heartbeat) == "100 Idle Heartbeat"
    assert wire.header_value(heartbeat, b"Nats-Last-Consumer") == b"8"
    assert wire.header_value(heartbeat, b"Nats-Consumer-Stalled") == b""
    assert wire.status(b"NATS/1.0 503\r\n\r\n") == 503
    assert wire.status(b"NATS/1.0\r\nNats-Msg-Id: 100\r\n\r\n") == 0
    assert wire.status(b"NATS/1.0 \r\n\r\n") == 0
