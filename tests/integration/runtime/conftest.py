from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import secrets
import signal
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from tests.tied import tied
from zocket.broker.nats import NatsBroker
from zocket.broker.port import Message
from zocket.broker.streams import transport_streams
from zocket.ids import Scope
from zocket.protocol import subjects

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from zocket.broker.server import NatsServer

DEADLINE_S = 30.0
TOKEN = "a token of the test"

APP = """
from __future__ import annotations
import asyncio, os, pathlib, time
from zocket.app import App
from zocket.core import Actor, Event, method

LOG = pathlib.Path(os.environ["TEST_LOG"])

def note(text: str) -> None:
    with LOG.open("a") as file:
        file.write(f"{os.getpid()} {text}\\n")

class Room(Actor[dict[str, int]]):
    added = Event[int]()

    @method
    async def add(self, by: int, sleep_s: float = 0.0) -> int:
        note(f"run {self.id} {by}")
        if sleep_s:
            await asyncio.sleep(sleep_s)
        self.state["total"] = self.state.get("total", 0) + by
        self.added.emit(by)
        note(f"done {self.id} {by}")
        return self.state["total"]

    @method
    async def sleep(self, seconds: float) -> float:
        await asyncio.sleep(seconds)
        return time.monotonic()

    async def on_activate(self) -> None:
        note(f"activate {self.id}")

    async def on_disconnect(self) -> None:
        note(f"disconnect {self.id} {self.session.id}")

    async def on_deactivate(self) -> None:
        note(f"deactivate {self.id}")

class Other(Actor[dict[str, int]]):
    @method
    async def ping(self) -> str:
        return "pong"

app = App(actors={"room": Room, "other": Other})
"""


class FakeControlPlane:
    """A control plane over real HTTP that answers as it is told and records what it is asked.

    Attributes:
        calls: (verb, path, query, authorization, body), in order.
        active: the answer of `active`; None makes it 404.
        statuses: HTTP statuses by path, where they are not 200.
        headers: of every answer.
        on_report: called with each report's body before it is answered.
    """

    def __init__(self) -> None:
        self.calls: list[tuple[str, str, dict[str, str], str, Any]] = []
        self.content = APP.encode()
        self.active: dict[str, Any] | None = None
        self.statuses: dict[str, int] = {}
        self.headers: dict[str, str] = {}
        self.on_report: Callable[[dict[str, Any]], None] = lambda _: None
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                fake._answer(self, b"")

            def do_POST(self) -> None:
                fake._answer(self, self.rfile.read(int(self.headers.get("content-length", 0))))

            do_PUT = do_POST

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def offer(self, content: bytes, **changes: Any) -> None:
        """The deployment is this file; `changes` falsify what is said of it."""
        self.content = content
        self.active = {
            "url": f"{self.url}/files/bundle",
            "sha256": hashlib.sha256(content).hexdigest(),
            "size": len(content),
            **changes,
        }

    def _answer(self, handler: BaseHTTPRequestHandler, raw: bytes) -> None:
        url = urlsplit(handler.path)
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        body = json.loads(raw) if raw else None
        self.calls.append((handler.command, url.path, query, handler.headers.get("authorization", ""), body))
        status, content = self.statuses.get(url.path, 200), b'{"ok":true}'
        if url.path == "/api/internal/runtime/report" and status == 200 and body is not None:
            self.on_report(body)
        elif url.path == "/files/bundle":
            content = self.content
        elif url.path == "/api/internal/runtime/active":
            if self.active is None:
                status, content = 404, b'{"error":"no such deployment","code":"not_found","requestId":"r"}'
            else:
                content = json.dumps({"deploymentId": query.get("deploymentId"), **self.active}).encode()
        handler.send_response(status)
        if status in (301, 302):
            handler.send_header("location", f"{self.url}/files/bundle")
        for name, value in self.headers.items():
            handler.send_header(name, value)
        handler.send_header("content-length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)

    @property
    def reports(self) -> list[dict[str, Any]]:
        return [call[4] for call in self.calls if call[1] == "/api/internal/runtime/report"]


@pytest.fixture
def control_plane() -> Iterator[FakeControlPlane]:
    fake = FakeControlPlane()
    fake.offer(APP.encode())
    yield fake
    fake.close()


class RuntimeProcess:
    """A runtime as a process of its own, with its log."""

    def __init__(self, environment: dict[str, str], log: Path) -> None:
        self.log_path = log
        with log.open("wb") as file:
            self.process = subprocess.Popen(
                tied(sys.executable, "-m", "zocket", "runtime"), env=environment, stderr=file
            )

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
        return next((line for line in self.lines() if line.get("event") == event), None)

    @property
    def url(self) -> str:
        line = self.line("health port answers")
        assert line is not None
        return f"http://127.0.0.1:{line['port']}"

    async def wait_line(self, event: str) -> dict[str, Any]:
        await until(lambda: self.line(event) or self.process.poll() is not None, f"log line {event!r}\n{self.log}")
        line = self.line(event)
        assert line is not None, self.log
        return line

    async def wait_ready(self) -> RuntimeProcess:
        await self.wait_line("runtime is ready")
        return self

    async def wait_exit(self) -> int:
        await until(lambda: self.process.poll() is not None, f"exit\n{self.log}")
        code = self.process.poll()
        assert code is not None
        return code

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def health(self, path: str = "/health") -> httpx.Response:
        return httpx.get(self.url + path, timeout=DEADLINE_S)


class Launcher:
    """Starts runtimes of one project that nobody else uses."""

    def __init__(self, directory: Path, nats_url: str, control_url: str) -> None:
        self.directory = directory
        self.scope = Scope("ws_" + secrets.token_hex(4), "prj")
        self.app_log = directory / "app.log"
        self.bundle_dir = directory / "bundles"
        self.started: list[RuntimeProcess] = []
        self.environment = {
            "PATH": os.environ["PATH"],
            "DEPLOYMENT_ID": "dpl_1",
            "NATS_URL": nats_url,
            "CONTROL_PLANE_URL": control_url,
            "CONTROL_PLANE_INTERNAL_TOKEN": TOKEN,
            "WORKSPACE_ID": self.scope.workspace_id,
            "PROJECT_ID": self.scope.project_id,
            "API_HOST": "127.0.0.1",
            "API_PORT": "0",
            "BUNDLE_DIR": str(self.bundle_dir),
            "TEST_LOG": str(self.app_log),
        }

    def start(self, **environment: str | None) -> RuntimeProcess:
        merged = {key: value for key, value in (self.environment | environment).items() if value is not None}
        started = RuntimeProcess(merged, self.directory / f"runtime-{len(self.started)}.log")
        self.started.append(started)
        return started

    def notes(self) -> list[str]:
        """What the app noted, without process ids."""
        if not self.app_log.exists():
            return []
        return [line.partition(" ")[2] for line in self.app_log.read_text().splitlines()]

    def close(self) -> None:
        for started in self.started:
            if started.process.poll() is None:
                started.signal(signal.SIGCONT)
                started.process.kill()
            started.process.wait()


@pytest.fixture
def launcher(tmp_path: Path, nats_url: str, control_plane: FakeControlPlane) -> Iterator[Launcher]:
    made = Launcher(tmp_path, nats_url, control_plane.url)
    yield made
    made.close()


async def until(condition: Callable[[], object], what: str) -> None:
    """Waits for a condition of any kind, with a deadline."""
    try:
        async with asyncio.timeout(DEADLINE_S):
            while not condition():  # noqa: ASYNC110 — nothing tells when it becomes true
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"not within {DEADLINE_S} s: {what}") from None


class Wire:
    """An existing gateway, made by hand on a NATS connection."""

    def __init__(self, broker: NatsBroker, scope: Scope) -> None:
        self.broker = broker
        self.scope = scope
        self.outbound: list[tuple[str, dict[str, Any]]] = []
        self.failures: list[Exception] = []
        self._number = 0

    async def listen(self) -> Wire:
        def received(messages: list[Message]) -> None:
            self.outbound += [(message.subject, json.loads(message.payload)) for message in messages]

        for stream in transport_streams():
            await self.broker.ensure_stream(stream)
        await self.broker.subscribe(subjects.outbound(self.scope, "*"), received)
        return self

    def send(self, frame: dict[str, Any], session: str = "s1", **more: Any) -> None:
        envelope = {
            "scope": {"workspaceId": self.scope.workspace_id, "projectId": self.scope.project_id},
            "sessionId": session,
            "userId": None,
            "claims": None,
            "message": frame,
            **more,
        }
        self._number += 1
        self.broker.publish(
            subjects.inbound(self.scope, frame["actor"], frame["actorId"]),
            json.dumps(envelope).encode(),
            f"{id(self)}:{self._number}",
            lambda error: self.failures.append(error) if error else None,
        )

    def call(self, call_id: Any, actor_id: str, method: str, session: str = "s1", **values: Any) -> None:
        frame = {"type": "rpc", "id": call_id, "actor": "room", "actorId": actor_id, "method": method, "input": values}
        self.send(frame, session)

    def subscribe(self, kind: str, actor_id: str, session: str = "s1") -> None:
        self.send({"type": kind, "actor": "room", "actorId": actor_id}, session)

    def disconnect(self, session: str) -> None:
        scope = {"workspaceId": self.scope.workspace_id, "projectId": self.scope.project_id}
        payload = json.dumps({"scope": scope, "sessionId": session, "disconnectedAt": 1}).encode()
        self.broker.send([Message(subjects.disconnected(self.scope), payload)])

    def frames(self, kind: str = "rpc:result") -> list[dict[str, Any]]:
        return [body["message"] for _, body in self.outbound if body["message"]["type"] == kind]

    def results(self) -> dict[Any, Any]:
        """Results by call id; a second answer to a call would be an error of the test."""
        return {frame["id"]: frame.get("result", frame.get("error")) for frame in self.frames()}

    async def wait_results(self, count: int) -> dict[Any, Any]:
        await until(lambda: len(self.results()) >= count, f"{count} results, there are {len(self.results())}")
        return self.results()


class WireMaker:
    """Opens wires inside a test's loop."""

    def __init__(self, url: str) -> None:
        self._url = url

    @contextlib.asynccontextmanager
    async def open(self, scope: Scope, url: str | None = None) -> AsyncIterator[Wire]:
        broker = await NatsBroker.open(url or self._url, name="test")
        try:
            yield await Wire(broker, scope).listen()
        finally:
            await broker.aclose()

    until = staticmethod(until)


@pytest.fixture
def wires(nats_server: NatsServer) -> WireMaker:
    return WireMaker(nats_server.url)
