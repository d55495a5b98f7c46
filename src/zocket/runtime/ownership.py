"""Who owns a project, or one partition of it: one record, written by compare-and-set (delivery design, ownership).

Rules: whoever boots last owns; an earlier owner finds another epoch in the record and never takes anything back. An
owner that was told to stop says so in its record, and whoever comes next waits until it has finished what it has. A
record that is gone (the broker lost its memory) is written again by the owner that is still there. In a divided project
the record of the project names the deployment whose replicas may own its partitions: their generation.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final

import msgspec

from zocket.errors import Conflict, Superseded, Unavailable
from zocket.ids import WHOLE
from zocket.protocol import subjects

if TYPE_CHECKING:
    from zocket.broker.port import Broker, Entry
    from zocket.clock import Clock
    from zocket.ids import Partition, Scope

MAX_ATTEMPTS: Final = 20
"""Compare-and-sets that may fail in a row; each failure means that another runtime claimed in that very moment."""
LEAVING_POLL_S: Final = 0.02
"""How often a successor looks whether the owner has left."""


class OwnerRecord(msgspec.Struct, rename="camel", frozen=True, omit_defaults=True):
    """Who owns the project, and since when (milliseconds since the epoch).

    Attributes:
        leaving_s: the owner takes nothing more and is gone after so long at most; 0 while it serves.
        deployment: of a divided project: whose replicas own its partitions.
        partitions: that the project is divided into.
    """

    epoch: str
    process: str
    since: int
    actor_types: list[str] = []
    leaving_s: float = 0.0
    deployment: str = ""
    partitions: int = 1


_decode: Final = msgspec.json.Decoder(OwnerRecord).decode


class Ownership:
    """This runtime's claim on a project, or on one partition under a `generation`.

    Attributes:
        rank: revision of the record as this runtime wrote it last; that of a later owner is higher.
    """

    def __init__(
        self,
        broker: Broker,
        scope: Scope,
        record: OwnerRecord,
        clock: Clock,
        partition: Partition = WHOLE,
        generation: str | None = None,
    ) -> None:
        self._broker = broker
        self._clock = clock
        self._bucket = subjects.owner_bucket(scope)
        self._key = subjects.owner_key(scope, partition)
        self._record = record
        self._project_key = subjects.owner_key(scope)
        self._generation = generation
        self.rank = 0

    async def claim(self) -> OwnerRecord | None:
        """This runtime owns the project now; gives the record of the one before. Waits for one that is leaving.

        Raises:
            Superseded: another deployment has the project.
            Unavailable: the broker is away, or others claim all the time.
        """
        await self._check_generation()
        for _ in range(MAX_ATTEMPTS):
            entry = await self._wait_left(await self._broker.get(self._bucket, self._key))
            try:
                await self._write(None if entry is None else entry.revision)
            except Conflict:
                continue
            return None if entry is None else read_owner(entry.value)
        raise Unavailable("the owner record changes all the time: more runtimes than one start over and over")

    async def _wait_left(self, entry: Entry | None) -> Entry | None:
        """The record once its owner has left, or has taken longer than it said, as one that was killed meanwhile."""
        owner = None if entry is None else read_owner(entry.value)
        deadline = self._clock.now() + (owner.leaving_s if owner is not None else 0.0)
        while entry is not None and self._clock.now() < deadline:
            await self._clock.sleep(LEAVING_POLL_S)
            previous, entry = entry, await self._broker.get(self._bucket, self._key)
            if entry is not None and entry.revision != previous.revision:
                break
        return entry

    async def leave(self, within_s: float) -> None:
        """Says that this runtime takes nothing more and releases the project within so many seconds.

        Raises:
            Superseded: another runtime owns the project already.
            Unavailable: the broker is away.
        """
        revision = await self._revision()
        self._record = msgspec.structs.replace(self._record, leaving_s=within_s)
        try:
            if revision is not None:
                await self._write(revision)
                return
        except Conflict:
            pass
        raise Superseded("another runtime owns the project now")

    async def confirm(self) -> bool:
        """Returns if this runtime still owns the project: False if the record was gone, and had to be written again.

        Another runtime may have come and gone then: what it stored is not known here.

        Raises:
            Superseded: another runtime does.
            Unavailable: the broker is away.
        """
        await self._check_generation()
        for _ in range(MAX_ATTEMPTS):
            entry = await self._broker.get(self._bucket, self._key)
            if entry is not None:
                owner = read_owner(entry.value)
                if owner is not None and owner.epoch == self._record.epoch:
                    return True
                raise Superseded(f"another runtime ({owner.process if owner else 'unknown'}) owns the project now")
            try:
                await self._write(None)
            except Conflict:
                continue
            return False
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
                await self._broker.delete(self._bucket, self._key, revision)

    async def _check_generation(self) -> None:
        if self._generation is None:
            return
        entry = await self._broker.get(self._bucket, self._project_key)
        owner = None if entry is None else read_owner(entry.value)
        if owner is not None and owner.epoch != self._generation:
            raise Superseded(f"another deployment ({owner.deployment or owner.process}) owns the project now")

    async def _revision(self) -> int | None:
        entry = await self._broker.get(self._bucket, self._key)
        owner = None if entry is None else read_owner(entry.value)
        return None if entry is None or owner is None or owner.epoch != self._record.epoch else entry.revision

    async def _write(self, expected: int | None) -> None:
        self.rank = await self._broker.put(self._bucket, self._key, msgspec.json.encode(self._record), expected)


def read_owner(value: bytes) -> OwnerRecord | None:
    """The record in a value of the bucket; None for what is none."""
    try:
        return _decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
