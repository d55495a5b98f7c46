"""Which deployment's replicas serve a project that is divided into partitions: its generation.

Rules: the owner record of the project names the deployment; the first replica of another one writes its own, by
compare-and-set, with a new epoch, and from then on no replica of the earlier one takes a partition or keeps one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from zocket.errors import Conflict, Superseded, Unavailable
from zocket.ids import new_epoch
from zocket.protocol import subjects
from zocket.runtime.ownership import MAX_ATTEMPTS, OwnerRecord, read_owner
from zocket.runtime.runtime import remove_consumers

if TYPE_CHECKING:
    from zocket.broker.port import Broker
    from zocket.clock import Clock
    from zocket.ids import Scope


class Generation:
    """The generation that a replica serves under.

    Attributes:
        epoch: its name; empty before `join`.
    """

    def __init__(
        self,
        broker: Broker,
        scope: Scope,
        *,
        process: str,
        deployment: str,
        actor_types: list[str],
        partitions: int,
        clock: Clock,
    ) -> None:
        self.epoch = ""
        self._broker = broker
        self._scope = scope
        self._bucket = subjects.owner_bucket(scope)
        self._key = subjects.owner_key(scope)
        self._process = process
        self._deployment = deployment
        self._actor_types = actor_types
        self._partitions = partitions
        self._clock = clock

    async def join(self) -> None:
        """Takes part in the generation of the deployment, and begins it if there is none.

        Raises:
            Unavailable: the broker is away or refuses, or deployments replace each other all the time.
        """
        for _ in range(MAX_ATTEMPTS):
            entry = await self._broker.get(self._bucket, self._key)
            owner = None if entry is None else read_owner(entry.value)
            if owner is not None and self._is_ours(owner):
                self.epoch = owner.epoch
                return
            self.epoch = new_epoch()
            try:
                await self._write(None if entry is None else entry.revision)
            except Conflict:
                continue
            await self._clear(owner)
            return
        raise Unavailable("the owner record changes all the time: more deployments than one start over and over")

    async def check(self) -> None:
        """Returns if the project is still this generation's; a record that is gone is written again.

        Raises:
            Superseded: another deployment has the project.
            Unavailable: the broker is away or refuses.
        """
        for _ in range(MAX_ATTEMPTS):
            entry = await self._broker.get(self._bucket, self._key)
            if entry is None:
                try:
                    await self._write(None)
                except Conflict:
                    continue
                return
            owner = read_owner(entry.value)
            if owner is None or owner.epoch != self.epoch:
                who = "unknown" if owner is None else owner.deployment or owner.process
                raise Superseded(f"another deployment ({who}) owns the project now")
            return
        raise Unavailable("the owner record comes and goes")

    def _is_ours(self, owner: OwnerRecord) -> bool:
        return (owner.deployment, owner.partitions) == (self._deployment, self._partitions)

    async def _write(self, expected: int | None) -> None:
        record = OwnerRecord(
            self.epoch,
            self._process,
            int(self._clock.wall() * 1000),
            self._actor_types,
            deployment=self._deployment,
            partitions=self._partitions,
        )
        await self._broker.put(self._bucket, self._key, msgspec.json.encode(record), expected)

    async def _clear(self, before: OwnerRecord | None) -> None:
        """Consumers of a project that was divided otherwise, or not at all, would overlap with the new ones."""
        partitions = 1 if before is None else before.partitions
        if partitions != self._partitions:
            names = {*(before.actor_types if before is not None else ()), *self._actor_types}
            await remove_consumers(self._broker, self._scope, names, partitions)
