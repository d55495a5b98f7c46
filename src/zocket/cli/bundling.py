"""Builds the bundle of a project: its own files, its dependencies, and the report of what is in and what is not.

Rules: nothing of the project is imported or run; the same files give the same bytes; what the control plane or the
runtime would refuse is refused here, before anything is sent.
"""

from __future__ import annotations

import hashlib
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zocket.cli import output
from zocket.cli.failures import needs
from zocket.cli.modules import Target
from zocket.cli.sources import LeftOut, find_sources
from zocket.dev.packaging import MANIFEST, MAX_BUNDLE_BYTES, archive
from zocket.errors import BundleError, UsageError
from zocket.runtime.archive import check_archive

if TYPE_CHECKING:
    from zocket.cli.distributions import Dependency
    from zocket.cli.project import ProjectConfig


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle in memory, and what is to be said about it.

    Attributes:
        entry: `module:attribute`.
        files: the project's own.
        blocked: top-level modules that are installed here, and not where the bundle runs.
    """

    content: bytes = field(repr=False)
    sha256: str
    entry: str
    files: tuple[str, ...]
    dependencies: tuple[Dependency, ...]
    left_out: tuple[LeftOut, ...]
    blocked: frozenset[str] = field(repr=False)

    @property
    def problems(self) -> list[LeftOut]:
        """What is not in, and will most likely be missed."""
        return [item for item in self.left_out if item.problem]

    def as_json(self) -> dict[str, Any]:
        """What `--json` says."""
        return {
            "entry": self.entry,
            "sha256": self.sha256,
            "size": len(self.content),
            "files": list(self.files),
            "dependencies": [
                {"name": item.name, "version": item.version, "size": item.size} for item in self.dependencies
            ],
            "leftOut": [{"name": item.name, "reason": item.reason, "problem": item.problem} for item in self.left_out],
        }


def build(config: ProjectConfig, target: str | None = None) -> Bundle:
    """The bundle of a project.

    Args:
        config: of the project.
        target: `module:attribute`; by default what the project says.

    Raises:
        UsageError: nothing says which app, it is not there, or the bundle would be refused.
    """
    with needs("cli"):
        from zocket.cli.distributions import find_dependencies

    entry = _entry(config, target)
    sources = find_sources(config, entry)
    found = find_dependencies(config, sources)
    members = {name: path for item in found.packed for name, path in item.members.items()} | sources.members
    members.pop(MANIFEST, None)
    manifest = {"entry": entry, "dependencies": {item.name: item.version for item in found.packed}}
    content = archive(members, manifest)
    _check(content)
    return Bundle(
        content=content,
        sha256=hashlib.sha256(content).hexdigest(),
        entry=entry,
        files=tuple(sorted(sources.members)),
        dependencies=tuple(found.packed),
        left_out=(*sources.left_out, *found.left_out),
        blocked=frozenset(found.blocked),
    )


def _entry(config: ProjectConfig, target: str | None) -> str:
    if target is not None:
        return str(Target.parse(target))
    if config.app is not None:
        return config.app
    for module in ("app", "main"):
        if any((place / f"{module}.py").is_file() for place in config.search_path):
            return f"{module}:app"
    raise UsageError(
        f"nothing says which app to deploy from {config.directory}: name it (zocket deploy --app chat:app), or write\n"
        '    [tool.zocket]\n    app = "chat:app"\ninto pyproject.toml'
    )


def _check(content: bytes) -> None:
    """Refuses what would be refused later."""
    if len(content) > MAX_BUNDLE_BYTES:
        raise UsageError(
            f"the bundle has {output.size(len(content))}, the limit is {output.size(MAX_BUNDLE_BYTES)}; "
            "leave files out with [tool.zocket] exclude"
        )
    with tempfile.TemporaryDirectory(prefix="zocket-") as directory:
        path = Path(directory) / "bundle.pyz"
        path.write_bytes(content)
        try:
            check_archive(path)
        except BundleError as error:
            raise UsageError(f"{error.message}; leave it out with [tool.zocket] exclude") from error


def tell(bundle: Bundle) -> None:
    """What is in a bundle and what is not, on standard error."""
    own = f"{len(bundle.files)} file{'s' if len(bundle.files) != 1 else ''}"
    output.note(f"Bundle of {bundle.entry}: {own} of the project, {output.size(len(bundle.content))} packed")
    for item in bundle.dependencies:
        output.note(f"  + {item.name}=={item.version}  {output.size(item.size)}")
    by_reason: dict[str, list[str]] = {}
    for left in bundle.left_out:
        if not left.problem:
            by_reason.setdefault(left.reason, []).append(left.name)
    for reason, names in by_reason.items():
        output.note(f"  - {', '.join(map(output.clean, names))}: {output.clean(reason)}")
    for left in bundle.problems:
        output.warn(f"{output.clean(left.name)}: {output.clean(left.reason)}")
