"""The bytes of the NATS protocol that the hot path writes and reads itself.

Rules: pure functions; whoever calls has checked subjects (`matching.check_subject`); a header value is printable ASCII,
so that it can end neither its line nor the header.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from zocket.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

CRLF: Final = b"\r\n"
TERM: Final = b"+TERM"
IN_PROGRESS: Final = b"+WPI"

_STATUS_LINE: Final = b"NATS/1.0 "
_HEADER_VALUE: Final = re.compile(r"[!-~](?:[ -~]*[!-~])?\Z")
_MESSAGE_ID_HEADER_BYTES: Final = len(b"NATS/1.0\r\nNats-Msg-Id: \r\n\r\n")
_EXPECTED_SEQUENCE_HEADER_BYTES: Final = len(b"NATS/1.0\r\nNats-Expected-Last-Subject-Sequence: \r\n\r\n")
_ACK_TOKENS: Final = 9
_ACK_V2_TOKENS: Final = 11


def check_header_value(value: str) -> None:
    """Refuses a header value that is empty, padded or not printable ASCII.

    Raises:
        UsageError: it is; message ids are built from checked identifiers, so this is a mistake in the program.
    """
    if not _HEADER_VALUE.match(value):
        raise UsageError(f"no header value: {value[:80]!r}")


def publish_head(subject: str, reply: str, size: int) -> bytes:
    """The command line of a core publish; the payload and CRLF follow."""
    return f"PUB {subject} {reply} {size}\r\n".encode() if reply else f"PUB {subject} {size}\r\n".encode()


def publish_with_id_head(subject: str, reply: str, message_id: str, size: int) -> bytes:
    """The command line and header of a publish that the stream deduplicates; the payload and CRLF follow."""
    header = _MESSAGE_ID_HEADER_BYTES + len(message_id)
    return (
        f"HPUB {subject} {reply} {header} {header + size}\r\nNATS/1.0\r\nNats-Msg-Id: {message_id}\r\n\r\n"
    ).encode()


def publish_expecting_head(subject: str, reply: str, expected: int, size: int) -> bytes:
    """The command line and header of a publish that the stream takes only over this last sequence of the subject."""
    header = expected_sequence_bytes(expected)
    return (
        f"HPUB {subject} {reply} {header} {header + size}\r\n"
        f"NATS/1.0\r\nNats-Expected-Last-Subject-Sequence: {expected}\r\n\r\n"
    ).encode()


def expected_sequence_bytes(expected: int) -> int:
    """Bytes that the header of `publish_expecting_head` adds to the payload, where the server counts both."""
    return _EXPECTED_SEQUENCE_HEADER_BYTES + len(str(expected))


def message_id_bytes(message_id: str) -> int:
    """Bytes that the header of this message id adds to the payload, where the server counts both."""
    return _MESSAGE_ID_HEADER_BYTES + len(message_id)


def publish_with_headers(subject: str, reply: str, headers: dict[str, str], payload: bytes) -> bytes:
    """A whole publish with headers, for what is rare."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    header = f"NATS/1.0\r\n{lines}\r\n".encode()
    head = f"HPUB {subject} {reply} {len(header)} {len(header) + len(payload)}\r\n".encode()
    return head + header + payload + CRLF


def acknowledgements(replies: Iterable[bytes]) -> bytes:
    """Acknowledges each message by its reply subject; `replies` may not be empty."""
    return b"PUB " + b" 4\r\n+ACK\r\nPUB ".join(replies) + b" 4\r\n+ACK\r\n"


def settlement(reply: bytes, verdict: bytes) -> bytes:
    """Answers one delivered message with a verdict other than the plain acknowledgement."""
    return b"PUB %b %d\r\n%b\r\n" % (reply, len(verdict), verdict)


def negative(delay_s: float) -> bytes:
    """The verdict "deliver again after `delay_s`"."""
    return b'-NAK {"delay": %d}' % round(delay_s * 1e9) if delay_s > 0 else b"-NAK"


def delivery_numbers(reply: bytes) -> tuple[int, int, int]:
    """From the reply subject of a delivered message: its stream sequence, its attempt, its number in the consumer.

    The last one counts every delivery of the consumer, repeated ones too, so a missing number is a lost delivery.

    The first form is `$JS.ACK.stream.consumer.delivered.stream_seq.consumer_seq.time.pending`; the second has a domain
    and an account hash before the stream, and may have a random token at its end.

    Raises:
        ValueError: it is no such subject.
    """
    tokens = reply.split(b".")
    count = len(tokens)
    if count == _ACK_TOKENS:
        return int(tokens[5]), int(tokens[4]), int(tokens[6])
    if count >= _ACK_V2_TOKENS:
        return int(tokens[7]), int(tokens[6]), int(tokens[8])
    raise ValueError(f"no reply subject of a delivery: {reply[:120]!r}")


def status(header: bytes) -> int:
    """The status number of a message that the server made itself; 0 for one that somebody published."""
    if not header.startswith(_STATUS_LINE):
        return 0
    digits = header[len(_STATUS_LINE) : len(_STATUS_LINE) + 3]
    return int(digits) if digits.isdigit() else 0


def header_value(header: bytes, name: bytes) -> bytes:
    """The value of the header line `name`, empty if there is none."""
    for line in header.split(CRLF):
        key, colon, value = line.partition(b":")
        if colon and key.strip().lower() == name.lower():
            return value.strip()
    return b""


def status_text(header: bytes) -> str:
    """The status line without the protocol's name, for a log line."""
    return header.split(CRLF, 1)[0][len(_STATUS_LINE) :].decode("utf-8", "replace")
