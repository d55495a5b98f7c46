"""`zocket sim`: the platform under simulated faults, from seeds that replay."""

from __future__ import annotations

import time

import click

from zocket.cli import options


@click.command(
    cls=options.Command,
    short_help="Run the platform under simulated faults.",
    epilog="zocket sim --seeds 1000\nzocket sim --seed 369        replays one seed",
)
@click.option("--seeds", type=click.IntRange(1), default=200, show_default=True, help="How many seeds.")
@click.option("--first", type=click.IntRange(0), default=0, show_default=True, help="The first of them.")
@click.option("--seed", type=click.IntRange(0), default=None, help="Only this one, with everything that happened.")
def sim(seeds: int, first: int, seed: int | None) -> int:
    """Run gateway, broker, runtimes and clients on virtual time with crashes, cuts, pauses and takeovers.

    Everything that happens follows from the seed. An oracle checks what durable actors promise: nothing lost, nothing
    doubled, one order, nothing visible that a later state lacks, every replica equal to its server after quiet.
    """
    from zocket.testing.simulation import simulate

    if seed is not None:
        first, seeds = seed, 1
    started, broken, calls, faults = time.monotonic(), 0, 0, 0
    for number in range(first, first + seeds):
        report = simulate(number)
        calls += report.calls
        faults += len(report.faults)
        if seed is not None:
            click.echo("\n".join(report.faults))
        if report.violations:
            broken += 1
            click.echo(f"seed {number}:", err=True)
            for violation in report.violations:
                click.echo(f"  {violation}", err=True)
            click.echo(f"  replay: zocket sim --seed {number}", err=True)
    spent = time.monotonic() - started
    click.echo(f"{seeds} seeds, {calls} calls, {faults} faults in {spent:.0f} s: {broken} broken")
    return 1 if broken else 0
