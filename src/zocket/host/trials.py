"""Runs of reminders that may have ended the process before this one: tried with care, given up the third time.

Rules: a host whose predecessor stopped cleanly has none of this. A suspect is a run that was due when the predecessor
was found dead, or one that has a mark. Each is marked before it runs. Those without a mark are marked together and run
beside everything else; one that has ended a process under a mark has its last attempt alone. An instance asks when the
run is due and it is its turn; a run that has to wait does not hold its instance up, which is woken for it again. A run
that is given up counts as missed: its reminder moves on.
"""

from __future__ import annotations

import logging
from itertools import islice
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, Protocol

from zocket.host.progress import Progress
from zocket.metrics import Sample

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Coroutine, Iterator, Sequence
    from contextlib import AbstractAsyncContextManager

    from zocket.clock import Clock
    from zocket.core import StoredReminder
    from zocket.host.store import Key

MAX_ATTEMPTS: Final = 3
"""Processes that a message or a run may end: the first in normal service, the others as a suspect."""
PATIENCE_S: Final = 1.0
"""How long a suspect that waits for something holds up the next ones."""
ALONE_S: Final = 30.0
"""The same on its last attempt: whoever ends the process then is known. The default time limit of a handler."""
AT_ONCE: Final = 64
"""Runs that are marked with one write and run beside each other: thousands may have come due without a process."""
RUNS_KEPT: Final = 256
"""Runs that have marks at most, four times as many as are marked at once. Of one that was cancelled, or whose process
died right after it, nobody takes them away."""

Verdict = Literal["runs", "waits", "missed"]

log = logging.getLogger("zocket.host")


class DueRun(NamedTuple):
    """A run of a reminder whose time has come; `run_id` names it over all its attempts."""

    key: Key
    name: str
    reminder: StoredReminder
    run_id: str
    durable: bool


class Suspicion(Protocol):
    """What is known of the processes before this one, and what is done about it."""

    @property
    def before(self) -> float:
        """A run that was due by then, in seconds since the epoch, may have ended the predecessor."""

    @property
    def busy(self) -> bool:
        """Whether something else that may have ended a process has its turn."""

    def attempts(self, run_id: str) -> int:
        """Processes that have ended while this run had their mark."""

    async def wait_quiet(self) -> None:
        """Waits until nothing else has its turn."""

    def alone(self) -> AbstractAsyncContextManager[None]:
        """During the block nothing else begins that can be held up."""

    async def begin(self, run_ids: Sequence[str]) -> None:
        """Marks runs; they may run when this has returned."""

    def finish(self, run_id: str) -> None:
        """The run is over: its mark goes with the next write."""

    async def tidy(self) -> None:
        """Removes the marks of runs that are over; failing that, they stay until later."""

    async def is_spent(self, run_id: str) -> bool:
        """Whether the run has had its attempts, as far as everybody knows who lives."""

    async def bury(self, run: DueRun, attempts: int) -> None:
        """Keeps what is given up, for a person; returns when it is stored."""


class _Trial:
    """A run that has its turn; `begun` once its instance has begun it, or the commit without it."""

    __slots__ = ("begun", "run", "verdict")

    def __init__(self, run: DueRun, verdict: Verdict) -> None:
        self.run = run
        self.verdict = verdict
        self.begun = False


class Trials:
    """The suspects among the runs of one host.

    Args:
        suspicion: of its surroundings.
        clock: time of everything that waits.
        wake: asks an instance to look what is due.
        spawn: runs a task until this host ends.
    """

    def __init__(
        self,
        suspicion: Suspicion,
        clock: Clock,
        *,
        wake: Callable[[Key], None],
        spawn: Callable[[Coroutine[None, None, None]], asyncio.Task[None]],
    ) -> None:
        self._suspicion = suspicion
        self._wake = wake
        self._spawn = spawn
        self._waiting: dict[Key, DueRun] = {}
        self._trials: dict[Key, _Trial] = {}
        self._moved_on: set[tuple[Key, str]] = set()
        self._progress = Progress(clock)
        self._given_up = 0

    def verdict(self, run: DueRun) -> Verdict:
        """Whether the run may begin now (`finished` is called when it is over), waits, or counts as missed.

        The instance of one that waits is woken in its turn.
        """
        trial = self._trials.get(run.key)
        if trial is not None and trial.run.run_id == run.run_id:
            trial.begun = trial.verdict != "waits"
            return trial.verdict
        if trial is not None and not trial.begun:
            self._end(trial)  # it was cancelled or replaced before it began
            trial = None
        if trial is None and run.key not in self._waiting and not self._is_suspect(run) and not self._suspicion.busy:
            return "runs"
        self._waiting[run.key] = run
        self._progress.made()
        return "waits"

    def nothing_due(self, key: Key) -> None:
        """The instance was woken and has no run that could begin."""
        trial = self._trials.get(key)
        if trial is not None and not trial.begun:
            self._end(trial)

    def finished(self, run: DueRun) -> None:
        """The run is over, and it is stored that its reminder has moved on."""
        trial = self._trials.get(run.key)
        if trial is not None and trial.run.run_id == run.run_id:
            if run.reminder.missed == "all":
                self._moved_on.add((run.key, run.name))
            self._end(trial)

    def _end(self, trial: _Trial) -> None:
        del self._trials[trial.run.key]
        self._suspicion.finish(trial.run.run_id)
        self._progress.made()

    def _is_suspect(self, run: DueRun) -> bool:
        """Whether an earlier process may have begun it: not if its reminder has come to it in this one."""
        was_due = run.reminder.due <= self._suspicion.before and (run.key, run.name) not in self._moved_on
        return was_due or self._suspicion.attempts(run.run_id) > 0

    async def watch(self) -> None:
        """Gives every run its turn; does not end."""
        while True:
            await self._progress.wait_until(lambda: bool(self._waiting))
            while self._waiting:
                await self._progress.wait_until(lambda: bool(self._next()))
                await self._suspicion.wait_quiet()
                await self._try(self._next())
            await self._progress.wait_until(lambda: bool(self._waiting) or not self._trials)
            if not self._trials:
                await self._suspicion.tidy()

    def _next(self) -> list[DueRun]:
        """Runs that wait for nothing but their turn."""
        return list(islice((run for key, run in self._waiting.items() if key not in self._trials), AT_ONCE))

    async def _try(self, runs: list[DueRun]) -> None:
        fresh = []
        for run in runs:
            if self._suspicion.attempts(run.run_id):
                await self._try_alone(run)
            else:
                fresh.append(run)
        if suspects := [run.run_id for run in fresh if self._is_suspect(run)]:
            await self._suspicion.begin(suspects)
        begun = [
            run for run in fresh if not self._suspicion.attempts(run.run_id)
        ]  # that may have been learned just now
        for run in begun:
            self._give_turn(run)
        await self._progress.wait_until(lambda: not self._are_under_way(begun), PATIENCE_S)

    async def _try_alone(self, run: DueRun) -> None:
        if await self._suspicion.is_spent(run.run_id):
            self._spawn(self._give_up(self._give_turn(run, "waits")))
            return
        async with self._suspicion.alone():
            await self._suspicion.begin([run.run_id])
            if self._suspicion.attempts(run.run_id) < MAX_ATTEMPTS - 1:
                self._give_turn(run)
                await self._progress.wait_until(lambda: not self._are_under_way([run]), ALONE_S)

    def _give_turn(self, run: DueRun, verdict: Verdict = "runs") -> _Trial:
        if self._waiting.get(run.key) is run:
            del self._waiting[run.key]
        trial = self._trials[run.key] = _Trial(run, verdict)
        if verdict != "waits":
            self._wake(run.key)
        return trial

    def _are_under_way(self, runs: list[DueRun]) -> bool:
        trials = (self._trials.get(run.key) for run in runs)
        return any(trial is not None and trial.run in runs for trial in trials)

    async def _give_up(self, trial: _Trial) -> None:
        """Puts the run aside, and then lets its reminder move on; it keeps its mark until that is done."""
        run, attempts = trial.run, 1 + self._suspicion.attempts(trial.run.run_id)
        fields = {"actor": run.key.actor, "actor_id": run.key.actor_id, "method": run.reminder.method}
        log.error(
            "a run of the reminder %s is given up: its process ended %d times during it",
            run.name,
            attempts,
            extra=fields,
        )
        await self._suspicion.bury(run, attempts)
        self._given_up += 1
        trial.verdict = "missed"
        self._wake(run.key)

    def samples(self) -> Iterator[Sample]:
        """Counts for a scrape."""
        yield Sample(
            "reminder_runs_given_up",
            "Runs of reminders given up since they ended their process.",
            "counter",
            self._given_up,
        )
