"""Where durable state is kept, as the host sees it: one record an instance, written by compare-and-set.

Rules: a record is everything of one commit (state, watermarks, answers), so one write is atomic by itself; a stale
writer is refused; a store never waits inside `save`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable

    from zocket.errors import ZocketError


class Position(NamedTuple):
    """Where a message stands in its source, for telling a repeated delivery.

    `source` names one life of a stream (its name and creation time): one that was lost and made again counts anew.
    """

    source: str
    sequence: int


class Record(msgspec.Struct, rename="camel"):
    """One commit of one instance.

    Attributes:
        version: of the actor class that wrote the state.
        state: JSON by serialization aliases.
        watermarks: by source, the last message that the state includes.
        answers: of the messages of this commit, by `source/sequence`: sent again if one of them is delivered again.
        epoch, seq: the version that clients see.
        writer: which life of which runtime wrote it.
        commit: counts the writer's commits of this instance.
    """

    version: int
    state: msgspec.Raw
    watermarks: dict[str, int]
    answers: dict[str, msgspec.Raw]
    epoch: str
    seq: int
    writer: str
    commit: int


decode_record: Final = msgspec.json.Decoder(Record).decode
encode_record: Final = msgspec.json.Encoder().encode


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
