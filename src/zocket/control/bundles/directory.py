"""Bundles as files of one directory (the default store)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from zocket.control.bundles.port import is_key
from zocket.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

READ_BYTES: Final = 1024 * 1024


class DirectoryStore:
    """A directory of bundles; it is made at the first use. See `BundleStore`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    @property
    def spool(self) -> Path:
        """See `BundleStore.spool`: the same file system, so that keeping is a rename."""
        return self._directory

    async def keep(self, key: str, path: Path) -> None:
        """See `BundleStore.keep`."""
        assert is_key(key)
        try:
            await asyncio.to_thread(path.replace, self._directory / key)
        except OSError as error:
            raise Unavailable(f"BUNDLE_STORE: {self._directory} cannot be written to ({error.strerror})") from error

    async def open(self, key: str) -> AsyncIterator[bytes] | None:
        """See `BundleStore.open`."""
        if not is_key(key) or not await asyncio.to_thread((self._directory / key).is_file):
            return None
        return _read(self._directory / key)

    async def remove(self, key: str) -> None:
        """See `BundleStore.remove`."""
        if is_key(key):
            await asyncio.to_thread((self._directory / key).unlink, missing_ok=True)


async def _read(path: Path) -> AsyncIterator[bytes]:
    with await asyncio.to_thread(path.open, "rb") as file:
        while chunk := await asyncio.to_thread(file.read, READ_BYTES):
            yield chunk
