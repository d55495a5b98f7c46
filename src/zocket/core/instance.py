"""One instance of an actor: its state, the turn in progress, and who knows it.

Rules: one turn at a time (the host sees to it); a turn that fails leaves the state as it was and nothing of it leaves;
a turn returns effects and performs none. No event loop, no clock.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from zocket.core.actor import Call, Emitted
from zocket.core.guards import Access, ask
from zocket.core.redaction import redact, redact_operations
from zocket.core.reminders import NO_REMINDERS
from zocket.core.session import INSTANCE, Caller
from zocket.errors import StateValueError, TooLarge, UsageError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from zocket.core.actor import Actor
    from zocket.core.actors import Actors
    from zocket.core.definition import ActorDefinition, MethodDefinition
    from zocket.core.orders import Order
    from zocket.errors import ZocketError
    from zocket.state import Document, Operations

Effects = tuple[bytes | None, "Operations | None", "list[Emitted] | tuple[()]", "list[Order] | tuple[()]"]
"""What a committed turn causes: the result's JSON (None: none), the patch operations that clients may see (None: no
change, `UNSEEN`: none that they may see), the events, and what else it ordered."""

_NOTHING: Final = ()


class Instance:
    """An actor object with its document; what `self.…` of a handler reads.

    Attributes:
        sessions: the sessions that the instance knows, by id; the host keeps it.
        key: names the call in progress over all its retries, "" if it has no idempotency key.
        events: emitted by the turn in progress.
        orders: of the turn in progress.
        send_chunk: takes the chunks of a method that yields; set by the host for its turn.
        flusher: lets out what `commit_part` gives; set by the host.
        reminders: as the last turn that committed left them.
        wall: gives the time of day, in seconds since the epoch.
        reach: makes its `actors`; set by the host that runs it.
        abandoned: set by the host while a turn runs (its time is up): the turn fails with this error, whatever the
            handler makes of it.
    """

    __slots__ = (
        "_actors",
        "_redacted",
        "abandoned",
        "actor",
        "actor_id",
        "caller",
        "ctx",
        "definition",
        "document",
        "events",
        "flusher",
        "in_turn",
        "key",
        "max_result_bytes",
        "orders",
        "reach",
        "reminders",
        "request_id",
        "send_chunk",
        "sessions",
        "wall",
    )

    def __init__(
        self,
        definition: ActorDefinition,
        actor_id: str,
        *,
        max_state_bytes: int | None = None,
        max_result_bytes: int | None = None,
        wall: Callable[[], float] = float,
        document: Document[Any] | None = None,
    ) -> None:
        self.definition = definition
        self.actor_id = actor_id
        self.document = definition.new_document(max_state_bytes, actor_id) if document is None else document
        self.max_result_bytes = max_result_bytes
        self.sessions: dict[str, Any] = {}
        self.caller: Caller = INSTANCE
        self.ctx: Any = None
        self.request_id = ""
        self.key = ""
        self.in_turn = False
        self._redacted = b"", b""
        self.send_chunk: Callable[[bytes], Awaitable[None]] | None = None
        self.flusher: Callable[[Instance], Awaitable[None]] | None = None
        self.abandoned: ZocketError | None = None
        self.events: list[Emitted] = []
        self.orders: list[Order] = []
        self.reminders = NO_REMINDERS
        self.wall = wall
        self.reach: Callable[[Instance], Actors] | None = None
        self._actors: Actors | None = None
        self.actor = self._new_actor()

    def _new_actor(self) -> Actor[Any, Any]:
        actor: Actor[Any, Any] = self.definition.cls.__new__(self.definition.cls)
        actor._instance = self  # noqa: SLF001 — the two are one thing seen from two sides
        actor.__init__()  # type: ignore[misc]
        return actor

    async def call(self, method: MethodDefinition, raw: Any, caller: Caller, request_id: str, key: str = "") -> Effects:
        """One turn: validate, middleware, handler, commit. `key` becomes `self.message_id` if there is one.

        Raises:
            ValidationFailed: the input does not fit; nothing ran, and no guard was asked.
            TooLarge: the result or the state is over its limit.
            BaseException: whatever a guard, middleware or the handler raised. The state is as it was in every one of
                these cases.
        """
        arguments = method.decode_input(raw) if method.takes_input else {}
        if self.definition.guards:
            await self.admit(Access(self, "rpc", caller, request_id, method.name, arguments))
        self.caller = caller
        self.request_id = request_id
        self.key = key
        self.in_turn = True
        self.document.begin()
        try:
            if self.definition.middleware:
                value = await self._through(Call(self, method.name, arguments), method, 0)
            elif arguments:
                value = await method.function(self.actor, **arguments)
            else:
                value = await method.function(self.actor)
            result = method.encode_result(value)
            if result is not None and self.max_result_bytes is not None and len(result) > self.max_result_bytes:
                raise TooLarge(f"{method.name}: a result of {len(result)} bytes, the limit is {self.max_result_bytes}")
            if self.abandoned is not None or self.events or self.orders or self.definition.masks:
                return self._commit(result)
            return result, self.document.commit(), _NOTHING, _NOTHING
        except BaseException as error:
            self._roll_back(error)
            raise
        finally:
            self._end()

    @property
    def actors(self) -> Actors:
        """See `Actor.actors`."""
        if self._actors is None:
            if self.reach is None:
                raise UsageError(f"{self.definition.name}: self.actors is there once a host runs the instance")
            self._actors = self.reach(self)
        return self._actors

    @property
    def message_id(self) -> str:
        """See `Actor.message_id`."""
        session = self.caller.session
        if self.key or session is None or not self.request_id:
            return self.key or self.request_id
        return f"{session.socket or session.id}.{self.request_id.rpartition('.')[2]}"

    async def run_hook(self, hook: str, caller: Caller, request_id: str) -> Effects:
        """One turn of a hook (`definition.HOOKS`); errors as of `call`."""
        self.caller = caller
        self.request_id = request_id
        self.key = ""
        self.in_turn = True
        self.document.begin()
        try:
            await getattr(self.actor, hook)()
            return self._commit(None)
        except BaseException as error:
            self._roll_back(error)
            raise
        finally:
            self._end()

    def public(self, state: bytes) -> bytes:
        """What clients may see of a snapshot of the state; kept until another one is asked for."""
        if not self.definition.masks:
            return state
        if state is not self._redacted[0]:
            self._redacted = state, redact(state, self.definition.masks)
        return self._redacted[1]

    def look(self, document: Document[Any], key: Any) -> bytes:
        """The JSON of the class's view of a document, for one audience; outside any turn.

        Raises:
            BaseException: whatever the view raised, or its result cannot be written.
        """
        view = self.definition.view
        assert view is not None
        turn = self.document, self.in_turn, self.caller, self.ctx
        self.document, self.in_turn, self.caller, self.ctx = document, False, INSTANCE, None
        try:
            return view.show(self.actor, key)
        finally:
            self.document, self.in_turn, self.caller, self.ctx = turn

    async def run_timer(
        self, name: str, work: Callable[[], Awaitable[object]], caller: Caller, key: str, first: Sequence[Order]
    ) -> Effects:
        """One turn that a timer or reminder causes; `first` is ordered before what it orders. Errors as of `call`."""
        if self.definition.guards:
            await self.admit(Access(self, "timer", caller, "", name))
        self.caller = caller
        self.request_id = ""
        self.key = key
        self.in_turn = True
        self.document.begin()
        self.orders += first
        try:
            await work()
            return self._commit(None)
        except BaseException as error:
            self._roll_back(error)
            raise
        finally:
            self._end()

    async def admit(self, access: Access[Any]) -> None:
        """Returns if every guard allows it; outside a turn, so that a guard changes nothing.

        Raises:
            BaseException: what the guard that refuses raised, or that the time is up.
        """
        try:
            await ask(self.definition.guards, access)
        except BaseException as error:
            if (abandoned := self.abandoned) is not None:
                self.abandoned = None
                raise abandoned from error
            raise
        if (abandoned := self.abandoned) is not None:
            self.abandoned = None
            raise abandoned

    def cancel_running(self) -> bool:
        """See `Actor.cancel_running`."""
        raise UsageError(f"{self.definition.cls.__name__}.cancel_running: only for methods with @method(beside=True)")

    async def flush(self) -> None:
        """See `Actor.flush`."""
        if not self.in_turn or self.flusher is None:
            raise UsageError(f"{self.definition.cls.__name__}.flush: there is no turn of the instance in progress")
        await self.flusher(self)

    def commit_part(self) -> Effects:
        """Commits what the turn in progress has done so far; errors as of its end, after which it goes on as it was."""
        effects = self._commit(None)
        self.events = []
        self.orders = []
        self.document.begin()
        return effects

    def _commit(self, result: bytes | None) -> Effects:
        if self.abandoned is not None:
            raise self.abandoned
        events = self._checked_events() if self.events else _NOTHING
        operations = self.document.commit()
        if operations is not None and self.definition.masks:
            operations = redact_operations(operations, self.definition.masks)
        return result, operations, events, self.orders or _NOTHING

    def _roll_back(self, error: BaseException) -> None:
        self.document.rollback()
        if self.abandoned is not None and error is not self.abandoned:
            raise self.abandoned from error

    def _end(self) -> None:
        self.in_turn = False
        self.caller = INSTANCE
        self.ctx = None
        self.abandoned = None
        if self.events:
            self.events = []
        if self.orders:
            self.orders = []

    def _checked_events(self) -> list[Emitted]:
        if self.max_result_bytes is not None:
            for event in self.events:
                if len(event.payload) > self.max_result_bytes:
                    raise StateValueError(
                        f"{event.definition.name}: an event of {len(event.payload)} bytes is over the limit"
                    )
        return self.events

    async def _through(self, call: Call[Any], method: MethodDefinition, index: int) -> Any:
        """The middleware from `index` on, then the handler."""
        chain = self.definition.middleware
        if index == len(chain):
            self.ctx = call.ctx
            return await method.function(self.actor, **call.arguments)
        call_next: Callable[[Call[Any]], Awaitable[Any]] = lambda passed: self._through(passed, method, index + 1)  # noqa: E731
        return await chain[index](call, call_next)
