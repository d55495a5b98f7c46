"""Zocket beside what a Python team would take instead, python-socketio too, with one driver for all.

    python benchmarks/bench_peers.py [--seconds 3] [--repeat 3]

The load generator speaks Zocket's frames only. This driver speaks two dialects (`dialects.py`) and does the same in
each: `calls` has 50 sessions that call `increment` on a counter each, 16 outstanding; `fan-out` has one session that
sends messages to a room, 4 outstanding, and 100 that get each of them. It checks that every call is answered, and every
message delivered to everybody. The servers take turns in each repetition, and what is printed is the median. CPU is of
the server process. python-socketio has no patches and no snapshots, so of Zocket only the event is subscribed to.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import uvloop
from dialects import SOCKET_IO, ZOCKET
from modes import HERE, Service, asgi, fastapi, standalone
from picows import WSListener, WSMsgType, ws_connect
from processes import BIN, BenchmarkError, Process, answers, free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from dialects import Dialect
    from picows import WSFrame, WSTransport

SESSIONS: Final = 50
PIPELINE: Final = 16
SUBSCRIBERS: Final = 100
PUBLISHED_AHEAD: Final = 4
WARM_S: Final = 0.5
LATE_S: Final = 20.0
"""Time for what is under way at the end."""
_TICK: Final = os.sysconf("SC_CLK_TCK")


@contextmanager
def socketio(environ: Mapping[str, str], home: Path) -> Iterator[Service]:
    """python-socketio, under the same server with the same options as the other ASGI applications."""
    port = free_port()
    command = [f"{BIN}/uvicorn", "socketio_rooms:app", "--port", str(port), "--loop", "uvloop"]
    with Process("socketio", command, home, environ=environ, directory=HERE / "peers") as server:
        polling = f"http://127.0.0.1:{port}/socket.io/?EIO=4&transport=polling"
        server.wait_until("a handshake", lambda: answers(polling))
        yield Service(f"ws://127.0.0.1:{port}/", {"socketio": server.pid}, 0)


PEERS: Final = {
    "zocket serve": (standalone, ZOCKET),
    "zocket under uvicorn": (asgi, ZOCKET),
    "FastAPI by hand": (fastapi, ZOCKET),
    "python-socketio": (socketio, SOCKET_IO),
}


class Session(WSListener):
    """One session: calls in a closed loop, and what it gets."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._transport: WSTransport | None = None
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.again: Callable[[], bytes] | None = None
        self.calls = self.answered = self.messages = self.failed = 0

    def on_ws_connected(self, transport: WSTransport) -> None:
        """See `WSListener`."""
        self._transport = transport
        if self._dialect.greeting:
            self.write(self._dialect.greeting)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """See `WSListener`."""
        if frame.msg_type != WSMsgType.TEXT:
            return
        heard = self._dialect.hear(frame.get_payload_as_bytes())
        if heard is None:
            return
        if heard.kind == "message":
            self.messages += 1
        elif heard.kind == "answer":
            self.answered += 1
            self.failed += heard.failed
            if self.again is not None:
                self.write(self.again())
        elif heard.kind == "reply":
            self.write(heard.reply)
        elif not self.opened.done():
            self.opened.set_result(None)

    def write(self, text: bytes) -> None:
        """Sends one text."""
        assert self._transport is not None
        self._transport.send(WSMsgType.TEXT, text)

    def next_call(self) -> int:
        """The number of a further call."""
        self.calls += 1
        return self.calls

    def close(self) -> None:
        """Ends it."""
        assert self._transport is not None
        self._transport.disconnect()


async def opened(service: Service, dialect: Dialect) -> Session:
    """A session that may be used."""
    url = service.url.rstrip("/") + dialect.path
    _, session = await ws_connect(lambda: Session(dialect), url)
    async with asyncio.timeout(LATE_S):
        await session.opened
    return session


def server_cpu_s(service: Service) -> float:
    """CPU seconds of the server so far."""
    (pid,) = service.pids.values()
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICK


async def window(service: Service, count: Callable[[], int], seconds: float) -> tuple[float, float]:
    """Of what `count` counts: how many a second, and CPU seconds per 10,000."""
    await asyncio.sleep(WARM_S)
    before, cpu, started = count(), server_cpu_s(service), time.perf_counter()
    await asyncio.sleep(seconds)
    done, spent = count() - before, server_cpu_s(service) - cpu
    return done / (time.perf_counter() - started), spent / max(done, 1) * 10_000


async def settle(what: str, holds: Callable[[], bool]) -> None:
    """Waits for what is under way."""
    try:
        async with asyncio.timeout(LATE_S):
            while not holds():  # noqa: ASYNC110 — a condition of any kind
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise BenchmarkError(f"{what}: not within {LATE_S:g} s") from None


async def calls(service: Service, dialect: Dialect, tag: str, seconds: float) -> tuple[float, float]:
    """`SESSIONS` sessions, each with a counter of its own."""
    sessions = [await opened(service, dialect) for _ in range(SESSIONS)]
    for number, session in enumerate(sessions):
        session.again = lambda session=session, room=f"{tag}-{number}": dialect.increment(room, session.next_call())  # type: ignore[misc]
        for _ in range(PIPELINE):
            session.write(session.again())
    figures = await window(service, lambda: sum(session.answered for session in sessions), seconds)
    await finish(sessions)
    return figures


async def fan_out(service: Service, dialect: Dialect, tag: str, seconds: float) -> tuple[float, float]:
    """`SUBSCRIBERS` sessions that get what another one sends."""
    subscribers = [await opened(service, dialect) for _ in range(SUBSCRIBERS)]
    for subscriber in subscribers:
        subscriber.write(dialect.watch(tag, subscriber.next_call()))
    publisher = await opened(service, dialect)
    # The room exists and everybody is in it when each has got one message.
    while not all(subscriber.messages for subscriber in subscribers):
        publisher.write(dialect.send(tag, publisher.next_call()))
        await asyncio.sleep(0.1)
    await settle("the first answers", lambda: publisher.answered == publisher.calls)
    await asyncio.sleep(0.2)
    first, told = publisher.calls, [subscriber.messages for subscriber in subscribers]
    publisher.again = lambda: dialect.send(tag, publisher.next_call())
    for _ in range(PUBLISHED_AHEAD):
        publisher.write(publisher.again())
    figures = await window(service, lambda: sum(subscriber.messages for subscriber in subscribers), seconds)
    await finish([publisher])
    wanted = publisher.calls - first

    def complete() -> bool:
        return all(item.messages - before == wanted for item, before in zip(subscribers, told, strict=True))

    await settle("every message at everybody", complete)
    for subscriber in subscribers:
        subscriber.close()
    return figures


async def finish(sessions: list[Session]) -> None:
    """Lets the calls under way end.

    Raises:
        BenchmarkError: one was not answered, or with an error.
    """
    for session in sessions:
        session.again = None
    await settle("every answer", lambda: all(session.answered == session.calls for session in sessions))
    if failed := sum(session.failed for session in sessions):
        raise BenchmarkError(f"{failed} calls failed")
    for session in sessions:
        session.close()


LOADS: Final = {"calls": calls, "fan-out": fan_out}


async def measure(services: Mapping[str, Service], seconds: float, repeat: int) -> None:
    """Prints the table."""
    print(
        f"load average {os.getloadavg()[0]:.1f}\n\n| load | server | a second | CPU s/10k | of python-socketio's CPU |"
    )
    print("|---|---|---|---|---|")
    for name, load in LOADS.items():
        found: dict[str, list[tuple[float, float]]] = {peer: [] for peer in services}
        for repetition in range(repeat):
            for peer, service in services.items():
                found[peer].append(await load(service, PEERS[peer][1], f"{name}{repetition}", seconds))
        cpu = {peer: statistics.median(run[1] for run in runs) for peer, runs in found.items()}
        for peer, runs in found.items():
            rate = statistics.median(run[0] for run in runs)
            print(f"| {name} | {peer} | {rate:,.0f} | {cpu[peer]:.3f} | {cpu[peer] / cpu['python-socketio']:.2f} |")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--repeat", type=int, default=3)
    arguments = parser.parse_args()
    try:
        with ExitStack() as stack, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            services = {}
            for name, (start, _) in PEERS.items():
                home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="zocket-peers-")))
                services[name] = stack.enter_context(start({}, home))
            runner.run(measure(services, arguments.seconds, arguments.repeat))
    except BenchmarkError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
