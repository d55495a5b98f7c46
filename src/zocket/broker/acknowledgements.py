"""What waits for the answer of a stream, all on one reply inbox and told apart by a counter.

Rules: every `done` is called exactly once; an answer costs no Future and no timer, one sweep serves all because all
wait equally long.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec

from zocket.broker import wire
from zocket.broker.jetstream import NO_RESPONDERS, ApiError, ServerError, error_from
from zocket.errors import Unavailable

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from zocket.errors import ZocketError

T = TypeVar("T")

ACK_TIMEOUT_S: Final = 5.0
"""A stream that has not acknowledged by then is taken as away; a healthy one answers within milliseconds."""
SWEEP_S: Final = 0.25
"""How exactly `ACK_TIMEOUT_S` is kept."""

_log: Final = logging.getLogger("zocket.broker")


class _Answer(msgspec.Struct):
    error: ApiError | None = None
    seq: int = 0


_decode: Final = msgspec.json.Decoder(_Answer).decode


class PublishWindow:
    """The publishes and puts under way, oldest first."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._counter = 0
        self._waiting: dict[int, tuple[Callable[[Any], None], float, str, Callable[[bytes, bytes | None], Any]]] = {}
        self._sweep: asyncio.TimerHandle | None = None
        self._barriers: list[tuple[int, asyncio.Future[None]]] = []

    def __len__(self) -> int:
        return len(self._waiting)

    def add(
        self,
        done: Callable[[T | ZocketError], None],
        subject: str,
        read: Callable[[bytes, bytes | None], T | ZocketError],
    ) -> int:
        """Remembers a publish whose answer `read` makes sense of; the number goes into its reply subject."""
        self._counter += 1
        self._waiting[self._counter] = (done, self._loop.time() + ACK_TIMEOUT_S, subject, read)
        if self._sweep is None:
            self._sweep = self._loop.call_later(SWEEP_S, self._expire)
        return self._counter

    def answered(self, number: int, payload: bytes, header: bytes | None) -> None:
        """Takes the answer to one publish; a late or repeated one is ignored."""
        waiting = self._waiting.pop(number, None)
        if waiting is not None:
            self._call(waiting[0], waiting[3](payload, header))
            if self._barriers:
                self._pass_barriers()

    def fail(self, reason: str) -> None:
        """Ends every publish under way with `Unavailable`; whether the stream has one of them is not known."""
        waiting, self._waiting = self._waiting, {}
        for done, *_ in waiting.values():
            self._call(done, Unavailable(reason))
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None
        self._pass_barriers()

    def refuse(self, subject: str) -> None:
        """Ends the publishes to a subject that the server does not permit."""
        for number in [number for number, item in self._waiting.items() if item[2] == subject]:
            self._call(self._waiting.pop(number)[0], not_permitted("publish", subject))
        self._pass_barriers()

    async def settled(self) -> None:
        """Waits until everything that is under way now has been answered or has failed; not for what comes later."""
        if self._waiting:
            passed: asyncio.Future[None] = self._loop.create_future()
            self._barriers.append((self._counter, passed))
            await passed

    def _pass_barriers(self) -> None:
        oldest = next(iter(self._waiting), self._counter + 1)
        while self._barriers and self._barriers[0][0] < oldest:
            _, passed = self._barriers.pop(0)
            if not passed.done():
                passed.set_result(None)

    def _expire(self) -> None:
        now = self._loop.time()
        expired = []
        for number, (_, deadline, _, _) in self._waiting.items():
            if deadline > now:
                break
            expired.append(number)
        for number in expired:
            done = self._waiting.pop(number)[0]
            self._call(done, Unavailable(f"the stream did not acknowledge within {ACK_TIMEOUT_S:g} s"))
        self._sweep = self._loop.call_later(SWEEP_S, self._expire) if self._waiting else None
        self._pass_barriers()

    def _call(self, done: Callable[[Any], None], outcome: object) -> None:
        try:
            done(outcome)
        except Exception:  # noqa: BLE001 — border: a callback that fails must not stop the others
            _log.exception("The callback of a publish failed")


def not_permitted(what: str, subject: str) -> Unavailable:
    """What the NATS user of this process may not do."""
    return Unavailable(f"the NATS user of this process may not {what} to {subject}")


def read_stored(payload: bytes, header: bytes | None) -> ZocketError | None:
    """None if the stream holds the message, else why not."""
    if header is not None and wire.status(header) == NO_RESPONDERS:
        return Unavailable("no stream captures this subject")
    if b'"error"' not in payload:
        return None
    outcome = read_sequence(payload, header)
    return outcome if isinstance(outcome, Exception) else None


def read_sequence(payload: bytes, header: bytes | None) -> int | ZocketError:
    """The message's number in the stream, or why it is not there; `ServerError` 503 if no stream captures it."""
    if header is not None and wire.status(header) == NO_RESPONDERS:
        return ServerError("no stream captures this subject", NO_RESPONDERS)
    try:
        answer = _decode(payload)
    except msgspec.DecodeError:
        return Unavailable("the stream's acknowledgement cannot be read")
    return answer.seq if answer.error is None else error_from(answer.error)
