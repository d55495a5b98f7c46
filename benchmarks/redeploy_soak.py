"""Rolling redeploys of the runtime while retrying clients call a durable actor: no error at a client, no call twice.

    python benchmarks/redeploy_soak.py

Starts NATS, a control plane, a gateway and one runtime after the other as processes; each runtime takes the project
over from the one before. With every redeploy one client's socket is closed, too. Writes what came of it to
docs/results/rolling-redeploy.md. Ends with 1 if a call failed, or took effect twice or not at all.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import os
import platform
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from processes import BIN, Process, answers, free_port, request

from zocket.broker.server import NatsServer
from zocket.client import connect
from zocket.client.websocket import WebSocketTransport
from zocket.errors import ZocketError

if TYPE_CHECKING:
    from zocket.client import Client, Connection, Receiver

RESULT: Final = Path(__file__).parent.parent / "docs" / "results" / "rolling-redeploy.md"
TOKEN: Final = "an internal token of the soak"
SCOPE: Final = "workspaceId=local-workspace&projectId=local-project"
CALL_LIMIT_S: Final = 60.0
"""Time limit of a call, retries included."""

APP: Final = """
from zocket import Actor, App, method

class Ledger(Actor[dict[str, int]]):
    durability = "file"

    @method
    async def add(self) -> int:
        self.state["count"] = self.state.get("count", 0) + 1
        return self.state["count"]

    @method
    async def count(self) -> int:
        return self.state.get("count", 0)

app = App(actors={"ledger": Ledger})
"""


@dataclass
class Seen:
    """What the clients saw."""

    sent: int = 0
    answers: dict[str, list[int]] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    waits_s: list[float] = field(default_factory=list)
    takeovers: int = 0
    longest_start_s: float = 0.0
    took_s: float = 0.0


class Droppable(WebSocketTransport):
    """A WebSocket that the soak closes now and then; the client does not know that it is meant."""

    connection: Connection | None = None

    async def connect(self, receiver: Receiver, /) -> Connection:
        """See `Transport.connect`."""
        self.connection = await super().connect(receiver)
        return self.connection

    async def drop(self) -> None:
        """The present socket is closed under the client."""
        if self.connection is not None:
            await self.connection.close()


async def call_steadily(clients: list[Client], instances: int, per_s: float, stop: asyncio.Event, seen: Seen) -> None:
    """Calls at a fixed rate whatever happens, spread over clients and instances; then waits for every answer."""
    handles = [
        client.options(idempotency_key=True, timeout=CALL_LIMIT_S).dynamic("ledger", f"l{number}")
        for number in range(instances)
        for client in clients
    ]
    seen.answers = {handle.id: [] for handle in handles}
    turn = itertools.cycle(handles)

    async def call() -> None:
        began, handle = time.monotonic(), next(turn)
        try:
            seen.answers[handle.id].append(await handle.call("add"))
        except ZocketError as error:
            seen.failures.append(str(error))
        seen.waits_s.append(time.monotonic() - began)

    begin = time.monotonic()
    async with asyncio.TaskGroup() as calls:
        while not stop.is_set():
            calls.create_task(call())
            seen.sent += 1
            await asyncio.sleep(max(0.0, begin + seen.sent / per_s - time.monotonic()))
    plain = clients[0]
    seen.counts = {name: await plain.dynamic("ledger", name).call("count") for name in seen.answers}


class Platform:
    """NATS, control plane and gateway of the soak, and its runtimes."""

    def __init__(self, directory: Path, nats_url: str) -> None:
        self._directory = directory
        self._stack = AsyncExitStack()
        self._numbers = itertools.count()
        self._control_port, self._gateway_port = free_port(), free_port()
        self._control_url = f"http://127.0.0.1:{self._control_port}"
        self._deployment = ""
        self._common = {
            "NATS_URL": nats_url,
            "CONTROL_PLANE_URL": self._control_url,
            "CONTROL_PLANE_INTERNAL_TOKEN": TOKEN,
            "HOST": "127.0.0.1",
            "STREAM_STORAGE": "file",
        }
        self.url = f"ws://127.0.0.1:{self._gateway_port}/"

    async def __aenter__(self) -> Platform:
        control = self._start(
            "control",
            PORT=str(self._control_port),
            DATABASE_URL=f"sqlite+aiosqlite:///{self._directory}/control.db",
            BUNDLE_STORE=str(self._directory / "store"),
        )
        control.wait_until("/api/health", lambda: answers(f"{self._control_url}/api/health"))
        bearer = {"Authorization": f"Bearer {TOKEN}"}
        project = b'{"workspaceId":"local-workspace","slug":"soak","domain":"127.0.0.1"}'
        internal = f"{self._control_url}/api/internal"
        json_body = {**bearer, "Content-Type": "application/json"}
        request("PUT", f"{internal}/projects/local-project", project, json_body)
        octets = {**bearer, "Content-Type": "application/octet-stream"}
        deployed = request("POST", f"{internal}/deployments?{SCOPE}", APP.encode(), octets)
        self._deployment = str(deployed["deploymentId"])
        gateway = self._start("gateway", PORT=str(self._gateway_port), METRICS_PORT="0")
        gateway.wait_until("/health", lambda: answers(f"http://127.0.0.1:{self._gateway_port}/health"))
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._stack.aclose()

    async def redeploy(self) -> None:
        """Starts a runtime; it owns the project afterwards."""
        port = free_port()
        runtime = self._start(
            "runtime",
            DEPLOYMENT_ID=self._deployment,
            BUNDLE_DIR=str(self._directory / "bundles"),
            API_HOST="127.0.0.1",
            API_PORT=str(port),
        )
        await asyncio.to_thread(runtime.wait_until, "/ready", lambda: answers(f"http://127.0.0.1:{port}/ready"))

    def _start(self, role: str, **environ: str) -> Process:
        name, command = f"{role}-{next(self._numbers)}", [f"{BIN}/zocket", role]
        process = Process(
            name, command, self._directory, environ={**self._common, **environ}, directory=self._directory
        )
        return self._stack.enter_context(process)


async def soak(seconds: float, every_s: float, per_s: float, sockets: int, instances: int) -> Seen:
    """Runs it."""
    seen, stop = Seen(), asyncio.Event()
    async with AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="zocket-soak-")))
        nats = await stack.enter_async_context(NatsServer())
        chosen = await stack.enter_async_context(Platform(directory, nats.url))
        await chosen.redeploy()
        transports = [Droppable(chosen.url) for _ in range(sockets)]
        clients = [await stack.enter_async_context(connect(chosen.url, transport=made)) for made in transports]
        calling = asyncio.create_task(call_steadily(clients, instances, per_s, stop, seen))
        begin = time.monotonic()
        while (now := time.monotonic()) < begin + seconds:
            await chosen.redeploy()
            seen.longest_start_s = max(seen.longest_start_s, time.monotonic() - now)
            await transports[seen.takeovers % sockets].drop()
            seen.takeovers += 1
            print(f"{seen.takeovers} redeploys, {len(seen.waits_s)} calls answered of {seen.sent}", flush=True)
            await asyncio.sleep(max(0.0, now + every_s - time.monotonic()))
        stop.set()
        await calling
        seen.took_s = time.monotonic() - begin
    return seen


def faults(seen: Seen) -> list[str]:
    """Whatever is not as it must be."""
    wrong = [f"a call failed: {failure}" for failure in seen.failures]
    if seen.sent != len(seen.waits_s):
        wrong.append(f"{seen.sent - len(seen.waits_s)} calls have no answer")
    for name, given in seen.answers.items():
        if sorted(given) != list(range(1, len(given) + 1)) or seen.counts.get(name) != len(given):
            wrong.append(
                f"{name}: {len(given)} answers, {len(set(given))} different, and a count of {seen.counts[name]}"
            )
    return wrong


def report(seen: Seen, every_s: float, per_s: float, sockets: int, instances: int) -> str:
    """The result as a page."""
    waits, wrong = sorted(seen.waits_s), faults(seen)

    def share(part: float) -> str:
        return f"{waits[min(int(len(waits) * part), len(waits) - 1)] * 1000:.1f} ms"

    counted = sum(seen.counts.values())
    return f"""# Rolling redeploys under load

Written by `python benchmarks/redeploy_soak.py`. Clients on {sockets} sockets call {instances} instances of a durable
actor {per_s:g} times a second through a gateway and NATS, each call with a random idempotency key. A runtime is started
every {every_s:g} s, or as soon as the one before serves; it takes the project over. With each takeover one of the
sockets is closed under its client. All processes share one machine, beside other work: {os.cpu_count()} cores, Python
{platform.python_version()}.

| | |
|---|---|
| time | {seen.took_s:.0f} s |
| redeploys; start of a runtime until it serves, longest | {seen.takeovers}; {seen.longest_start_s:.1f} s |
| sockets closed | {seen.takeovers} |
| calls | {seen.sent:,} |
| errors at a client, calls without an answer | {len(seen.failures) + seen.sent - len(waits)} |
| effects on the state | {counted:,} |
| calls that took effect twice | {max(0, counted - sum(map(len, seen.answers.values())))} |
| wait of a call, median / 99 % / 99.9 % / longest | {share(0.5)} / {share(0.99)} / {share(0.999)} / {share(1)} |

Every call counts up and gives the new count: of each instance the answers are 1, 2, … and the count at the end, each
once. The longest waits are takeovers, when calls wait in the stream, and closed sockets, when their client reconnects.
{"".join(f"{chr(10)}WRONG: {line}" for line in wrong[:20])}"""


def main() -> int:
    """Runs it; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--every-s", type=float, default=2.0, help="between redeploys, at least")
    parser.add_argument("--per-s", type=float, default=500.0, help="calls a second")
    parser.add_argument("--sockets", type=int, default=10)
    parser.add_argument("--instances", type=int, default=8)
    parser.add_argument("--result", type=Path, default=RESULT)
    options = parser.parse_args()
    load = (options.every_s, options.per_s, options.sockets, options.instances)
    seen = asyncio.run(soak(options.seconds, *load))
    text = report(seen, *load)
    options.result.parent.mkdir(parents=True, exist_ok=True)
    options.result.write_text(text)
    print(text)
    return 1 if faults(seen) else 0


if __name__ == "__main__":
    sys.exit(main())
