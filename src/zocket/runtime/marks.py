"""Which messages and runs of reminders were begun after a runtime had died: one record a project, compare-and-set.

Rules: nothing is written in normal service. A message or run is marked before it is begun, with the epoch of the
runtime that begins it; that counts as a death until its runtime takes the mark back, which everyone does that stops or
stands down alive, also after a successor has written. Marks of messages are of one life of the stream of requests.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec

from zocket.errors import Conflict, Unavailable
from zocket.host.trials import RUNS_KEPT
from zocket.ids import WHOLE
from zocket.protocol import subjects

if TYPE_CHECKING:
    from collections.abc import Callable, Set

    from zocket.broker.port import Broker
    from zocket.ids import Partition, Scope

MAX_CONFLICTS: Final = 20
"""Compare-and-sets that may fail in a row; only a predecessor and a successor of this runtime write the same key."""
STOOD_DOWN_KEPT: Final = 8
"""Runtimes that stood down alive and are remembered: more than one only while several are superseded at once."""


M = TypeVar("M")

Mark = int | str
"""What is marked: a request by its position in the stream, a run of a reminder by its `message_id`."""


class MarkRecord(msgspec.Struct, rename="camel", omit_defaults=True):
    """The value of the key.

    Attributes:
        source: the life of the stream that the sequences are of.
        begun: by the request's position in the stream, the epochs of the runtimes that began it and did not finish it.
        runs: the same of runs of reminders, by their `message_id`, oldest first.
        stood_down: epochs of runtimes that were superseded alive, the latest last.
        finished: positions of requests that were finished, in messages that were given back for others in them.
    """

    source: str = ""
    begun: dict[int, list[str]] = {}
    runs: dict[str, list[str]] = {}
    stood_down: list[str] = []
    finished: list[int] = []


_decode: Final = msgspec.json.Decoder(MarkRecord).decode


class Marks:
    """The marks of a project, as this runtime reads and writes them."""

    def __init__(self, broker: Broker, scope: Scope, epoch: str, partition: Partition = WHOLE) -> None:
        self._broker = broker
        self._bucket = subjects.owner_bucket(scope)
        self._key = subjects.marks_key(scope, partition)
        self._epoch = epoch
        self._source = ""
        self._record = MarkRecord()
        self._revision: int | None = None
        self._finished: set[Mark] = set()
        self._writing = asyncio.Lock()

    def use(self, source: str) -> None:
        """From now on messages are of this life of the stream; marks of another one are void."""
        self._source = source
        if self._record.source != source:
            self._record.source, self._record.begun, self._record.finished = source, {}, []

    async def read(self) -> None:
        """Learns what others have written.

        Raises:
            Unavailable: the broker is away or refuses.
        """
        entry = await self._broker.get(self._bucket, self._key)
        self._revision = None if entry is None else entry.revision
        self._record = MarkRecord() if entry is None else _read(entry.value)
        if self._source:
            self.use(self._source)

    @property
    def sequences(self) -> Set[int]:
        """Messages that were begun and not finished, or not yet known to be."""
        return self._record.begun.keys()

    @property
    def has_runs(self) -> bool:
        """Whether runs of reminders were begun and not finished, or not yet known to be."""
        return bool(self._record.runs)

    def deaths(self, mark: Mark) -> int:
        """How many other runtimes began this message or run and did not finish it."""
        return sum(epoch != self._epoch for epoch in _epochs(self._record, mark).get(mark, ()))

    @property
    def given_back_finished(self) -> Set[int]:
        """Positions of requests that need not run again, though their messages come again."""
        return frozenset(self._record.finished)

    def has_stood_down(self, epoch: str) -> bool:
        """Whether this runtime said that it was superseded alive."""
        return epoch in self._record.stood_down

    async def begin(self, *marks: Mark) -> None:
        """Marks messages or runs; they may run when this has returned. What was finished before loses its mark.

        Raises:
            Unavailable: the broker is away or refuses; whether the marks are written is unknown.
        """

        def add(record: MarkRecord) -> None:
            for mark in marks:
                epochs = _epochs(record, mark).setdefault(mark, [])
                if self._epoch not in epochs:
                    epochs.append(self._epoch)
            for outdated in list(record.runs)[:-RUNS_KEPT]:
                del record.runs[outdated]

        await self._update(add)

    def finish(self, mark: Mark) -> None:
        """The message or run is done with: its mark, if it has one, goes with the next write."""
        if mark in _epochs(self._record, mark):
            self._finished.add(mark)

    async def sweep(self) -> None:
        """Removes the marks of what is finished, if there are any.

        Raises:
            Unavailable: the broker is away or refuses.
        """
        if self._finished:
            await self._update(lambda _: None)

    async def clear(self) -> None:
        """Removes the marks of all messages, of those that are gone, too.

        Raises:
            Unavailable: the broker is away or refuses.
        """
        if self._record.begun:
            await self._update(lambda record: record.begun.clear())

    async def take_back(self, finished: list[int]) -> None:
        """What this runtime began and did not finish did not kill it; nothing is written if that is nothing.

        Args:
            finished: positions of requests that are done, in messages that are given back for others in them.

        Raises:
            Unavailable: the broker is away or refuses.
        """

        def change(record: MarkRecord) -> None:
            self._remove_own(record)
            record.finished = finished

        record = self._record
        own = any(self._epoch in epochs for marks in (record.begun, record.runs) for epochs in marks.values())
        if finished or record.finished or own:
            await self._update(change)

    async def stand_down(self) -> None:
        """This runtime is superseded and lives: its successor need suspect nothing of what it had.

        Raises:
            Unavailable: the broker is away or refuses.
        """

        def change(record: MarkRecord) -> None:
            self._remove_own(record)
            record.stood_down = [*record.stood_down, self._epoch][-STOOD_DOWN_KEPT:]

        await self._update(change)

    def _remove_own(self, record: MarkRecord) -> None:
        record.begun = self._without_own(record.begun)
        record.runs = self._without_own(record.runs)

    def _without_own(self, marks: dict[M, list[str]]) -> dict[M, list[str]]:
        kept = {mark: [epoch for epoch in epochs if epoch != self._epoch] for mark, epochs in marks.items()}
        return {mark: epochs for mark, epochs in kept.items() if epochs}

    async def _update(self, change: Callable[[MarkRecord], None]) -> None:
        """Writes the record with `change` made to it, to whatever others have written meanwhile."""
        async with self._writing:
            await self._write(change)

    async def _write(self, change: Callable[[MarkRecord], None]) -> None:
        for _ in range(MAX_CONFLICTS):
            finished = set(self._finished)
            record = MarkRecord(
                self._record.source,
                {key: list(epochs) for key, epochs in self._record.begun.items() if key not in finished},
                {key: list(epochs) for key, epochs in self._record.runs.items() if key not in finished},
                list(self._record.stood_down),
                list(self._record.finished),
            )
            change(record)
            value = msgspec.json.encode(record)
            try:
                self._revision = await self._broker.put(self._bucket, self._key, value, self._revision)
            except Conflict:
                await self.read()
                continue
            self._record = record
            self._finished -= finished
            return
        raise Unavailable("the marks of begun messages change all the time")


def _epochs(record: MarkRecord, mark: Mark) -> dict[Any, list[str]]:
    return record.begun if isinstance(mark, int) else record.runs


def _read(value: bytes) -> MarkRecord:
    try:
        return _decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return MarkRecord()
