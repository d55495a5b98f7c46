"""Stored bundles: files named by their own checksum in one directory.

Rules: a file appears under its name only whole (written aside, then renamed), and never changes afterwards; what is
read by a key is a file of this directory and nothing else.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from zocket.errors import TooLarge

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

MAX_BUNDLE_BYTES: Final = 128 * 1024 * 1024
"""Largest bundle that is stored; the runtime refuses what is larger, too."""

_KEY: Final = re.compile(r"[0-9a-f]{64}\Z")


@dataclass(frozen=True, slots=True)
class StoredBundle:
    """Where a bundle lies (`key`), and what a runtime checks it against."""

    key: str
    sha256: str
    size: int


class BundleStore:
    """A directory of bundles; it is made at the first use."""

    def __init__(self, directory: Path, *, max_bytes: int = MAX_BUNDLE_BYTES) -> None:
        self._directory = directory
        self._max_bytes = max_bytes

    async def store(self, chunks: AsyncIterator[bytes]) -> StoredBundle:
        """Writes a bundle as it comes in; the same bytes are stored once.

        Raises:
            TooLarge: it has more bytes than the store takes.
        """
        await asyncio.to_thread(self._directory.mkdir, parents=True, exist_ok=True)
        digest, size = hashlib.sha256(), 0
        with tempfile.NamedTemporaryFile(dir=self._directory, prefix=".incoming-", delete=False) as file:
            aside = Path(file.name)
            try:
                async for chunk in chunks:
                    size += len(chunk)
                    if size > self._max_bytes:
                        raise TooLarge(f"bundle: more than {self._max_bytes} bytes, the limit of this control plane")
                    digest.update(chunk)
                    await asyncio.to_thread(file.write, chunk)
                file.flush()
                sha256 = digest.hexdigest()
                await asyncio.to_thread(aside.replace, self._directory / sha256)
            finally:
                await asyncio.to_thread(aside.unlink, missing_ok=True)
        return StoredBundle(key=sha256, sha256=sha256, size=size)

    def path(self, key: str) -> Path | None:
        """The file of a key, or None if there is none."""
        if not _KEY.match(key):
            return None
        path = self._directory / key
        return path if path.is_file() else None
