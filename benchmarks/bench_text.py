"""What a text costs that grows by 2,000 tokens, for subscribers that announced `append` and for ones that did not.

    python benchmarks/bench_text.py [--tokens 2000] [--subscribers 1 100]

Prints CPU milliseconds of the host in this process, from request to frames, those of one Python client that reads every
state, and the bytes of all frames; each token is a call that commits. The kinds take turns, the best of several rounds
counts.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from typing import Final, NamedTuple

import msgspec
from pydantic import BaseModel

from zocket import Actor, Session, method
from zocket.clock import SystemClock
from zocket.core import AppDefinition
from zocket.host import Host, Link
from zocket.protocol.client_session import ClientSession, Instance
from zocket.protocol.frames import Rpc, StateSub
from zocket.settings import Limits

ROUNDS: Final = 3
TOKEN: Final = " token"
KINDS: Final = {
    "all announced": lambda _: True,
    "none announced": lambda _: False,
    "half announced": lambda number: number % 2 == 0,
}


class Draft(BaseModel):
    text: str = ""


class Writer(Actor[Draft]):
    @method
    async def add(self, token: str) -> None:
        self.state.text += token


class Reader(Link):
    """Counts what it gets; the first one of a host keeps it."""

    def __init__(self, name: str) -> None:
        super().__init__(Session(name, None))
        self.bytes = 0
        self.frames: list[bytes] = []

    def send(self, frame: bytes) -> None:
        self.bytes += len(frame)
        self.frames.append(frame)


class Cost(NamedTuple):
    """Of one round."""

    host_ms: float
    client_ms: float
    frame_bytes: int


async def measured(tokens: int, subscribers: int, kind: str) -> Cost:
    """One round of one kind."""
    host = Host(AppDefinition({"writer": Writer}), clock=SystemClock(), limits=Limits())
    readers = [Reader(f"s{number}") for number in range(subscribers)]
    for number, reader in enumerate(readers):
        host.submit(reader, StateSub("writer", "x", append=KINDS[kind](number)), "r")
    await host.drain(60)
    caller = Reader("caller")
    begun = time.process_time()
    for number in range(tokens):
        request = Rpc(
            msgspec.Raw(b"%d" % number), "writer", "x", "add", msgspec.Raw(b'{"token":"%b"}' % TOKEN.encode())
        )
        host.submit(caller, request, "r")
        await host.drain(60)
    host_ms = (time.process_time() - begun) * 1000
    await host.abort()
    client_ms = applied(readers[0].frames, TOKEN * tokens)
    return Cost(host_ms, client_ms, sum(reader.bytes for reader in readers))


def applied(frames: list[bytes], expected: str) -> float:
    """CPU of a client that takes every state."""
    session = ClientSession()
    session.opened()
    replica = session.watch(Instance("writer", "x"))
    begun = time.process_time()
    for frame in frames:
        session.receive(frame)
        state = replica.plain()
    spent_ms = (time.process_time() - begun) * 1000
    assert state["text"] == expected
    return spent_ms


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=2_000)
    parser.add_argument("--subscribers", type=int, nargs="+", default=[1, 100])
    arguments = parser.parse_args()
    for subscribers in arguments.subscribers:
        best: dict[str, Cost] = {}
        for _ in range(ROUNDS):
            for kind in KINDS:
                cost = asyncio.run(measured(arguments.tokens, subscribers, kind))
                best[kind] = min(best.get(kind, cost), cost)
        for kind, cost in best.items():
            print(
                f"{subscribers:4} subscribers, {kind}: host {cost.host_ms:7.1f} ms, "
                f"a client {cost.client_ms:6.1f} ms, {cost.frame_bytes / 1e6:9.2f} MB of frames"
            )


if __name__ == "__main__":
    main()
