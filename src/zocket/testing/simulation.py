"""The platform under faults on virtual time, from a seed: gateway, broker, runtimes, clients, and an oracle.

Rules: the parts are the real ones; only the network between them (latency, cuts, restarts), processes (crashes, pauses,
takeovers) and time are the simulation's. Everything that happens follows from the seed, so a failure repeats. The
oracle knows what a durable actor promises: nothing lost, nothing doubled, one order, nothing visible that a later
state lacks, every replica equal to its server after quiet.
"""

from __future__ import annotations

import asyncio
import logging
import random
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from unittest import mock

from pydantic import BaseModel

from zocket.app import App
from zocket.broker.deliveries import LOST_AFTER_S
from zocket.broker.memory import MemoryBroker, MemoryServer
from zocket.client import Client
from zocket.core import Actor, method
from zocket.errors import ActorError, CallTimeout, ZocketError
from zocket.gateway.gateway import Gateway
from zocket.gateway.session import Identity
from zocket.protocol import subjects
from zocket.runtime.replica import Replica
from zocket.runtime.runtime import Runtime
from zocket.settings import Limits
from zocket.testing.app import SCOPE, Transport
from zocket.testing.clock import VirtualClock
from zocket.testing.loop import VirtualLoop

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from contextlib import AbstractAsyncContextManager

    from zocket.broker.port import Delivered, Message

CLIENTS: Final = 4
INSTANCES: Final = 3
UNWATCHED: Final = 2
"""Instances besides that nobody subscribes to. A runtime has room for one of them: each makes the other one leave."""
CALLS: Final = 25
"""Calls of each client."""
FAULTS: Final = 6
DIVIDED: Final = 0.3
"""Part of the seeds in which several replicas share the project."""
PARTITIONS: Final = 3
QUIET_S: Final = 60.0
"""Virtual seconds after the last fault in which everything has to come to rest."""


class Ledger(BaseModel):
    """What was entered, in order."""

    entries: list[str] = []
    closings: int = 0


class Book(Actor[Ledger]):
    """The durable actor that the oracle watches: every call leaves its name."""

    durability = "file"

    @method
    async def enter(self, name: str, pause_s: float = 0.0) -> int:
        """Enters a name; gives its number. With a pause the turn is suspended in its middle."""
        self.state.entries.append(name)
        if pause_s:
            await asyncio.sleep(pause_s)
        return len(self.state.entries)

    @method
    async def refuse(self, name: str) -> None:
        """Changes the state and fails: nothing of it may ever be seen."""
        self.state.entries.append(f"refused {name}")
        raise ActorError("no")

    @method
    async def read(self) -> list[str]:
        """All entries."""
        return self.state.entries


class Closing(Book):
    """A book that also changes its state when it leaves memory."""

    async def on_deactivate(self) -> None:
        """The last turn: its change must be stored like any."""
        await asyncio.sleep(0.03)
        self.state.closings += 1


class SlowBroker(MemoryBroker):
    """A connection with latency, which can be held up: then nothing passes either way, as with a stopped process."""

    def __init__(self, clock: VirtualClock, server: MemoryServer, rng: random.Random) -> None:
        super().__init__(clock, server)
        self._rng = rng
        self._held_until = 0.0

    def hold(self, seconds: float) -> None:
        """Nothing passes for so long."""
        self._held_until = self._clock.now() + seconds

    def _delay_s(self) -> float:
        return max(self._rng.random() * 0.01, self._held_until - self._clock.now())

    def receive(self, delivery: Any, item: Message | Delivered) -> None:
        """See `MemoryBroker.receive`."""
        if not self._inbox:
            self._clock.call_later(self._delay_s(), self._hand_out)
        self._inbox.setdefault(delivery, []).append(item)

    async def _turn(self) -> None:
        self._require()
        await self._clock.sleep(self._delay_s())
        self._require()

    def send(self, messages: Sequence[Message]) -> None:
        """See `Broker.send`."""
        self._later(lambda: MemoryBroker.send(self, messages))

    def ack(self, delivered: Sequence[Delivered]) -> None:
        """See `Broker.ack`."""
        self._later(lambda: MemoryBroker.ack(self, delivered))

    def _later(self, action: Callable[[], None]) -> None:
        if self._held_until > self._clock.now():
            self._clock.call_later(self._held_until - self._clock.now(), action)
        else:
            action()


@dataclass
class Report:
    """What one seed came to.

    Attributes:
        partitions: that the project was divided into.
        violations: of the promises, in words; empty if all was kept.
        faults: what happened, in order.
    """

    seed: int
    partitions: int = 1
    calls: int = 0
    answered: int = 0
    violations: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


class _Process:
    """One life of a runtime."""

    def __init__(self, runtime: Runtime | Replica, broker: SlowBroker, stack: AsyncExitStack) -> None:
        self.runtime = runtime
        self.broker = broker
        self.stack = stack


class Simulation:
    """One seed."""

    def __init__(self, seed: int) -> None:
        self.report = Report(seed)
        self._rng = random.Random(seed)  # noqa: S311 — repeatable, not secret
        self._partitions = PARTITIONS if self._rng.random() < DIVIDED else 1
        self.report.partitions = self._partitions
        self._deployments = 1
        self._clock = VirtualClock()
        self._server = MemoryServer(self._clock)
        self._stack = AsyncExitStack()
        self._app = App(actors={"book": Book, "closing": Closing})
        self._processes: list[_Process] = []
        self._answers: dict[str, int] = {}
        self._unknown: set[str] = set()
        self._unanswered: list[str] = []
        self._repeated: set[str] = set()
        self._seen: dict[str, list[list[str]]] = {}
        self.gateway: Gateway | None = None
        self._transports: list[Transport] = []
        self._clients: list[Client] = []
        self._watchers: list[asyncio.Task[None]] = []

    async def run(self) -> Report:
        """Lives through the seed."""
        try:
            await self._open()
            calls = [asyncio.create_task(self._call_all(number)) for number in range(CLIENTS)]
            await self._strike()
            await asyncio.gather(*calls)
            await self._clock.sleep(QUIET_S)
            await self._judge()
        finally:
            await self._close()
        return self.report

    # -- the world -----------------------------------------------------------------------------------------------

    async def _open(self) -> None:
        broker = SlowBroker(self._clock, self._server, self._rng)
        self._stack.push_async_callback(broker.aclose)
        limits = Limits(call_timeout_s=120.0)
        self.gateway = await self._stack.enter_async_context(
            Gateway.open(broker, clock=self._clock, limits=limits, stream_storage="file", partitions=self._partitions)
        )
        await self._start()
        if self._partitions > 1:
            await self._start()
        for number in range(CLIENTS):
            transport = Transport(self, Identity(SCOPE, f"user{number}"))
            client = Client(transport, rpc_timeout=110.0, clock=self._clock, jitter=self._rng.random)
            self._transports.append(transport)
            self._clients.append(await client.open())
        for number in range(INSTANCES):
            self._watchers.append(asyncio.create_task(self._watch(f"book{number}")))

    async def _start(self) -> None:
        stack = AsyncExitStack()
        broker = SlowBroker(self._clock, self._server, self._rng)
        stack.push_async_callback(broker.aclose)
        with suppress(ZocketError):
            runtime = await stack.enter_async_context(self._runtime(broker))
            self._processes.append(_Process(runtime, broker, stack))

    def _runtime(self, broker: SlowBroker) -> AbstractAsyncContextManager[Runtime | Replica]:
        definition, deployment = self._app.definition, f"d{self._deployments}"
        options: dict[str, Any] = {"clock": self._clock, "process_name": "simulated"}
        options |= {"deployment_id": deployment, "storage": "file"}
        if self._partitions > 1:
            return Replica.open(definition, SCOPE, broker, partitions=self._partitions, limits=Limits(), **options)
        limits = Limits(max_instances=INSTANCES + UNWATCHED - 1)
        return Runtime.open(definition, SCOPE, broker, limits=limits, **options)

    async def _watch(self, actor_id: str) -> None:
        """Keeps every state that a client was shown.

        A subscription that three processes in a row ended under is given up, as a call is; it is asked for once more.
        """
        client = self._clients[0]
        seen = self._seen.setdefault(actor_id, [])
        for left in (1, 0):
            try:
                async for state in client.state(client.actor(Book, actor_id)):
                    seen.append(list(state.entries))
            except ZocketError as error:
                if not left or error.code != "dead_letter":
                    self._violated(f"{actor_id}: the watcher was given up: {error.code} {error.message}")
                    return

    async def _call_all(self, number: int) -> None:
        """The calls of one client: some at once, some after a pause."""
        pending = []
        for index in range(CALLS):
            name = f"{number}.{index}"
            pending.append(asyncio.create_task(self._call(number, name)))
            if self._rng.random() < 0.5:
                await self._clock.sleep(self._rng.random() * 0.05)
        await asyncio.gather(*pending)

    async def _call(self, number: int, name: str) -> None:
        unwatched = self._rng.random() < 0.2
        index = INSTANCES + self._rng.randrange(UNWATCHED) if unwatched else self._rng.randrange(INSTANCES)
        book = self._book(number, index)
        self.report.calls += 1
        refused = self._rng.random() < 0.1
        try:
            if refused:
                await book.refuse(name=name)
            else:
                pause_s = self._rng.random() * 0.2 if self._rng.random() < 0.2 else 0.0
                self._answers[f"{book.id} {name}"] = await book.enter(name=name, pause_s=pause_s)
                self.report.answered += 1
        except CallTimeout:
            self._unknown.add(name)
            self._unanswered.append(name)
        except ZocketError as error:
            self._unknown.add(name)
            if error.code == "repeated" and not refused:
                self._repeated.add(f"{book.id} {name}")

    def _book(self, client: int, index: int) -> Any:
        cls = Book if index < INSTANCES else Closing
        return self._clients[client].actor(cls, f"book{index}")

    # -- faults --------------------------------------------------------------------------------------------------

    async def _strike(self) -> None:
        faults: list[tuple[str, Callable[[], Awaitable[None]]]] = [
            ("crash", self._crash),
            ("take-over", self._take_over),
            ("join", self._start),
            ("pause and take-over", self._pause_and_take_over),
            ("redeploy", self._redeploy),
            ("runtime cut", self._cut),
            ("gateway cut", self._cut_gateway),
            ("broker restart", self._restart_broker),
            ("socket drop", self._drop_socket),
            ("stream lost", self._lose_stream),
        ]
        for _ in range(FAULTS):
            await self._clock.sleep(self._rng.random() * 0.25)
            name, fault = self._rng.choice(faults)
            self.report.faults.append(f"{self._clock.now():.3f} {name}")
            await fault()
        if not self._processes or not self._processes[-1].runtime.serving:
            await self._clock.sleep(15)
        if not self._processes or not self._processes[-1].runtime.serving:
            await self._start()

    async def _crash(self) -> None:
        if self._processes:
            process = self._processes.pop(self._rng.randrange(-self._partitions, 0) % len(self._processes))
            await process.runtime.abort()
            await process.stack.aclose()
        await self._clock.sleep(self._rng.random() * 0.1)
        await self._start()

    async def _take_over(self) -> None:
        self._deployments += 1
        await self._start()

    async def _pause_and_take_over(self) -> None:
        if self._processes:
            self._processes[-1].broker.hold(self._rng.random() * 8)
        await self._start()

    async def _redeploy(self) -> None:
        old = self._processes[-1:]
        await self._start()
        for process in old:
            self._processes.remove(process)
            await process.stack.aclose()

    async def _cut(self) -> None:
        if self._processes:
            self._server.cut(self._processes[-1].broker, self._rng.random())

    async def _cut_gateway(self) -> None:
        broker = None if self.gateway is None else self.gateway.broker
        assert isinstance(broker, MemoryBroker)
        self._server.cut(broker, self._rng.random() * 0.3)

    async def _restart_broker(self) -> None:
        self._server.stop()
        await self._clock.sleep(self._rng.random() * 0.5)
        self._server.start(lose_memory=True)

    async def _drop_socket(self) -> None:
        socket = self._rng.choice(self._transports).socket
        if socket is not None:
            socket.end(1006, "dropped")

    async def _lose_stream(self) -> None:
        """Somebody deletes the stream of requests: what it held is gone, everything after it must work."""
        stream = self._server.streams.pop(subjects.INBOUND_STREAM, None)
        if stream is not None:
            for name, consumer in list(stream.consumers.items()):
                stream.delete_consumer(name)
                self._clock.call_later(LOST_AFTER_S, consumer.target.give_up)  # type: ignore[attr-defined]

    # -- the oracle ----------------------------------------------------------------------------------------------

    async def _judge(self) -> None:
        losing = ("cut", "restart", "lost")
        if self._unanswered and not any(word in fault for fault in self.report.faults for word in losing):
            self._violated(f"never answered, though nothing on the way was lost: {self._unanswered}")
        for number in range(INSTANCES + UNWATCHED):
            actor_id = f"book{number}"
            try:
                final = await self._book(1, number).read()
            except ZocketError as error:
                self._violated(f"{actor_id}: nothing works any more: {error.message}")
                continue
            self._judge_entries(actor_id, final)
            if number < INSTANCES:
                self._judge_views(actor_id, final)

    def _judge_entries(self, actor_id: str, final: list[str]) -> None:
        if len(set(final)) != len(final):
            self._violated(f"{actor_id}: doubled: {sorted({name for name in final if final.count(name) > 1})}")
        for name in final:
            if name.startswith("refused"):
                self._violated(f"{actor_id}: a refused change is there: {name}")
        for key, place in self._answers.items():
            owner, _, name = key.partition(" ")
            if owner == actor_id and (place > len(final) or final[place - 1] != name):
                self._violated(f"{actor_id}: {name} was answered {place}, and is not there")
        for key in self._repeated:
            owner, _, name = key.partition(" ")
            if owner == actor_id and name not in final:
                self._violated(f"{actor_id}: {name} was said to have taken effect, and is not there")
        for number in range(CLIENTS):
            indices = [int(name.partition(".")[2]) for name in final if name.startswith(f"{number}.")]
            known = [index for index in indices if f"{number}.{index}" not in self._unknown]
            if known != sorted(known):
                self._violated(f"{actor_id}: the calls of client {number} changed their order: {indices}")

    def _judge_views(self, actor_id: str, final: list[str]) -> None:
        views = self._seen.get(actor_id, [])
        for view in views:
            if final[: len(view)] != view:
                self._violated(f"{actor_id}: something was visible that the state lacks: {view[-3:]}")
                return
        if not views or views[-1] != final:
            self._violated(f"{actor_id}: the replica has {len(views[-1]) if views else 0} of {len(final)} entries")

    def _violated(self, what: str) -> None:
        self.report.violations.append(what)

    async def _close(self) -> None:
        for watcher in self._watchers:
            watcher.cancel()
        await asyncio.gather(*self._watchers, return_exceptions=True)
        for client in self._clients:
            await client.aclose()
        for process in self._processes:
            await process.runtime.abort()
            await process.stack.aclose()
        await self._stack.aclose()


def simulate(seed: int) -> Report:
    """Runs one seed on a loop of its own."""
    level = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            return runner.run(_run(seed))
    finally:
        logging.disable(level)


async def _run(seed: int) -> Report:
    names = random.Random(seed)  # noqa: S311 — repeatable, not secret

    def token_hex(count: int) -> str:
        return f"{names.getrandbits(8 * count):0{2 * count}x}"

    with mock.patch("secrets.token_hex", token_hex):  # ids are compared, so they follow from the seed, too
        return await Simulation(seed).run()
