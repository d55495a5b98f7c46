"""The bytes that a NATS server sends, cut into messages and lines.

Rules: whatever way the bytes are split, the same messages come out in the same order; nothing is copied but the payload
itself; bytes that are not the protocol end in `ProtocolViolation`, never in waiting for ever or in unbounded memory.
https://docs.nats.io/reference/reference-protocols/nats-protocol
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

CRLF: Final = b"\r\n"
MAX_LINE_BYTES: Final = 1024 * 1024
"""A line without an end: the longest is `INFO` with the addresses of a large cluster."""
MAX_MESSAGE_BYTES: Final = 64 * 1024 * 1024
"""The largest payload that a server can be set to allow (`max_payload`)."""
_M: Final = ord("M")
_H: Final = ord("H")


class ProtocolViolation(Exception):
    """These are not the bytes of a NATS server."""


class Receiver(Protocol):
    """What one subscription does with its messages."""

    subject: str

    def receive(self, subject: bytes, reply: bytes, payload: bytes, header: bytes | None) -> None:
        """Takes one message; never raises."""


class Parser:
    """Takes bytes as they come.

    Args:
        receivers: by subscription id; a message of one that is not there is dropped.
        line: called with every line that is no message (`PING`, `INFO …`, `-ERR …`), without its end.
    """

    __slots__ = ("_chunks", "_have", "_line", "_receivers", "_want")

    def __init__(self, receivers: Mapping[int, Receiver], line: Callable[[bytes], None]) -> None:
        self._receivers = receivers
        self._line = line
        self._chunks: list[bytes] = []
        self._have = 0
        self._want = 0

    def feed(self, data: bytes) -> None:
        """Gives everything that is complete now to receivers and `line`.

        Raises:
            ProtocolViolation: the bytes are not the protocol; the parser cannot go on.
        """
        if self._chunks:
            self._chunks.append(data)
            self._have += len(data)
            if self._have < self._want:
                return
            data = b"".join(self._chunks)
            self._chunks.clear()
        position, end, receivers = 0, len(data), self._receivers
        want = 0
        while True:
            eol = data.find(CRLF, position)
            if eol < 0:
                if end - position > MAX_LINE_BYTES:
                    raise ProtocolViolation("a line without an end")
                break
            first = data[position]
            if first != _M and first != _H:
                self._line(data[position:eol])
                position = eol + 2
                continue
            tokens = data[position:eol].split()
            count = len(tokens)
            try:
                if first == _H:
                    is_message = tokens[0] == b"HMSG" and (count == 6 or count == 5)
                    reply = tokens[3] if count == 6 else b""
                    header_bytes = int(tokens[-2])
                else:
                    is_message = tokens[0] == b"MSG" and (count == 5 or count == 4)
                    reply = tokens[3] if count == 5 else b""
                    header_bytes = 0
                size, sid = int(tokens[-1]), int(tokens[2])
            except (ValueError, IndexError):
                is_message = False
            if not is_message or not 0 <= header_bytes <= size <= MAX_MESSAGE_BYTES:
                raise ProtocolViolation(f"no line of the protocol: {data[position : min(eol, position + 80)]!r}")
            start = eol + 2
            stop = start + size
            if stop + 2 > end:
                want = stop + 2 - position
                break
            if data[stop : stop + 2] != CRLF:
                raise ProtocolViolation("a payload that is longer than it says")
            receiver = receivers.get(sid)
            if receiver is not None:
                if first == _H:
                    middle = start + header_bytes
                    receiver.receive(tokens[1], reply, data[middle:stop], data[start:middle])
                else:
                    receiver.receive(tokens[1], reply, data[start:stop], None)
            position = stop + 2
        if position < end:
            rest = data[position:]
            self._chunks = [rest]
            self._have = len(rest)
            self._want = want
