"""`@cron`: a method that runs at times of the day, as cron tables say them.

Rules: an expression and its zone are checked when the class is made; across a change of the clock a fixed time that is
left out runs right after the gap, one that comes twice runs once, and `*` in minutes or hours goes on in real time (as
Debian's cron does). No clock of its own: the time is an argument.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

from zocket.core.reminders import CRON_PREFIX, MISSED_RULES
from zocket.errors import DefinitionError, InvalidId
from zocket.ids import check_actor_id

if TYPE_CHECKING:
    from collections.abc import Callable

    from zocket.core.reminders import Missed

F = TypeVar("F", bound="Callable[[Any], Any]")

CRON_MARK: Final = "__zocket_cron__"
"""Attribute of a function that `@cron` was put on: a list of its `CronRule`s."""


class Schedule:
    """A cron expression in its time zone.

    Raises:
        DefinitionError: the expression, or the zone, is none, or no time ever fits.
    """

    __slots__ = ("_zone", "expression")

    def __init__(self, expression: str, tz: str) -> None:
        try:
            self._zone = UTC if tz == "UTC" else ZoneInfo(tz)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise DefinitionError(f"@cron({expression!r}): unknown time zone {tz!r}") from error
        self.expression = expression
        try:
            next(CronSim(expression, datetime(2024, 1, 1, tzinfo=UTC)))
        except CronSimError as error:
            raise DefinitionError(
                f"@cron({expression!r}): {error}; expected five fields, as in a cron table"
            ) from error
        except StopIteration:
            raise DefinitionError(f"@cron({expression!r}): no time ever fits it") from None

    def following(self, after: float) -> float:
        """The first time after `after`; both in seconds since the epoch."""
        for found in CronSim(self.expression, datetime.fromtimestamp(after, self._zone)):
            if (at := found.timestamp()) > after:  # within a repeated hour it begins with the first of the two
                return at
        return float("inf")


class CronRule(NamedTuple):
    """One `@cron` of a method.

    Attributes:
        name: of the reminder that stands for it.
        method: the Python name.
        schedule: when it runs.
        missed: what happens to runs that were missed.
        actor_id: the only instance that it is for, which then needs nobody to call it; None: every instance.
    """

    name: str
    method: str
    schedule: Schedule
    missed: Missed
    actor_id: str | None


def cron(expression: str, *, tz: str = "UTC", id: str | None = None, missed: Missed = "one") -> Callable[[F], F]:  # noqa: A002 — as in `client.actor(cls, id)`
    """Runs an `async def` without required arguments at the times of a cron expression.

    Without `id` it is for every instance: a durable one has its next run stored from its first activation on, and is
    loaded for it; one in memory runs while it is there. Below or above `@method` it can also be called.

    Args:
        expression: five fields: minute, hour, day of month, month, day of week.
        tz: name of the time zone that they are in, such as `Europe/Rome`.
        id: only the instance with this id runs it, also if nobody has ever called it.
        missed: of runs whose time passed without it: `one` runs once, `all` each of them, `skip` none.

    Raises:
        DefinitionError: an argument is none that may be used.
    """
    schedule = Schedule(expression, tz)
    if missed not in MISSED_RULES:
        raise DefinitionError(f"@cron({expression!r}): missed: expected one of {', '.join(MISSED_RULES)}")
    if id is not None:
        try:
            check_actor_id(id)
        except InvalidId as error:
            raise DefinitionError(f"@cron({expression!r}): id: {error.message}") from error

    def mark(target: F) -> F:
        name = getattr(target, "__name__", "")
        rule = CronRule(f"{CRON_PREFIX}{name}:{expression}:{tz}", name, schedule, missed, id)
        setattr(target, CRON_MARK, [*getattr(target, CRON_MARK, ()), rule])
        return target

    return mark
