"""What a developer writes with: `Actor`, `@method`, `Event`, and what middleware sees: `Call`.

Rules: a method's signature is the call's signature; what a handler needs of its surroundings is on `self`; what is
used where it means nothing raises a named error. The class is also the type of a client's handle.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Iterable, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, NamedTuple, cast, overload

from typing_extensions import TypeVar

from zocket.core.kicks import MAX_REASON_CHARS, Kick
from zocket.core.reminders import Reminders
from zocket.core.timers import Timers
from zocket.errors import DefinitionError, EventError, NoSessionError, StateValueError, UsageError

if TYPE_CHECKING:
    from types import FrameType

    from zocket.core.actors import Actors
    from zocket.core.definition import EventDefinition
    from zocket.core.guards import Guard
    from zocket.core.instance import Instance
    from zocket.core.session import Caller, Session

S = TypeVar("S")
C = TypeVar("C", default=Any)
P = TypeVar("P")
A = TypeVar("A", bound="Actor[Any, Any]")
F = TypeVar("F", bound=Callable[..., Any])

METHOD_MARK = "__zocket_method__"
"""Attribute of a function that `@method` was put on: its `MethodOptions`."""


class MethodOptions:
    """What `@method(…)` was given."""

    __slots__ = ("beside", "publish_every_s", "query", "timeout_s")

    def __init__(
        self, timeout_s: float | None, publish_every_s: float | None = None, *, beside: bool, query: bool = False
    ) -> None:
        self.timeout_s = timeout_s
        self.publish_every_s = publish_every_s
        self.beside = beside
        self.query = query


@overload
def method(function: F, /) -> F: ...
@overload
def method(
    *, timeout_s: float | None = None, publish_every: float | None = None, beside: bool = False
) -> Callable[[F], F]: ...
def method(
    function: F | None = None,
    /,
    *,
    timeout_s: float | None = None,
    publish_every: float | None = None,
    beside: bool = False,
) -> F | Callable[[F], F]:
    """Makes an `async def` of an actor callable by clients.

    One that yields, annotated `-> AsyncIterator[T]`, sends each value to its caller when it is made.

    Args:
        function: the method itself, for the form without parentheses.
        timeout_s: its time limit in seconds, of one that yields between two values; None is the limit of the process.
        publish_every: seconds after which it is flushed while it waits for something (see `Actor.flush`), again and
            again; None for not before its end.
        beside: it runs like a `query`, beside the turn in progress, and may cancel that one (`Actor.cancel_running`).
    """
    return _marked(function, MethodOptions(timeout_s, publish_every, beside=beside))


@overload
def query(function: F, /) -> F: ...
@overload
def query(*, timeout_s: float | None = None) -> Callable[[F], F]: ...
def query(function: F | None = None, /, *, timeout_s: float | None = None) -> F | Callable[[F], F]:
    """Makes an `async def` of an actor callable by clients that only reads, and waits for no other call.

    It reads one committed state from its beginning to its end, of a durable actor what is stored, on an actor object of
    its own: it never sees the turn in progress. Writing to the state and emitting an event raise an error.

    Args:
        function: the method itself, for the form without parentheses.
        timeout_s: as of `method`.
    """
    return _marked(function, MethodOptions(timeout_s, beside=True, query=True))


def _marked(function: F | None, options: MethodOptions) -> F | Callable[[F], F]:
    def mark(target: F) -> F:
        setattr(target, METHOD_MARK, options)
        return target

    return mark if function is None else mark(function)


class Emitter(Generic[P]):
    """An event on `self`: `self.posted.emit(payload)`."""

    __slots__ = ("_actor", "_event")

    def __init__(self, event: Event[P], actor: Actor[Any, Any]) -> None:
        self._event = event
        self._actor = actor

    def emit(
        self, payload: P, *, to: str | Iterable[str] | None = None, exclude: str | Iterable[str] | None = None
    ) -> None:
        """Sends the event to the instance's event subscribers once the turn has committed, after its patch.

        Args:
            payload: written as JSON now; a later change of the object does not count.
            to: only to this session id, or these.
            exclude: not to this session id, or these.

        Raises:
            EventError: the payload is not of the event's type, or JSON cannot hold it.
            UsageError: there is no turn in progress, or both `to` and `exclude` are given.
        """
        instance = self._actor._instance  # noqa: SLF001 — an emitter is a part of its actor
        if not instance.in_turn:
            raise UsageError(f"{self._event.label}: an event can only be emitted inside a turn of its instance")
        if to is not None and exclude is not None:
            raise UsageError(f"{self._event.label}: give to= or exclude=, not both")
        definition = instance.definition.events_by_attribute.get(self._event.attribute)
        if definition is None:
            raise EventError(f"{self._event.label}: not an event of the app's {instance.definition.name}")
        instance.events.append(Emitted(definition, definition.encode(payload), _ids(to), _ids(exclude)))


class Emitted(NamedTuple):
    """An event of the turn in progress; it leaves if the turn commits."""

    definition: EventDefinition
    payload: bytes
    to: frozenset[str] | None
    exclude: frozenset[str] | None


def _ids(value: str | Iterable[str] | None) -> frozenset[str] | None:
    if value is None:
        return None
    return frozenset((value,)) if isinstance(value, str) else frozenset(value)


class EventOf(Generic[A, P]):
    """An event as seen on its class: names it for a subscription, typed by its owner."""

    __slots__ = ("event", "owner")

    def __init__(self, event: Event[P], owner: type[A]) -> None:
        self.event = event
        self.owner = owner

    @property
    def attribute(self) -> str:
        """The name of the event in its class."""
        return self.event.attribute

    def __repr__(self) -> str:
        return f"<event {self.event.label}>"


class Event(Generic[P]):
    """An event that an actor declares: `posted = Event(Message)`, or `Event[int | None]()` for any other type."""

    def __init__(self, payload: type[P] | None = None) -> None:
        self._payload = payload
        self.attribute = ""
        self.owner_name = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self.attribute = name
        self.owner_name = owner.__name__

    @property
    def label(self) -> str:
        """`Class.event`, for messages."""
        return f"{self.owner_name}.{self.attribute}"

    @property
    def payload_annotation(self) -> Any:
        """The declared type of the payload.

        Raises:
            DefinitionError: none was declared.
        """
        if self._payload is not None:
            return self._payload
        generic = getattr(self, "__orig_class__", None)
        if generic is None:
            raise DefinitionError(
                f"{self.label}: write Event(Message), or Event[int | None]() for a type that is no class"
            )
        return generic.__args__[0]

    @overload
    def __get__(self, instance: None, owner: type[A]) -> EventOf[A, P]: ...
    @overload
    def __get__(self, instance: Actor[Any, Any], owner: type[Any]) -> Emitter[P]: ...
    def __get__(self, instance: Actor[Any, Any] | None, owner: type[Any]) -> EventOf[Any, P] | Emitter[P]:
        if instance is None:
            return EventOf(self, owner)
        return Emitter(self, instance)

    def __set__(self, instance: object, value: object) -> None:
        raise UsageError(f"{self.label}: an event cannot be assigned; use .emit(payload)")

    def encode(self, definition: EventDefinition, payload: P) -> bytes:
        """The payload's JSON.

        Raises:
            EventError: it is not of the declared type, or JSON cannot hold it.
        """
        schema = definition.schema
        if not schema.check(payload):
            expected = getattr(schema.annotation, "__name__", repr(schema.annotation))
            raise EventError(f"{self.label}: expected {expected}, got {type(payload).__name__}")
        try:
            return schema.encode(payload)
        except StateValueError as error:
            raise EventError(f"{self.label}: {error.message}") from error


def _refuse_assignment(actor: object, value: object) -> None:
    raise UsageError(f"{type(actor).__name__}: state and id cannot be assigned; change the parts of the state instead")


_STATE_DOC = "The state: read it natively, change it plainly inside a turn."


class Actor(Generic[S, C]):
    """Base of every actor: `class ChatRoom(Actor[RoomState])`.

    `S` is the state: a Pydantic model, msgspec Struct, dataclass, `dict[...]`, TypedDict or `list[...]`, made from its
    defaults. `C` is what middleware adds as `self.ctx`. Plain attributes of `self` are neither rolled back nor kept.
    """

    middleware: ClassVar[Sequence[Middleware]] = ()
    """Runs after the app's middleware, around every method of this class."""
    guards: ClassVar[Sequence[Guard]] = ()
    """Asked after the app's guards, before a session is introduced, calls or subscribes, and before a timer fires."""
    durability: ClassVar[Literal["memory", "file", "sync"]] = "memory"
    """Where the state lives: in memory, or in a store that keeps it over restarts (`file`), to the disk with every
    commit (`sync`)."""
    version: ClassVar[int] = 1
    """Version of the state; raise it with a `@migrate(from_version=…)` when stored state has to change."""
    max_pending: ClassVar[int | None] = None
    """Calls of this type in progress over NATS; None is the setting MAX_ACK_PENDING (256)."""
    idle_after: ClassVar[float | None] = None
    """Seconds without a turn or a subscriber after which an instance leaves memory. None: a durable one after the
    setting IDLE_AFTER_S (300), one in memory never. State in memory is gone then, durable state is loaded again."""
    grace: ClassVar[float | None] = None
    """Seconds, at most 3,600, for which an instance keeps a session whose socket was lost without a goodbye: `on_drop`
    runs, and `on_resume` if the client is back in time with the same session, else `on_disconnect`. None: that runs at
    once, and a client that comes back is introduced anew."""

    _instance: Instance
    __zocket_namespace__: ClassVar[dict[str, Any] | None] = None
    __zocket_state__: ClassVar[Callable[[], Any]]

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        frame = sys._getframe(1)  # noqa: SLF001 — annotations of a class in a function name what is local there
        cls.__zocket_namespace__ = _locals_of(frame)

    state: S = cast("S", property(attrgetter("_instance.document.state"), _refuse_assignment, doc=_STATE_DOC))
    id = cast("str", property(attrgetter("_instance.actor_id"), _refuse_assignment, doc="The id of this instance."))

    @classmethod
    def initial_state(cls) -> Any:
        """The state of a new instance: the state type's defaults. Override it for a type without defaults."""
        return cls.__zocket_state__()

    @property
    def session(self) -> Session:
        """The client session that calls.

        Raises:
            NoSessionError: nobody calls (`on_activate`, `on_deactivate`), or the call came from server code or another
                actor.
        """
        session = self._instance.caller.session
        if session is None:
            raise NoSessionError(
                f"{type(self).__name__}: no client session calls here (the caller is {self._instance.caller.kind}); "
                "look at self.caller first"
            )
        return session

    @property
    def caller(self) -> Caller:
        """Who caused the turn: a client, server code, another actor, or the instance itself."""
        return self._instance.caller

    @property
    def timers(self) -> Timers:
        """Starts timers: calls of this instance's methods later on, while it is in memory."""
        return Timers(self._instance)

    @property
    def actors(self) -> Actors:
        """The other actors of the app: `await self.actors.get(Room, "archive").post(text="…")`, and one-way `tell`."""
        return self._instance.actors

    @property
    def reminders(self) -> Reminders:
        """Sets reminders: calls of this instance's methods later on, stored, also in another process."""
        return Reminders(self._instance)

    @property
    def message_id(self) -> str:
        """Names the call in progress, like no other: a key for effects outside. Empty in hooks and timers.

        It is the same when the message is delivered again, for a call with an idempotency key also over every retry,
        and for a run of a reminder or `@cron` however often it is begun.
        """
        return self._instance.message_id

    @property
    def clients(self) -> tuple[str, ...]:
        """Ids of the connected sessions that have called or subscribed since the instance was activated, oldest first.

        A class with `on_connect` or `on_disconnect` stays in memory while it knows a session. Others may leave memory
        between two calls of a session, and know it again from its next request on.
        """
        return tuple(self._instance.sessions)

    @property
    def presence(self) -> dict[str, Session]:
        """The sessions of `clients` by id: who they are, and what their clients say of themselves.

        After a durable actor was loaded, those that it knows from its stored state have their user id alone, until they
        send something.
        """
        return {session_id: link.session for session_id, link in self._instance.sessions.items()}

    def kick(self, session_id: str, reason: str = "", *, close: bool = False) -> bool:
        """Parts with a session once the turn has committed; False if the instance does not know it.

        Its subscriptions to the instance end, what it has waiting here is refused, it gets an error frame with the code
        `kicked`, and `on_disconnect` is the next turn. Its next request brings it back, unless a guard refuses that. A
        kick that has not left when its process dies is not repeated.

        Args:
            session_id: one of `clients`.
            reason: what its client is told, at most 1,000 characters.
            close: its socket is closed, too (4403), and its client does not connect again by itself.

        Raises:
            UsageError: there is no turn in progress, or the reason is too long.
        """
        instance, label = self._instance, f"{type(self).__name__}.kick"
        if not instance.in_turn:
            raise UsageError(f"{label}: a session can only be kicked inside a turn of the instance")
        if len(reason) > MAX_REASON_CHARS:
            raise UsageError(f"{label}: a reason of {len(reason)} characters, the limit is {MAX_REASON_CHARS}")
        if session_id not in instance.sessions:
            return False
        instance.orders.append(Kick(session_id, reason, close=close))
        return True

    @property
    def ctx(self) -> C:
        """What middleware put into `call.ctx`; None if nothing did."""
        return cast("C", self._instance.ctx)

    def cancel_running(self) -> bool:
        """Cancels the call whose turn is in progress: it is rolled back and answered with the code `cancelled`.

        For methods with `@method(beside=True)`. Gives whether there was one; hooks are not cancelled.

        Raises:
            UsageError: called elsewhere.
        """
        return self._instance.cancel_running()

    async def flush(self) -> None:
        """Lets the state changes and events of the turn so far leave now; a durable actor's once they are stored.

        If the turn fails later, the state is what it was here, and nothing that has left comes back. The call does not
        count as finished: if its process dies, a durable actor runs it again, on what was flushed. A value that was
        placed into the state is copied here, so read it back from the state before changing it further.

        Raises:
            UsageError: there is no turn in progress.
            StateValueError: the state holds what JSON cannot.
            TooLarge: the state or an event is over its limit.
            PlatformError: it cannot be stored; the turn fails.
        """
        await self._instance.flush()

    async def on_activate(self) -> None:
        """Runs once, before the first method of a new instance."""

    async def on_connect(self) -> None:
        """Runs before the first request of a session to this instance."""

    async def on_drop(self) -> None:
        """Runs after a session that this instance knew was lost without a goodbye, in a class with a `grace`.

        `self.session` is that session. It stays in `self.clients`; nothing that is sent reaches it until `on_resume`.
        """

    async def on_resume(self) -> None:
        """Runs after `on_drop` when the client is back within the `grace`; `self.session.id` is what it was."""

    async def on_disconnect(self) -> None:
        """Runs once after a session that this instance knew has ended; `self.session` is that session.

        With a `grace`, of a session that was dropped, when that is over and the client has not come back.
        """

    async def on_deactivate(self) -> None:
        """Runs as the last turn before the instance leaves memory: on a clean stop, or because it is idle."""


def _locals_of(frame: FrameType) -> dict[str, Any] | None:
    """The local names around a class statement, or None at module level."""
    return None if frame.f_locals is frame.f_globals else dict(frame.f_locals)


class Call(Generic[C]):
    """One call of a method, as middleware sees it.

    Attributes:
        actor: wire name of the actor type.
        actor_id: which instance.
        method: wire name of the method.
        arguments: the validated keyword arguments; middleware may change them.
        caller: who calls.
        ctx: becomes `self.ctx` of the handler.
        request_id: finds the log lines of this call.
    """

    __slots__ = ("actor", "actor_id", "arguments", "caller", "ctx", "method", "request_id")

    def __init__(self, instance: Instance, method: str, arguments: dict[str, Any]) -> None:
        self.actor = instance.definition.name
        self.actor_id = instance.actor_id
        self.method = method
        self.arguments = arguments
        self.caller = instance.caller
        self.request_id = instance.request_id
        self.ctx: C = cast("C", None)

    @property
    def session(self) -> Session:
        """The client session that calls.

        Raises:
            NoSessionError: the call came from server code or another actor.
        """
        if self.caller.session is None:
            raise NoSessionError(f"{self.actor}.{self.method}: no client session calls here; look at call.caller first")
        return self.caller.session


CallNext = Callable[[Call[Any]], Awaitable[Any]]
"""Goes on with the call; gives the handler's result."""

Middleware = Callable[[Any, CallNext], Awaitable[Any]]
"""`async def guard(call: Call, call_next: CallNext) -> Any`. An exception in it is the caller's error."""
