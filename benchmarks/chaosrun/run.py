"""One chaos run: load and watchers all the time, faults one after the other and sometimes two at once, then quiet.

Rules: after each fault the load must get on, or the run is wedged and ends; a ledger that is full is compared on every
watcher while faults go on, the others after quiet; quiet is when every call has ended and the stream of requests is
empty.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import nats

from chaosrun import kinds
from chaosrun.load import Caller, Ledgers
from chaosrun.oracle import Verdict, judge, outage_s
from chaosrun.replicas import Follower, OldClient, Watcher
from chaosrun.waiting import ChaosError, until
from zocket.client import Client, connect
from zocket.errors import ZocketError
from zocket.protocol import subjects

if TYPE_CHECKING:
    import random

    from chaosrun.fleet import Fleet

ON_AVERAGE_AT_ONCE: Final = 3
PROGRESS: Final = 30
"""Answered calls after a fault, before the next one."""
WEDGED_S: Final = 90.0
COMPARE_LIMIT_S: Final = 90.0
AFTERMATH_S: Final = 1.0
"""How long after its end a fault is taken as the cause of a wait."""
SECOND_FAULT_CHANCE: Final = 0.8
READS_AT_ONCE: Final = 32


@dataclass
class Options:
    """How much of everything."""

    faults: int
    calls: int
    callers: int = 12
    ledgers: int = 24
    ledger_size: int = 200
    rate_per_s: float = 500.0
    kinds: tuple[str, ...] = tuple(kinds.KINDS)


@dataclass
class Struck:
    """A fault that took place, by the monotonic clock."""

    kind: str
    began: float
    ended: float


@dataclass
class Run:
    """The load on a fleet and what is done to it."""

    fleet: Fleet
    options: Options
    draw: random.Random
    struck: list[Struck] = field(default_factory=list)
    missed: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    compared: int = 0
    logs: dict[str, list[str]] = field(default_factory=dict)

    async def play(self) -> Verdict:
        """The whole run; its verdict."""
        options, urls = self.options, self.fleet.client_urls
        self.ledgers = Ledgers(options.ledgers, options.ledger_size)
        self.callers = [Caller(f"c{number}", urls, self.ledgers, self.draw) for number in range(options.callers)]
        self.old_client = OldClient("old client", urls[0])
        self.watchers: list[Watcher] = [
            Follower("follower 1", urls[0]),
            Follower("follower 2", urls[-1]),
            self.old_client,
        ]
        async with AsyncExitStack() as stack:
            self._reader: Client = await stack.enter_async_context(connect(urls[-1], rpc_timeout=10))
            background = [asyncio.create_task(one.run()) for one in self.watchers]
            background += [asyncio.create_task(caller.keep_connected()) for caller in self.callers]
            stack.push_async_callback(_end, background)
            await until(lambda: all(one.open.is_set() for one in self.watchers), "every watcher is connected")
            background.append(asyncio.create_task(self._keep_watching()))
            pause_s = options.callers * ON_AVERAGE_AT_ONCE / options.rate_per_s
            calling = [asyncio.create_task(caller.call(pause_s, 2 * ON_AVERAGE_AT_ONCE - 1)) for caller in self.callers]
            stack.push_async_callback(_end, calling)
            await self._advance(PROGRESS)
            await self._strike_all()
            while self.answered < options.calls:
                await self._advance(min(500, options.calls - self.answered))
            await self._quiet(calling)
            await self._compare_rest()
        return self._verdict()

    @property
    def answered(self) -> int:
        """Calls that were answered `ok`."""
        return sum(caller.accepted for caller in self.callers)

    # -- faults --------------------------------------------------------------------------------------------------

    async def _strike_all(self) -> None:
        order: list[str] = []
        began = time.monotonic()
        per_fault = self.options.calls / max(1, self.options.faults)
        while len(self.struck) < self.options.faults:
            if not order:
                order = list(self.options.kinds)
                self.draw.shuffle(order)
            light = [kind for kind in self.options.kinds if kind in kinds.LIGHT]
            both = [self._strike(order.pop(), 0.0)]
            if light and self.draw.random() < SECOND_FAULT_CHANCE:
                both.append(self._strike(self.draw.choice(light), self.draw.random()))
            await asyncio.gather(*both)
            await self._advance(PROGRESS)
            while self.answered < per_fault * (len(self.struck) - 1):  # so that faults and load end together
                await self._advance(PROGRESS)
            took_s = time.monotonic() - began
            kind = self.struck[-1].kind if self.struck else ""
            print(f"{took_s:.0f} s: {len(self.struck)} faults, {self.answered} calls: {kind}", flush=True)

    async def _strike(self, kind: str, wait_s: float) -> None:
        await asyncio.sleep(wait_s)
        began = time.monotonic()
        try:
            took_place = await kinds.KINDS[kind](self.fleet, self.draw)
        except AssertionError as error:
            took_place = True
            self.wrong.append(f"{kind}: {error}")
        if took_place:
            self.struck.append(Struck(kind, began, time.monotonic()))
        else:
            self.missed[kind] += 1

    async def _advance(self, count: int) -> None:
        """So many more calls are answered; a runtime that ended meanwhile is replaced."""
        wanted, limit = self.answered + count, time.monotonic() + WEDGED_S
        while self.answered < wanted:
            if time.monotonic() > limit:
                raise ChaosError(f"wedged: {self.answered} calls answered, {wanted} wanted, within {WEDGED_S:g} s")
            await self.fleet.fill_up()
            await asyncio.sleep(0.05)

    # -- replicas ------------------------------------------------------------------------------------------------

    async def _keep_watching(self) -> None:
        """Watches what is called, compares what is full."""
        watched: set[str] = set()
        async with asyncio.TaskGroup() as comparing:
            while True:
                for ledger in set(self.ledgers.names) - watched:
                    watched.add(ledger)
                    for watcher in self.watchers:
                        watcher.watch(ledger)
                while not self.ledgers.retired.empty():
                    comparing.create_task(self._compare(self.ledgers.retired.get_nowait()))
                await asyncio.sleep(0.02)

    async def _compare(self, ledger: str) -> None:
        """Every watcher comes to have the ledger's log; then nobody watches it any more."""
        limit = time.monotonic() + COMPARE_LIMIT_S
        while True:
            log = await self._read(ledger)
            apart = [one for one in self.watchers if one.views.logs.get(ledger, []) != log]
            if not apart:
                break
            if time.monotonic() > limit:
                self.wrong += [
                    f"replica: {one.views.name} has {len(one.views.logs.get(ledger, []))} of {len(log)} in {ledger}"
                    for one in apart
                ]
                break
            await asyncio.sleep(0.3)
        self.compared += len(self.watchers) - len(apart)
        self.logs[ledger] = log
        for watcher in self.watchers:
            await watcher.leave(ledger)

    async def _read(self, ledger: str) -> list[str]:
        limit = time.monotonic() + COMPARE_LIMIT_S
        while True:
            try:
                log: list[str] = await self._reader.dynamic("ledger", ledger).call("read")
                return log
            except ZocketError as error:
                if time.monotonic() > limit:
                    raise ChaosError(f"{ledger} cannot be read: {error}") from error
                await asyncio.sleep(0.2)

    # -- the end -------------------------------------------------------------------------------------------------

    async def _quiet(self, calling: list[asyncio.Task[None]]) -> None:
        await _end(calling)
        await self.fleet.fill_up()
        await until(lambda: all(caller.idle for caller in self.callers), "every call ends")
        connection = await nats.connect(self.fleet.nats.url)
        try:
            stream, limit = connection.jetstream(), time.monotonic() + WEDGED_S
            while (await stream.stream_info(subjects.INBOUND_STREAM)).state.messages:
                if time.monotonic() > limit:
                    raise ChaosError("the stream of requests does not become empty")
                await asyncio.sleep(0.1)
        finally:
            await connection.close()

    async def _compare_rest(self) -> None:
        for ledger in self.ledgers.names:
            self.ledgers.retired.put_nowait(ledger)
        self.ledgers.names.clear()
        await until(
            lambda: len(self.logs) == len(self.ledgers.all_names), "every replica is compared", COMPARE_LIMIT_S + 30
        )
        gate = asyncio.Semaphore(READS_AT_ONCE)

        async def read(ledger: str) -> None:
            async with gate:
                self.logs[ledger] = await self._read(ledger)

        await asyncio.gather(*map(read, self.ledgers.all_names))

    def _verdict(self) -> Verdict:
        verdict = judge([call for caller in self.callers for call in caller.calls], self.logs)
        verdict.violations += self.wrong
        for caller in self.callers:
            verdict.violations += [f"answered twice: {name}" for name in caller.answered_twice]
        for watcher in self.watchers:
            verdict.violations += watcher.views.wrong
            for ledger, seen in watcher.views.logs.items():
                if self.logs[ledger][: len(seen)] != seen:
                    verdict.violations.append(f"gone again: what {watcher.views.name} saw of {ledger}")
        return verdict

    def outages_s(self, kind: str) -> list[float]:
        """Of each fault of a kind and each ledger, the longest time without an answered call, sorted."""
        calls = [call for caller in self.callers for call in caller.calls]
        found: list[float] = []
        for struck in self.struck:
            if struck.kind == kind:
                found += outage_s(calls, struck.began, struck.ended + AFTERMATH_S).values()
        return sorted(found)


async def _end(tasks: list[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    for outcome in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(outcome, Exception):
            with contextlib.suppress(asyncio.CancelledError):
                raise outcome
