"""Reminders without a host: when one is due, what becomes of missed runs, and what is refused."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from zocket.core import Actor, ActorDefinition, Caller, Due, Instance, method
from zocket.core.reminders import MAX_REMINDERS, Missed, StoredReminder, changed, earliest, move_on
from zocket.errors import StateValueError, UsageError

NOW = 1_000_000.0


class It(Actor[dict[str, Any]]):
    other: Any = None

    @method
    async def close(self, reason: str, count: int = 0) -> None:
        pass

    async def _quiet(self) -> None:
        pass

    def plain(self) -> None:
        pass

    async def open_ended(self, *names: str) -> None:
        pass

    async def bare(self, value) -> None:  # type: ignore[no-untyped-def]
        pass


@pytest.fixture
def instance() -> Instance:
    return Instance(ActorDefinition("it", It, rename=None, middleware=()), "x", wall=lambda: NOW)


async def in_turn(instance: Instance, work: Any) -> Any:
    """What `work(self)` gives inside a turn that commits."""
    found: list[Any] = []

    async def turn() -> None:
        found.append(work(instance.actor))

    effects = await instance.run_timer("ring", turn, Caller("timer"), "", ())
    instance.reminders = changed(instance.reminders, effects[3])
    return found[0]


async def test_a_reminder_is_set_listed_replaced_and_cancelled(instance: Instance) -> None:
    def first(it: It) -> list[Any]:
        it.reminders.set("b", Due(after=10, every=60, missed="all"), it.close, "late", count=2)
        it.reminders.set("a", Due(at=datetime.fromtimestamp(NOW + 5, UTC)), it._quiet)
        it.reminders.set("c", Due(every=3), it._quiet)
        return [item.name for item in it.reminders.list()]

    assert await in_turn(instance, first) == ["c", "a", "b"]
    assert earliest(instance.reminders) == NOW + 3
    shown = {item.name: item for item in instance.actor.reminders.list()}
    assert shown["b"].arguments == {"reason": "late", "count": 2}
    assert (shown["b"].method, shown["b"].every, shown["b"].missed) == ("close", 60.0, "all")
    assert shown["a"].due == datetime.fromtimestamp(NOW + 5, UTC)
    assert shown["a"].every is None

    def second(it: It) -> list[bool]:
        it.reminders.set("a", Due(after=100), it._quiet)
        return [it.reminders.cancel("b"), it.reminders.cancel("b"), it.reminders.cancel("nobody")]

    assert await in_turn(instance, second) == [True, False, False]
    assert {name: entry.due - NOW for name, entry in instance.reminders.items()} == {"c": 3.0, "a": 100.0}


async def test_a_turn_that_fails_changes_nothing(instance: Instance) -> None:
    def fails(it: It) -> None:
        it.reminders.set("a", Due(after=1), it._quiet)
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await in_turn(instance, fails)
    assert instance.reminders == {}
    assert instance.actor.reminders.list() == ()


@pytest.mark.parametrize(
    ("work", "error", "said"),
    [
        (lambda it: it.reminders.set("", Due(after=1), it._quiet), UsageError, "expected a name of 1–128"),
        (lambda it: it.reminders.set("cron:x", Due(after=1), it._quiet), UsageError, "do not begin with 'cron:'"),
        (lambda it: it.reminders.cancel("x" * 129), UsageError, "expected a name of 1–128"),
        (lambda it: it.reminders.set("a", Due(after=1), it.close), TypeError, "missing a required argument: 'reason'"),
        (lambda it: it.reminders.set("a", Due(after=1), it.close, "x", "y", "z"), TypeError, "too many positional"),
        (lambda it: it.reminders.set("a", Due(after=1), it.close, object()), StateValueError, "cannot be JSON"),
        (lambda it: it.reminders.set("a", Due(after=1), it.close, "x" * 20_000), UsageError, "the limit is 16384"),
        (lambda it: it.reminders.set("a", Due(after=1), it.plain), UsageError, "written as `async def`"),
        (lambda it: it.reminders.set("a", Due(after=1), it.open_ended), UsageError, "has no name on the wire"),
        (lambda it: it.reminders.set("a", Due(after=1), it.bare, 1), UsageError, "has no annotation"),
        (lambda it: it.reminders.set("a", Due(after=1), print), UsageError, "expected a method of this instance"),
        (lambda it: it.timers.after(1, it.close), TypeError, "missing a required argument: 'reason'"),
        (lambda it: it.timers.after(-1, it._quiet), UsageError, "expected seconds of 0 or more, got -1"),
        (lambda it: it.timers.every(0, it._quiet), UsageError, "expected seconds of 0.001 or more, got 0"),
        (lambda it: it.timers.after(float("nan"), it._quiet), UsageError, "got nan"),
        (lambda it: it.timers.after(True, it._quiet), UsageError, "got True"),
        (lambda it: it.timers.after(1, it.plain), UsageError, "written as `async def`"),
        (lambda it: it.timers.after(1, lambda: None), UsageError, "expected a method of this instance"),
    ],
)
async def test_what_cannot_be_is_told_where_it_is_written(
    instance: Instance, work: Any, error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        await in_turn(instance, work)


async def test_another_instances_method_is_refused(instance: Instance) -> None:
    other: Any = Instance(instance.definition, "y")
    with pytest.raises(UsageError, match="expected a method of this instance"):
        await in_turn(instance, lambda it: it.timers.after(1, other.actor._quiet))


async def test_outside_a_turn_nothing_can_be_set(instance: Instance) -> None:
    actor: Any = instance.actor
    timer = await in_turn(instance, lambda it: it.timers.after(1, it._quiet))
    for work in (
        lambda: actor.timers.after(1, actor._quiet),
        lambda: actor.reminders.set("a", Due(after=1), actor._quiet),
        lambda: actor.reminders.cancel("a"),
        timer.cancel,
    ):
        with pytest.raises(UsageError, match="only inside a turn"):
            work()


async def test_an_instance_has_a_bounded_number(instance: Instance) -> None:
    def fill(it: It) -> None:
        for number in range(MAX_REMINDERS):
            it.reminders.set(f"r{number}", Due(after=1), it._quiet)

    await in_turn(instance, fill)
    await in_turn(instance, lambda it: it.reminders.set("r0", Due(after=2), it._quiet))
    with pytest.raises(UsageError, match="has 128 reminders"):
        await in_turn(instance, lambda it: it.reminders.set("one more", Due(after=1), it._quiet))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "give at=, after= or every="),
        ({"at": datetime(2027, 1, 1, tzinfo=UTC), "after": 1}, "not both"),
        ({"at": datetime(2027, 1, 1)}, "needs a time zone"),
        ({"after": -1}, "expected seconds of 0 or more"),
        ({"every": 0.5}, "expected seconds of 1 or more"),
        ({"after": 1, "missed": "some"}, "expected one of one, all, skip"),
    ],
)
def test_a_time_that_is_none_is_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Due(**given)


def runs(missed: Missed, now: float, *, every: float = 100.0) -> tuple[list[float], float | None]:
    """Which runs a reminder has that is due at 0 and looked at, at `now`, and when it is due afterwards."""
    entry: StoredReminder | None = StoredReminder("m", 0.0, every, missed)
    found = []
    while entry is not None and entry.due <= now:
        due = entry.due
        run, entry = move_on(entry, now, None)
        if run:
            found.append(due)
    return found, None if entry is None else entry.due


@pytest.mark.parametrize(
    ("missed", "now", "expected"),
    [
        ("one", 5.0, ([0.0], 100.0)),
        ("one", 350.0, ([0.0], 400.0)),
        ("one", 300.0, ([0.0], 400.0)),
        ("all", 350.0, ([0.0, 100.0, 200.0, 300.0], 400.0)),
        ("skip", 5.0, ([0.0], 100.0)),
        ("skip", 60.0, ([0.0], 100.0)),
        ("skip", 61.0, ([], 100.0)),
        ("skip", 350.0, ([300.0], 400.0)),
        ("skip", 365.0, ([], 400.0)),
    ],
)
def test_missed_runs_follow_their_rule(missed: Missed, now: float, expected: Any) -> None:
    assert runs(missed, now) == expected


@pytest.mark.parametrize(
    ("missed", "now", "expected"),
    [("one", 1e9, [0.0]), ("all", 1e9, [0.0]), ("skip", 60.0, [0.0]), ("skip", 61.0, [])],
)
def test_a_single_run_is_late_or_skipped(missed: Missed, now: float, expected: list[float]) -> None:
    assert runs(missed, now, every=0.0) == (expected, None)


def test_short_intervals_are_missed_when_the_next_one_is_due() -> None:
    assert runs("skip", 1000.5, every=1.0) == ([1000.0], 1001.0)
    assert runs("one", 1000.5, every=1.0) == ([0.0], 1001.0)


def test_intervals_do_not_drift() -> None:
    entry = StoredReminder("m", 0.0, 7.0)
    for _ in range(1000):
        _, following = move_on(entry, entry.due + 3.3, None)
        assert following is not None
        assert (following.due / 7.0).is_integer()
        entry = following
    assert entry.due == 7000.0
