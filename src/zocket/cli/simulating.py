"""`zocket sim`: the platform under simulated faults, from seeds that replay."""

from __future__ import annotations

import time
from concurrent.futures import ProcessPoolExecutor
from typing import TYPE_CHECKING

import click

from zocket.cli import options

if TYPE_CHECKING:
    from collections.abc import Iterable

    from zocket.testing.simulation import Report


@click.command(
    cls=options.Command,
    short_help="Run the platform under simulated faults.",
    epilog="zocket sim --seeds 1000\nzocket sim --seed 369        replays one seed",
)
@click.option("--seeds", type=click.IntRange(1), default=200, show_default=True, help="How many seeds.")
@click.option("--first", type=click.IntRange(0), default=0, show_default=True, help="The first of them.")
@click.option("--seed", type=click.IntRange(0), default=None, help="Only this one, with everything that happened.")
@click.option("--jobs", type=click.IntRange(1), default=1, show_default=True, help="Processes that share the seeds.")
def sim(seeds: int, first: int, seed: int | None, jobs: int) -> int:
    """Run gateway, broker, runtimes and clients on virtual time with crashes, cuts, pauses and takeovers.

    Everything that happens follows from the seed. An oracle checks what durable actors promise: nothing lost, nothing
    doubled, one order, nothing visible that a later state lacks, every replica equal to its server after quiet. In
    some of the seeds several runtimes share the project.
    """
    if seed is not None:
        first, seeds = seed, 1
    started, broken, divided, calls, faults = time.monotonic(), 0, 0, 0, 0
    for report in _reports(range(first, first + seeds), jobs):
        calls += report.calls
        faults += len(report.faults)
        divided += report.partitions > 1
        if seed is not None:
            click.echo("\n".join(report.faults))
        if report.violations:
            broken += 1
            click.echo(f"seed {report.seed}:", err=True)
            for violation in report.violations:
                click.echo(f"  {violation}", err=True)
            click.echo(f"  replay: zocket sim --seed {report.seed}", err=True)
    spent = time.monotonic() - started
    what = f"{seeds} seeds ({divided} with several runtimes), {calls} calls, {faults} faults"
    click.echo(f"{what} in {spent:.0f} s: {broken} broken")
    return 1 if broken else 0


def _reports(seeds: Iterable[int], jobs: int) -> Iterable[Report]:
    from zocket.testing.simulation import simulate

    if jobs == 1:
        yield from map(simulate, seeds)
        return
    with ProcessPoolExecutor(jobs) as pool:
        yield from pool.map(simulate, seeds, chunksize=20)
