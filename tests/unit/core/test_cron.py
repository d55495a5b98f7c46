"""`@cron`: times across changes of the clock, and what a class may not declare."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from zocket.core import Actor, AppDefinition, cron, method
from zocket.core.cron import Schedule
from zocket.errors import DefinitionError

ROME = ZoneInfo("Europe/Rome")


def times(expression: str, start: datetime, many: int) -> list[str]:
    schedule, at, found = Schedule(expression, "Europe/Rome"), start.timestamp(), []
    for _ in range(many):
        following = schedule.following(at)
        assert following > at
        at = following
        found.append(datetime.fromtimestamp(at, ROME).strftime("%d %H:%M %Z"))
    return found


def test_a_fixed_time_that_is_left_out_runs_right_after_the_gap() -> None:
    assert times("30 2 * * *", datetime(2027, 3, 27, tzinfo=ROME), 3) == [
        "27 02:30 CET",
        "28 03:00 CEST",
        "29 02:30 CEST",
    ]


def test_a_fixed_time_that_comes_twice_runs_once() -> None:
    found = times("30 2 * * *", datetime(2027, 10, 30, tzinfo=ROME), 3)
    assert found == ["30 02:30 CEST", "31 02:30 CEST", "01 02:30 CET"]
    second = datetime(2027, 10, 31, 2, 15, tzinfo=ROME, fold=1)
    assert times("30 2 * * *", second, 1) == ["01 02:30 CET"], "never in the past"


def test_a_star_goes_on_in_real_time() -> None:
    found = times("*/30 * * * *", datetime(2027, 10, 31, 1, 30, tzinfo=ROME), 5)
    assert found == ["31 02:00 CEST", "31 02:30 CEST", "31 02:00 CET", "31 02:30 CET", "31 03:00 CET"]
    assert times("0 * * * *", datetime(2027, 3, 28, 0, 30, tzinfo=ROME), 2) == ["28 01:00 CET", "28 03:00 CEST"]


@pytest.mark.parametrize(
    ("expression", "more", "said"),
    [
        ("61 * * * *", {}, "Bad minute"),
        ("* * * *", {}, "five fields"),
        ("0 0 30 2 *", {}, "Bad day-of-month"),
        ("* * */20 * 1L", {}, "no time ever fits"),
        ("0 4 * * *", {"tz": "Europe/Atlantis"}, "unknown time zone 'Europe/Atlantis'"),
        ("0 4 * * *", {"tz": "../../etc/passwd"}, "unknown time zone"),
        ("0 4 * * *", {"missed": "some"}, "expected one of one, all, skip"),
        ("0 4 * * *", {"id": ""}, "id:"),
    ],
)
def test_what_is_no_schedule_is_told_when_the_class_is_made(expression: str, more: dict[str, str], said: str) -> None:
    with pytest.raises(DefinitionError, match=said):
        cron(expression, **more)  # type: ignore[arg-type]


def test_a_method_that_needs_arguments_or_is_not_async_is_refused() -> None:
    class Needy(Actor[dict[str, int]]):
        @cron("0 4 * * *")  # type: ignore[type-var]
        async def run(self, text: str) -> None:
            pass

    class Plain(Actor[dict[str, int]]):
        @cron("0 4 * * *")
        def run(self) -> None:
            pass

    with pytest.raises(DefinitionError, match=r"Needy\.run: .* takes no arguments, and text has no default"):
        AppDefinition({"it": Needy})
    with pytest.raises(DefinitionError, match=r"Plain\.run: .* must be written as `async def`"):
        AppDefinition({"it": Plain})


def test_several_of_them_and_method_may_be_on_one_function() -> None:
    class Busy(Actor[dict[str, int]]):
        @cron("0 4 * * *", tz="Europe/Rome")
        @method
        @cron("0 5 * * *", id="main")
        async def run(self, loud: bool = False) -> None:
            pass

    definition = AppDefinition({"it": Busy}).actors["it"]
    assert "run" in definition.methods
    assert {(rule.name, rule.actor_id) for rule in definition.crons} == {
        ("cron:run:0 4 * * *:Europe/Rome", None),
        ("cron:run:0 5 * * *:UTC", "main"),
    }
