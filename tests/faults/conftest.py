"""The platform as real processes that a test kills, stops and restarts: NATS, gateway, runtimes, real sockets.

Each test has its own NATS server and its own processes, all on free loopback ports, all ended by the fixture.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from contextlib import AsyncExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import httpx
import jsonpatch
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.tied import tied
from zocket.broker.nats import NatsBroker
from zocket.broker.server import NatsServer
from zocket.ids import Scope

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

DEADLINE_S = 45.0
TOKEN = "the internal bearer of these processes"
SCOPE = Scope("ws_faults", "prj_faults")
HOST = "faults.example.test"

APP = '''
from __future__ import annotations
import asyncio, logging, os, pathlib, time
from typing import Any
from zocket import Actor, ActorError, App, Event, method

NOTES = pathlib.Path(os.environ["TEST_NOTES"])

def note(*parts: object) -> None:
    with NOTES.open("a") as file:
        file.write(" ".join(map(str, (os.getpid(), *parts))) + "\\n")

class Room(Actor[dict[str, Any]]):
    said = Event[str]()

    async def on_activate(self) -> None:
        self.state["lines"] = []

    async def on_connect(self) -> None:
        note("connect", self.id, self.session.id)

    async def on_disconnect(self) -> None:
        note("disconnect", self.id, self.session.id)

    async def on_deactivate(self) -> None:
        note("deactivate", self.id)

    @method
    async def here(self) -> list[str]:
        return sorted(self.clients)

    @method
    async def say(self, line: str, hold_s: float = 0.0) -> int:
        note("enter", self.id, line)
        if hold_s:
            await asyncio.sleep(hold_s)
        self.state["lines"].append(line)
        self.said.emit(line)
        note("leave", self.id, line)
        return len(self.state["lines"])

    @method
    async def behind_gate(self, line: str) -> int:
        """Goes on once the gate of this process is open."""
        note("enter", self.id, line)
        while not NOTES.with_name(f"gate-{os.getpid()}").exists():
            await asyncio.sleep(0.01)
        self.state["lines"].append(line)
        note("leave", self.id, line)
        return len(self.state["lines"])

    @method
    async def block(self, line: str, seconds: float) -> int:
        note("enter", self.id, line)
        time.sleep(seconds)
        self.state["lines"].append(line)
        return len(self.state["lines"])

    @method
    async def die(self, line: str) -> None:
        note("enter", self.id, line)
        os._exit(9)

    @method
    async def fill(self, size: int) -> None:
        self.state["lines"].append("x" * size)

    @method
    async def lines(self) -> list[str]:
        return list(self.state["lines"])

    @method
    async def fail(self, how: str, secret: str) -> None:
        if how == "on purpose":
            raise ActorError("not so", code="nope")
        if how == "log":
            logging.getLogger("app").info("said something")
            return
        raise RuntimeError("a mistake in the handler")

    @method(timeout_s=0.2)
    async def slow(self, secret: str) -> None:
        await asyncio.sleep(60)

app = App(actors={"room": Room})
'''


async def until(condition: Callable[[], object], what: str | Callable[[], str], deadline_s: float = DEADLINE_S) -> None:
    """Waits for a condition of any kind, with a deadline."""
    try:
        async with asyncio.timeout(deadline_s):
            while not condition():  # noqa: ASYNC110 — nothing tells when it becomes true
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"not within {deadline_s:g} s: {what if isinstance(what, str) else what()}") from None


class ControlPlane:
    """Deploys its bundle, and admits everybody: the token is the user id. On a thread, so that it always answers."""

    def __init__(self) -> None:
        self.reports: list[dict[str, Any]] = []
        self.bundle = APP.encode()
        plane = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                url = urlsplit(self.path)
                if url.path == "/bundle":
                    return self.answer(plane.bundle)
                deployment = parse_qs(url.query)["deploymentId"][0]
                checksum = hashlib.sha256(plane.bundle).hexdigest()
                active = {"deploymentId": deployment, "url": plane.url + "/bundle", "sha256": checksum}
                return self.answer(json.dumps(active | {"size": len(plane.bundle)}).encode())

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                if self.path == "/api/registry/authorize":
                    scope = {"workspaceId": SCOPE.workspace_id, "projectId": SCOPE.project_id}
                    return self.answer(
                        json.dumps({**scope, "userId": body["token"], "claims": {"sub": body["token"]}}).encode()
                    )
                plane.reports.append(body)
                return self.answer(b'{"ok":true}')

            def answer(self, body: bytes) -> None:
                self.send_response(200)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class Child:
    """A process of the platform with its log of JSON lines."""

    def __init__(self, command: list[str], environment: dict[str, str], log: Path) -> None:
        self.log_path = log
        with log.open("wb") as file:
            self.process = subprocess.Popen(
                tied(sys.executable, "-m", "zocket", *command, "--log-format", "json"),
                env=environment,
                stderr=file,
                stdout=file,
            )

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def log(self) -> str:
        return self.log_path.read_text()

    def lines(self) -> list[dict[str, Any]]:
        found = []
        for line in self.log.splitlines():
            with contextlib.suppress(ValueError):
                found.append(json.loads(line))
        return found

    def line(self, event: str) -> dict[str, Any] | None:
        return next((line for line in self.lines() if re.search(event, str(line["event"]))), None)

    async def wait_line(self, event: str) -> dict[str, Any]:
        await until(lambda: self.line(event) or self.process.poll() is not None, lambda: f"{event!r} in\n{self.log}")
        line = self.line(event)
        assert line is not None, self.log
        return line

    async def wait_exit(self) -> int:
        await until(lambda: self.process.poll() is not None, lambda: f"exit\n{self.log}")
        return int(self.process.wait())

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def terminate(self) -> None:
        self.process.terminate()

    def pause(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        if self.process.poll() is None:
            self.resume()
            self.process.kill()
        self.process.wait()


class Socket:
    """A client with a real socket that keeps every frame and when each call was sent and answered.

    Attributes:
        sent: when each call was sent, by its id.
        answered: each call's answer and when it came, by its id.
    """

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection
        self.received: list[dict[str, Any]] = []
        self.sent: dict[Any, float] = {}
        self.answered: dict[Any, tuple[dict[str, Any], float]] = {}
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        with contextlib.suppress(ConnectionClosed):
            async for text in self.connection:
                frame = json.loads(text)
                self.received.append(frame)
                if frame["type"] == "rpc:result":
                    assert frame["id"] not in self.answered, f"answered twice: {frame}"
                    self.answered[frame["id"]] = frame, time.monotonic()

    async def write(self, frame: dict[str, Any] | bytes | str) -> None:
        await self.connection.send(json.dumps(frame) if isinstance(frame, dict) else frame)

    async def call(self, call_id: Any, actor_id: str, method: str, **values: Any) -> None:
        self.sent[call_id] = time.monotonic()
        frame = {"type": "rpc", "id": call_id, "actor": "room", "actorId": actor_id, "method": method, "input": values}
        await self.write(frame)

    async def subscribe(self, *kinds: str, actor_id: str) -> None:
        for kind in kinds:
            await self.write({"type": kind, "actor": "room", "actorId": actor_id})

    def frames(self, kind: str) -> list[dict[str, Any]]:
        return [frame for frame in self.received if frame["type"] == kind]

    @property
    def id(self) -> str:
        """Its session."""
        return str(self.frames("welcome")[0]["clientId"])

    async def wait_frames(self, kind: str, count: int) -> list[dict[str, Any]]:
        await until(lambda: len(self.frames(kind)) >= count, lambda: f"{count} {kind}, have {len(self.frames(kind))}")
        return self.frames(kind)

    async def wait_answer(self, call_id: Any) -> dict[str, Any]:
        await until(lambda: call_id in self.answered, f"answer to {call_id}")
        return self.answered[call_id][0]

    async def wait_answers(self, deadline_s: float = DEADLINE_S) -> None:
        """Every call that was sent has its answer."""
        await until(
            lambda: len(self.answered) == len(self.sent),
            lambda: f"answers to {sorted(set(self.sent) - set(self.answered), key=str)[:10]}",
            deadline_s,
        )

    def codes(self) -> dict[Any, str]:
        """Of each answered call: `ok` or the error's code."""
        return {key: frame.get("code", "ok") for key, (frame, _) in self.answered.items()}

    def slowest_s(self) -> float:
        return max(at - self.sent[key] for key, (_, at) in self.answered.items())

    def replica(self, actor_id: str) -> Any:
        """The state as the last snapshot and what came after it give it, by an independent library."""
        of_instance = [frame for frame in self.received if frame.get("actorId") == actor_id]
        last = max(index for index, frame in enumerate(of_instance) if frame["type"] == "state:snapshot")
        state = of_instance[last]["state"]
        for frame in of_instance[last:]:
            if frame["type"] == "state:patch":
                state = jsonpatch.apply_patch(state, frame["patches"])
        return state

    async def aclose(self) -> None:
        await self.connection.close()
        await self._reading


class Platform:
    """Everything that runs for one test."""

    def __init__(self, directory: Path, control_plane: ControlPlane) -> None:
        self.directory = directory
        self.control_plane = control_plane
        self.control_plane_url = control_plane.url
        self.deployment_id = "dpl_faults"
        self.children: list[Child] = []
        self.notes_path = directory / "notes"
        self.nats: NatsServer
        self.gateway: Child
        self._stack = AsyncExitStack()
        self._storage = "memory"

    async def open(self, *, storage: str = "memory", auth: dict[str, str] | None = None, **gateway: str) -> Platform:
        """Starts NATS and a gateway; `gateway` are variables of its environment.

        With `auth`, the control plane is the real one, and this is how its project tells clients apart.
        """
        from zocket.testing import finalizers

        finalizers.get().push_async_callback(self._stack.aclose)
        self._storage = storage
        self.nats = await self._stack.enter_async_context(NatsServer())
        if auth is not None:
            await self._start_control_plane(auth)
        self.gateway = await self.start_gateway(**gateway)
        return self

    async def _start_control_plane(self, auth: dict[str, str]) -> None:
        stored = {"DATABASE_URL": f"sqlite+aiosqlite:///{self.directory}/control.db"}
        child = self._start(["control", "--port", "0"], stored | {"BUNDLE_STORE": str(self.directory / "store")})
        self.control_plane_url = str((await child.wait_line("control plane answers"))["url"])
        scope = {"workspaceId": SCOPE.workspace_id, "projectId": SCOPE.project_id}
        project = {"workspaceId": SCOPE.workspace_id, "slug": "faults", "domain": HOST, "auth": auth}
        headers = {"authorization": f"Bearer {TOKEN}"}
        async with httpx.AsyncClient(
            base_url=self.control_plane_url, headers=headers, timeout=DEADLINE_S, trust_env=False
        ) as client:
            answer = await client.put(f"/api/internal/projects/{SCOPE.project_id}", json=project)
            assert answer.status_code == 200, answer.text
            answer = await client.post("/api/internal/deployments", params=scope, content=APP.encode())
            assert answer.status_code == 201, answer.text
            self.deployment_id = str(answer.json()["deploymentId"])

    def environment(self) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "NATS_URL": self.nats.url,
            "CONTROL_PLANE_URL": self.control_plane_url,
            "CONTROL_PLANE_INTERNAL_TOKEN": TOKEN,
            "STREAM_STORAGE": self._storage,
        }

    def _start(self, command: list[str], environment: dict[str, str]) -> Child:
        log = self.directory / f"{len(self.children)}-{command[0]}.log"
        child = Child(command, self.environment() | environment, log)
        self.children.append(child)
        return child

    async def start_gateway(self, **environment: str) -> Child:
        ports = {"HOST": "127.0.0.1", "PORT": "0", "METRICS_PORT": "0"}
        child = self._start(["gateway"], ports | environment)
        await child.wait_line("answers on port")
        return child

    def launch_runtime(self, **environment: str) -> Child:
        """A runtime that is only being started."""
        own = {
            "DEPLOYMENT_ID": self.deployment_id,
            "WORKSPACE_ID": SCOPE.workspace_id,
            "PROJECT_ID": SCOPE.project_id,
            "API_HOST": "127.0.0.1",
            "API_PORT": "0",
            "BUNDLE_DIR": str(self.directory / "bundles"),
            "TEST_NOTES": str(self.notes_path),
        }
        return self._start(["runtime"], own | environment)

    async def start_runtime(self, **environment: str) -> Child:
        child = self.launch_runtime(**environment)
        await child.wait_line("runtime is ready")
        return child

    def ports_of(self, gateway: Child) -> tuple[int, int]:
        line = gateway.line("answers on port")
        assert line is not None
        public, metrics = map(int, re.findall(r"\d+", str(line["event"]).partition("port")[2]))
        return public, metrics

    async def metrics(self, child: Child) -> str:
        line = child.line("health port answers")
        port = self.ports_of(child)[1] if line is None else line["port"]
        async with httpx.AsyncClient(timeout=DEADLINE_S, trust_env=False) as client:
            return (await client.get(f"http://127.0.0.1:{port}/metrics")).text

    async def wait_metric(self, child: Child, name: str, value: float) -> str:
        """All metrics of a process, once this one has the value, under each of its labels."""
        text = ""
        try:
            async with asyncio.timeout(DEADLINE_S):
                while True:
                    text = await self.metrics(child)
                    found = re.findall(rf"^{name}(?:{{.*}})? (.+)$", text, re.MULTILINE)
                    if found and all(float(one) == value for one in found):
                        return text
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise AssertionError(f"not within {DEADLINE_S:g} s: {name} is {value}\n{text}") from None

    async def socket(self, query: str = "?token=user", gateway: Child | None = None, **headers: str) -> Socket:
        port, _ = self.ports_of(gateway or self.gateway)
        connection = await connect(
            f"ws://{HOST}:{port}/{query}",
            host="127.0.0.1",
            additional_headers=headers,
            proxy=None,
            compression=None,
            max_size=None,
            close_timeout=1,
        )
        socket = Socket(connection)
        self._stack.push_async_callback(socket.aclose)
        await socket.wait_frames("welcome", 1)
        return socket

    async def broker(self) -> NatsBroker:
        """A connection of the test's own."""
        broker = await NatsBroker.open(self.nats.url, name="test")
        self._stack.push_async_callback(broker.aclose)
        return broker

    def notes(self, kind: str) -> list[list[str]]:
        """What the app noted: [process, …] of one kind, in order."""
        if not self.notes_path.exists():
            return []
        lines = [line.split(" ") for line in self.notes_path.read_text().splitlines()]
        return [[line[0], *line[2:]] for line in lines if line[1] == kind]

    def open_gate(self, runtime: Child) -> None:
        """`behind_gate` goes on in this runtime."""
        self.notes_path.with_name(f"gate-{runtime.pid}").touch()

    async def wait_note(self, kind: str, runtime: Child, line: str) -> None:
        """This runtime has noted that."""
        await until(
            lambda: [str(runtime.pid), line] in [[note[0], note[-1]] for note in self.notes(kind)],
            lambda: f"{kind} {line} in {runtime.pid}\n{runtime.log}",
        )

    def close(self) -> None:
        for child in self.children:
            child.close()


class Load:
    """Calls in the background, evenly over sockets and rooms, at most `open_calls` of them open, until a stop."""

    def __init__(
        self,
        sockets: list[Socket],
        rooms: list[str],
        *,
        hold_s: float = 0.0,
        pause_s: float = 0.004,
        open_calls: int = 200,
    ) -> None:
        self.sockets = sockets
        self.rooms = rooms
        self.count = 0
        self._hold_s = hold_s
        self._pause_s = pause_s
        self._open_calls = open_calls
        self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        while True:
            while self.count - self.answers() >= self._open_calls:  # noqa: ASYNC110 — an answer sets no event
                await asyncio.sleep(0.01)
            number, self.count = self.count, self.count + 1
            socket, room = self.sockets[number % len(self.sockets)], self.rooms[number % len(self.rooms)]
            await socket.call(number, room, "say", line=f"line{number}", hold_s=self._hold_s)
            await asyncio.sleep(self._pause_s)

    def answers(self) -> int:
        return sum(len(socket.answered) for socket in self.sockets)

    async def more(self, count: int) -> None:
        """So many more answers, of whatever kind."""
        wanted = self.answers() + count
        await until(lambda: self.answers() >= wanted, lambda: f"{wanted} answers, have {self.answers()}")

    async def stop(self) -> None:
        self._task.cancel()
        await asyncio.wait({self._task})


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[Platform]:
    control_plane = ControlPlane()
    made = Platform(tmp_path, control_plane)
    yield made
    made.close()
    control_plane.close()


@pytest.fixture
def load() -> type[Load]:
    return Load


@pytest.fixture(name="until")
def until_fixture() -> Callable[..., Any]:
    return until
