"""Tools of other languages, installed once for all tests of a run."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT: Final = Path(__file__).parents[3]
TYPESCRIPT: Final = "typescript@~7.0.2"
INSTALL_TIMEOUT_S: Final = 120
RUN_TIMEOUT_S: Final = 60


@pytest.fixture(scope="session")
def npm(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Installs a package of npm; gives its `node_modules`."""

    def install(package: str) -> Path:
        if shutil.which("npm") is None:
            if os.environ.get("CI"):
                pytest.fail("npm is missing (apt-get install npm)")
            pytest.skip("npm is missing")
        base = tmp_path_factory.getbasetemp()
        shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
        home = shared / f"npm-{package.rpartition('@')[0].replace('/', '-')}"
        home.mkdir(exist_ok=True)
        with (home / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (home / "done").exists():
                command: list[str | Path] = [
                    "npm",
                    "install",
                    "--no-audit",
                    "--no-fund",
                    "--ignore-scripts",
                    "--prefix",
                    home,
                    package,
                ]
                subprocess.run(command, check=True, capture_output=True, timeout=INSTALL_TIMEOUT_S)
                (home / "done").touch()
        return home / "node_modules"

    return install


@pytest.fixture(scope="session")
def tsc(npm: Callable[[str], Path]) -> Callable[[Path], str]:
    """What the TypeScript compiler says of a directory's files, with every strictness; empty if it is content."""
    own = ROOT / "clients" / "js" / "node_modules" / ".bin" / "tsc"
    compiler = own if own.exists() else npm(TYPESCRIPT) / ".bin" / "tsc"

    def compile_all(directory: Path) -> str:
        files = sorted(directory.glob("*.ts"))
        command: list[str | Path] = [
            compiler,
            "--strict",
            "--noEmit",
            "--target",
            "es2022",
            "--noUncheckedIndexedAccess",
            *files,
        ]
        return subprocess.run(command, capture_output=True, text=True, timeout=RUN_TIMEOUT_S, check=False).stdout

    return compile_all
