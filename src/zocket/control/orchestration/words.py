"""The word to each runtime in standby: wait, take over, or end.

Rules: a word stays until it is changed, so a runtime that asks late, or again after a crash, hears the same; whoever
asks is held back until there is another word than `wait`, or for a while.
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
        self._words: dict[str, Word] = {}
        self._changed = asyncio.Event()

    def say(self, deployment_id: str, word: Word) -> None:
        """The word is another one now."""
        self._words[deployment_id] = word
        self._wake()

    def forget(self, deployment_id: str) -> None:
        """There is none any more."""
        self._words.pop(deployment_id, None)
        self._wake()

    def get(self, deployment_id: str) -> Word | None:
        """The word now, None if there is none."""
        return self._words.get(deployment_id)

    async def wait(self, deployment_id: str) -> Word:
        """The word, as soon as it is not `wait`; `wait` after a while, and `stop` for one that is forgotten."""
        over = asyncio.Event()
        timer = self._clock.call_later(HOLD_S, over.set)
        try:
            while True:
                word = self._words.get(deployment_id, "stop")
                if word != "wait" or over.is_set() or self._closing.is_set():
                    return word
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
