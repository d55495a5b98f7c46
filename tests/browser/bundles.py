"""Pages that need a bundler, built as their README says, with the packages that the JavaScript client is tested with.

Rules: the examples are copied and built elsewhere, so that a test neither needs nor touches what a person has built;
the client's package is made from its sources; React's development build is used, whose StrictMode runs every effect
twice and which complains on the console.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
EXAMPLES: Final = ROOT / "examples"
CLIENT: Final = ROOT / "clients" / "js"
LIMIT_S: Final = 120.0
COPIED: Final = ("chat", "draw", "react")


@dataclass(frozen=True)
class Bundles:
    """A copy of the examples with their React pages.

    Attributes:
        examples: the copy's directory, with the same names below it as in `examples`.
    """

    examples: Path

    @property
    def package(self) -> Path:
        """Where the sources of the pages are."""
        return self.examples / "react"

    def build(self) -> None:
        """`npm run build`, which checks the types too."""
        self.run("npm", "run", "build")

    def type_errors(self) -> str:
        """What the compiler says of the sources as they are here."""
        return self._started("node_modules/.bin/tsc").stdout

    def bundle(self, source: str, output: str, *options: str) -> None:
        """Bundles one more file; paths are relative to the package."""
        compiled = ("--bundle", "--jsx=automatic", '--define:process.env.NODE_ENV="development"')
        self.run("node_modules/.bin/esbuild", source, f"--outfile={output}", *compiled, *options)

    def run(self, *command: str) -> str:
        """Runs a command in the package; gives what it writes."""
        done = self._started(*command)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def _started(self, *command: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "NODE_ENV": "development"}
        return subprocess.run(
            command, cwd=self.package, env=environment, capture_output=True, text=True, timeout=LIMIT_S, check=False
        )


def copy_and_install(examples: Path) -> Bundles:
    """A copy as `npm ci` leaves it: the same packages by links, the client as what its package would hold."""
    made = Bundles(examples)
    for name in COPIED:
        left_out = ("node_modules", "__pycache__", *(() if name == "react" else ("react",)))
        shutil.copytree(EXAMPLES / name, examples / name, ignore=shutil.ignore_patterns(*left_out))
    modules = made.package / "node_modules"
    (modules / "zocket").mkdir(parents=True)
    for package in (CLIENT / "node_modules").iterdir():
        (modules / package.name).symlink_to(package)
    shutil.copy(CLIENT / "package.json", modules / "zocket")
    made.run("node_modules/.bin/tsc", "--project", str(CLIENT), "--outDir", str(modules / "zocket" / "dist"))
    return made


def missing() -> str | None:
    """What has to be done before pages can be built; None if nothing."""
    if shutil.which("npm") is None:
        return "npm is missing (apt-get install npm)"
    if not (CLIENT / "node_modules" / "@types" / "react-dom").exists():
        return "what the pages are built with is missing (npm --prefix clients/js ci)"
    return None
