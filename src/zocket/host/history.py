"""The versions of one instance's state, and the last patches between them: what lets a client resume.

Rules: a version is an epoch (one life of the state) and a number that counts its patches; a patch that left the ring is
never made again, a snapshot takes its place. Of a text that has grown the ring has what was added. An instance has a
history from its first state subscription on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from zocket.ids import new_epoch
from zocket.protocol import frames

if TYPE_CHECKING:
    from zocket.protocol.frames import Since

MAX_PATCHES: Final = 256
"""Patches that are kept: a client that was away for longer than a few seconds of a busy room takes a snapshot."""
SLACK: Final = 64
"""Patches beyond `MAX_PATCHES` at which the oldest are dropped, all at once: a list is small and drops at its front
slowly, while a deque takes 760 bytes from the first patch on, and most instances have few."""
MAX_BYTES: Final = 256 * 1024
"""The same bound in bytes; above it a snapshot is usually smaller."""


class History:
    """Where the state is, and how it came there."""

    __slots__ = ("_bytes", "_last_append", "_patches", "epoch", "seq")

    def __init__(self, epoch: str | None = None, seq: int = 0) -> None:
        self.epoch = epoch or new_epoch()
        self.seq = seq
        self._patches: list[bytes] = []
        self._bytes = 0
        self._last_append = -1

    def add(self, operations: bytes, *, appends: bool = False) -> bytes:
        """Takes down a committed patch, which `appends` or not; the JSON fields of the version it leads to."""
        self.seq += 1
        if appends:
            self._last_append = self.seq
        self._patches.append(operations)
        self._bytes += len(operations)
        if len(self._patches) >= MAX_PATCHES + SLACK or self._bytes > MAX_BYTES:
            self._drop_oldest()
        return self.version()

    def _drop_oldest(self) -> None:
        kept = len(self._patches)
        while kept > MAX_PATCHES or (self._bytes > MAX_BYTES and kept):
            self._bytes -= len(self._patches[-kept])
            kept -= 1
        del self._patches[: len(self._patches) - kept]

    def version(self) -> bytes:
        """The JSON fields of the present version."""
        return frames.version(self.epoch, self.seq)

    def missing(self, since: Since | None, *, appends: bool = False) -> list[tuple[bytes, bytes]] | None:
        """The patches after a version with the version that each leads to; None if a snapshot is needed.

        So it is for one who does not take `append` (`appends` says it) where one of the patches has it.
        """
        if since is None or since.epoch != self.epoch or not 0 <= self.seq - since.seq <= len(self._patches):
            return None
        if not appends and since.seq < self._last_append:
            return None
        count = self.seq - since.seq
        found = self._patches[len(self._patches) - count :]
        return [
            (operations, frames.version(self.epoch, number)) for number, operations in enumerate(found, since.seq + 1)
        ]
