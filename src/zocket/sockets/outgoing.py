"""Frames of all sockets of one front, written once per loop turn.

Rules: a socket's frames of one turn leave in one write; a frame (or several) that many sockets send in a row is
framed once; an error with one socket touches no other.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from zocket.sockets.limits import Counts
    from zocket.sockets.peer import SocketPeer

log = logging.getLogger("zocket.sockets")

TEXT_FRAME: Final = 0x81
"""First byte of a whole text message (RFC 6455, section 5.2)."""

PONG_FRAME: Final = 0x8A
"""First byte of a pong."""

_SHORT_HEADERS: Final = tuple(bytes((TEXT_FRAME, length)) for length in range(126))
"""The header of every payload that is shorter than 126 bytes; a server's frames have no mask."""


def text_header(length: int) -> bytes:
    """What goes in front of a text payload of this many bytes."""
    if length < 126:
        return _SHORT_HEADERS[length]
    if length < 65_536:
        return b"\x81\x7e" + length.to_bytes(2, "big")
    return b"\x81\x7f" + length.to_bytes(8, "big")


class Outgoing:
    """Peers with something to write in this turn.

    Attributes:
        planned: whether a flush is coming.
    """

    __slots__ = ("_counts", "_data", "_frames", "_loop", "_waiting", "planned")

    def __init__(self, counts: Counts) -> None:
        self._loop = asyncio.get_running_loop()
        self._counts = counts
        self._waiting: list[SocketPeer] = []
        self._frames: list[bytes] = []
        self._data = b""
        self.planned = False

    def plan(self) -> None:
        """Flushes right after what the loop has to do already. For whoever has given it something that will answer."""
        self.planned = True
        self._loop.call_soon(self._flush)

    def add(self, peer: SocketPeer) -> None:
        """The peer's `flush` is called before the loop waits for the network again."""
        if not self.planned:
            self.plan()
        self._waiting.append(peer)

    def framed(self, frames: list[bytes]) -> bytes:
        """The frames as they go over the wire; built once for equal lists in a row (a broadcast).

        Lists are compared by the identity of their elements first, so a hit costs no look at the payload.
        """
        if frames != self._frames:
            self._frames = frames
            if len(frames) == 1:
                self._data = text_header(len(frames[0])) + frames[0]
            else:
                parts = []
                for frame in frames:
                    length = len(frame)
                    parts.append(_SHORT_HEADERS[length] if length < 126 else text_header(length))
                    parts.append(frame)
                self._data = b"".join(parts)
        counts = self._counts
        counts.messages_out += len(frames)
        counts.bytes_out += len(self._data)
        return self._data

    def _flush(self) -> None:
        self.planned = False
        if not self._waiting:
            return
        peers, self._waiting = self._waiting, []
        for peer in peers:
            try:
                peer.flush()
            except Exception:  # border: what a session sent may be no bytes; the other sockets are not concerned
                log.exception("a socket could not be written to", extra={"remote": peer.remote})
                peer.abort()
        self._frames, self._data = [], b""
