"""The dead letters of a project: messages and runs of reminders that ended their process again and again.

Rules: one stream for all projects, made when the first letter is written, a subject for each instance; a letter is
complete by itself, so that its message can be published again, or its run set again; whoever reads sees the letters of
its project only.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from typing import TYPE_CHECKING, Final

import msgspec

from zocket.broker.streams import dead_letter_stream
from zocket.core import StoredReminder
from zocket.errors import UsageError
from zocket.host.store import Key
from zocket.protocol import subjects
from zocket.runtime.state_store import BrokerStateStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from zocket.broker.port import Broker, StoredMessage
    from zocket.errors import ZocketError
    from zocket.ids import Scope


class DeadLetter(msgspec.Struct, rename="camel", kw_only=True):
    """One message, or run of a reminder, that was given up.

    Attributes:
        actor, actor_id, method: what it was for; no method for a subscription.
        cause: why it was given up, for a person.
        attempts: how often it was begun.
        at: when it was given up, in milliseconds since the epoch.
        sequence: its number in the stream of requests; 0 of a run.
        subject: where it was published; "" of a run.
        deployment, process: of the runtime that gave it up.
        envelope: the message as it was, or a `BuriedRun`.
        reminder: whose run it was, by its name in the instance; None of a message.
    """

    actor: str
    actor_id: str
    method: str | None
    cause: str
    attempts: int
    at: int
    sequence: int
    subject: str
    deployment: str
    process: str
    envelope: msgspec.Raw
    reminder: str | None = None


class BuriedRun(msgspec.Struct, rename="camel"):
    """One run of a reminder.

    Attributes:
        reminder: its name in the instance.
        due: when it was due, in seconds since the epoch.
        message_id: what the method saw as such.
        durable: whether the instance has its reminders in its record.
        method: its Python name.
        arguments: JSON of the method's `input`.
    """

    reminder: str
    due: float
    message_id: str
    durable: bool
    method: str
    arguments: msgspec.Raw


_decode: Final = msgspec.json.Decoder(DeadLetter).decode
_decode_run: Final = msgspec.json.Decoder(BuriedRun).decode


class DeadLetters:
    """The letters of one project. A letter's id is its number in the stream."""

    def __init__(self, broker: Broker, scope: Scope) -> None:
        self._broker = broker
        self._scope = scope

    async def add(self, letter: DeadLetter, message_id: str) -> None:
        """Stores a letter; within two minutes only once for the same `message_id`.

        Raises:
            Unavailable: the broker is away or refuses; whether the letter is stored is unknown.
            Overloaded: the stream is full.
            TooLarge: the broker does not take a message of this size.
        """
        await self._broker.ensure_stream(dead_letter_stream())
        subject = subjects.dead_letter(self._scope, letter.actor, letter.actor_id)
        await self._publish(subject, msgspec.json.encode(letter), message_id)

    async def newest(self, count: int, before: int | None = None) -> list[tuple[int, DeadLetter]]:
        """At most `count` letters with their ids, newest first, all older than the letter `before`.

        Raises:
            Unavailable: the broker is away or refuses.
        """
        kept: deque[tuple[int, DeadLetter]] = deque(maxlen=count)
        async for stored in self._stored():
            if before is not None and stored.sequence >= before:
                break
            letter = _read(stored)
            if letter is not None:
                kept.append((stored.sequence, letter))
        return list(reversed(kept))

    async def ids(self) -> list[int]:
        """The ids of all letters, oldest first.

        Raises:
            Unavailable: the broker is away or refuses.
        """
        return [stored.sequence async for stored in self._stored() if _read(stored) is not None]

    async def get(self, letter_id: int) -> DeadLetter:
        """The letter with this id.

        Raises:
            UsageError: the project has no such letter.
            Unavailable: the broker is away or refuses.
        """
        stored = await self._next(letter_id)
        letter = None if stored is None or stored.sequence != letter_id else _read(stored)
        if letter is None:
            raise UsageError(
                f"there is no dead letter {letter_id} of {self._scope.workspace_id}/{self._scope.project_id}"
            )
        return letter

    async def replay(self, letter_id: int) -> DeadLetter:
        """Sends it again and removes the letter; ended between the two it leaves the letter, and it can be sent twice.

        A message is published as a new one that nobody waits for. A run is a reminder of its instance that is due at
        once, and has the same `message_id`; an actor in memory needs no runtime for that, a durable one its record.

        Raises:
            UsageError: the project has no such letter, its message is of another project, or its instance is not
                stored any more.
            StoredStateError: the record of its instance cannot be read.
            Unavailable: the broker is away or refuses.
            Overloaded: the stream of requests, or the bucket of the instance, is full.
        """
        letter = await self.get(letter_id)
        if letter.reminder is not None:
            await self._set_again(letter_id, letter)
        else:
            await self._publish_again(letter_id, letter)
        await self._broker.delete_message(subjects.DEAD_LETTER_STREAM, letter_id)
        return letter

    async def _set_again(self, letter_id: int, letter: DeadLetter) -> None:
        try:
            run = _decode_run(letter.envelope)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise UsageError(f"dead letter {letter_id}: its run cannot be read") from error
        reminder = StoredReminder(run.method, run.due, arguments=run.arguments, repeats=run.message_id)
        store = BrokerStateStore(self._broker, self._scope)
        key = Key(letter.actor, letter.actor_id)
        await store.add_reminder(key, f"replay:{letter_id}", reminder, durable=run.durable)

    async def _publish_again(self, letter_id: int, letter: DeadLetter) -> None:
        if not letter.subject.startswith(subjects.inbound_prefix(self._scope)):
            raise UsageError(f"dead letter {letter_id}: its message is of another project")
        await self._publish(letter.subject, bytes(letter.envelope), f"replay:{secrets.token_hex(12)}")

    async def _stored(self) -> AsyncIterator[StoredMessage]:
        sequence = 1
        while (stored := await self._next(sequence)) is not None:
            yield stored
            sequence = stored.sequence + 1

    async def _next(self, sequence: int) -> StoredMessage | None:
        subject = subjects.dead_letter_filter(self._scope)
        return await self._broker.next_message(subjects.DEAD_LETTER_STREAM, subject, sequence)

    async def _publish(self, subject: str, payload: bytes, message_id: str) -> None:
        outcome: asyncio.Future[ZocketError | None] = asyncio.get_running_loop().create_future()

        def done(error: ZocketError | None) -> None:
            if not outcome.done():
                outcome.set_result(error)

        self._broker.publish(subject, payload, message_id, done)
        error = await outcome
        if error is not None:
            raise error


def _read(stored: StoredMessage) -> DeadLetter | None:
    try:
        return _decode(stored.payload)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
