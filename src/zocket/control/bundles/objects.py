"""Bundles in a NATS object store, with credentials of the control plane's own (never the runtimes')."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from zocket.broker.objects import ObjectStore
from zocket.control.bundles.port import is_key

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class ObjectBundleStore:
    """A bucket of a NATS object store; connects at the first use. See `BundleStore`."""

    def __init__(self, url: str, bucket: str) -> None:
        self._objects = ObjectStore(url, bucket)

    @property
    def spool(self) -> Path:
        """See `BundleStore.spool`."""
        return Path(tempfile.gettempdir())

    async def keep(self, key: str, path: Path) -> None:
        """See `BundleStore.keep`."""
        assert is_key(key)
        if not await self._objects.has(key):
            await self._objects.put(key, path)

    async def open(self, key: str) -> AsyncIterator[bytes] | None:
        """See `BundleStore.open`."""
        return await self._objects.open(key) if is_key(key) else None

    async def remove(self, key: str) -> None:
        """See `BundleStore.remove`."""
        if is_key(key):
            await self._objects.remove(key)

    async def aclose(self) -> None:
        """Closes the connection."""
        await self._objects.aclose()
