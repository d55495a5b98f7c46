"""One world for the same test bodies: the memory broker, and a real NATS server on both event loops.

A test is an `async def` that takes `world`; it runs in a loop of its own and whatever it connected is closed after it.
"""

from __future__ import annotations

import asyncio
import inspect
import secrets
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, cast

import pytest
import uvloop

from zocket.broker.memory import MemoryBroker, MemoryServer
from zocket.broker.nats import NatsBroker
from zocket.broker.port import ConsumerSpec, Delivered, Message, StreamSpec
from zocket.broker.server import NatsServer
from zocket.clock import SystemClock

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from zocket.broker.port import Broker, ConnectionState
    from zocket.errors import ZocketError

DEADLINE_S = 15.0
SHORT_S = 0.3


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    world = pyfuncitem.funcargs.get("world")
    if not isinstance(world, World) or not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = inspect.signature(pyfuncitem.obj).parameters
    world.run(pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names}))
    return True


@pytest.fixture(
    params=[
        "memory",
        pytest.param("nats", marks=pytest.mark.nats),
        pytest.param("nats-uvloop", marks=pytest.mark.nats),
    ]
)
def world(request: pytest.FixtureRequest) -> World:
    kind = cast("str", request.param)
    return World(kind, None if kind == "memory" else request.getfixturevalue("nats_server"))


class Intake:
    """A consumer that remembers what came."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.batches: list[list[Delivered]] = []
        self.lost = 0

    def take(self, batch: list[Delivered]) -> None:
        self.batches.append(batch)

    def note_lost(self) -> None:
        self.lost += 1

    @property
    def all(self) -> list[Delivered]:
        return [item for batch in self.batches for item in batch]

    @property
    def payloads(self) -> list[bytes]:
        return [item.payload for item in self.all]

    async def wait(self, count: int) -> list[Delivered]:
        await self._world.until(lambda: len(self.all) >= count, f"{count} deliveries")
        return self.all

    async def take_over(self, broker: Broker, spec: ConsumerSpec) -> Any:
        return await broker.take_over(spec, self.take, self.note_lost)


class Ear:
    """A core subscription that remembers what came."""

    def __init__(self) -> None:
        self.messages: list[Message] = []

    def take(self, batch: list[Message]) -> None:
        self.messages += batch

    @property
    def payloads(self) -> list[bytes]:
        return [message.payload for message in self.messages]


class World:
    """Connections of one test to one server, and what can befall them.

    Attributes:
        deadline_s: how long anything may take that must come.
        short_s: long enough to see that nothing comes.
    """

    deadline_s = DEADLINE_S
    short_s = SHORT_S

    def __init__(self, kind: str, shared: NatsServer | None) -> None:
        self.kind = kind
        self.shared = shared
        self.own: NatsServer | None = None
        self.memory: MemoryServer | None = None
        self.name = "t" + secrets.token_hex(4)
        self.stack = AsyncExitStack()

    def run(self, coroutine: Coroutine[Any, Any, None]) -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop if self.kind == "nats-uvloop" else None) as runner:
            runner.run(self._guarded(coroutine))

    async def _guarded(self, coroutine: Coroutine[Any, Any, None]) -> None:
        async with self.stack:
            await coroutine

    # The server and its connections.

    async def server_of_its_own(self, config: str = "") -> None:
        if self.kind != "memory":
            self.own = await self.stack.enter_async_context(NatsServer(config=config))

    @property
    def server(self) -> NatsServer:
        server = self.own or self.shared
        assert server is not None
        return server

    async def connect(self) -> Broker:
        broker: NatsBroker | MemoryBroker
        if self.kind == "memory":
            self.memory = self.memory or MemoryServer(SystemClock())
            broker = self.memory.connect()
        else:
            broker = await NatsBroker.open(self.server.url, name="conformance", boot_timeout_s=5)
        self.stack.push_async_callback(broker.aclose)
        return broker

    def states(self, broker: Broker) -> list[ConnectionState]:
        states: list[ConnectionState] = []
        broker.on_connection(states.append)
        return states

    async def kill(self) -> None:
        if self.memory is not None:
            self.memory.stop()
        else:
            assert self.own is not None
            await self.own.kill()

    async def start(self) -> None:
        if self.memory is not None:
            self.memory.start(lose_memory=True)
        else:
            assert self.own is not None
            await self.own.start()

    def cut(self, broker: Broker) -> None:
        if self.memory is not None:
            self.memory.cut(cast("MemoryBroker", broker))
        else:
            connection = cast("NatsBroker", broker)._connection
            assert connection is not None
            connection.abort()

    # Names of this test alone.

    def subject(self, rest: str) -> str:
        return f"{self.name}.{rest}"

    async def stream(self, broker: Broker, *, retention: Any = "workqueue", storage: str = "memory") -> str:
        name = f"S{self.name}"
        await broker.ensure_stream(StreamSpec(name, (self.subject(">"),), retention, 60.0, storage))
        return name

    def consumer(self, rest: str = ">", **options: Any) -> ConsumerSpec:
        return ConsumerSpec(f"S{self.name}", f"c-{self.name}", self.subject(rest), **options)

    # What tests do and wait for.

    def intake(self) -> Intake:
        return Intake(self)

    def ear(self) -> Ear:
        return Ear()

    @staticmethod
    def numbers(count: int, first: int = 0) -> list[bytes]:
        return [b"%d" % number for number in range(first, first + count)]

    @staticmethod
    async def until(condition: Callable[[], object], what: str = "the condition") -> None:
        try:
            async with asyncio.timeout(DEADLINE_S):
                while not condition():  # noqa: ASYNC110 — a condition of any kind
                    await asyncio.sleep(0.002)
        except TimeoutError:
            raise AssertionError(f"{what}: not within {DEADLINE_S} s") from None

    @staticmethod
    async def publish(broker: Broker, subject: str, payload: bytes, message_id: str = "") -> ZocketError | None:
        outcome: asyncio.Future[ZocketError | None] = asyncio.get_running_loop().create_future()
        broker.publish(subject, payload, message_id or secrets.token_hex(8), outcome.set_result)
        async with asyncio.timeout(DEADLINE_S):
            return await outcome

    @staticmethod
    async def put(broker: Broker, bucket: str, key: str, value: bytes, expected: int | None) -> int | ZocketError:
        """The pipelined put."""
        outcome: asyncio.Future[int | ZocketError] = asyncio.get_running_loop().create_future()
        broker.put_pipelined(bucket, key, value, expected, outcome.set_result)
        assert not outcome.done(), "inside the call"
        async with asyncio.timeout(DEADLINE_S):
            return await outcome
