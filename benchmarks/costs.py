"""What a call and a delivery cost over NATS: messages, bytes and CPU of each process; and what further processes add.

    python benchmarks/costs.py [--quick] [--scaling]

Messages and bytes are the NATS server's own counts of its connections (`/connz`), and those of the gateway's sockets;
they depend little on how busy the machine is. CPU is of each process over the load generator's window.

With `--scaling` the same load runs on one and on two gateway processes, and on one and on two runtimes of a divided
project. Two cores have no room for a second process beside all the others, so each process of the role gets only a
share of a core: it is stopped for the rest of every `PERIOD_S`, the second while the first runs. Then they bound
the throughput, and show what a second one is worth where each has a core of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from modes import deployment
from processes import BenchmarkError, free_port, read
from scenarios import SCENARIOS, Scenario, Timing, generate

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from modes import Service

LOADS: Final = ("rpc-50x1", "rpc-50x16", "hot-50x16", "board-1k", "fanout-100", "fanout-1000")
ROLES: Final = ("nats", "gateway", "runtime")
SCALED: Final = {"workers": ("rpc-50x16", "fanout-1000"), "runtimes": ("rpc-50x16", "board-1k")}
"""Loads on which each role has enough to do to be divided; a fan-out is of one instance, which is in one runtime."""
PARTITIONS: Final = 16
SHARE: Final = 0.15
PERIOD_S: Final = 0.04


@dataclass(frozen=True)
class Counts:
    """What has gone through since the start.

    Attributes:
        messages, sizes: by process and direction, as the NATS server counts them: `in` is to the process.
        frames: of the gateway's sockets; `in` is from clients.
    """

    messages: Mapping[tuple[str, str], int]
    sizes: Mapping[tuple[str, str], int]
    frames: Mapping[str, int]

    def since(self, earlier: Counts) -> Counts:
        """What has gone through between the two."""
        return Counts(
            {key: value - earlier.messages.get(key, 0) for key, value in self.messages.items()},
            {key: value - earlier.sizes.get(key, 0) for key, value in self.sizes.items()},
            {key: value - earlier.frames.get(key, 0) for key, value in self.frames.items()},
        )


def counts(monitor: str, service: Service) -> Counts:
    """The counts of this moment."""
    messages: dict[tuple[str, str], int] = {}
    sizes: dict[tuple[str, str], int] = {}
    for connection in json.loads(read(f"{monitor}/connz"))["connections"]:
        role = "gateway" if connection["name"] == "gateway" else "runtime"
        for direction, theirs in (("in", "out"), ("out", "in")):
            key = role, direction
            messages[key] = messages.get(key, 0) + connection[f"{theirs}_msgs"]
            sizes[key] = sizes.get(key, 0) + connection[f"{theirs}_bytes"]
    lines = dict(line.rsplit(" ", 1) for line in read(_metrics(service)).splitlines() if not line.startswith("#"))
    frames = {way: int(float(lines[f'zocket_gateway_frames_total{{direction="{way}"}}'])) for way in ("in", "out")}
    return Counts(messages, sizes, frames)


def _metrics(service: Service) -> str:
    return f"http://127.0.0.1:{service.metrics_port}/metrics"


@contextmanager
def running(environ: Mapping[str, str], **processes: int) -> Iterator[tuple[Service, str]]:
    """A fresh deployment and the address of its NATS server's monitor."""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="zocket-costs-") as home:
        config = f"http: 127.0.0.1:{port}\n"
        with deployment(environ, Path(home), nats_config=config, **processes) as service:
            yield service, f"http://127.0.0.1:{port}"


def scenario(name: str) -> Scenario:
    """By its name."""
    return next(item for item in SCENARIOS if item.name == name)


def measure(name: str, timing: Timing) -> list[str]:
    """Rows of one load: what one call or delivery costs in each process."""
    load = scenario(name)
    with running(load.environ) as (service, monitor):
        before = counts(monitor, service)
        result = generate(load, service, timing)
        passed = counts(monitor, service).since(before)
    # Of a fan-out what counts is what subscribers get; of other loads the calls, each of which is one frame.
    units = passed.frames["out"] if load.unit == "deliveries" else passed.frames["in"]
    cpu = result["cpu_s_per_10k"]
    rows = []
    for role in ROLES:
        figures = [f"{cpu[role]:.3f}"]
        for direction, other in (("in", "out"), ("out", "in")):
            # What comes to the server leaves the others.
            keys = [(role, direction)] if role != "nats" else [(peer, other) for peer in ROLES[1:]]
            figures.append(f"{sum(passed.messages[key] for key in keys) / units:.3f}")
            figures.append(f"{sum(passed.sizes[key] for key in keys) / units:.0f}")
        rows.append(f"| {name} | {role} | " + " | ".join(figures) + " |")
    rows.append(f"| {name} | all | {sum(cpu[role] for role in ROLES):.3f} | | | | {result['per_s']:,.0f} a second |")
    return rows


class Throttle(threading.Thread):
    """Lets processes run for `SHARE` of the time, while its block runs."""

    def __init__(self, pids: Iterable[int]) -> None:
        super().__init__(daemon=True)
        self._pids = tuple(pids)
        self._over = threading.Event()

    def run(self) -> None:
        """See `Thread.run`."""
        for pid in self._pids:
            os.kill(pid, signal.SIGSTOP)
        while not self._over.wait(PERIOD_S * (1 - SHARE * len(self._pids))):
            for pid in self._pids:
                os.kill(pid, signal.SIGCONT)
                self._over.wait(PERIOD_S * SHARE)
                os.kill(pid, signal.SIGSTOP)
        for pid in self._pids:
            os.kill(pid, signal.SIGCONT)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.join()


def scaling(kind: str, name: str, timing: Timing) -> list[str]:
    """Rows of one load on one and on two processes of a kind."""
    load = scenario(name)
    role = "gateway" if kind == "workers" else "runtime"
    rows = []
    for number in (1, 2):
        environ = {**load.environ, "PARTITIONS": str(PARTITIONS)} if kind == "runtimes" else load.environ
        with running(environ, **{kind: number}) as (service, _):
            throttled = Throttle(pid for process, pid in service.pids.items() if process.startswith(role))
            with throttled:
                result = generate(load, service, timing)
        if result["violations"]:
            raise BenchmarkError(f"{name}: {result['samples']}")
        total = sum(spent for process, spent in result["cpu_s_per_10k"].items() if process.startswith(role))
        rows.append(
            f"| {name} | {number} × {role} | {result['per_s']:,.0f} | {total:.3f} | {result['p50_ms']:.0f} ms |"
        )
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="windows of 1.5 s instead of 5")
    parser.add_argument("--scaling", action="store_true", help="also one process of a role against two")
    arguments = parser.parse_args()
    timing = Timing(duration_s=1.5, warm_s=0.5) if arguments.quick else Timing(duration_s=5.0, warm_s=1.0)
    try:
        print(f"load average {os.getloadavg()[0]:.1f}; per call or delivery\n")
        print("| load | process | CPU s/10k | messages in | bytes in | messages out | bytes out |")
        print("|---|---|---|---|---|---|---|")
        for name in LOADS:
            print("\n".join(measure(name, timing)), flush=True)
        if arguments.scaling:
            print(f"\nEach of these processes gets {SHARE:.0%} of a core:\n")
            print("| load | processes | a second | their CPU s/10k | p50 |\n|---|---|---|---|---|")
            for kind, names in SCALED.items():
                for name in names:
                    print("\n".join(scaling(kind, name, timing)), flush=True)
    except BenchmarkError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
