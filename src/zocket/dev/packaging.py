"""Packs the module of an app and what it imports from its own project into one `.pyz` bundle.

Rules: the same sources give the same bytes; nothing is imported or run to find out what belongs in, so an import made
by a computed name is not seen (put such modules into the app's package). A package of the project comes whole, with its
data files; a module comes alone. Installed packages stay out: the runtime has its own.
"""

from __future__ import annotations

import ast
import hashlib
import io
import json
import re
import sys
import sysconfig
import tokenize
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from zocket.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

MANIFEST: Final = "zocket.json"
"""Member that tells the runtime which module and attribute is the app."""
MAX_BUNDLE_BYTES: Final = 128 * 1024 * 1024
"""Largest bundle that a control plane stores."""
LEFT_OUT: Final = frozenset({"__pycache__", "node_modules", "venv"})
"""Directories that are no part of an app; hidden ones are not either."""

_TARGET: Final = re.compile(r"(?P<module>[^\W\d]\w*(?:\.[^\W\d]\w*)*)(?::(?P<attribute>[^\W\d]\w*))?\Z")
_EPOCH: Final = (1980, 1, 1, 0, 0, 0)
"""Earliest time a zip member can have; the real one would make every bundle another file."""


@dataclass(frozen=True, slots=True)
class Packed:
    """A bundle in memory.

    Attributes:
        entry: `module:attribute` as it stands in the manifest (without attribute if none was given).
        members: names in the archive.
        sources: the files that it was made of; `zocket dev` watches them.
    """

    content: bytes
    sha256: str
    entry: str
    members: tuple[str, ...]
    sources: tuple[Path, ...]


def pack(target: str, search_path: Sequence[str | Path] | None = None) -> Packed:
    """The bundle of `module:attribute` (or `module`), found as Python would find it.

    Args:
        target: which app.
        search_path: directories in order; by default the working directory, then `sys.path`.

    Raises:
        UsageError: there is no such module, it is no Python source, or the bundle is too large; the message says where
            was looked.
    """
    match = _TARGET.match(target)
    if match is None:
        raise UsageError(f'expected module:attribute, such as chat:app, got "{target}"')
    directories = [Path(entry) for entry in (search_path if search_path is not None else ["", *sys.path])]
    root = find_root(match["module"], directories)
    files = collect(match["module"], root)
    members = {path.relative_to(root).as_posix(): path for path in files}
    content = archive(members, {"entry": target})
    if len(content) > MAX_BUNDLE_BYTES:
        raise UsageError(f"{target}: the bundle has {len(content)} bytes, the limit is {MAX_BUNDLE_BYTES}")
    return Packed(content, hashlib.sha256(content).hexdigest(), target, tuple(members), tuple(files))


def find_root(module: str, directories: Sequence[Path]) -> Path:
    """The first directory in which the module's source is.

    Raises:
        UsageError: it is in none of them.
    """
    for directory in directories:
        if _source(directory.resolve(), module) is not None:
            return directory.resolve()
    looked = ", ".join(dict.fromkeys(str(directory.resolve()) for directory in directories if directory.is_dir()))
    raise UsageError(f"no Python source of the module {module} in {looked}")


def _source(root: Path, module: str) -> Path | None:
    """The file of a module below a root: a package's `__init__.py`, or the module's own."""
    base = root.joinpath(*module.split("."))
    for path in (base / "__init__.py", base.with_name(base.name + ".py")):
        if path.is_file():
            return path
    return None


def collect(module: str, root: Path) -> list[Path]:
    """The files of a module and of what it imports below the root, by breadth-first search over the import graph."""
    installed = _is_installed(root)
    own = module.partition(".")[0]
    homes: set[Path] = set()
    found: list[Path] = []
    waiting = [module]
    while waiting:
        home = _home(waiting.pop(), root)
        if home is None or home in homes:
            continue
        homes.add(home)
        files = list(_package_files(home)) if home.is_dir() else [home]
        found += files
        for path in files:
            if path.suffix == ".py":
                waiting += [name for name in _imports(path, root) if not installed or name.partition(".")[0] == own]
    return sorted(found)


def _is_installed(root: Path) -> bool:
    """Whether the root is a place for installed packages, where neighbours are no part of the project."""
    paths = sysconfig.get_paths()
    return root in {Path(paths[name]).resolve() for name in ("purelib", "platlib", "stdlib")}


def _home(module: str, root: Path) -> Path | None:
    """What a module brings: the regular package that it belongs to (the outermost one), else its file."""
    parts = module.split(".")
    for length in range(1, len(parts) + 1):
        package = root.joinpath(*parts[:length])
        if (package / "__init__.py").is_file():
            return package
    return _source(root, module)


def _package_files(package: Path) -> Iterator[Path]:
    for path in sorted(package.iterdir()):
        if path.name.startswith(".") or path.is_symlink() or path.suffix == ".pyc":
            continue
        if path.is_dir():
            if path.name not in LEFT_OUT:
                yield from _package_files(path)
        elif path.is_file():
            yield path


def _imports(path: Path, root: Path) -> Iterator[str]:
    """Modules below the root that a file imports, at any depth of its code, parents before children."""
    try:
        with tokenize.open(path) as file:
            tree = ast.parse(file.read(), str(path))
    except (SyntaxError, ValueError, UnicodeDecodeError):
        return  # the runtime's import says what is wrong with it
    package = path.parent.relative_to(root).parts
    for node in ast.walk(tree):
        for name in _imported_names(node, package):
            parts = name.split(".")
            yield from (
                found
                for found in (".".join(parts[:length]) for length in range(1, len(parts) + 1))
                if _source(root, found) is not None
            )


def _imported_names(node: ast.AST, package: tuple[str, ...]) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if not isinstance(node, ast.ImportFrom):
        return []
    base = [*package[: len(package) - node.level + 1]] if node.level else []
    prefix = ".".join([*base, *(node.module.split(".") if node.module else [])])
    names = [f"{prefix}.{alias.name}" if prefix else alias.name for alias in node.names if alias.name != "*"]
    return [prefix, *names] if prefix else names


def archive(members: Mapping[str, Path], manifest: Mapping[str, Any]) -> bytes:
    """A bundle of files by their names in it; the same files give the same bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as packed:
        # Python before 3.13 finds a package without `__init__.py` in an archive only by an entry for the directory.
        for name in sorted({f"{parent}/" for member in members for parent in _parents(member)}):
            packed.writestr(_info(name, 0o40755), b"")
        for name, path in sorted(members.items()):
            packed.writestr(_info(name, 0o100644), path.read_bytes())
        packed.writestr(_info(MANIFEST, 0o100644), json.dumps(manifest, sort_keys=True).encode())
    return buffer.getvalue()


def _parents(member: str) -> list[str]:
    parts = member.split("/")[:-1]
    return ["/".join(parts[:length]) for length in range(1, len(parts) + 1)]


def _info(name: str, mode: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, _EPOCH)
    info.create_system = 3
    info.external_attr = (mode << 16) | (0x10 if name.endswith("/") else 0)
    info.compress_type = zipfile.ZIP_DEFLATED
    return info
