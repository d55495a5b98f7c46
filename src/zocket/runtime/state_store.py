"""The store of durable actors on the broker, and that of alarms: a key-value bucket a project, one key an instance.

Rules: a revision is the broker's; ids enter a key with everything but letters, digits, `-` and `_` as `=XX`, so no two
share a key; an outcome that is not known is `Unavailable`, and the caller looks. What is written beside the project's
runtime is told to it.
"""

from __future__ import annotations

import contextlib
import re
from functools import partial
from typing import TYPE_CHECKING, Final

import msgspec

from zocket.broker.port import Message
from zocket.core.reminders import earliest
from zocket.errors import Conflict, InvalidId, StoredStateError, Unavailable, UsageError, ZocketError
from zocket.host.alarms import decode_alarm, encode_alarm, remove_alarm, set_alarm
from zocket.host.store import Key, Stored, decode_record, encode_record
from zocket.ids import check_actor_id, check_actor_type, new_epoch
from zocket.protocol import envelopes, subjects

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from zocket.broker.port import Broker
    from zocket.core import StoredReminder
    from zocket.crashpoints import CrashPoints
    from zocket.ids import Scope

HEADER_BYTES: Final = 256
"""What a message of the bucket has around a record, at most."""

MAX_CONFLICTS: Final = 20
"""Compare-and-sets that may fail in a row while a reminder is set: each means that its host wrote meanwhile."""

_SPECIAL: Final = re.compile(rb"[^A-Za-z0-9_-]")
_ESCAPE: Final = re.compile(rb"=([0-9A-F]{2})")


def key_of(actor: str, actor_id: str) -> str:
    """The key of an instance."""
    encoded = _SPECIAL.sub(lambda match: b"=%02X" % match[0][0], actor_id.encode())
    return f"{actor}.{encoded.decode()}"


def instance_of(key: str) -> Key | None:
    """The instance of a key; None if no instance has it, as of one that somebody put there by hand."""
    actor, _, encoded = key.partition(".")
    try:
        actor_id = _ESCAPE.sub(lambda match: bytes.fromhex(match[1].decode()), encoded.encode()).decode()
        named = Key(check_actor_type(actor), check_actor_id(actor_id))
    except (UnicodeError, InvalidId):
        return None
    return named if key_of(*named) == key else None


class BrokerAlarms:
    """An `AlarmStore` on a broker, by the same keys."""

    shared = True

    def __init__(self, broker: Broker, scope: Scope) -> None:
        self._broker = broker
        self._bucket = subjects.reminder_bucket(scope)

    async def entries(self) -> AsyncIterator[list[tuple[Key, Stored]]]:
        """See `AlarmStore.entries`."""
        async for page in self._broker.entries(self._bucket):
            named = ((instance_of(name), entry) for name, entry in page)
            yield [(key, Stored(entry.value, entry.revision)) for key, entry in named if key is not None]

    async def load(self, actor: str, actor_id: str) -> Stored | None:
        """See `AlarmStore.load`."""
        entry = await self._broker.get(self._bucket, key_of(actor, actor_id))
        return None if entry is None else Stored(entry.value, entry.revision)

    async def put(self, key: Key, alarm: bytes, expected: int) -> int:
        """See `AlarmStore.put`."""
        return await self._broker.put(self._bucket, key_of(*key), alarm, expected or None)

    async def delete(self, key: Key, expected: int) -> None:
        """See `AlarmStore.delete`."""
        await self._broker.delete(self._bucket, key_of(*key), expected)


class BrokerStateStore:
    """A `StateStore` on a broker, and its `StateAdministration`.

    Attributes:
        alarms: of the reminders, in a bucket of their own.
    """

    shared = True

    def __init__(self, broker: Broker, scope: Scope, crashpoints: CrashPoints | None = None) -> None:
        self._broker = broker
        self._scope = scope
        self._crashpoints = crashpoints
        self._bucket = subjects.state_bucket(scope)
        self.alarms = BrokerAlarms(broker, scope)

    async def load(self, actor: str, actor_id: str) -> Stored | None:
        """See `StateStore.load`."""
        entry = await self._broker.get(self._bucket, key_of(actor, actor_id))
        return None if entry is None else Stored(entry.value, entry.revision)

    async def samples(self, actor: str, most: int) -> list[Stored]:
        """Stored records of an actor type, at most so many, spread over all there are.

        Raises:
            Unavailable: the broker is away or refuses.
        """
        keys = sorted(await self._broker.keys(self._bucket, actor))
        chosen = keys[:: max(1, len(keys) // most)][:most]
        entries = [await self._broker.get(self._bucket, key) for key in chosen]
        return [Stored(entry.value, entry.revision) for entry in entries if entry is not None]

    def save(
        self, actor: str, actor_id: str, record: bytes, expected: int, done: Callable[[int | ZocketError], None]
    ) -> None:
        """See `StateStore.save`."""
        if self._crashpoints is not None:
            self._crashpoints.reach("before_commit")
            done = partial(self._stored, self._crashpoints, done)
        self._broker.put_pipelined(self._bucket, key_of(actor, actor_id), record, expected or None, done)

    @staticmethod
    def _stored(
        crashpoints: CrashPoints, done: Callable[[int | ZocketError], None], outcome: int | ZocketError
    ) -> None:
        if isinstance(outcome, int):
            crashpoints.reach("after_commit")
        done(outcome)

    # -- administration ------------------------------------------------------------------------------------------

    @property
    def max_record_bytes(self) -> float:
        """See `StateAdministration.max_record_bytes`."""
        return self._broker.max_payload_bytes - HEADER_BYTES

    async def keys(self, actor: str = "") -> list[Key]:
        """See `StateAdministration.keys`."""
        found = map(instance_of, await self._broker.keys(self._bucket, actor))
        return sorted(key for key in found if key is not None)

    async def write(self, key: Key, record: bytes, expected: int) -> None:
        """See `StateAdministration.write`."""
        await set_alarm(self.alarms, key, record)
        await self._broker.put(self._bucket, key_of(*key), record, expected or None)
        self._tell_runtime(key)

    async def delete(self, key: Key, expected: int) -> None:
        """See `StateAdministration.delete`."""
        await self._broker.delete(self._bucket, key_of(*key), expected)
        await remove_alarm(self.alarms, key)
        self._tell_runtime(key)

    async def delete_reminders(self, key: Key) -> None:
        """See `StateAdministration.delete_reminders`."""
        await remove_alarm(self.alarms, key)
        self._tell_runtime(key)

    async def add_reminder(self, key: Key, name: str, reminder: StoredReminder, *, durable: bool) -> None:
        """Sets a reminder of an instance beside its host, which is told.

        Raises:
            UsageError: it is durable, and not stored.
            StoredStateError: its record cannot be read.
            Overloaded: the store is full.
            Unavailable: the store is away, or others write all the time; it may be set or not.
        """
        for _ in range(MAX_CONFLICTS):
            with contextlib.suppress(Conflict):
                if durable:
                    await self._add_to_record(key, name, reminder)
                else:
                    await self._add_to_alarm(key, name, reminder)
                return
        raise Unavailable(f"{key}: is written again and again meanwhile")

    async def _add_to_record(self, key: Key, name: str, reminder: StoredReminder) -> None:
        stored = await self.load(*key)
        if stored is None:
            raise UsageError(f"{key}: is not stored any more")
        try:
            record = decode_record(stored.record)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise StoredStateError(f"{key}: the stored record cannot be read") from error
        record.reminders = {**record.reminders, name: reminder}
        record.writer, record.commit = new_epoch(), 0  # so that no host takes it for a commit of its own
        await self.write(key, encode_record(record), stored.revision)

    async def _add_to_alarm(self, key: Key, name: str, reminder: StoredReminder) -> None:
        stored = await self.alarms.load(*key)
        reminders = {} if stored is None else decode_alarm(stored.record).reminders
        table = {**reminders, name: reminder}
        await self.alarms.put(key, encode_alarm(earliest(table), table), 0 if stored is None else stored.revision)
        self._tell_runtime(key)

    def _tell_runtime(self, key: Key) -> None:
        payload = envelopes.encode(envelopes.Rewritten(*key))
        self._broker.send([Message(subjects.rewritten(self._scope), payload)])
