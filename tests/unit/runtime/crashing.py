"""A process that dies at a place of the code, on the memory broker."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zocket.crashpoints import CrashPoints

if TYPE_CHECKING:
    from zocket.broker.memory import MemoryBroker


class Once(CrashPoints):
    """Strikes the n-th time that a place is reached; then the connection is dead, and nothing more leaves."""

    def __init__(self, place: str, nth: int, broker: MemoryBroker) -> None:
        super().__init__({place: 1.0}, die=broker.abort)
        self.left = nth
        self.struck = False

    def strikes(self, place: str) -> bool:
        if self.struck or not super().strikes(place):
            return False
        self.left -= 1
        self.struck = self.left == 0
        return self.struck
