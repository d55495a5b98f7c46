"""Which installed distributions a bundle brings along: what the app needs and the runtime's image does not have.

Rules: what is packed is what is installed here, in exactly that version, so the bundle runs what was tried here; only
pure Python, since compiled code fits one machine; what the image has stays out, since it comes first there anyway.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from importlib import metadata
from importlib.machinery import PathFinder
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from zocket.cli.sources import LeftOut

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from zocket.cli.project import ProjectConfig
    from zocket.cli.sources import Sources

IMAGE: Final = "zocket[serve,nats,control]"
"""What deploy/Dockerfile installs."""
_COMPILED: Final = frozenset({".so", ".pyd", ".dylib", ".dll"})
_LINKED: Final = "installed here as a link to its sources; install it as a package, or move it into the project"
_NOT_PACKED: Final = frozenset({"RECORD", "INSTALLER", "REQUESTED", "WHEEL", "direct_url.json"})
"""Of a `.dist-info`: what is about this installation."""


@dataclass(frozen=True, slots=True)
class Dependency:
    """A distribution that a bundle brings along, in the version that is installed here."""

    name: str
    version: str
    members: dict[str, Path] = field(repr=False)
    size: int


@dataclass(slots=True)
class Dependencies:
    """What a bundle brings along and what not.

    Attributes:
        blocked: top-level modules that are installed here, and will not be where the bundle runs.
    """

    packed: list[Dependency] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    blocked: set[str] = field(default_factory=set)


def find_dependencies(config: ProjectConfig, sources: Sources) -> Dependencies:
    """What an app needs besides its own modules: what it declares, what it imports, and what those need."""
    return _Search(config, sources).run()


class _Search:
    def __init__(self, config: ProjectConfig, sources: Sources) -> None:
        self._sources = sources
        self._declared = list(_parsed(config.requirements))
        self._image = _closure([Requirement(IMAGE), *_parsed(config.image)])
        self._providers = {
            module: sorted({canonicalize_name(name) for name in names})
            for module, names in metadata.packages_distributions().items()
        }
        self._found = Dependencies()
        self._visited: set[tuple[str, frozenset[str]]] = set()
        self._named: set[str] = set()

    def run(self) -> Dependencies:
        for requirement in self._declared:
            self._visit(requirement, because="declared")
        for module in sorted(self._sources.required | self._sources.optional):
            self._visit_module(module, is_required=module in self._sources.required)
        packed = {item.name for item in self._found.packed}
        there = packed | self._image
        self._found.blocked = {
            module
            for module, names in self._providers.items()
            if not there.intersection(names) and module not in self._sources.modules and module != "zocket"
        }
        self._found.packed.sort(key=lambda item: item.name)
        return self._found

    def _visit_module(self, module: str, *, is_required: bool) -> None:
        if module in sys.stdlib_module_names or module in self._sources.modules or module == "zocket":
            return
        names = self._providers.get(module, [])
        if not names and is_required:
            self._leave_out(module, _missing(module), problem=True)
        declared = {canonicalize_name(item.name) for item in self._declared}
        for name in [name for name in names if name in declared] or names:
            self._visit(Requirement(name), because=f"import {module}", is_required=is_required)

    def _visit(self, requirement: Requirement, *, because: str, is_required: bool = True) -> None:
        name = canonicalize_name(requirement.name)
        key = (name, frozenset(requirement.extras))
        if key in self._visited:
            return
        self._visited.add(key)
        if name in self._image:
            if because == "declared" or because.startswith("import"):
                self._leave_out(name, "the runtime's image has it")
            return
        try:
            installed = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            self._leave_out(name, f"{because}, but not installed here", problem=is_required)
            return
        if not requirement.specifier.contains(installed.version, prereleases=True):
            wanted = f"{because} as {requirement.name}{requirement.specifier}"
            self._leave_out(name, f"{wanted}, but {installed.version} is installed here", problem=True)
            return
        if name not in self._named:
            self._take(name, installed, is_required=is_required)
        for further in _requirements(installed, requirement.extras):
            self._visit(further, because=f"{name} needs it", is_required=is_required)

    def _take(self, name: str, installed: metadata.Distribution, *, is_required: bool) -> None:
        members = dict(_members(installed))
        if not members or _is_editable(installed):
            self._leave_out(name, _LINKED, is_required)
            return
        compiled = sorted(member for member in members if _is_compiled(member))
        if compiled:
            reason = (
                f"has compiled code ({compiled[0]}); build an image that has it, and list it in [tool.zocket] image"
            )
            self._leave_out(name, reason, is_required)
            return
        clash = sorted({member.partition("/")[0].removesuffix(".py") for member in members} & self._sources.modules)
        if clash:
            self._leave_out(name, f"a module of the project is called {clash[0]} too", problem=True)
            return
        self._named.add(name)
        size = sum(path.stat().st_size for path in members.values())
        self._found.packed.append(Dependency(name, installed.version, members, size))

    def _leave_out(self, name: str, reason: str, problem: bool = False) -> None:
        if name not in self._named:
            self._named.add(name)
            self._found.left_out.append(LeftOut(name, reason, problem))


def _missing(module: str) -> str:
    """Why there is no distribution for an imported module."""
    if PathFinder.find_spec(module) is None:
        return "imported, and neither in the project nor installed here"
    return f"imported, and {_LINKED}"


def _parsed(texts: Iterable[str]) -> Iterator[Requirement]:
    """Requirements that count here; what cannot be read is not for us to judge."""
    for text in texts:
        try:
            requirement = Requirement(text)
        except InvalidRequirement:
            continue
        if requirement.marker is None or requirement.marker.evaluate():
            yield requirement


def _requirements(installed: metadata.Distribution, extras: Iterable[str]) -> Iterator[Requirement]:
    """What a distribution needs, with these of its extras."""
    for text in installed.requires or ():
        requirement = Requirement(text)
        marker = requirement.marker
        if marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *extras)):
            yield requirement


def _closure(roots: Iterable[Requirement]) -> set[str]:
    """The names of distributions and of everything that they need."""
    found: set[tuple[str, frozenset[str]]] = set()
    waiting = list(roots)
    while waiting:
        requirement = waiting.pop()
        key = (canonicalize_name(requirement.name), frozenset(requirement.extras))
        if key in found:
            continue
        found.add(key)
        try:
            installed = metadata.distribution(requirement.name)
        except metadata.PackageNotFoundError:
            continue
        waiting += _requirements(installed, requirement.extras)
    return {name for name, _ in found}


def _members(installed: metadata.Distribution) -> Iterator[tuple[str, Path]]:
    """The files of a distribution that are imported or read, by their place beside each other."""
    for file in installed.files or ():
        member = PurePosixPath(file)
        if member.is_absolute() or ".." in member.parts or "__pycache__" in member.parts:
            continue
        if member.suffix in (".pyc", ".pth") or "\\" in str(file):
            continue
        if member.parts[0].endswith((".dist-info", ".egg-info")) and member.name in _NOT_PACKED:
            continue
        path = Path(str(installed.locate_file(file)))
        if path.is_file() and not path.is_symlink():
            yield member.as_posix(), path


def _is_compiled(member: str) -> bool:
    name = PurePosixPath(member)
    return name.suffix in _COMPILED or ".so." in name.name


def _is_editable(installed: metadata.Distribution) -> bool:
    text = installed.read_text("direct_url.json")
    if text is None:
        return False
    try:
        return bool(json.loads(text).get("dir_info", {}).get("editable"))
    except (ValueError, AttributeError):
        return False
