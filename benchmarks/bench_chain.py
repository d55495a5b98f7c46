"""What one call through the standalone server costs in process, layer by layer, beside a floor in the same run.

    python benchmarks/bench_chain.py [--calls 40000] [--rounds 5] [--profile]

50 sessions with 16 calls outstanding each call `increment` on a counter of their own, as the load generator's
`rpc-50x16` does, but with peers that only count: no socket, no kernel. Each layer is measured with everything below it,
and a line is the difference to the layer before; CPU time, best of the rounds, which take turns. The floor is a decode
of the frame, a plain dict and an encode of the answer: no session, no validation, no rollback, no patch. `--profile`
prints the functions with the most time of their own (cProfile makes Python functions dearer than they are: compare
their order, not their times).
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import pstats
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

import msgspec
import uvloop
from app import app

from zocket.core import Instance, Session
from zocket.host import Host, Link
from zocket.protocol import frames
from zocket.protocol.edge import EdgeSession
from zocket.server.local import Identity, LocalServer
from zocket.settings import Limits

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    Layer = Callable[[int], Awaitable[float]]

SESSIONS: Final = 50
PIPELINE: Final = 16
CLOCK: Final = time.process_time


def frame(session: int, call: int) -> bytes:
    """A call as the load generator sends it."""
    return b'{"type":"rpc","actor":"counter","actorId":"c-%d","method":"increment","id":"rpc_%d_lg"}' % (session, call)


def batches(calls: int) -> list[list[bytes]]:
    """The frames of one loop turn after the other: a pipeline of each session."""
    turns = calls // (SESSIONS * PIPELINE)
    return [
        [frame(session, turn * PIPELINE + call) for session in range(SESSIONS) for call in range(PIPELINE)]
        for turn in range(turns)
    ]


class CountingPeer:
    """A socket that nobody reads."""

    def __init__(self) -> None:
        self.sent = 0

    def send(self, frame: bytes) -> None:
        self.sent += 1

    def close(self, code: int, reason: str = "") -> None:
        pass


class CountingLink(Link):
    """A session that nobody is at the other end of."""

    __slots__ = ("sent",)

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self.sent = 0

    def send(self, frame: bytes) -> None:
        self.sent += 1


async def floor(calls: int) -> float:
    """Decode, a dict, encode."""
    turns, decode, encode = batches(calls), msgspec.json.Decoder(frames.Rpc).decode, msgspec.json.Encoder().encode
    counts: dict[tuple[str, str], int] = {}
    began = CLOCK()
    for turn in turns:
        for raw in turn:
            call = decode(raw)
            key = (call.actor, call.actor_id)
            counts[key] = count = counts.get(key, 0) + 1
            encode({"type": "rpc:result", "id": call.id, "result": count})
    return CLOCK() - began


async def state(calls: int) -> float:
    """The transaction alone."""
    documents = [app.definition.actors["counter"].new_document(Limits().max_state_bytes) for _ in range(SESSIONS)]
    began = CLOCK()
    for _ in range(calls // SESSIONS):
        for document in documents:
            document.begin()
            document.state.count += 1
            document.commit()
    return CLOCK() - began


async def turn(calls: int) -> float:
    """The actor's turn: input, handler, transaction, result."""
    limits, definition = Limits(), app.definition.actors["counter"]
    session = CountingLink(Session("s"))
    instances = [
        Instance(
            definition, str(number), max_state_bytes=limits.max_state_bytes, max_result_bytes=limits.max_result_bytes
        )
        for number in range(SESSIONS)
    ]
    method = definition.methods["increment"]
    began = CLOCK()
    for _ in range(calls // SESSIONS):
        for instance in instances:
            await instance.call(method, frames.NO_INPUT, session.caller, "r")
    return CLOCK() - began


async def host(calls: int) -> float:
    """Decoded requests through mailboxes and workers to the frames of their answers."""
    requests = [[frames.decode_request(raw) for raw in batch] for batch in batches(calls)]
    runner = Host(app.definition, clock=_clock(), limits=Limits())
    links = [CountingLink(Session(f"s{number}")) for number in range(SESSIONS)]
    began, expected = CLOCK(), 0
    for batch in requests:
        for index, request in enumerate(batch):
            assert request is not None
            runner.submit(links[index // PIPELINE], request, "r")
        expected += len(batch)
        while sum(link.sent for link in links) < expected:  # noqa: ASYNC110 — an event would be part of the cost
            await asyncio.sleep(0)
    spent = CLOCK() - began
    await runner.aclose()
    return spent


async def edge(calls: int) -> float:
    """Checking a frame, remembering its call, settling it."""
    turns, sessions = batches(calls), [EdgeSession(f"{number:020d}", Limits()) for number in range(SESSIONS)]
    now = _clock().now
    began = CLOCK()
    for batch in turns:
        requests = []
        for index, raw in enumerate(batch):
            session = sessions[index // PIPELINE]
            requests.append(session.receive(raw, now()))
            session.request_id  # noqa: B018 — made for each call
        for index, request in enumerate(requests):
            assert isinstance(request, frames.Rpc)
            sessions[index // PIPELINE].settle(bytes(request.id))
    return CLOCK() - began


async def server(calls: int) -> float:
    """Everything but the socket."""
    turns = batches(calls)
    async with _server() as running:
        peers = [CountingPeer() for _ in range(SESSIONS)]
        sessions = [running.open_session(peer, Identity()) for peer in peers]
        expected = SESSIONS  # the welcomes
        began = CLOCK()
        for batch in turns:
            for index, raw in enumerate(batch):
                sessions[index // PIPELINE].received(raw)
            expected += len(batch)
            while sum(peer.sent for peer in peers) < expected:  # noqa: ASYNC110 — as above
                await asyncio.sleep(0)
        return CLOCK() - began


@asynccontextmanager
async def _server() -> AsyncIterator[LocalServer]:
    async with LocalServer.open(app.definition, limits=Limits()) as running:
        yield running


def _clock() -> Any:
    from zocket.clock import SystemClock

    return SystemClock()


LAYERS: Final[dict[str, Layer]] = {
    "floor": floor,
    "state": state,
    "turn": turn,
    "host": host,
    "edge": edge,
    "server": server,
}


async def measure(calls: int, rounds: int) -> dict[str, float]:
    """Microseconds per call of each layer with all below it, best of the rounds."""
    best = dict.fromkeys(LAYERS, float("inf"))
    for _ in range(rounds):
        for name, layer in LAYERS.items():
            best[name] = min(best[name], await layer(calls) / calls * 1e6)
    return best


def lines(best: dict[str, float]) -> list[tuple[str, float]]:
    """The table: each layer without those below it."""
    return [
        ("edge: check, decode, pending, settle", best["edge"]),
        ("host: mailbox, worker, counts, answer", best["host"] - best["turn"]),
        ("turn: input, handler, result", best["turn"] - best["state"]),
        ("state: begin, one write, commit", best["state"]),
        ("between them", best["server"] - best["edge"] - best["host"]),
        ("the whole call", best["server"]),
        ("floor: decode, dict, encode", best["floor"]),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=40_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--profile", action="store_true", help="the dearest functions of the whole call")
    arguments = parser.parse_args()
    if arguments.profile:
        with cProfile.Profile() as profile:
            uvloop.run(server(arguments.calls))
        pstats.Stats(profile).strip_dirs().sort_stats("tottime").print_stats(20)
        return
    best = uvloop.run(measure(arguments.calls, arguments.rounds))
    for name, us in lines(best):
        print(f"{name:40} {us:6.2f} µs  {us / best['floor']:5.2f} × floor")


if __name__ == "__main__":
    main()
