"""A small chaos run: some faults of each group on real processes under load, with the oracle of the large one.

docs/results/chaos.md has the run that counts; this one shows that the harness runs, and that its oracle finds things.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from types import ModuleType

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
KINDS = ("runtime SIGKILL", "crash after_commit", "cut NATS–runtime", "cut NATS–gateway", "cut clients", "NATS SIGKILL")


@pytest.mark.nats
def test_nothing_is_lost_doubled_or_disordered_in_a_small_chaos_run(tmp_path: Path) -> None:
    """Promises of docs/durability.md: exactly one effect, one order, replicas equal."""
    command = [sys.executable, str(BENCHMARKS / "chaos.py"), "--faults", "10", "--calls", "500", "--seed", "1"]
    command += ["--gateways", "1", "--callers", "6", "--ledgers", "6", "--keep", str(tmp_path / "run")]
    command += [f"--kind={kind}" for kind in KINDS]
    done = subprocess.run(command, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert "| lost | 0 |" in done.stdout


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The harness's oracle and record of calls."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from importlib import import_module

    modules: dict[str, ModuleType] = {
        name: import_module(f"chaosrun.{name}") for name in ("load", "oracle", "replicas")
    }
    yield modules
    for name in [name for name in sys.modules if name.partition(".")[0] in ("chaosrun", "processes")]:
        del sys.modules[name]


def a_call(parts: Any, number: int, outcome: str = "ok", place: int = 0, session: int = 1, at: float = 0.0) -> Any:
    at = at or float(number)
    return parts["load"].Call(f"c.{number}", "c", session, "l", at, at + 0.5, outcome, place)


def broken(parts: Any, calls: list[Any], log: list[str]) -> list[str]:
    """What the oracle finds, by the first words."""
    verdict = parts["oracle"].judge(calls, {"l": log})
    return [violation.partition(":")[0] for violation in verdict.violations]


def test_the_oracle_is_content_with_what_may_be(parts: Any) -> None:
    calls = [
        a_call(parts, 1, place=1),
        a_call(parts, 2, "lost"),
        a_call(parts, 3, "timeout"),
        a_call(parts, 4, "overloaded"),
        a_call(parts, 5, "repeated", session=2),
        a_call(parts, 6, place=3, session=2),
    ]
    assert broken(parts, calls, ["c.1", "c.5", "c.6", "c.2"]) == []
    verdict = parts["oracle"].judge(calls, {"l": ["c.1", "c.5", "c.6", "c.2"]})
    assert (verdict.accepted, verdict.unknown, verdict.unknown_applied) == (4, 2, 1)


def test_the_oracle_finds_what_may_not_be(parts: Any) -> None:
    one, two = a_call(parts, 1, place=1), a_call(parts, 2, place=2)
    assert broken(parts, [one, two], ["c.1"]) == ["lost"]
    assert broken(parts, [one, two], ["c.2", "c.1"]) == ["moved", "moved", "order"]
    assert broken(parts, [one, two], ["c.1", "c.2", "c.2"]) == ["doubled", "moved"]
    assert broken(parts, [one], ["c.1", "c.9"]) == ["invented"]
    assert broken(parts, [one, a_call(parts, 2, "overloaded")], ["c.1", "c.2"]) == ["refused and applied"]
    assert broken(parts, [a_call(parts, 1, "repeated")], []) == ["lost"]
    for outcome in ("", "silence", "internal", "unknown_actor"):
        assert broken(parts, [a_call(parts, 1, outcome)], []) == ["no proper answer"]
    # An outcome that is not known excuses neither a second effect nor a wrong order on the same socket.
    lost, lost_too = a_call(parts, 1, "lost"), a_call(parts, 2, "lost")
    assert broken(parts, [lost], ["c.1", "c.1"]) == ["doubled"]
    assert broken(parts, [lost, lost_too], ["c.2", "c.1"]) == ["order"]
    assert broken(parts, [lost, a_call(parts, 2, "lost", session=2)], ["c.2", "c.1"]) == []


def test_a_watcher_notices_what_was_visible_and_is_gone(parts: Any) -> None:
    views = parts["replicas"].Views("w")
    views.saw("l", {})
    views.saw("l", {"log": ["a"]})
    views.saw("l", {"log": ["a", "b"]})
    assert views.wrong == []
    views.saw("l", {"log": ["a"]})
    assert len(views.wrong) == 1


def test_the_outage_of_a_ledger_is_its_longest_time_without_an_answer(parts: Any) -> None:
    calls = [a_call(parts, number, at=at) for number, at in enumerate((1.0, 2.0, 5.0, 5.1), 1)]
    assert parts["oracle"].outage_s(calls, 3.0, 4.0) == {"l": 2.5}
    assert parts["oracle"].outage_s(calls, 9.0, 10.0) == {}
