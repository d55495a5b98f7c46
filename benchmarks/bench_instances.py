"""What live instances cost: memory of each, and the work of letting them leave.

    python benchmarks/bench_instances.py [--instances 100000]

One host without a broker, as `zocket serve` has it, with a store in memory whose records count as well. Memory is what
the process has grown by (resident set); each kind of instance has a process of its own. Times are CPU time.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import multiprocessing
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Raw
from pydantic import BaseModel

from zocket import Actor, method
from zocket.clock import SystemClock
from zocket.core import AppDefinition, Session
from zocket.host import Host, Link
from zocket.host.store import Stored
from zocket.protocol.frames import NO_INPUT, Rpc
from zocket.settings import Limits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from zocket.errors import ZocketError


class Cart(BaseModel):
    owner: str = "somebody"
    items: list[str] = []
    total: int = 0


class InMemory(Actor[Cart]):
    @method
    async def add(self, item: str) -> int:
        self.state.items.append(item)
        self.state.total += 1
        return self.state.total

    @method
    async def read(self) -> int:
        return self.state.total


class Durable(InMemory):
    durability = "file"


INPUT = {"add": Raw(b'{"item":"a book"}'), "read": NO_INPUT}


class Shelf:
    """A store without a disk."""

    shared = False

    def __init__(self) -> None:
        self.records: dict[tuple[str, str], Stored] = {}

    async def load(self, actor: str, actor_id: str) -> Stored | None:
        return self.records.get((actor, actor_id))

    def save(
        self, actor: str, actor_id: str, record: bytes, expected: int, done: Callable[[int | ZocketError], None]
    ) -> None:
        self.records[actor, actor_id] = Stored(record, expected + 1)
        asyncio.get_running_loop().call_soon(done, expected + 1)


class Turned(SystemClock):
    """The machine's clock with a hand to turn it."""

    ahead_s = 0.0

    def now(self) -> float:  # type: ignore[override]
        return time.monotonic() + self.ahead_s


class Nobody(Link):
    __slots__ = ()

    def send(self, frame: bytes) -> None:
        """Nobody reads it."""


def resident_bytes() -> int:
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGESIZE")


async def settle(host: Host) -> None:
    await host.drain(60.0)


async def measure(cls: type[Actor[Cart]], count: int) -> None:
    """Makes `count` instances, uses each once more, lets some make room and all of them leave."""
    clock = Turned()
    host = Host(AppDefinition({"cart": cls}), clock=clock, limits=Limits(max_instances=count), store=Shelf())
    link = Nobody(Session("s", None))

    async def call(name: str, ids: Iterable[object], together: int = 1_000) -> float:
        """CPU microseconds of a call to each."""
        started, number = time.process_time(), 0
        for number, actor_id in enumerate(ids, 1):
            host.submit(link, Rpc(Raw(b"1"), "cart", str(actor_id), name, INPUT[name]), "r")
            if number % together == 0:
                await settle(host)
        await settle(host)
        return (time.process_time() - started) / number * 1e6

    await call("add", ["warm"] * 1_000)
    before = resident_bytes()
    made_us = await call("add", range(1, count))
    each = (resident_bytes() - before) / count
    print(f"{cls.__name__:9} {count:7} instances: {each:5.0f} bytes each, made by a call of {made_us:.0f} us")
    if cls is Durable:
        again_us = await call("read", range(1, count))
        stale_us = await call("read", (f"new{number}" for number in range(200)), 1)
        await call("read", (f"more{number}" for number in range(count // 100)), 1)
        room_us = await call("read", (f"last{number}" for number in range(200)), 1)
        print(
            f"{'':9} a further call {again_us:.0f} us; one that makes room {room_us:.0f} us, {stale_us:.0f} us at worst"
        )
        clock.ahead_s += Limits().idle_after_s + 1
        sweeps = []
        while host.instances:
            started = time.process_time()
            host.eviction._sweep()  # noqa: SLF001 — what is measured
            sweeps.append(time.process_time() - started)
            await settle(host)
        longest_ms, each_us = max(sweeps) * 1e3, sum(sweeps) / count * 1e6
        print(f"{'':9} all gone in {len(sweeps)} sweeps of {longest_ms:.1f} ms at most, {each_us:.1f} us an instance")
    await host.abort()


def run(cls: type[Actor[Cart]], count: int) -> None:
    asyncio.run(measure(cls, count))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--instances", type=int, default=100_000)
    count = parser.parse_args().instances
    for cls in (InMemory, Durable):
        process = multiprocessing.get_context("spawn").Process(target=run, args=(cls, count))
        process.start()
        process.join()


if __name__ == "__main__":
    main()
