"""The word to each runtime in standby: wait, take over, or end.

Rules: a word stays until it is changed, so a runtime that asks late, or again after a crash, hears the same; each word
has a number, so one that is said once more is heard by a runtime that heeds it already; whoever asks is held back until
there is something new to say, or for a while.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from zocket.clock import Clock

Word = Literal["wait", "activate", "stop"]

HOLD_S: Final = 20.0
"""How long a question is held back: shorter than the idle limits of common proxies (30 s and more)."""


class Words:
    """The words of this process.

    Args:
        clock: time of holding back.
        closing: set when the process ends; nobody is held back any longer then.
    """

    def __init__(self, clock: Clock, closing: asyncio.Event) -> None:
        self._clock = clock
        self._closing = closing
        self._words: dict[str, tuple[Word, int]] = {}
        self._turns = int(clock.wall() * 1000)
        self._changed = asyncio.Event()

    def say(self, deployment_id: str, word: Word) -> None:
        """The word is another one now, or the same once more."""
        self._turns += 1
        self._words[deployment_id] = word, self._turns
        self._wake()

    def forget(self, deployment_id: str) -> None:
        """There is none any more."""
        self._words.pop(deployment_id, None)
        self._wake()

    def get(self, deployment_id: str) -> Word | None:
        """The word now, None if there is none."""
        found = self._words.get(deployment_id)
        return found[0] if found is not None else None

    async def wait(self, deployment_id: str, since: int = 0) -> tuple[Word, int]:
        """The word with its number, as soon as it is neither `wait` nor the one of `since`.

        After a while, or at the end of the process, it is `wait`; for a deployment without a word it is `stop`.
        """
        over = asyncio.Event()
        timer = self._clock.call_later(HOLD_S, over.set)
        try:
            while True:
                word, turn = self._words.get(deployment_id, ("stop", 0))
                if word == "stop" or (word != "wait" and turn != since):
                    return word, turn
                if over.is_set() or self._closing.is_set():
                    return "wait", turn
                await _first(self._changed, over, self._closing)
        finally:
            timer.cancel()

    def _wake(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()


async def _first(*events: asyncio.Event) -> None:
    waits = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
