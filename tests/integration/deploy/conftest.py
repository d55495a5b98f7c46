"""Control plane, gateway and NATS as real processes, and a person who deploys to them."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import itertools
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, Protocol

import httpx
import pytest

from tests.tied import tied
from zocket.client import connect
from zocket.control.identity.accounts import create_admin
from zocket.errors import ZocketError
from zocket.settings import ControlSettings

LIMIT_S: Final = 40.0
"""A busy machine starts a runtime in less."""
TOKEN: Final = "an internal token of the test"
PASSWORD: Final = "correct horse battery staple"

GOOD: Final = """
import asyncio, os
from zocket import Actor, ActorFactory, App, method

VERSION = "@VERSION@"

class Counter(Actor[dict[str, int]]):
    @method
    async def add(self, n: int = 1) -> str:
        self.state["count"] = self.state.get("count", 0) + n
        return VERSION

    @method
    async def env(self, name: str) -> str | None:
        return os.environ.get(name)

    @method
    async def names(self) -> list[str]:
        return sorted(os.environ)

    @method
    async def die(self) -> None:
        os._exit(7)

@SMOKE@
app = App(actors={"counter": Counter}, smoke=smoke)
"""
SMOKE: Final = """
async def smoke(actor: ActorFactory) -> None:
    assert await actor(Counter, "smoke").add(2) == VERSION
"""
WAITING_SMOKE: Final = """
async def smoke(actor: ActorFactory) -> None:
    while not os.path.exists("@GATE@"):
        await asyncio.sleep(0.01)
"""
BAD_SMOKE: Final = """
async def smoke(actor: ActorFactory) -> None:
    raise ValueError("smoke rises")
"""
BROKEN: Final = {
    "import": "import a_module_that_is_not_there\n",
    "syntax": "def broken(:\n",
    "no app": "x = 1\n",
    "smoke": GOOD.replace("@SMOKE@", BAD_SMOKE),
    "exit": "import os\nos._exit(9)\n",
}
"""Every way to be broken that a version can have before it takes over."""
TAKEOVER: Final = {
    "refused": """
from zocket.errors import Unavailable
from zocket.runtime.runtime import Runtime

async def refuse(self: Runtime) -> None:
    raise Unavailable("the consumers are refused")

Runtime._take_consumers = refuse
""",
    "dies": """
from zocket.runtime.runtime import Runtime

_take = Runtime._take_consumers

async def take_and_die(self: Runtime) -> None:
    await _take(self)
    os._exit(8)

Runtime._take_consumers = take_and_die
""",
    "dies later": """
from zocket.runtime.runtime import Runtime

_start = Runtime._start

async def start_and_die(self: Runtime) -> None:
    await _start(self)
    asyncio.get_running_loop().call_later(0.4, os._exit, 7)

Runtime._start = start_and_die
""",
}
"""Ways to fail that only show at the takeover, or shortly after it."""


def bundle(version: str, *, broken: str | None = None) -> bytes:
    """A version of the app; what is broken about it, or nothing."""
    source = GOOD if broken is None else BROKEN[broken] if broken in BROKEN else GOOD + TAKEOVER[broken]
    return source.replace("@VERSION@", version).replace("@SMOKE@", SMOKE).encode()


def waiting(gate: Path) -> bytes:
    """A version whose smoke call goes on until there is this file."""
    return GOOD.replace("@SMOKE@", WAITING_SMOKE).replace("@GATE@", str(gate)).encode()


async def until(condition: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + LIMIT_S
    while True:
        value = condition()
        if asyncio.iscoroutine(value):
            value = await value
        if value:
            return value
        assert time.monotonic() < deadline, f"not within {LIMIT_S:g} s: {what}"
        await asyncio.sleep(0.03)


class Role:
    """A `zocket` process, its log in a file."""

    def __init__(self, role: str, log: Path, environ: dict[str, str]) -> None:
        self.log_path = log
        with log.open("ab") as file:
            self.process = subprocess.Popen(
                tied(sys.executable, "-m", "zocket", role, "--log-format", "json"),
                env={"PATH": os.environ["PATH"], **environ},
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                start_new_session=True,
            )

    async def wait_line(self, pattern: str) -> str:
        """What the pattern's group is in the log."""

        def found() -> re.Match[str] | None:
            assert self.process.poll() is None, self.log_path.read_text()
            return re.search(pattern, self.log_path.read_text())

        match: re.Match[str] = await until(found, f"{pattern} in {self.log_path}")
        return match[1]

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(LIMIT_S)
        finally:
            if self.process.poll() is None:
                os.killpg(self.process.pid, signal.SIGKILL)


class Platform:
    """What runs, and a person signed in to it.

    Attributes:
        http: the person's client of the control plane.
        project: the project's record; its clients connect to `socket_url`.
    """

    def __init__(self, directory: Path, nats_url: str, environ: dict[str, str]) -> None:
        self.directory = directory
        self.control: Role
        self.gateway: Role
        self.http: httpx.AsyncClient
        self.project: dict[str, Any] = {}
        self.socket_url = ""
        self._environ = {
            "BUNDLE_STORE": str(directory / "bundles"),
            "CONTROL_PLANE_INTERNAL_TOKEN": TOKEN,
            "DATABASE_URL": f"sqlite+aiosqlite:///{directory}/control.db",
            "PORT": "0",
            "RUNTIME_DIR": str(directory / "runtimes"),
            "RUNTIME_GRACE_S": "1",
            "RUNTIME_NATS_URL": nats_url,
            "ZOCKET_SECRET_KEY_FILE": str(directory / "secret.key"),
            "PRIVATE_TO_THE_CONTROL_PLANE": "1",
            **environ,
        }
        self._nats_url = nats_url
        self._clients: list[httpx.AsyncClient] = []

    async def start_control(self) -> None:
        log = self.directory / f"control-{time.monotonic_ns()}.log"
        self.control = Role("control", log, self._environ)
        url = await self.control.wait_line(r'"url": "(http:[^"]+)"')
        self._environ["PORT"] = url.rpartition(":")[2]
        self.http = httpx.AsyncClient(base_url=url, timeout=LIMIT_S, trust_env=False)
        self._clients.append(self.http)
        credentials = {"email": "ada@example.com", "password": PASSWORD}
        answer = await self.http.post("/api/auth/login", json=credentials)
        assert answer.status_code == 200, answer.text
        self.http.headers["x-zocket-csrf"] = (await self.http.get("/api/auth/session")).json()["csrf"]

    async def start_gateway(self) -> None:
        environ = {
            "CONTROL_PLANE_INTERNAL_TOKEN": TOKEN,
            "CONTROL_PLANE_URL": str(self.http.base_url),
            "HOST": "127.0.0.1",
            "METRICS_PORT": "0",
            "NATS_URL": self._nats_url,
            "PORT": "0",
        }
        self.gateway = Role("gateway", self.directory / "gateway.log", environ)
        port = await self.gateway.wait_line(r"answers on port (\d+)")
        self.socket_url = f"ws://127.0.0.1:{port}"

    async def create_project(self) -> None:
        answer = await self.http.post("/api/projects", json={"name": "Counting"})
        assert answer.status_code == 201, answer.text
        self.project = answer.json()
        changed = await self.http.patch(f"/api/projects/{self.project['id']}", json={"domain": "127.0.0.1"})
        assert changed.status_code == 200, changed.text

    async def upload(self, content: bytes, message: str = "", **headers: str) -> dict[str, Any]:
        headers = {
            "authorization": f"Bearer {self.project['deployToken']}",
            "x-zocket-sha256": hashlib.sha256(content).hexdigest(),
            "x-zocket-message": message,
            **headers,
        }
        async with httpx.AsyncClient(base_url=self.http.base_url, timeout=LIMIT_S, trust_env=False) as pipeline:
            answer = await pipeline.post(
                "/api/deployments", params={"projectId": self.project["id"]}, content=content, headers=headers
            )
        assert answer.status_code == 201, answer.text
        view: dict[str, Any] = answer.json()
        return view

    async def read(self, deployment_id: str) -> dict[str, Any]:
        answer = await self.http.get(f"/api/deployments/{deployment_id}")
        assert answer.status_code == 200, answer.text
        view: dict[str, Any] = answer.json()
        return view

    async def wait_status(self, deployment_id: str, *statuses: str) -> dict[str, Any]:
        async def reached() -> dict[str, Any] | None:
            view = await self.read(deployment_id)
            return view if view["status"] in statuses else None

        view: dict[str, Any] = await until(reached, f"{deployment_id} is {statuses}\n{self.log()}")
        return view

    async def deploy(self, content: bytes, message: str = "") -> dict[str, Any]:
        """Uploads, and waits until it is decided."""
        stored = await self.upload(content, message)
        return await self.wait_status(stored["id"], "active", "failed")

    async def status(self) -> dict[str, Any]:
        answer = await self.http.get(f"/api/projects/{self.project['id']}/status")
        assert answer.status_code == 200, answer.text
        view: dict[str, Any] = answer.json()
        return view

    async def rollback(self, deployment_id: str | None = None) -> httpx.Response:
        body = {"deploymentId": deployment_id} if deployment_id else {}
        return await self.http.post(f"/api/projects/{self.project['id']}/rollback", json=body)

    def log(self) -> str:
        return self.control.log_path.read_text()[-3_000:]

    async def control_stops_quickly(self) -> None:
        """A stop ends streams and long polls, and waits for nobody."""
        listening = asyncio.Event()
        following = asyncio.create_task(self._read_events(listening))
        await asyncio.wait_for(listening.wait(), LIMIT_S)
        self.control.process.send_signal(signal.SIGTERM)
        code = await asyncio.to_thread(self.control.process.wait, LIMIT_S)
        assert code == 0, self.log()
        assert "graceful shutdown exceeded" not in self.log()
        await following

    async def _read_events(self, listening: asyncio.Event) -> None:
        async with self.http.stream("GET", "/api/events") as answer:
            async for _ in answer.aiter_bytes():
                listening.set()

    async def aclose(self) -> None:
        for client in self._clients:
            await client.aclose()
        for role in (getattr(self, "gateway", None), getattr(self, "control", None)):
            if role is not None and role.process.poll() is None:
                role.stop()


class OpenPlatform(Protocol):
    def __call__(self, **environ: str) -> contextlib.AbstractAsyncContextManager[Platform]: ...


@pytest.fixture
def open_platform(tmp_path: Path, nats_url: str) -> OpenPlatform:
    @asynccontextmanager
    async def opened(**environ: str) -> AsyncIterator[Platform]:
        platform = Platform(tmp_path, nats_url, environ)
        settings = ControlSettings(database_url=platform._environ["DATABASE_URL"])
        await create_admin(settings, "ada@example.com", "Ada", PASSWORD)
        try:
            await platform.start_control()
            await platform.start_gateway()
            await platform.create_project()
            yield platform
        finally:
            await platform.aclose()

    return opened


class Caller:
    """One client that calls at a fixed rate whatever happens, and remembers every answer.

    Attributes:
        answers: the version that served each call, in the order of the answers.
        failures: what any call failed with.
        slowest_s: the longest wait for an answer.
        drops: how often the socket was not there.
    """

    def __init__(self, url: str, per_s: float) -> None:
        self._url = url
        self._every_s = 1 / per_s
        self._stopping = asyncio.Event()
        self.sent = 0
        self.answers: list[str] = []
        self.failures: list[ZocketError] = []
        self.slowest_s = 0.0
        self.drops = 0

    @property
    def versions(self) -> list[str]:
        """The versions in the order in which they served, each once in a row."""
        return [version for version, _ in itertools.groupby(self.answers)]

    def stop(self) -> None:
        self._stopping.set()

    async def run(self) -> None:
        """Until `stop`, and every call is answered."""
        async with connect(self._url, rpc_timeout=LIMIT_S, reconnect=False) as client:
            handle = client.dynamic("counter", "one")
            calls: set[asyncio.Task[None]] = set()
            begin = time.monotonic()
            while not self._stopping.is_set():
                self.drops += client.status != "open"
                task = asyncio.create_task(self._call(handle))
                calls.add(task)
                task.add_done_callback(calls.discard)
                self.sent += 1
                await asyncio.sleep(max(0.0, begin + self.sent * self._every_s - time.monotonic()))
            await asyncio.gather(*calls)

    async def _call(self, handle: Any) -> None:
        began = time.monotonic()
        try:
            self.answers.append(await handle.call("add"))
        except ZocketError as error:
            self.failures.append(error)
        self.slowest_s = max(self.slowest_s, time.monotonic() - began)


class Kit:
    """What test modules take from here."""

    bundle = staticmethod(bundle)
    until = staticmethod(until)
    Caller = Caller
    broken = tuple(BROKEN)
    takeover = tuple(TAKEOVER)
    waiting = staticmethod(waiting)
    limit_s = LIMIT_S


@pytest.fixture
def kit() -> type[Kit]:
    return Kit
