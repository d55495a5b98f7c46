"""Receives an upload: onto the disk, hashed and counted as it comes.

Rules: nothing enters a store before all of it is here, its checksum is what the sender said, and (where the project
wants it) its signature is good; what is refused leaves nothing behind.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import tempfile
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from zocket.control.bundles.port import StoredBundle
from zocket.errors import CallerError, InvalidFrame, TooLarge

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator

MAX_BUNDLE_BYTES: Final = 128 * 1024 * 1024
"""Largest bundle that is stored; the runtime refuses what is larger, too."""


@dataclass(frozen=True, slots=True)
class Incoming:
    """A whole upload on the disk."""

    path: Path
    sha256: str
    size: int

    @property
    def stored(self) -> StoredBundle:
        """What it is once it is kept."""
        return StoredBundle(self.sha256, self.sha256, self.size)


@asynccontextmanager
async def receive(
    chunks: AsyncIterable[bytes], spool: Path, *, sha256: str | None = None, max_bytes: int = MAX_BUNDLE_BYTES
) -> AsyncIterator[Incoming]:
    """An upload, whole and checked, for the time of the block.

    Args:
        chunks: the body as it comes.
        spool: where it lies meanwhile.
        sha256: what the sender says it is, or None.
        max_bytes: how large it may be.

    Raises:
        TooLarge: it has more bytes.
        InvalidFrame: it is empty, or the checksum is none.
        CallerError: (`checksum_mismatch`) it is not what the sender said.
    """
    if sha256 is not None and (len(sha256) != 64 or not all(digit in "0123456789abcdefABCDEF" for digit in sha256)):
        raise InvalidFrame("X-Zocket-Sha256: expected 64 hexadecimal digits")
    await asyncio.to_thread(spool.mkdir, parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=spool, prefix=".incoming-", delete=False) as file:
        path = Path(file.name)
        try:
            digest, size = hashlib.sha256(), 0
            async for chunk in chunks:
                size += len(chunk)
                if size > max_bytes:
                    raise TooLarge(f"bundle: more than {max_bytes} bytes, the limit of this control plane")
                digest.update(chunk)
                await asyncio.to_thread(file.write, chunk)
            file.flush()
            if size == 0:
                raise InvalidFrame("bundle: the body is empty")
            if sha256 is not None and not hmac.compare_digest(digest.hexdigest(), sha256.lower()):
                raise CallerError(
                    f"bundle: its checksum is {digest.hexdigest()}, and {sha256.lower()} was announced; it was changed "
                    "on its way, send it again",
                    code="checksum_mismatch",
                )
            yield Incoming(path, digest.hexdigest(), size)
        finally:
            await asyncio.to_thread(path.unlink, missing_ok=True)
