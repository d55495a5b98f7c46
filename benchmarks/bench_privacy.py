"""What a call costs whose state has private fields, or a view of two audiences, beside the same call without either.

    python benchmarks/bench_privacy.py [--sizes 10 1000]

Prints CPU microseconds per call through a host in this process, from request to frames (two subscribers, nothing else),
the best of several rounds. The call changes one field of one of so many players.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from typing import Any, Final

import msgspec
from pydantic import BaseModel

from zocket import Actor, Private, Session, method, view
from zocket.clock import SystemClock
from zocket.core import AppDefinition
from zocket.host import Host, Link
from zocket.protocol.frames import Rpc, StateSub
from zocket.settings import Limits

CALLS: Final = 500
ROUNDS: Final = 5


class PlainPlayer(BaseModel):
    name: str = ""
    score: int = 0
    hand: list[str] = []


class Player(BaseModel):
    name: str = ""
    score: int = 0
    hand: Private[list[str]] = []


class PlainState(BaseModel):
    players: dict[str, PlainPlayer] = {}


class State(BaseModel):
    players: dict[str, Player] = {}


class Plain(Actor[PlainState]):
    @method
    async def fill(self, size: int) -> None:
        for number in range(size):
            self.state.players[str(number)] = PlainPlayer(name=f"player {number}", hand=["ace", "king"])

    @method
    async def score(self) -> None:
        self.state.players["5"].score += 1

    @method
    async def replace(self) -> None:
        player = self.state.players["5"]
        self.state.players["5"] = type(player)(name="other", score=player.score + 1, hand=["ace", "king"])

    @method
    async def draw(self) -> None:
        self.state.players["5"].hand[0] = "jack" if self.state.players["5"].hand[0] == "ace" else "ace"


class Hidden(Actor[State]):
    @method
    async def fill(self, size: int) -> None:
        for number in range(size):
            self.state.players[str(number)] = Player(name=f"player {number}", hand=["ace", "king"])

    score, draw = Plain.score, Plain.draw

    @method
    async def replace(self) -> None:
        self.state.players["5"] = Player(name="other", score=self.state.players["5"].score + 1, hand=["ace", "king"])


class Viewed(Hidden):
    @view(key=lambda session: session.user_id)
    def seen(self, user_id: str | None) -> dict[str, Any]:
        return {"mine": user_id, "scores": {key: player.score for key, player in self.state.players.items()}}


class Sink(Link):
    """A subscriber that counts."""

    __slots__ = ("answered", "bytes")

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self.bytes = 0

    def send(self, frame: bytes) -> None:
        """See `Link.send`."""
        self.bytes += len(frame)


async def measure(cls: type[Actor[Any]], call: str, size: int) -> tuple[float, float]:
    """CPU microseconds and bytes to both subscribers per call."""
    host = Host(AppDefinition({"it": cls}), clock=SystemClock(), limits=Limits())
    links = [Sink(Session(user, user)) for user in ("alice", "bob")]

    async def run(name: str, count: int, given: bytes = b"") -> None:
        for _ in range(count):
            host.submit(links[0], Rpc(msgspec.Raw(b"1"), "it", "x", name, msgspec.Raw(given)), "r")
            while host.pending:  # noqa: ASYNC110 — what is measured is not to be joined by anything else
                await asyncio.sleep(0)

    await run("fill", 1, b'{"size":%d}' % size)
    for link in links:
        host.submit(link, StateSub("it", "x"), "r")
    await run(call, 20)
    best, before = float("inf"), sum(link.bytes for link in links)
    for _ in range(ROUNDS):
        begin = time.process_time_ns()
        await run(call, CALLS)
        best = min(best, (time.process_time_ns() - begin) / CALLS / 1000)
    await host.abort()
    return best, (sum(link.bytes for link in links) - before) / CALLS / ROUNDS


def main() -> None:
    """Prints one table a size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10, 1000])
    for size in parser.parse_args().sizes:
        print(f"\n{size:,} players")
        print(f"{'call':30} {'neither':>16} {'private fields':>16} {'view':>16}")
        for call, what in (
            ("score", "a public field"),
            ("replace", "a model with a private field"),
            ("draw", "a private field"),
        ):
            found = [asyncio.run(measure(cls, call, size)) for cls in (Plain, Hidden, Viewed)]
            print(f"{what:30} " + " ".join(f"{micros:6.1f} µs {size:5.0f} B" for micros, size in found))


if __name__ == "__main__":
    main()
