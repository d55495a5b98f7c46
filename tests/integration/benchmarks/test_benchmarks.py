"""The load generator finds no violation, and a slow handler delays nobody else: standalone and over NATS.

The suite's own command is run, with windows of a second: this shows behaviour, the figures mean nothing here.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

RUN = Path(__file__).parents[3] / "benchmarks" / "run.py"
SLEEP_MS = 2_000
"""How long the handler beside the measured ones sleeps in `slow`."""


def measured(tmp_path: Path, mode: str, *scenarios: str) -> dict[str, dict[str, Any]]:
    """The results of a short run, by scenario."""
    file = tmp_path / "results.json"
    command = [sys.executable, str(RUN), "--mode", mode, "--quick", "--duration", "1", "--warm", "0.2"]
    command += ["--json", str(file), *(f"--scenario={name}" for name in scenarios)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    results = {result["scenario"]: result for result in json.loads(file.read_text())["results"]}
    assert set(results) == set(scenarios)
    return results


@pytest.mark.parametrize("mode", ["standalone", pytest.param("nats", marks=pytest.mark.nats)])
def test_every_scenario_runs_without_a_violation_and_a_sleeping_handler_delays_no_neighbour(
    mode: str, tmp_path: Path
) -> None:
    """R11, R12, R20: order and completeness are checked by the load generator."""
    scenarios = ("rpc-50x16", "hot-50x16", "board-1k", "fanout-100", "slow", "connect-call")
    results = measured(tmp_path, mode, *scenarios)
    for result in results.values():
        assert result["violations"] == 0
        assert all(run["done"] > 0 for run in result["runs"])
    assert results["slow"]["p99_ms"] < SLEEP_MS / 2
    assert results["connect-call"]["runs"][0]["done"] == 2_000
