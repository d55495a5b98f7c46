"""Compare-and-set puts that are pipelined: many under way, without a task, a Future or a timer each.

Rules: `done` is called once, later, whatever happens. A bucket that does not exist yet, and a key that was deleted,
take the way of `JetStream.put` instead: the first answer of the server tells, and nothing is written then. A bucket is
looked for before its first new key, as there.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Protocol

from zocket.broker.jetstream import NO_RESPONDERS, ServerError, key_subject
from zocket.errors import Conflict, ZocketError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from zocket.broker.jetstream import JetStream

    Done = Callable[[int | ZocketError], None]


class PublishExpecting(Protocol):
    """Publishes if the last message of the subject has this sequence (0: there is none)."""

    def __call__(self, subject: str, payload: bytes, expected: int, done: Done) -> None:
        """`done` gets the sequence of the new message or the server's refusal."""


class PipelinedPuts:
    """The puts of one connection to NATS.

    Args:
        publish: the pipelined way.
        jetstream: the other one.
    """

    def __init__(self, publish: PublishExpecting, jetstream: JetStream) -> None:
        self._publish = publish
        self._jetstream = jetstream
        self._tasks: set[asyncio.Task[None]] = set()

    def put(self, bucket: str, key: str, value: bytes, expected: int | None, done: Done) -> None:
        """See `Broker.put_pipelined`."""
        answered = partial(self._answered, bucket, key, value, expected, done)
        subject = key_subject(bucket, key)
        if expected is None and bucket not in self._jetstream.buckets_seen:
            self._spawn(self._put_first(bucket, partial(self._publish, subject, value, 0, answered), done))
        else:
            self._publish(subject, value, expected or 0, answered)

    def _answered(
        self, bucket: str, key: str, value: bytes, expected: int | None, done: Done, outcome: int | ZocketError
    ) -> None:
        no_bucket = isinstance(outcome, ServerError) and outcome.number == NO_RESPONDERS
        if no_bucket or (isinstance(outcome, Conflict) and expected is None):
            self._spawn(self._put_slowly(bucket, key, value, expected, done))
        else:
            done(outcome)

    def _spawn(self, put: Coroutine[None, None, None]) -> None:
        task = asyncio.ensure_future(put)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _put_first(self, bucket: str, publish: Callable[[], None], done: Done) -> None:
        try:
            await self._jetstream.look_for(bucket)
        except ZocketError as error:
            done(error)
        else:
            publish()

    async def _put_slowly(self, bucket: str, key: str, value: bytes, expected: int | None, done: Done) -> None:
        try:
            outcome: int | ZocketError = await self._jetstream.put(bucket, key, value, expected)
        except ZocketError as error:
            outcome = error
        done(outcome)
