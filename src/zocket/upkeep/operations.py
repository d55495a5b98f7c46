"""What is done to stored state beside its hosts: reading, deleting, backing up and restoring.

Rules: what is changed is what was read (compare-and-set); of a large store only keys are held, and `AT_ONCE` records;
a backup is checked to its end before the first record is written. A restored record begins a new epoch: under the old
one a client could hold versions that the instance had after the backup, and would go on from there without a snapshot.
Its writer is a new one, too, so that no host takes it for a commit of its own.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Final, TypeVar

import msgspec

from zocket.errors import Conflict, PlatformError, StoredStateError, TooLarge, UsageError, ZocketError
from zocket.host.store import Record, decode_record, encode_record
from zocket.ids import new_epoch
from zocket.upkeep import backup_file
from zocket.upkeep.backup_file import Header, Instance

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator
    from pathlib import Path

    from zocket.host.store import Key, StateAdministration, Stored
    from zocket.upkeep.backup_file import BackupWriter

AT_ONCE: Final = 16
"""Records on their way at the same time; with the largest states that are 128 MiB."""
NAMED: Final = 5
"""Instances that a message names, of many."""
RESTORED_BYTES: Final = 64
"""How much larger a record may become by its new epoch and writer."""
MAX_ATTEMPTS: Final = 20
"""Compare-and-sets that may fail in a row while an instance is replaced: each means that its host wrote meanwhile."""

T = TypeVar("T")


def decode(key: Key, stored: Stored) -> Record:
    """The record of an instance.

    Raises:
        StoredStateError: it cannot be read.
    """
    try:
        return decode_record(stored.record)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise StoredStateError(f"{key}: the stored record cannot be read: {error}") from error


async def find(store: StateAdministration, key: Key) -> Stored:
    """What is stored of an instance.

    Raises:
        UsageError: nothing is.
        Unavailable: the store is away.
    """
    stored = await store.load(*key)
    if stored is None:
        raise UsageError(f"{key}: is not stored here; `zocket actors list {key.actor}` shows what is")
    return stored


async def records(store: StateAdministration, keys: Iterable[Key]) -> AsyncIterator[tuple[Key, Stored]]:
    """What is stored of these instances, in their order, without those of which nothing is.

    Raises:
        Unavailable: the store is away.
    """
    for group in _groups(keys):
        found = await asyncio.gather(*(store.load(*key) for key in group))
        for key, stored in zip(group, found, strict=True):
            if stored is not None:
                yield key, stored


async def back_up(store: StateAdministration, writer: BackupWriter) -> None:
    """Adds every instance to a backup, each as one commit left it.

    Raises:
        StoredStateError: a record cannot be read.
        UsageError: nothing is stored.
        Unavailable: the store is away.
    """
    async for key, stored in records(store, await store.keys()):
        decode(key, stored)
        writer.add(key, stored.record)
    if not writer.instances:
        raise UsageError("nothing is stored here, so there is no backup")


@dataclass(frozen=True, slots=True)
class Contents:
    """A whole backup.

    Attributes:
        sizes: bytes of the records by instance.
    """

    path: Path
    header: Header
    sizes: dict[Key, int]


def check(path: Path) -> Contents:
    """Reads a backup to its end.

    Raises:
        UsageError: it cannot be read, or is no whole backup.
    """
    header, sizes = Header(0), {}
    for item in backup_file.read(path):
        if isinstance(item, Header):
            header = item
        else:
            sizes[item.key] = len(bytes(item.record))
    return Contents(path, header, sizes)


@dataclass(frozen=True, slots=True)
class Plan:
    """A backup that can be restored into a store.

    Attributes:
        revisions: of the instances in the backup, as they are in the store: 0 for one that is not there.
        replaced: how many are there.
    """

    path: Path
    revisions: dict[Key, int]
    replaced: int


async def plan(store: StateAdministration, contents: Contents, *, replace: bool) -> Plan:
    """What a backup meets in the store; writes nothing.

    Raises:
        UsageError: instances of the backup are in the store, and `replace` is not given.
        TooLarge: a record is larger than the store takes.
        Unavailable: the store is away.
    """
    for key, size in contents.sizes.items():
        if size + RESTORED_BYTES > store.max_record_bytes:
            raise TooLarge(
                f"{key}: its record has {size} bytes, the store takes {store.max_record_bytes - RESTORED_BYTES:.0f} "
                "(max_payload of the NATS server)"
            )
    revisions = dict.fromkeys(contents.sizes, 0)
    known = revisions.keys() & set(await store.keys())
    there = {key: stored.revision async for key, stored in records(store, sorted(known))}
    if there and not replace:
        more = f" and {len(there) - NAMED} more" if len(there) > NAMED else ""
        names = ", ".join(map(str, islice(there, NAMED)))
        raise UsageError(f"stored already: {names}{more}; --replace overwrites what is stored")
    return Plan(contents.path, revisions | there, len(there))


async def restore(store: StateAdministration, chosen: Plan) -> None:
    """Writes what was planned, instance by instance; what the store has besides stays.

    Raises:
        PlatformError: it broke off, and is done again with `replace`; the code is `unavailable` (the store is away),
            `conflict` (an instance that was not there is there now) or `too_large`.
        UsageError: the file is not what it was.
    """
    writer = new_epoch()
    items = (item for item in backup_file.read(chosen.path) if isinstance(item, Instance))
    done = 0
    for group in _groups(items):
        outcomes = await asyncio.gather(
            *(_put(store, item, chosen.revisions.get(item.key, 0), writer) for item in group), return_exceptions=True
        )
        failures = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
        done += len(group) - len(failures)
        for failure in failures:
            if not isinstance(failure, ZocketError):
                raise failure
            how = f"{done} of {len(chosen.revisions)} instances are restored: begin again with --replace"
            raise PlatformError(f"{failure.message}; {how}", code=failure.code) from failure


async def _put(store: StateAdministration, item: Instance, expected: int, writer: str) -> None:
    record = decode_record(item.record)
    record.epoch, record.writer, record.commit = new_epoch(), writer, 0
    record.outbox = []  # what was under way when the backup was made has arrived since
    encoded = encode_record(record)
    for _ in range(MAX_ATTEMPTS):
        try:
            return await store.write(item.key, encoded, expected)
        except Conflict as error:
            if not expected:
                raise Conflict(f"{item.key}: was stored by somebody else meanwhile") from error
            stored = await store.load(*item.key)
            expected = 0 if stored is None else stored.revision
    raise Conflict(f"{item.key}: is written again and again meanwhile")


def _groups(items: Iterable[T]) -> Iterator[list[T]]:
    iterator = iter(items)
    while group := list(islice(iterator, AT_ONCE)):
        yield group
