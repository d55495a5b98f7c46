"""Keeps one durable instance: saves what turns committed, and only then lets it out.

Rules: nothing of a turn is visible before its record is stored; what was committed while a save was under way goes
into the next one (group commit), in order; a save that failed is never guessed about: the record is read again. Where
another process may write, an instance is fenced off before its first turn: its record is written anew under the name of
this writer, so that a commit which an earlier owner still has under way is refused, and nothing here is ever stale.
"""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from zocket.core import UNSEEN
from zocket.core.reminders import NO_REMINDERS, changed, copied, earliest
from zocket.errors import Conflict, Overloaded, StoredStateError, TooLarge, Unavailable
from zocket.host.answers import AnswerTable
from zocket.host.history import History
from zocket.host.resident import DISCONNECT, DROP, changes_sessions
from zocket.host.store import Key, Record, decode_record, encode_record
from zocket.host.unsent import Unsent

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from zocket.clock import Clock
    from zocket.core import Effects, Instance
    from zocket.errors import ZocketError
    from zocket.host.answers import Answered
    from zocket.host.resident import Piece
    from zocket.host.store import Position, StateStore
    from zocket.host.unsent import Told
    from zocket.host.wheel import Wheel

MAX_UNSAVED: Final = 256
"""Turns that run ahead of the store; then the instance waits for it."""
MAX_ANSWERS_BYTES: Final = 256 * 1024
"""Answers kept in one record; above it only the newest: a caller whose answer is gone gets the `repeated` error."""
MAX_SESSIONS: Final = 1_000
"""Sessions kept in one record, about 50 kB; those beyond are strangers to the next process."""
RETRY_FIRST_S: Final = 0.05
RETRY_MOST_S: Final = 2.0
"""Between attempts while the store is away."""


class Outcome(NamedTuple):
    """A committed turn that waits for its record; `keyed` if its answer must be in there, whatever the turn changed."""

    piece: Piece
    effects: Effects
    answer: bytes | None
    keyed: bool = False


class Keeper:
    """The store's side of one instance.

    Args:
        instance: whose document is kept.
        store: where.
        writer: names this life of this process.
        clock: pauses between attempts.
        wheel: wakes the instance for its reminders, and for one-way calls that no message brings back.
        release: these turns are stored; let them out, in order.
        troubled: a save went wrong (`trouble` says how); the host recovers from a worker.

    Attributes:
        answered: calls with an idempotency key, from the first one on: those of the record, and of the turns since.
        visible: JSON of the newest stored state, all of it: what a new subscriber may see is the public part.
        sessions, away: as of `Record`, with what is committed and not stored yet.
        trouble: why the last save is not stored, until the host recovers.
        recovering: the record is being read again.
        sealed: the last turn is stored, and has told something that has to arrive: no further one runs.
        unsent: one-way calls of the record, from the first one on.
        unshown: watchers are owed a snapshot as soon as `current` holds.
    """

    __slots__ = (
        "_answers",
        "_attempt",
        "_attempt_due",
        "_clock",
        "_commit",
        "_instance",
        "_key",
        "_pause_s",
        "_planned",
        "_release",
        "_revision",
        "_saving",
        "_saving_answers",
        "_saving_outbox",
        "_saving_state",
        "_saving_watermarks",
        "_store",
        "_troubled",
        "_unsaved",
        "_watermarks",
        "_wheel",
        "_writer",
        "answered",
        "away",
        "careful",
        "history",
        "recovering",
        "sealed",
        "sessions",
        "trouble",
        "unsent",
        "unshown",
        "visible",
    )

    def __init__(
        self,
        instance: Instance,
        store: StateStore,
        writer: str,
        clock: Clock,
        wheel: Wheel,
        release: Callable[[list[Outcome]], None],
        troubled: Callable[[], None],
    ) -> None:
        self._instance = instance
        self._store = store
        self._writer = writer
        self._clock = clock
        self._wheel = wheel
        self._key = Key(instance.definition.name, instance.actor_id)
        self._release = release
        self._troubled = troubled
        self._revision = 0
        self._commit = 0
        self._watermarks: dict[str, int] = {}
        self._answers: dict[str, msgspec.Raw] = {}
        self._unsaved: list[Outcome] = []
        self._saving: list[Outcome] = []
        self._saving_state = b""
        self._saving_watermarks = self._watermarks
        self._saving_answers = self._answers
        self._saving_outbox: list[Told] = []
        self._attempt = b""
        self._attempt_due = math.inf
        self._planned = False
        self._pause_s = RETRY_FIRST_S
        self.answered: AnswerTable | None = None
        self.history = History()
        self.visible = b""
        self.sessions: dict[str, str | None] = {}
        self.away: dict[str, float] = {}
        self.trouble: ZocketError | None = None
        self.recovering = False
        self.unsent: Unsent | None = None
        self.sealed = False
        self.unshown = False
        self.careful = 0

    # -- reading -------------------------------------------------------------------------------------------------

    async def activate(self) -> None:
        """Loads the instance and fences it off; errors as of `load`."""
        record = await self.load()
        await self.fence(record)

    async def fence(self, record: Record | None) -> None:
        """Makes this process the record's writer, if it is not; the instance is then what the record says.

        Raises:
            StoredStateError: this deployment cannot use what is stored, or the store does not take it any more.
            Overloaded: the store is full.
        """
        pause_s = RETRY_FIRST_S
        while self._store.shared and (record is None or record.writer != self._writer):
            result = await self._write_once(self._fencing())
            if isinstance(result, int):
                self._revision = result
                return
            if isinstance(result, TooLarge):
                raise StoredStateError(f"{self._instance.definition.name}: {result.message}")
            if isinstance(result, Overloaded):
                raise result
            if isinstance(result, Unavailable):
                await self._clock.sleep(pause_s)
                pause_s = min(2 * pause_s, RETRY_MOST_S)
            record = await self.load()

    def _fencing(self) -> bytes:
        self._commit += 1
        return encode_record(
            Record(
                version=self._instance.definition.version,
                state=msgspec.Raw(self.visible),
                watermarks=self._watermarks,
                answers=self._answers,
                epoch=self.history.epoch,
                seq=self.history.seq,
                writer=self._writer,
                commit=self._commit,
                keyed=self._keyed(),
                sessions=self.sessions,
                away=self.away,
                reminders=dict(self._instance.reminders),
                outbox=self._outbox(()),
            )
        )

    async def _write_once(self, record: bytes) -> int | ZocketError:
        answer: asyncio.Future[int | ZocketError] = asyncio.get_running_loop().create_future()
        instance = self._instance
        self._store.save(
            instance.definition.name,
            instance.actor_id,
            record,
            self._revision,
            answer.set_result,
        )
        return await answer

    async def load(self) -> Record | None:
        """Reads the record and makes the instance what it says; the initial state if there is none.

        Waits as long as the store is away.

        Raises:
            StoredStateError: this deployment cannot use what is stored.
        """
        pause_s = RETRY_FIRST_S
        while True:
            try:
                stored = await self._store.load(self._instance.definition.name, self._instance.actor_id)
                break
            except Unavailable:
                await self._clock.sleep(pause_s)
                pause_s = min(2 * pause_s, RETRY_MOST_S)
        if stored is None:
            self._begin_anew()
            return None
        try:
            record = decode_record(stored.record)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise StoredStateError(f"{self._instance.definition.name}: the stored record cannot be read") from error
        state = self._instance.definition.restore_state(record.state, record.version)
        self._instance.document.replace(state)
        self._revision = stored.revision
        if record.writer == self._writer:
            self._commit = max(self._commit, record.commit)  # of an earlier activation in this process
        self._watermarks = record.watermarks
        self._answers = record.answers
        self.answered = AnswerTable(record.keyed) if record.keyed else None
        self.sessions, self.away = record.sessions, record.away
        self._instance.reminders = copied(record.reminders) if record.reminders else NO_REMINDERS
        self._wheel.loaded(self._key)
        self._load_outbox(record.outbox)
        if self.history.epoch != record.epoch or self.history.seq != record.seq:
            self.history = History(record.epoch, record.seq)
        self.visible = self._instance.document.snapshot()
        return record

    def _begin_anew(self) -> None:
        definition = self._instance.definition
        self._instance.document.replace(definition.cls.initial_state())
        self._revision = 0
        self._watermarks, self._answers, self.sessions, self.away = {}, {}, {}, {}
        self._instance.reminders = NO_REMINDERS
        self._wheel.loaded(self._key)
        self.answered = None
        self._load_outbox([])
        self.history = History()
        self.visible = self._instance.document.snapshot()

    def _load_outbox(self, outbox: list[Told]) -> None:
        if outbox and self.unsent is None:
            self.unsent = Unsent()
        if self.unsent is not None:
            self.unsent.load(outbox)

    def includes(self, position: Position | None) -> bool:
        """Whether the message is in the state already: it was delivered again and must not run."""
        return position is not None and position.sequence <= self._watermarks.get(position.source, 0)

    def answer_of(self, position: Position) -> bytes | None:
        """The answer of a message that is in the state, if it is of the newest commit; an older one was sent."""
        raw = self._answers.get(_key(position))
        return None if raw is None else bytes(raw)

    # -- writing -------------------------------------------------------------------------------------------------

    @property
    def shared(self) -> bool:
        """Whether another process may write the record."""
        return self._store.shared

    @property
    def full(self) -> bool:
        """Whether no further turn may run before the store has caught up, or at all."""
        if self.sealed:
            return True
        waiting = len(self._unsaved) + len(self._saving)
        return waiting >= (1 if self.careful else MAX_UNSAVED)

    @property
    def idle(self) -> bool:
        """Whether everything is stored, and every one-way call has arrived."""
        return self._settled and (self.unsent is None or not self.unsent.stored)

    @property
    def _settled(self) -> bool:
        return not self._unsaved and not self._saving and self.trouble is None

    @property
    def current(self) -> bool:
        """Whether nothing is known or under way that may make `visible` stale."""
        return self._settled and not self.recovering

    def add(self, outcome: Outcome) -> None:
        """Takes a committed turn; it is released once it is stored, after those before it."""
        self._unsaved.append(outcome)
        if outcome.effects[3]:
            self._instance.reminders = changed(self._instance.reminders, outcome.effects[3])
        if outcome.effects[3] and self.unsent is None:
            self.unsent = Unsent()
        if changes_sessions(outcome.piece[1]):
            self._note_session(outcome.piece)
        if not self._saving and not self._planned and self.trouble is None:
            self._planned = True
            asyncio.get_running_loop().call_soon(self._save)

    def _note_session(self, piece: Piece) -> None:
        session = piece[0].session
        assert session is not None
        self.away.pop(session.id, None)
        if piece[1] is DISCONNECT:
            self.sessions.pop(session.id, None)
        elif session.id in self.sessions or len(self.sessions) < MAX_SESSIONS:
            self.sessions[session.id] = session.user_id
            if piece[1] is DROP:
                self.away[session.id] = self._clock.wall() + (self._instance.definition.grace_s or 0.0)

    def _save(self) -> None:
        """Stores everything that is committed now as one record."""
        self._planned = False
        if self.trouble is not None or self._saving or not self._unsaved:
            return
        group, self._unsaved = self._unsaved, []
        if not any(outcome.keyed or has_effect(outcome) for outcome in group):
            self._release(group)  # nothing changed: what they read is stored
            return
        self._saving = group
        self._saving_state = self._instance.document.snapshot()
        self._commit += 1
        record = self._record(group)
        self._saving_watermarks, self._saving_answers = record.watermarks, record.answers
        self._saving_outbox = record.outbox
        self._attempt = encode_record(record)
        self._attempt_due = self._due(record.outbox)
        self._write()

    def _record(self, group: list[Outcome]) -> Record:
        watermarks, answers, size = dict(self._watermarks), {}, 0
        for outcome in reversed(group):
            position = outcome.piece[5]
            if position is None:
                continue
            watermarks[position.source] = max(watermarks.get(position.source, 0), position.sequence)
            if outcome.answer is not None and size + len(outcome.answer) <= MAX_ANSWERS_BYTES:
                size += len(outcome.answer)
                answers[_key(position)] = msgspec.Raw(outcome.answer)
        return Record(
            version=self._instance.definition.version,
            state=msgspec.Raw(self._saving_state),
            watermarks=watermarks,
            answers=answers,
            epoch=self.history.epoch,
            seq=self.history.seq + sum(outcome.effects[1] not in (None, UNSEEN) for outcome in group),
            writer=self._writer,
            commit=self._commit,
            keyed=self._keyed(),
            sessions=self.sessions,
            away=self.away,
            reminders=dict(self._instance.reminders),
            outbox=self._outbox(group),
        )

    def _outbox(self, group: Sequence[Outcome]) -> list[Told]:
        return [] if self.unsent is None else self.unsent.record(group)

    def _due(self, outbox: list[Told]) -> float:
        """When the instance has to be woken if these one-way calls are in its record."""
        due = earliest(self._instance.reminders)
        if self.unsent is None or not self._store.shared:
            return due
        return min(due, self.unsent.wake_at(outbox, self._clock.wall()))

    def _keyed(self) -> dict[str, Answered]:
        return {} if self.answered is None else self.answered.kept

    def _write(self) -> None:
        """Stores the attempt, once the alarm is set that it needs."""
        self._wheel.set_before(self._key, self._attempt_due, self._write_record)

    def _write_record(self, error: ZocketError | None) -> None:
        if error is None:
            self._store.save(*self._key, self._attempt, self._revision, self._written)
        else:
            self._written(error)

    def _written(self, result: int | ZocketError) -> None:
        if isinstance(result, Unavailable):
            # Written or not: with the same expected revision a second write of the same record cannot do harm.
            self._clock.call_later(self._pause_s, self._write)
            self._pause_s = min(2 * self._pause_s, RETRY_MOST_S)
        elif isinstance(result, int):
            self._stored(result)
        else:
            self.trouble = result
            self._troubled()

    def _stored(self, revision: int) -> None:
        self._revision = revision
        self._pause_s = RETRY_FIRST_S
        self._watermarks, self._answers = self._saving_watermarks, self._saving_answers
        if self.unsent is not None:
            self.unsent.keep(self._saving_outbox)
        self.visible = self._saving_state
        self._attempt = b""
        self._wheel.settle(self._key, self._attempt_due)
        group, self._saving = self._saving, []
        self.careful = max(0, self.careful - 1)
        self._release(group)
        if self._unsaved:
            self._save()

    # -- trouble -------------------------------------------------------------------------------------------------

    def doubt(self) -> None:
        """Somebody else has written the record: it is read again before the next turn.

        A save that is under way needs no doubt: the store refuses it if it comes later than the other one.
        """
        if not self._saving and self.trouble is None:
            self.trouble = Conflict("somebody else has written the record")
            self._troubled()

    def take(self) -> tuple[list[Outcome], list[Outcome]]:
        """The turns of the save that went wrong, and those after it; nothing is under way afterwards."""
        attempted, later = self._saving, self._unsaved
        self._saving, self._unsaved = [], []
        self.trouble = None
        return attempted, later

    async def reload(self) -> tuple[Record | None, bool]:
        """Reads the record after a save that went wrong: and whether that save is stored after all.

        Raises:
            StoredStateError: this deployment cannot use what is stored.
        """
        commit, history = self._commit, self.history
        record = await self.load()
        stored = record is not None and record.writer == self._writer and record.commit == commit
        if stored:
            self.history = history  # it counts the patches of the attempted turns when they are let out
        return record, stored

    @property
    def sources(self) -> frozenset[str]:
        """Lives of streams that messages of the stored state came from."""
        return frozenset(self._watermarks)

    def written_by_us(self, record: Record | None) -> bool:
        """Whether nobody else has written since."""
        return record is None or record.writer == self._writer


def _key(position: Position) -> str:
    return f"{position.source}/{position.sequence}"


def has_effect(outcome: Outcome) -> bool:
    """Whether a turn changed the state or the sessions that it knows, emitted anything, or ordered what is stored."""
    _, operations, events, orders = outcome.effects
    if operations is not None or events or changes_sessions(outcome.piece[1]):
        return True
    return any(order.stored for order in orders)
