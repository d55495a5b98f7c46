"""Who is here: gateways that die, come back, or are only not heard, in virtual time."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from zocket.runtime.presence import LAPSED_KEPT, PRESENCE_LEASE_S, SWEEP_EVERY_S, Presence
from zocket.testing.clock import VirtualClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.unit.runtime.conftest import Bench, Wire
    from zocket.broker.memory import MemoryBroker

GATEWAY = "g1"
SUBSCRIPTION = {"type": "state:sub", "actor": "room", "actorId": "a"}
ENDED_S = PRESENCE_LEASE_S + 3 * SWEEP_EVERY_S
"""The lease, a sweep that suspects, a sweep that is sure, and what is left of one."""


class Watch:
    """A `Presence` whose broker always answers, unless a test says that it does not."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.presence = Presence(self.clock)
        self.reached = True

    async def passes(self, seconds: float, *alive: str) -> set[str]:
        """Who has died meanwhile, with `alive` saying every second that they are there."""
        dead: set[str] = set()
        for _ in range(round(seconds / SWEEP_EVERY_S)):
            await self.clock.advance(SWEEP_EVERY_S)
            for gateway in alive:
                self.presence.heard(gateway)
            dead |= self.presence.sweep()
            if self.reached:
                self.presence.confirm()
        return dead


class TestPresence:
    """The rules alone."""

    async def test_a_gateway_that_is_silent_for_a_lease_has_died_and_one_that_is_heard_has_not(self) -> None:
        watch = Watch()
        watch.presence.met("silent")
        watch.presence.met("heard")
        assert await watch.passes(PRESENCE_LEASE_S, "heard") == set()
        assert await watch.passes(ENDED_S - PRESENCE_LEASE_S, "heard") == {"silent"}
        assert await watch.passes(60, "heard") == set()

    async def test_a_gateway_without_sessions_here_has_no_lease(self) -> None:
        watch = Watch()
        assert watch.presence.heard("elsewhere") is False
        assert await watch.passes(60) == set()

    async def test_a_session_renews_no_lease(self) -> None:
        """What it sent may have waited in the stream for longer than its gateway lived."""
        watch = Watch()
        watch.presence.met("g")
        await watch.passes(PRESENCE_LEASE_S)
        watch.presence.met("g")
        assert await watch.passes(ENDED_S - PRESENCE_LEASE_S) == {"g"}

    async def test_one_that_comes_back_is_told_once_and_has_a_lease_again(self) -> None:
        watch = Watch()
        watch.presence.met("g")
        await watch.passes(ENDED_S)
        assert watch.presence.heard("g") is True
        assert watch.presence.heard("g") is False
        assert await watch.passes(PRESENCE_LEASE_S) == set()
        assert await watch.passes(ENDED_S) == {"g"}

    async def test_late_messages_of_a_dead_one_give_it_one_more_lease(self) -> None:
        watch = Watch()
        watch.presence.met("g")
        await watch.passes(ENDED_S)
        watch.presence.met("g")
        assert await watch.passes(ENDED_S) == {"g"}

    async def test_one_that_speaks_first_and_is_heard_then_is_still_told_that_it_was_taken_for_dead(self) -> None:
        watch = Watch()
        watch.presence.met("g")
        await watch.passes(ENDED_S)
        watch.presence.met("g")
        assert watch.presence.heard("g") is True

    async def test_nobody_is_blamed_while_the_broker_does_not_reach_this_process(self) -> None:
        watch = Watch()
        watch.presence.met("g")
        watch.reached = False
        assert await watch.passes(60) == set()
        assert watch.presence.in_doubt
        watch.reached = True
        assert await watch.passes(1, "g") == set()
        assert not watch.presence.in_doubt

    async def test_after_a_renewal_every_lease_is_a_whole_one(self) -> None:
        watch = Watch()
        watch.presence.met("g")
        await watch.passes(PRESENCE_LEASE_S + 1)
        watch.presence.renew()
        assert await watch.passes(PRESENCE_LEASE_S) == set()
        assert await watch.passes(ENDED_S) == {"g"}

    async def test_the_dead_that_are_remembered_are_bounded(self) -> None:
        watch = Watch()
        for number in range(LAPSED_KEPT + 1):
            watch.presence.met(f"g{number}")
        await watch.passes(ENDED_S)
        back = [number for number in range(LAPSED_KEPT + 1) if watch.presence.heard(f"g{number}")]
        assert len(back) == LAPSED_KEPT


class Scene:
    """A runtime, one gateway that says that it is there until it is silenced, and a foreign one."""

    def __init__(self, world: Bench, wire: Wire, broker: MemoryBroker) -> None:
        self.world = world
        self.wire = wire
        self.broker = broker
        self._alive = asyncio.create_task(self._say_alive())

    async def _say_alive(self) -> None:
        while True:
            self.wire.alive(GATEWAY)
            await self.world.clock.sleep(1)

    def silence(self) -> None:
        self._alive.cancel()

    def speak(self) -> None:
        self._alive = asyncio.create_task(self._say_alive())

    async def here(self, actor_id: str = "a") -> list[str]:
        """`clients` of an instance, as a session of a foreign gateway sees it; that one is left out."""
        self.wire.outbound.clear()
        self.wire.call("here", actor_id, session="s_foreign")
        await self.world.settle()
        (result,) = [frame for frame in self.wire.frames("s_foreign") if frame["type"] == "rpc:result"]
        return [session for session in result["result"] if session != "s_foreign"]

    def told(self) -> int:
        """How often the gateway was told that it was taken for dead."""
        return len([batch for batch in self.wire.batches if batch.get("lapsed")])

    def received(self, session: str) -> list[dict[str, Any]]:
        deliveries = [item for batch in self.wire.batches for item in batch["deliveries"]]
        return [item["message"] for item in deliveries if session in item["sessions"]]


@asynccontextmanager
async def opened(bench: type[Bench]) -> AsyncIterator[Scene]:
    world = bench()
    wire = await world.wire()
    broker = world.server.connect()
    async with world.runtime(broker=broker):
        scene = Scene(world, wire, broker)
        for session in ("s1", "s2"):
            wire.publish(SUBSCRIPTION, session=session, gateway=GATEWAY)
        await world.settle()
        yield scene
        scene.silence()


async def test_sessions_of_a_gateway_that_vanished_end_once_after_its_lease_and_not_before(bench: type[Bench]) -> None:
    async with opened(bench) as scene:
        await scene.world.clock.advance(60)
        scene.silence()
        await scene.world.clock.advance(PRESENCE_LEASE_S - 1)
        assert await scene.here() == ["s1", "s2"]
        assert scene.world.room.hooks == []
        await scene.world.clock.advance(ENDED_S)
        assert await scene.here() == []
        assert sorted(scene.world.room.hooks) == ["a lost s1", "a lost s2"]
        await scene.world.clock.advance(60)
        assert len(scene.world.room.hooks) == 2


async def test_a_goodbye_that_comes_after_the_lease_runs_no_second_hook(bench: type[Bench]) -> None:
    async with opened(bench) as scene:
        scene.silence()
        await scene.world.clock.advance(ENDED_S)
        scene.wire.disconnect("s1")
        await scene.world.settle()
        assert sorted(scene.world.room.hooks) == ["a lost s1", "a lost s2"]


async def test_sessions_of_a_foreign_gateway_have_no_lease(bench: type[Bench]) -> None:
    async with opened(bench) as scene:
        scene.wire.publish(SUBSCRIPTION, session="s3")
        scene.silence()
        await scene.world.clock.advance(600)
        assert await scene.here() == ["s3"]


async def test_nobody_ends_while_the_runtime_is_cut_off_nor_before_a_lease_is_over_afterwards(
    bench: type[Bench],
) -> None:
    """A broker that was restarted is found by its gateways as late as by its runtimes."""
    async with opened(bench) as scene:
        scene.silence()
        scene.world.server.cut(scene.broker, down_s=60)
        await scene.world.clock.advance(60 + PRESENCE_LEASE_S - 1)
        scene.speak()
        await scene.world.clock.advance(60)
        assert scene.world.room.hooks == []
        assert await scene.here() == ["s1", "s2"]
        assert scene.told() == 0


async def test_nobody_ends_while_nothing_reaches_the_runtime_and_nobody_says_so(
    bench: type[Bench],
) -> None:
    """A connection that is dead without a word."""
    async with opened(bench) as scene:
        receive = scene.broker.receive
        scene.broker.receive = lambda *_: None  # type: ignore[method-assign]
        await scene.world.clock.advance(60)
        scene.broker.receive = receive  # type: ignore[method-assign]
        await scene.world.clock.advance(ENDED_S)
        assert scene.world.room.hooks == []


async def test_nobody_ends_when_the_runtime_stood_still(bench: type[Bench]) -> None:
    async with opened(bench) as scene:
        scene.silence()
        asyncio.get_running_loop().jump(60)  # type: ignore[attr-defined]
        await scene.world.clock.advance(PRESENCE_LEASE_S - 1)
        scene.speak()
        await scene.world.clock.advance(60)
        assert scene.world.room.hooks == []
        assert await scene.here() == ["s1", "s2"]


async def test_a_gateway_that_comes_back_is_told_and_its_sessions_are_introduced_anew(bench: type[Bench]) -> None:
    async with opened(bench) as scene:
        scene.silence()
        await scene.world.clock.advance(ENDED_S)
        assert await scene.here() == []
        scene.speak()
        await scene.world.clock.advance(ENDED_S)
        assert scene.told() == 1
        scene.wire.batches.clear()
        scene.wire.publish(SUBSCRIPTION, session="s1", gateway=GATEWAY)
        scene.wire.call("say", session="s1", gateway=GATEWAY, input={"text": "back"})
        await scene.world.settle()
        assert [frame["type"] for frame in scene.received("s1")] == ["state:snapshot", "state:patch", "rpc:result"]
        assert await scene.here() == ["s1"]
        await scene.world.clock.advance(60)
        assert await scene.here() == ["s1"]
        assert len(scene.world.room.hooks) == 2


async def test_late_messages_of_a_dead_gateway_leave_no_ghost(bench: type[Bench]) -> None:
    async with opened(bench) as scene:
        scene.silence()
        await scene.world.clock.advance(ENDED_S)
        scene.wire.call("say", session="s1", gateway=GATEWAY, input={"text": "late"})
        await scene.world.settle()
        assert await scene.here() == ["s1"]
        await scene.world.clock.advance(ENDED_S)
        assert await scene.here() == []
        assert scene.world.room.hooks.count("a lost s1") == 2


async def test_a_session_that_said_goodbye_does_not_come_back_with_its_gateway(bench: type[Bench]) -> None:
    async with opened(bench) as scene:
        scene.wire.disconnect("s1")
        scene.silence()
        await scene.world.clock.advance(ENDED_S)
        scene.speak()
        scene.wire.publish(SUBSCRIPTION, session="s1", gateway=GATEWAY)
        await scene.world.settle()
        assert await scene.here() == []
