"""Runs the instances of an app in this process, wherever the requests come from.

Rules: `submit` never waits and never raises: it routes to a mailbox, or answers with an error. One turn at a time per
instance, in order of arrival; instances run beside each other. What a turn causes leaves in the order patch, events,
result. User code (methods, middleware, hooks, initial state) can fail in any way without anybody else noticing.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

from zocket import logs
from zocket.core import UNSEEN, Access, Instance, Kick, Order, is_expected, to_caller
from zocket.errors import (
    Cancelled,
    DefinitionError,
    Overloaded,
    TooLarge,
    UnknownActor,
    UnknownMethod,
    ZocketError,
)
from zocket.host.answers import call_key, is_final, table_of
from zocket.host.beside import BesideCalls
from zocket.host.calls import Calls, rpc
from zocket.host.counts import TypeCounts
from zocket.host.durability import Durability, keeps_sessions, repeat
from zocket.host.eviction import Eviction
from zocket.host.flushing import Flushing
from zocket.host.history import History
from zocket.host.keeper import Outcome
from zocket.host.kicks import kick
from zocket.host.link import EachLink
from zocket.host.resident import (
    ACTIVATE,
    CONNECT,
    DEACTIVATE,
    DISCONNECT,
    EVICT,
    NOBODY,
    NOTHING,
    Absent,
    Hook,
    Resident,
    Withdrawn,
)
from zocket.host.running import Running, call_name, overrun
from zocket.host.store import Key
from zocket.host.streams import stream
from zocket.host.tells import Tells
from zocket.host.timing import WAKE, Tick, Timing
from zocket.host.views import Views
from zocket.host.workers import Worker, WorkerPool, current_worker
from zocket.metrics import Sample
from zocket.protocol import frames
from zocket.protocol.client_session import Instance as Address
from zocket.protocol.frames import EventSub, EventUnsub, Rpc, StateSub, StateUnsub

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterator

    from zocket.clock import Clock
    from zocket.core import ActorDefinition, AppDefinition, Effects
    from zocket.core.guards import AccessKind
    from zocket.host.alarms import AlarmStore
    from zocket.host.answers import CallKey
    from zocket.host.link import Link, Outlet
    from zocket.host.resident import Piece
    from zocket.host.store import Position, StateStore
    from zocket.protocol.frames import Request, ServerFrame
    from zocket.settings import Limits

FAIR_SHARE: Final = 64
"""Requests of one instance that are served before the others have their turn."""
GONE_KEPT_S: Final = 120.0
"""How long an ended session is remembered: twice the age at which its last requests leave the INBOUND stream."""
REVIVED_AGAIN_S: Final = 5.0
"""When an instance whose one-way calls wait, and for which there was no room, is tried again."""

NO_EFFECTS: Final[Effects] = (None, None, (), ())
"""Of a turn that was rolled back, or that did not run."""

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
        timing: timers, reminders and `@cron`s.

    Attributes:
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
        self._durability = Durability(self, store, clock=clock, owns=owns)
        self._clock = clock
        self._now = clock.now
        self._limits = limits
        self._handler_timeout_s = limits.handler_timeout_s
        self._dev_mode = dev_mode
        self._outlet: Outlet = outlet or EachLink()
        self.delivers_again = window is not None
        self._crowd = (window or limits.max_ack_pending) // 2 if window is not None else None
        self._residents: dict[tuple[str, str], Resident] = {}
        self._known: dict[str, dict[Resident, None]] = {}
        self._gone: dict[str, float] = {}
        self._counts = {name: TypeCounts() for name in definition.actors}
        self._views = Views(self, self._outlet, max_bytes=limits.max_state_bytes, dev_mode=dev_mode)
        self._flushing = Flushing(self, clock)
        self._running = Running(self, clock, self._flushing)
        carry_out_kick = partial(kick, self, self._running)
        self._carriers: dict[type[Order], Callable[[Resident, Any], None]] = {Kick: carry_out_kick}
        self.timing = Timing(self, alarms, clock, owns)
        self._eviction = Eviction(self, clock=clock, limits=limits)
        self._pool: WorkerPool[Resident] = WorkerPool(self._serve, clock, overrun)
        self._beside = BesideCalls(self, self._running, clock, limits)
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
            and self._beside.take(resident, (link, request, request_id, done, now, position))
        ):
            return None
        if self._crowd is not None and self._is_crowded(resident, now, self._crowd):
            message = f"{request.actor}/{request.actor_id} is too slow for its calls; try again later"
            self.refuse(link, request, request_id, Overloaded(message))
            return _done(done)
        instance = resident.instance
        if (
            type(request) is StateSub
            and instance.in_turn
            and not instance.definition.guards
            and resident.views is None
            and self._may_watch_beside(resident, link)
        ):
            self._watch_beside(resident, link, request, request_id, now)
            return _done(done)
        self._pending += 1
        resident.mailbox.append((link, request, request_id, done, now, position))
        if not resident.scheduled:
            resident.scheduled = True
            self._pool.put(resident)
        return None

    def cancel(self, actor: str, actor_id: str, session_id: str, request_id: str) -> bool:
        """Cancels a call before it has taken effect; its answer is the error `cancelled`.

        False if the call is not here, or has taken effect.
        """
        resident = self._residents.get((actor, actor_id))
        return resident is not None and self._running.cancel(resident, (session_id, request_id))

    def credit(self, session_id: str, request_id: str, number: int) -> None:
        """The caller's side has taken the chunks of a stream up to this number; more may be made."""
        self._running.credit((session_id, request_id), number)

    def disconnect(self, session_id: str) -> None:
        """The session has ended: every instance that knows it drops it and runs `on_disconnect` once (R6)."""
        now = self._clock.now()
        self._gone[session_id] = now
        while self._gone and now - next(iter(self._gone.values())) > GONE_KEPT_S:
            del self._gone[next(iter(self._gone))]
        self._part(session_id, now)

    def lapse(self, link: Link) -> None:
        """The session seems to have ended: as `disconnect`, but it may come back with another link.

        What the link has asked already still runs, and does not bring the session back.
        """
        assert link.session is not None
        link.lapsed = True
        self._part(link.session.id, self._clock.now())

    def has_ended(self, link: Link) -> bool:
        """Whether nobody waits at the other end."""
        return link.lapsed or (link.session is not None and link.session.id in self._gone)

    def _part(self, session_id: str, now: float) -> None:
        self._running.session_ended(session_id)
        for resident in self._known.pop(session_id, ()):
            link = resident.instance.sessions.get(session_id)
            if link is not None:
                self._put(resident, (link, DISCONNECT, "", None, now, None))

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
            self._put(resident, (NOBODY, ACTIVATE, "", None, self._clock.now(), None))

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
        return self._eviction.is_leaving(resident)

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
        """The chunks (JSON) of a method that yields, called from this process itself; see `streams.stream`."""
        submit = partial(self._submit_own, actor, actor_id, method, value)
        return stream(self, self._clock, submit, (actor, actor_id, method), timeout_s)

    def _submit_own(self, actor: str, actor_id: str, method: str, value: bytes | None, link: Link) -> str:
        """Begins a call of this process; gives its request id."""
        request = rpc(Address(actor, actor_id), method, value)
        request_id = "server." + secrets.token_hex(8)
        self.submit(link, request, request_id)
        return request_id

    def _create(self, actor: str, actor_id: str) -> Resident:
        definition = self.definition.actors.get(actor)
        if definition is None:
            raise UnknownActor(actor)
        self._eviction.make_room()
        resident = self._new_resident(definition, actor_id)
        self._residents[actor, actor_id] = resident
        resident.counts.instances += 1
        self._eviction.add(resident)
        if definition.durable or definition.crons or "on_activate" in definition.hooks:
            self._put(resident, (NOBODY, ACTIVATE, "", None, self._clock.now(), None))
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
            self._durability.keep(resident)
        return resident

    def _is_crowded(self, resident: Resident, now: float, crowd: int) -> bool:
        """Whether the instance holds half of its type's window without getting on: it must not starve its type."""
        mailbox = resident.mailbox
        return len(mailbox) > crowd and now - mailbox[0][4] > self._limits.overload_wait_s

    def resident_of(self, instance: Instance) -> Resident | None:
        """Where the instance lives, if it is here still."""
        resident = self._residents.get((instance.definition.name, instance.actor_id))
        return resident if resident is not None and resident.instance is instance else None

    def _put(self, resident: Resident, piece: Piece) -> None:
        self._pending += 1
        resident.mailbox.append(piece)
        self.schedule(resident)

    def activate_again(self, resident: Resident) -> None:
        """A durable instance is loaded anew, in front of what waits for it."""
        resident.active = False
        self._pending += 1
        resident.mailbox.appendleft((NOBODY, ACTIVATE, "", None, self._clock.now(), None))

    def put_hook(self, resident: Resident, hook: Hook) -> None:
        """A piece that nobody asked for, behind what waits already."""
        self._put(resident, (NOBODY, hook, "", None, self._clock.now(), None))

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
            self._pool.put(resident)

    # -- turns ---------------------------------------------------------------------------------------------------

    async def _serve(self, resident: Resident, worker: Worker) -> bool:
        """A share of one mailbox; False if the worker must retire."""
        mailbox, clean, sessions, keeper = resident.mailbox, True, resident.instance.sessions, resident.keeper
        resident.worker = worker
        read_clock = self._now
        worker.now = read_clock()
        try:
            for _ in range(FAIR_SHARE):
                if keeper is not None:
                    if not await self._durability.may_go_on(resident, keeper):
                        break
                    worker.now = read_clock()
                piece = mailbox.popleft()
                link, request = piece[0], piece[1]
                known = link.session is None or sessions.get(link.session.id) is link
                if not known and self._introduce(resident, link, request, piece):
                    piece = mailbox.popleft()
                    request = piece[1]
                if type(request) is Rpc:
                    if known or await self._is_admitted(resident, worker, piece):
                        finished = await self._answer(resident, worker, request, piece)
                    else:
                        finished = False  # refused, and settled there
                elif isinstance(request, Hook):
                    finished = await self._run_hook(resident, worker, request, piece)
                    worker.now = read_clock()
                elif resident.instance.definition.guards and isinstance(request, (StateSub, EventSub)):
                    finished = await self._ask_and_subscribe(resident, worker, request, piece)
                    worker.now = read_clock()
                elif isinstance(request, Withdrawn):
                    finished = self._running.leave_out(resident, request.call, piece)
                else:
                    finished = self._subscribe(resident, link, request, piece[2])
                if finished:
                    self.finish(piece)
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
                self.schedule(resident)
        return clean

    def finish(self, piece: Piece) -> None:
        """The request is done with: its answer is out."""
        if piece[3] is not None:
            piece[3]()
        self._pending -= 1
        if not self._pending and self._quiet is not None:
            self._quiet.set()

    async def _answer(self, resident: Resident, worker: Worker, request: Rpc, piece: Piece) -> bool:
        """One call, from arrival to answer; False if its answer waits for the store."""
        link, _, request_id, _, arrived, position = piece
        instance, counts = resident.instance, resident.counts
        method = instance.definition.methods.get(request.method)
        if method is None:
            return self.refuse(link, request, request_id, UnknownMethod(request.method), resident, piece)
        if resident.failure is not None:
            return self.refuse(link, request, request_id, resident.failure)
        key = call_key(request, link.caller) if request.idempotency_key and not method.beside else None
        if key is not None and (known := table_of(resident).recall(key, self._clock.wall())) is not None:
            return self._answer_again(resident, request, piece, known)
        keeper = resident.keeper
        if position is not None and keeper is not None and keeper.includes(position) and not method.beside:
            return repeat(keeper, piece, position)
        special = method.special or request.cancel_on_close
        if special and method.beside:
            return not self._beside.begin(resident, method, piece)
        worker.begin(instance, method.name, method.timeout_s or self._handler_timeout_s)
        try:
            if special:
                effects = await self._running.call(resident, worker, method, piece, key)
            else:
                effects = await instance.call(
                    method, request.input, link.caller, request_id, "" if key is None else key.name
                )
        except BaseException as error:  # noqa: BLE001 — border: a developer's method and middleware
            self._end(worker, counts, arrived)
            self.reraise_if_stopping(error)
            return self.refuse(link, request, request_id, error, resident, piece, key)
        self._end(worker, counts, arrived)
        counts.results["ok"] += 1
        answer = (frames.stream_end if special and method.stream else frames.result)(request.id, effects[0])
        if key is not None:
            table_of(resident).add(key, frames.outcome_of(request.id, answer), self._clock.wall())
        if resident.keeper is not None:
            resident.keeper.add(Outcome(piece, effects, answer, key is not None))
            return False
        if effects[1] is not None or effects[2] or effects[3]:
            self.publish(resident, effects)
        link.answer(request.id, answer)
        return not effects[3] or not self.tells.hold(piece, effects[3])

    def _answer_again(self, resident: Resident, request: Rpc, piece: Piece, known: bytes | ZocketError) -> bool:
        """A retry of a call that was answered: runs nothing, and waits for the store as the first one does."""
        if isinstance(known, ZocketError):
            return self.refuse(piece[0], request, piece[2], known, resident, piece)
        answer = frames.answer_again(request.id, known)
        if resident.keeper is not None:
            resident.keeper.add(Outcome(piece, NO_EFFECTS, answer))
            return False
        piece[0].answer(request.id, answer)
        return True

    def _end(self, worker: Worker, counts: TypeCounts | None = None, arrived: float = 0.0) -> None:
        """The turn is over; its times count for a call, which arrived at `arrived`."""
        read_clock = self._now
        worker.instance = None
        if worker.calls is not None:
            worker.calls.end()
            worker.calls = None
        worker.now = now = read_clock()
        if worker.timer is not None:
            self._pool.resumed(worker)
        if counts is not None:
            counts.wait.add(worker.started - arrived)
            counts.run.add(now - worker.started)

    def reraise_if_stopping(self, error: BaseException) -> None:
        """A turn that the stop cancelled is not answered: its message is given back."""
        if isinstance(error, (KeyboardInterrupt, GeneratorExit)):
            raise error
        if self._closing and isinstance(error, asyncio.CancelledError):
            raise error

    async def _run_hook(self, resident: Resident, worker: Worker, hook: Hook, piece: Piece) -> bool:
        instance, link = resident.instance, piece[0]
        if hook is WAKE or isinstance(hook, Tick):
            return await self.timing.run(resident, worker, hook, piece)
        if hook is DISCONNECT:
            self._forget(resident, link)
        if hook is EVICT and not self._eviction.begin(resident):
            return True
        if hook is ACTIVATE and resident.keeper is not None:
            if not await self._durability.load(resident, resident.keeper):
                return False
            self._eviction.weigh(resident)
        finished = True
        if hook is CONNECT and not await self._is_welcome(resident, worker, piece):
            return True
        if hook.name in instance.definition.hooks and resident.failure is None:
            finished = await self._run_user_hook(resident, worker, hook.name, piece)
        if hook is ACTIVATE and resident.failure is None:
            self.timing.activated(resident)
        if finished and hook in (CONNECT, DISCONNECT) and resident.keeper is not None and keeps_sessions(resident):
            resident.keeper.add(Outcome(piece, NO_EFFECTS, None))
            return False
        if hook is ACTIVATE:
            resident.active = True
        return finished

    async def _ask_and_subscribe(
        self, resident: Resident, worker: Worker, request: StateSub | EventSub, piece: Piece
    ) -> bool:
        kind: AccessKind = "state:sub" if type(request) is StateSub else "event:sub"
        if resident.failure is None and (error := await self._refused(resident, worker, kind, piece)) is not None:
            return self.refuse(piece[0], request, piece[2], error)
        return self._subscribe(resident, piece[0], request, piece[2])

    async def _refused(
        self, resident: Resident, worker: Worker, kind: AccessKind, piece: Piece
    ) -> BaseException | None:
        """Why a guard does not let the session do this; None if all do."""
        instance = resident.instance
        worker.begin(instance, kind, self._handler_timeout_s)
        try:
            await instance.admit(Access(instance, kind, piece[0].caller, piece[2]))
        except BaseException as error:  # noqa: BLE001 — border: a developer's guard
            self._end(worker)
            self.reraise_if_stopping(error)
            return error
        self._end(worker)
        return None

    async def _is_admitted(self, resident: Resident, worker: Worker, piece: Piece) -> bool:
        """Whether a call of a session that was not introduced, since it has ended meanwhile, would have been let in."""
        link, request, request_id = piece[:3]
        session = link.session
        assert session is not None
        if not resident.instance.definition.guards or resident.instance.sessions.get(session.id) is link:
            return True
        error = await self._refused(resident, worker, "connect", piece)
        if error is None:
            return True
        if self.refuse(link, request, request_id, error, resident, piece):  # type: ignore[arg-type]
            self.finish(piece)
        return False

    async def _is_welcome(self, resident: Resident, worker: Worker, piece: Piece) -> bool:
        """Whether the session may be introduced; if not, the instance does not know it."""
        if not resident.instance.definition.guards or resident.failure is not None:
            return True
        error = await self._refused(resident, worker, "connect", piece)
        if error is not None:
            self._turn_away(resident, piece[0], error)
        return error is None

    def _turn_away(self, resident: Resident, link: Link, error: BaseException) -> None:
        """Forgets the session; the request that introduced it is answered with the error."""
        assert link.session is not None
        self._forget(resident, link)
        self._drop_known(link.session.id, resident)
        piece = resident.mailbox[0] if resident.mailbox else None
        if piece is None or piece[0] is not link or isinstance(piece[1], Hook | Withdrawn):
            return
        resident.mailbox.popleft()
        if self.refuse(link, piece[1], piece[2], error, resident, piece):
            self.finish(piece)

    async def _run_user_hook(self, resident: Resident, worker: Worker, hook: str, piece: Piece) -> bool:
        turn = resident.instance.run_hook(hook, piece[0].caller, "")
        return await self.run_unasked(resident, worker, piece, hook, turn)

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
        worker.begin(instance, name, limit_s or self._handler_timeout_s)
        try:
            effects = await turn
        except BaseException as error:  # border: a developer's hook, or what a timer calls
            fields = {"actor": instance.definition.name, "actor_id": instance.actor_id, "method": name}
            self._end(worker)
            self.reraise_if_stopping(error)
            resident.counts.hook_failures += 1
            log.error("%s raised", name, exc_info=error, extra=fields)
            if lost is None:
                return True
            effects = lost
        else:
            self._end(worker)
        if resident.keeper is not None:
            resident.keeper.add(Outcome(piece, effects, None))
            return False
        self.publish(resident, effects)
        return True

    def publish(self, resident: Resident, effects: Effects) -> None:
        """Patch first, then the events, each encoded once; then what the turn ordered."""
        _, operations, events, orders = effects
        if operations is not None:
            self._eviction.weigh(resident)
            if resident.views is not None:
                self._views.publish(resident, resident.views)
            elif resident.history is not None and operations != UNSEEN:
                version = resident.history.add(operations)
                if resident.watchers.links:
                    self._outlet.broadcast(resident.watchers, frames.patch(resident.address, operations, version))
        for event in events:
            audience = resident.events.only(event.to, event.exclude)
            if audience.links:
                frame = frames.event(resident.address, event.definition.name_json, event.payload)
                self._outlet.broadcast(audience, frame)
        for order in orders:
            self._carriers[type(order)](resident, order)

    def carry_out(self, kind: type[AnyOrder], carrier: Callable[[Resident, AnyOrder], None]) -> None:
        """Registers who carries out the orders of this kind; a carrier does not wait and does not fail."""
        self._carriers[kind] = carrier

    # -- sessions ------------------------------------------------------------------------------------------------

    def _introduce(self, resident: Resident, link: Link, request: Request | Hook | Withdrawn, piece: Piece) -> bool:
        """A session's first request to the instance: `on_connect` goes in front of it (True), as a turn of its own.

        A session that has ended meanwhile stays a stranger, and so does one that only takes a subscription back.
        """
        assert link.session is not None
        session_id = link.session.id
        if link.lapsed or session_id in self._gone or type(request) in (Hook, StateUnsub, EventUnsub):
            return False
        returned = session_id in resident.instance.sessions
        self.remember(resident, session_id, link)
        if returned or not self._has_connect(resident):
            return False
        self._pending += 1
        resident.mailbox.extendleft((piece, (link, CONNECT, "", None, piece[4], None)))
        return True

    def _has_connect(self, resident: Resident) -> bool:
        """Whether a new session causes a piece: for guards, for `on_connect`, or to note it for its `on_disconnect`."""
        definition = resident.instance.definition
        return "on_connect" in definition.hooks or bool(definition.guards) or keeps_sessions(resident)

    def end_absent(self, resident: Resident, absent: dict[str, Absent]) -> None:
        """Ends the sessions that have not returned to this instance, nor to any other of this process."""
        if self._residents.get(_address(resident)) is not resident:
            return
        now = self._clock.now()
        for session_id, link in absent.items():
            known = self._known.get(session_id, {})
            if resident in known and all(type(other.instance.sessions.get(session_id)) is Absent for other in known):
                self._drop_known(session_id, resident)
                self._put(resident, (link, DISCONNECT, "", None, now, None))

    def remember(self, resident: Resident, session_id: str, link: Link) -> None:
        """The instance knows the session from now on, by this link."""
        resident.instance.sessions[session_id] = link
        self._known.setdefault(session_id, {})[resident] = None

    def _drop_known(self, session_id: str, resident: Resident) -> None:
        known = self._known.get(session_id, {})
        known.pop(resident, None)
        if not known:
            self._known.pop(session_id, None)

    def _forget(self, resident: Resident, link: Link) -> None:
        """Drops a session; a hook that runs again finds it dropped already, or back with another link."""
        assert link.session is not None
        session_id = link.session.id
        if resident.instance.sessions.get(session_id) is link:
            del resident.instance.sessions[session_id]
            resident.watchers.discard(session_id)
            resident.events.discard(session_id)

    def part_with(self, resident: Resident, link: Link, *, introduced: bool) -> bool:
        """The instance does not know the session any more; False if its `on_disconnect` is on its way already.

        That is the next turn, for one that was `introduced`, and does not concern its link, which may come back.
        """
        session = link.session
        assert session is not None
        if resident not in self._known.get(session.id, ()):
            return False
        self._forget(resident, link)
        self._drop_known(session.id, resident)
        if introduced:
            self._pending += 1
            resident.mailbox.appendleft((Absent(session), DISCONNECT, "", None, self._clock.now(), None))
            self.schedule(resident)
        return True

    def _subscribe(self, resident: Resident, link: Link, request: Request, request_id: str) -> bool:
        session_id = "" if link.session is None else link.session.id
        if type(request) is StateUnsub:
            resident.watchers.discard(session_id)
        elif type(request) is EventUnsub:
            resident.events.discard(session_id)
        elif session_id in resident.instance.sessions:
            if resident.failure is not None:
                self.refuse(link, request, request_id, resident.failure)
            elif isinstance(request, StateSub):
                self._watch(resident, link, request, request_id)
            else:
                resident.events.add(session_id, link)
        return True

    def _may_watch_beside(self, resident: Resident, link: Link) -> bool:
        """Whether there is a state to see, and no earlier link of the session still waits for its `on_disconnect`."""
        session_id = "" if link.session is None else link.session.id
        return resident.active and resident.instance.sessions.get(session_id, link) is link

    def _watch_beside(self, resident: Resident, link: Link, request: StateSub, request_id: str, now: float) -> None:
        """A state subscription while a turn is suspended: the committed state at once, `on_connect` in its order."""
        if link.session is None or link.session.id in self._gone:
            return
        mailbox = resident.mailbox
        for index, piece in enumerate(mailbox):
            if piece[0] is link and type(piece[1]) is StateUnsub:  # it came before, and must not end this one
                mailbox[index] = (NOBODY, NOTHING, "", piece[3], piece[4], None)
        self._meet(resident, link, request_id, now)
        self._watch(resident, link, request, request_id)

    def _meet(self, resident: Resident, link: Link, request_id: str, now: float) -> None:
        """The instance knows the session from now on, though its `on_connect` runs when its turn comes."""
        assert link.session is not None
        if link.session.id not in resident.instance.sessions:
            self.remember(resident, link.session.id, link)
            if self._has_connect(resident):
                self._put(resident, (link, CONNECT, request_id, None, now, None))

    def meet_beside(self, resident: Resident, link: Link, piece: Piece) -> bool:
        """Whether a call may pass the mailbox: not where guards or `on_connect` are for its session to meet first."""
        known = link.session is None or link.session.id in resident.instance.sessions
        if not known and resident.instance.definition.guards:
            return False
        if known or self.has_ended(link):
            return self._may_watch_beside(resident, link)
        if not resident.scheduled and self._has_connect(resident):
            return False
        self._meet(resident, link, piece[2], piece[4])
        return True

    def _watch(self, resident: Resident, link: Link, request: StateSub, request_id: str) -> None:
        """Answers a state subscription: with the patches since the client's version, or with a snapshot."""
        assert link.session is not None
        if resident.views is not None:
            self._views.watch(resident, resident.views, link, request, request_id)
            return
        history = resident.history
        if history is None:
            history = resident.history = History()
        missing = history.missing(request.version())
        if missing is not None:
            resident.watchers.add(link.session.id, link)
            for operations, version in missing or [(b"[]", history.version())]:
                link.send(frames.patch(resident.address, operations, version))
            return
        try:
            state = _visible(resident)
        except Exception as error:  # border: a developer's field serializers
            log.error("snapshot failed", exc_info=error, extra=_fields(resident.instance))
            link.send(frames.problem(to_caller(error, request_id, dev_mode=self._dev_mode), *_address(resident)))
            return
        resident.watchers.add(link.session.id, link)
        link.send(frames.snapshot(resident.address, state, history.version()))

    def show(self, resident: Resident) -> None:
        """Gives every watcher a snapshot: the state has moved without patches, or patches may have been lost."""
        if resident.views is not None:
            self._views.show(resident, resident.views)
            return
        if not resident.watchers.links or resident.history is None:
            return
        try:
            state = _visible(resident)
        except Exception as error:
            log.error("snapshot failed", exc_info=error, extra=_fields(resident.instance))
            return
        self._outlet.broadcast(resident.watchers, frames.snapshot(resident.address, state, resident.history.version()))

    def show_all(self) -> None:
        """Gives every watcher of every instance a snapshot; where the store may know better, once it has been asked."""
        for resident in self._residents.values():
            keeper = resident.keeper
            if keeper is None or keeper.current:
                self.show(resident)
            else:
                keeper.unshown = True

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
        self._eviction.close()
        self.timing.stop()
        now = self._clock.now()
        for resident in self._residents.values():
            if "on_deactivate" in resident.instance.definition.hooks:
                self._put(resident, (NOBODY, DEACTIVATE, "", None, now, None))
        await self.drain(timeout_s)
        await self.timing.wheel.aclose(timeout_s)
        await self.abort()

    async def abort(self) -> None:
        """Stops at once, as a process that dies: no hook runs, nothing that is here is answered or done."""
        self._closing = True
        self._eviction.close()
        self.timing.stop()
        await self.timing.wheel.abort()
        await self._pool.stop()
        await self._beside.stop()
        self._residents.clear()
        self._known.clear()

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
        self._put(resident, (NOBODY, EVICT, "", done, self._clock.now(), None))

    def remove(self, resident: Resident) -> None:
        """The instance is not here any more; the next request to it makes a fresh one."""
        if self._residents.get(_address(resident)) is resident:
            del self._residents[_address(resident)]
            resident.counts.instances -= 1
        for session_id in list(resident.instance.sessions):
            self._drop_known(session_id, resident)
        self._eviction.forget(resident)
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
        yield Sample("worker_tasks", "Tasks of the worker pool.", "gauge", self._pool.size)
        yield from self._eviction.samples()
        yield from self.timing.samples()
        yield from self.tells.samples()
        for actor, counts in self._counts.items():
            yield from counts.samples(actor)


def _done(done: Callable[[], None] | None) -> None:
    if done is not None:
        done()


def _visible(resident: Resident) -> bytes:
    """JSON of what a subscriber may see: of a durable instance, what is stored."""
    instance, keeper = resident.instance, resident.keeper
    return instance.public(instance.document.snapshot() if keeper is None else keeper.visible)


def _address(resident: Resident) -> tuple[str, str]:
    return resident.instance.definition.name, resident.instance.actor_id


def _fields(instance: Instance) -> dict[str, str]:
    return {"actor": instance.definition.name, "actor_id": instance.actor_id}


def _call_fields() -> dict[str, str] | None:
    worker = current_worker.get()
    return None if worker is None else worker.call_fields()
