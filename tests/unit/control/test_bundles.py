from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from zocket.control.bundles import BundleStore
from zocket.errors import TooLarge

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


def files(directory: Path) -> list[bytes]:
    return [path.read_bytes() for path in directory.iterdir()]


async def chunks(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


async def test_the_same_bytes_are_one_file(tmp_path: Path) -> None:
    store = BundleStore(tmp_path)
    first, second = await store.store(chunks(b"ab", b"c")), await store.store(chunks(b"abc"))
    assert first == second
    assert files(tmp_path) == [b"abc"]


async def test_a_bundle_over_the_limit_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(TooLarge, match="more than 4 bytes"):
        await BundleStore(tmp_path, max_bytes=4).store(chunks(b"abc", b"de"))
    assert files(tmp_path) == []


async def test_an_upload_that_breaks_off_leaves_nothing_behind(tmp_path: Path) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"abc"
        raise ConnectionError("gone")

    with pytest.raises(ConnectionError):
        await BundleStore(tmp_path).store(broken())
    assert files(tmp_path) == []
