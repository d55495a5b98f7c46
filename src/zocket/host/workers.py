"""Pooled worker tasks that serve what is ready, one after the other.

Rules: work that never suspends costs no task and no turn of the loop; work that suspends keeps its worker, and another
takes the queue over within the same turn of the loop. Whatever is ready has a `_relay` pending: that is the invariant
that keeps anything from being forgotten. A worker that work has left with another context or a pending cancellation
retires, so that neither reaches the next piece of work.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from contextvars import Context, ContextVar, copy_context
from typing import TYPE_CHECKING, Final, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from zocket.clock import Clock, TimerHandle
    from zocket.core import Instance

R = TypeVar("R")

MAX_IDLE_WORKERS: Final = 64
"""Parked tasks that are kept; more than this only ever exist after a burst of handlers that waited at once."""
STUBBORN_S: Final = 5.0
"""After so long a handler that ignored its cancellation is cancelled again, and named in the log."""

log = logging.getLogger("zocket.host")

current_worker: ContextVar[Worker | None] = ContextVar("zocket_worker", default=None)
"""The worker that the running task belongs to; also in tasks that a handler has started."""


class Worker:
    """One pooled task and the turn that it is in.

    Attributes:
        instance: whose turn is in progress, None between turns.
        limit_s: time limit of that turn.
        now: the clock's `now()` when the worker last looked: while it does not wait, the end of the work before.
        started: when it began, or its time limit began anew, on the clock's `now()`.
        method: its name, for the log.
    """

    __slots__ = ("base", "instance", "limit_s", "method", "now", "started", "task", "timer", "wake")

    def __init__(self) -> None:
        self.instance: Instance | None = None
        self.limit_s = 0.0
        self.now = 0.0
        self.started = 0.0
        self.method = ""
        self.timer: TimerHandle | None = None
        self.wake: asyncio.Future[None] | None = None
        self.task: asyncio.Task[None]
        self.base: Context

    def begin(self, instance: Instance, method: str, limit_s: float) -> None:
        """A turn of the instance starts at `now`."""
        self.instance = instance
        self.method = method
        self.limit_s = limit_s
        self.started = self.now

    def is_tainted(self) -> bool:
        """Whether the last piece of work left a cancellation or a changed context behind."""
        return self.task.cancelling() > 0 or copy_context() != self.base

    def call_fields(self) -> dict[str, str] | None:
        """Log fields of the turn in progress."""
        instance = self.instance
        if instance is None:
            return None
        fields = {
            "actor": instance.definition.name,
            "actor_id": instance.actor_id,
            "method": self.method,
            "request": instance.request_id,
        }
        if instance.caller.session is not None:
            fields["session"] = instance.caller.session.id
        return fields


class WorkerPool(Generic[R]):
    """Serves what is `put`, with as many tasks as pieces of work wait at the same time.

    Args:
        serve: works on one piece; gives False if its worker must retire.
        clock: time of the turn limits.
        overrun: the turn of this worker's instance is over its limit; called before the worker is cancelled.
    """

    def __init__(
        self, serve: Callable[[R, Worker], Awaitable[bool]], clock: Clock, overrun: Callable[[Worker], None]
    ) -> None:
        self._serve = serve
        self._clock = clock
        self._overrun = overrun
        self._ready: deque[R] = deque()
        self._idle: list[Worker] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._unarmed: list[Worker] = []
        self._relay_pending = False
        self._stopped = False

    @property
    def size(self) -> int:
        """Worker tasks, parked ones included."""
        return len(self._tasks)

    def put(self, piece: R) -> None:
        """Serves the piece soon, after those put before."""
        self._ready.append(piece)
        if not self._relay_pending:
            self._rouse()

    def resumed(self, worker: Worker) -> None:
        """A turn that had suspended is over: its time limit is off, and the worker's next turn gets its own."""
        assert worker.timer is not None
        worker.timer.cancel()
        worker.timer = None
        self._unarmed.append(worker)
        self._plan_relay()

    async def stop(self) -> None:
        """Cancels every worker and waits for them; what is ready stays unserved."""
        self._stopped = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _rouse(self) -> None:
        if self._stopped:
            return
        worker = self._idle.pop() if self._idle else self._hire()
        if worker.wake is not None and not worker.wake.done():
            worker.wake.set_result(None)
        self._unarmed.append(worker)
        self._plan_relay()

    def _plan_relay(self) -> None:
        if not self._relay_pending:
            self._relay_pending = True
            asyncio.get_running_loop().call_soon(self._relay)

    def _relay(self) -> None:
        """Runs right after the roused worker's step: it has emptied the queue, or it is suspended in a turn."""
        self._relay_pending = False
        workers, self._unarmed = self._unarmed, []
        for worker in workers:
            if worker.instance is not None and worker.timer is None:
                self._arm(worker, worker.started + worker.limit_s - self._clock.now())
        if self._ready:
            self._rouse()

    def _arm(self, worker: Worker, delay_s: float) -> None:
        worker.timer = self._clock.call_later(max(delay_s, 0.0), lambda: self._expire(worker))

    def _expire(self, worker: Worker) -> None:
        if worker.instance is None:
            return
        left_s = worker.started + worker.limit_s - self._clock.now()
        if left_s > 0 and worker.instance.abandoned is None:
            self._arm(worker, left_s)  # it has made progress since
            return
        if worker.instance.abandoned is not None:
            log.error("handler ignores its cancellation", extra=worker.call_fields())
        self._overrun(worker)
        worker.task.cancel()
        self._arm(worker, STUBBORN_S)

    def _hire(self) -> Worker:
        worker = Worker()
        # Not create_task: an eager task factory would run handlers inside `put`.
        worker.task = asyncio.Task(self._work(worker), loop=asyncio.get_running_loop(), name="zocket worker")
        self._tasks.add(worker.task)
        worker.task.add_done_callback(self._left)
        return worker

    def _left(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.critical("worker failed", exc_info=error)

    async def _work(self, worker: Worker) -> None:
        current_worker.set(worker)
        worker.base = copy_context()
        ready, loop = self._ready, asyncio.get_running_loop()
        while not self._stopped:
            while ready:
                if not await self._serve(ready.popleft(), worker):
                    return
            if len(self._idle) >= MAX_IDLE_WORKERS:
                return
            worker.wake = loop.create_future()
            self._idle.append(worker)
            try:
                await worker.wake
            except asyncio.CancelledError:
                if worker in self._idle:
                    self._idle.remove(worker)
                raise
