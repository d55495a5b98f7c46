"""What the broker port costs this process: CPU seconds per 10,000 operations, client side only.

Run: `python benchmarks/bench_broker.py` (starts a NATS server of its own). Compare CPU and ratios, not rates: the
server and whatever else runs share the machine. `--asyncio` uses the standard loop instead of uvloop, `--memory` the
memory broker.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from typing import TYPE_CHECKING

import uvloop

from zocket.broker.memory import MemoryServer
from zocket.broker.nats import NatsBroker
from zocket.broker.port import ConsumerSpec, Delivered, Message, StreamSpec
from zocket.broker.server import NatsServer
from zocket.clock import SystemClock

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any

    from zocket.broker.port import Broker
    from zocket.errors import ZocketError

PAYLOAD = (
    b'{"scope":{"workspaceId":"w","projectId":"p"},"sessionId":"s_0123456789abcdef","userId":null,"message":{}}' * 2
)
TURN = 50
"""Operations given to the broker in one turn of the loop, as a busy gateway or runtime does."""


async def measured(name: str, count: int, body: Coroutine[Any, Any, None]) -> None:
    cpu, wall = time.process_time(), time.perf_counter()
    await body
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    print(f"{name:34} {cpu / count * 10_000:8.4f} CPU s per 10,000 {count / wall:12,.0f} a second")


class Bench:
    def __init__(self, broker: Broker, other: Broker, count: int) -> None:
        self.broker, self.other, self.count = broker, other, count
        self.reached = asyncio.Event()
        self.seen = 0

    def target(self, count: int) -> asyncio.Event:
        self.seen, self.wanted, self.reached = 0, count, asyncio.Event()
        return self.reached

    def saw(self, count: int) -> None:
        self.seen += count
        if self.seen >= self.wanted:
            self.reached.set()

    async def in_turns(self, one: Callable[[int], None]) -> None:
        for number in range(self.count):
            one(number)
            if number % TURN == 0:
                await asyncio.sleep(0.001 if self.broker.outstanding > 2_000 else 0)

    async def publish(self, prefix: str) -> None:
        reached = self.target(self.count)

        def done(error: ZocketError | None) -> None:
            assert error is None, error
            self.saw(1)

        await self.in_turns(
            lambda n: self.broker.publish(f"inbound.w.p.chat.{n % 100}", PAYLOAD, f"{prefix}:{n}", done)
        )
        await reached.wait()

    async def push(self) -> None:
        reached = self.target(self.count)

        def take(batch: list[Delivered]) -> None:
            self.broker.ack(batch)
            self.saw(len(batch))

        spec = ConsumerSpec("INBOUND", "rt-w-p-chat", "inbound.w.p.chat.>")
        subscription = await self.broker.take_over(spec, take, lambda: None)
        await reached.wait()
        await self.broker.drain(5)
        await subscription.aclose()
        await self.broker.delete_consumer(spec.stream, spec.name)

    async def send(self) -> None:
        await self.in_turns(lambda n: self.broker.send([Message(f"outbound.w.p.s{n % 100}", PAYLOAD)]))
        await self.broker.drain(5)

    async def receive(self) -> None:
        reached = self.target(self.count)
        await self.broker.subscribe("outbound.>", lambda batch: self.saw(len(batch)))
        sent = 0
        while sent < self.count:
            self.other.send([Message(f"outbound.w.p.s{n % 100}", PAYLOAD) for n in range(TURN)])
            sent += TURN
            await asyncio.sleep(0)
        await reached.wait()


async def run(count: int, broker: Broker, other: Broker) -> None:
    bench = Bench(broker, other, count)
    await broker.ensure_stream(StreamSpec("INBOUND", ("inbound.>",), "workqueue", 60.0))
    await bench.publish("warm")
    await bench.push()
    await measured("publish, acknowledged, pipelined", count, bench.publish("run"))
    await measured("push delivery and acknowledgement", count, bench.push())
    await measured("send", count, bench.send())
    await measured("send and receive (both ends)", count, bench.receive())


async def main(options: argparse.Namespace) -> None:
    if options.memory:
        server = MemoryServer(SystemClock())
        await run(options.count, server.connect(), server.connect())
        return
    async with NatsServer() as nats:
        broker, other = [await NatsBroker.open(nats.url, name=name) for name in ("bench", "other")]
        await run(options.count, broker, other)
        await broker.aclose()
        await other.aclose()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=50_000)
    parser.add_argument("--asyncio", action="store_true")
    parser.add_argument("--memory", action="store_true")
    arguments = parser.parse_args()
    with asyncio.Runner(loop_factory=None if arguments.asyncio else uvloop.new_event_loop) as runner:
        runner.run(main(arguments))
