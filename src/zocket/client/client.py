"""The Python client: one connection, handles for any number of actors, streams of their states and events.

Rules: everything lives in the event loop that opened the client; nothing is sent twice except subscriptions after a
reconnect and calls with an idempotency key; a client that was closed, or refused for its token, stays closed.
"""

from __future__ import annotations

import logging
import random
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar, cast, overload
from weakref import WeakSet

from zocket.client.calls import Calls
from zocket.client.link import Link, Status
from zocket.client.options import CallOptions, client_of
from zocket.client.refresh import TokenRefresh
from zocket.client.streams import EventStream, StateStream
from zocket.clock import SystemClock
from zocket.core.actor import Actor, EventOf
from zocket.core.definition import actor_definition
from zocket.errors import Disconnected, EventError, PatchError, UsageError, ZocketError
from zocket.handles import ActorHandle, DynamicHandle, definition_of, fitting, instance_of, invoker_of
from zocket.protocol.client_session import (
    Chunk,
    ClientSession,
    EventArrived,
    Failed,
    Feed,
    Instance,
    Patched,
    Problem,
    Refreshed,
    Replica,
    Result,
    Snapshot,
    Welcome,
    decode_plain,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterable
    from types import TracebackType
    from typing import Self

    from zocket.client.transport import Transport
    from zocket.clock import Clock
    from zocket.core.definition import ActorDefinition

A = TypeVar("A", bound=Actor[Any, Any])
S = TypeVar("S")
P = TypeVar("P")
T = TypeVar("T")
V = TypeVar("V")

RPC_TIMEOUT_S: Final = 10.0
"""Time limit of a call: waiting for the connection and for the answer together."""
CONNECT_TIMEOUT_S: Final = 10.0
"""Time limit of one attempt to connect, the first one and each later one."""

_log = logging.getLogger("zocket.client")


class Ready:
    """Whether the connection is open: awaited, it waits until it is; as a condition, it tells."""

    __slots__ = ("_link",)

    def __init__(self, link: Link) -> None:
        self._link = link

    def __await__(self) -> Generator[Any, None, None]:
        return self._link.wait_open().__await__()

    def __bool__(self) -> bool:
        return self._link.status == "open"


class Client:
    """A connection to a Zocket server; made by `connect`.

    Args:
        transport: opens connections to the server.
        rpc_timeout: seconds that a call may take, waiting for the connection included.
        connect_timeout: seconds that one attempt to connect may take.
        reconnect: False closes the client with its first lost connection.
        clock: delays and time limits go by it.
        jitter: gives numbers in [0, 1) that spread the attempts to reconnect, and calls that are sent again.
        fresh_token: asked for a token while a connection whose token expires is open; None lets it expire.
    """

    def __init__(
        self,
        transport: Transport,
        *,
        rpc_timeout: float = RPC_TIMEOUT_S,
        connect_timeout: float = CONNECT_TIMEOUT_S,
        reconnect: bool = True,
        clock: Clock | None = None,
        jitter: Callable[[], float] = random.random,
        fresh_token: Callable[[], Awaitable[str | None]] | None = None,
    ) -> None:
        clock = clock or SystemClock()
        self._refresh = None if fresh_token is None else TokenRefresh(fresh_token, clock, self._offer)
        self._transport = transport
        self._session = ClientSession()
        self._calls = Calls(self._session, clock=clock, timeout_s=rpc_timeout, flush=self._flush, jitter=jitter)
        self._link = Link(
            transport,
            self,
            clock=clock,
            connect_timeout_s=connect_timeout,
            reconnect=reconnect,
            jitter=jitter,
        )
        self._state_streams: dict[Replica, WeakSet[StateStream[Any]]] = {}
        self._event_streams: dict[Feed, WeakSet[EventStream[Any]]] = {}

    def __repr__(self) -> str:
        return f"<Client of {self._transport}, {self.status}>"

    @property
    def id(self) -> str | None:
        """The server's name for the present session (`self.session.id` in an actor); None until it has told it.

        After a lost connection it is the same if the server lets clients resume their sessions, else a new one.
        """
        return self._session.client_id

    @property
    def status(self) -> Status:
        """`connecting`, `open`, `reconnecting` or `closed`."""
        return self._link.status

    @property
    def ready(self) -> Ready:
        """`await client.ready` waits for an open connection.

        Raises:
            ZocketError: there will be none: the reason, or `Disconnected` after `aclose`.
        """
        return Ready(self._link)

    def statuses(self) -> AsyncGenerator[Status, None]:
        """The present status, then the newest one after each change; ends after `closed`."""
        return self._link.statuses()

    async def open(self) -> Self:
        """Opens the first connection; `connect` does it.

        Raises:
            Unauthorized: the server refuses the token.
            Unavailable: there is no server, or it did not answer in time.
        """
        await self._link.start()
        return self

    async def aclose(self) -> None:
        """Ends the connection: open calls raise `Disconnected`, streams end, and no new ones are possible."""
        await self._link.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    def actor(self, cls: type[A], actor_id: str, *, name: str | None = None) -> A:
        """A handle for one instance, typed as its class: every method is a call over the wire.

        Args:
            cls: the actor's class.
            actor_id: which instance.
            name: the wire name of the actor, where it is in no app of this process or in several under other names.

        Raises:
            UsageError: the class is in no app of this process, or has several names.
            InvalidId: the id is empty or too long.
        """
        return cast("A", ActorHandle(self, actor_definition(cls, name), actor_id))

    def dynamic(self, actor: str, actor_id: str) -> DynamicHandle:
        """A handle for one instance without its class: by wire names, with plain JSON values.

        Raises:
            InvalidId: the name is no actor type, or the id is empty or too long.
        """
        return DynamicHandle(self, actor, actor_id)

    def options(
        self,
        *,
        timeout: float | None = None,
        idempotency_key: str | Literal[True] | None = None,
        cancel_on_close: bool = False,
    ) -> CallOptions:
        """Handles whose calls have these options: `client.options(timeout=60).actor(ChatRoom, "general")`.

        Args:
            timeout: seconds that a call may take, all retries included; None for the client's `rpc_timeout`.
            idempotency_key: names one call, 1-128 printable ASCII characters; True makes a random one for each call.
                A call with a key is sent again after a lost connection and when the server is `unavailable` or
                `overloaded`, until it is answered or its time is up, and takes effect once.
            cancel_on_close: the server cancels the call if this connection ends before it has taken effect.

        Raises:
            UsageError: the key is none, or the timeout is not above 0.
        """
        return CallOptions(self, timeout, idempotency_key, cancel_on_close=cancel_on_close)

    @overload
    def state(self, of: Actor[S, Any]) -> StateStream[S]: ...
    @overload
    def state(self, of: A, view: Callable[[A], V] | Callable[[A, Any], V]) -> StateStream[V]: ...
    @overload
    def state(self, of: DynamicHandle) -> StateStream[Any]: ...
    @overload
    def state(self, of: Actor[Any, Any], *, raw: bool) -> StateStream[Any]: ...
    def state(self, of: Any, view: Any = None, *, raw: bool = False) -> StateStream[Any]:
        """The states of an instance: the present one, then the newest one after each change, also across reconnects.

        All streams of an instance share one subscription and the objects that they give: read those, never change them.

        Args:
            of: a handle of this client.
            view: `Game.seen_by`, the view of its class if it has one: then this is what its subscribers get.
            raw: give plain JSON values that share what did not change, instead of decoding the whole state each time.

        Raises:
            UsageError: it is no handle of this client; or `view` is not the view of its class.
            Disconnected: the client is closed.
        """
        handle = self._own(of)
        self._check_open()
        typed = isinstance(handle, ActorHandle) and not raw
        decode = (
            _state_decoder(definition_of(handle), view) if isinstance(handle, ActorHandle) and typed else decode_plain
        )
        what = f"the state of {instance_of(handle)}"
        replica = self._session.watch(instance_of(handle))
        stream = StateStream(replica, self._release, lambda replica: fitting(what, self._present, (replica, decode)))
        self._state_streams.setdefault(replica, WeakSet()).add(stream)
        self._flush()
        return stream

    @overload
    def events(self, of: A, event: EventOf[A, P]) -> EventStream[P]: ...
    @overload
    def events(self, of: Actor[Any, Any] | DynamicHandle, event: str) -> EventStream[Any]: ...
    def events(self, of: Any, event: EventOf[Any, Any] | str) -> EventStream[Any]:
        """The payloads of one event of an instance, from now on; what is sent while there is no connection is missed.

        Args:
            of: a handle of this client.
            event: `ChatRoom.posted` for a typed handle, the wire name for a dynamic one.

        Raises:
            UsageError: it is no handle of this client.
            EventError: the actor declares no such event.
            Disconnected: the client is closed.
        """
        handle = self._own(of)
        self._check_open()
        name, decode = _event(handle, event)
        what = f"the payload of {name} of {instance_of(handle)}"
        feed = self._session.listen(instance_of(handle))
        stream = EventStream(feed, self._release, name, lambda payload: fitting(what, decode, payload))
        self._event_streams.setdefault(feed, WeakSet()).add(stream)
        self._flush()
        return stream

    async def invoke(
        self,
        instance: Instance,
        method: str,
        value: bytes | None,
        /,
        *,
        key: str = "",
        timeout: float | None = None,
        cancel_on_close: bool = False,
    ) -> bytes | None:
        """One call by wire names and JSON; handles use it. A task that is cancelled here cancels the call.

        Raises:
            ActorError: the server answered with an error.
            CallTimeout: no answer within the time limit.
            Disconnected: the connection dropped before the answer, or the client is closed.
        """
        return await self._calls.make(instance, method, value, key, timeout, cancel_on_close=cancel_on_close)

    def stream(
        self, instance: Instance, method: str, value: bytes | None, /, *, timeout: float | None = None
    ) -> AsyncGenerator[bytes, None]:
        """The chunks of a call by wire names and JSON; handles use it. Whoever stops iterating cancels the call.

        Raises:
            ActorError: the server answered with an error.
            CallTimeout: neither a chunk nor the end within the time limit.
            Disconnected: the connection dropped, or the stream was interrupted: chunks are missing, or begin anew.
            Overloaded: too many chunks wait for whoever iterates.
        """
        return self._calls.stream(instance, method, value, timeout)

    # What the link tells, and asks.

    @property
    def resume(self) -> str:
        """See `LinkOwner.resume`."""
        return self._session.resume

    def connected(self) -> None:
        """A connection is open: subscriptions first, so that a waiting call's own patch is seen."""
        self._session.opened()
        self._calls.connected()
        self._flush()

    def received(self, frame: bytes) -> None:
        """A frame came."""
        for event in self._session.receive(frame):
            match event:
                case Result(call_id, value, chunks):
                    self._calls.answered(call_id, value, chunks)
                case Chunk(call_id, number, value):
                    self._calls.chunk(call_id, number, value)
                case Failed(call_id, error):
                    self._calls.answered(call_id, error)
                case EventArrived(feed, name, payload):
                    for listener in self._event_streams.get(feed, ()):
                        if listener.event == name:
                            listener.push(payload)
                case Snapshot(replica) | Patched(replica):
                    for watcher in self._state_streams.get(replica, ()):
                        watcher.changed()
                case Problem(error, ended):
                    self._problem(error, ended)
                case Welcome(_, expires_at) | Refreshed(expires_at):
                    if self._refresh is not None:
                        self._refresh.expires(expires_at)
        self._flush()

    def dropped(self, error: Disconnected) -> None:
        """The connection is gone, another one is being tried."""
        self._stop_refresh()
        self._calls.lost(self._session.lost(), error)

    def ended(self, error: ZocketError | None) -> None:
        """There will be no further connection."""
        self._stop_refresh()
        lost = error if isinstance(error, Disconnected) else Disconnected("the client was closed")
        self._calls.lost(self._session.lost(), lost)
        self._calls.end(error)
        self._end_streams((*self._state_streams, *self._event_streams), error)

    def _offer(self, token: str) -> None:
        self._session.offer(token)
        self._flush()

    def _stop_refresh(self) -> None:
        if self._refresh is not None:
            self._refresh.cancel()

    def _present(self, of: tuple[Replica, Callable[[bytes], T]]) -> T:
        """The present state of a replica.

        Raises:
            PatchError: it has none, because a patch did not fit; it has been asked for.
        """
        replica, decode = of
        try:
            return replica.decoded(decode)
        except PatchError:
            self._session.refresh(replica)
            self._flush()
            raise

    def _problem(self, error: ZocketError, ended: tuple[Feed | Replica, ...]) -> None:
        extra = {"code": error.code, "request": error.request_id, "session": self.id}
        _log.warning("the server refuses: %s", error.message, extra=extra)
        self._end_streams(ended, error)

    def _end_streams(self, subscriptions: tuple[Feed | Replica, ...], error: ZocketError | None) -> None:
        for subscription in subscriptions:
            streams: Iterable[StateStream[Any] | EventStream[Any]]
            if isinstance(subscription, Feed):
                streams = self._event_streams.get(subscription, ())
            else:
                streams = self._state_streams.get(subscription, ())
            for stream in tuple(streams):
                stream.finish(error)

    def _release(self, subscription: Feed | Replica) -> None:
        """One stream less."""
        self._session.release(subscription)
        if subscription.consumers == 0:
            if isinstance(subscription, Feed):
                self._event_streams.pop(subscription, None)
            else:
                self._state_streams.pop(subscription, None)
        self._flush()

    def _flush(self) -> None:
        frames = self._session.outgoing[:]
        self._session.outgoing.clear()
        for frame in frames:
            self._link.send(frame)

    def _own(self, of: object) -> ActorHandle | DynamicHandle:
        if not isinstance(of, ActorHandle | DynamicHandle) or client_of(invoker_of(of)) is not self:
            raise UsageError(f"expected a handle of this client (client.actor or client.dynamic), got {of!r}")
        return of

    def _check_open(self) -> None:
        if self.status == "closed":
            raise self._link.end or Disconnected("the client was closed")


def _state_decoder(definition: ActorDefinition, view: object) -> Callable[[bytes], Any]:
    """How what a subscriber gets is decoded; `view` says that the caller knows what that is."""
    expected = None if definition.view is None else definition.view.python_name
    name = definition.cls.__name__
    if expected is None and view is not None:
        raise UsageError(f"{name} has no view, its subscribers get its state: client.state(handle)")
    if expected is not None and getattr(view, "__name__", None) != expected:
        raise UsageError(f"subscribers of {name} get its view: client.state(handle, {name}.{expected})")
    return definition.decode_state


def _event(handle: ActorHandle | DynamicHandle, event: object) -> tuple[str, Callable[[bytes], Any]]:
    """The wire name of an event, and how its payload is decoded."""
    if isinstance(handle, DynamicHandle):
        if isinstance(event, str):
            return event, decode_plain
        raise EventError(f"{handle!r}: name the event by its wire name, got {event!r}")
    definition = definition_of(handle)
    known = _declared(definition, event)
    if known is None:
        names = ", ".join(definition.events) or "none"
        raise EventError(f"{event!r} is no event of {definition.cls.__name__}; it has {names}")
    return known


def _declared(definition: ActorDefinition, event: object) -> tuple[str, Callable[[bytes], Any]] | None:
    found = None
    if isinstance(event, str):
        found = definition.events.get(event)
    elif isinstance(event, EventOf) and issubclass(definition.cls, event.owner):
        found = definition.events_by_attribute.get(event.attribute)
    return None if found is None else (found.name, found.decode)
