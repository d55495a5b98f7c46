"""A one-way call while the runtime dies at each named place around it, on the memory broker and on real NATS."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack
from typing import Any

import pytest

from zocket import Actor, App, method
from zocket.crashpoints import CrashPoints
from zocket.host.store import decode_record
from zocket.host.unsent import WOKEN_AFTER_S
from zocket.runtime.runtime import Runtime
from zocket.runtime.state_store import BrokerStateStore
from zocket.settings import Limits
from zocket.testing import TestApp
from zocket.testing.app import SCOPE

PLACES = ("before_commit", "after_commit", "before_publish", "before_ack")


class Log(Actor[dict[str, list[str]]]):
    durability = "file"

    @method
    async def note(self, text: str) -> None:
        self.state.setdefault("lines", []).append(text)

    @method
    async def lines(self) -> list[str]:
        return self.state.get("lines", [])


class Desk(Actor[dict[str, list[str]]]):
    durability = "file"

    @method
    async def tell(self, texts: list[str]) -> None:
        self.state.setdefault("told", []).extend(texts)
        for text in texts:
            self.actors.tell(self.actors.get(Log, "l").note, text=text)

    @method
    async def tell_later(self, texts: list[str]) -> None:
        self.timers.after(0.05, self.tell, texts)


app = App(actors={"log": Log, "desk": Desk})


class Armed(CrashPoints):
    """Strikes once, when a place is reached for the n-th time; then nothing leaves the process any more."""

    def __init__(self) -> None:
        super().__init__({})
        self.place, self.left = "", 0
        self.struck = False

    def arm(self, place: str, nth: int) -> None:
        self.place, self.left = place, nth
        self.struck = False

    def strikes(self, place: str) -> bool:
        self.left -= place == self.place
        if place != self.place or self.left:
            return False
        self.struck = True
        return True


class Mortal(TestApp):
    """Its runtimes die at places."""

    def __init__(self) -> None:
        super().__init__(app)
        self.crash_points = Armed()

    async def start(self) -> None:
        stack = AsyncExitStack()
        broker = self._runtime_broker = await self._connect_broker("runtime", stack)
        points = self.crash_points
        points.die = broker.abort
        options = {"clock": self.clock, "limits": Limits(), "storage": "file", "crashpoints": points}
        runtime = Runtime.open(app.definition, SCOPE, broker, process_name="test", **options)  # type: ignore[arg-type]
        self.runtime = await stack.enter_async_context(runtime)
        self._runtime_stack = stack

    async def stored(self, actor: str, actor_id: str) -> tuple[Any, bool]:
        """The state in the record of an instance, which is not used by that; and whether it has sent all it told."""
        assert self.gateway is not None
        found = await BrokerStateStore(self.gateway.broker, SCOPE).load(actor, actor_id)
        if found is None:
            return {}, True
        record = decode_record(found.record)
        return json.loads(bytes(record.state)), not record.outbox


@pytest.mark.each_broker
async def test_a_one_way_call_survives_a_crash_at_each_named_place_once() -> None:
    expected: list[str] = []
    struck = dict.fromkeys(PLACES, 0)
    async with Mortal() as t:
        client = await t.connect(rpc_timeout=60.0)
        desk, log = client.actor(Desk, "d"), client.actor(Log, "l")
        for place in PLACES:
            for nth in (1, 2, 3):
                texts = [f"{place} {nth} {letter}" for letter in "ab"]
                expected += texts
                t.crash_points.arm(place, nth)
                telling = asyncio.ensure_future(desk.tell(texts=texts))
                async with asyncio.timeout(20):
                    while not (t.crash_points.struck or (telling.done() and not t._busy())):  # noqa: ASYNC110
                        await asyncio.sleep(0.002)
                    dead = t.crash_points.struck
                    t.crash_points.arm("", 0)  # a place that was not reached so often
                    if dead:
                        struck[place] += 1
                        await t.kill()
                        await t.start()
                    await telling
                await t.settle()
                assert await log.lines() == expected, "and nobody had to use the sender again"
        assert all(struck.values()), "each place was reached"


@pytest.mark.each_broker
async def test_what_a_timer_told_leaves_after_a_crash_at_each_place_once_and_nobody_uses_the_sender() -> None:
    struck = dict.fromkeys(PLACES, 0)
    unsent = 0
    async with Mortal() as t:
        desk = (await t.connect(rpc_timeout=60.0)).actor(Desk, "d")
        for place in PLACES:
            for nth in (1, 2, 3):
                await desk.tell_later(texts=[f"{place} {nth} {letter}" for letter in "ab"])
                await t.settle()
                t.crash_points.arm(place, nth)
                await t.clock.advance(0.05)
                async with asyncio.timeout(20):
                    while not t.crash_points.struck and t._busy():  # noqa: ASYNC110
                        await asyncio.sleep(0.002)
                    dead = t.crash_points.struck
                    t.crash_points.arm("", 0)  # a place that was not reached so often
                    if dead:
                        struck[place] += 1
                        await t.kill()
                        unsent += not (await t.stored("desk", "d"))[1]
                        await t.start()
                        await t.clock.advance(WOKEN_AFTER_S)
                    while not (await t.stored("desk", "d"))[1]:  # noqa: ASYNC110
                        await asyncio.sleep(0.002)
                    await t.settle()
                told, notes = (await t.stored("desk", "d"))[0], (await t.stored("log", "l"))[0]
                assert notes.get("lines", []) == told.get("told", []), f"{place} {nth}"
        assert all(struck.values()), "each place was reached"
        assert unsent, "some deaths left something unsent"
