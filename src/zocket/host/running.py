"""Calls that somebody may stop or wait for: cancelled in a mailbox or in their turn, and the chunks of streams.

Rules: a call is cancelled before it has committed or not at all; the turn of a cancelled call is rolled back whatever
its handler makes of the cancellation; a cancelled call of a durable instance keeps its place in the order, and its
answer is stored like an effect, so that it takes none when it is delivered again.
"""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, NamedTuple

from zocket.errors import Cancelled, HandlerTimeout
from zocket.host.durability import repeat
from zocket.host.resident import Withdrawn
from zocket.host.streams import ChunkStream
from zocket.protocol.frames import Rpc

if TYPE_CHECKING:
    from collections.abc import Iterator

    from zocket.clock import Clock
    from zocket.core import Beside, Caller, Effects, MethodDefinition
    from zocket.host.answers import CallKey
    from zocket.host.flushing import Flushing
    from zocket.host.host import Host
    from zocket.host.link import Link
    from zocket.host.resident import Piece, Resident
    from zocket.host.workers import Worker

log = logging.getLogger("zocket.host")

BY_CALLER: Final = "the caller has cancelled the call"

CallName = tuple[str, str]
"""Names a call in this process: the id of its session ("" for none), and its request id."""


class _Bound(NamedTuple):
    """A call in progress that can be found by its name, and its chunks if it yields any."""

    worker: Worker
    stream: ChunkStream | None
    ends_with_session: bool


class Running:
    """The calls of a host that can be stopped.

    Args:
        host: runs them.
        clock: time of streams.
        flushing: of methods with `publish_every`.
    """

    def __init__(self, host: Host, clock: Clock, flushing: Flushing) -> None:
        self._host = host
        self._clock = clock
        self._flushing = flushing
        self._bound: dict[str, dict[str, _Bound]] = {}

    def cancel(self, resident: Resident, name: CallName) -> bool:
        """Cancels a call of the instance; False if it is not here, or has committed."""
        instance = resident.instance
        worker = _turn_of(resident)
        if worker is not None and name == (_session_id(instance.caller), instance.request_id):
            stop(worker, BY_CALLER)
            return True
        bound = self._bound.get(name[0], {}).get(name[1])
        if bound is not None:
            return stop(bound.worker, BY_CALLER)
        for index, piece in enumerate(resident.mailbox):
            if piece[2] == name[1] and _session_id(piece[0]) == name[0] and isinstance(piece[1], Rpc | Withdrawn):
                self._withdraw(resident, index, piece)
                return True
        return False

    def _withdraw(self, resident: Resident, index: int, piece: Piece) -> None:
        link, request, request_id, done, arrived, position = piece
        if isinstance(request, Rpc):
            resident.mailbox[index] = (link, Withdrawn(request), request_id, done, arrived, position)
            if resident.keeper is None:
                self._host.refuse(link, request, request_id, Cancelled(BY_CALLER))

    def leave_out(self, resident: Resident, call: Rpc, piece: Piece) -> bool:
        """The turn of a withdrawn call has come; whether it is finished."""
        keeper = resident.keeper
        if keeper is None:
            return True  # it was answered when it was cancelled
        link, _, request_id, done, arrived, position = piece
        answered = (link, call, request_id, done, arrived, position)
        if position is not None and keeper.includes(position):
            return repeat(keeper, answered, position)
        return self._host.refuse(link, call, request_id, Cancelled(BY_CALLER), resident, answered)

    def cancel_turn(self, resident: Resident, by: str) -> bool:
        """Cancels whichever call is in its turn; False if there is none."""
        worker = _turn_of(resident)
        return worker is not None and stop(worker, f"cancelled by {by}")

    async def call(
        self, resident: Resident, worker: Worker, method: MethodDefinition, piece: Piece, key: CallKey | None
    ) -> Effects:
        """One turn that may end with its caller's session, be a stream, be flushed; errors as of `Instance.call`.

        The result of a stream is the number of its chunks.

        Raises:
            Cancelled: the session has ended before or meanwhile.
        """
        link, request, request_id = piece[:3]
        assert isinstance(request, Rpc)
        instance, stream, regular = resident.instance, None, None
        ends_with_session = method.stream or request.cancel_on_close
        if ends_with_session and self._host.sessions.has_ended(link):
            raise Cancelled("the caller is gone")
        if method.stream and link.credits is not None:
            stream = ChunkStream(link, request.id, worker, self._clock)
            instance.send_chunk = stream.send
        if method.publish_every_s is not None:
            regular = self._flushing.regularly(resident, method.publish_every_s)
        if ends_with_session:
            self._bound.setdefault(_session_id(link), {})[request_id] = _Bound(worker, stream, True)
        try:
            effects = await instance.call(
                method, request.input, link.caller, request_id, "" if key is None else key.name
            )
            return effects if stream is None else (b"%d" % stream.number, *effects[1:])
        finally:
            instance.send_chunk = None
            if regular is not None:
                regular.stop()
            if ends_with_session:
                self._release(_session_id(link), request_id)

    @contextmanager
    def beside(
        self, instance: Beside, worker: Worker, method: MethodDefinition, link: Link, request: Rpc, request_id: str
    ) -> Iterator[ChunkStream | None]:
        """What goes along with a call beside the turns; gives its chunks if it yields any.

        Raises:
            Cancelled: its session has ended before.
        """
        ends_with_session = method.stream or request.cancel_on_close
        if ends_with_session and self._host.sessions.has_ended(link):
            raise Cancelled("the caller is gone")
        stream = None
        if method.stream and link.credits is not None:
            stream = ChunkStream(link, request.id, worker, self._clock)
            instance.send_chunk = stream.send
        session_id = _session_id(link)
        self._bound.setdefault(session_id, {})[request_id] = _Bound(worker, stream, ends_with_session)
        try:
            yield stream
        finally:
            self._release(session_id, request_id)

    def session_ended(self, session_id: str) -> None:
        """Cancels the calls in progress that end with their session."""
        for bound in self._bound.get(session_id, {}).values():
            if bound.ends_with_session:
                stop(bound.worker, "the caller is gone")

    def credit(self, name: CallName, number: int) -> None:
        """The caller's side has taken the chunks of a stream up to this number."""
        bound = self._bound.get(name[0], {}).get(name[1])
        if bound is not None and bound.stream is not None:
            bound.stream.credit(number)

    def _release(self, session_id: str, request_id: str) -> None:
        bound = self._bound[session_id]
        del bound[request_id]
        if not bound:
            del self._bound[session_id]


def stop(worker: Worker, reason: str) -> bool:
    """Cancels the turn in progress; False for one that has failed already, by its time limit say."""
    instance = worker.instance
    if instance is None or instance.abandoned is not None:
        return False
    instance.abandoned = Cancelled(f"{worker.method}: {reason}")
    worker.task.cancel()
    return True


def overrun(worker: Worker) -> None:
    """The turn in progress is over its time limit: it fails, whatever its handler makes of the cancellation."""
    instance = worker.instance
    assert instance is not None
    if instance.abandoned is None:
        log.warning("a turn ran longer than its limit of %g s", worker.limit_s, extra=worker.call_fields())
        instance.abandoned = HandlerTimeout(f"{worker.method}: ran longer than its limit of {worker.limit_s:g} s")


def call_name(link: Link, request_id: str) -> CallName:
    """How a call of a link is named."""
    return _session_id(link), request_id


def _turn_of(resident: Resident) -> Worker | None:
    """Who runs the call that is in its turn; hooks are no calls."""
    instance, worker = resident.instance, resident.worker
    if worker is None or worker.instance is not instance or not instance.in_turn or not instance.request_id:
        return None
    return worker


def _session_id(of: Link | Caller) -> str:
    return "" if of.session is None else of.session.id
