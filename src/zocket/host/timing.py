"""The timers, reminders and `@cron`s of a host's instances: what they cause are turns in the instance's own queue.

Rules: an error in such a turn is logged as a hook's is, and the schedule goes on; a run of a reminder and the moving on
of the reminder are one commit, so a durable instance that ran it does not find it due again. Timers do not keep an
instance in memory, and go with it.
"""

from __future__ import annotations

import logging
import math
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from zocket.core import Caller, CancelTimer, ChangeReminder, CronRule, StartTimer
from zocket.core.reminders import CRON_PREFIX, StoredReminder, Table, changed, earliest, move_on
from zocket.errors import DefinitionError, ValidationFailed
from zocket.host.alarms import MemoryAlarms
from zocket.host.durability import fields
from zocket.host.keeper import Outcome
from zocket.host.resident import Hook
from zocket.host.store import Key
from zocket.host.trials import DueRun
from zocket.host.wheel import LOOK_S, OPEN_S, Wheel
from zocket.metrics import Sample

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence

    from zocket.clock import Clock, TimerHandle
    from zocket.core import Effects, MethodDefinition, Order, Timer
    from zocket.host.alarms import AlarmStore
    from zocket.host.host import Host
    from zocket.host.resident import Piece, Resident
    from zocket.host.trials import Trials
    from zocket.host.workers import Worker

log = logging.getLogger("zocket.host")


class Tick(Hook):
    """A timer that runs, or a `@cron` of an instance in memory; and the piece of the mailbox that its call is.

    Attributes:
        call: what it calls.
        at: when it is due next: on the clock's `now()`, of a `@cron` on its `wall()`.
        due: time of day of the call that waits or runs.
        pending: a call waits in the mailbox or runs.
        alone: the instance had nothing else to do when that call came.
        over: it was cancelled, or its instance is gone.
        plan: waits for `at`.
    """

    __slots__ = ("alone", "at", "call", "due", "over", "pending", "plan", "resident", "rule", "timer")

    def __init__(
        self,
        resident: Resident,
        method: str,
        call: Callable[[], Awaitable[object]],
        *,
        at: float,
        timer: Timer | None = None,
        rule: CronRule | None = None,
    ) -> None:
        super().__init__(method)
        self.resident = resident
        self.call = call
        self.at = at
        self.timer = timer
        self.rule = rule
        self.due = 0.0
        self.pending = self.alone = self.over = False
        self.plan: TimerHandle | None = None

    def following(self, now: float) -> float:
        """The first time after `now` that it is due; infinity if there is none."""
        if self.rule is not None:
            return self.rule.schedule.following(now)
        if self.timer is None or not self.timer.repeats:
            return math.inf
        return self.at + (math.floor((now - self.at) / self.timer.seconds) + 1) * self.timer.seconds

    def end(self) -> None:
        """It calls no more."""
        self.over = True
        if self.plan is not None:
            self.plan.cancel()


WAKE: Final = Hook("reminders")
"""Looks what is due, and runs the first of it."""


class _Due(NamedTuple):
    """A reminder whose time has come, and what it calls."""

    name: str
    entry: StoredReminder
    method: MethodDefinition
    arguments: dict[str, Any]


class Timing:
    """Everything of a host that happens because it is time.

    Args:
        host: runs the turns.
        alarms: keeps the alarms of reminders; None: they end with this process.
        clock: the time.
        owns: as of `Host`.

    Attributes:
        wheel: wakes instances.
        trials: of runs that may have ended the process before this one; None if there are none.
    """

    def __init__(
        self, host: Host, alarms: AlarmStore | None, clock: Clock, owns: Callable[[], Awaitable[bool]] | None
    ) -> None:
        self._host = host
        self._clock = clock
        self._stopped = False
        self._serves: Callable[[Key], bool] = lambda _: True
        self.trials: Trials | None = None
        self.wheel = Wheel(alarms or MemoryAlarms(), clock, wake=self.wake, found=self._found, owns=owns)
        host.carry_out(StartTimer, self._start)
        host.carry_out(CancelTimer, self._cancel)
        host.carry_out(ChangeReminder, self._change)

    async def open(self, serves: Callable[[Key], bool], *, patience_s: float = OPEN_S) -> None:
        """Reads the alarms of the instances that `serves` tells; see `Wheel.open`."""
        self._serves = serves
        await self.wheel.open(serves, patience_s=patience_s)

    def start(self) -> None:
        """What is due happens from now on, and the instances that a `@cron` names are there."""
        self.wheel.start()
        for name, definition in self._host.definition.actors.items():
            for actor_id in sorted({rule.actor_id for rule in definition.crons if rule.actor_id is not None}):
                if self._serves(Key(name, actor_id)):
                    self.wake(Key(name, actor_id))

    def stop(self) -> None:
        """Nothing happens any more because it is time; what waits in a mailbox still runs."""
        self._stopped = True
        self.wheel.stop()

    def samples(self) -> Iterator[Sample]:
        """Counts for a scrape."""
        yield Sample(
            "alarms",
            "Instances with an alarm: with reminders, or with one-way calls that wait.",
            "gauge",
            self.wheel.alarms,
        )
        if self.trials is not None:
            yield from self.trials.samples()

    # -- in memory -----------------------------------------------------------------------------------------------

    def _start(self, resident: Resident, order: StartTimer) -> None:
        timer = order.timer
        if not resident.gone and not timer.cancelled:
            at = self._clock.now() + timer.seconds
            self._run_on(timer, Tick(resident, timer.method, timer.call, at=at, timer=timer))

    def _cancel(self, resident: Resident, order: CancelTimer) -> None:
        order.timer.cancelled = True
        tick = resident.ticks.pop(order.timer, None) if resident.ticks else None
        if tick is not None:
            tick.end()

    def _run_on(self, name: object, tick: Tick) -> None:
        if tick.resident.ticks is None:
            tick.resident.ticks = {}
        tick.resident.ticks[name] = tick
        self._plan(tick)

    def _plan(self, tick: Tick) -> None:
        delay_s = tick.at - self._clock.now() if tick.rule is None else min(tick.at - self._clock.wall(), LOOK_S)
        tick.plan = self._clock.call_later(max(delay_s, 0.0), partial(self._fire, tick))

    def _fire(self, tick: Tick) -> None:
        resident, wall = tick.resident, self._clock.wall()
        if self._stopped or tick.over:
            return None
        if tick.rule is not None and wall < tick.at:
            return self._plan(tick)
        due = wall if tick.rule is None else tick.at
        tick.at = tick.following(self._clock.now() if tick.rule is None else wall)
        if tick.at != math.inf:
            self._plan(tick)
        if not tick.pending:
            tick.pending, tick.due = True, due
            tick.alone = not resident.mailbox and not resident.scheduled
            self._host.put_hook(resident, tick)
        return None

    def forget(self, resident: Resident) -> None:
        """The instance has left memory."""
        for tick in (resident.ticks or {}).values():
            tick.end()
        resident.ticks = None

    async def _run_tick(self, resident: Resident, worker: Worker, tick: Tick, piece: Piece) -> bool:
        if tick.over or resident.failure is not None:
            tick.pending = False
            return True
        try:
            method = resident.instance.definition.method_of(tick.name)
            limit_s = None if method is None else method.timeout_s
            finished = await self._run(resident, worker, piece, tick.name, tick.call, tick.due, limit_s=limit_s)
        finally:
            tick.pending = False
            if tick.at == math.inf and resident.ticks:
                resident.ticks.pop(tick.timer, None)
        resident.unused = tick.alone and not resident.mailbox
        return finished

    # -- stored --------------------------------------------------------------------------------------------------

    def wake(self, key: Key) -> None:
        """The instance looks soon what is due; one that is not in memory is made or loaded for it."""
        resident = None if self._stopped else self._host.ensure(key)
        if resident is not None:
            self._host.put_hook(resident, WAKE)

    def _found(self, key: Key, reminders: Table) -> None:
        """Somebody else has written the alarm of an actor in memory."""
        resident = self._host.resident(key)
        if resident is not None and resident.keeper is None:
            resident.instance.reminders = reminders

    def activated(self, resident: Resident) -> None:
        """The instance is here, and its reminders with it."""
        instance = resident.instance
        if resident.keeper is None:
            for rule in instance.definition.crons:
                if rule.actor_id is None and rule.name not in (resident.ticks or ()):
                    at = rule.schedule.following(self._clock.wall())
                    call = getattr(instance.actor, rule.method)
                    self._run_on(rule.name, Tick(resident, rule.method, call, at=at, rule=rule))
        if instance.reminders or instance.definition.crons:
            self._host.put_hook(resident, WAKE)

    def _change(self, resident: Resident, order: ChangeReminder) -> None:
        """Of an actor in memory; a durable one's keeper has done it with the commit."""
        if resident.keeper is None:
            instance = resident.instance
            instance.reminders = changed(instance.reminders, (order,))
            self.wheel.settle(_key(resident), earliest(instance.reminders), instance.reminders)

    async def run(self, resident: Resident, worker: Worker, hook: Hook, piece: Piece) -> bool:
        """A piece of the mailbox that is here because it is time; False if it waits for the store."""
        if isinstance(hook, Tick):
            return await self._run_tick(resident, worker, hook, piece)
        if resident.failure is not None:
            return True
        now = self._clock.wall()
        if changes := tuple(_cron_changes(resident, now)):
            finished = self._commit(resident, piece, changes)
        elif (found := _first_due(resident, now)) is None:
            self._nothing_due(resident, now)
            return True
        elif self.trials is None:
            finished = await self._run_reminder(resident, worker, piece, found, now)
        else:
            run = DueRun(_key(resident), found.name, found.entry, _run_id(resident, found), resident.keeper is not None)
            verdict = self.trials.verdict(run)
            if verdict == "waits":
                return True
            over = partial(self.trials.finished, run)
            piece = (piece[0], piece[1], piece[2], over, piece[4], piece[5])
            finished = await self._run_reminder(resident, worker, piece, found, now, missed=verdict == "missed")
            if finished:
                self.wheel.when_settled(run.key, over)
        if not resident.gone and _first_due(resident, now) is not None:
            self._host.put_hook(resident, WAKE)
        return finished

    async def _run_reminder(
        self, resident: Resident, worker: Worker, piece: Piece, found: _Due, now: float, *, missed: bool = False
    ) -> bool:
        name, entry, method, arguments = found
        rule = _rules(resident).get(name)
        runs, successor = move_on(entry, now, None if rule is None else rule.schedule.following)
        change = ChangeReminder(name, successor)
        if missed or not runs:
            log.info("a run of %s was missed, and is skipped", name, extra=fields(resident))
            return self._commit(resident, piece, [change])
        call = partial(method.function, resident.instance.actor, **arguments)
        return await self._run(
            resident,
            worker,
            piece,
            entry.method,
            call,
            entry.due,
            run_id=_run_id(resident, found),
            orders=[change],
            limit_s=method.timeout_s,
        )

    def _nothing_due(self, resident: Resident, now: float) -> None:
        """Moves the alarm to what is due next; one that cannot run stays due, for a deployment that can run it."""
        if self.trials is not None:
            self.trials.nothing_due(_key(resident))
        for name, entry in resident.instance.reminders.items():
            if entry.due <= now:
                log.error(
                    "%s: there is no %s that could run; it is tried again", name, entry.method, extra=fields(resident)
                )
        if resident.keeper is None:
            self.wheel.settle(_key(resident), earliest(resident.instance.reminders), resident.instance.reminders)
        elif resident.keeper.idle:
            self.wheel.settle(_key(resident), earliest(resident.instance.reminders))

    def _commit(self, resident: Resident, piece: Piece, orders: Sequence[Order]) -> bool:
        """A turn without code of the developer."""
        effects: Effects = (None, None, (), list(orders))
        if resident.keeper is not None:
            resident.keeper.add(Outcome(piece, effects, None))
            return False
        self._host.publish(resident, effects)
        return True

    async def _run(
        self,
        resident: Resident,
        worker: Worker,
        piece: Piece,
        name: str,
        call: Callable[[], Awaitable[object]],
        due: float,
        *,
        run_id: str = "",
        orders: Sequence[Order] = (),
        limit_s: float | None = None,
    ) -> bool:
        """One turn; what is in `orders` is committed also if it raises."""
        caller = Caller("timer", due=datetime.fromtimestamp(due, UTC))
        turn = resident.instance.run_timer(name, call, caller, run_id, orders)
        lost: Effects | None = (None, None, (), list(orders)) if orders else None
        return await self._host.turns.run_unasked(resident, worker, piece, name, turn, limit_s=limit_s, lost=lost)


def _run_id(resident: Resident, due: _Due) -> str:
    """Names a run over all its attempts."""
    return due.entry.repeats or f"{'/'.join(_key(resident))}/{due.name}/{due.entry.due:.3f}"


def _key(resident: Resident) -> Key:
    return Key(resident.instance.definition.name, resident.instance.actor_id)


def _rules(resident: Resident) -> dict[str, CronRule]:
    """The `@cron`s that are reminders of the instance: of one in memory, those that name it."""
    definition, actor_id = resident.instance.definition, resident.instance.actor_id
    everybody = (actor_id, None) if definition.durable else (actor_id,)
    return {rule.name: rule for rule in definition.crons if rule.actor_id in everybody}


def _cron_changes(resident: Resident, now: float) -> Iterator[ChangeReminder]:
    """What makes the reminders of `@cron`s those of the class."""
    table = resident.instance.reminders
    if not table and not resident.instance.definition.crons:
        return
    rules = _rules(resident)
    for name in table:
        if name.startswith(CRON_PREFIX) and name not in rules:
            yield ChangeReminder(name, None)
    for name, rule in rules.items():
        known = table.get(name)
        if known is None or known.missed != rule.missed:
            due = rule.schedule.following(now) if known is None else known.due
            yield ChangeReminder(name, StoredReminder(rule.method, due, missed=rule.missed))


def _first_due(resident: Resident, now: float) -> _Due | None:
    """The reminder that has been due for longest, of those that can run."""
    definition = resident.instance.definition
    for due, name in sorted((entry.due, name) for name, entry in resident.instance.reminders.items()):
        if due > now:
            break
        entry = resident.instance.reminders[name]
        try:
            method = definition.target(entry.method)
            return _Due(name, entry, method, method.decode_input(bytes(entry.arguments)))
        except (DefinitionError, ValidationFailed):
            continue
    return None
