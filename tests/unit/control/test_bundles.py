from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest

from zocket.control.bundles import receive
from zocket.control.bundles.directory import DirectoryStore
from zocket.control.bundles.opening import open_store
from zocket.errors import CallerError, InvalidFrame, SettingsError, TooLarge

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = pytest.mark.realtime  # files are read and written in threads

ABC = hashlib.sha256(b"abc").hexdigest()


def files(directory: Path) -> list[bytes]:
    return [path.read_bytes() for path in directory.iterdir()]


async def chunks(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


async def put(store: DirectoryStore, *parts: bytes) -> str:
    async with receive(chunks(*parts), store.spool) as incoming:
        await store.keep(incoming.sha256, incoming.path)
        return incoming.sha256


async def content(store: DirectoryStore, key: str) -> bytes | None:
    found = await store.open(key)
    return None if found is None else b"".join([chunk async for chunk in found])


async def test_the_same_bytes_are_one_file_named_by_their_checksum(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    assert await put(store, b"ab", b"c") == await put(store, b"abc") == ABC
    assert files(tmp_path) == [b"abc"]
    assert await content(store, ABC) == b"abc"


async def test_a_removed_bundle_is_gone_and_removing_it_again_is_no_error(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    await put(store, b"abc")
    await store.remove(ABC)
    await store.remove(ABC)
    assert await content(store, ABC) is None


@pytest.mark.parametrize("key", ["..", "../secret", "", "A" * 64, ABC[:-1], ABC + "\n"])
async def test_a_key_names_no_other_file(tmp_path: Path, key: str) -> None:
    (tmp_path / "secret").write_text("x")
    store = DirectoryStore(tmp_path / "bundles")
    await put(store, b"abc")
    await store.remove(key)
    assert await content(store, key) is None
    assert (tmp_path / "secret").exists()


async def test_a_bundle_over_the_limit_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(TooLarge, match="more than 4 bytes"):
        async with receive(chunks(b"abc", b"de"), tmp_path, max_bytes=4):
            raise AssertionError("it was taken")
    assert files(tmp_path) == []


async def test_an_upload_that_breaks_off_leaves_nothing_behind(tmp_path: Path) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"abc"
        raise ConnectionError("gone")

    with pytest.raises(ConnectionError):
        async with receive(broken(), tmp_path):
            raise AssertionError("it was taken")
    assert files(tmp_path) == []


async def test_an_upload_that_is_not_what_was_announced_is_refused(tmp_path: Path) -> None:
    async with receive(chunks(b"abc"), tmp_path, sha256=ABC.upper()) as incoming:
        assert incoming.size == 3
    with pytest.raises(CallerError, match="changed on its way") as refused:
        async with receive(chunks(b"abd"), tmp_path, sha256=ABC):
            raise AssertionError("it was taken")
    assert refused.value.code == "checksum_mismatch"
    for wrong in ("", "x" * 64, ABC[:-1]):
        with pytest.raises(InvalidFrame, match="X-Zocket-Sha256"):
            async with receive(chunks(b"abc"), tmp_path, sha256=wrong):
                raise AssertionError("it was taken")
    assert files(tmp_path) == []


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("ftp://host/x", "got ftp://"),
        ("s3:///prefix", "s3://bucket"),
        ("s3://b?odd=1", "has no odd"),
        ("nats://h:1/a.b", "letters"),
    ],
)
async def test_a_store_that_cannot_be_is_refused_by_name(setting: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        async with open_store(setting):
            raise AssertionError("it was opened")
