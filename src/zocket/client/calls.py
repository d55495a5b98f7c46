"""Calls from their start to their only outcome: a result, an error, a time limit, or a lost connection.

Rules: a call waits for the connection in the order in which it was made, and is sent once and never again, unless it
has an idempotency key: then a lost connection and an error that passes (`PASSING`) send it again. One time limit covers
waiting, answering and all of that; whoever stops waiting frees the call, and by cancellation takes it back.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from zocket.client.chunks import Chunks
from zocket.errors import PASSING, CallTimeout, Disconnected, ZocketError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterable

    from zocket.clock import Clock, TimerHandle
    from zocket.protocol.client_session import CallId, ClientSession, Instance

    Outcome = bytes | None | ZocketError


RETRY_MIN_S: Final = 0.25
"""Upper end of the random delay before a refused call is sent again; it doubles with every refusal."""
RETRY_MAX_S: Final = 2.0
"""Upper end of any such delay."""


class _Call:
    __slots__ = (
        "call_id",
        "cancel_on_close",
        "chunks",
        "instance",
        "key",
        "method",
        "outcome",
        "pause",
        "refusal",
        "refusals",
        "timeout_s",
        "timer",
        "value",
    )

    def __init__(
        self,
        instance: Instance,
        method: str,
        value: bytes | None,
        key: str,
        timeout_s: float,
        *,
        cancel_on_close: bool = False,
    ) -> None:
        self.cancel_on_close = cancel_on_close
        self.chunks: Chunks | None = None
        self.timer: TimerHandle | None = None
        self.instance = instance
        self.method = method
        self.value = value
        self.key = key
        self.timeout_s = timeout_s
        self.call_id: CallId | None = None
        self.refusals = 0
        self.refusal = ""
        self.pause: TimerHandle | None = None
        self.outcome: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()

    def resolve(self, outcome: Outcome) -> None:
        # An error is an ordinary value here: a future that holds an exception which nobody fetches would be logged.
        if not self.outcome.done():
            self.outcome.set_result(outcome)
            if self.chunks is not None:
                self.chunks.wake()

    async def wait_chunk(self, chunks: Chunks) -> bool:
        """Whether there is a chunk; False once the call has its outcome."""
        while not chunks:
            if self.outcome.done():
                return False
            await chunks.wait()
        return True

    def __str__(self) -> str:
        return f"{self.instance}.{self.method}"


class Calls:
    """The open calls of a client.

    Args:
        session: gives them their ids and frames.
        clock: their time limit goes by it.
        timeout_s: the time limit of each that has none of its own.
        flush: sends what the session has to send.
        jitter: gives numbers in [0, 1) that spread what is sent again.
    """

    def __init__(
        self,
        session: ClientSession,
        *,
        clock: Clock,
        timeout_s: float,
        flush: Callable[[], None],
        jitter: Callable[[], float],
    ) -> None:
        self._session = session
        self._clock = clock
        self._timeout_s = timeout_s
        self._flush = flush
        self._jitter = jitter
        self._waiting: dict[_Call, None] = {}
        self._sent: dict[CallId, _Call] = {}
        self._paused: dict[_Call, None] = {}
        self._ended: Callable[[_Call], ZocketError] | None = None

    def __len__(self) -> int:
        return len(self._waiting) + len(self._sent) + len(self._paused)

    async def make(
        self,
        instance: Instance,
        method: str,
        value: bytes | None,
        key: str = "",
        timeout_s: float | None = None,
        *,
        cancel_on_close: bool = False,
    ) -> bytes | None:
        """The JSON of the result, None for a method that returns nothing; `key` is the idempotency key.

        Raises:
            ActorError: the server answered with an error.
            CallTimeout: no answer within the time limit.
            Disconnected: the connection dropped before the answer to a call without a key, or the client was closed.
        """
        limit_s = self._timeout_s if timeout_s is None else timeout_s
        call = _Call(instance, method, value, key, limit_s, cancel_on_close=cancel_on_close)
        try:
            self._begin(call)
            outcome = await call.outcome
        except asyncio.CancelledError:
            self._withdraw(call)
            raise
        finally:
            self._forget(call)
        if isinstance(outcome, ZocketError):
            raise outcome
        return outcome

    async def stream(
        self, instance: Instance, method: str, value: bytes | None, timeout_s: float | None = None
    ) -> AsyncGenerator[bytes, None]:
        """The JSON of each chunk of a call; see `Client.stream`. The time limit begins anew with each that arrives."""
        call = _Call(instance, method, value, "", self._timeout_s if timeout_s is None else timeout_s)
        chunks = call.chunks = Chunks(str(call))
        try:
            self._begin(call)
            while await call.wait_chunk(chunks):
                yield chunks.take()
        finally:
            self._withdraw(call)
            self._forget(call)
        outcome = call.outcome.result()
        if isinstance(outcome, ZocketError):
            raise outcome

    def _begin(self, call: _Call) -> None:
        if self._ended is not None:
            raise self._ended(call)
        self._limit(call)
        self._send_or_wait(call)

    def _limit(self, call: _Call) -> None:
        """The call's time limit begins now."""
        if call.timer is not None:
            call.timer.cancel()
        call.timer = self._clock.call_later(call.timeout_s, lambda: self._expire(call))

    def connected(self) -> None:
        """A connection is open: the calls that waited for it become frames, in order."""
        waiting, self._waiting = self._waiting, {}
        for call in waiting:
            self._send(call)

    def answered(self, call_id: CallId, outcome: Outcome, chunks: int | None = None) -> None:
        """The server answered; `chunks` as of `Result`."""
        call = self._sent.pop(call_id, None)
        if call is None:
            return
        if call.key and isinstance(outcome, ZocketError) and outcome.code in PASSING:
            self._send_later(call, outcome.code)
        elif call.chunks is not None and chunks is not None:
            call.resolve(call.chunks.missing(chunks + 1) or outcome)
        else:
            call.resolve(outcome)

    def chunk(self, call_id: CallId, number: int | None, value: bytes) -> None:
        """A part of an answer came; whoever asked for the answer alone ignores it."""
        call = self._sent.get(call_id)
        if call is None or call.chunks is None:
            return
        error = call.chunks.push(number, value)
        if error is None:
            self._limit(call)
        else:
            call.resolve(error)

    def lost(self, call_ids: Iterable[CallId], error: Disconnected) -> None:
        """The connection dropped under these calls; those with a key wait for the next one, in their order."""
        lost = set(call_ids)
        for call_id in [call_id for call_id in self._sent if call_id in lost]:
            call = self._sent.pop(call_id)
            if call.key:
                self._waiting[call] = None
            else:
                message = f"{call}: {error.message} before the answer came; the call may or may not have run"
                call.resolve(Disconnected(message, data=error.data))

    def end(self, error: ZocketError | None) -> None:
        """There will be no further connection: what waits for one, and every later call, gets the reason."""

        def reason(call: _Call) -> ZocketError:
            if error is None:
                return Disconnected(f"{call}: the client was closed")
            return type(error)(f"{call}: {error.message}", code=error.code, data=error.data)

        self._ended = reason
        for call in (*self._waiting, *self._paused):
            call.resolve(reason(call))
        self._waiting.clear()

    def _send_or_wait(self, call: _Call) -> None:
        if self._session.connected:
            self._send(call)
            self._flush()
        else:
            self._waiting[call] = None

    def _send(self, call: _Call) -> None:
        call.call_id = self._session.call(
            call.instance, call.method, call.value, call.key, cancel_on_close=call.cancel_on_close
        )
        self._sent[call.call_id] = call

    def _send_later(self, call: _Call, code: str) -> None:
        upper_end_s = min(RETRY_MAX_S, RETRY_MIN_S * 2 ** min(call.refusals, 8))
        call.refusals += 1
        call.refusal = code
        call.pause = self._clock.call_later(upper_end_s * self._jitter(), lambda: self._resume(call))
        self._paused[call] = None

    def _resume(self, call: _Call) -> None:
        del self._paused[call]
        self._send_or_wait(call)

    def _withdraw(self, call: _Call) -> None:
        """Nobody waits any more: the server need not go on with what it has not answered."""
        if call.call_id is not None:
            self._session.cancel(call.call_id)
            self._flush()

    def _expire(self, call: _Call) -> None:
        stage = "no connection" if call.call_id is None else "no answer"
        refused = f"; it was refused {call.refusals} times, at last with {call.refusal}" if call.refusals else ""
        call.resolve(CallTimeout(f"{call}: {stage} within {call.timeout_s:g} s{refused}"))

    def _forget(self, call: _Call) -> None:
        if call.timer is not None:
            call.timer.cancel()
        if call.pause is not None:
            call.pause.cancel()
            self._paused.pop(call, None)
        self._waiting.pop(call, None)
        if call.call_id is not None:
            self._sent.pop(call.call_id, None)
            self._session.forget(call.call_id)
