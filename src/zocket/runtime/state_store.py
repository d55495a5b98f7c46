"""The store of durable actors on the broker: a key-value bucket a project, one key an instance.

Rules: a revision is the broker's; ids enter a key with everything but letters, digits, `-` and `_` as `=XX`, so no two
share a key; an outcome that is not known is `Unavailable`, and the caller looks.
"""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Final

from zocket.errors import ZocketError
from zocket.host.store import Stored

if TYPE_CHECKING:
    from collections.abc import Callable

    from zocket.broker.port import Broker
    from zocket.crashpoints import CrashPoints
    from zocket.ids import Scope

_PLAIN: Final = re.compile(rb"[^A-Za-z0-9_-]")


def bucket_of(scope: Scope) -> str:
    """The bucket of a project's durable state."""
    return f"zocket-state-{scope.workspace_id}-{scope.project_id}"


def key_of(actor: str, actor_id: str) -> str:
    """The key of an instance."""
    encoded = _PLAIN.sub(lambda match: b"=%02X" % match[0][0], actor_id.encode())
    return f"{actor}.{encoded.decode()}"


class BrokerStateStore:
    """A `StateStore` on a broker."""

    shared = True

    def __init__(self, broker: Broker, scope: Scope, crashpoints: CrashPoints | None = None) -> None:
        self._broker = broker
        self._crashpoints = crashpoints
        self._bucket = bucket_of(scope)
        self._tasks: set[asyncio.Task[None]] = set()

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
        task = asyncio.ensure_future(self._save(key_of(actor, actor_id), record, expected, done))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _save(self, key: str, record: bytes, expected: int, done: Callable[[int | ZocketError], None]) -> None:
        if self._crashpoints is not None:
            self._crashpoints.reach("before_commit")
        try:
            result: int | ZocketError = await self._broker.put(self._bucket, key, record, expected or None)
        except ZocketError as error:
            result = error
        if self._crashpoints is not None and isinstance(result, int):
            self._crashpoints.reach("after_commit")
        done(result)
