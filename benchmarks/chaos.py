"""Faults on real processes while durable actors are called: nothing lost, nothing doubled, order exact, replicas equal.

    python benchmarks/chaos.py --faults 300 --calls 200000 --seed 1

Starts NATS with file storage, a control plane, two gateways and a runtime as processes, with proxies between them, and
kills, stops, cuts, delays and redeploys them at random while a dozen callers call durable actors and three clients
watch all of it. `chaosrun/kinds.py` lists the faults, `chaosrun/oracle.py` what must hold. The seed decides which fault
comes when and what is called; what the processes make of it is theirs. Ends with 1 if anything was violated, and then
keeps the logs of all processes (`--keep DIR` keeps them always).
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import platform
import random
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from contextlib import suppress
from pathlib import Path

from chaosrun import kinds
from chaosrun.fleet import Fleet
from chaosrun.oracle import UNKNOWN, Verdict
from chaosrun.run import Options, Run

SHOWN = 30


async def play(home: Path, options: Options, arguments: argparse.Namespace) -> tuple[Run, Verdict]:
    """One run; what came of it."""
    fleet = Fleet(home, arguments.gateways, arguments.replicas, arguments.partitions)
    async with fleet:
        run = Run(fleet, options, random.Random(arguments.seed))
        return run, await run.play()


def report(run: Run, verdict: Verdict, took_s: float, command: str) -> str:
    """The result as a page."""
    counts = Counter(struck.kind for struck in run.struck)
    faults = "".join(f"| {kind} | {counts[kind]} |\n" for kind in run.options.kinds)
    outages = ""
    for kind in kinds.FAILOVERS:
        if waits := run.outages_s(kind):
            outages += f"| {kind} | {waits[len(waits) // 2]:.2f} s | {waits[-1]:.2f} s |\n"
    unknown = ", ".join(f"{verdict.outcomes[name]:,} {name}" for name in UNKNOWN)
    return f"""`{command}` on {os.cpu_count()} cores, Python {platform.python_version()}, {took_s:.0f} s:

| | |
|---|---|
| faults, of {len(counts)} kinds | {len(run.struck)} |
| calls sent | {verdict.calls:,} |
| calls accepted (answered, or in the state at the end) | {verdict.accepted:,} |
| calls with an unknown outcome | {verdict.unknown:,} ({unknown}), of which {verdict.unknown_applied:,} took effect |
| lost | {verdict.lost} |
| doubled | {verdict.doubled} |
| out of order | {verdict.disordered} |
| other violations | {len(verdict.violations) - verdict.lost - verdict.doubled - verdict.disordered} |
| ledgers (instances) | {len(run.logs):,} |
| replicas compared with their server | {run.compared:,} |
| holes that the client without versions met, each mended by a snapshot | {run.old_client.holes} |
| views that watchers took | {sum(watcher.views.updates for watcher in run.watchers):,} |

| fault | times |
|---|---|
{faults}
| longest time without an answer, by fault and ledger | median | longest |
|---|---|---|
{outages}"""


def main() -> int:
    """Runs it; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faults", type=int, default=300)
    parser.add_argument("--calls", type=int, default=200_000, help="answered calls, at least")
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    parser.add_argument("--rate", type=float, default=500.0, help="calls a second, about")
    parser.add_argument("--callers", type=int, default=12)
    parser.add_argument("--ledgers", type=int, default=24, help="instances that are called at the same time")
    parser.add_argument("--gateways", type=int, default=2)
    parser.add_argument("--partitions", type=int, default=1, help="PARTITIONS of the runtimes, if more than 1")
    parser.add_argument("--replicas", type=int, default=1, help="runtimes that share the partitions")
    parser.add_argument("--kind", action="append", choices=list(kinds.KINDS), help="only these kinds of faults")
    parser.add_argument("--keep", type=Path, help="directory for logs, streams and records; it must not exist")
    parser.add_argument("--report", type=Path, help="file that the table is written to")
    arguments = parser.parse_args()
    if arguments.replicas > 1 and arguments.partitions < arguments.replicas:
        parser.error("--replicas needs as many --partitions at least")
    home = arguments.keep or Path(tempfile.mkdtemp(prefix="zocket-chaos-"))
    home.mkdir(exist_ok=arguments.keep is None, parents=True)
    options = Options(
        arguments.faults,
        arguments.calls,
        callers=arguments.callers,
        ledgers=arguments.ledgers,
        rate_per_s=arguments.rate,
        kinds=tuple(arguments.kind or kinds.KINDS),
    )
    print(f"seed {arguments.seed}, processes and their logs in {home}", flush=True)
    logging.getLogger("zocket").setLevel(logging.ERROR)  # what the clients meet is expected
    began, failed = time.monotonic(), True
    try:
        run, verdict = asyncio.run(play(home, options, arguments))
        command = (
            f"python benchmarks/chaos.py --faults {options.faults} --calls {options.calls} --seed {arguments.seed}"
        )
        page = report(run, verdict, time.monotonic() - began, command)
        print(page)
        for violation in verdict.violations[:SHOWN]:
            print(f"VIOLATED: {violation}")
        if arguments.report:
            arguments.report.write_text(page)
        failed = bool(verdict.violations)
    except KeyboardInterrupt:
        print("interrupted")
    except Exception:  # noqa: BLE001 — border: whatever ends the run, the logs are kept
        traceback.print_exc()
    finally:
        if failed or arguments.keep:
            print(f"kept: {home}")
        else:
            with suppress(OSError):
                shutil.rmtree(home)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
