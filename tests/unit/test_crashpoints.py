"""Which values of ZOCKET_CRASHPOINT there are, and how often they strike."""

from __future__ import annotations

import pytest

from zocket.crashpoints import PLACES, CrashPoints
from zocket.errors import SettingsError
from zocket.runtime.process import check
from zocket.settings import RuntimeSettings


def test_nothing_set_is_nothing_at_all() -> None:
    assert CrashPoints.parse("") is None
    assert CrashPoints.parse(" ") is None


def test_each_place_strikes_with_its_own_probability() -> None:
    draws = iter([0.001, 0.003, 0.4, 0.6])
    read = CrashPoints.parse("after_commit:0.002, before_ack:0.5")
    assert read is not None
    points = CrashPoints(read._chances, draw=lambda: next(draws))
    assert [points.strikes("after_commit") for _ in range(2)] == [True, False]
    assert [points.strikes("before_ack") for _ in range(2)] == [True, False]
    assert not points.strikes("before_commit"), "without a draw"
    assert not CrashPoints({"in_drain": 0.0}, draw=lambda: 0.0).strikes("in_drain")


def test_a_place_that_does_not_strike_is_passed() -> None:
    died: list[bool] = []
    points = CrashPoints({"in_drain": 0.5}, draw=lambda: 0.5, die=lambda: died.append(True))
    points.reach("in_drain")
    assert died == []
    points = CrashPoints({"in_drain": 0.5}, draw=lambda: 0.4, die=lambda: died.append(True))
    points.reach("in_drain")
    assert died == [True]


@pytest.mark.parametrize(
    "text",
    ["after_commit", "after_commit:", "after:0.5", "after_commit:2", "after_commit:-1", "before_ack:nan", ",", ":"],
)
def test_another_value_ends_the_boot_and_names_the_places(text: str) -> None:
    with pytest.raises(SettingsError, match="ZOCKET_CRASHPOINT") as raised:
        check(RuntimeSettings(deployment_id="dpl", crashpoint=text))
    assert all(place in raised.value.message for place in PLACES)
