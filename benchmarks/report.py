"""The table that a person reads and the JSON that a program reads.

Rules: a machine is described by what matters for the figures; no host name, no user, no path gets in.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections import Counter
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any, Final

from modes import BASELINE

from zocket.broker.server import find_binary

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from scenarios import Result, Timing

PACKAGES: Final = (
    "zocket", "fastapi", "msgspec", "nats-py", "orjson", "picows", "pydantic", "starlette", "uvicorn", "uvloop",
    "websockets",
)  # fmt: skip
_NUMBERS: Final = ("one", "two", "three", "four", "five", "six", "seven", "eight")
_HEAD: Final = (
    f"{'scenario':13} {'mode':10} {'per s':>9} {'CPU s/10k':>9} {'p50 ms':>8} {'p99 ms':>8} {'viol.':>5} "
    f"{'gen.':>4} {'rate ×':>7} {'CPU ×':>6}  parts"
)


def facts() -> dict[str, Any]:
    """What is to be known of the machine and its software."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "machine": f"{_NUMBERS[cores - 1] if cores <= len(_NUMBERS) else cores} core{'s' if cores > 1 else ''}",
        "system": platform.system(),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "nats_server": _nats_version(),
        "packages": {name: found for name in PACKAGES if (found := _version(name)) is not None},
        "load_average": [round(value, 1) for value in os.getloadavg()],
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _nats_version() -> str:
    done = subprocess.run([find_binary(), "--version"], capture_output=True, text=True, check=True, timeout=10)
    return done.stdout.strip().rpartition(" ")[2].removeprefix("v")


def ratios(result: Result, baseline: Result | None) -> dict[str, float]:
    """Of the rate and of the CPU time to the baseline's in the same scenario; empty where there is none."""
    if baseline is None or result is baseline or not baseline.per_s or not baseline.cpu_total:
        return {}
    return {
        "per_s": round(result.per_s / baseline.per_s, 2),
        "cpu": round(result.cpu_total / baseline.cpu_total, 3),
    }


def heading() -> str:
    """The names of the columns."""
    return _HEAD


def rows(results: Iterable[Result]) -> list[str]:
    """The lines of one scenario."""
    found = list(results)
    baseline = next((result for result in found if result.mode == BASELINE), None)
    return [_row(result, ratios(result, baseline)) for result in found]


def _row(result: Result, ratio: Mapping[str, float]) -> str:
    parts = " ".join(f"{role} {value:.3f}" for role, value in result.cpu.items()) if len(result.cpu) > 1 else ""
    if result.kib_per_session:
        parts = f"{result.kib_total:.1f} KiB/session" + (f"; {parts}" if parts else "")
    if result.scenario.name == "slow":
        over = sum(run.get("over_500ms", 0) for run in result.runs)
        parts = f"{over} over 500 ms" + (f"; {parts}" if parts else "")
    rate = f"{ratio['per_s']:7.2f} {ratio['cpu']:6.2f}" if ratio else f"{'':7} {'':6}"
    return (
        f"{result.scenario.name:13} {result.mode:10} {result.per_s:9,.0f} {result.cpu_total:9.3f} "
        f"{result.p50_ms:8.2f} {result.p99_ms:8.2f} {result.violations:5d} {result.busy:4.2f} {rate}  {parts}".rstrip()
    )


def profile(title: str, samples: Path) -> list[str]:
    """CPU time by layer, then the functions with the most of their own, and those with the most with what they call."""
    found = json.loads(samples.read_text())
    total = max(found["samples"], 1)
    by_layer: Counter[str] = Counter()
    for name, count in found["self"].items():
        by_layer[_layer(name)] += count
    shares = ", ".join(f"{layer} {100 * count / total:.0f}%" for layer, count in by_layer.most_common(12))
    lines = [f"{title}: {found['samples']} samples", f"by layer: {shares}", "of its own | with what it calls"]
    # What is always there (main, the loop) tells nothing.
    inner = [item for item in found["with_calls"].items() if item[1] < 0.95 * total]
    for (own, own_count), (with_calls, count) in zip(list(found["self"].items())[:25], inner, strict=False):
        lines.append(f"{100 * own_count / total:5.1f}% {own[:58]:58} | {100 * count / total:5.1f}% {with_calls[:58]}")
    return lines


def _layer(function: str) -> str:
    """The package of this product, or the library, that a sampled function belongs to."""
    _, _, file = function.rpartition("(")
    package, _, rest = file.rstrip(")").partition("/")
    if not rest:
        return "the loop, in C" if file == function else package.removesuffix(".py")
    return rest.partition("/")[0] if package == "zocket" else package


def document(results: list[Result], timing: Timing, repeat: int) -> dict[str, Any]:
    """The whole measurement as JSON holds it."""
    baselines = {result.scenario.name: result for result in results if result.mode == BASELINE}
    return {
        "facts": facts(),
        "settings": {"duration_s": timing.duration_s, "warm_s": timing.warm_s, "repeat": repeat},
        "baseline": BASELINE,
        "results": [
            {
                "scenario": result.scenario.name,
                "mode": result.mode,
                "unit": result.scenario.unit,
                "per_s": round(result.per_s, 1),
                "cpu_s_per_10k": round(result.cpu_total, 4),
                "cpu_s_per_10k_by_process": dict(result.cpu),
                "p50_ms": result.p50_ms,
                "p99_ms": result.p99_ms,
                "violations": result.violations,
                "generator_busy": result.busy,
                "kib_per_session": dict(result.kib_per_session),
                "ratio_to_baseline": ratios(result, baselines.get(result.scenario.name)),
                "runs": result.runs,
            }
            for result in results
        ],
    }
