"""What runs, as a file: ports, process ids and the deployment, for tests, for people, and for the page about an app.

Rules: the file is always a whole JSON document (written beside and moved into place); it is gone when the platform is.
"""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class StatusFile:
    """The status at a path."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._content: dict[str, Any] = {}

    @contextlib.contextmanager
    def published(self, **first: Any) -> Iterator[StatusFile]:
        """The file exists during the block.

        Raises:
            OSError: it cannot be written.
        """
        self.update(**first)
        try:
            yield self
        finally:
            self._path.unlink(missing_ok=True)

    def update(self, **parts: Any) -> None:
        """Replaces some parts, keeps the others; dictionaries are merged one level deep."""
        for name, part in parts.items():
            before = self._content.get(name)
            self._content[name] = {**before, **part} if isinstance(before, dict) and isinstance(part, dict) else part
        beside = self._path.with_name(f".{self._path.name}.new")
        beside.write_text(json.dumps(self._content, indent=2) + "\n")
        beside.replace(self._path)

    def read(self) -> dict[str, Any]:
        """The file's content; empty where there is none."""
        try:
            content = json.loads(self._path.read_text())
        except (OSError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}
