"""Where durable state is kept, as the host sees it: one record an instance, written by compare-and-set.

Rules: a record is everything of one commit (state, watermarks, answers), so one write is atomic by itself; a stale
writer is refused; a store never waits inside `save`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

import msgspec

from zocket.core import StoredReminder
from zocket.host.answers import Answered
from zocket.host.unsent import Told

if TYPE_CHECKING:
    from collections.abc import Callable

    from zocket.errors import ZocketError
    from zocket.host.alarms import AlarmStore


class Position(NamedTuple):
    """Where a message stands in its source, for telling a repeated delivery.

    `source` names one life of a stream (its name and creation time): one that was lost and made again counts anew.
    `sequence` grows with every request, also within one message of the stream.
    """

    source: str
    sequence: int


class Record(msgspec.Struct, rename="camel", omit_defaults=True):
    """One commit of one instance.

    Attributes:
        version: of the actor class that wrote the state.
        state: JSON by serialization aliases.
        watermarks: by source, the last message that the state includes.
        answers: of the messages of this commit, by `source/sequence`: sent again if one of them is delivered again.
        epoch, seq: the version that clients see.
        writer: which life of which runtime wrote it.
        commit: counts the writer's commits of this instance.
        keyed: what calls with an idempotency key were answered, by the call's name, oldest first; not there if empty.
        sessions: the sessions that the state knows (their `on_connect` is in it, their `on_disconnect` is not), by id,
            with their user ids; empty for a class that does not keep them.
        away: those of them that were dropped (their `on_drop` is in the state), by id, and when their grace is over,
            in seconds since the epoch.
        reminders: by name; not there if there is none.
        outbox: one-way calls that have not arrived yet, in order.
    """

    version: int
    state: msgspec.Raw
    watermarks: dict[str, int]
    answers: dict[str, msgspec.Raw]
    epoch: str
    seq: int
    writer: str
    commit: int
    keyed: dict[str, Answered] = {}
    sessions: dict[str, str | None] = {}
    away: dict[str, float] = {}
    reminders: dict[str, StoredReminder] = {}
    outbox: list[Told] = []


decode_record: Final = msgspec.json.Decoder(Record).decode
encode_record: Final = msgspec.json.Encoder().encode
OUTBOX: Final = b'"outbox":[['
"""In every record with one-way calls, and in states that look like it: no text within a JSON string does."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A record as it lies in the store."""

    record: bytes
    revision: int


class StateStore(Protocol):
    """Keeps records."""

    @property
    def shared(self) -> bool:
        """Whether another process may write here, so that an instance must be fenced off when it is loaded."""

    async def load(self, actor: str, actor_id: str) -> Stored | None:
        """The newest record, None if there is none.

        Raises:
            Unavailable: the store is away; try again.
        """

    def save(
        self, actor: str, actor_id: str, record: bytes, expected: int, done: Callable[[int | ZocketError], None]
    ) -> None:
        """Writes a record if the newest one has the revision `expected` (0: there is none).

        `done` is called once, later, on the loop: with the new revision, or with `Conflict` (another revision is
        there), `TooLarge`, `Overloaded` (the store is full) or `Unavailable` (it may be written or not).
        """


class Key(NamedTuple):
    """Which instance a record is of; as text for a person, in which no id steers a terminal."""

    actor: str
    actor_id: str

    @property
    def shown_id(self) -> str:
        """The id, as a JSON string in ASCII if it has characters that cannot be printed."""
        return self.actor_id if self.actor_id.isprintable() else json.dumps(self.actor_id)

    def __str__(self) -> str:
        return f"{self.actor}/{self.shown_id}"


class StateAdministration(Protocol):
    """All records of one project, for whoever looks after them beside the host (`zocket actors`).

    A change is told to a host that may have the instance in memory.
    """

    @property
    def alarms(self) -> AlarmStore:
        """The alarms of the reminders; a record that is written or deleted here takes its own with it."""

    @property
    def max_record_bytes(self) -> float:
        """The largest record that the store takes."""

    async def keys(self, actor: str = "") -> list[Key]:
        """Of an actor type, or all of them, sorted; one that was deleted may be among them.

        Raises:
            Unavailable: the store is away; try again.
        """

    async def load(self, actor: str, actor_id: str) -> Stored | None:
        """See `StateStore.load`."""

    async def write(self, key: Key, record: bytes, expected: int) -> None:
        """Writes a record if the newest one has the revision `expected` (0: there is none).

        Raises:
            Conflict: another revision is there.
            TooLarge: the store does not take so large a record.
            Unavailable: the store is away; the record may be written or not.
        """

    async def delete(self, key: Key, expected: int) -> None:
        """Deletes a record if it has the revision `expected`.

        Raises:
            Conflict: another revision is there.
            Unavailable: the store is away; the record may be deleted or not.
        """

    async def delete_reminders(self, key: Key) -> None:
        """Deletes the reminders of an actor in memory.

        Raises:
            Unavailable: the store is away; they may be deleted or not.
        """
