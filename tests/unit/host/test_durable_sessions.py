"""Durable instances know their sessions across processes: who stays is not introduced twice, who left is missed."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from tests.unit.host.test_durable import House, It, Log
from zocket import Actor, method
from zocket.host import keeper
from zocket.host.durability import RETURN_WITHIN_S
from zocket.host.store import Stored

MISSED_S = RETURN_WITHIN_S + 1


class Guests(Actor[Log]):
    durability = "file"
    pause_s = 0.0

    async def on_connect(self) -> None:
        self.state.lines.append(f"+{self.session.id}")
        await asyncio.sleep(self.pause_s)

    async def on_disconnect(self) -> None:
        self.state.lines.append(f"-{self.session.id} {self.session.user_id}")
        await asyncio.sleep(self.pause_s)

    @method
    async def write(self, line: str) -> None:
        self.state.lines.append(line)

    @method
    async def here(self) -> list[str]:
        return list(self.clients)


class Leavers(It):
    async def on_disconnect(self) -> None:
        self.state.lines.append(f"-{self.session.id}")


def lines(house: House) -> list[str]:
    return list(house.shelf.state()["lines"])


def kept(house: House) -> dict[str, Any]:
    """The sessions in the record."""
    found: dict[str, Any] = json.loads(house.shelf.records["it", "x"].record).get("sessions", {})
    return found


async def test_who_is_back_after_a_restart_is_not_introduced_again_and_who_is_not_leaves_once() -> None:
    house = House(Guests)
    for name in ("stays", "left"):
        house.session(name, user_id=f"user of {name}").call("here")
    await house.clock.sleep(1)
    assert lines(house) == ["+stays", "+left"]
    await house.restart()
    stays = house.session("stays")
    stays.call("here")
    await house.clock.sleep(RETURN_WITHIN_S - 1)
    assert stays.results() == [["stays", "left"]]
    assert lines(house) == ["+stays", "+left"]
    await house.clock.sleep(2)
    stays.call("here")
    await house.clock.sleep(MISSED_S)
    assert stays.results()[-1] == ["stays"]
    assert lines(house) == ["+stays", "+left", "-left user of left"]
    assert list(kept(house)) == ["stays"]
    await house.restart()
    house.session("new").call("here")
    await house.clock.sleep(MISSED_S)
    assert lines(house)[3:] == ["+new", "-stays user of stays"]


async def test_who_is_back_gets_what_it_subscribes_to_and_leaves_with_its_goodbye() -> None:
    house = House(Guests)
    house.session("s").watch()
    await house.clock.sleep(1)
    await house.restart()
    s, other = house.session("s"), house.session("other")
    s.watch()
    other.call("write", line="hello")
    await house.clock.sleep(MISSED_S)
    assert s.kinds() == ["state:snapshot", "state:patch", "state:patch"]
    house.host.sessions.disconnect("s")
    await house.clock.sleep(1)
    assert lines(house) == ["+s", "+other", "hello", "-s None"]


async def test_a_goodbye_to_the_new_process_is_enough() -> None:
    house = House(Guests)
    house.session("s").call("here")
    await house.clock.sleep(1)
    await house.restart()
    house.session("other").call("here")
    await house.clock.sleep(1)
    house.host.sessions.disconnect("s")
    await house.clock.sleep(1)
    assert lines(house) == ["+s", "+other", "-s None"]
    await house.clock.sleep(MISSED_S)
    assert lines(house) == ["+s", "+other", "-s None"]


async def test_who_is_at_another_instance_is_here() -> None:
    """It may have called this one once and never again."""
    house = House(Guests)
    for actor_id in ("x", "y"):
        house.session("s").call("here", actor_id)
    await house.clock.sleep(1)
    await house.restart()
    other = house.session("other")
    other.call("here", "x")
    house.session("s").watch("y")
    await house.clock.sleep(MISSED_S)
    assert lines(house) == ["+s", "+other"]
    house.host.sessions.disconnect("s")
    await house.clock.sleep(1)
    assert lines(house) == ["+s", "+other", "-s None"]
    assert house.shelf.state("y")["lines"] == ["+s", "-s None"]


@pytest.mark.parametrize("cls", [Guests, Leavers])
async def test_a_session_is_kept_whatever_its_hooks_change(cls: Any) -> None:
    house = House(cls)
    house.session("s").watch()
    await house.clock.sleep(1)
    assert kept(house) == {"s": None}
    house.host.sessions.disconnect("s")
    await house.clock.sleep(1)
    assert kept(house) == {}


async def test_a_process_that_dies_within_on_connect_has_not_introduced_the_session() -> None:
    house = House(type("Slow", (Guests,), {"pause_s": 1.0}))
    house.session("first").call("here")
    await house.clock.sleep(2)
    house.shelf.delay_s = 0.5
    house.session("first").call("write", line="a")
    house.session("s").call("here")
    await house.clock.sleep(0.9)
    assert lines(house)[-1] == "a"
    assert kept(house) == {"first": None}
    await house.restart()
    house.session("s").call("here")
    await house.clock.sleep(3)
    assert lines(house).count("+s") == 1
    assert set(kept(house)) == {"first", "s"}


async def test_a_process_that_dies_within_on_disconnect_leaves_it_to_the_next() -> None:
    house = House(type("Slow", (Guests,), {"pause_s": 1.0}))
    house.session("s").call("here")
    await house.clock.sleep(2)
    house.host.sessions.disconnect("s")
    await house.clock.sleep(0.5)
    await house.restart()
    house.session("other").call("here")
    await house.clock.sleep(2 * MISSED_S)
    assert lines(house) == ["+s", "+other", "-s None"]


async def test_a_save_that_was_refused_changes_nothing_of_who_is_kept() -> None:
    house = House(Guests)
    first, s = house.session("first"), house.session("s")
    first.call("here")
    await house.clock.sleep(1)
    stored = house.shelf.records["it", "x"]
    house.shelf.records["it", "x"] = Stored(stored.record, stored.revision + 100)
    s.call("here")
    house.host.sessions.disconnect("first")
    await house.clock.sleep(1)
    assert lines(house) == ["+first", "+s", "-first None"]
    assert kept(house) == {"s": None}


async def test_a_session_that_came_back_stays_when_its_first_end_has_to_run_again() -> None:
    house = House(Guests)
    s = house.session("s")
    s.call("here")
    await house.clock.sleep(1)
    stored = house.shelf.records["it", "x"]
    house.shelf.records["it", "x"] = Stored(stored.record, stored.revision + 100)
    house.host.sessions.lapse(s)
    back = house.session("s")
    back.watch()
    back.call("write", line="back")
    await house.clock.sleep(1)
    back.call("here")
    await house.clock.sleep(1)
    assert lines(house) == ["+s", "-s None", "+s", "back"]
    assert back.results()[-1] == ["s"]
    assert kept(house) == {"s": None}


async def test_a_process_that_only_loads_an_instance_keeps_its_sessions() -> None:
    house = House(Guests)
    house.shelf.shared = True
    house.session("s").call("here")
    await house.clock.sleep(1)
    saves = house.shelf.saves
    await house.restart()
    await house.host.call("it", "x", "here", None, 5)
    assert house.shelf.saves == saves + 1, "it is fenced off"
    assert kept(house) == {"s": None}


async def test_a_class_without_these_hooks_keeps_no_sessions() -> None:
    house = House(It)
    s = house.session("s")
    s.watch()
    s.call("add")
    await house.clock.sleep(1)
    assert "sessions" not in json.loads(house.shelf.records["it", "x"].record)
    saves = house.shelf.saves
    house.host.sessions.disconnect("s")
    await house.clock.sleep(1)
    assert house.shelf.saves == saves


async def test_the_sessions_of_a_record_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper, "MAX_SESSIONS", 2)
    house = House(Guests)
    for name in ("a", "b", "c"):
        house.session(name).call("here")
    await house.clock.sleep(1)
    assert list(kept(house)) == ["a", "b"]
    await house.restart()
    house.session("c").call("here")
    await house.clock.sleep(1)
    assert lines(house) == ["+a", "+b", "+c", "+c"]
