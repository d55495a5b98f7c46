"""What a store of bundles does.

Rules: a bundle appears under its key (its SHA-256 in hexadecimal) only whole, and never changes afterwards; a key is
checked before it names anything.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

_KEY: Final = re.compile(r"[0-9a-f]{64}\Z")


@dataclass(frozen=True, slots=True)
class StoredBundle:
    """Where a bundle lies (`key`), and what a runtime checks it against."""

    key: str
    sha256: str
    size: int


class BundleStore(Protocol):
    """A place for bundles."""

    @property
    def spool(self) -> Path:
        """Directory in which an upload is received; made when it is needed."""

    async def keep(self, key: str, path: Path) -> None:
        """Stores a file, which may be moved away by it; one that is there already stays as it is.

        Raises:
            Unavailable: the store does not take it.
        """

    async def open(self, key: str) -> AsyncIterator[bytes] | None:
        """The bytes of a bundle, or None if there is none.

        Raises:
            Unavailable: the store does not answer.
        """

    async def remove(self, key: str) -> None:
        """Removes a bundle; one that is not there is no error.

        Raises:
            Unavailable: the store does not answer.
        """


def is_key(text: str) -> bool:
    """Whether a text can name a bundle."""
    return _KEY.match(text) is not None
