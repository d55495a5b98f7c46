"""The file of a backup: JSON lines, compressed if its name ends in `.gz`.

Rules: the first line says what the file is, the last one how many instances there are and the SHA-256 of all lines
before it, so a file that was cut or changed is found before anything is restored; every line between is one instance
with its record as it was stored. A file appears whole or not at all, and only its owner may read it.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import zlib
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import IO, TYPE_CHECKING, Final, Literal, cast

import msgspec

from zocket.errors import InvalidId, UsageError
from zocket.host.store import Key, decode_record
from zocket.ids import check_actor_id, check_actor_type

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FORMAT: Final = 1
"""Raised when a reader of an earlier format could not restore what is written."""
MAX_HEADER_BYTES: Final = 65_536
"""So that a large file of something else is not read to its first line end."""
_GZIP: Final = b"\x1f\x8b"


class Header(msgspec.Struct, tag_field="kind", tag="zocket-backup", rename="camel"):
    """What the file is.

    Attributes:
        format: see `FORMAT`.
        source: names the store that was read, for a person.
        created_at: UTC, ISO 8601.
        written_by: version of Zocket.
    """

    format: int
    source: str = ""
    created_at: str = ""
    written_by: str = ""


class Instance(msgspec.Struct, tag_field="kind", tag="instance", rename="camel"):
    """One instance; `record` is a `zocket.host.store.Record`."""

    actor: str
    actor_id: str
    record: msgspec.Raw

    @property
    def key(self) -> Key:
        """Which instance it is."""
        return Key(self.actor, self.actor_id)


class End(msgspec.Struct, tag_field="kind", tag="end", rename="camel"):
    """The last line; `sha256` is of all bytes before it."""

    instances: int
    sha256: str


_encode: Final = msgspec.json.Encoder().encode
_decode_header: Final = msgspec.json.Decoder(Header).decode
_decode_line: Final = msgspec.json.Decoder(Instance | End).decode
_UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class BackupWriter:
    """Writes a backup; made by `create`."""

    def __init__(self, file: IO[bytes], header: Header) -> None:
        self._file = file
        self._hash = hashlib.sha256()
        self.instances = 0
        self._line(_encode(header))

    def add(self, key: Key, record: bytes) -> None:
        """The next instance."""
        if b"\n" in record:
            record = msgspec.json.format(record, indent=-1)
        self._line(_encode(Instance(key.actor, key.actor_id, msgspec.Raw(record))))
        self.instances += 1

    def finish(self) -> None:
        """Nothing more comes."""
        self._file.write(_encode(End(self.instances, self._hash.hexdigest())) + b"\n")

    def _line(self, encoded: bytes) -> None:
        line = encoded + b"\n"
        self._hash.update(line)
        self._file.write(line)


@contextmanager
def create(path: Path, header: Header) -> Iterator[BackupWriter]:
    """A new backup; the file is there, and on the disk, when the block has ended without an error.

    Raises:
        UsageError: there is such a file already, or it cannot be written.
    """
    if path.exists():
        raise UsageError(f"{path}: exists already; name another file, or remove it")
    partial = path.with_name(path.name + ".partial")
    try:
        with open(partial, "wb", opener=lambda name, flags: os.open(name, flags, 0o600)) as raw:
            with _packing(raw, "wb") if path.suffix == ".gz" else nullcontext(raw) as file:
                writer = BackupWriter(file, header)
                yield writer
                writer.finish()
            raw.flush()
            os.fsync(raw.fileno())
        partial.replace(path)
    except OSError as error:
        raise UsageError(f"{path}: cannot be written: {error.strerror or error}") from error
    finally:
        partial.unlink(missing_ok=True)


def read(path: Path) -> Iterator[Header | Instance]:
    """The header, then every instance; the end was checked when the iteration is over.

    Raises:
        UsageError: the file cannot be read, is no backup or one of a newer Zocket, or was cut or changed.
    """
    try:
        with open(path, "rb") as raw:
            packed = raw.read(2) == _GZIP
            raw.seek(0)
            with _packing(raw, "rb") if packed else nullcontext(raw) as file:
                yield from _read(path, file)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise _damaged(path, str(error)) from error
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror or error}") from error


def _packing(raw: IO[bytes], mode: Literal["rb", "wb"]) -> AbstractContextManager[IO[bytes]]:
    return cast("AbstractContextManager[IO[bytes]]", gzip.GzipFile(fileobj=raw, mode=mode))


def _read(path: Path, file: IO[bytes]) -> Iterator[Header | Instance]:
    first = file.readline(MAX_HEADER_BYTES)
    yield _header(path, first)
    seen: set[Key] = set()
    checksum = hashlib.sha256(first)
    for number, line in enumerate(file, 2):
        try:
            item = _decode_line(line)
        except _UNREADABLE as error:
            raise _damaged(path, f"line {number}: {error}") from error
        if isinstance(item, End):
            if item.sha256 != checksum.hexdigest() or item.instances != len(seen):
                raise _damaged(path, "its content is not what was written")
            if file.read(1):
                raise _damaged(path, f"something follows its end in line {number}")
            return
        checksum.update(line)
        _check(path, number, item, seen)
        seen.add(item.key)
        yield item
    raise _damaged(path, f"it was cut after {len(seen)} instances")


def _header(path: Path, line: bytes) -> Header:
    try:
        header = _decode_header(line)
    except _UNREADABLE as error:
        raise UsageError(f"{path}: is no backup that `zocket actors backup` has written") from error
    if header.format > FORMAT:
        raise UsageError(
            f"{path}: has format {header.format}, this Zocket reads up to {FORMAT}; "
            f"it was written by Zocket {header.written_by}: install that or a later one"
        )
    return header


def _check(path: Path, number: int, item: Instance, seen: set[Key]) -> None:
    try:
        check_actor_type(item.actor)
        check_actor_id(item.actor_id)
        decode_record(item.record)
    except InvalidId as error:
        raise _damaged(path, f"line {number}: {error.message}") from error
    except _UNREADABLE as error:
        raise _damaged(path, f"line {number}: the record of {item.key}: {error}") from error
    if item.key in seen:
        raise _damaged(path, f"line {number}: {item.key} is there twice")


def _damaged(path: Path, how: str) -> UsageError:
    return UsageError(f"{path}: is damaged, nothing of it can be restored: {how}")
