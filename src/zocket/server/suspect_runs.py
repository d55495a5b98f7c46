"""Suspect runs of reminders of a standalone server: one row in its state file says how its predecessor ended.

Rules: the row is written when the server starts and when it has stopped cleanly, and for each group of suspects that
is marked. There are no dead letters here: what is given up is in the log. Calls are not held up during a last attempt.
"""

from __future__ import annotations

import asyncio
import logging
import math
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from typing import TYPE_CHECKING, Final

import msgspec

from zocket.errors import Unavailable
from zocket.host.store import Key
from zocket.host.trials import MAX_ATTEMPTS, RUNS_KEPT, Trials
from zocket.server.sqlite_store import LIVES

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine, Sequence

    from zocket.clock import Clock
    from zocket.host.host import Host
    from zocket.host.trials import DueRun
    from zocket.server.sqlite_store import SqliteStore

ROW: Final = Key("", "")
RETRY_S: Final = 1.0
"""Between attempts to write the row while the file cannot be written."""

log = logging.getLogger("zocket.server")


class Life(msgspec.Struct, omit_defaults=True):
    """The row.

    Attributes:
        open: a server has the file, or has died with it.
        begun: by the `message_id` of a run, in how many servers it was begun under a mark and not finished.
    """

    open: bool = False
    begun: dict[str, int] = {}


_decode: Final = msgspec.json.Decoder(Life).decode


class StoredSuspicion:
    """A `Suspicion` that lies in the state file.

    Attributes:
        needed: whether there may be suspects.
        before: as of `Suspicion`.
    """

    busy = False

    def __init__(self, store: SqliteStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._begun: dict[str, int] = {}
        self._own: set[str] = set()
        self._finished: set[str] = set()
        self._revision = 0
        self.needed = False
        self.before = -math.inf

    async def begin_life(self) -> None:
        """Learns how the predecessor ended, and notes that this server runs.

        Raises:
            Unavailable: the file cannot be read or written.
        """
        stored = await self._store.read(LIVES, *ROW)
        life = Life() if stored is None else _read(stored.record)
        self._begun, self._revision = life.begun, 0 if stored is None else stored.revision
        if life.open:
            self.before = self._clock.wall()
        self.needed = life.open or bool(life.begun)
        await self._write(is_open=True)

    async def end_life(self) -> None:
        """This server stops cleanly: what it has begun did not kill it."""
        for run_id in self._own & self._begun.keys():
            self._begun[run_id] -= 1
        self._begun = {run_id: count for run_id, count in self._begun.items() if count}
        try:
            await self._write(is_open=False)
        except Unavailable as error:
            log.warning("the next server will take this one for dead: %s", error.message)

    def attempts(self, run_id: str) -> int:
        """See `Suspicion.attempts`."""
        return self._begun.get(run_id, 0) - (run_id in self._own)

    async def begin(self, run_ids: Sequence[str]) -> None:
        """See `Suspicion.begin`; tried again until it succeeds."""
        for run_id in run_ids:
            if run_id not in self._own:
                self._own.add(run_id)
                self._begun[run_id] = self._begun.get(run_id, 0) + 1
        for outdated in list(self._begun)[:-RUNS_KEPT]:
            del self._begun[outdated]
        while True:
            try:
                return await self._write(is_open=True)
            except Unavailable as error:
                log.warning("what may end the process cannot be marked, trying again: %s", error.message)
            await self._clock.sleep(RETRY_S)

    def finish(self, run_id: str) -> None:
        """See `Suspicion.finish`."""
        self._finished.add(run_id)

    async def tidy(self) -> None:
        """See `Suspicion.tidy`."""
        if self._finished & self._begun.keys():
            try:
                await self._write(is_open=True)
            except Unavailable as error:
                log.warning("marks stay behind: %s", error.message)

    async def is_spent(self, run_id: str) -> bool:
        """See `Suspicion.is_spent`."""
        return self.attempts(run_id) >= MAX_ATTEMPTS - 1

    async def wait_quiet(self) -> None:
        """See `Suspicion.wait_quiet`; no message comes again here after a death."""

    def alone(self) -> AbstractAsyncContextManager[None]:
        """See `Suspicion.alone`; here only other runs wait."""
        return nullcontext()

    async def bury(self, run: DueRun, attempts: int) -> None:
        """See `Suspicion.bury`; here the log has it."""

    async def _write(self, *, is_open: bool) -> None:
        for run_id in self._finished:
            self._begun.pop(run_id, None)
            self._own.discard(run_id)
        self._finished.clear()
        record = msgspec.json.encode(Life(is_open, self._begun))
        self._revision = await self._store.put(LIVES, ROW, record, self._revision)


@asynccontextmanager
async def one_life(store: SqliteStore, host: Host, clock: Clock) -> AsyncIterator[None]:
    """During the block a server runs on the file, with care for what may have ended the one before.

    Raises:
        Unavailable: the file cannot be read or written.
    """
    suspicion = StoredSuspicion(store, clock)
    await suspicion.begin_life()
    tasks: set[asyncio.Task[None]] = set()

    def spawn(work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        return task

    if suspicion.needed:
        host.timing.trials = Trials(suspicion, clock, wake=host.timing.wake, spawn=spawn)
        spawn(host.timing.trials.watch())
    try:
        yield
    finally:
        running = list(tasks)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        await suspicion.end_life()


def _read(record: bytes) -> Life:
    try:
        return _decode(record)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return Life(open=True)
