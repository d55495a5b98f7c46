"""Suspect runs of reminders on a broker: marked beside the messages, given up to the same dead letters.

Rules: suspect messages go first. On its last attempt a run is alone, which holds up all messages.
"""

from __future__ import annotations

import math
from functools import partial
from hashlib import blake2b
from typing import TYPE_CHECKING

import msgspec

from zocket.errors import Unavailable
from zocket.runtime.dead_letters import BuriedRun, DeadLetter

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractAsyncContextManager

    from zocket.host.trials import DueRun
    from zocket.runtime.suspects import Suspects


class SuspectRuns:
    """A `Suspicion`.

    Args:
        suspects: among the messages.
        taken: time of day of the takeover, in seconds since the epoch.
    """

    def __init__(self, suspects: Suspects, taken: float) -> None:
        self._suspects = suspects
        self._marks = suspects.marks
        self._taken = taken

    @property
    def before(self) -> float:
        """See `Suspicion.before`; no time if the predecessor has said meanwhile that it lives."""
        return self._taken if self._suspects.has_died() else -math.inf

    @property
    def busy(self) -> bool:
        """See `Suspicion.busy`."""
        return self._suspects.busy

    def attempts(self, run_id: str) -> int:
        """See `Suspicion.attempts`."""
        return self._marks.deaths(run_id)

    async def wait_quiet(self) -> None:
        """See `Suspicion.wait_quiet`."""
        await self._suspects.wait_quiet()

    def alone(self) -> AbstractAsyncContextManager[None]:
        """See `Suspicion.alone`."""
        return self._suspects.alone()

    async def begin(self, run_ids: Sequence[str]) -> None:
        """See `Suspicion.begin`; tried again until it succeeds."""
        await self._suspects.begin(*run_ids)

    def finish(self, run_id: str) -> None:
        """See `Suspicion.finish`."""
        self._marks.finish(run_id)

    async def tidy(self) -> None:
        """See `Suspicion.tidy`."""
        try:
            await self._marks.sweep()
        except Unavailable as error:
            self._suspects.log.warning("marks stay behind: %s", error.message)

    async def is_spent(self, run_id: str) -> bool:
        """See `Suspicion.is_spent`."""
        return await self._suspects.is_spent(run_id)

    async def bury(self, run: DueRun, attempts: int) -> None:
        """See `Suspicion.bury`; tried again until it succeeds."""
        suspects, reminder = self._suspects, run.reminder
        buried = BuriedRun(run.name, reminder.due, run.run_id, run.durable, reminder.method, reminder.arguments)
        letter = DeadLetter(
            actor=run.key.actor,
            actor_id=run.key.actor_id,
            method=reminder.method,
            cause=suspects.cause(attempts),
            attempts=attempts,
            at=suspects.wall_ms(),
            sequence=0,
            subject="",
            deployment=suspects.deployment_id,
            process=suspects.process_name,
            envelope=msgspec.Raw(msgspec.json.encode(buried)),
            reminder=run.name,
        )
        message_id = f"{blake2b(run.run_id.encode(), digest_size=16).hexdigest()}:dead"
        await suspects.persist(partial(suspects.dead_letters.add, letter, message_id), "a dead letter cannot be stored")
