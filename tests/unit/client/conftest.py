"""A clock that a test moves, and a transport whose server is the test itself."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from zocket.client import Client
from zocket.protocol import frames

if TYPE_CHECKING:
    from collections.abc import Callable

    from zocket.client import Receiver


def status_of(client: Client) -> str:
    """The status, without what a type checker believes to know from the last look."""
    return client.status


async def settle() -> None:
    """Lets every task run until it waits for something."""
    for _ in range(20):
        await asyncio.sleep(0)


class _Timer:
    def __init__(self, callback: Callable[[], None]) -> None:
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        self.callback = None


class FakeClock:
    """Stands still until `advance`."""

    def __init__(self) -> None:
        self._now = 0.0
        self._order = itertools.count()
        self._timers: list[tuple[float, int, _Timer]] = []
        self.sleeps: list[float] = []

    def now(self) -> float:
        return self._now

    def wall(self) -> float:
        return 1_700_000_000.0 + self._now

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> _Timer:
        timer = _Timer(callback)
        heapq.heappush(self._timers, (self._now + delay_s, next(self._order), timer))
        return timer

    async def sleep(self, delay_s: float) -> None:
        self.sleeps.append(delay_s)
        over = asyncio.get_running_loop().create_future()
        timer = self.call_later(delay_s, partial(over.set_result, None))
        try:
            await over
        finally:
            timer.cancel()

    @property
    def planned(self) -> int:
        """Timers that would still fire."""
        return sum(1 for _, _, timer in self._timers if timer.callback is not None)

    async def advance(self, seconds: float) -> None:
        await settle()
        until = self._now + seconds
        while self._timers and self._timers[0][0] <= until:
            self._now, _, timer = heapq.heappop(self._timers)
            if timer.callback is not None:
                callback, timer.callback = timer.callback, None
                callback()
                await settle()
        self._now = until
        await settle()


class ServerSide:
    """One connection as the server, that is the test, sees it."""

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self.frames: list[dict[str, Any]] = []
        self.closed = False

    def send(self, frame: bytes, /) -> None:
        if not self.closed:
            self.frames.append(msgspec.json.decode(frame))

    async def close(self) -> None:
        self.drop()

    def taken(self) -> list[dict[str, Any]]:
        """The frames that came since the last time."""
        taken, self.frames = self.frames, []
        return taken

    def tell(self, frame: bytes | str) -> None:
        self._receiver.on_frame(frame)

    def answer(self, call: dict[str, Any], value: bytes | None) -> None:
        self.tell(frames.result(msgspec.json.encode(call["id"]), value))

    def refuse(self, call: dict[str, Any], error: Any) -> None:
        self.tell(frames.failure(msgspec.json.encode(call["id"]), error))

    def snapshot(self, state: bytes, actor: str = "chat", actor_id: str = "general") -> None:
        self.tell(frames.snapshot(frames.address(actor, actor_id), state))

    def patch(self, operations: bytes, actor: str = "chat", actor_id: str = "general") -> None:
        self.tell(frames.patch(frames.address(actor, actor_id), operations))

    def event(self, name: str, payload: bytes, actor: str = "chat", actor_id: str = "general") -> None:
        self.tell(frames.event(frames.address(actor, actor_id), msgspec.json.encode(name), payload))

    def drop(self, code: int | None = None, reason: str = "") -> None:
        if not self.closed:
            self.closed = True
            self._receiver.on_closed(code, reason)


class ScriptedTransport:
    """Connects at once, unless `outcomes` has an exception to raise or an event to wait for."""

    def __init__(self) -> None:
        self.connections: list[ServerSide] = []
        self.outcomes: deque[BaseException | asyncio.Event] = deque()
        self.attempts = 0
        self.resumes: list[str] = []

    def __str__(self) -> str:
        return "memory"

    async def connect(self, receiver: Receiver, /) -> ServerSide:
        self.attempts += 1
        self.resumes.append(receiver.resume)
        outcome = self.outcomes.popleft() if self.outcomes else None
        if isinstance(outcome, asyncio.Event):
            await outcome.wait()
        elif outcome is not None:
            raise outcome
        connection = ServerSide(receiver)
        self.connections.append(connection)
        return connection

    @property
    def server(self) -> ServerSide:
        """The newest connection."""
        return self.connections[-1]


class World:
    """A client, its server and its time."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.transport = ScriptedTransport()
        self.settle = settle
        self.status_of = status_of

    def client(self, **options: Any) -> Client:
        """A client that is not open yet; its delays are always the longest possible."""
        return self.client_of(self.transport, **options)

    def client_of(self, transport: Any, **options: Any) -> Client:
        """The same, over another transport."""
        return Client(transport, clock=self.clock, **{"jitter": lambda: 1.0, **options})

    @property
    def server(self) -> ServerSide:
        return self.transport.server


@pytest.fixture
def world() -> World:
    return World()
