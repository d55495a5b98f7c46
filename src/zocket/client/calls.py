"""Calls from their start to their only outcome: a result, an error, a time limit, or a lost connection.

Rules: a call waits for the connection in the order in which it was made, is sent once and never again; one time limit
covers waiting and answering; whoever stops waiting (also by cancellation) frees the call.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from zocket.errors import CallTimeout, Disconnected, ZocketError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from zocket.clock import Clock
    from zocket.protocol.client_session import CallId, ClientSession, Instance

    Outcome = bytes | None | ZocketError


class _Call:
    __slots__ = ("call_id", "instance", "method", "outcome", "value")

    def __init__(self, instance: Instance, method: str, value: bytes | None) -> None:
        self.instance = instance
        self.method = method
        self.value = value
        self.call_id: CallId | None = None
        self.outcome: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()

    def resolve(self, outcome: Outcome) -> None:
        # An error is an ordinary value here: a future that holds an exception which nobody fetches would be logged.
        if not self.outcome.done():
            self.outcome.set_result(outcome)

    def __str__(self) -> str:
        return f"{self.instance}.{self.method}"


class Calls:
    """The open calls of a client.

    Args:
        session: gives them their ids and frames.
        clock: their time limit goes by it.
        timeout_s: the time limit of each.
        flush: sends what the session has to send.
    """

    def __init__(self, session: ClientSession, *, clock: Clock, timeout_s: float, flush: Callable[[], None]) -> None:
        self._session = session
        self._clock = clock
        self._timeout_s = timeout_s
        self._flush = flush
        self._waiting: dict[_Call, None] = {}
        self._sent: dict[CallId, _Call] = {}
        self._ended: Callable[[_Call], ZocketError] | None = None

    def __len__(self) -> int:
        return len(self._waiting) + len(self._sent)

    async def make(self, instance: Instance, method: str, value: bytes | None) -> bytes | None:
        """The JSON of the result, None for a method that returns nothing.

        Raises:
            ActorError: the server answered with an error.
            CallTimeout: no answer within the time limit.
            Disconnected: the connection dropped before the answer, or the client was closed.
        """
        call = _Call(instance, method, value)
        if self._ended is not None:
            raise self._ended(call)
        timer = self._clock.call_later(self._timeout_s, lambda: self._expire(call))
        try:
            if self._session.connected:
                self._send(call)
                self._flush()
            else:
                self._waiting[call] = None
            outcome = await call.outcome
        finally:
            timer.cancel()
            self._forget(call)
        if isinstance(outcome, ZocketError):
            raise outcome
        return outcome

    def connected(self) -> None:
        """A connection is open: the calls that waited for it become frames, in order."""
        waiting, self._waiting = self._waiting, {}
        for call in waiting:
            self._send(call)

    def answered(self, call_id: CallId, outcome: Outcome) -> None:
        """The server answered."""
        call = self._sent.pop(call_id, None)
        if call is not None:
            call.resolve(outcome)

    def lost(self, call_ids: Iterable[CallId], error: Disconnected) -> None:
        """The connection dropped under these calls."""
        for call_id in call_ids:
            call = self._sent.pop(call_id, None)
            if call is not None:
                message = f"{call}: {error.message} before the answer came; the call may or may not have run"
                call.resolve(Disconnected(message, data=error.data))

    def end(self, error: ZocketError | None) -> None:
        """There will be no further connection: what waits for one, and every later call, gets the reason."""

        def reason(call: _Call) -> ZocketError:
            if error is None:
                return Disconnected(f"{call}: the client was closed")
            return type(error)(f"{call}: {error.message}", code=error.code, data=error.data)

        self._ended = reason
        for call in self._waiting:
            call.resolve(reason(call))
        self._waiting.clear()

    def _send(self, call: _Call) -> None:
        call.call_id = self._session.call(call.instance, call.method, call.value)
        self._sent[call.call_id] = call

    def _expire(self, call: _Call) -> None:
        stage = "no connection" if call.call_id is None else "no answer"
        call.resolve(CallTimeout(f"{call}: {stage} within {self._timeout_s:g} s"))

    def _forget(self, call: _Call) -> None:
        self._waiting.pop(call, None)
        if call.call_id is not None:
            self._sent.pop(call.call_id, None)
            self._session.forget(call.call_id)
