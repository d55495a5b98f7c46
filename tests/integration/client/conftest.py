"""A WebSocket server that does what the test says, on a free loopback port."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from contextlib import AbstractAsyncContextManager
    from ssl import SSLContext

    from websockets.http11 import Request, Response

DEADLINE_S = 15.0


class ScriptedServer:
    """Remembers requests and frames; answers calls with their own input."""

    def __init__(self) -> None:
        self.port = 0
        self.requests: list[Request] = []
        self.refusals: list[tuple[int, dict[str, str], bytes]] = []
        self.sockets: list[ServerConnection] = []
        self.frames: list[dict[str, Any]] = []
        self.text_frames: list[bool] = []
        self.state: Any = {"n": 0}
        self.reads = True

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    def received(self, kind: str) -> list[dict[str, Any]]:
        return [frame for frame in self.frames if frame["type"] == kind]

    @asynccontextmanager
    async def running(self, ssl: SSLContext | None = None) -> AsyncIterator[ScriptedServer]:
        """Listens during the block; a second time on the same port."""
        async with serve(
            self._serve, "127.0.0.1", self.port, ssl=ssl, process_request=self._process, close_timeout=1, max_size=None
        ) as server:
            self.port = next(iter(server.sockets)).getsockname()[1]
            yield self

    def _process(self, socket: ServerConnection, request: Request) -> Response | None:
        self.requests.append(request)
        if not self.refusals:
            return None
        status, headers, body = self.refusals.pop(0)
        response = socket.respond(HTTPStatus(status), "")
        response.body = body
        del response.headers["Content-Length"]
        response.headers["Content-Length"] = str(len(body))
        for name, value in headers.items():
            response.headers[name] = value
        return response

    async def _serve(self, socket: ServerConnection) -> None:
        self.sockets.append(socket)
        await self._send(socket, {"type": "welcome", "clientId": f"s_{len(self.sockets)}"})
        if not self.reads:
            socket.transport.pause_reading()
        try:
            async for message in socket:
                self.text_frames.append(isinstance(message, str))
                frame = json.loads(message)
                self.frames.append(frame)
                await self._answer(socket, frame)
        except ConnectionClosed:
            pass

    async def _answer(self, socket: ServerConnection, frame: dict[str, Any]) -> None:
        address = {"actor": frame.get("actor"), "actorId": frame.get("actorId")}
        if frame["type"] == "rpc" and frame["method"] == "echo":
            await self._send(socket, {"type": "rpc:result", "id": frame["id"], "result": frame.get("input")})
        elif frame["type"] == "state:sub":
            await self._send(socket, {"type": "state:snapshot", **address, "state": self.state})

    async def _send(self, socket: ServerConnection, frame: dict[str, Any]) -> None:
        await socket.send(json.dumps(frame))


@asynccontextmanager
async def rude_server(greeting: bytes) -> AsyncIterator[str]:
    """A port that answers any request with these bytes, or with silence until it is left; gives its address."""
    handlers: list[asyncio.Task[Any] | None] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handlers.append(asyncio.current_task())
        if greeting:
            await reader.readline()
            writer.write(greeting)
        else:
            await reader.read()
        writer.close()
        await writer.wait_closed()

    listener = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with listener:
        yield f"ws://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
        await asyncio.gather(*filter(None, handlers), return_exceptions=True)


async def wait_until(condition: Callable[[], object]) -> None:
    """Waits for a condition, with a deadline."""
    async with asyncio.timeout(DEADLINE_S):
        while not condition():  # noqa: ASYNC110 — any condition, not an event of ours
            await asyncio.sleep(0.005)


@pytest.fixture
def server() -> ScriptedServer:
    return ScriptedServer()


@pytest.fixture
def until() -> Callable[[Callable[[], object]], Awaitable[None]]:
    return wait_until


@pytest.fixture
def rude() -> Callable[[bytes], AbstractAsyncContextManager[str]]:
    return rude_server
