from __future__ import annotations

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zocket.control.lifecycle import COMING, PENDING, Event, ImpossibleStep, Status, step, wire_status

STATUSES = get_args(Status)
EVENTS = get_args(Event)


def test_the_usual_way_up_and_down() -> None:
    status: str = "stored"
    for event, following in (
        ("start", "starting"),
        ("smoke", "smoke"),
        ("standby", "smoke"),
        ("ready", "active"),
        ("supersede", "superseded"),
        ("start", "starting"),
        ("smoke", "smoke"),
        ("ready", "active"),
        ("roll_back", "rolled_back"),
        ("restore", "active"),
    ):
        status = step(status, event)  # type: ignore[arg-type]
        assert status == following


def test_a_pair_that_is_not_in_the_table_is_an_error_that_names_both() -> None:
    with pytest.raises(ImpossibleStep, match="that is stored cannot roll back") as refused:
        step("stored", "roll_back")
    assert refused.value.code == "impossible_step"
    with pytest.raises(ImpossibleStep, match="that is odd cannot start"):
        step("odd", "start")


@given(st.lists(st.sampled_from(EVENTS), max_size=30))
def test_nothing_becomes_active_without_being_ready_or_restored(events: list[Event]) -> None:
    status: str = "stored"
    was_active = False
    for event in events:
        try:
            following = step(status, event)
        except ImpossibleStep:
            continue
        if following == "active" and status != "active":
            assert event == "ready" or (event == "restore" and was_active)
            was_active = True
        status = following


@given(st.sampled_from(STATUSES), st.sampled_from(EVENTS))
def test_every_status_can_be_told_to_an_old_peer(status: str, event: Event) -> None:
    try:
        following = step(status, event)
    except ImpossibleStep:
        following = "stored"
    assert wire_status(following) in ("stored", "deployed", "failed")
    assert (wire_status(following) == "stored") == (following in PENDING)


def test_what_is_coming_is_pending() -> None:
    assert COMING < PENDING
