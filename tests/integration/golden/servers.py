"""Stages on which our servers are spoken to by existing clients: standalone and behind a gateway.

Rules: a stage is opened by its function, with everything that it needs; the session of a socket that is opened with
`token` belongs to the user of that name.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Final

from websockets.asyncio.client import ClientConnection, connect

from tests.integration.golden.app import app, authorize
from tests.integration.golden.player import FENCE, Stage
from zocket.broker.memory import MemoryServer
from zocket.broker.nats import NatsBroker
from zocket.gateway.gateway import Gateway
from zocket.gateway.session import Identity
from zocket.ids import Scope
from zocket.runtime.runtime import Runtime
from zocket.server.local import LocalServer
from zocket.server.process import serve
from zocket.settings import Limits, ServeSettings
from zocket.state import encode
from zocket.testing import VirtualClock
from zocket.testing.clock import ShiftedClock

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.integration.golden.conversation import Line
    from zocket.broker.port import Broker
    from zocket.clock import Clock

LIMITS: Final = Limits()


class Socket:
    """A socket of a client, as a server of ours sees it: a `Peer` that keeps nothing back."""

    def __init__(self, stage: Stage, name: str) -> None:
        self._stage = stage
        self._name = name

    def send(self, frame: bytes) -> None:
        self._stage.hear_frame(self._name, frame)

    def close(self, code: int, reason: str = "") -> None:
        self._stage.hear(f"server {self._name}", {"from": "server", "socket": self._name, "close": code})

    def unsent_bytes(self) -> int:
        return 0

    def pause(self) -> None:
        """Reads on."""


class ClientStage(Stage):
    """Existing clients, and a server of ours."""

    foreign = frozenset({"client"})
    ours = frozenset({"server"})

    async def say(self, line: Line) -> None:
        """See `Stage.say`."""
        socket = line["socket"]
        if "open" in line:
            await self.open(socket, line["open"])
        elif "close" in line:
            await self.close(socket)
        else:
            for data in written(line):
                await self.write(socket, data)

    async def open(self, socket: str, token: str | None) -> None:
        """A client connects, with or without a token."""
        raise NotImplementedError

    async def write(self, socket: str, data: str | bytes) -> None:
        """A client sends a text frame or a binary one."""
        raise NotImplementedError

    async def close(self, socket: str) -> None:
        """A client leaves."""
        raise NotImplementedError

    async def fence(self, sockets: list[str]) -> None:
        """Waits until everything is answered that these have sent."""
        for socket in sockets:
            call = {"type": "rpc", "id": FENCE, "actor": "counter", "actorId": FENCE, "method": "increment"}
            await self.write(socket, json.dumps(call))
            await self.wait_heard(f"{FENCE} {socket}")


def written(line: Line) -> list[str | bytes]:
    """What a client writes for a line: JSON of `frame` or of each of `frames`, a `text`, a `binary` frame."""
    if "text" in line:
        return [line["text"]]
    if "binary" in line:
        return [line["binary"].encode()]
    return [json.dumps(frame) for frame in line.get("frames", [line.get("frame")])]


class PeerStage(ClientStage):
    """A server of ours without a network: sessions around peers.

    Attributes:
        open_session: makes the session of a peer whose client has this token.
        sessions: of the open sockets.
        real: whether time is real; virtual time shows when nothing more is to come.
    """

    def __init__(self, **known: Any) -> None:
        super().__init__(**known)
        self.open_session: Callable[[Socket, str | None], Awaitable[Any]]
        self.sessions: dict[str, Any] = {}
        self.real = False

    async def open(self, socket: str, token: str | None) -> None:
        """See `ClientStage.open`."""
        self.sessions[socket] = await self.open_session(Socket(self, socket), token)

    async def write(self, socket: str, data: str | bytes) -> None:
        """See `ClientStage.write`."""
        self.sessions[socket].received(data.encode() if isinstance(data, str) else data)

    async def close(self, socket: str) -> None:
        """See `ClientStage.close`."""
        self.sessions.pop(socket).closed()

    async def settle(self) -> None:
        """See `Stage.settle`."""
        if self.real:
            await self.fence([*self.sessions])
        else:
            await super().settle()


@asynccontextmanager
async def standalone() -> AsyncIterator[PeerStage]:
    """The standalone server, on virtual time."""
    stage = PeerStage()
    async with LocalServer.open(app.definition, limits=LIMITS, clock=VirtualClock()) as server:

        async def open_session(socket: Socket, token: str | None) -> Any:
            return server.open_session(socket, await authorize(token))  # type: ignore[arg-type]

        stage.open_session = open_session
        yield stage


class AsgiStage(ClientStage):
    """The app as an ASGI application, on virtual time."""

    def __init__(self) -> None:
        super().__init__()
        self._inputs: dict[str, asyncio.Queue[Any]] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def open(self, socket: str, token: str | None) -> None:
        """See `ClientStage.open`."""
        query = b"" if token is None else f"token={token}".encode()
        scope = {"type": "websocket", "path": "/", "query_string": query, "headers": []}
        queue = self._inputs[socket] = asyncio.Queue()
        queue.put_nowait({"type": "websocket.connect"})
        self._tasks[socket] = asyncio.create_task(app(scope, queue.get, partial(self._take, socket)))

    async def _take(self, socket: str, message: Any) -> None:
        if message["type"] == "websocket.send":
            self.hear_frame(socket, message["text"])

    async def write(self, socket: str, data: str | bytes) -> None:
        """See `ClientStage.write`."""
        kind = "text" if isinstance(data, str) else "bytes"
        self._inputs[socket].put_nowait({"type": "websocket.receive", kind: data})

    async def close(self, socket: str) -> None:
        """See `ClientStage.close`."""
        self._inputs[socket].put_nowait({"type": "websocket.disconnect", "code": 1000})
        await self._tasks.pop(socket)

    async def aclose(self) -> None:
        """Every client leaves."""
        for socket in [*self._tasks]:
            await self.close(socket)


@asynccontextmanager
async def asgi() -> AsyncIterator[AsgiStage]:
    """See `AsgiStage`."""
    stage = AsgiStage()
    async with app.lifespan():
        yield stage
        await stage.aclose()


class WebSocketStage(ClientStage):
    """Clients over real WebSockets.

    Attributes:
        url: of the server.
    """

    def __init__(self, url: str) -> None:
        super().__init__()
        self.url = url
        self._sockets: dict[str, ClientConnection] = {}
        self._readers: dict[str, asyncio.Task[None]] = {}

    async def open(self, socket: str, token: str | None) -> None:
        """See `ClientStage.open`."""
        connection = await connect(self.url if token is None else f"{self.url}?token={token}", proxy=None)
        self._sockets[socket] = connection
        self._readers[socket] = asyncio.create_task(self._read(socket, connection))

    async def _read(self, socket: str, connection: ClientConnection) -> None:
        async for raw in connection:
            if isinstance(raw, str):
                self.hear_frame(socket, raw)
            else:
                self.refuse("a binary frame", raw)

    async def write(self, socket: str, data: str | bytes) -> None:
        """See `ClientStage.write`."""
        await self._sockets[socket].send(data)

    async def close(self, socket: str) -> None:
        """See `ClientStage.close`."""
        await self._sockets.pop(socket).close()
        await self._readers.pop(socket)

    async def settle(self) -> None:
        """See `Stage.settle`."""
        await self.fence([*self._sockets])

    async def aclose(self) -> None:
        """Every client leaves."""
        for socket in [*self._sockets]:
            await self.close(socket)


@asynccontextmanager
async def sockets() -> AsyncIterator[WebSocketStage]:
    """`zocket serve` with real WebSockets, in real time."""
    settings = ServeSettings(host="127.0.0.1", port=0, metrics_port=0, drain_timeout_s=0.0)
    async with serve(app.definition, settings, authorize=authorize) as port:
        stage = WebSocketStage(f"ws://127.0.0.1:{port}/")
        yield stage
        await stage.aclose()


class Place:
    """A broker that components of ours and foreign peers connect to: in memory, or a NATS server."""

    def __init__(self, url: str | None) -> None:
        self.url = url

    @property
    def real(self) -> bool:
        """Whether time is real."""
        return self.url is not None

    @cached_property
    def clock(self) -> Clock:
        """The time of everything that connects here."""
        return ShiftedClock() if self.real else VirtualClock()

    @cached_property
    def _memory(self) -> MemoryServer:
        return MemoryServer(self.clock)

    @asynccontextmanager
    async def connection(self, name: str) -> AsyncIterator[Broker]:
        """One connection."""
        broker = self._memory.connect() if self.url is None else await NatsBroker.open(self.url, name=name)
        try:
            yield broker
        finally:
            await broker.aclose()

    @asynccontextmanager
    async def gateway(self) -> AsyncIterator[Gateway]:
        """A gateway of ours."""
        async with (
            self.connection("gateway") as broker,
            Gateway.open(broker, clock=self.clock, limits=LIMITS) as gateway,
        ):
            yield gateway

    @asynccontextmanager
    async def runtime(self, scope: Scope) -> AsyncIterator[Runtime]:
        """A runtime of ours."""
        async with (
            self.connection("runtime") as broker,
            Runtime.open(
                app.definition, scope, broker, clock=self.clock, limits=LIMITS, process_name="golden"
            ) as runtime,
        ):
            yield runtime


def identity(scope: Scope, token: str | None) -> Identity:
    """Who a gateway's session is, whose client has this token."""
    return Identity(scope) if token is None else Identity(scope, token, encode({"sub": token}))


@asynccontextmanager
async def whole_chain(place: Place, scope: Scope) -> AsyncIterator[PeerStage]:
    """Our gateway and our runtime on a broker."""
    stage = PeerStage()
    stage.real = place.real
    async with place.gateway() as gateway, place.runtime(scope):

        async def open_session(socket: Socket, token: str | None) -> Any:
            return gateway.open_session(socket, identity(scope, token))

        stage.open_session = open_session
        yield stage
