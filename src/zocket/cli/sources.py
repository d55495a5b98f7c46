"""Which files of the project belong into its bundle.

Rules: the app's modules and what they import from the project, plus what `include` names, minus what `exclude` names;
never a link, never a file outside of the project, never a secret, whatever names it; everything that a person might
expect and does not find is told with its reason.
"""

from __future__ import annotations

import ast
import fnmatch
import re
import tokenize
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import TYPE_CHECKING, Final

from zocket.dev.packaging import LEFT_OUT, collect, find_root
from zocket.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from zocket.cli.project import ProjectConfig

SECRET_NAMES: Final = (
    ".env", ".env.*", "*.env", ".netrc", ".pgpass", ".npmrc", ".pypirc", ".git-credentials", ".htpasswd",
    "*.pem", "*.key", "*.p12", "*.pfx", "*.jks", "*.keystore", "*.kdbx", "*.ppk",
    "id_rsa*", "id_dsa*", "id_ecdsa*", "id_ed25519*",
    "credentials", "credentials.json", "service-account*.json", "service_account*.json",
    "secrets.json", "secrets.toml", "secrets.yaml", "secrets.yml", "secrets.ini", "secrets.txt",
)  # fmt: skip
"""Files that hold keys and passwords by custom; `zocket env set` is the way for those."""
_PRIVATE_KEY: Final = re.compile(rb"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY-----")
_HEAD_BYTES: Final = 8_192
"""Of a file that is looked at for a private key."""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Something that is not in the bundle; a `problem` will most likely be missed there."""

    name: str
    reason: str
    problem: bool = False


@dataclass(slots=True)
class Sources:
    """The project's own part of a bundle.

    Attributes:
        members: files by their names in the archive.
        required: top-level modules that are imported whatever happens.
        optional: those whose absence the code expects.
    """

    entry: str
    members: dict[str, Path] = field(default_factory=dict)
    left_out: list[LeftOut] = field(default_factory=list)
    required: set[str] = field(default_factory=set)
    optional: set[str] = field(default_factory=set)

    @property
    def modules(self) -> set[str]:
        """Top-level names that the project itself gives."""
        return {name.partition("/")[0].removesuffix(".py") for name in self.members}


def find_sources(config: ProjectConfig, entry: str) -> Sources:
    """The files of an app.

    Args:
        config: of its project.
        entry: `module:attribute`.

    Raises:
        UsageError: there is no such module, or it must not be packed.
    """
    module = entry.partition(":")[0]
    root = find_root(module, config.search_path)
    found = Sources(entry)
    excluded = {path for pattern in config.exclude for path in _matching(config.directory, pattern)}
    taken = _Taking(config.directory, excluded, found)
    collected = collect(module, root)
    for path in collected:
        taken.add(path, root)
    _check_entry(module, root, found)
    for pattern in config.include:
        matching = list(_matching(config.directory, pattern))
        if not matching:
            found.left_out.append(LeftOut(pattern, "no file of the project matches this `include`", problem=True))
        for path in matching:
            taken.add(path, root if path.is_relative_to(root) else config.directory)
    _tell_the_rest(config.directory, collected, taken, found)
    for path in found.members.values():
        if path.suffix == ".py":
            _add_imports(path, found)
    found.optional -= found.required
    return found


class _Taking:
    """Takes files, or says why not; each once."""

    def __init__(self, directory: Path, excluded: set[Path], found: Sources) -> None:
        self._directory = directory
        self._excluded = excluded
        self._found = found
        self.seen: set[Path] = set()

    def add(self, path: Path, root: Path) -> None:
        if path in self.seen:
            return
        self.seen.add(path)
        reason = self.reason_against(path)
        if reason is not None:
            self._found.left_out.append(LeftOut(self.name(path), reason))
            return
        self._found.members[path.relative_to(root).as_posix()] = path

    def name(self, path: Path) -> str:
        return path.relative_to(self._directory).as_posix() if path.is_relative_to(self._directory) else str(path)

    def reason_against(self, path: Path) -> str | None:
        if _has_link(self._directory, path):
            return "a symbolic link"
        if not path.resolve().is_relative_to(self._directory):
            return "outside of the project"
        if path in self._excluded:
            return "excluded by [tool.zocket] exclude"
        return secret_reason(path)


def secret_reason(path: Path) -> str | None:
    """Why a file is taken for a secret, or None."""
    name = path.name.lower()
    if path.suffix != ".py" and any(fnmatch.fnmatchcase(name, pattern) for pattern in SECRET_NAMES):
        return "looks like a secret; give it to the runtime with `zocket env set`"
    if path.suffix == ".py":
        return None
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError as error:
        return f"cannot be read: {error.strerror or error}"
    return "holds a private key; give it to the runtime with `zocket env set`" if _PRIVATE_KEY.search(head) else None


def _has_link(directory: Path, path: Path) -> bool:
    """Whether the file or a directory on the way to it, below the project, is a symbolic link."""
    parts = path.relative_to(directory).parts if path.is_relative_to(directory) else ()
    return any(directory.joinpath(*parts[:length]).is_symlink() for length in range(1, len(parts) + 1))


def _matching(directory: Path, pattern: str) -> Iterator[Path]:
    """The files that a pattern names; a directory is everything in it, what is hidden only if the pattern says so."""
    takes_hidden = any(part.startswith(".") for part in PurePath(pattern).parts)
    for path in sorted(directory.glob(PurePath(pattern).as_posix())):
        inside = sorted(path.rglob("*")) if path.is_dir() else [path]
        for file in inside:
            parts = file.relative_to(directory).parts
            is_hidden = any(part.startswith(".") for part in parts)
            if file.is_file() and (takes_hidden or not is_hidden) and not any(map(_is_rubbish, parts)):
                yield file


def _is_rubbish(name: str) -> bool:
    return name in LEFT_OUT or name in (".git", ".venv", ".zocket", ".zocket.json") or name.endswith(".pyc")


def _check_entry(module: str, root: Path, found: Sources) -> None:
    base = module.replace(".", "/")
    if f"{base}.py" not in found.members and f"{base}/__init__.py" not in found.members:
        reasons = "; ".join(f"{item.name}: {item.reason}" for item in found.left_out)
        raise UsageError(f"the module {module} cannot be packed from {root} ({reasons})")


def _tell_the_rest(directory: Path, collected: Sequence[Path], taken: _Taking, found: Sources) -> None:
    """Names what lies beside the packed files and is not packed: hidden files, links, secrets."""
    packages = {path.parent for path in collected if (path.parent / "__init__.py").is_file()}
    for place in sorted(packages | {directory}):
        for path in sorted(place.iterdir()):
            if path in taken.seen or _is_rubbish(path.name):
                continue
            if path.is_symlink():
                reason: str | None = "a symbolic link"
            elif not path.is_file():
                continue
            else:
                reason = secret_reason(path) or ("a hidden file" if path.name.startswith(".") else None)
            if reason is None or (place not in packages and not reason.startswith(("looks", "holds"))):
                continue
            taken.seen.add(path)
            found.left_out.append(LeftOut(taken.name(path), reason))


def _add_imports(path: Path, found: Sources) -> None:
    try:
        with tokenize.open(path) as file:
            tree = ast.parse(file.read(), str(path))
    except (SyntaxError, ValueError, UnicodeDecodeError):
        return  # the import says what is wrong with it
    _walk(tree, found, optional=False)


def _walk(node: ast.AST, found: Sources, *, optional: bool) -> None:
    names = found.optional if optional else found.required
    if isinstance(node, ast.Import):
        names.update(alias.name.partition(".")[0] for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
        names.add(node.module.partition(".")[0])
    elif isinstance(node, ast.If) and _is_typing_only(node.test):
        _walk_all(node.orelse, found, optional=optional)
        return
    elif isinstance(node, ast.Try) and any(_catches_import_error(handler.type) for handler in node.handlers):
        _walk_all(node.body, found, optional=True)
        _walk_all((*node.handlers, *node.orelse, *node.finalbody), found, optional=optional)
        return
    _walk_all(ast.iter_child_nodes(node), found, optional=optional)


def _walk_all(nodes: Iterable[ast.AST], found: Sources, *, optional: bool) -> None:
    for node in nodes:
        _walk(node, found, optional=optional)


def _is_typing_only(test: ast.expr) -> bool:
    return (isinstance(test, ast.Name) and test.id == "TYPE_CHECKING") or (
        isinstance(test, ast.Attribute) and test.attr == "TYPE_CHECKING"
    )


def _catches_import_error(kind: ast.expr | None) -> bool:
    if kind is None:
        return True
    kinds = kind.elts if isinstance(kind, ast.Tuple) else [kind]
    return any(isinstance(item, ast.Name) and item.id in _IMPORT_ERRORS for item in kinds)


_IMPORT_ERRORS: Final = frozenset({"ImportError", "ModuleNotFoundError", "Exception"})
