"""The wheel: wakes instances whose reminders are due, or whose one-way calls wait, also those that are not in memory.

Rules: an instance with either has one alarm in the store of alarms, never later than what is due first in its own
record: it is set earlier before that record is written, and later after. So an alarm without a reminder may be there,
and a reminder without an alarm may not. Waking is only a hint: what is due the instance knows. Alarms are written by
compare-and-set, those that another process may have written are not believed before they were written here, and what
was woken in vain is woken again. Of an actor in memory the alarm holds the reminders themselves.
"""

from __future__ import annotations

import asyncio
import logging
import math
from heapq import heappop, heappush
from itertools import count
from typing import TYPE_CHECKING, Final

from zocket.core.reminders import NO_REMINDERS, Table
from zocket.errors import Conflict, Unavailable, ZocketError
from zocket.host.alarms import decode_alarm, encode_alarm

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from zocket.clock import Clock, TimerHandle
    from zocket.host.alarms import AlarmStore
    from zocket.host.store import Key, Stored

AGAIN_FIRST_S: Final = 5.0
AGAIN_MOST_S: Final = 60.0
"""Between attempts to wake an instance that stays due: it could not be loaded, or its method is gone."""
RING_AT_ONCE: Final = 256
RING_PAUSE_S: Final = 0.05
"""So many instances are woken, then others have their turn: thousands may be due at the same minute."""
LOOK_S: Final = 60.0
"""The longest wait for an alarm: the time of day may be set meanwhile."""
READ_FIRST_S: Final = 5.0
READ_AGAIN_S: Final = 600.0
"""After the start, and then between two readings of all alarms where others may write: what a superseded process stored
before it knew, and in its last moment."""
OPEN_S: Final = 1.0
"""The longest that a boot waits for all alarms."""
RETRY_FIRST_S: Final = 0.1
RETRY_MOST_S: Final = 5.0
"""Between attempts while the store of alarms is away."""

log = logging.getLogger("zocket.host")


class _Alarm:
    """What is known of one alarm, and what it shall be.

    Attributes:
        due, reminders, revision: as stored; infinity and 0 if it is not.
        certain: whether nobody else can have written it since.
        wanted, wanted_reminders: what it shall be.
        waiting: called once it is stored at their time or earlier.
        following: called once it is stored as it is wanted.
        planned: the `due` that its instance is woken for; until that moves it is woken again and again.
        wake_at: when its instance is woken next.
        pause_s: until it is woken again.
        writing: it is being written.
    """

    __slots__ = (
        "certain",
        "due",
        "following",
        "key",
        "pause_s",
        "planned",
        "reminders",
        "revision",
        "waiting",
        "wake_at",
        "wanted",
        "wanted_reminders",
        "writing",
    )

    def __init__(self, key: Key) -> None:
        self.key = key
        self.due = self.wanted = self.planned = self.wake_at = math.inf
        self.reminders = self.wanted_reminders = NO_REMINDERS
        self.revision = 0
        self.certain = False
        self.waiting: list[tuple[float, Callable[[ZocketError | None], None]]] = []
        self.following: list[Callable[[], None]] = []
        self.pause_s = AGAIN_FIRST_S
        self.writing = False

    def is_settled(self) -> bool:
        known = self.certain or self.due == math.inf
        return known and self.due == self.wanted and self.reminders is self.wanted_reminders and not self.waiting

    def found(self, stored: Stored | None) -> None:
        """Takes over what the store says."""
        alarm = None if stored is None else decode_alarm(stored.record)
        self.revision = 0 if stored is None else stored.revision
        self.due = math.inf if alarm is None else alarm.due
        self.reminders = alarm.reminders if alarm is not None and alarm.reminders else NO_REMINDERS


class Wheel:
    """The alarms of the instances of one host.

    Args:
        store: keeps them.
        clock: the time of day, and waiting for it.
        wake: asks an instance to look what is due; called again and again until its alarm is moved.
        found: the reminders of an actor in memory, as somebody else has written them.
        owns: asked when another process has written an alarm: whether this one still owns its instances.
    """

    def __init__(
        self,
        store: AlarmStore,
        clock: Clock,
        *,
        wake: Callable[[Key], None],
        found: Callable[[Key, Table], None],
        owns: Callable[[], Awaitable[bool]] | None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._wake = wake
        self._found = found
        self._owns = owns
        self._serves: Callable[[Key], bool] = lambda _: True
        self._alarms: dict[Key, _Alarm] = {}
        self._heap: list[tuple[float, int, _Alarm]] = []
        self._numbers = count()
        self._timer: TimerHandle | None = None
        self._planned = math.inf
        self._reader: TimerHandle | None = None
        self._writers: set[asyncio.Task[None]] = set()
        self._readers: set[asyncio.Task[None]] = set()
        self._silent = self._aborted = False

    # -- reading -------------------------------------------------------------------------------------------------

    async def open(self, serves: Callable[[Key], bool], *, patience_s: float = OPEN_S) -> None:
        """Reads the alarms of the instances that `serves` tells; they ring once it is started.

        What takes longer than `patience_s` goes on while calls are served already.
        """
        self._silent = True
        self._serves = serves
        reading = _spawn(self._read_patiently(), self._readers)
        await asyncio.wait({reading}, timeout=patience_s)

    def start(self) -> None:
        """Alarms ring; those that a predecessor has written meanwhile are read soon."""
        self._silent = False
        self._set_timer()
        self.read_again()
        if self._store.shared:
            self._reader = self._clock.call_later(READ_FIRST_S, self._read_in_turn)

    def read_again(self) -> None:
        """Another process may have written alarms: they are read soon."""
        if self._store.shared and not self._silent:
            for alarm in self._alarms.values():
                alarm.certain = False
            _spawn(self._read_patiently(), self._readers)

    def reread(self, key: Key) -> None:
        """Another process has written this alarm: it is read soon."""
        if not self._silent and self._serves(key):
            _spawn(self._read_one(key), self._readers)

    def _read_in_turn(self) -> None:
        self._reader = self._clock.call_later(READ_AGAIN_S, self._read_in_turn)
        _spawn(self._read_patiently(), self._readers)

    async def _read_patiently(self) -> None:
        pause_s = RETRY_MOST_S
        while True:
            try:
                return await self._read()
            except Unavailable as error:
                log.warning("the alarms of reminders cannot be read now: %s", error.message)
                await self._clock.sleep(pause_s)
                pause_s = min(2 * pause_s, READ_AGAIN_S)

    async def _read(self) -> None:
        known = {key: alarm.revision for key, alarm in self._alarms.items()}
        gone = set(known)
        async for page in self._store.entries():
            for key, stored in page:
                gone.discard(key)
                if self._serves(key):
                    self._take(key, stored, known.get(key, 0))
        for key in gone:
            await self._read_key(key)

    async def _read_one(self, key: Key) -> None:
        try:
            await self._read_key(key)
        except Unavailable:
            self.read_again()

    async def _read_key(self, key: Key) -> None:
        alarm = self._alarms.get(key)
        revision = 0 if alarm is None else alarm.revision
        self._take(key, await self._store.load(*key), revision)

    def _take(self, key: Key, stored: Stored | None, revision: int) -> None:
        """What was read, since the alarm here had this revision."""
        alarm = self._alarms.get(key)
        if alarm is None:
            if stored is None:
                return
            alarm = self._alarms[key] = _Alarm(key)
        elif alarm.writing or alarm.revision != revision or (stored.revision if stored else 0) == revision:
            return  # it was written here meanwhile, or it is what is known
        alarm.found(stored)
        alarm.certain = not self._store.shared
        alarm.wanted, alarm.wanted_reminders = alarm.due, alarm.reminders
        self._found(key, alarm.reminders)
        self._forget_or_plan(alarm)

    # -- what an instance tells ----------------------------------------------------------------------------------

    def reminders_of(self, key: Key) -> Table:
        """The reminders of an actor in memory, as they are wanted."""
        alarm = self._alarms.get(key)
        return NO_REMINDERS if alarm is None else alarm.wanted_reminders

    def loaded(self, key: Key) -> None:
        """The instance was loaded: an earlier owner may still have a write under way that moves its alarm."""
        alarm = self._alarms.get(key)
        if alarm is not None:
            alarm.certain = not self._store.shared

    def set_before(self, key: Key, due: float, done: Callable[[ZocketError | None], None]) -> None:
        """Calls `done` once the alarm is stored at `due` or earlier: at once if it is, or if nothing is ever due."""
        alarm = self._alarms.get(key)
        if due == math.inf:
            return done(None)
        if alarm is None:
            alarm = self._alarms[key] = _Alarm(key)
        alarm.wanted = min(alarm.wanted, due)
        if alarm.certain and alarm.due <= due and not alarm.writing:
            return done(None)
        alarm.waiting.append((due, done))
        return self._write(alarm)

    def settle(self, key: Key, due: float, reminders: Table = NO_REMINDERS) -> None:
        """What is stored of the instance is due then (infinity: nothing is); its alarm follows."""
        alarm = self._alarms.get(key)
        if alarm is None:
            if due == math.inf:
                return
            alarm = self._alarms[key] = _Alarm(key)
        alarm.wanted, alarm.wanted_reminders = due, reminders
        if not alarm.is_settled():
            self._write(alarm)

    def when_settled(self, key: Key, done: Callable[[], None]) -> None:
        """Calls `done` once the alarm is stored as it is wanted; never if another process owns the instance."""
        alarm = self._alarms.get(key)
        if alarm is None or alarm.is_settled():
            return done()
        return alarm.following.append(done)

    # -- writing -------------------------------------------------------------------------------------------------

    def _write(self, alarm: _Alarm) -> None:
        if not alarm.writing and not self._aborted:
            alarm.writing = True
            _spawn(self._write_on(alarm), self._writers)

    async def _write_on(self, alarm: _Alarm) -> None:
        pause_s, refused = RETRY_FIRST_S, False
        try:
            while not alarm.is_settled():
                try:
                    if refused and not await self._is_ours():
                        return
                    if refused:
                        self._meet(alarm, await self._store.load(*alarm.key))
                    refused = False
                    await self._write_once(alarm)
                except Conflict:
                    refused = True
                except ZocketError as error:
                    self._tell(alarm, 0.0, error)
                    log.warning("an alarm cannot be stored now: %s", error.message, extra=_fields(alarm.key))
                    await self._clock.sleep(pause_s)
                    pause_s = min(2 * pause_s, RETRY_MOST_S)
            following, alarm.following = alarm.following, []
            for done in following:
                done()
        finally:
            alarm.writing = False
            if not self._aborted:
                self._tell(alarm, 0.0, None)  # who is not the owner learns it from the store of records
                self._forget_or_plan(alarm)

    def _meet(self, alarm: _Alarm, stored: Stored | None) -> None:
        """Somebody else has written it; reminders of an actor in memory that were not known here are its own, too."""
        unknown = not alarm.revision
        alarm.found(stored)
        if unknown and alarm.reminders:
            alarm.wanted = min(alarm.wanted, alarm.due)
            alarm.wanted_reminders = {**alarm.reminders, **alarm.wanted_reminders}
            self._found(alarm.key, alarm.wanted_reminders)

    async def _write_once(self, alarm: _Alarm) -> None:
        due, reminders = alarm.wanted, alarm.wanted_reminders
        if due != math.inf:
            alarm.revision = await self._store.put(alarm.key, encode_alarm(due, reminders), alarm.revision)
        elif alarm.revision:
            await self._store.delete(alarm.key, alarm.revision)
            alarm.revision = 0
        alarm.due, alarm.reminders, alarm.certain = due, reminders, True
        self._plan(alarm)
        self._tell(alarm, due, None)

    def _tell(self, alarm: _Alarm, due: float, error: ZocketError | None) -> None:
        """Whoever waits for an alarm at `due` or later need not wait any more."""
        told = [done for at, done in alarm.waiting if at >= due]
        alarm.waiting = [item for item in alarm.waiting if item[0] < due]
        for done in told:
            done(error)

    async def _is_ours(self) -> bool:
        return self._owns is None or await self._owns()

    def _forget_or_plan(self, alarm: _Alarm) -> None:
        if alarm.due == math.inf and alarm.is_settled() and self._alarms.get(alarm.key) is alarm:
            del self._alarms[alarm.key]
            alarm.wake_at = math.inf
        else:
            self._plan(alarm)

    # -- ringing -------------------------------------------------------------------------------------------------

    def _plan(self, alarm: _Alarm) -> None:
        if alarm.due != alarm.planned:
            alarm.planned, alarm.pause_s = alarm.due, AGAIN_FIRST_S
            self._push(alarm, alarm.due)
            self._set_timer()

    def _push(self, alarm: _Alarm, at: float) -> None:
        alarm.wake_at = at
        if at != math.inf:
            heappush(self._heap, (at, next(self._numbers), alarm))

    def _set_timer(self, least_s: float = 0.0) -> None:
        if self._silent or not self._heap:
            return
        delay_s = min(max(self._heap[0][0] - self._clock.wall(), least_s), LOOK_S)
        if (at := self._clock.now() + delay_s) >= self._planned:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._planned = at
        self._timer = self._clock.call_later(delay_s, self._ring)

    def _ring(self) -> None:
        self._timer, self._planned = None, math.inf
        now, woken = self._clock.wall(), 0
        while self._heap and self._heap[0][0] <= now and woken < RING_AT_ONCE:
            at, _, alarm = heappop(self._heap)
            if alarm.wake_at == at:
                woken += 1
                self._push(alarm, now + alarm.pause_s)
                alarm.pause_s = min(2 * alarm.pause_s, AGAIN_MOST_S)
                self._wake(alarm.key)
        self._set_timer(RING_PAUSE_S if woken == RING_AT_ONCE else 0.0)

    @property
    def alarms(self) -> int:
        """Instances here that have an alarm."""
        return len(self._alarms)

    # -- the end -------------------------------------------------------------------------------------------------

    def stop(self) -> None:
        """Nobody is woken any more; alarms are still written."""
        self._silent = True
        for timer in (self._timer, self._reader):
            if timer is not None:
                timer.cancel()
        self._heap.clear()

    async def aclose(self, timeout_s: float) -> None:
        """Ends, once every alarm is stored as it is wanted; after `timeout_s` at the latest."""
        self.stop()
        if self._writers:
            await asyncio.wait(self._writers, timeout=timeout_s)
        await self.abort()

    async def abort(self) -> None:
        """Ends at once."""
        self.stop()
        self._aborted = True
        tasks = [*self._writers, *self._readers]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _spawn(work: Coroutine[None, None, None], tasks: set[asyncio.Task[None]]) -> asyncio.Task[None]:
    task = asyncio.get_running_loop().create_task(work)
    tasks.add(task)
    task.add_done_callback(tasks.discard)
    return task


def _fields(key: Key) -> dict[str, str]:
    return {"actor": key.actor, "actor_id": key.actor_id}
