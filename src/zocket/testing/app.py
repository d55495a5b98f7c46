"""`TestApp`: the whole chain of an app in one process, without a port.

Rules: gateway, broker and runtime are the real ones, only sockets and processes are left out; everything waits on the
kit's clock; a failure inside an actor that nobody raised on purpose ends the test with the original exception.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, Self

from zocket.broker.memory import MemoryServer
from zocket.client import Client
from zocket.errors import INTERNAL, Unavailable, UsageError, ZocketError
from zocket.gateway.gateway import Gateway
from zocket.gateway.session import Identity
from zocket.ids import Scope
from zocket.protocol.metadata import encode_metadata
from zocket.runtime.runtime import Runtime
from zocket.settings import Limits
from zocket.sockets.port import ABNORMAL
from zocket.sockets.refresh import expiry_of
from zocket.state import encode
from zocket.testing.clock import MovableClock, ShiftedClock, VirtualClock
from zocket.testing.loop import VirtualLoop

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from zocket.app import App
    from zocket.broker.memory import MemoryBroker
    from zocket.broker.nats import NatsBroker
    from zocket.client.transport import Receiver
    from zocket.sockets.port import SocketSession

Backend = Literal["memory", "nats"]

backend: ContextVar[Backend] = ContextVar("zocket_backend", default="memory")
"""Which broker a `TestApp` uses that is not told; the pytest plugin sets it."""

finalizers: ContextVar[AsyncExitStack] = ContextVar("zocket_finalizers")
"""What the pytest plugin closes when the async test is over, in its loop."""

SCOPE: Final = Scope("test-workspace", "test-project")
STORAGE: Final = "file"
"""Of the kit's streams, so that durable actors can be tested like any other."""
SETTLE_STEP_S: Final = 0.002
"""How often `settle` looks whether everything is quiet."""


class _Failures(logging.Handler):
    """Collects what actors raised without meaning to, by way of the host's log."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.found: list[tuple[str, BaseException]] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info and record.exc_info[1] is not None:
            self.found.append((getattr(record, "request", ""), record.exc_info[1]))


class _Socket:
    """A socket without a network: a `Peer` for the gateway, a `Connection` for the client."""

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self._loop = asyncio.get_running_loop()
        self._session: SocketSession | None = None
        self._open = True
        self._unsent_bytes = 0

    def attach(self, session: SocketSession) -> None:
        self._session = session

    def send(self, frame: bytes) -> None:
        """Either side sends; which one is told by `from_client`."""
        self._unsent_bytes += len(frame)
        self._loop.call_soon(self._to_client, frame)

    def unsent_bytes(self) -> int:
        return self._unsent_bytes

    def pause(self) -> None:
        """Nobody else waits for this client's frames here, and virtual time would stand still for it."""

    def close(self, code: int, reason: str = "") -> None:
        self._loop.call_soon(self.end, code, reason)

    def end(self, code: int, reason: str, *, by_client: bool = False) -> None:
        if self._open:
            self._open = False
            if self._session is not None:
                self._session.closed(said_goodbye=by_client)
            self._receiver.on_closed(code, reason)

    def from_client(self, frame: bytes) -> None:
        if self._open and self._session is not None:
            self._session.received(frame)

    def _to_client(self, frame: bytes) -> None:
        self._unsent_bytes -= len(frame)
        if self._open:
            self._receiver.on_frame(frame)


class _ClientSide:
    """The client's end of a `_Socket`."""

    def __init__(self, socket: _Socket) -> None:
        self.socket = socket
        self._loop = asyncio.get_running_loop()

    def send(self, frame: bytes) -> None:
        self._loop.call_soon(self.socket.from_client, frame)

    async def close(self) -> None:
        self.socket.end(1000, "", by_client=True)


class HasGateway(Protocol):
    """Whoever holds the gateway that clients connect to."""

    @property
    def gateway(self) -> Gateway | None:
        """The gateway, None while there is none."""


class Transport:
    """Connects one client to the gateway in this process."""

    def __init__(self, kit: HasGateway, identity: Identity, metadata: bytes = b"") -> None:
        self._kit = kit
        self._metadata = metadata
        self.identity = identity
        self.socket: _Socket | None = None

    def __str__(self) -> str:
        return "the test kit"

    async def connect(self, receiver: Receiver) -> _ClientSide:
        """See `client.transport.Transport.connect`."""
        await asyncio.sleep(0)
        gateway = self._kit.gateway
        if gateway is None or not gateway.accepting:
            raise Unavailable("the gateway of the test kit does not run")
        socket = self.socket = _Socket(receiver)
        socket.attach(gateway.open_session(socket, self.identity, self._renew, self._metadata, receiver.resume))
        return _ClientSide(socket)

    async def fresh_token(self) -> str:
        """What stands for a token of the present identity."""
        return "a token of the test kit"

    async def _renew(self, _: str) -> Identity:
        return self.identity


def _identity(user_id: str | None, claims: Mapping[str, Any] | None) -> Identity:
    if claims is None:
        return Identity(SCOPE, user_id)
    return Identity(SCOPE, user_id, encode(dict(claims)), expiry_of(claims))


class TestApp:
    """An app, running: `async with TestApp(app) as t`.

    Args:
        app: what is tested.
        broker: `memory` or `nats` (a real server, started here); None is what the pytest run says.
        limits: bounds of gateway and runtime.
        dev_mode: unexpected exceptions reach clients with their text.

    Attributes:
        clock: `await t.clock.advance(600)` moves the time.
        failures: exceptions that actors raised without meaning to, as (request id, exception); the first one is raised
            at the end of the block. A test that expects some takes them out (`t.failures.clear()`).
    """

    __test__ = False

    def __init__(
        self, app: App, *, broker: Backend | None = None, limits: Limits | None = None, dev_mode: bool = False
    ) -> None:
        self.app = app
        self.clock: MovableClock
        self.gateway: Gateway | None = None
        self.runtime: Runtime | None = None
        self._runtime_broker: NatsBroker | MemoryBroker | None = None
        self.memory: MemoryServer | None = None
        self._backend = broker or backend.get()
        self._limits = limits or Limits()
        self._dev_mode = dev_mode
        self._stack = AsyncExitStack()
        self._runtime_stack = AsyncExitStack()
        self._transports: dict[Client, Transport] = {}
        self._log = _Failures()
        self._url = ""

    @property
    def failures(self) -> list[tuple[str, BaseException]]:
        """See the class."""
        return self._log.found

    async def __aenter__(self) -> Self:
        virtual = isinstance(asyncio.get_running_loop(), VirtualLoop)
        if self._backend == "nats" and virtual:
            raise UsageError("a NATS server lives in real time: mark the test `nats`, or run with --zocket-nats")
        self.clock = VirtualClock() if virtual else ShiftedClock()
        logging.getLogger("zocket.host").addHandler(self._log)
        self._stack.callback(logging.getLogger("zocket.host").removeHandler, self._log)
        try:
            await self._start_server()
            broker = await self._connect_broker("gateway", self._stack)
            self.gateway = await self._stack.enter_async_context(
                Gateway.open(broker, clock=self.clock, limits=self._limits, stream_storage=STORAGE)
            )
            await self.start()
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._stop()
        if error is None and self.failures:
            raise self.failures[0][1]
        if isinstance(error, ZocketError) and error.code == INTERNAL:
            for request_id, failure in self.failures:
                if request_id == error.request_id:
                    raise failure from error

    async def _start_server(self) -> None:
        if self._backend == "memory":
            self.memory = MemoryServer(self.clock)
            return
        from zocket.broker.server import NatsServer

        server = await self._stack.enter_async_context(NatsServer())
        self._url = server.url

    async def _connect_broker(self, name: str, stack: AsyncExitStack) -> NatsBroker | MemoryBroker:
        broker: NatsBroker | MemoryBroker
        if self.memory is not None:
            broker = self.memory.connect()
        else:
            from zocket.broker.nats import NatsBroker

            broker = await NatsBroker.open(self._url, name=name)
        stack.push_async_callback(broker.aclose)
        return broker

    async def _stop(self) -> None:
        for client in list(self._transports):
            await client.aclose()
        await self._runtime_stack.aclose()
        await self._stack.aclose()

    # -- clients -------------------------------------------------------------------------------------------------

    async def connect(
        self,
        *,
        user_id: str | None = None,
        claims: Mapping[str, Any] | None = None,
        metadata: Mapping[str, Any] | None = None,
        rpc_timeout: float = 10.0,
    ) -> Client:
        """A client with a session of its own, closed at the end of the block.

        Args:
            user_id: becomes `self.session.user_id`.
            claims: becomes `self.session.claims`; the token expires at its `exp`, in seconds since the epoch as
                `t.clock.wall()` has them.
            metadata: becomes `self.session.metadata`.
            rpc_timeout: seconds on the kit's clock.

        Raises:
            UsageError: JSON cannot hold the metadata, or they are too large.
        """
        transport = Transport(self, _identity(user_id, claims), encode_metadata(metadata))
        client = Client(transport, rpc_timeout=rpc_timeout, clock=self.clock, fresh_token=transport.fresh_token)
        self._transports[client] = transport
        await client.open()
        return client

    def reissue(self, client: Client, claims: Mapping[str, Any]) -> None:
        """The next token that the client gets has these claims.

        It offers it to the server when half the time of the present one is over, and with its next connection.
        """
        transport = self._transports[client]
        transport.identity = _identity(transport.identity.user_id, claims)

    async def drop(self, client: Client) -> None:
        """The client's socket vanishes without a goodbye; the client connects again by itself.

        With the same session, if a class of the app has a `grace`.
        """
        socket = self._transports[client].socket
        if socket is not None:
            socket.end(ABNORMAL, "dropped by the test")
        await asyncio.sleep(0)

    # -- the runtime ---------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Starts a runtime; it takes over from one that runs, whose connection is closed at the end of the block."""
        if self.runtime is not None:
            self._stack.push_async_callback(self._runtime_stack.aclose)
        stack = AsyncExitStack()
        broker = self._runtime_broker = await self._connect_broker("runtime", stack)
        self.runtime = await stack.enter_async_context(
            Runtime.open(
                self.app.definition,
                SCOPE,
                broker,
                clock=self.clock,
                limits=self._limits,
                process_name="test",
                dev_mode=self._dev_mode,
                storage=STORAGE,
            )
        )
        self._runtime_stack = stack

    async def stop(self) -> None:
        """Stops the runtime cleanly: what is queued is finished, `on_deactivate` runs."""
        self.runtime = None
        await self._runtime_stack.aclose()

    async def kill(self) -> None:
        """The runtime dies as by `kill -9`: nothing is finished; unacknowledged work waits for the next one."""
        if self.runtime is not None and self._runtime_broker is not None:
            self._runtime_broker.abort()  # first: what has left in its order has left, and nothing follows it
            await self.runtime.abort()
        await self.stop()

    async def crash(self) -> None:
        """The runtime dies, and another one takes over: unacknowledged work comes again, state in memory is gone."""
        await self.kill()
        await self.start()
        await self.settle()

    async def settle(self) -> None:
        """Waits until nothing is on its way: every request that was sent is finished, every frame has arrived."""
        quiet = 0
        while quiet < 3:
            await asyncio.sleep(SETTLE_STEP_S)
            quiet = 0 if self._busy() else quiet + 1

    def _busy(self) -> bool:
        waiting = self.runtime is not None and self.runtime.pending > 0
        return waiting or (self.gateway is not None and self.gateway.broker.outstanding > 0)
