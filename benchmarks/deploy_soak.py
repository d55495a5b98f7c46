"""Deployments, alternately good and broken, while a client calls at a fixed rate: no call lost, no socket dropped.

    python benchmarks/deploy_soak.py --deployments 200

Starts NATS, a control plane with the local orchestrator and a gateway as processes, deploys over HTTP as a pipeline
would, and writes what came of it to docs/results/deploy-soak.md. Ends with 1 if a call was lost, a broken version
served one, or a history is not whole.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import re
import statistics
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx
from processes import Process

from zocket.broker.server import NatsServer
from zocket.client import connect
from zocket.control.identity.accounts import create_admin
from zocket.errors import ZocketError
from zocket.settings import ControlSettings

RESULT: Final = Path(__file__).parent.parent / "docs" / "results" / "deploy-soak.md"
TOKEN: Final = "an internal token of the soak"
PASSWORD: Final = "correct horse battery staple"
LIMIT_S: Final = 120.0

GOOD: Final = """
import os
from zocket import Actor, ActorFactory, App, method

VERSION = "@VERSION@"

class Counter(Actor[dict[str, int]]):
    @method
    async def add(self) -> str:
        self.state["count"] = self.state.get("count", 0) + 1
        return VERSION

async def smoke(actor: ActorFactory) -> None:
    assert await actor(Counter, "smoke").add() == VERSION

app = App(actors={"counter": Counter}, smoke=smoke)
"""
BROKEN: Final = {
    "import error": "import a_module_that_is_not_there\n",
    "no app": "x = 1\n",
    "failing smoke call": GOOD.replace("== VERSION", "== 'another version'"),
    "dies at import": "import os\nos._exit(9)\n",
    "consumers refused": GOOD
    + """
from zocket.errors import Unavailable
from zocket.runtime.runtime import Runtime

async def refuse(self: Runtime) -> None:
    raise Unavailable("the consumers are refused")

Runtime._take_consumers = refuse
""",
    "dies at the takeover": GOOD
    + """
from zocket.runtime.runtime import Runtime

async def die(self: Runtime) -> None:  # the owner record is its own already
    os._exit(8)

Runtime._take_consumers = die
""",
}


@dataclass
class Calls:
    """What the client saw."""

    sent: int = 0
    by_version: dict[str, int] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    waits_s: list[float] = field(default_factory=list)
    drops: int = 0

    @property
    def by_broken(self) -> int:
        """Calls that a broken version answered."""
        return sum(count for name, count in self.by_version.items() if name != "v0" and "good" not in name)


async def call_steadily(url: str, per_s: float, stop: asyncio.Event, seen: Calls) -> None:
    """One socket, calls at a fixed rate whatever happens, until `stop` and every call is answered."""
    async with connect(url, rpc_timeout=60, reconnect=False) as client:
        handle = client.dynamic("counter", "one")

        async def call() -> None:
            began = time.monotonic()
            try:
                version = await handle.call("add")
            except ZocketError as error:
                seen.failures.append(str(error))
            else:
                seen.by_version[version] = seen.by_version.get(version, 0) + 1
            seen.waits_s.append(time.monotonic() - began)

        calls: set[asyncio.Task[None]] = set()
        begin = time.monotonic()
        while not stop.is_set():
            seen.drops += client.status != "open"
            task = asyncio.create_task(call())
            calls.add(task)
            task.add_done_callback(calls.discard)
            seen.sent += 1
            await asyncio.sleep(max(0.0, begin + seen.sent / per_s - time.monotonic()))
        await asyncio.gather(*calls)


class Platform:
    """A person's and a pipeline's view of the control plane."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http
        self.project: dict[str, Any] = {}

    async def sign_in(self) -> None:
        await self._ok("POST", "/api/auth/login", json={"email": "soak@example.com", "password": PASSWORD})
        self._http.headers["x-zocket-csrf"] = (await self._ok("GET", "/api/auth/session"))["csrf"]
        self.project = await self._ok("POST", "/api/projects", json={"name": "Soak"})
        await self._ok("PATCH", f"/api/projects/{self.project['id']}", json={"domain": "127.0.0.1"})

    async def deploy(self, content: bytes, message: str) -> dict[str, Any]:
        view = await self._ok(
            "POST",
            "/api/deployments",
            params={"projectId": self.project["id"]},
            content=content,
            headers={"x-zocket-message": message},
        )
        async with asyncio.timeout(LIMIT_S):
            while view["status"] not in ("active", "failed"):
                await asyncio.sleep(0.05)
                view = await self._ok("GET", f"/api/deployments/{view['id']}")
        return view

    async def deployments(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        after: str | None = None
        while True:
            params = {"limit": "200"} | ({"after": after} if after else {})
            page = await self._ok("GET", f"/api/projects/{self.project['id']}/deployments", params=params)
            found += page["items"]
            after = page["next"]
            if after is None:
                return found

    async def _ok(self, verb: str, path: str, **more: Any) -> Any:
        answer = await self._http.request(verb, path, **more)
        if not answer.is_success:
            raise SystemExit(f"{verb} {path}: {answer.status_code} {answer.text}")
        return answer.json()


def start(stack: AsyncExitStack, role: str, directory: Path, pattern: str, **environ: str) -> str:
    """Starts a role; what the pattern's group is in its log."""
    log = directory / f"{role}.log"
    command = [sys.executable, "-m", "zocket", role, "--log-format", "json"]
    process = stack.enter_context(Process(role, command, directory, environ=environ, directory=directory))
    process.wait_until("it answers", lambda: re.search(pattern, log.read_text()) is not None)
    match = re.search(pattern, log.read_text())
    assert match is not None
    return match[1]


async def soak(count: int, per_s: float, grace_s: float) -> tuple[list[dict[str, Any]], dict[str, str], Calls, float]:
    """All deployments as the API shows them, what each was meant to be, the calls, and the whole time."""
    async with AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="zocket-soak-")))
        nats = await stack.enter_async_context(NatsServer())
        database = f"sqlite+aiosqlite:///{directory}/control.db"
        await create_admin(ControlSettings(database_url=database), "soak@example.com", "Soak", PASSWORD)
        control_url = start(
            stack,
            "control",
            directory,
            r'"url": "(http:[^"]+)"',
            BUNDLE_STORE=str(directory / "bundles"),
            CONTROL_PLANE_INTERNAL_TOKEN=TOKEN,
            DATABASE_URL=database,
            PORT="0",
            RUNTIME_DIR=str(directory / "runtimes"),
            RUNTIME_GRACE_S=str(grace_s),
            RUNTIME_NATS_URL=nats.url,
            ZOCKET_SECRET_KEY_FILE=str(directory / "secret.key"),
        )
        port = start(
            stack,
            "gateway",
            directory,
            r"answers on port (\d+)",
            CONTROL_PLANE_INTERNAL_TOKEN=TOKEN,
            CONTROL_PLANE_URL=control_url,
            HOST="127.0.0.1",
            METRICS_PORT="0",
            NATS_URL=nats.url,
            PORT="0",
        )
        http = await stack.enter_async_context(httpx.AsyncClient(base_url=control_url, timeout=60, trust_env=False))
        chosen = Platform(http)
        await chosen.sign_in()
        await chosen.deploy(GOOD.replace("@VERSION@", "v0").encode(), "good")

        stop, seen, began = asyncio.Event(), Calls(), time.monotonic()
        calling = asyncio.create_task(call_steadily(f"ws://127.0.0.1:{port}", per_s, stop, seen))
        kinds, meant = list(BROKEN), {"1": "good"}
        for number in range(1, count + 1):
            kind = "good" if number % 2 else kinds[number // 2 % len(kinds)]
            source = GOOD if kind == "good" else BROKEN[kind]
            view = await chosen.deploy(source.replace("@VERSION@", f"v{number} {kind}").encode(), kind)
            meant[str(view["version"])] = kind
            print(f"{number}/{count} {kind}: {view['status']}, {len(seen.waits_s)} calls answered", flush=True)
        await asyncio.sleep(1)  # calls of the last version
        stop.set()
        await calling
        took_s = time.monotonic() - began
        return await chosen.deployments(), meant, seen, took_s


def faults(found: list[dict[str, Any]], meant: dict[str, str], seen: Calls) -> list[str]:
    """Whatever is not as it must be."""
    wrong = [f"a call failed: {failure}" for failure in seen.failures]
    wrong += [f"the socket was not there {seen.drops} times"] if seen.drops else []
    wrong += [f"{seen.sent - len(seen.waits_s)} calls have no answer"] if seen.sent != len(seen.waits_s) else []
    wrong += [f"a broken version served: {name}" for name in seen.by_version if name != "v0" and "good" not in name]
    versions = [view["version"] for view in found]
    wrong += ["a deployment is missing"] if versions != list(range(len(meant), 0, -1)) else []
    for view in found:
        good, steps = meant[str(view["version"])] == "good", [entry["status"] for entry in view["history"]]
        if steps[:2] != ["stored", "starting"] or ("active" in steps) != good or (not good and not view["reason"]):
            wrong.append(f"version {view['version']} ({meant[str(view['version'])]}): {steps}, {view['reason']}")
    return wrong


def report(found: list[dict[str, Any]], meant: dict[str, str], seen: Calls, took_s: float, per_s: float) -> str:
    """The result as a page."""
    waits = sorted(seen.waits_s)

    def share(part: float) -> str:
        return f"{waits[min(int(len(waits) * part), len(waits) - 1)] * 1000:.1f} ms"

    def until(view: dict[str, Any], status: str) -> float:
        at = {entry["status"]: entry["at"] for entry in view["history"]}
        return (at[status] - at["starting"]) / 1000 if status in at else 0.0

    ups = [until(view, "active") for view in found if meant[str(view["version"])] == "good"]
    downs = [until(view, "failed") for view in found if meant[str(view["version"])] != "good"]
    wrong = faults(found, meant, seen)
    kinds = "".join(f"| {kind} | {list(meant.values()).count(kind)} |\n" for kind in ("good", *BROKEN))
    return f"""# Deployments under load

Written by `python benchmarks/deploy_soak.py --deployments {len(meant) - 1}`. One client on one socket calls an actor
{per_s:g} times a second through a gateway and NATS, while good and broken versions are deployed in turn by the control
plane with the local orchestrator. All processes share one machine: {os.cpu_count()} cores, Python
{platform.python_version()}.

| | |
|---|---|
| deployments | {len(meant) - 1}, after a first one |
| time | {took_s:.0f} s |
| calls | {seen.sent:,} |
| calls without an answer, or with an error | {len(seen.failures) + seen.sent - len(waits)} |
| times the socket was gone | {seen.drops} |
| calls that a broken version served | {seen.by_broken} |
| wait of a call, median / 99 % / 99.9 % / longest | {share(0.5)} / {share(0.99)} / {share(0.999)} / {share(1)} |
| start of a good version until it serves, median / longest | {statistics.median(ups):.1f} s / {max(ups):.1f} s |
| start of a broken one until it is refused, median / longest | {statistics.median(downs):.1f} s / {max(downs):.1f} s |
| histories that are whole | {len(found) - sum(1 for line in wrong if line.startswith("version "))} of {len(found)} |

| version | how many |
|---|---|
{kinds}
A broken version never takes a call: what fails before the takeover is found in standby, and one that fails at the
takeover (it has claimed the project, and gets no consumers or dies) leaves it to the old one, which is still there and
takes it back. One that dies only after it has taken the consumers may have answered calls before; the tests have that
case. The longest waits are takeovers: calls wait in the stream meanwhile.
{"".join(f"{chr(10)}WRONG: {line}" for line in wrong)}"""


def main() -> int:
    """Runs it; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--deployments", type=int, default=200)
    parser.add_argument("--per-s", type=float, default=200.0, help="calls a second")
    parser.add_argument("--grace-s", type=float, default=0.5, help="how long the old runtime stays as a spare")
    parser.add_argument("--result", type=Path, default=RESULT)
    options = parser.parse_args()
    found, meant, seen, took_s = asyncio.run(soak(options.deployments, options.per_s, options.grace_s))
    text = report(found, meant, seen, took_s, options.per_s)
    options.result.parent.mkdir(parents=True, exist_ok=True)
    options.result.write_text(text)
    print(text)
    return 1 if faults(found, meant, seen) else 0


if __name__ == "__main__":
    sys.exit(main())
