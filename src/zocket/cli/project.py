"""The project on this machine: its directory, `.zocket.json` that links it, and `[tool.zocket]` in pyproject.toml.

Rules: the directory is the nearest one, from the working directory upwards, that is linked or has `[tool.zocket]`, else
the working directory itself; nothing of it is imported or run here; a key that nobody knows is an error, since it would
be silently without effect.
"""

from __future__ import annotations

import json
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from zocket.cli.config import normal_url, write_whole
from zocket.cli.modules import Target
from zocket.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

LINK_FILE: Final = ".zocket.json"
PYPROJECT: Final = "pyproject.toml"
_KEYS: Final = frozenset({"app", "include", "exclude", "image", "gen"})


@dataclass(frozen=True, slots=True)
class Link:
    """Which project of which control plane a directory belongs to."""

    control_url: str
    project_id: str
    slug: str
    workspace_id: str = ""


@dataclass(frozen=True, slots=True)
class ProjectConfig:
    """`[tool.zocket]`, and what the project says it depends on.

    Attributes:
        app: `module:attribute`, or None if nothing says which.
        include: patterns below the directory, of files that come along besides the app's modules.
        exclude: patterns of files that never do.
        image: distributions that the runtime's image has besides what Zocket brings.
        requirements: as pyproject.toml and requirements.txt have them.
        gen: files that `zocket dev` keeps fresh, by what is in them.
    """

    directory: Path
    app: str | None = None
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    image: tuple[str, ...] = ()
    requirements: tuple[str, ...] = ()
    gen: Mapping[str, str] = field(default_factory=dict)

    @property
    def search_path(self) -> list[Path]:
        """Where the app's modules are looked for."""
        source = self.directory / "src"
        return [self.directory, source] if source.is_dir() else [self.directory]


def find_directory(start: Path) -> Path:
    """The directory of the project that `start` is in; `start` itself if there is none."""
    for directory in (start, *start.parents):
        if (directory / LINK_FILE).is_file() or _is_ours(directory / PYPROJECT):
            return directory
    return start


def _is_ours(file: Path) -> bool:
    """Whether a pyproject.toml speaks of Zocket; one that cannot be read is none of a directory above."""
    try:
        return "zocket" in tomllib.loads(file.read_text("utf-8")).get("tool", {})
    except (OSError, ValueError, AttributeError):
        return False


def read_link(directory: Path) -> Link | None:
    """The link of a project's directory, None if it has none.

    Raises:
        UsageError: the file is damaged.
    """
    file = directory / LINK_FILE
    try:
        content = json.loads(file.read_text("utf-8"))
        texts = [content.get(name, "") for name in ("controlUrl", "projectId", "slug", "workspaceId")]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, AttributeError):
        texts = [None]
    if not all(isinstance(text, str) for text in texts) or not (texts[0] and texts[1]):
        raise UsageError(f"{file} is damaged; delete it and link the project again: zocket link")
    url, project_id, slug, workspace_id = texts
    return Link(normal_url(url), project_id, slug, workspace_id)


def write_link(directory: Path, link: Link) -> Path:
    """Links a directory; the file holds no secret and belongs into version control.

    Raises:
        UsageError: it cannot be written.
    """
    content = {
        "controlUrl": link.control_url,
        "workspaceId": link.workspace_id,
        "projectId": link.project_id,
        "slug": link.slug,
    }
    file = directory / LINK_FILE
    try:
        write_whole(file, json.dumps(content, indent=2) + "\n")
    except OSError as error:
        raise UsageError(f"{file} cannot be written: {error.strerror or error}") from error
    return file


def read_config(directory: Path) -> ProjectConfig:
    """What a project says about itself.

    Raises:
        UsageError: pyproject.toml cannot be read, or `[tool.zocket]` has something it cannot have.
    """
    file = directory / PYPROJECT
    try:
        content = tomllib.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        content = {}
    except (OSError, ValueError) as error:
        raise UsageError(f"{file} cannot be read: {error}") from error
    tool: Mapping[str, Any] = content.get("tool", {}).get("zocket", {})
    unknown = sorted(set(tool) - _KEYS)
    if unknown:
        raise UsageError(f"{file}: [tool.zocket] has no {', '.join(unknown)}; it knows {', '.join(sorted(_KEYS))}")
    app = tool.get("app")
    if app is not None and not isinstance(app, str):
        raise UsageError(f'{file}: [tool.zocket] app must be "module:attribute"')
    return ProjectConfig(
        directory,
        app=str(Target.parse(app)) if app else None,
        include=_patterns(file, tool, "include"),
        exclude=_patterns(file, tool, "exclude"),
        image=_texts(file, tool, "image"),
        requirements=(*_declared(content), *_requirements(directory / "requirements.txt")),
        gen=_generated(file, tool),
    )


def _texts(file: Path, tool: Mapping[str, Any], key: str) -> tuple[str, ...]:
    value = tool.get(key, [])
    if not isinstance(value, list) or not all(isinstance(item, str) and item for item in value):
        raise UsageError(f"{file}: [tool.zocket] {key} must be a list of texts")
    return tuple(value)


def _generated(file: Path, tool: Mapping[str, Any]) -> dict[str, str]:
    value = tool.get("gen", {})
    if not isinstance(value, dict) or not all(isinstance(item, str) and item for item in value.values()):
        raise UsageError(f'{file}: [tool.zocket.gen] must have files, such as ts = "web/zocket.d.ts"')
    return value


def _patterns(file: Path, tool: Mapping[str, Any], key: str) -> tuple[str, ...]:
    patterns = _texts(file, tool, key)
    for pattern in patterns:
        parts = Path(pattern).parts
        if not parts or Path(pattern).is_absolute() or ".." in parts or "\\" in pattern or "\0" in pattern:
            raise UsageError(f'{file}: [tool.zocket] {key}: "{pattern}" must name something inside of the project')
    return patterns


def _declared(content: Mapping[str, Any]) -> list[str]:
    found = content.get("project", {}).get("dependencies", [])
    return [item for item in found if isinstance(item, str)] if isinstance(found, list) else []


def _requirements(file: Path) -> list[str]:
    """The requirements of a file; its options (`-r`, `--hash`, addresses) say nothing about what is packed."""
    try:
        text = file.read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return []
    lines = (line.partition(" #")[0].partition(" --")[0].strip() for line in text.replace("\\\n", " ").splitlines())
    return [line for line in lines if line and not line.startswith(("#", "-")) and "://" not in line]
