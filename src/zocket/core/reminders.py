"""`self.reminders`: named wake-ups of an instance that survive its process.

Rules: setting and cancelling are orders of the turn; a table of reminders is never changed, each commit makes a new
one; an occurrence is told by its due time, so one that has run is not due any more. Times are seconds since the epoch.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, ParamSpec, get_args

import msgspec

from zocket.core.orders import Order
from zocket.core.timers import seconds_of, target_name
from zocket.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from zocket.core.instance import Instance

Arguments = ParamSpec("Arguments")
Missed = Literal["one", "all", "skip"]
"""What happens to runs whose time has passed: one run for all of them, each of them, or none."""

MISSED_RULES: Final[tuple[str, ...]] = get_args(Missed)
MISSED_AFTER_S: Final = 60.0
"""A run that is later than this was missed; also one whose successor is due as well."""
MIN_EVERY_S: Final = 1.0
"""Each run of a durable actor's reminder is a commit; what has to happen more often is a timer."""
MAX_REMINDERS: Final = 128
"""Of one instance: its record holds them."""
CRON_PREFIX: Final = "cron:"
"""How the names of reminders begin that stand for a `@cron`."""
MAX_NAME_CHARS: Final = 128
MAX_ARGUMENTS_BYTES: Final = 16 * 1024


@dataclass(frozen=True, slots=True)
class Due:
    """When a reminder runs.

    Attributes:
        at: time of its first run, with a time zone.
        after: seconds until its first run, from the turn that sets it.
        every: seconds between its runs, counted from the first one; None: it runs once. Alone it is also `after`.
        missed: of runs whose time passed without them: `one` runs once for all, `all` runs each, `skip` runs none.

    Raises:
        UsageError: both or neither of `at` and `after`, a time without zone, or seconds that are no such.
    """

    at: datetime | None = None
    after: float | None = None
    every: float | None = None
    missed: Missed = "one"

    def __post_init__(self) -> None:
        if self.at is not None and self.after is not None:
            raise UsageError("Due: give at= or after=, not both")
        if self.at is None and self.after is None and self.every is None:
            raise UsageError("Due: give at=, after= or every=")
        if self.at is not None and self.at.utcoffset() is None:
            raise UsageError("Due: at= needs a time zone: datetime(…, tzinfo=ZoneInfo('Europe/Rome'))")
        if self.after is not None:
            seconds_of("Due: after=", self.after)
        if self.every is not None:
            seconds_of("Due: every=", self.every, MIN_EVERY_S)
        if self.missed not in MISSED_RULES:
            raise UsageError(f"Due: missed=: expected one of {', '.join(MISSED_RULES)}, got {self.missed!r}")

    def first(self, now: float) -> float:
        """Time of the first run, for a turn at `now`."""
        if self.at is not None:
            return self.at.timestamp()
        return now + float(self.after if self.after is not None else self.every or 0.0)


class StoredReminder(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """A reminder as it lies in a record.

    Attributes:
        method: its Python name.
        due: when it runs next.
        every: seconds between runs; 0: there is no further one, or a `@cron` says when.
        arguments: JSON of the method's `input`.
        repeats: the `message_id` of the run that it is once more; "" if it is a run of its own.
    """

    method: str
    due: float
    every: float = 0.0
    missed: Missed = "one"
    arguments: msgspec.Raw = msgspec.Raw(b"{}")
    repeats: str = ""


Table = Mapping[str, StoredReminder]
"""The reminders of one instance by name."""

NO_REMINDERS: Final[Table] = {}


@dataclass(frozen=True, slots=True)
class Reminder:
    """A reminder as `self.reminders.list()` shows it.

    Attributes:
        name: unique in its instance.
        method: Python name of what runs.
        due: when it runs next.
        every: seconds between runs, None if it runs once.
        missed: see `Due`.
        arguments: as JSON values.
    """

    name: str
    method: str
    due: datetime
    every: float | None
    missed: Missed
    arguments: dict[str, Any]


class ChangeReminder(Order):
    """One reminder of the instance is set, moved on (both with what it is then) or removed (None)."""

    __slots__ = ("name", "reminder")

    stored: ClassVar[bool] = True

    def __init__(self, name: str, reminder: StoredReminder | None) -> None:
        self.name = name
        self.reminder = reminder


def changed(table: Table, orders: Iterable[Order]) -> Table:
    """The table after the orders of a turn; the same one if none is about reminders."""
    after: dict[str, StoredReminder] | None = None
    for order in orders:
        if type(order) is ChangeReminder:
            after = dict(table) if after is None else after
            after.pop(order.name, None)
            if order.reminder is not None:
                after[order.name] = order.reminder
    return table if after is None else after or NO_REMINDERS


def earliest(table: Table) -> float:
    """When the first of them is due; infinity if there is none."""
    return min((item.due for item in table.values()), default=math.inf) if table else math.inf


def copied(table: dict[str, StoredReminder]) -> dict[str, StoredReminder]:
    """The same reminders, without the message that they were decoded from."""
    return {
        name: msgspec.structs.replace(entry, arguments=msgspec.Raw(bytes(entry.arguments)))
        for name, entry in table.items()
    }


class Reminders:
    """What `self.reminders` is."""

    __slots__ = ("_instance",)

    def __init__(self, instance: Instance) -> None:
        self._instance = instance

    def set(
        self,
        name: str,
        due: Due,
        method: Callable[Arguments, Awaitable[object]],
        /,
        *args: Arguments.args,
        **kwargs: Arguments.kwargs,
    ) -> None:
        """Calls a method of this instance at its time, also in another process; replaces the reminder of that name.

        It counts from the commit of the turn; a turn that fails has set nothing. On a durable actor each run takes
        effect exactly once; on one in memory it runs at least once.

        Args:
            name: unique in this instance, 1–128 characters.
            due: when, how often, and what happens to runs that were missed.
            method: any `async def` of this actor, `@method` or not: `self.close`.
            args: its arguments; they are stored as JSON, so every parameter needs an annotation.
            kwargs: the same by name.

        Raises:
            UsageError: there is no turn in progress, the name or the method is none that may be used, or the instance
                has 128 reminders.
            TypeError: the arguments do not fit the method.
            StateValueError: JSON cannot hold an argument.
        """
        instance = self._in_turn("set")
        _check_name(name)
        definition = instance.definition.target(target_name(instance, method))
        raw = definition.encode_arguments(args, kwargs) or b"{}"
        if len(raw) > MAX_ARGUMENTS_BYTES:
            raise UsageError(f"reminder {name!r}: arguments of {len(raw)} bytes, the limit is {MAX_ARGUMENTS_BYTES}")
        present = self._present()
        if name not in present and len(present) >= MAX_REMINDERS:
            raise UsageError(f"reminder {name!r}: this instance has {MAX_REMINDERS} reminders, which is the limit")
        entry = StoredReminder(
            definition.python_name, due.first(instance.wall()), due.every or 0.0, due.missed, msgspec.Raw(raw)
        )
        instance.orders.append(ChangeReminder(name, entry))

    def cancel(self, name: str) -> bool:
        """The reminder runs no more, once this turn has committed; whether there was one.

        Raises:
            UsageError: there is no turn in progress.
        """
        instance = self._in_turn("cancel")
        _check_name(name)
        if name not in self._present():
            return False
        instance.orders.append(ChangeReminder(name, None))
        return True

    def list(self) -> tuple[Reminder, ...]:
        """The reminders of this instance, with what this turn has changed, the next one first; without `@cron`."""
        found = [_shown(name, entry) for name, entry in self._present().items() if not name.startswith(CRON_PREFIX)]
        return tuple(sorted(found, key=lambda item: (item.due, item.name)))

    def _present(self) -> Table:
        return changed(self._instance.reminders, self._instance.orders)

    def _in_turn(self, verb: str) -> Instance:
        if not self._instance.in_turn:
            raise UsageError(f"self.reminders.{verb}: only inside a turn of the instance")
        return self._instance


def _check_name(name: str) -> None:
    if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME_CHARS or name.startswith(CRON_PREFIX):
        expected = f"1–{MAX_NAME_CHARS} characters that do not begin with {CRON_PREFIX!r}"
        raise UsageError(f"reminder {name!r}: expected a name of {expected}")


def _shown(name: str, entry: StoredReminder) -> Reminder:
    due, arguments = datetime.fromtimestamp(entry.due, UTC), msgspec.json.decode(entry.arguments)
    return Reminder(name, entry.method, due, entry.every or None, entry.missed, arguments)


# -- what is due -----------------------------------------------------------------------------------------------------


def move_on(
    entry: StoredReminder, now: float, following: Callable[[float], float] | None
) -> tuple[bool, StoredReminder | None]:
    """What becomes of a reminder that is due: whether it runs now, and what it is afterwards (None: it is over).

    Args:
        entry: the reminder.
        now: the time.
        following: of a `@cron`: its first time after another one.
    """
    step = following or (lambda after: _interval(entry, after))
    successor = step(entry.due)
    missed = now - entry.due > MISSED_AFTER_S or successor <= now
    runs = True
    if missed and entry.missed == "one":
        successor = step(now)
    elif missed and entry.missed == "skip":
        runs = False
        successor = step(now - min(entry.every or MISSED_AFTER_S, MISSED_AFTER_S))
    if successor == math.inf:
        return runs, None
    return runs, msgspec.structs.replace(entry, due=successor)


def _interval(entry: StoredReminder, after: float) -> float:
    """The first run after `after`: always a whole number of intervals from the first one, so that nothing drifts."""
    if not entry.every:
        return math.inf
    steps = max(1, math.floor((after - entry.due) / entry.every) + 1)
    return entry.due + steps * entry.every
