"""Runs the instances of an app in this process, wherever the requests come from.

Rules: `submit` never waits and never raises: it routes to a mailbox, or answers with an error. One turn at a time per
instance, in order of arrival; instances run beside each other. What a turn causes leaves in the order patch, events,
result. User code (methods, middleware, hooks, initial state) can fail in any way without anybody else noticing.
"""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

from zocket import logs
from zocket.core import Instance, Kick, Order, is_expected, to_caller
from zocket.errors import (
    Cancelled,
    DefinitionError,
    Overloaded,
    TooLarge,
    UnknownActor,
)
from zocket.host.admission import Admission
from zocket.host.answers import is_final, table_of
from zocket.host.beside import BesideCalls
from zocket.host.calls import Calls
from zocket.host.counts import TypeCounts
from zocket.host.durability import Durability
from zocket.host.eviction import Eviction
from zocket.host.flushing import Flushing
from zocket.host.keeper import Outcome
from zocket.host.kicks import kick
from zocket.host.link import EachLink
from zocket.host.resident import (
    ACTIVATE,
    DEACTIVATE,
    EVICT,
    IDLE,
    NOBODY,
    NOTHING,
    Hook,
    Resident,
    Withdrawn,
)
from zocket.host.running import Running, call_name, overrun
from zocket.host.sessions import Sessions
from zocket.host.store import Key
from zocket.host.subscriptions import Subscriptions
from zocket.host.tells import Tells
from zocket.host.timing import Timing
from zocket.host.turns import NO_EFFECTS, Turns
from zocket.host.workers import WorkerPool, current_worker
from zocket.metrics import Sample
from zocket.protocol import frames
from zocket.protocol.frames import EventUnsub, Rpc, StateSub, StateUnsub

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator

    from zocket.clock import Clock
    from zocket.core import ActorDefinition, AppDefinition, Effects
    from zocket.host.alarms import AlarmStore
    from zocket.host.answers import CallKey
    from zocket.host.link import Link, Outlet
    from zocket.host.resident import Piece
    from zocket.host.store import Position, StateStore
    from zocket.protocol.frames import Request, ServerFrame
    from zocket.settings import Limits

REVIVED_AGAIN_S: Final = 5.0
"""When an instance whose one-way calls wait, and for which there was no room, is tried again."""

log = logging.getLogger("zocket.host")

AnyOrder = TypeVar("AnyOrder", bound=Order)


class Host:
    """The instances of one app definition.

    Args:
        definition: what can be called.
        clock: time of limits and counts.
        limits: bounds of instances, states, results, handlers.
        dev_mode: unexpected exceptions reach the caller with their text.
        outlet: how a frame reaches many sessions; each link by itself if None.
        window: requests of one actor type that can be here at once (the consumer's max ack pending); None where
            nothing bounds them, which also switches off the refusal of a slow instance's calls.
        store: keeps the state of durable actors.
        owns: asked after another writer was found in the store: whether this process still owns its instances.
        alarms: keeps the alarms of reminders; None: they end with this process.

    Attributes:
        sessions: which of them each instance knows.
        admission: asks guards.
        subscriptions: who watches, and what they are sent.
        turns: serves mailboxes, with the workers of `pool`.
        running: calls that somebody waits for or stops.
        beside: calls that are no turns.
        durability: loading and storing.
        eviction: leaving memory.
        timing: timers, reminders and `@cron`s.
        calls: those that actors make.
        tells: one-way calls.
        delivers_again: whether a request comes again after a crash.

    Raises:
        DefinitionError: an actor is durable, and there is no store.
    """

    def __init__(
        self,
        definition: AppDefinition,
        *,
        clock: Clock,
        limits: Limits,
        dev_mode: bool = False,
        outlet: Outlet | None = None,
        window: int | None = None,
        store: StateStore | None = None,
        owns: Callable[[], Awaitable[bool]] | None = None,
        alarms: AlarmStore | None = None,
    ) -> None:
        durable = [name for name, actor in definition.actors.items() if actor.durable]
        if durable and store is None:
            raise DefinitionError(f"{', '.join(durable)}: durable actors need a store, and there is none here")
        self.definition = definition
        self.durability = Durability(self, store, clock=clock, owns=owns)
        self._clock = clock
        self._now = clock.now
        self._limits = limits
        self._dev_mode = dev_mode
        self.delivers_again = window is not None
        self._crowd = (window or limits.max_ack_pending) // 2 if window is not None else None
        self._residents: dict[tuple[str, str], Resident] = {}
        self._counts = {name: TypeCounts() for name in definition.actors}
        self._flushing = Flushing(self, clock)
        self.running = Running(self, clock, self._flushing)
        self.sessions = Sessions(self, self.running, clock)
        self.admission = Admission(self, self.sessions, limits.handler_timeout_s)
        self.subscriptions = Subscriptions(
            self, self.sessions, outlet or EachLink(), max_state_bytes=limits.max_state_bytes, dev_mode=dev_mode
        )
        carry_out_kick = partial(kick, self, self.running)
        self._carriers: dict[type[Order], Callable[[Resident, Any], None]] = {Kick: carry_out_kick}
        self.timing = Timing(self, alarms, clock, owns)
        self.eviction = Eviction(self, clock=clock, limits=limits)
        self.turns = Turns(self, clock, limits.handler_timeout_s)
        self.pool: WorkerPool[Resident] = WorkerPool(self.turns.serve, clock, overrun)
        self.beside = BesideCalls(self, self.running, clock, limits)
        self.tells = Tells(self, clock, limits)
        self.calls = Calls(self, self.tells, clock)
        self._pending = 0
        self._quiet: asyncio.Event | None = None
        self._closing = False
        logs.use_call_fields(_call_fields)

    # -- requests in ---------------------------------------------------------------------------------------------

    def submit(
        self,
        link: Link,
        request: Request,
        request_id: str,
        done: Callable[[], None] | None = None,
        position: Position | None = None,
    ) -> None:
        """Takes one request of a session; `done` is called once it is finished and its answer was sent.

        `position` is where its message stands in its stream: a durable instance runs it once, however often it comes.
        """
        resident = self._residents.get((request.actor, request.actor_id))
        if resident is None:
            if type(request) is EventUnsub or type(request) is StateUnsub:
                return _done(done)
            try:
                resident = self._create(request.actor, request.actor_id)
            except BaseException as error:  # noqa: BLE001 — border: a developer's __init__ or initial_state
                self.refuse(link, request, request_id, error)
                return _done(done)
        read_clock = self._now
        now = read_clock()
        if (
            resident.beside
            and type(request) is Rpc
            and self.beside.take(resident, (link, request, request_id, done, now, position))
        ):
            return None
        if self._crowd is not None and self._is_crowded(resident, now, self._crowd):
            message = f"{request.actor}/{request.actor_id} is too slow for its calls; try again later"
            self.refuse(link, request, request_id, Overloaded(message))
            return _done(done)
        if type(request) is StateSub and self.subscriptions.may_watch_beside(resident, link):
            self.subscriptions.watch_beside(resident, link, request, request_id, now)
            return _done(done)
        self._pending += 1
        mailbox = resident.mailbox if resident.mailbox is not IDLE else resident.open_mailbox()
        mailbox.append((link, request, request_id, done, now, position))
        if not resident.scheduled:
            resident.scheduled = True
            self.pool.put(resident)
        return None

    def cancel(self, actor: str, actor_id: str, session_id: str, request_id: str) -> bool:
        """Cancels a call before it has taken effect; its answer is the error `cancelled`.

        False if the call is not here, or has taken effect.
        """
        resident = self._residents.get((actor, actor_id))
        return resident is not None and self.running.cancel(resident, (session_id, request_id))

    def credit(self, session_id: str, request_id: str, number: int) -> None:
        """The caller's side has taken the chunks of a stream up to this number; more may be made."""
        self.running.credit((session_id, request_id), number)

    def reread(self, actor: str, actor_id: str) -> None:
        """Somebody else has written the instance's record: if it lives here, it becomes what the store says.

        Its subscribers get a snapshot. One that could not be used is activated again.
        """
        self.timing.wheel.reread(Key(actor, actor_id))
        resident = self._residents.get((actor, actor_id))
        if resident is None or resident.keeper is None:
            return
        if resident.failure is None:
            resident.keeper.doubt()
        else:
            self.put(resident, (NOBODY, ACTIVATE, "", None, self._clock.now(), None))

    async def call(self, actor: str, actor_id: str, method: str, value: bytes | None, timeout_s: float) -> ServerFrame:
        """Calls a method from this process itself; gives the `ServerFrame` of the answer.

        Whoever stops waiting by cancellation cancels the call.

        Raises:
            CallTimeout: no answer within `timeout_s`; the call may still run.
        """
        return await self.calls.from_server(actor, actor_id, method, value, timeout_s)

    def revive(self, actor: str, actor_id: str) -> None:
        """Loads a durable instance, which then sends what it has told; tried again while there is no room."""
        if self._closing or (actor, actor_id) in self._residents:
            return
        try:
            self._create(actor, actor_id)
        except Exception as error:  # border: a developer's __init__
            log.error("an instance with one-way calls that wait cannot start", exc_info=error)
            self._clock.call_later(REVIVED_AGAIN_S, lambda: self.revive(actor, actor_id))

    def is_leaving(self, resident: Resident) -> bool:
        """Whether the last turn of the instance has begun."""
        return self.eviction.is_leaving(resident)

    def begin(self) -> None:
        """One more piece of work is here, until `finish` or `end` says that it is over."""
        self._pending += 1

    def end(self) -> None:
        """It is not under way any more."""
        self._settle(1)

    def write_again(self, resident: Resident, done: Callable[[], None]) -> None:
        """Writes the record of a durable instance once more; `done` is called when it is stored."""
        if self._closing:
            return
        self.begin()
        assert resident.keeper is not None
        resident.keeper.add(Outcome((NOBODY, NOTHING, "", done, self._clock.now(), None), NO_EFFECTS, None, keyed=True))

    def stream(
        self, actor: str, actor_id: str, method: str, value: bytes | None, timeout_s: float
    ) -> AsyncGenerator[bytes, None]:
        """The chunks (JSON) of a method that yields, called from this process itself.

        Whoever stops iterating cancels the call.

        Raises:
            CallTimeout: (while iterating) no chunk and no answer within `timeout_s`.
            ZocketError: (while iterating) the call failed.
        """
        return self.calls.iterate_from_server(actor, actor_id, method, value, timeout_s)

    def _create(self, actor: str, actor_id: str) -> Resident:
        definition = self.definition.actors.get(actor)
        if definition is None:
            raise UnknownActor(actor)
        self.eviction.make_room()
        resident = self._new_resident(definition, actor_id)
        self._residents[actor, actor_id] = resident
        resident.counts.instances += 1
        self.eviction.add(resident)
        if definition.durable or definition.crons or "on_activate" in definition.hooks:
            self.put(resident, (NOBODY, ACTIVATE, "", None, self._clock.now(), None))
        else:
            resident.active = True
        return resident

    def _new_resident(self, definition: ActorDefinition, actor_id: str) -> Resident:
        instance = Instance(
            definition,
            actor_id,
            max_state_bytes=self._limits.max_state_bytes,
            max_result_bytes=self._limits.max_result_bytes,
            wall=self._clock.wall,
        )
        instance.flusher = self._flushing.flush
        if not definition.durable:
            instance.reminders = self.timing.wheel.reminders_of(Key(definition.name, actor_id))
        instance.reach = self.calls.reach
        resident = Resident(instance, self._counts[definition.name], self._clock.now())
        if definition.durable:
            self.durability.keep(resident)
        return resident

    def _is_crowded(self, resident: Resident, now: float, crowd: int) -> bool:
        """Whether the instance holds half of its type's window without getting on: it must not starve its type."""
        mailbox = resident.mailbox
        return len(mailbox) > crowd and now - mailbox[0][4] > self._limits.overload_wait_s

    def resident_of(self, instance: Instance) -> Resident | None:
        """Where the instance lives, if it is here still."""
        resident = self._residents.get((instance.definition.name, instance.actor_id))
        return resident if resident is not None and resident.instance is instance else None

    def put(self, resident: Resident, piece: Piece) -> None:
        """One more piece, behind what waits already."""
        self._pending += 1
        resident.open_mailbox().append(piece)
        self.schedule(resident)

    def activate_again(self, resident: Resident) -> None:
        """A durable instance is loaded anew, in front of what waits for it."""
        resident.active = False
        self.put_first(resident, (NOBODY, ACTIVATE, "", None, self._clock.now(), None))

    def put_first(self, resident: Resident, piece: Piece, taken: Piece | None = None) -> None:
        """A piece in front of all others; behind it one that was `taken` from the mailbox. The caller schedules."""
        self._pending += 1
        mailbox = resident.open_mailbox()
        if taken is not None:
            mailbox.appendleft(taken)
        mailbox.appendleft(piece)

    def put_hook(self, resident: Resident, hook: Hook) -> None:
        """A piece that nobody asked for, behind what waits already."""
        self.put(resident, (NOBODY, hook, "", None, self._clock.now(), None))

    def resident(self, key: Key) -> Resident | None:
        """The instance, if it is here."""
        return self._residents.get(key)

    def ensure(self, key: Key) -> Resident | None:
        """The instance, made if it is not here; None if it cannot be."""
        try:
            return self._residents.get(key) or self._create(*key)
        except BaseException as error:  # noqa: BLE001 — border: a developer's __init__ or initial_state
            log.warning("an instance cannot be woken: %s", error, extra={"actor": key.actor, "actor_id": key.actor_id})
            return None

    def schedule(self, resident: Resident) -> None:
        """Serves the resident's mailbox soon."""
        if not resident.scheduled:
            resident.scheduled = True
            self.pool.put(resident)

    # -- turns ---------------------------------------------------------------------------------------------------

    def finish(self, piece: Piece) -> None:
        """The request is done with: its answer is out."""
        if piece[3] is not None:
            piece[3]()
        self._pending -= 1
        if not self._pending and self._quiet is not None:
            self._quiet.set()

    def publish(self, resident: Resident, effects: Effects) -> None:
        """Patch first, then the events; then what the turn ordered."""
        _, operations, events, orders = effects
        if operations is not None:
            self.eviction.weigh(resident)
            if resident.history is not None or resident.views is not None:
                self.subscriptions.publish_patch(resident, operations)
        for event in events:
            self.subscriptions.publish_event(resident, event)
        for order in orders:
            self._carriers[type(order)](resident, order)

    def show_all(self) -> None:
        """Gives every watcher of every instance a snapshot; where the store may know better, once it has been asked."""
        for resident in self._residents.values():
            keeper = resident.keeper
            if keeper is None or keeper.current:
                self.subscriptions.show(resident)
            else:
                keeper.unshown = True

    def carry_out(self, kind: type[AnyOrder], carrier: Callable[[Resident, AnyOrder], None]) -> None:
        """Registers who carries out the orders of this kind; a carrier does not wait and does not fail."""
        self._carriers[kind] = carrier

    def reraise_if_stopping(self, error: BaseException) -> None:
        """A turn that the stop cancelled is not answered: its message is given back."""
        if isinstance(error, (KeyboardInterrupt, GeneratorExit)):
            raise error
        if self._closing and isinstance(error, asyncio.CancelledError):
            raise error

    # -- errors, end ---------------------------------------------------------------------------------------------

    def refuse(
        self,
        link: Link,
        request: Request,
        request_id: str,
        error: BaseException,
        resident: Resident | None = None,
        piece: Piece | None = None,
        key: CallKey | None = None,
    ) -> bool:
        """Answers with an error; one that nobody raised on purpose is logged with its traceback."""
        session = link.session
        public = to_caller(error, request_id, dev_mode=self._dev_mode)
        counts = self._counts.get(request.actor)
        if counts is not None and type(request) is Rpc:
            counts.failed(public.code)
        if not is_expected(error):
            extra = {"actor": request.actor, "actor_id": request.actor_id, "request": request_id}
            if type(request) is Rpc:
                extra["method"] = request.method
            if session is not None:
                extra["session"] = session.id
            log.error("call failed: %s", public.code, exc_info=error, extra=extra)
        if type(request) is not Rpc:
            link.refuse(frames.problem(public, request.actor, request.actor_id))
            return True
        answer = frames.failure(request.id, public)
        if len(answer) > self._limits.max_result_bytes:
            message = f"an error of {len(answer)} bytes, the limit is {self._limits.max_result_bytes}"
            answer = frames.failure(request.id, TooLarge(message, request_id=public.request_id))
        keyed = isinstance(error, Cancelled)  # stored, so that it has no effect when it is delivered again
        if key is not None and resident is not None and is_final(error, public.code):
            keyed = True
            table_of(resident).add(key, frames.outcome_of(request.id, answer), self._clock.wall())
        if piece is not None and resident is not None and resident.keeper is not None:
            resident.keeper.add(Outcome(piece, NO_EFFECTS, answer, keyed))
            return False
        link.answer(request.id, answer)
        return True

    async def drain(self, timeout_s: float) -> bool:
        """Waits until every request here is finished; False if `timeout_s` were not enough."""
        if not self._pending:
            return True
        if self._quiet is None or self._quiet.is_set():
            self._quiet = asyncio.Event()
        over = asyncio.Event()
        timer = self._clock.call_later(timeout_s, over.set)
        waits = [asyncio.ensure_future(event.wait()) for event in (self._quiet, over)]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            timer.cancel()
            for wait in waits:
                wait.cancel()
        return not self._pending

    async def aclose(self, timeout_s: float = 5.0) -> None:
        """Runs `on_deactivate` of every instance that has it, at most `timeout_s`, and stops all work.

        A turn that still runs then is rolled back; its request is neither answered nor done. After `abort` there is
        nothing left to do.
        """
        if self._closing:
            return
        self.eviction.close()
        self.timing.stop()
        now = self._clock.now()
        for resident in self._residents.values():
            if "on_deactivate" in resident.instance.definition.hooks:
                self.put(resident, (NOBODY, DEACTIVATE, "", None, now, None))
        await self.drain(timeout_s)
        await self.timing.wheel.aclose(timeout_s)
        await self.abort()

    async def abort(self) -> None:
        """Stops at once, as a process that dies: no hook runs, nothing that is here is answered or done."""
        self._closing = True
        self.eviction.close()
        self.timing.stop()
        await self.timing.wheel.abort()
        await self.pool.stop()
        await self.beside.stop()
        self._residents.clear()
        self.sessions.clear()

    def doubt_stored(self) -> None:
        """Another process may have owned the durable instances for a while: each is read again before its next turn."""
        self.timing.wheel.read_again()
        for resident in self._residents.values():
            if resident.keeper is not None:
                resident.keeper.doubt()

    def abandon(self, resident: Resident, pieces: int) -> None:
        """Another process owns the instance: nothing of ours is answered or done, it gets the messages again."""
        self.remove(resident)
        self._settle(pieces + len(resident.mailbox))
        resident.mailbox.clear()

    def evict(self, resident: Resident, done: Callable[[], None]) -> None:
        """Asks the resident to run `on_deactivate` and go; `done` is called when that is over and stored."""
        self.put(resident, (NOBODY, EVICT, "", done, self._clock.now(), None))

    def remove(self, resident: Resident) -> None:
        """The instance is not here any more; the next request to it makes a fresh one."""
        if self._residents.get(_address(resident)) is resident:
            del self._residents[_address(resident)]
            resident.counts.instances -= 1
        self.sessions.leave(resident)
        self.eviction.forget(resident)
        if resident.ticks:
            self.timing.forget(resident)

    def resubmit(self, pieces: list[Piece]) -> None:
        """Gives the requests of an instance that has left to a fresh one, in order; its hooks have nobody to run on."""
        for link, request, request_id, done, _, position in pieces:
            if isinstance(request, Withdrawn):
                self.submit(link, request.call, request_id, done, position)
                self.cancel(request.call.actor, request.call.actor_id, *call_name(link, request_id))
            elif not isinstance(request, Hook):
                self.submit(link, request, request_id, done, position)
        self._settle(len(pieces))

    def _settle(self, pieces: int) -> None:
        self._pending -= pieces
        if not self._pending and self._quiet is not None:
            self._quiet.set()

    @property
    def pending(self) -> int:
        """Requests and hooks that are not finished."""
        return self._pending

    @property
    def instances(self) -> int:
        """Live instances."""
        return len(self._residents)

    def samples(self) -> Iterator[Sample]:
        """Counts for a scrape."""
        yield Sample("pending_requests", "Requests that wait or run.", "gauge", self._pending)
        yield Sample("worker_tasks", "Tasks of the worker pool.", "gauge", self.pool.size)
        yield from self.eviction.samples()
        yield from self.sessions.grace.samples()
        yield from self.timing.samples()
        yield from self.tells.samples()
        for actor, counts in self._counts.items():
            yield from counts.samples(actor)


def _done(done: Callable[[], None] | None) -> None:
    if done is not None:
        done()


def _address(resident: Resident) -> tuple[str, str]:
    return resident.instance.definition.name, resident.instance.actor_id


def _call_fields() -> dict[str, str] | None:
    worker = current_worker.get()
    return None if worker is None else worker.call_fields()
