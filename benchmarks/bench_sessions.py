"""What idle sessions cost over NATS: opening them, memory of each process, and holding them.

    python benchmarks/bench_sessions.py [--sessions 15000] [--hold 60] [--workers 1]

Sessions are opened 50 at a time to the gateway of a deployment of its own, and held; none of them calls anything.
Memory is what each process has grown by (resident set) while they were opened, and at the end of the hold. Exit status
1 means that a session did not survive. Gateway and generator need a file descriptor a session each: the soft limit is
raised to the hard one.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import uvloop
from modes import deployment
from picows import WSListener, ws_connect
from processes import BenchmarkError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from modes import Service
    from picows import WSFrame, WSTransport

TOGETHER: Final = 50
"""Sessions that are being opened at the same time."""
PER_ADDRESS: Final = 20_000
"""Connections from one loopback address: it has about 28,000 ports for them."""
SPARE_FILES: Final = 500
SETTLE_S: Final = 2.0
_TICK: Final = os.sysconf("SC_CLK_TCK")


class Session(WSListener):
    """One session that only listens."""

    welcomed = False

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """See `WSListener`; pings are answered by picows."""
        self.welcomed = True


def kib_of(pid: int) -> int:
    """The resident set of a process."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


def cpu_s_of(pid: int) -> float:
    """CPU seconds of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICK


async def open_all(url: str, count: int) -> list[WSTransport]:
    """Opens the sessions; the sockets."""
    turn = asyncio.Semaphore(TOGETHER)

    async def one(number: int) -> WSTransport:
        async with turn:
            source = (f"127.0.0.{1 + number // PER_ADDRESS}", 0)
            transport, session = await ws_connect(
                Session, url, websocket_handshake_timeout=60, local_addr=source, max_frame_size=65_536
            )
            while not session.welcomed:  # noqa: ASYNC110 — the listener has no event
                await asyncio.sleep(0.001)
            return transport

    return await asyncio.gather(*(one(number) for number in range(count)))


def growth(before: Mapping[str, int], pids: Mapping[str, int], count: int) -> str:
    """Of each process and of all, in words."""
    parts = {role: (kib_of(pid) - before[role]) / count for role, pid in pids.items()}
    each = ", ".join(f"{role} {kib:.1f}" for role, kib in parts.items())
    return f"{sum(parts.values()):.1f} KiB a session ({each})"


async def measure(service: Service, count: int, hold_s: float) -> bool:
    """Prints the figures; whether every session lived to the end."""
    pids = {role: pid for role, pid in service.pids.items() if role != "control"}
    before = {role: kib_of(pid) for role, pid in pids.items()}
    cpu = {role: cpu_s_of(pid) for role, pid in pids.items()}
    started = time.perf_counter()
    transports = await open_all(service.url, count)
    took = time.perf_counter() - started
    spent = {role: (cpu_s_of(pid) - cpu[role]) / count * 10_000 for role, pid in pids.items()}
    print(f"{count:,} sessions opened, {count / took:,.0f} a second, load average {os.getloadavg()[0]:.1f}")
    print("CPU s per 10,000:", ", ".join(f"{role} {seconds:.2f}" for role, seconds in spent.items()))
    await asyncio.sleep(SETTLE_S)
    print("opened:", growth(before, pids, count), flush=True)
    if hold_s:
        cpu = {role: cpu_s_of(pid) for role, pid in pids.items()}
        await asyncio.sleep(hold_s)
        used = ", ".join(f"{role} {(cpu_s_of(pid) - cpu[role]) / hold_s:.1%}" for role, pid in pids.items())
        print(f"held {hold_s:g} s:", growth(before, pids, count))
        print("memory in all:", ", ".join(f"{role} {kib_of(pid) / 1024:,.0f} MiB" for role, pid in pids.items()))
        print("of a core meanwhile:", used)
    lost = sum(transport.is_disconnected for transport in transports)
    for transport in transports:
        transport.disconnect()
    if lost:
        print(f"{lost} sessions were lost", file=sys.stderr)
    return not lost


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sessions", type=int, default=15_000)
    parser.add_argument("--hold", type=float, default=60.0, metavar="SECONDS")
    parser.add_argument("--workers", type=int, default=1, help="gateway processes")
    arguments = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard < arguments.sessions + SPARE_FILES:
        print(f"a process may open {hard} files here; ulimit -Hn says so", file=sys.stderr)
        return 2
    try:
        with (
            tempfile.TemporaryDirectory(prefix="zocket-sessions-") as home,
            deployment({}, Path(home), workers=arguments.workers) as service,
            asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
        ):
            return 0 if runner.run(measure(service, arguments.sessions, arguments.hold)) else 1
    except BenchmarkError as error:
        print(error, file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
