"""The limits of instances and of state bytes of a host, and who makes room at them."""

from __future__ import annotations

from collections import Counter

from tests.unit.host.conftest import Recorder
from tests.unit.host.evicting import NAP_S, Brief, It, Kept, Slow, World
from zocket.host.eviction import MAX_LEAVING, MAX_LOOKED_AT, PAUSE_S, SWEEP_S


class TestInstances:
    async def test_the_least_recently_used_durable_one_makes_room(self) -> None:
        w = World(Kept, max_instances=3)
        for actor_id in ("a", "b", "c", "a", "d", "c", "e"):
            await w.ask("add", actor_id)
            await w.clock.advance(0.1)
        assert w.host.instances == 3
        loads = []
        load = w.shelf.load
        w.shelf.load = lambda actor, actor_id: loads.append(actor_id) or load(actor, actor_id)  # type: ignore[func-returns-value, method-assign]
        for actor_id in ("c", "d", "e"):
            await w.ask("add", actor_id)
        assert loads == [], "a and b have left"
        assert w.count("evictions", "instances") == 2

    async def test_one_that_takes_its_time_lets_the_new_one_in_at_once(self) -> None:
        w = World(Slow, max_instances=1)
        await w.ask("add", "a")
        before = w.clock.now()
        assert await w.ask("add", "b") == 1
        assert w.clock.now() - before < NAP_S
        assert w.host.instances == 2
        await w.clock.advance(2 * NAP_S)
        assert w.host.instances == 1

    async def test_so_many_at_most_leave_at_the_same_time(self) -> None:
        w = World(Slow, max_instances=MAX_LEAVING + 10)
        for number in range(MAX_LEAVING + 10):
            w.s.call("add", f"a{number}")
        await w.clock.advance(1)
        late = Recorder(w.host, "t")
        for number in range(MAX_LEAVING + 10):
            late.call("add", f"b{number}")
        await w.clock.advance(0.5)
        codes = Counter(frame.get("code", "ok") for frame in late.answers())
        assert codes == {"ok": MAX_LEAVING, "overloaded": 10}
        assert w.host.instances == 2 * MAX_LEAVING + 10

    async def test_nothing_in_memory_is_lost_before_its_time(self) -> None:
        w = World(Brief, max_instances=1)
        await w.ask("add", "a")
        await w.clock.advance(Brief.idle_after - 0.1)
        assert await w.ask("add", "b") == "overloaded"
        assert await w.ask("add", "a") == 2

    async def test_nothing_in_memory_is_lost_because_it_was_not_looked_at_since_its_last_use(self) -> None:
        count = 2 * MAX_LOOKED_AT
        w = World(Brief, max_instances=count)
        for number in range(count):
            w.s.call("add", f"i{number}")
        await w.clock.advance(Brief.idle_after - 0.1)
        for number in range(count):
            w.s.call("add", f"i{number}")
        await w.clock.advance(0.1 + PAUSE_S / 2)
        assert await w.ask("add", "new") == "overloaded"
        assert w.host.instances == count

    async def test_an_older_one_in_memory_is_not_in_the_way_of_a_durable_one(self) -> None:
        w = World(Kept, max_instances=2)
        await w.ask("add", "a", "brief")
        await w.clock.advance(1)
        await w.ask("add", "b")
        assert await w.ask("add", "c") == 1
        assert await w.ask("add", "a", "brief") == 2

    async def test_a_new_one_is_refused_where_nothing_may_leave(self) -> None:
        w = World(Kept, max_instances=2)
        w.s.watch("a")
        w.s.call("nap", "b", seconds=5)
        await w.clock.advance(1)
        assert await w.ask("add", "c") == "overloaded"
        assert await w.ask("add", "a") == 1
        await w.clock.advance(5)
        assert await w.ask("add", "c") == 1


class TestMemory:
    async def test_the_least_recently_used_ones_go_until_the_states_fit(self) -> None:
        w = World(Kept, max_memory_bytes=10_000)
        for number in range(20):
            await w.ask("add", f"i{number}", line="x" * 1_000)
        assert await w.ask("look", "i19") == [1, 0]
        assert w.count("state_bytes") <= 11_200
        assert w.count("evictions", "memory") == 20 - w.host.instances > 8

    async def test_growth_is_answered_without_any_new_instance(self) -> None:
        w = World(Slow, max_memory_bytes=10_000)
        for actor_id in ("a", "b", "c"):
            await w.ask("add", actor_id, line="x" * 3_000)
        await w.ask("add", "c", line="x" * 3_000)
        assert w.host.instances == 3
        await w.clock.advance(SWEEP_S + NAP_S / 2)
        assert w.host.pending == 1
        assert await w.ask("look", "d") == [0, 0], "what leaves does not count any more"
        assert w.host.pending == 1
        await w.clock.advance(2 * NAP_S)
        assert (w.host.instances, w.count("evictions", "memory")) == (3, 1)
        assert w.count("state_bytes") <= 10_000

    async def test_a_new_one_is_refused_where_nothing_may_leave(self) -> None:
        w = World(It, max_memory_bytes=1_000)
        await w.ask("add", "a", line="x" * 1_000)
        assert await w.ask("add", "b") == "overloaded"
        assert await w.ask("add", "a") == 2

    async def test_zero_is_no_limit(self) -> None:
        w = World(It, max_memory_bytes=0)
        await w.ask("add", "a", line="x" * 1_000)
        assert await w.ask("add", "b") == 1
        assert w.count("state_bytes") > 1_000
