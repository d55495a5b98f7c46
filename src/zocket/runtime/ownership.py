"""Who owns a project: one record, written by compare-and-set (delivery design, ownership and takeover).

Rules: whoever boots last owns; an earlier owner finds another epoch in the record and never takes anything back. A
record that is gone (the broker lost its memory) is written again by the owner that is still there.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final

import msgspec

from zocket.errors import Conflict, Superseded, Unavailable
from zocket.protocol import subjects

if TYPE_CHECKING:
    from zocket.broker.port import Broker
    from zocket.ids import Scope

MAX_ATTEMPTS: Final = 20
"""Compare-and-sets that may fail in a row; each failure means that another runtime claimed in that very moment."""


class OwnerRecord(msgspec.Struct, rename="camel", frozen=True):
    """Who owns the project, and since when (milliseconds since the epoch)."""

    epoch: str
    process: str
    since: int
    actor_types: list[str] = []


_decode: Final = msgspec.json.Decoder(OwnerRecord).decode


class Ownership:
    """This runtime's claim on a project."""

    def __init__(self, broker: Broker, scope: Scope, record: OwnerRecord) -> None:
        self._broker = broker
        self._key = subjects.owner_key(scope)
        self._record = record

    async def claim(self) -> OwnerRecord | None:
        """This runtime owns the project now; gives the record of the one before.

        Raises:
            Unavailable: the broker is away, or others claim all the time.
        """
        for _ in range(MAX_ATTEMPTS):
            entry = await self._broker.get(subjects.OWNER_BUCKET, self._key)
            try:
                await self._write(None if entry is None else entry.revision)
            except Conflict:
                continue
            return None if entry is None else _read(entry.value)
        raise Unavailable("the owner record changes all the time: more runtimes than one start over and over")

    async def confirm(self) -> None:
        """Returns if this runtime still owns the project.

        Raises:
            Superseded: another runtime does.
            Unavailable: the broker is away.
        """
        for _ in range(MAX_ATTEMPTS):
            entry = await self._broker.get(subjects.OWNER_BUCKET, self._key)
            if entry is not None:
                owner = _read(entry.value)
                if owner is not None and owner.epoch == self._record.epoch:
                    return
                raise Superseded(f"another runtime ({owner.process if owner else 'unknown'}) owns the project now")
            try:
                await self._write(None)
            except Conflict:
                continue
            return
        raise Unavailable("the owner record comes and goes")

    async def is_ours(self) -> bool:
        """Whether the record names this runtime.

        Raises:
            Unavailable: the broker is away.
        """
        return await self._revision() is not None

    async def release(self) -> None:
        """Removes the record, if it still names this runtime.

        Raises:
            Unavailable: the broker is away.
        """
        revision = await self._revision()
        if revision is not None:
            with contextlib.suppress(Conflict):  # a successor claimed in this moment: the record is theirs
                await self._broker.delete(subjects.OWNER_BUCKET, self._key, revision)

    async def _revision(self) -> int | None:
        entry = await self._broker.get(subjects.OWNER_BUCKET, self._key)
        owner = None if entry is None else _read(entry.value)
        return None if entry is None or owner is None or owner.epoch != self._record.epoch else entry.revision

    async def _write(self, expected: int | None) -> None:
        await self._broker.put(subjects.OWNER_BUCKET, self._key, msgspec.json.encode(self._record), expected)


def _read(value: bytes) -> OwnerRecord | None:
    try:
        return _decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
