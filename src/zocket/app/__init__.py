"""The public `App`: what an application is made of, and the same thing as an ASGI application.

Rules: making an `App` checks every definition and does no I/O; the runtime only looks at `definition`; the standalone
server is imported when somebody serves.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

from zocket.core import Actor, AppDefinition, actor_definition
from zocket.errors import ActorError, UsageError
from zocket.settings import Limits

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence

    from zocket.client.handles import Invoker
    from zocket.core import Guard, Middleware
    from zocket.core.definition import Rename
    from zocket.host import Host
    from zocket.protocol.client_session import Instance
    from zocket.server.asgi import AsgiServer, Receive, Scope, Send
    from zocket.server.local import Identity, LocalServer

A = TypeVar("A", bound=Actor[Any, Any])

CALL_TIMEOUT_S = 30.0
"""Time limit of a call that `App.actor` makes, waiting for its turn included."""


class ActorFactory(Protocol):
    """What a smoke call is given: `actor(ChatRoom, "general")` is a handle, typed as the class."""

    def __call__(self, cls: type[A], actor_id: str, *, name: str | None = None) -> A:
        """A handle; see `App.actor`."""


class App:
    """An application: actor classes by name, and what runs around their methods.

    It is an ASGI application (`uvicorn chat:app`), and can be mounted into another one
    (`FastAPI(lifespan=app.lifespan)`, `web.mount("/realtime", app)`).

    Args:
        actors: classes by the name that clients use.
        middleware: runs around every method of every actor, the first one outermost.
        guards: asked before anything that somebody does with any actor: connect, call, subscribe.
        rename: `"camel"` turns method, event and actor names into camelCase on the wire.
        authorize: who a token belongs to, for the standalone server; None lets everybody in as unknown. Behind a
            gateway the control plane decides, and this is not asked.
        limits: bounds of the standalone server; None takes the defaults.
        state_file: where the standalone server keeps durable actors; made if there are any.
        smoke: called with an `ActorFactory` before a new version takes over from the one that serves, on instances of
            its own that nobody else sees; what it raises refuses the version, and the old one goes on serving.

    Raises:
        DefinitionError: an actor, method, event or name that cannot be; the message names it.
    """

    def __init__(
        self,
        actors: Mapping[str, type[Actor[Any, Any]]],
        *,
        middleware: Sequence[Middleware] = (),
        guards: Sequence[Guard] = (),
        rename: Rename = None,
        authorize: Callable[[str | None], Awaitable[Identity | None]] | None = None,
        limits: Limits | None = None,
        state_file: str = ".zocket/state.db",
        smoke: Callable[[ActorFactory], Awaitable[None]] | None = None,
    ) -> None:
        self.definition = AppDefinition(actors, middleware=middleware, guards=guards, rename=rename)
        if smoke is not None:
            self.definition.smoke = lambda invoker: smoke(partial(self._handle, invoker))
        self.authorize = authorize
        self.limits = limits or Limits()
        self.state_file = state_file
        self._invoker = _Local(self)

    def __repr__(self) -> str:
        return f"App({', '.join(self.definition.actors)})"

    @cached_property
    def _asgi(self) -> AsgiServer:
        from zocket.server.asgi import AsgiServer
        from zocket.server.local import LocalServer

        return AsgiServer(
            self.definition,
            lambda: LocalServer.open(
                self.definition, limits=self.limits, state_file=self.state_file, authorize=self.authorize
            ),
            self.authorize,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI application."""
        await self._asgi(scope, receive, send)

    @asynccontextmanager
    async def lifespan(self, _: object = None) -> AsyncIterator[None]:
        """Starts and stops the server; `FastAPI(lifespan=app.lifespan)`, or entered by hand in tests and scripts."""
        await self._asgi.start()
        try:
            yield
        finally:
            await self._asgi.stop()

    def actor(self, cls: type[A], actor_id: str, *, name: str | None = None) -> A:
        """A handle for calls from this process: `await app.actor(ChatRoom, "general").post(text="…")`.

        Inside the method `self.caller.kind` is `server`, and `self.session` raises `NoSessionError`.

        Args:
            cls: the actor class; the handle is typed as it.
            actor_id: which instance.
            name: its name in this app, if the class has several.

        Raises:
            UsageError: the class is not in this app.
            InvalidId: the id is empty or too long.
            ActorError: (when a call is awaited) the method failed; code and data as a client sees them.
            CallTimeout: (when a call is awaited) no answer within 30 s.
        """
        return self._handle(self._invoker, cls, actor_id, name=name)

    def _handle(self, invoker: Invoker, cls: type[A], actor_id: str, *, name: str | None = None) -> A:
        from zocket.client.handles import ActorHandle

        names = [known for known, item in self.definition.actors.items() if item.cls is cls and name in (None, known)]
        if len(names) != 1:
            found = "several names, give name=" if names else f"not in this app ({', '.join(self.definition.actors)})"
            raise UsageError(f"{cls.__name__}: {found}")
        return cast("A", ActorHandle(invoker, actor_definition(cls, names[0]), actor_id))

    def running(self) -> LocalServer | None:
        """The standalone server of this app in this process, if it runs."""
        return self._asgi.server


class _Local:
    """Carries a handle's calls to the host of this process."""

    __slots__ = ("_app",)

    def __init__(self, app: App) -> None:
        self._app = app

    def _host(self) -> Host:
        server = self._app.running()
        if server is None:
            raise UsageError(
                "the app does not run in this process: serve it, pass lifespan=app.lifespan to the app that mounts it, "
                "or enter `async with app.lifespan():`"
            )
        return server.host

    async def invoke(self, instance: Instance, method: str, value: bytes | None) -> bytes | None:
        """See `Invoker.invoke`."""
        answer = await self._host().call(instance.actor, instance.actor_id, method, value, CALL_TIMEOUT_S)
        if answer.error is not None:
            data = None if answer.data is None else _plain(answer.data)
            raise ActorError(answer.error, code=answer.code, data=data, request_id=answer.request_id)
        return None if answer.result is None else bytes(answer.result)

    def stream(self, instance: Instance, method: str, value: bytes | None) -> AsyncGenerator[bytes, None]:
        """See `Invoker.stream`."""
        return self._host().stream(instance.actor, instance.actor_id, method, value, CALL_TIMEOUT_S)


def _plain(raw: Any) -> Any:
    from zocket.protocol.client_session import decode_plain

    return decode_plain(raw)
