"""Measures Zocket and a service written by hand with the same load generator, in one command.

    python benchmarks/run.py [--mode standalone|nats|asgi|peers|bare|all]... [--quick] [--repeat 3] [--json FILE]

Starts everything it needs on loopback and free ports and stops it again, also on Ctrl-C. The modes of one scenario run
at the same time and take turns under load, so that their ratios come from the same minutes. Exit status 1: a violation
was counted; 2: something could not be started.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import signal
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, Self

import report
from modes import BARE, HERE, MODES, serving
from processes import BenchmarkError, wait_until
from scenarios import SCENARIOS, Result, Scenario, Timing, generate

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import FrameType

    from modes import Service


class Stage:
    """The services that run now; a context manager that stops them.

    Args:
        modes: which ones.
        reuse: whether scenarios share processes where they can, instead of each finding new ones.
    """

    def __init__(self, modes: list[str], *, reuse: bool) -> None:
        self.modes = modes
        self._reuse = reuse
        self._stack = ExitStack()
        self._services: dict[str, Service] = {}
        self._environ: Mapping[str, str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.clear()

    def clear(self) -> None:
        """Stops everything."""
        self._services = {}
        self._stack.close()

    def prepare(self, scenario: Scenario, repetition: int) -> Mapping[str, Service]:
        """The services for one repetition of a scenario."""
        again = (repetition == 0 or scenario.fresh) and not self._reuse
        if again or not self._services or self._environ != scenario.environ:
            self.clear()
            self._services = self._stack.enter_context(serving(self.modes, scenario.environ))
            self._environ = scenario.environ
        return self._services


def measure(scenario: Scenario, stage: Stage, timing: Timing, repeat: int) -> list[Result]:
    """All modes in one scenario."""
    runs: dict[str, list[dict[str, Any]]] = {mode: [] for mode in stage.modes}
    for repetition in range(repeat):
        for mode, service in stage.prepare(scenario, repetition).items():
            runs[mode].append(generate(scenario, service, timing))
    return [Result.of(mode, scenario, found) for mode, found in runs.items()]


def profile(scenario: Scenario, mode: str, timing: Timing) -> None:
    """Prints in which functions each Python process of a mode spends its CPU time."""
    with tempfile.TemporaryDirectory(prefix="zocket-samples-") as samples:
        paths = [str(HERE / "sampling"), *filter(None, [os.environ.get("PYTHONPATH")])]
        environ = {**scenario.environ, "BENCHMARK_SAMPLES": samples, "PYTHONPATH": os.pathsep.join(paths)}
        with serving([mode], environ) as services:
            service = services[mode]
            processes = {role: pid for role, pid in service.pids.items() if role not in ("nats", "control")}
            for pid in processes.values():
                os.kill(pid, signal.SIGUSR2)
            generate(scenario, service, timing)
            for role, pid in processes.items():
                os.kill(pid, signal.SIGUSR2)
                file = Path(samples, f"{pid}.json")
                wait_until(f"{role} writes its samples", file.exists)
                print("\n".join(report.profile(f"{scenario.name} {mode} {role}", file)), flush=True)


def hold(mode: str) -> None:
    """Keeps one mode running for a load generator started by hand, or a profiler."""
    with serving([mode], {}) as services:
        service = services[mode]
        pids = " ".join(f"--pid {role}={pid}" for role, pid in service.pids.items())
        print(f"timeout 120 python benchmarks/loadgen.py --url {service.url} {pids}", flush=True)
        while True:
            time.sleep(3600)


def chosen_scenarios(names: list[str]) -> list[Scenario]:
    """The scenarios with these names, or whose names begin so (`rpc`); all without any."""
    known = [scenario.name for scenario in SCENARIOS]
    chosen: set[str] = set()
    for name in names or known:
        found = [name] if name in known else [item for item in known if item.startswith(f"{name}-")]
        if not found:
            raise BenchmarkError(f"no scenario {name}; there are " + ", ".join(known))
        chosen.update(found)
    return [scenario for scenario in SCENARIOS if scenario.name in chosen]


def main() -> int:
    arguments = _arguments()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stopped)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    modes = list(MODES) if "all" in arguments.mode else arguments.mode or list(MODES)
    timing = Timing(
        duration_s=arguments.duration or (1.5 if arguments.quick else 5.0),
        warm_s=arguments.warm or (0.5 if arguments.quick else 1.0),
    )
    if BARE in modes and arguments.scenario != ["connect-idle"]:
        print("--mode bare takes --scenario connect-idle alone: it answers no calls", file=sys.stderr)
        return 2
    repeat = arguments.repeat or (1 if arguments.quick else 3)
    results: list[Result] = []
    try:
        if arguments.hold:
            hold(modes[0])
        if arguments.profile:
            for scenario in chosen_scenarios(arguments.scenario or ["rpc-50x16"]):
                for mode in modes:
                    profile(scenario, mode, timing)
            return 0
        print(report.heading(), flush=True)
        with Stage(modes, reuse=arguments.quick) as stage:
            for scenario in chosen_scenarios(arguments.scenario):
                found = measure(scenario, stage, timing, repeat)
                results += found
                print("\n".join(report.rows(found)), flush=True)
    except BenchmarkError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    finally:
        if arguments.json:
            Path(arguments.json).write_text(json.dumps(report.document(results, timing, repeat), indent=1) + "\n")
    return _verdict(results)


def _verdict(results: list[Result]) -> int:
    samples = [sample for result in results for run in result.runs for sample in run["samples"]]
    for sample in samples[:10]:
        print("violation:", sample, file=sys.stderr)
    return 1 if any(result.violations for result in results) else 0


def _stopped(number: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--mode",
        action="append",
        choices=(*MODES, BARE, "all"),
        default=[],
        help="only this one; repeatable; peers: the FastAPI service; bare: opens sessions and does nothing else",
    )
    parser.add_argument(
        "--scenario",
        action="append",
        default=[],
        metavar="NAME",
        help="only this one, or these (rpc, hot, board, fanout, connect); repeatable",
    )
    parser.add_argument("--quick", action="store_true", help="one repetition of 1.5 s, processes started once")
    parser.add_argument("--repeat", type=int, help="repetitions, of which the median counts (3)")
    parser.add_argument("--duration", type=float, help="measuring window in seconds (5)")
    parser.add_argument("--warm", type=float, help="seconds before it (1)")
    parser.add_argument("--json", metavar="FILE", help="write everything there, with facts about the machine")
    parser.add_argument("--profile", action="store_true", help="no figures: where the CPU time goes (rpc-50x16)")
    parser.add_argument("--hold", action="store_true", help="start the mode, print how to reach it, wait for Ctrl-C")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
