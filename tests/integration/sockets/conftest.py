"""A front with recording sessions, and a WebSocket client that can be as rude as it likes."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import uvloop

from zocket.sockets.front import SocketFront
from zocket.sockets.limits import SocketLimits

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine

    from zocket.sockets.port import Head, Peer

DEADLINE_S = 15.0
KEY = "dGhlIHNhbXBsZSBub25jZQ=="


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Callable[[Coroutine[Any, Any, None]], None]:
    """Runs a test's body on both kinds of loop, in bounded time."""

    def runner(body: Coroutine[Any, Any, None]) -> None:
        factory = uvloop.new_event_loop if request.param == "uvloop" else None
        with asyncio.Runner(loop_factory=factory) as loop:
            loop.run(asyncio.wait_for(body, 60))

    return runner


class Session:
    """Echoes, and remembers."""

    def __init__(self, world: World, peer: Peer, admitted: Any) -> None:
        self.world = world
        self.peer = peer
        self.admitted = admitted
        self.frames: list[bytes] = []
        self.closed_count = 0
        self.events: list[str] = []

    def received(self, frame: bytes) -> None:
        self.frames.append(frame)
        if frame == b"raise":
            raise RuntimeError("this session fails")
        if frame == b"pause":
            self.peer.pause()
        if self.world.echo:
            self.peer.send(frame)

    def fell_behind(self) -> None:
        self.events.append("behind")

    def caught_up(self) -> None:
        self.events.append("caught up")

    def closed(self, *, said_goodbye: bool = False) -> None:
        self.closed_count += 1
        self.said_goodbye = said_goodbye


class World:
    """Everything that one test looks at."""

    def __init__(self) -> None:
        self.echo = True
        self.sessions: list[Session] = []
        self.heads: list[Head] = []
        self.clients_stay = False
        self.raws: list[Raw] = []
        self.front: SocketFront
        self.deadline_s = DEADLINE_S

    @property
    def port(self) -> int:
        return self.front.port

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/"

    async def admit(self, head: Head) -> Head:
        self.heads.append(head)
        return head

    def open(self, peer: Peer, admitted: Any) -> Session:
        session = Session(self, peer, admitted)
        self.sessions.append(session)
        return session

    @asynccontextmanager
    async def serve(self, **options: Any) -> AsyncIterator[World]:
        limits = SocketLimits(**options.pop("limits", {}))
        arguments = {"admit": self.admit, "open": self.open, "limits": limits, **options}
        try:
            async with SocketFront.open("127.0.0.1", 0, **arguments) as self.front:
                yield self
                if not self.clients_stay:
                    self.close_raws()
        finally:
            self.close_raws()

    def close_raws(self) -> None:
        for raw in self.raws:
            raw.close()

    async def until(self, condition: Callable[[], object]) -> None:
        """Waits for a condition, looking once per loop turn or so."""
        async with asyncio.timeout(DEADLINE_S):
            while not condition():  # noqa: ASYNC110 — what is waited for knows nothing of the test
                await asyncio.sleep(0.002)

    async def raw(self, *, upgrade: bool = True, receive_buffer: int | None = None) -> Raw:
        """A connection whose every byte the test decides."""
        sock = socket.socket()
        if receive_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", self.port))
        raw = Raw(sock)
        self.raws.append(raw)
        if upgrade:
            await raw.upgrade()
        return raw

    async def within(self, awaitable: Awaitable[Any]) -> Any:
        return await asyncio.wait_for(awaitable, DEADLINE_S)


class Raw:
    """A socket and a frame writer without any scruple."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.received = b""

    async def write(self, octets: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self.sock, octets)

    async def upgrade(self, extra: str = "", target: str = "/", early: bytes = b"") -> None:
        await self.write(upgrade_head(target, extra) + early)
        head = await self.read_until(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 "), head

    async def read_until(self, mark: bytes) -> bytes:
        async with asyncio.timeout(DEADLINE_S):
            while mark not in self.received:
                assert await self._fill(), f"connection ended after {self.received!r}"
        end = self.received.index(mark) + len(mark)
        taken, self.received = self.received[:end], self.received[end:]
        return taken

    async def read_exactly(self, count: int) -> bytes:
        async with asyncio.timeout(DEADLINE_S):
            while len(self.received) < count:
                assert await self._fill(), f"connection ended after {self.received!r}"
        taken, self.received = self.received[:count], self.received[count:]
        return taken

    async def read_to_end(self) -> bytes:
        """Everything until the other side closes or resets; then this side closes too."""
        async with asyncio.timeout(DEADLINE_S):
            while await self._fill():
                pass
        self.close()
        return self.received

    async def frame(self) -> tuple[int, bytes]:
        """Opcode and payload of the next frame."""
        first, second = await self.read_exactly(2)
        assert first & 0x70 == 0
        assert second & 0x80 == 0, "a server must not mask"
        size = second
        if size == 126:
            (size,) = struct.unpack("!H", await self.read_exactly(2))
        elif size == 127:
            (size,) = struct.unpack("!Q", await self.read_exactly(8))
        return first & 0x0F, await self.read_exactly(size)

    async def close_code(self) -> int:
        """The code of the close frame that is next but for data frames."""
        while True:
            opcode, payload = await self.frame()
            if opcode == 8:
                return int.from_bytes(payload[:2], "big")

    def reset(self) -> None:
        """Ends the connection as a crash does."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def close(self) -> None:
        self.sock.close()

    async def _fill(self) -> bool:
        try:
            octets = await asyncio.get_running_loop().sock_recv(self.sock, 65_536)
        except ConnectionError:
            return False
        self.received += octets
        return bool(octets)


def upgrade_head(target: str = "/", extra: str = "") -> bytes:
    return (
        f"GET {target} HTTP/1.1\r\nHost: Example.ORG:8080\r\nUpgrade: WebSocket\r\nConnection: keep-alive, Upgrade\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n{extra}\r\n"
    ).encode()


def client_frame(
    payload: bytes, opcode: int = 1, *, fin: bool = True, rsv: int = 0, masked: bool = True, size: int | None = None
) -> bytes:
    """A frame as a client sends it; `size` may lie."""
    length = len(payload) if size is None else size
    head = bytes((fin << 7 | rsv << 4 | opcode,))
    mark = 0x80 if masked else 0
    if length < 126:
        head += bytes((mark | length,))
    elif length < 65_536:
        head += bytes((mark | 126,)) + struct.pack("!H", length)
    else:
        head += bytes((mark | 127,)) + struct.pack("!Q", length)
    if not masked:
        return head + payload
    mask = os.urandom(4)
    stream = mask * (len(payload) // 4 + 1)
    body = int.from_bytes(payload, "big") ^ int.from_bytes(stream[: len(payload)], "big")
    return head + mask + body.to_bytes(len(payload), "big")


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def frame() -> Callable[..., bytes]:
    return client_frame


@pytest.fixture
def head_of_upgrade() -> Callable[..., bytes]:
    return upgrade_head
