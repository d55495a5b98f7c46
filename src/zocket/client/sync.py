"""The synchronous client, for scripts and notebooks: a `Client` in a thread of its own.

Rules: every method may be used from any thread, and blocks it; it does what the `Client`'s method of the same name
does, and raises the same errors. The methods of an actor are `async def`, so a typed handle names them and `call` calls
them: a handle that returned results would not be what its type says.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Literal, NoReturn, ParamSpec, TypeVar, cast, overload

from zocket.client.background import Background
from zocket.client.options import client_of
from zocket.client.sync_streams import SyncStream
from zocket.core.actor import Actor, EventOf
from zocket.core.definition import actor_definition
from zocket.errors import HandleError, UsageError
from zocket.handles import ActorHandle, DynamicHandle, definition_of, invoker_of, target_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine
    from types import TracebackType
    from typing import Self

    from zocket.client.client import Client
    from zocket.client.link import Status
    from zocket.client.options import CallOptions
    from zocket.core.definition import MethodDefinition

A = TypeVar("A", bound=Actor[Any, Any])
S = TypeVar("S")
P = TypeVar("P")
R = TypeVar("R")
Q = ParamSpec("Q")


class SyncActorHandle(ActorHandle):
    """A typed handle whose methods are named, not called: `client.call(room.post, text="hi")`."""

    __slots__ = ()

    def _call(self, method: MethodDefinition, /, *args: Any, **kwargs: Any) -> NoReturn:
        raise HandleError(
            f"{self!r}: call it by `client.call(handle.{method.python_name}, …)`, the client is synchronous"
        )

    def _iterate(self, method: MethodDefinition, /, *args: Any, **kwargs: Any) -> NoReturn:
        name = method.python_name
        raise HandleError(f"{self!r}: iterate over `client.stream(handle.{name}, …)`, the client is synchronous")


class SyncDynamicHandle:
    """A handle without the server's classes: any attribute is a method that returns its result as plain JSON values.

    `call` takes names that are no attributes, `stream` is for methods that yield.
    """

    __slots__ = ("_background", "_plain")

    def __init__(self, background: Background, plain: DynamicHandle) -> None:
        self._background = background
        self._plain = plain

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("__"):
            raise AttributeError(name)
        return partial(self.call, name)

    def __eq__(self, other: object) -> bool:
        return self._plain == other._plain if isinstance(other, SyncDynamicHandle) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._plain)

    def __repr__(self) -> str:
        return repr(self._plain)

    @property
    def id(self) -> str:
        """The id of the instance."""
        return self._plain.id

    def call(self, method: str, /, **input: Any) -> Any:  # noqa: A002 — the wire's name for it
        """Calls a method by its wire name; errors as of `SyncClient.call`."""
        return self._background.run(partial(self._plain.call, method, **input))

    def stream(self, method: str, /, **input: Any) -> SyncStream[Any]:  # noqa: A002 — as of `call`
        """Calls a method that yields by its wire name: `for chunk in handle.stream("words")`."""
        return SyncStream(self._background, partial(self._plain.stream, method, **input))


class _Handles:
    """What a client and its options have in common: they give handles."""

    def __init__(self, background: Background, maker: Client | CallOptions) -> None:
        self._background = background
        self._maker = maker

    def actor(self, cls: type[A], actor_id: str, *, name: str | None = None) -> A:
        """A handle for one instance, typed as its class; `call` and `stream` call what it names. See `Client.actor`."""
        return cast("A", SyncActorHandle(self._maker, actor_definition(cls, name), actor_id))

    def dynamic(self, actor: str, actor_id: str) -> SyncDynamicHandle:
        """A handle for one instance without its class, whose methods return their results. See `Client.dynamic`."""
        return SyncDynamicHandle(self._background, self._maker.dynamic(actor, actor_id))


class SyncCallOptions(_Handles):
    """Makes handles whose calls have options; made by `SyncClient.options`."""


class SyncClient(_Handles):
    """A connection to a Zocket server for programs without an event loop; made by `connect_sync`.

    Args:
        client: not opened yet; it belongs to this one from now on.

    Raises:
        Unauthorized: the server refuses the token.
        Unavailable: there is no server, or it did not answer in time.
    """

    def __init__(self, client: Client) -> None:
        super().__init__(Background(client.aclose), client)
        self._client = client
        opened = False
        try:
            self._background.run(client.open)
            opened = True
        finally:
            if not opened:
                self.close()

    def __repr__(self) -> str:
        return f"<Sync{repr(self._client)[1:]}"

    @property
    def id(self) -> str | None:
        """The server's name for the present connection (`self.session.id` in an actor); None until it has told it."""
        return self._client.id

    @property
    def status(self) -> Status:
        """`connecting`, `open`, `reconnecting` or `closed`."""
        return self._client.status

    def statuses(self) -> SyncStream[Status]:
        """The present status, then the newest one after each change; ends with the client."""
        return SyncStream(self._background, self._client.statuses)

    def close(self) -> None:
        """Ends the connection, from any thread: calls that wait raise `Disconnected`, iterations end."""
        self._background.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def call(self, method: Callable[Q, Awaitable[R]], /, *args: Q.args, **kwargs: Q.kwargs) -> R:
        """The result of a method: `client.call(room.post, text="hi")`. An exception such as Ctrl-C cancels the call.

        Args:
            method: of a handle that `actor` gave.
            args: of the method.
            kwargs: of the method.

        Raises:
            ActorError: the server answered with an error.
            CallTimeout: no answer within the time limit.
            Disconnected: the connection dropped before the answer, or the client is closed.
            TypeError: the arguments do not fit the method.
            UsageError: `method` is not of a handle of this client, or it yields.
        """
        called: Callable[..., Coroutine[Any, Any, R]] = self._asynchronous(method, "call")
        return self._background.run(partial(called, *args, **kwargs))

    def stream(self, method: Callable[Q, AsyncIterator[R]], /, *args: Q.args, **kwargs: Q.kwargs) -> SyncStream[R]:
        """The chunks of a method that yields: `for word in client.stream(writer.write, about="actors")`.

        Args and errors as of `call`. Leaving the iteration cancels the call.
        """
        called: Callable[..., AsyncGenerator[R, None]] = self._asynchronous(method, "stream")
        return SyncStream(self._background, partial(called, *args, **kwargs))

    def options(
        self,
        *,
        timeout: float | None = None,
        idempotency_key: str | Literal[True] | None = None,
        cancel_on_close: bool = False,
    ) -> SyncCallOptions:
        """Handles whose calls have these options; see `Client.options`."""
        made = self._client.options(timeout=timeout, idempotency_key=idempotency_key, cancel_on_close=cancel_on_close)
        return SyncCallOptions(self._background, made)

    @overload
    def state(self, of: Actor[S, Any]) -> SyncStream[S]: ...
    @overload
    def state(self, of: SyncDynamicHandle) -> SyncStream[Any]: ...
    @overload
    def state(self, of: Actor[Any, Any], *, raw: bool) -> SyncStream[Any]: ...
    def state(self, of: Actor[Any, Any] | SyncDynamicHandle, *, raw: bool = False) -> SyncStream[Any]:
        """The states of an instance: the present one, then the newest after each change. See `Client.state`."""
        handle: Any = _plain(of)
        return SyncStream(self._background, lambda: self._client.state(handle, raw=raw))

    @overload
    def events(self, of: A, event: EventOf[A, P]) -> SyncStream[P]: ...
    @overload
    def events(self, of: Actor[Any, Any] | SyncDynamicHandle, event: str) -> SyncStream[Any]: ...
    def events(self, of: Any, event: EventOf[Any, Any] | str) -> SyncStream[Any]:
        """The payloads of one event of an instance, from the moment this returns. See `Client.events`."""
        handle: Any = _plain(of)
        return SyncStream(self._background, lambda: self._client.events(handle, event))

    def _asynchronous(self, method: object, by: Literal["call", "stream"]) -> Callable[..., Any]:
        """The same method, of a handle that is for the loop."""
        target = target_of(method)
        if target is None or client_of(invoker_of(target[0])) is not self._client:
            raise UsageError(f"expected a method of a handle of this client (client.actor), got {method!r}")
        handle, definition = target
        if definition.stream != (by == "stream"):
            right = "yields: use client.stream" if definition.stream else "returns one result: use client.call"
            raise UsageError(f"{handle!r}: {definition.python_name} {right}")
        plain = ActorHandle(invoker_of(handle), definition_of(handle), handle.id)
        return cast("Callable[..., Any]", getattr(plain, definition.python_name))


def _plain(of: object) -> object:
    """The handle that the asynchronous client knows."""
    return of._plain if isinstance(of, SyncDynamicHandle) else of  # noqa: SLF001 — a handle has no public names
