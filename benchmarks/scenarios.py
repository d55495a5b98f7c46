"""What the load generator is made to do, and what is taken from its answers.

Rules: the load generator is run as it is, as a process of its own, always with a time limit (it waits for ever for a
server that is away); a figure is the median of the repetitions, violations are added up.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from modes import HERE
from processes import BenchmarkError, dies_with_us

if TYPE_CHECKING:
    from collections.abc import Mapping

    from modes import Service

DRAIN_S: Final = 10.0
"""How long the load generator waits for late answers, at several points of a run."""


@dataclass(frozen=True)
class Scenario:
    """One row of the table.

    Attributes:
        arguments: of the load generator.
        environ: of the services.
        unit: what is counted.
        warm_s: at least so long before the window; making boards of 100,000 cells takes seconds.
        fresh: every repetition needs new processes, since memory that was freed is not given back.
    """

    name: str
    arguments: tuple[str, ...]
    environ: Mapping[str, str] = field(default_factory=dict)
    unit: str = "calls"
    warm_s: float = 0.0
    fresh: bool = False


def _scenario(name: str, *arguments: object, **more: Any) -> Scenario:
    return Scenario(name, tuple(map(str, arguments)), **more)


def _clients(scenario: str, clients: int, pipeline: int = 1) -> tuple[object, ...]:
    return ("--scenario", scenario, "--clients", clients, "--pipeline", pipeline)


SCENARIOS: Final = (
    _scenario("rpc-1x1", *_clients("rpc", 1)),
    _scenario("rpc-50x1", *_clients("rpc", 50)),
    _scenario("rpc-50x16", *_clients("rpc", 50, 16)),
    _scenario("hot-50x16", *_clients("hot", 50, 16)),
    _scenario("hot-500x1", *_clients("hot", 500)),
    _scenario("board-1k", *_clients("board", 50)),
    # As many calls at once as board-1k, on fewer boards: making one takes time, and keeping one takes 15 MB.
    _scenario("board-100k", *_clients("board", 10, 5), environ={"BOARD_CELLS": "100000"}, warm_s=8.0),
    _scenario("fanout-100", *_clients("fanout", 100), unit="deliveries"),
    _scenario("fanout-1000", *_clients("fanout", 1_000), unit="deliveries"),
    _scenario("slow", *_clients("slow", 50)),
    _scenario("connect-idle", *_clients("connect", 2_000), "--idle", unit="sessions", fresh=True),
    _scenario("connect-call", *_clients("connect", 2_000), unit="sessions", fresh=True),
)


@dataclass(frozen=True)
class Timing:
    """How long one run of the load generator takes, in seconds."""

    duration_s: float
    warm_s: float


def generate(scenario: Scenario, service: Service, timing: Timing) -> dict[str, Any]:
    """One run of the load generator against a service; its JSON.

    Raises:
        BenchmarkError: it did not end in time, or not with a result.
    """
    warm_s = max(timing.warm_s, scenario.warm_s)
    command = [sys.executable, str(HERE / "loadgen.py"), "--url", service.url, *scenario.arguments]
    command += ["--duration", str(timing.duration_s), "--warm", str(warm_s), "--drain", str(DRAIN_S)]
    for role, pid in service.pids.items():
        command += ["--pid", f"{role}={pid}"]
    limit_s = warm_s + timing.duration_s + 4 * DRAIN_S + 30
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True, preexec_fn=dies_with_us
    ) as generator:
        try:
            output, errors = generator.communicate(timeout=limit_s)
        except subprocess.TimeoutExpired:
            raise BenchmarkError(f"{scenario.name}: the load generator did not end within {limit_s:g} s") from None
        finally:
            with contextlib.suppress(ProcessLookupError):  # its own processes, too
                os.killpg(generator.pid, signal.SIGKILL)
    try:
        result: dict[str, Any] = json.loads(output.splitlines()[-1])
    except (ValueError, IndexError):
        end = errors.decode(errors="replace").splitlines()[-6:]
        raise BenchmarkError(f"{scenario.name}: the load generator failed:\n" + "\n".join(end)) from None
    return result


@dataclass(frozen=True)
class Result:
    """One mode in one scenario: medians of the repetitions.

    Attributes:
        per_s: calls, deliveries or sessions a second.
        cpu: CPU seconds per 10,000 of them, by process.
        busy: share of a core that the busiest generator process used.
        kib_per_session: memory of an open session, by process; empty for other scenarios.
        runs: what the load generator said, each time.
    """

    mode: str
    scenario: Scenario
    per_s: float
    cpu: Mapping[str, float]
    p50_ms: float
    p99_ms: float
    busy: float
    violations: int
    kib_per_session: Mapping[str, float]
    runs: list[dict[str, Any]]

    @property
    def cpu_total(self) -> float:
        """Over all processes of the mode."""
        return sum(self.cpu.values())

    @property
    def kib_total(self) -> float:
        """Over all processes of the mode."""
        return sum(self.kib_per_session.values())

    @classmethod
    def of(cls, mode: str, scenario: Scenario, runs: list[dict[str, Any]]) -> Result:
        """The medians of these runs."""

        def median(name: str) -> float:
            return float(statistics.median(run.get(name, 0.0) for run in runs))

        def medians(name: str) -> dict[str, float]:
            return {role: statistics.median(run[name][role] for run in runs) for role in runs[0].get(name, {})}

        return cls(
            mode=mode,
            scenario=scenario,
            per_s=median("per_s"),
            cpu=medians("cpu_s_per_10k"),
            p50_ms=median("p50_ms"),
            p99_ms=median("p99_ms"),
            busy=median("generator_busy"),
            violations=sum(sum(run["violations"].values()) for run in runs),
            kib_per_session=medians("kib_per_session"),
            runs=runs,
        )
