"""Idle instances leave memory where nothing is lost by it; no call is lost, doubled or overtaken by that."""

from __future__ import annotations

import gc
import random
import weakref
from typing import Any, ClassVar

import pytest

from tests.unit.host.conftest import Recorder
from tests.unit.host.evicting import IDLE_S, NAP_S, Brief, It, Kept, Slow, World
from zocket.host.eviction import MAX_LEAVING, MAX_LOOKED_AT, PAUSE_S, SWEEP_S


class TestIdle:
    async def test_an_instance_in_memory_stays_for_ever(self) -> None:
        w = World(It)
        assert await w.ask("add") == 1
        await w.clock.advance(1_000_000)
        assert await w.ask("add") == 2

    async def test_one_of_a_class_with_idle_after_goes_so_long_after_its_last_turn(self) -> None:
        w = World(Brief)
        for _ in range(4):
            await w.ask("add")
            await w.clock.advance(Brief.idle_after - 0.1)
            assert w.host.instances == 1
        assert await w.ask("add") == 5
        await w.clock.advance(Brief.idle_after + SWEEP_S + 0.1)
        assert (w.host.instances, w.count("evictions", "idle"), w.count("state_bytes")) == (0, 1, 0)
        assert await w.ask("add") == 1

    async def test_a_long_turn_is_use_until_its_end(self) -> None:
        w = World(Brief)
        await w.ask("add")
        await w.ask("nap", seconds=3 * Brief.idle_after)
        await w.clock.advance(Brief.idle_after - 0.1)
        assert await w.ask("add") == 2

    async def test_a_durable_one_goes_after_the_settings_time_and_comes_back_as_it_was(self) -> None:
        w = World(Kept)
        await w.ask("add", line="x" * 1_000)
        await w.clock.advance(IDLE_S - 0.1)
        assert w.host.instances == w.count("instances") == 1
        await w.clock.advance(SWEEP_S + 0.1)
        assert w.host.instances == w.count("instances") == w.count("state_bytes") == 0
        assert await w.ask("look") == [1, 0]
        assert w.count("state_bytes") > 1_000
        assert await w.ask("add", line="b") == 2
        assert w.shelf.state()["lines"] == ["x" * 1_000, "b"]

    async def test_its_class_may_say_otherwise(self) -> None:
        class Patient(Kept):
            idle_after = 100.0

        w = World(Patient)
        await w.ask("add")
        await w.clock.advance(99)
        assert w.host.instances == 1
        await w.clock.advance(3)
        assert w.host.instances == 0

    async def test_a_setting_of_zero_lets_durable_ones_stay(self) -> None:
        w = World(Kept, idle_after_s=0)
        await w.ask("add")
        await w.clock.advance(1_000_000)
        assert w.host.instances == 1

    async def test_many_that_are_due_at_once_all_go(self) -> None:
        w = World(Kept)
        for number in range(2 * MAX_LOOKED_AT + 100):
            w.s.call("add", f"i{number}")
        await w.clock.advance(IDLE_S - 0.1)
        assert w.host.instances == 2 * MAX_LOOKED_AT + 100
        await w.clock.advance(0.1 + 4 * PAUSE_S)
        assert w.host.instances == 0

    async def test_many_that_take_their_time_go_so_many_at_a_time(self) -> None:
        w = World(Slow)
        count = 2 * MAX_LEAVING + 100
        for number in range(count):
            w.s.call("add", f"i{number}")
        await w.clock.advance(IDLE_S - 1)
        assert w.host.instances == count
        await w.clock.advance(2 * SWEEP_S)
        assert w.host.pending == MAX_LEAVING, "so many leave at the same time"
        await w.clock.advance(5 * (NAP_S + SWEEP_S))
        assert (w.host.instances, w.host.pending, w.count("evictions", "idle")) == (0, 0, count)

    async def test_what_has_left_is_freed(self) -> None:
        class Tracked(Kept):
            alive: ClassVar[weakref.WeakSet[Any]] = weakref.WeakSet()

            def __init__(self) -> None:
                self.alive.add(self)

        w = World(Tracked)
        Tracked.alive.clear()
        w.s.call("add")
        await w.clock.advance(1)
        assert len(Tracked.alive) == 1
        await w.clock.advance(2 * IDLE_S)
        gc.collect()
        assert len(Tracked.alive) == 0


class TestInUse:
    @pytest.mark.parametrize("how", ["watch", "listen"])
    async def test_a_subscriber_keeps_it_until_it_unsubscribes(self, how: str) -> None:
        w = World(Brief)
        await w.ask("add")
        getattr(w.s, how)()
        await w.clock.advance(10 * IDLE_S)
        assert w.host.instances == 1
        getattr(w.s, f"un{how}")()
        await w.clock.advance(Brief.idle_after - 0.1)
        assert await w.ask("add") == 2
        await w.clock.advance(2 * Brief.idle_after)
        assert w.host.instances == 0

    async def test_what_is_not_stored_yet_keeps_it(self) -> None:
        w = World(Kept)
        await w.ask("look")
        w.shelf.away = True
        w.s.call("add")
        await w.clock.advance(10 * IDLE_S)
        assert w.host.instances == 1
        w.shelf.away = False
        await w.clock.advance(3 * IDLE_S)
        assert (w.host.instances, w.s.results(), w.shelf.state()["count"]) == (0, [1], 1)

    @pytest.mark.parametrize("hook", ["on_connect", "on_disconnect"])
    async def test_a_session_that_a_hook_would_miss_keeps_it(self, hook: str) -> None:
        async def note(self: Kept) -> None:
            self.state.lines.append(f"{hook} {self.session.id}")

        w = World(type("Hooked", (Kept,), {hook: note}))
        w.s.call("add")
        await w.clock.advance(10 * IDLE_S)
        assert w.host.instances == 1
        w.host.sessions.disconnect("s")
        await w.clock.advance(IDLE_S + 2 * SWEEP_S)
        assert w.host.instances == 0
        assert w.shelf.state()["lines"] == [f"{hook} s"], "once"

    async def test_other_sessions_are_known_again_from_their_next_request_on(self) -> None:
        w = World(Kept)
        w.s.call("known")
        other = Recorder(w.host, "t")
        other.call("known")
        await w.clock.advance(IDLE_S + 2 * SWEEP_S)
        assert w.host.instances == 0
        w.s.call("known")
        w.host.sessions.disconnect("t")
        await w.clock.advance(1)
        assert (w.s.results(), other.results()) == ([["s"], ["s"]], [["s", "t"]])


class TestLastTurn:
    async def leaving(self, **options: Any) -> World:
        """In the middle of `on_deactivate`."""
        w = World(Slow, **options)
        await w.ask("add", line="a")
        await w.clock.advance(IDLE_S - 0.01)
        while "deactivate" not in Slow.log:
            await w.clock.advance(0.05)
        Slow.log.clear()
        return w

    async def test_what_it_changes_is_stored(self) -> None:
        w = await self.leaving()
        await w.clock.advance(2 * NAP_S)
        assert (w.host.instances, w.shelf.state()["left"]) == (0, 1)
        assert await w.ask("look") == [1, 1]
        assert Slow.log == ["activate 1 1"]

    async def test_a_call_that_arrives_before_it_begins_keeps_the_instance(self) -> None:
        w = World(Slow, max_instances=1)
        await w.ask("add", line="a")
        w.s.call("add", "y", line="b")
        w.s.call("add", "x", line="c")
        await w.clock.advance(1)
        assert Slow.log == ["activate 0 0", "add a", "add c", "activate 0 0", "add b"]
        assert w.s.results() == [1, 2]
        await w.clock.advance(2 * IDLE_S)
        assert w.host.instances == 0, "it leaves when it is idle again"

    async def test_what_arrives_during_it_is_for_a_fresh_instance(self) -> None:
        w = await self.leaving()
        w.s.call("add", line="b")
        w.s.watch()
        w.s.call("add", line="c")
        await w.clock.advance(0.1)
        assert w.s.frames == [], "nothing is served beside the last turn"
        await w.clock.advance(2 * NAP_S)
        assert Slow.log == ["activate 1 1", "add b", "add c"]
        assert w.s.results() == [2, 3]
        assert w.shelf.state() == {"count": 3, "left": 1, "lines": ["a", "b", "c"]}
        assert w.host.pending == 0

    async def test_so_is_what_arrives_while_it_is_stored(self) -> None:
        w = await self.leaving()
        w.shelf.delay_s = 5.0
        await w.clock.advance(NAP_S + 1)
        w.s.call("add", line="b")
        await w.clock.advance(1)
        assert Slow.log == []
        w.shelf.delay_s = 0.01
        await w.clock.advance(5)
        assert Slow.log == ["activate 1 1", "add b"]
        assert w.s.results() == [2]

    async def test_a_session_that_ends_during_it_makes_no_instance(self) -> None:
        w = World(Slow)
        w.s.call("add", line="a")
        await w.clock.advance(IDLE_S - 0.01)
        while "deactivate" not in Slow.log:
            await w.clock.advance(0.05)
        w.host.sessions.disconnect("s")
        w.s.unwatch()
        await w.clock.advance(3 * NAP_S)
        assert (w.host.instances, w.host.pending) == (0, 0)

    async def test_one_that_raises_is_logged_and_the_instance_goes(self, caplog: pytest.LogCaptureFixture) -> None:
        class Broken(Kept):
            async def on_deactivate(self) -> None:
                self.state.count = 100
                raise ValueError("broken")

        w = World(Broken)
        await w.ask("add")
        await w.clock.advance(IDLE_S + 2 * SWEEP_S)
        assert "on_deactivate raised" in caplog.text
        assert w.host.instances == 0
        assert await w.ask("add") == 2

    async def test_one_that_the_store_does_not_take_goes_as_it_was(self) -> None:
        w = await self.leaving()
        w.shelf.max_bytes = 10
        w.s.call("look")
        await w.clock.advance(2 * NAP_S)
        assert w.s.results() == [[1, 0]]
        assert w.host.pending == 0

    async def test_one_whose_save_another_writer_beat_runs_again_on_what_is_stored(self) -> None:
        w = await self.leaving()
        w.write_as_other(count=7)
        await w.clock.advance(4 * NAP_S)
        assert (w.host.instances, w.host.pending) == (0, 0)
        assert await w.ask("look") == [7, 1]

    async def test_an_instance_that_another_process_owns_leaves_nothing_behind(self) -> None:
        async def lost() -> bool:
            return False

        w = await self.leaving(owns=lost, max_instances=1)
        w.write_as_other()
        await w.clock.advance(4 * NAP_S)
        assert (w.host.instances, w.host.pending, w.shelf.state()["left"]) == (0, 0, 0)
        assert w.count("state_bytes") == w.count("evictions", "idle") == 0
        w.s.watch("a")
        assert await w.ask("look", "b") == "overloaded", "it does not count as leaving any more"

    async def test_an_instance_that_was_given_up_is_not_let_go_again(self) -> None:
        async def lost() -> bool:
            return False

        w = World(Slow, owns=lost)
        await w.ask("add", line="a")
        w.write_as_other()
        w.s.call("add", line="b")
        await w.clock.advance(2 * IDLE_S)
        assert (w.host.instances, w.s.answers()) == (0, [])
        assert "deactivate" not in Slow.log

    async def test_a_stop_in_its_middle_runs_it_once(self) -> None:
        w = await self.leaving()
        await w.host.aclose(30)
        assert (Slow.log, w.shelf.state()["left"]) == ([], 1)

    async def test_nothing_is_let_go_during_a_stop(self) -> None:
        w = World(Slow, max_instances=2)
        await w.ask("add", "x")
        w.s.call("nap", "z", seconds=3 * IDLE_S)
        await w.clock.advance(1)
        w.s.call("look", "y")
        assert w.host.instances == 3, "x is asked to leave"
        await w.host.aclose(5 * IDLE_S)
        assert Slow.log.count("deactivate") == 3

    async def test_a_later_life_does_not_take_the_saves_of_an_earlier_one_for_its_own(self) -> None:
        w = World(Kept)
        await w.ask("add", line="a")
        await w.clock.advance(IDLE_S + 2 * SWEEP_S)
        w.shelf.max_bytes = 10
        assert await w.ask("add", line="b") == "too_large"
        assert await w.ask("look") == [1, 0]


@pytest.mark.parametrize("seed", range(20))
async def test_no_call_is_lost_or_doubled_or_overtaken_whatever_leaves_meanwhile(seed: int) -> None:
    rng = random.Random(seed)
    w = World(Slow, idle_after_s=0.2, max_instances=rng.choice((2, 100)))
    sent: dict[str, list[str]] = {actor_id: [] for actor_id in "abcd"}
    refused = set()
    for number in range(300):
        actor_id, line = rng.choice("abcd"), str(number)
        w.shelf.delay_s = rng.random() * 0.2
        sent[actor_id].append(line)
        w.s.call("add", actor_id, line=line)
        if rng.random() < 0.4:
            await w.clock.advance(rng.random() * rng.choice((0.05, 3.0)))
    await w.clock.advance(60)
    assert (w.host.instances, w.host.pending) == (0, 0)
    answers = w.s.answers()
    assert len(answers) == 300
    refused = {str(frame["id"] - 1) for frame in answers if frame.get("code") == "overloaded"}
    for actor_id, lines in sent.items():
        served = [line for line in lines if line not in refused]
        assert w.shelf.state(actor_id)["lines"] == served
        results = [frame["result"] for frame in answers if str(frame["id"] - 1) in served]
        assert results == list(range(1, len(served) + 1))
    assert w.count("evictions", "idle") + w.count("evictions", "instances") > 10
