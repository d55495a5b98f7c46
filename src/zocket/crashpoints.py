"""Named places where a runtime process kills itself, for testing what follows a crash there.

Rules: only `ZOCKET_CRASHPOINT` turns them on, so a process without it holds None and asks nothing; a process dies by
SIGKILL, so that nothing is finished, flushed or cleaned up.
"""

from __future__ import annotations

import os
import random
import signal
from typing import TYPE_CHECKING, Final, Self

from zocket.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

PLACES: Final = {
    "before_commit": "turns have run, their record is not written",
    "after_commit": "a record is stored, nothing of its turns was sent",
    "before_publish": "frames are about to be sent",
    "before_ack": "frames were sent, their messages are not acknowledged",
    "in_takeover": "the owner record is written, the consumers are another's",
    "after_takeover": "the consumers are taken, the runtime does not yet serve",
    "in_drain": "the runtime has said that it leaves, and has not finished what is queued",
}
"""By name, what is true there."""
VARIABLE: Final = "ZOCKET_CRASHPOINT"


def _kill_this_process() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class CrashPoints:
    """With which probability a process dies at which place.

    Args:
        chances: probabilities of 0–1, by names of `PLACES`.
        draw: gives numbers in [0, 1).
        die: ends the process.
    """

    def __init__(
        self,
        chances: Mapping[str, float],
        *,
        draw: Callable[[], float] = random.random,
        die: Callable[[], None] = _kill_this_process,
    ) -> None:
        self._chances = dict(chances)
        self._draw = draw
        self.die = die

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Reads `name:probability`, several of them comma-separated; None if there are none.

        Raises:
            SettingsError: a name is unknown, or a probability is not a number of 0–1; the message lists the names.
        """
        chances = dict(map(_parse_one, text.split(","))) if text.strip() else {}
        return cls(chances) if chances else None

    def strikes(self, place: str) -> bool:
        """Whether the process shall die at this place, this time."""
        chance = self._chances.get(place, 0.0)
        return chance > 0.0 and self._draw() < chance

    def reach(self, place: str) -> None:
        """Does not return if the process dies here."""
        if self.strikes(place):
            self.die()


def _parse_one(item: str) -> tuple[str, float]:
    name, _, number = item.strip().partition(":")
    try:
        chance = float(number)
    except ValueError:
        chance = -1.0
    if name not in PLACES or not 0.0 <= chance <= 1.0:
        raise SettingsError(
            f'{VARIABLE}: expected name:probability (0–1), comma-separated, got "{item.strip()}"; '
            f"the names are {', '.join(PLACES)}"
        )
    return name, chance
