"""Durable instances keep the graces that run: a restart neither forgets nor repeats who is away."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.unit.host.test_durable import House, Log
from zocket import Actor, method
from zocket.host.durability import RETURN_WITHIN_S


class Game(Actor[Log]):
    durability = "file"
    grace = 30.0

    async def on_connect(self) -> None:
        self.state.lines.append(f"+{self.session.id}")

    async def on_drop(self) -> None:
        self.state.lines.append(f"?{self.session.id}")

    async def on_resume(self) -> None:
        self.state.lines.append(f"!{self.session.id}")

    async def on_disconnect(self) -> None:
        self.state.lines.append(f"-{self.session.id} {self.session.user_id}")

    @method
    async def here(self) -> list[str]:
        return list(self.clients)


class OnlyGrace(Actor[Log]):
    durability = "file"
    grace = 30.0

    @method
    async def here(self) -> list[str]:
        return list(self.clients)


def lines(house: House) -> list[str]:
    return list(house.shelf.state()["lines"])


def record(house: House) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(house.shelf.records["it", "x"].record)
    return found


async def dropped(cls: type[Actor[Any]] = Game) -> House:
    """An instance that waits for `a`, since a second; `other` is there, too."""
    house = House(cls)
    link = house.session("a", user_id="ada")
    for session in (link, house.session("other")):
        session.call("here")
    await house.clock.sleep(1)
    house.host.sessions.lapse(link)
    await house.clock.sleep(1)
    return house


async def test_the_record_says_who_is_away_and_until_when() -> None:
    house = await dropped()
    assert lines(house) == ["+a", "+other", "?a"]
    assert record(house)["away"] == {"a": pytest.approx(house.clock.wall() + 29, abs=0.1)}
    house.host.sessions.resume(house.session("a"))
    await house.clock.sleep(1)
    assert lines(house) == ["+a", "+other", "?a", "!a"]
    assert "away" not in record(house)
    assert list(record(house)["sessions"]) == ["a", "other"]


@pytest.mark.parametrize("cls", [Game, OnlyGrace])
async def test_a_grace_goes_on_after_a_restart(cls: type[Actor[Any]]) -> None:
    house = await dropped(cls)
    await house.restart()
    other = house.session("other")
    other.call("here")
    await house.clock.sleep(27)
    other.call("here")
    await house.clock.sleep(3)
    other.call("here")
    await house.clock.sleep(0.1)
    assert other.results() == [["a", "other"], ["a", "other"], ["other"]]
    assert record(house)["sessions"] == {"other": None}
    if cls is Game:
        assert lines(house) == ["+a", "+other", "?a", "-a ada"]


async def test_who_resumes_after_a_restart_is_resumed_once() -> None:
    house = await dropped()
    await house.restart()
    link, other = house.session("a", user_id="ada"), house.session("other")
    other.call("here")
    await house.clock.sleep(1)
    house.host.sessions.resume(link)
    link.watch()
    await house.clock.sleep(40)
    assert lines(house) == ["+a", "+other", "?a", "!a"]
    assert link.kinds()[0] == "state:snapshot"
    await house.restart()
    house.session("a").call("here")
    house.session("other").call("here")
    await house.clock.sleep(40)
    assert lines(house) == ["+a", "+other", "?a", "!a"]


async def test_who_resumes_before_the_instance_is_loaded_again_is_resumed_by_its_first_request() -> None:
    house = await dropped()
    await house.restart()
    link = house.session("a")
    house.host.sessions.resume(link)
    link.call("here")
    await house.clock.sleep(1)
    assert lines(house) == ["+a", "+other", "?a", "!a"]
    assert link.results() == [["a", "other"]]


async def test_a_grace_that_ended_while_nobody_served_leaves_time_to_come_back() -> None:
    house = await dropped()
    await house.host.abort()
    await house.clock.sleep(100)
    house.start()
    house.session("other").call("here")
    await house.clock.sleep(RETURN_WITHIN_S - 1)
    assert lines(house) == ["+a", "+other", "?a"]
    await house.clock.sleep(2)
    assert lines(house) == ["+a", "+other", "?a", "-a ada"]


async def test_who_was_there_at_the_crash_and_stays_silent_is_dropped_then() -> None:
    house = House(Game)
    house.session("a").call("here")
    await house.clock.sleep(1)
    await house.restart()
    other = house.session("other")
    other.call("here")
    await house.clock.sleep(RETURN_WITHIN_S + 1)
    assert lines(house) == ["+a", "+other", "?a"]
    await house.clock.sleep(31)
    assert lines(house) == ["+a", "+other", "?a", "-a None"]


async def test_who_was_only_silent_after_a_restart_is_resumed_by_its_next_request() -> None:
    """It has its socket all the time, so nothing else says that it is back."""
    house = House(Game)
    house.session("a").call("here")
    await house.clock.sleep(1)
    await house.restart()
    link, other = house.session("a"), house.session("other")
    other.call("here")
    await house.clock.sleep(RETURN_WITHIN_S + 1)
    link.call("here")
    await house.clock.sleep(40)
    assert lines(house) == ["+a", "+other", "?a", "!a"]
    assert link.results() == [["a", "other"]]


async def test_hooks_of_a_save_that_went_wrong_run_again_in_order() -> None:
    house = House(Game)
    house.shelf.shared = True
    link = house.session("a")
    link.call("here")
    await house.clock.sleep(1)
    house.shelf.delay_s = 1.0
    house.host.sessions.lapse(link)
    link = house.session("a")
    house.host.sessions.resume(link)
    await house.clock.sleep(0.1)
    key = ("it", "x")
    stored = house.shelf.records[key]
    house.shelf.saves += 1
    house.shelf.records[key] = type(stored)(stored.record, house.shelf.saves)  # a write of somebody else
    link.call("here")
    await house.clock.sleep(20)
    assert lines(house) == ["+a", "?a", "!a"]
    assert link.results() == [["a"]]


async def test_a_class_that_has_lost_its_grace_ends_who_is_away_soon() -> None:
    house = await dropped()
    await house.host.abort()

    class Without(Actor[Log]):
        durability = "file"

        async def on_disconnect(self) -> None:
            self.state.lines.append("left")

        @method
        async def here(self) -> list[str]:
            return list(self.clients)

    house.cls = Without
    house.start()
    house.session("other").call("here")
    await house.clock.sleep(RETURN_WITHIN_S + 1)
    assert lines(house) == ["+a", "+other", "?a", "left"]
