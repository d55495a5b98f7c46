"""What one abuser costs the others: latency beside a thousand clients that never read, a flood, and garbage.

    python benchmarks/abuse.py [--mode standalone|nats|all] [--silent 1000] [--window 6] [--write]

Starts the server processes as `run.py` does, with the rate limit that deployments start with. Twenty clients call
counters of their own twenty times a second, timed from the planned moment, beside an actor that changes fifty times a
second by 4 KiB; the abusers are a process of their own. A disturbed window is compared with the better one of the
undisturbed before and after it; over the bound it is repeated, since other programs may share the machine. Ends with 1
if the silent clients make the p99 more than twice as long in every attempt, or take memory without bound. `--write`
renews docs/results/abuse.md.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import os
import platform
import resource
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import psutil
from modes import serving
from processes import BenchmarkError, dies_with_us
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

if TYPE_CHECKING:
    from collections.abc import Iterator

    from modes import Service
    from websockets.asyncio.client import ClientConnection

RESULT: Final = Path(__file__).parent.parent / "docs" / "results" / "abuse.md"
LIMITED: Final = {"RATE_LIMIT_PER_S": "200", "RATE_LIMIT_BURST": "400"}
"""What deployments start with."""
CLIENTS, CALLS_PER_S = 20, 20
HOT_PER_S, PATCH_BYTES = 50, 4_096
ATTEMPTS: Final = 3
MAX_RATIO: Final = 2.0
MAX_SOCKET_BYTES: Final = 512 * 1024
"""Of one silent socket: twice SLOW_READER_BYTES, a snapshot, what comes between two looks, the allocator's share."""
MAX_GROWTH: Final = 1.2
"""Of the memory while every silent client is behind already."""
PAGE: Final = f"""\
# Beside an abuser

Written by `python benchmarks/abuse.py --write`. Twenty clients call counters of their own twenty times a second, beside
an actor that changes {HOT_PER_S} times a second by {PATCH_BYTES} bytes. Limits are the defaults, with the rate limit
that deployments start with. Windows of {{window:g}} s, the undisturbed one the better of one before and one after. Over
{MAX_RATIO:g} × it is tried again, {ATTEMPTS} times at most: the table has the best attempt, and the ratio of each. All
processes share one machine: {{cores}} cores, Python {{python}}, load average {{load:.0f}} at the end.

Two things to read it with. A load above the number of cores, of this and of other programs, is waiting time in every
figure: `spin`, which abuses nothing, shows what a ratio is then worth. And a broadcast's bytes are shared by all the
sockets that wait for them: silent clients with a state each would take up to the limits of docs/limits.md, which this
does not measure.

| abuser | |
|---|---|
| `silent` | {{silent}} sockets that subscribe to that actor and never read |
| `flood` | one client that calls as fast as its socket takes it |
| `flood, no rate limit` | the same where there is no rate limit, as `serve` starts |
| `garbage` | one client that sends what is no JSON, what is too deep, what is too large, and connects again |
| `spin` | no client at all but a process that keeps a core busy: what `flood` cost by that alone if it were let |

| | abuser | p99 undisturbed | beside it | × | each attempt | MiB before → begun → at the end | behind | left out |
|---|---|---|---|---|---|---|---|---|"""
CLOSED_WITHIN_S: Final = 60.0
"""SLOW_READER_TIMEOUT_S, the time of a close, and room for a busy machine."""


# ---- the abusers, each in a process of its own


async def silent(url: str, count: int) -> None:
    """Subscribes to the hot actor on `count` sockets and never reads again."""
    parts = urlsplit(url)
    key = base64.b64encode(os.urandom(16)).decode()
    head = (
        f"GET / HTTP/1.1\r\nHost: {parts.netloc}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n"
    ).encode()
    text = json.dumps({"type": "state:sub", "actor": "board", "actorId": "hot"}).encode()
    frame = bytes((0x81, 0x80 | len(text))) + bytes(4) + text  # a mask of zeros
    loop = asyncio.get_running_loop()
    sockets = []
    for _ in range(count):
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        sock.setblocking(False)
        await loop.sock_connect(sock, (parts.hostname, parts.port))
        await loop.sock_sendall(sock, head)
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += await loop.sock_recv(sock, 1_024)
        await loop.sock_sendall(sock, frame)
        sockets.append(sock)
    print("ready", flush=True)
    await asyncio.Event().wait()


async def flood(url: str, _: int) -> None:
    """Calls as fast as the socket takes it, and reads what comes."""
    call = {"type": "rpc", "actor": "counter", "actorId": "flood", "method": "increment"}
    async with connect(url, compression=None) as client:
        print("ready", flush=True)

        async def read() -> None:
            async for _ in client:
                pass

        reading = asyncio.create_task(read())
        number = 0
        while not reading.done():
            number += 1
            await client.send(json.dumps({**call, "id": number}))
            if number % 100 == 0:
                await asyncio.sleep(0)


async def garbage(url: str, _: int) -> None:
    """What is no JSON, what is too deep, what is too large; then again on a new socket."""
    deep = '{"type":"rpc","id":1,"actor":"counter","actorId":"g","method":"increment","input":' + "[" * 10_000
    print("ready", flush=True)
    while True:
        try:
            async with connect(url, compression=None, close_timeout=1) as client:
                for _ in range(50):
                    await client.send(os.urandom(1_000))
                    await client.send(deep)
                await client.send("x" * 300_000)
                await client.recv()
                await client.wait_closed()
        except (OSError, TimeoutError, WebSocketException):
            await asyncio.sleep(0)


async def spin(_url: str, _: int) -> None:
    """Says nothing to the server, and takes a core from it: what `flood` costs by that alone."""
    print("ready", flush=True)
    while True:
        pass


ATTACKS: Final = {"silent": silent, "flood": flood, "garbage": garbage, "spin": spin}


@contextmanager
def attack(name: str, url: str, count: int) -> Iterator[None]:
    """The abuser, at work during the block."""
    command = [sys.executable, __file__, "--attack", name, url, "--silent", str(count)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, preexec_fn=dies_with_us) as process:
        try:
            assert process.stdout is not None
            if process.stdout.readline() != b"ready\n":
                raise BenchmarkError(f"the abuser {name} ended before it was ready")
            yield
        finally:
            process.kill()


# ---- the others


async def call(client: ClientConnection, number: int, **frame: Any) -> None:
    """One call and its answer.

    Raises:
        BenchmarkError: it was answered with an error.
    """
    await client.send(json.dumps({"type": "rpc", "id": number, **frame}))
    while True:
        answer = json.loads(await asyncio.wait_for(client.recv(), 60))
        if answer.get("id") == number:
            if "error" in answer:
                raise BenchmarkError(f"a call was answered with {answer['error']}")
            return


async def at_rate(per_s: int, until: float, client: ClientConnection, waits: list[float], **frame: Any) -> None:
    """Calls at a fixed rate; how long each took from its planned moment, in milliseconds."""
    planned = time.perf_counter()
    number = 0
    while planned < until:
        await asyncio.sleep(max(0.0, planned - time.perf_counter()))
        number += 1
        await call(client, number, **_numbered(frame, number))
        waits.append((time.perf_counter() - planned) * 1000)
        planned += 1 / per_s


def _numbered(frame: dict[str, Any], number: int) -> dict[str, Any]:
    if frame["method"] != "set":
        return frame
    return {**frame, "input": {"key": f"{number % 4}".ljust(PATCH_BYTES, "k"), "value": number}}


async def window(url: str, seconds: float) -> float:
    """The p99 of everybody's calls, in milliseconds."""
    waits: list[float] = []
    clients = [await connect(url, compression=None) for _ in range(CLIENTS + 1)]
    until = time.perf_counter() + seconds
    hot = at_rate(HOT_PER_S, until, clients[-1], [], actor="board", actorId="hot", method="set")
    rest = [
        at_rate(CALLS_PER_S, until, client, waits, actor="counter", actorId=f"c{number}", method="increment")
        for number, client in enumerate(clients[:-1])
    ]
    await asyncio.gather(hot, *rest)
    for client in clients:
        await client.close()
    return statistics.quantiles(waits, n=100)[98]


# ---- what comes of it


@dataclass
class Finding:
    """One abuser beside one way of serving.

    Attributes:
        pairs: p99 undisturbed and disturbed of each attempt, in milliseconds.
        memory: MiB of each process: before, when the abuser had begun, at the end.
        behind: slow readers that the server knew of at the end.
        coalesced: state frames that it has left out for them.
        left: sockets of the abuser that the server still has after `CLOSED_WITHIN_S`.
    """

    mode: str
    abuser: str
    pairs: list[tuple[float, float]] = field(default_factory=list)
    memory: dict[str, list[float]] = field(default_factory=dict)
    behind: int = 0
    coalesced: int = 0
    left: int = 0

    @property
    def best(self) -> tuple[float, float]:
        """The attempt with the smallest ratio."""
        return min(self.pairs, key=lambda pair: pair[1] / pair[0])

    @property
    def ratio(self) -> float:
        """Disturbed by undisturbed."""
        return self.best[1] / self.best[0]

    @property
    def is_limited(self) -> bool:
        """Whether a limit stands between the abuser and the others."""
        return self.abuser in ATTACKS and self.abuser != "spin"

    def failures(self, sockets: int) -> list[str]:
        """What is not as promised."""
        name = f"{self.mode}: {self.abuser}"
        found = [f"{name}: p99 × {self.ratio:.2f}"] if self.ratio > MAX_RATIO and self.is_limited else []
        if self.abuser != "silent":
            return found
        for role, (before, begun, end) in self.memory.items():
            if end - before > sockets * MAX_SOCKET_BYTES / 2**20 or (end - before > 64 and end > begun * MAX_GROWTH):
                found.append(f"{self.mode}: memory of {role}: {before:.0f} → {begun:.0f} → {end:.0f} MiB")
        if self.behind != sockets:
            found.append(f"{self.mode}: {self.behind} of {sockets} silent sockets were found behind")
        if self.left:
            found.append(f"{self.mode}: {self.left} silent sockets were not closed")
        return found


def note_memory(service: Service, finding: Finding) -> None:
    """Notes the resident size of every process."""
    for role, pid in service.pids.items():
        finding.memory.setdefault(role, []).append(psutil.Process(pid).memory_info().rss / 2**20)


def metric(service: Service, name: str) -> int:
    """One value of the process that clients connect to."""
    with urllib.request.urlopen(f"http://127.0.0.1:{service.metrics_port}/metrics", timeout=30) as answer:
        lines = answer.read().decode().splitlines()
    return int(next(float(line.split()[-1]) for line in lines if line.startswith(f"zocket_{name} ")))


async def wait_closed(service: Service) -> int:
    """Waits until the server has closed every socket; how many are left."""
    limit = time.monotonic() + CLOSED_WITHIN_S
    while (left := metric(service, "sockets")) and time.monotonic() < limit:  # noqa: ASYNC110 — another process
        await asyncio.sleep(0.5)
    return left


async def observe(mode: str, service: Service, abuser: str, seconds: float, count: int) -> Finding:
    """Pairs of windows until one is within the bound."""
    finding = Finding(mode, abuser)
    abuser = abuser.partition(",")[0]
    for attempt in range(ATTEMPTS):
        calm = await window(service.url, seconds)
        if attempt == 0:
            note_memory(service, finding)
        with attack(abuser, service.url, count):
            if abuser == "silent":
                await window(service.url, seconds)  # until then their buffers, and the kernel's, fill
            if attempt == 0:
                note_memory(service, finding)
            disturbed = await window(service.url, seconds)
            if attempt == 0:
                note_memory(service, finding)
                if abuser == "silent":
                    finding.behind = metric(service, "sessions_behind")
                    finding.coalesced = metric(service, "frames_coalesced_total")
                    finding.left = await wait_closed(service)
        finding.pairs.append((min(calm, await window(service.url, seconds)), disturbed))
        if finding.ratio <= MAX_RATIO:
            break
    return finding


def report(findings: list[Finding], arguments: argparse.Namespace) -> str:
    """The page."""
    lines = [
        PAGE.format(
            silent=arguments.silent,
            window=arguments.window,
            cores=os.cpu_count(),
            python=platform.python_version(),
            load=os.getloadavg()[1],
        )
    ]
    for finding in findings:
        calm, disturbed = finding.best
        memory = "; ".join(
            f"{role} " + " → ".join(f"{size:.0f}" for size in sizes) for role, sizes in finding.memory.items()
        )
        each = ", ".join(f"{beside / alone:.2f}" for alone, beside in finding.pairs)
        lines.append(
            f"| {finding.mode} | {finding.abuser} | {calm:.1f} ms | {disturbed:.1f} ms | {finding.ratio:.2f} |"
            f" {each} | {memory} | {finding.behind} | {finding.coalesced} |"
        )
    return "\n".join(lines) + "\n"


def run(arguments: argparse.Namespace) -> int:
    """Everything; the exit code."""
    modes = ["standalone", "nats"] if arguments.mode == "all" else [arguments.mode]
    findings = []
    for mode in modes:
        for environ, abusers in ((LIMITED, list(ATTACKS)), ({}, ["flood, no rate limit"])):
            with serving([mode], environ) as services:
                for abuser in abusers:
                    finding = asyncio.run(observe(mode, services[mode], abuser, arguments.window, arguments.silent))
                    findings.append(finding)
                    print(finding, flush=True)
    page = report(findings, arguments)
    print(page)
    if arguments.write:
        RESULT.write_text(page)
    failures = [failure for finding in findings for failure in finding.failures(arguments.silent)]
    print("\n".join(failures))
    return bool(failures)


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mode", choices=["standalone", "nats", "all"], default="all")
    parser.add_argument("--silent", type=int, default=1_000, help="sockets that never read")
    parser.add_argument("--window", type=float, default=6.0, help="seconds of one window")
    parser.add_argument("--write", action="store_true", help="renew docs/results/abuse.md")
    parser.add_argument("--attack", nargs=2, metavar=("NAME", "URL"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    if arguments.attack:
        name, url = arguments.attack
        asyncio.run(ATTACKS[name](url, arguments.silent))
        return 0
    return run(arguments)


if __name__ == "__main__":
    sys.exit(main())
