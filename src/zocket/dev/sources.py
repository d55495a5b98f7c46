"""The app's sources: packed into a bundle, and watched for changes.

Rules: only the directories of files that are in the bundle are watched, not what lies below them, so a virtual
environment or `node_modules` costs nothing; whether a change matters is told by the bundle's checksum, not by its path.
"""

from __future__ import annotations

import asyncio
import sys
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING

from watchfiles import Change, awatch

from zocket.dev.packaging import Packed, pack

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class Sources:
    """Of one `module:attribute`.

    Args:
        target: which app.
    """

    def __init__(self, target: str) -> None:
        self._target = target
        self._sources: frozenset[Path] = frozenset()

    async def pack(self) -> Packed:
        """The bundle as the files are now.

        Raises:
            UsageError: there is no such module.
        """
        packed = await asyncio.to_thread(pack, self._target, _search_path())
        self._sources = frozenset(packed.sources)
        return packed

    async def changes(self) -> AsyncIterator[None]:
        """Once for each bunch of edits that may matter, for as long as it is iterated over; needs one `pack` before."""
        while True:
            directories = self._directories()
            async for _ in awatch(*directories, watch_filter=self._matters, recursive=False):
                yield
                if self._directories() != directories:
                    break
            yield  # whatever happened between the two watches

    def _directories(self) -> frozenset[Path]:
        return frozenset(path.parent for path in self._sources)

    def _matters(self, change: Change, path: str) -> bool:
        file = Path(path)
        return file in self._sources or file.suffix == ".py" or (change is Change.added and file.is_dir())


def _search_path() -> list[str]:
    """Where an app may be: here, on PYTHONPATH, installed. Not in the standard library, nor beside a command."""
    paths = sysconfig.get_paths()
    never = tuple(str(Path(paths[name]).resolve()) for name in ("stdlib", "platstdlib", "scripts"))
    installed = {str(Path(paths[name]).resolve()) for name in ("purelib", "platlib")}
    found = [str(Path(entry).resolve()) for entry in ("", *sys.path)]
    return [entry for entry in found if entry in installed or not entry.startswith(never)]


def module_directory(packed: Packed) -> Path:
    """Where the file of the app's module is: the place of its page."""
    module = packed.entry.partition(":")[0].replace(".", "/")
    for member, source in zip(packed.members, packed.sources, strict=True):
        if member in (f"{module}.py", f"{module}/__init__.py"):
            return source.parent
    raise AssertionError(f"{packed.entry} is not in its own bundle")
