"""Tells the maker of a stream how far its chunks have come: not before the socket has room for more; sans-I/O.

Rules: every `frames.CREDIT_CHUNKS`th chunk is credited, and every large one, which includes all chunks before it; while
more than `low_bytes` wait in the socket nothing is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from zocket.protocol import frames

if TYPE_CHECKING:
    from collections.abc import Callable

    from zocket.protocol.edge import Pending

LOOK_EVERY_S: Final = 0.02
"""How often a full socket is looked at."""


class Flow:
    """The streams of one socket.

    Args:
        unsent_bytes: what waits in the socket.
        low_bytes: above it the socket counts as full.
        credit: told a call and the number of its newest chunk that counts.
        later: calls back after so many seconds, 0 for the next turn of the event loop.
    """

    __slots__ = ("_credit", "_later", "_low_bytes", "_owed", "_planned", "_unsent_bytes")

    def __init__(
        self,
        unsent_bytes: Callable[[], int],
        low_bytes: int,
        credit: Callable[[Pending, int], None],
        later: Callable[[float, Callable[[], None]], object],
    ) -> None:
        self._unsent_bytes = unsent_bytes
        self._low_bytes = low_bytes
        self._credit = credit
        self._later = later
        self._owed: dict[int, tuple[Pending, int]] = {}
        self._planned = False

    def sent(self, pending: Pending, number: int, size: int) -> None:
        """A chunk was given to the socket; `size` is that of its frame."""
        if number % frames.CREDIT_CHUNKS == 0 or size >= frames.CREDIT_BYTES:
            self._owed[pending[1]] = (pending, number)
            if not self._planned:
                self._planned = True
                self._later(0.0, self._look)

    def close(self) -> None:
        """The socket is gone: nothing is credited any more."""
        self._owed.clear()

    def _look(self) -> None:
        self._planned = False
        if not self._owed:
            return
        if self._unsent_bytes() > self._low_bytes:
            self._planned = True
            self._later(LOOK_EVERY_S, self._look)
            return
        owed, self._owed = self._owed, {}
        for pending, number in owed.values():
            self._credit(pending, number)
