"""The public `App`: what an application is made of, and the same thing as an ASGI application.

Rules: making an `App` checks every definition and does no I/O; the runtime only looks at `definition`; the standalone
server is imported when somebody serves.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

from zocket.core import Actor, AppDefinition
from zocket.errors import UsageError
from zocket.settings import Limits

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence

    from zocket.core import Guard, Middleware
    from zocket.core.definition import Rename
    from zocket.handles import Invoker
    from zocket.protocol.client_session import Instance
    from zocket.server.asgi import AsgiServer, Receive, Scope, Send
    from zocket.server.local import Identity, LocalServer

A = TypeVar("A", bound=Actor[Any, Any])


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
        self._invoker = _Here(self)

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

    @asynccontextmanager
    async def connected(self, url: str, *, token: str | None = None, rpc_timeout: float = 10.0) -> AsyncIterator[None]:
        """Lets this process call the app where it is deployed: a script, a notebook, another web server.

        Args:
            url: of the gateway or the standalone server, `ws://…` or `wss://…`.
            token: who calls; inside the methods this is an ordinary client with a session.
            rpc_timeout: seconds that a call may take.

        Raises:
            Unavailable: nobody answers at the address.
            Unauthorized: the token is refused.
        """
        from zocket.client import connect

        async with connect(url, token=token, rpc_timeout=rpc_timeout) as client:
            self.definition.invokers.append(client)
            try:
                yield
            finally:
                self.definition.invokers.remove(client)

    def actor(self, cls: type[A], actor_id: str, *, name: str | None = None) -> A:
        """A handle for calls from this process: `await app.actor(ChatRoom, "general").post(text="…")`.

        Inside the method `self.caller.kind` is `server`, and `self.session` raises `NoSessionError`; under `connected`
        it is a client as any.

        Args:
            cls: the actor class; the handle is typed as it.
            actor_id: which instance.
            name: its name in this app, if the class has several.

        Raises:
            UsageError: the class is not in this app.
            InvalidId: the id is empty or too long.
            ActorError: (when a call is awaited) the method failed; code and data as a client sees them.
            CallTimeout: (when a call is awaited) no answer within 30 s, waiting for its turn included.
        """
        return self._handle(self._invoker, cls, actor_id, name=name)

    def _handle(self, invoker: Invoker, cls: type[A], actor_id: str, *, name: str | None = None) -> A:
        from zocket.handles import ActorHandle

        return cast("A", ActorHandle(invoker, self.definition.of(cls, name), actor_id))

    def running(self) -> LocalServer | None:
        """The standalone server of this app in this process, if it runs."""
        return self._asgi.server


class _Here:
    """Carries a handle's calls by whatever serves the app in this process."""

    __slots__ = ("_app",)

    def __init__(self, app: App) -> None:
        self._app = app

    def _invoker(self) -> Invoker:
        invokers: list[Invoker] = self._app.definition.invokers
        if not invokers:
            raise UsageError(
                "the app is not connected in this process: serve it, pass lifespan=app.lifespan to the app that mounts "
                'it, or enter `async with app.lifespan():` or `async with app.connected("ws://…"):`'
            )
        return invokers[-1]

    async def invoke(self, instance: Instance, method: str, value: bytes | None) -> bytes | None:
        """See `Invoker.invoke`."""
        return await self._invoker().invoke(instance, method, value)

    def stream(self, instance: Instance, method: str, value: bytes | None) -> AsyncGenerator[bytes, None]:
        """See `Invoker.stream`."""
        return self._invoker().stream(instance, method, value)
