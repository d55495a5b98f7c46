"""Turns: what a worker does with a mailbox, from a piece to its answer.

Rules: one piece after the other, in their order. A call that was answered before runs nothing; an answer of a durable
instance leaves when its turn is stored. User code can raise anything, and its instance goes on.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from zocket.errors import UnknownMethod, ZocketError
from zocket.host.answers import call_key, table_of
from zocket.host.durability import keeps_sessions, repeat
from zocket.host.keeper import Outcome
from zocket.host.resident import (
    ACTIVATE,
    CONNECT,
    DISCONNECT,
    DROP,
    EVICT,
    RESUME,
    Hook,
    Withdrawn,
    changes_sessions,
)
from zocket.host.timing import WAKE, Tick
from zocket.protocol import frames
from zocket.protocol.frames import Rpc

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from zocket.clock import Clock
    from zocket.core import Effects
    from zocket.host.counts import TypeCounts
    from zocket.host.host import Host
    from zocket.host.resident import Piece, Resident
    from zocket.host.workers import Worker

FAIR_SHARE: Final = range(64)
"""Requests of one instance that are served before the others have their turn; made once, since most shares are one."""
NO_EFFECTS: Final[Effects] = (None, None, (), ())
"""Of a turn that was rolled back, or that did not run."""

log = logging.getLogger("zocket.host")


class Turns:
    """The turns of a host's instances.

    Args:
        host: what the turns cause goes there.
        clock: time of limits and counts.
        timeout_s: time limit of a turn that sets none itself.
    """

    def __init__(self, host: Host, clock: Clock, timeout_s: float) -> None:
        self._host = host
        self._clock = clock
        self._now = clock.now
        self._timeout_s = timeout_s

    async def serve(self, resident: Resident, worker: Worker) -> bool:
        """A share of one mailbox; False if the worker must retire."""
        mailbox, clean, sessions, keeper = resident.mailbox, True, resident.instance.sessions, resident.keeper
        host = self._host
        resident.worker = worker
        read_clock = self._now
        worker.now = read_clock()
        try:
            for _ in FAIR_SHARE:
                if keeper is not None:
                    if not await host.durability.may_go_on(resident, keeper):
                        break
                    worker.now = read_clock()
                piece = mailbox.popleft()
                link, request = piece[0], piece[1]
                known = link.session is None or sessions.get(link.session.id) is link
                if not known and host.sessions.introduce(resident, link, piece):
                    piece = mailbox.popleft()
                    request = piece[1]
                if type(request) is Rpc:
                    if known or await host.admission.may_call(resident, worker, piece):
                        finished = await self._answer(resident, worker, request, piece)
                    else:
                        finished = False  # refused, and settled there
                elif isinstance(request, Hook):
                    finished = await self._run_hook(resident, worker, request, piece)
                    worker.now = read_clock()
                elif isinstance(request, Withdrawn):
                    finished = host.running.leave_out(resident, request.call, piece)
                else:
                    finished = True
                    if not resident.instance.definition.guards or await host.admission.may_subscribe(
                        resident, worker, request, piece
                    ):
                        host.subscriptions.change(resident, link, request, piece[2])
                if finished:
                    host.finish(piece)
                if worker.is_tainted():
                    clean = False
                    break
                if not mailbox:
                    break
        finally:  # also if this worker dies of what it met: the instance goes on with the next one
            resident.scheduled = False
            if resident.unused:
                resident.unused = False
            else:
                resident.used = worker.now
            if mailbox if keeper is None else keeper.trouble is not None or (mailbox and not keeper.full):
                host.schedule(resident)
            elif keeper is None:
                resident.close_mailbox()
        return clean

    async def _answer(self, resident: Resident, worker: Worker, request: Rpc, piece: Piece) -> bool:
        """One call, from arrival to answer; False if its answer waits for the store."""
        link, _, request_id, _, arrived, position = piece
        instance, counts = resident.instance, resident.counts
        method = instance.definition.methods.get(request.method)
        if method is None:
            return self._host.refuse(link, request, request_id, UnknownMethod(request.method), resident, piece)
        if resident.failure is not None:
            return self._host.refuse(link, request, request_id, resident.failure)
        key = call_key(request, link.caller) if request.idempotency_key and not method.beside else None
        if key is not None and (known := table_of(resident).recall(key, self._clock.wall())) is not None:
            return self._answer_again(resident, request, piece, known)
        keeper = resident.keeper
        if position is not None and keeper is not None and keeper.includes(position) and not method.beside:
            return repeat(keeper, piece, position)
        special = method.special or request.cancel_on_close
        if special and method.beside:
            return not self._host.beside.begin(resident, method, piece)
        worker.begin(instance, method.name, method.timeout_s or self._timeout_s)
        try:
            if special:
                effects = await self._host.running.call(resident, worker, method, piece, key)
            else:
                effects = await instance.call(
                    method, request.input, link.caller, request_id, "" if key is None else key.name
                )
        except BaseException as error:  # noqa: BLE001 — border: a developer's method and middleware
            self.end(worker, counts, arrived)
            self._host.reraise_if_stopping(error)
            return self._host.refuse(link, request, request_id, error, resident, piece, key)
        self.end(worker, counts, arrived)
        counts.results["ok"] += 1
        answer = (frames.stream_end if special and method.stream else frames.result)(request.id, effects[0])
        if key is not None:
            table_of(resident).add(key, frames.outcome_of(request.id, answer), self._clock.wall())
        if resident.keeper is not None:
            resident.keeper.add(Outcome(piece, effects, answer, key is not None))
            return False
        if effects[1] is not None or effects[2] or effects[3]:
            self._host.publish(resident, effects)
        link.answer(request.id, answer)
        return not effects[3] or not self._host.tells.hold(piece, effects[3])

    def _answer_again(self, resident: Resident, request: Rpc, piece: Piece, known: bytes | ZocketError) -> bool:
        """A retry of a call that was answered: runs nothing, and waits for the store as the first one does."""
        if isinstance(known, ZocketError):
            return self._host.refuse(piece[0], request, piece[2], known, resident, piece)
        answer = frames.answer_again(request.id, known)
        if resident.keeper is not None:
            resident.keeper.add(Outcome(piece, NO_EFFECTS, answer))
            return False
        piece[0].answer(request.id, answer)
        return True

    def end(self, worker: Worker, counts: TypeCounts | None = None, arrived: float = 0.0) -> None:
        """The turn is over; its times count for a call, which arrived at `arrived`."""
        read_clock = self._now
        worker.instance = None
        if worker.calls is not None:
            worker.calls.end()
            worker.calls = None
        worker.now = now = read_clock()
        if worker.timer is not None:
            self._host.pool.resumed(worker)
        if counts is not None:
            counts.wait.add(worker.started - arrived)
            counts.run.add(now - worker.started)

    async def _run_hook(self, resident: Resident, worker: Worker, hook: Hook, piece: Piece) -> bool:
        instance, link = resident.instance, piece[0]
        if hook is WAKE or isinstance(hook, Tick):
            return await self._host.timing.run(resident, worker, hook, piece)
        if hook is DISCONNECT:
            self._host.sessions.forget(resident, link)
        if hook in (DROP, RESUME) and link.session is not None and link.session.id not in instance.sessions:
            return True  # it was kicked meanwhile
        if hook is EVICT and not self._host.eviction.begin(resident):
            return True
        if hook is ACTIVATE and resident.keeper is not None:
            if not await self._host.durability.load(resident, resident.keeper):
                return False
            self._host.eviction.weigh(resident)
        finished = True
        if hook is CONNECT and not await self._host.admission.may_connect(resident, worker, piece):
            return True
        if hook.name in instance.definition.hooks and resident.failure is None:
            finished = await self.run_unasked(
                resident, worker, piece, hook.name, instance.run_hook(hook.name, link.caller, "")
            )
        if hook is ACTIVATE and resident.failure is None:
            self._host.timing.activated(resident)
        if finished and changes_sessions(hook) and resident.keeper is not None and keeps_sessions(resident):
            resident.keeper.add(Outcome(piece, NO_EFFECTS, None))
            return False
        if hook is ACTIVATE:
            resident.active = True
        return finished

    async def run_unasked(
        self,
        resident: Resident,
        worker: Worker,
        piece: Piece,
        name: str,
        turn: Coroutine[None, None, Effects],
        *,
        limit_s: float | None = None,
        lost: Effects | None = None,
    ) -> bool:
        """A turn that nobody waits for; False if it waits for the store.

        One that raises is logged with its actor and id, and everything else lives on. `lost` is what it causes then.
        """
        instance = resident.instance
        worker.now = self._clock.now()
        worker.begin(instance, name, limit_s or self._timeout_s)
        try:
            effects = await turn
        except BaseException as error:  # border: a developer's hook, or what a timer calls
            fields = {"actor": instance.definition.name, "actor_id": instance.actor_id, "method": name}
            self.end(worker)
            self._host.reraise_if_stopping(error)
            resident.counts.hook_failures += 1
            log.error("%s raised", name, exc_info=error, extra=fields)
            if lost is None:
                return True
            effects = lost
        else:
            self.end(worker)
        if resident.keeper is not None:
            resident.keeper.add(Outcome(piece, effects, None))
            return False
        self._host.publish(resident, effects)
        return True
