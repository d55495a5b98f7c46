"""What durability costs: commits a second with many instances in flight, and what one commit adds to a call.

Run: `python benchmarks/bench_commits.py` (starts a NATS server of its own, with file storage). The host runs in this
process, without sockets and without a gateway: calls go in by `Host.call`. Compared in the same run: the same actor in
memory, durable over NATS, and durable in SQLite (`zocket serve`), both `file` and `sync`. CPU is of this process, and
of the NATS server apart. Latencies are a lonely call's: what it has more than one in memory is what a commit adds.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import tempfile
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvloop

from zocket.broker.nats import NatsBroker
from zocket.broker.server import NatsServer
from zocket.clock import SystemClock
from zocket.core import Actor, AppDefinition, method
from zocket.host import Host
from zocket.ids import Scope
from zocket.runtime.state_store import BrokerStateStore
from zocket.server.sqlite_store import SqliteStore
from zocket.settings import Limits

if TYPE_CHECKING:
    from zocket.host.store import StateStore


class Memory(Actor[dict[str, Any]]):
    """A counter with a little more state than its number."""

    @method
    async def add(self) -> int:
        self.state["n"] = self.state.get("n", 0) + 1
        return int(self.state["n"])


class File(Memory):
    """The same on file storage."""

    durability = "file"


class Sync(Memory):
    """The same, on the disk before it counts."""

    durability = "sync"


async def store_of(kind: str, stack: AsyncExitStack, directory: Path) -> tuple[StateStore | None, int | None]:
    """Where the instances of a kind are kept, and the process id of the server that keeps them."""
    if kind == "memory":
        return None, None
    if kind == "nats":
        server = await stack.enter_async_context(NatsServer(store_dir=directory / "nats"))
        broker = await NatsBroker.open(server.url, name="bench")
        stack.push_async_callback(broker.aclose)
        return BrokerStateStore(broker, Scope("bench", "commits")), server.pid
    path = directory / f"{kind}.db"
    return await stack.enter_async_context(SqliteStore.open(path, sync=kind == "sqlite-sync")), None


def server_cpu_s(pid: int | None) -> float:
    """CPU seconds that a server has used; 0 without one."""
    if pid is None:
        return 0.0
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def measure(kind: str, instances: int, seconds: float, directory: Path) -> tuple[float, ...]:
    """Calls a second with so many instances in flight, CPU s per 10,000 here and in the server, p50 and p99 in ms."""
    async with AsyncExitStack() as stack:
        store, server = await store_of(kind, stack, directory)
        actor: type[Memory] = Memory if store is None else Sync if kind == "sqlite-sync" else File
        host = Host(AppDefinition({"counter": actor}), clock=SystemClock(), limits=Limits(), store=store)
        stack.push_async_callback(host.aclose)
        lonely = []
        for _ in range(300):
            started = time.perf_counter()
            await host.call("counter", "lonely", "add", None, 10.0)
            lonely.append((time.perf_counter() - started) * 1_000)
        count, until = 0, time.perf_counter() + seconds

        async def again(name: str) -> None:
            nonlocal count
            while time.perf_counter() < until:
                await host.call("counter", name, "add", None, 10.0)
                count += 1

        cpu, theirs, started = time.process_time(), server_cpu_s(server), time.perf_counter()
        await asyncio.gather(*(again(f"i{number}") for number in range(instances)))
        spent, cpu, theirs = time.perf_counter() - started, time.process_time() - cpu, server_cpu_s(server) - theirs
        lonely.sort()
        latencies = statistics.median(lonely), lonely[int(len(lonely) * 0.99)]
        return count / spent, cpu / count * 10_000, theirs / count * 10_000, *latencies


async def main(instances: int, seconds: float) -> None:
    """Prints the table."""
    print(f"{instances} instances in flight, load average {os.getloadavg()[0]:.1f}")
    print(f"{'kept':13}{'commits/s':>11}{'CPU s/10k':>11}{'server':>9}{'p50 ms':>9}{'p99 ms':>9}")
    with tempfile.TemporaryDirectory() as name:
        for kind in ("memory", "nats", "sqlite-file", "sqlite-sync"):
            rate, cpu, theirs, p50, p99 = await measure(kind, instances, seconds, Path(name))
            print(f"{kind:13}{rate:11,.0f}{cpu:11.3f}{theirs:9.3f}{p50:9.3f}{p99:9.3f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--instances", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=3.0)
    arguments = parser.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(arguments.instances, arguments.seconds))
