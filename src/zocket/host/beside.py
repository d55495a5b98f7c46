"""Calls that run beside the turns of an instance: queries, and what is declared `beside`.

Rules: they pass the mailbox where the instance is active, and begin in their place in it where it is not; what they
read is committed, of a durable instance stored; a state is copied once for all that need a copy. They leave no trace:
one that is delivered again runs again.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from zocket.core import Beside
from zocket.host.running import overrun
from zocket.host.workers import WorkerPool
from zocket.protocol import frames
from zocket.protocol.frames import Rpc
from zocket.state import Document
from zocket.state.document import read_only

if TYPE_CHECKING:
    from zocket.clock import Clock
    from zocket.core import MethodDefinition
    from zocket.host.host import Host
    from zocket.host.link import Link
    from zocket.host.resident import Piece, Resident
    from zocket.host.running import Running
    from zocket.host.workers import Worker
    from zocket.settings import Limits


class _Call(NamedTuple):
    resident: Resident
    method: MethodDefinition
    piece: Piece


class BesideCalls:
    """The calls of a host that are no turns.

    Args:
        host: counts and answers them.
        running: cancels them.
        clock: time of their limits.
        limits: the time limit of those that have none of their own.
    """

    def __init__(self, host: Host, running: Running, clock: Clock, limits: Limits) -> None:
        self._host = host
        self._running = running
        self._clock = clock
        self._limits = limits
        self._pool: WorkerPool[_Call] = WorkerPool(self._serve, clock, overrun)

    def take(self, resident: Resident, piece: Piece) -> bool:
        """Begins a call past the mailbox; False if it is none of these, or has to take its place there."""
        link, request = piece[:2]
        assert isinstance(request, Rpc)
        method = resident.beside.get(request.method)
        if method is None or not _may_pass(resident) or not self._host.sessions.meet_beside(resident, link, piece):
            return False
        self._host.begin()
        return self.begin(resident, method, piece)

    def begin(self, resident: Resident, method: MethodDefinition, piece: Piece) -> bool:
        """Begins a call whose piece is counted already."""
        self._pool.put(_Call(resident, method, piece))
        return True

    async def _serve(self, call: _Call, worker: Worker) -> bool:
        resident, method, piece = call
        link, request, request_id, _, arrived, _ = piece
        assert isinstance(request, Rpc)
        counts = resident.counts
        worker.limit_s, worker.method = method.timeout_s or self._limits.handler_timeout_s, method.name
        worker.started = started = self._clock.now()
        counts.wait.add(started - arrived)
        try:
            answer = await self._run(resident, method, worker, link, request, request_id)
        except BaseException as error:  # noqa: BLE001 — border: a developer's method and middleware
            self._end(worker)
            self._host.reraise_if_stopping(error)
            self._host.refuse(link, request, request_id, error)
        else:
            self._end(worker)
            counts.results["ok"] += 1
            link.answer(request.id, answer)
        resident.used = self._clock.now()
        counts.run.add(resident.used - started)
        self._host.finish(piece)
        return not worker.is_tainted()

    async def _run(
        self, resident: Resident, method: MethodDefinition, worker: Worker, link: Link, request: Rpc, request_id: str
    ) -> bytes:
        stop = None if method.query else partial(self._running.cancel_turn, resident, method.name)
        instance = Beside(resident.instance, _state(resident, method), link.caller, request_id, stop)
        worker.instance = instance
        with self._running.beside(instance, worker, method, link, request, request_id) as stream:
            result = await instance.run(method, request.input)
        if stream is not None:
            result = b"%d" % stream.number
        return (frames.stream_end if method.stream else frames.result)(request.id, result)

    def _end(self, worker: Worker) -> None:
        worker.instance = None
        if worker.timer is not None:
            self._pool.resumed(worker)

    async def stop(self) -> None:
        """Ends all of them; none is answered."""
        await self._pool.stop()


def _may_pass(resident: Resident) -> bool:
    """Whether there is a committed state that holds."""
    keeper = resident.keeper
    return (
        resident.active
        and resident.failure is None
        and (keeper is None or (keeper.trouble is None and not keeper.recovering))
    )


def _state(resident: Resident, method: MethodDefinition) -> Document[Any]:
    """A state that stays as it is while the call runs: the committed one, of a durable instance the stored one.

    A call that cannot be interrupted, nor its result before it is written, needs no copy of a state that is at rest.
    """
    instance, keeper = resident.instance, resident.keeper
    at_rest = not instance.in_turn and (keeper is None or keeper.current)
    definition = instance.definition
    if at_rest and method.never_waits and not definition.middleware and not definition.guards:
        return instance.document
    return committed(resident)


def committed(resident: Resident) -> Document[Any]:
    """A copy of the committed state, of a durable instance the stored one; it is shared by all who ask."""
    instance, keeper = resident.instance, resident.keeper
    if keeper is None:
        return instance.document.committed()
    if resident.stored is None or resident.stored[0] is not keeper.visible:
        state = instance.definition.restore_state(keeper.visible, instance.definition.version)
        resident.stored = (keeper.visible, Document(state, owner=read_only(instance.document.owner)))
    return resident.stored[1]
