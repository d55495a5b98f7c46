"""What callers notice when the replicas of a divided project hand partitions over: the longest wait for an answer.

Run: `python benchmarks/bench_handover.py`. Starts NATS with file storage, a control plane, a gateway and three runtimes
as processes; then a fourth runtime joins and one of them leaves after SIGTERM, over and over, while a call to each of
24 durable instances is always under way or at most `PAUSE_S` away. Compared in the same run: the longest wait while
nothing moves. The pause between two calls is in it, and so is what the start of a Python process costs the others.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import tempfile
import time
from pathlib import Path

from chaosrun.fleet import Fleet
from chaosrun.ledger import Ledger

from zocket.client import connect

INSTANCES = 24
PAUSE_S = 0.02
PARTITIONS = 8
REPLICAS = 3
WATCHED_S = 1.0
"""How long after a move its waits count."""


class Callers:
    """Calls every instance over and over, and knows how long each waited."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._waits: list[tuple[float, float]] = []
        self.calls = 0

    async def run(self) -> None:
        """Until it is cancelled."""
        async with connect(self._url, rpc_timeout=30) as client, asyncio.TaskGroup() as group:
            for number in range(INSTANCES):
                group.create_task(self._call(client.actor(Ledger, f"i{number}")))

    async def _call(self, ledger: Ledger) -> None:
        answered = time.monotonic()
        while True:
            await asyncio.sleep(PAUSE_S)
            await ledger.read()
            now = time.monotonic()
            self._waits.append((now, now - answered))
            answered = now
            self.calls += 1

    async def longest_ms(self, since: float) -> float:
        """The longest wait that ends after that moment and before `WATCHED_S` from now are over."""
        await asyncio.sleep(WATCHED_S)
        return max(wait for at, wait in self._waits if at > since) * 1e3


async def measure(moves: int) -> dict[str, list[float]]:
    """The longest wait of each move, in milliseconds."""
    longest: dict[str, list[float]] = {"nothing moves": [], "one joins": [], "one leaves": []}
    with tempfile.TemporaryDirectory(prefix="zocket-handover-") as home:
        async with Fleet(Path(home), gateways_wanted=1, replicas=REPLICAS, partitions=PARTITIONS) as fleet:
            callers = Callers(fleet.client_urls[0])
            calling = asyncio.create_task(callers.run())
            await asyncio.sleep(2 * WATCHED_S)
            began, before = time.monotonic(), callers.calls
            for _ in range(moves):
                longest["nothing moves"].append(await callers.longest_ms(time.monotonic()))
                moment = time.monotonic()
                await fleet.ready(fleet.launch_runtime())
                longest["one joins"].append(await callers.longest_ms(moment))
                leaves = fleet.runtimes[0]
                moment = time.monotonic()
                await fleet.retire(leaves)
                longest["one leaves"].append(await callers.longest_ms(moment))
            rate = (callers.calls - before) / (time.monotonic() - began)
            print(f"{rate:,.0f} calls a second to {INSTANCES} instances in {PARTITIONS} partitions")
            calling.cancel()
            await asyncio.wait([calling])
    return longest


def main() -> None:
    """Prints a line for each kind of move."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--moves", type=int, default=10, help="of each kind")
    arguments = parser.parse_args()
    print(f"{os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f}")
    for what, waits in asyncio.run(measure(arguments.moves)).items():
        print(f"{what:15} median {statistics.median(waits):4.0f} ms, longest {max(waits):4.0f} ms")


if __name__ == "__main__":
    main()
