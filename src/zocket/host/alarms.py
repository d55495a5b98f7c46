"""Alarms: when instances have to be woken, as they are stored, and the port to their store.

Rules: one alarm an instance, written by compare-and-set; whoever writes or deletes a record beside its host takes the
alarm along.
"""

from __future__ import annotations

import math
from itertools import count
from typing import TYPE_CHECKING, Final, Protocol

import msgspec

from zocket.core.reminders import NO_REMINDERS, StoredReminder, Table, copied, earliest
from zocket.errors import Conflict
from zocket.host.store import Key, Stored, decode_record

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class StoredAlarm(msgspec.Struct, rename="camel", omit_defaults=True):
    """An alarm as it is stored.

    Attributes:
        due: when the instance has to be woken, in seconds since the epoch.
        reminders: of an actor in memory; a durable one has them in its record.
    """

    due: float
    reminders: dict[str, StoredReminder] = {}


_decode: Final = msgspec.json.Decoder(StoredAlarm).decode
_encode: Final = msgspec.json.Encoder().encode


def encode_alarm(due: float, reminders: Table = NO_REMINDERS) -> bytes:
    """An alarm as it is stored."""
    return _encode(StoredAlarm(due, dict(reminders)))


def decode_alarm(raw: bytes) -> StoredAlarm:
    """The opposite; one that cannot be read is due at once, so that the instance puts it right."""
    try:
        alarm = _decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return StoredAlarm(0.0)
    alarm.reminders = copied(alarm.reminders)
    return alarm


class AlarmStore(Protocol):
    """Keeps one alarm an instance."""

    @property
    def shared(self) -> bool:
        """Whether another process may write here."""

    def entries(self) -> AsyncIterator[list[tuple[Key, Stored]]]:
        """All alarms, some at a time, each at least once.

        What was written before the first ones are asked for is there; later writes may be.

        Raises:
            Unavailable: the store is away; try again.
        """

    async def load(self, actor: str, actor_id: str) -> Stored | None:
        """The alarm of an instance, None if there is none.

        Raises:
            Unavailable: the store is away; try again.
        """

    async def put(self, key: Key, alarm: bytes, expected: int) -> int:
        """Writes an alarm if the stored one has the revision `expected` (0: there is none); the new revision.

        Raises:
            Conflict: another revision is there.
            Overloaded: the store is full.
            Unavailable: the store is away; the alarm may be written or not.
        """

    async def delete(self, key: Key, expected: int) -> None:
        """Deletes an alarm if it has the revision `expected`.

        Raises:
            Conflict: another revision is there.
            Unavailable: the store is away; the alarm may be deleted or not.
        """


async def set_alarm(store: AlarmStore, key: Key, record: bytes) -> None:
    """Sets the alarm that a record needs which somebody else than its host is about to write.

    Raises:
        Unavailable: the store is away.
    """
    try:
        due = earliest(decode_record(record).reminders)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return  # nobody can use it
    while due != math.inf:
        stored = await store.load(*key)
        if stored is not None and decode_alarm(stored.record).due <= due:
            return
        try:
            await store.put(key, encode_alarm(due), stored.revision if stored is not None else 0)
        except Conflict:
            continue
        return


async def remove_alarm(store: AlarmStore, key: Key) -> bool:
    """Removes the alarm of an instance, with the reminders of one in memory; whether there was one.

    Raises:
        Unavailable: the store is away.
    """
    while (stored := await store.load(*key)) is not None:
        try:
            await store.delete(key, stored.revision)
        except Conflict:
            continue
        return True
    return False


class MemoryAlarms:
    """Alarms of a process that has no store: they end with it."""

    shared = False

    def __init__(self) -> None:
        self._alarms: dict[Key, Stored] = {}
        self._revisions = count(1)

    async def entries(self) -> AsyncIterator[list[tuple[Key, Stored]]]:
        """See `AlarmStore.entries`."""
        yield list(self._alarms.items())

    async def load(self, actor: str, actor_id: str) -> Stored | None:
        """See `AlarmStore.load`."""
        return self._alarms.get(Key(actor, actor_id))

    async def put(self, key: Key, alarm: bytes, expected: int) -> int:
        """See `AlarmStore.put`."""
        self._check(key, expected)
        revision = next(self._revisions)
        self._alarms[key] = Stored(alarm, revision)
        return revision

    async def delete(self, key: Key, expected: int) -> None:
        """See `AlarmStore.delete`."""
        self._check(key, expected)
        del self._alarms[key]

    def _check(self, key: Key, expected: int) -> None:
        found = self._alarms.get(key)
        if (found.revision if found else 0) != expected:
            raise Conflict(f"{key}: the alarm has another revision than {expected}")
