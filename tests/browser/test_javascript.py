"""The browser client's own tests, so that one command runs everything."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
NODE = (20, 19)
"""First Node with mocked timers and dates that also takes a module without being told that it is one."""


def node() -> str:
    """A Node that is new enough; without one the test is skipped, or fails in CI."""
    found = shutil.which("node")
    if found is not None:
        version = subprocess.run([found, "--version"], capture_output=True, text=True, check=True).stdout
        if tuple(int(part) for part in version.strip().lstrip("v").split(".")[:2]) >= NODE:
            return found
    message = "Node 20.19 or later is missing: install it from https://nodejs.org"
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)


def test_the_browser_client_passes_its_own_tests() -> None:
    tests = sorted(str(path) for path in (ROOT / "clients/js/test").glob("*.test.js"))
    assert tests != []
    done = subprocess.run([node(), "--test", *tests], cwd=ROOT, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stdout[-8_000:]
