"""The public API needs no plugin: its samples check, and planted mistakes are found, by mypy and pyright."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
MISTAKES = HERE / "mistakes" / "calls.py"


def mypy_lines(*paths: Path) -> set[int]:
    command = [sys.executable, "-m", "mypy", "--strict", "--exclude", "^$", "--no-error-summary", *map(str, paths)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return {int(line) for line in re.findall(rf"{re.escape(paths[-1].name)}:(\d+): error", done.stdout)}


def pyright_lines(path: Path) -> set[int]:
    command = [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable, str(path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    found = json.loads(done.stdout)
    assert found["summary"]["filesAnalyzed"] >= 1, done.stdout
    return {item["range"]["start"]["line"] + 1 for item in found["generalDiagnostics"] if item["severity"] == "error"}


def planted() -> set[int]:
    lines = MISTAKES.read_text().splitlines()
    return {number for number, line in enumerate(lines, 1) if "# mistake:" in line}


def test_mypy_accepts_the_samples_and_finds_every_planted_mistake() -> None:
    assert mypy_lines(HERE / "api_samples.py") == set()
    assert len(planted()) == 48
    assert mypy_lines(MISTAKES) == planted()


@pytest.mark.timeout(300)
def test_pyright_accepts_the_samples_and_finds_every_planted_mistake() -> None:
    assert pyright_lines(HERE / "api_samples.py") == set()
    assert pyright_lines(MISTAKES) == planted()
