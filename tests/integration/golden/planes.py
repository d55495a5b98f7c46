"""Stages around the calls between runtimes, gateways and control planes.

Rules: a caller of ours sends the headers that every HTTP client sends and the bearer, nothing else; a control plane of
ours answers the contract's fields and additions, and no header of its own that is not one.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl, urlsplit

import httpx
import jwt

from tests.integration.golden.conversation import stripped
from tests.integration.golden.player import DEADLINE_S, Stage
from zocket.control.process import serve
from zocket.settings import ControlSettings

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.golden.conversation import Line
    from zocket.ids import Scope

BEARER: Final = "the internal token of the test"
SECRET: Final = "the secret of the project, 32 bytes long at least"
HOST: Final = "golden.example.com"
BUNDLE: Final = """
from zocket import Actor, App, method


class Counter(Actor[dict[str, int]]):
    @method
    async def increment(self) -> int:
        return 1


app = App(actors={"counter": Counter})
"""
BROKEN: Final = "raise RuntimeError('broken on purpose')\n"

OF_EVERY_CLIENT: Final = {
    "accept", "accept-encoding", "authorization", "connection", "content-length", "content-type", "host", "user-agent",
}  # fmt: skip
OF_EVERY_SERVER: Final = {
    "cache-control", "content-length", "content-type", "date", "referrer-policy", "server", "transfer-encoding",
    "www-authenticate", "x-content-type-options",
}  # fmt: skip
"""What an HTTP server may say to any client; the security headers among them concern browsers."""


class ControlStage(Stage):
    """Existing runtimes and gateways, and our control plane."""

    foreign = frozenset({"runtime", "gateway"})
    ours = frozenset({"control"})

    def __init__(self, client: httpx.AsyncClient, **known: Any) -> None:
        super().__init__(**known)
        self._client = client

    async def say(self, line: Line) -> None:
        """See `Stage.say`."""
        if "call" not in line:
            return  # the answer to somebody else
        verb, path = line["call"].split()
        headers = {"authorization": f"Bearer {line['bearer']}"}
        answer = await self._client.request(
            verb, path, params=line.get("query"), json=line.get("body"), headers=headers
        )
        if path == self.bindings.fill("<file>"):
            self.hear("control", {"from": "control", "status": answer.status_code, "file": answer.text})
            return
        kind, body = f"{line['call']} {answer.status_code}", answer.json()
        refusal = self.contract.refusal_of_answer(line["call"], answer.status_code, body)
        if refusal is not None:
            self.refuse(refusal, body)
        added = self.contract.added("header", kind).keys() | self.contract.added("header", "every answer").keys()
        for name in answer.headers.keys() - OF_EVERY_SERVER - added:
            self.refuse(f"{kind}: header {name}", answer.headers[name])
        if "url" in body:
            self.bindings.bind("file", urlsplit(body["url"]).path)
        stripped_body = stripped(self.contract, kind, body)
        self.hear("control", {"from": "control", "status": answer.status_code, "body": stripped_body})


@asynccontextmanager
async def our_control_plane(directory: Path, scope: Scope) -> AsyncIterator[ControlStage]:
    """Our control plane over HTTP, with a project that takes tokens and has one deployment."""
    settings = ControlSettings(
        port=0,
        database_url=f"sqlite+aiosqlite:///{directory}/control.db",
        bundle_store=str(directory / "store"),
        internal_token=BEARER,
    )
    query = {"workspaceId": scope.workspace_id, "projectId": scope.project_id}
    auth = {"mode": "jwt-secret", "secret": SECRET}
    project = {"workspaceId": scope.workspace_id, "slug": "golden", "domain": HOST, "auth": auth}
    async with serve(settings) as url, httpx.AsyncClient(base_url=url, timeout=DEADLINE_S) as client:
        headers = {"authorization": f"Bearer {BEARER}"}
        put = await client.put(f"/api/internal/projects/{scope.project_id}", json=project, headers=headers)
        assert put.status_code == 200, put.text
        uploaded = await client.post("/api/internal/deployments", params=query, content=BUNDLE, headers=headers)
        assert uploaded.status_code == 201, uploaded.text
        yield ControlStage(client, **known(scope, BUNDLE), base=url, deployment=uploaded.json()["deploymentId"])


def known(scope: Scope, bundle: str) -> dict[str, Any]:
    """What the placeholders of every conversation with a control plane stand for."""
    return {
        "ws": scope.workspace_id,
        "proj": scope.project_id,
        "bundle": bundle,
        "sha": hashlib.sha256(bundle.encode()).hexdigest(),
        "size": len(bundle.encode()),
        "bearer": BEARER,
        "host": HOST,
        "token": jwt.encode({"sub": "ada"}, SECRET, algorithm="HS256"),
    }


class CallerStage(Stage):
    """An existing control plane, and a caller of ours.

    Attributes:
        url: of the control plane.
    """

    foreign = frozenset({"control"})

    def __init__(self, ours: str, **known: Any) -> None:
        super().__init__(**known)
        self.ours = frozenset({ours})
        self._caller = ours
        self._answers: asyncio.Queue[Line] = asyncio.Queue()
        self.url = ""

    async def say(self, line: Line) -> None:
        """See `Stage.say`."""
        if "url" in line.get("body", {}):
            self.bindings.bind("file", urlsplit(line["body"]["url"]).path)
        await self._answers.put(line)

    async def asked(self, verb: str, path: str, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
        """A call has come: it is heard, and answered with what is said next."""
        url = urlsplit(path)
        line: Line = {"from": self._caller, "call": f"{verb} {url.path}"}
        line["bearer"] = headers.get("authorization", "").removeprefix("Bearer ")
        line |= {"query": dict(parse_qsl(url.query))} if url.query else {}
        line |= {"body": json.loads(body)} if body else {}
        for name in headers.keys() - OF_EVERY_CLIENT:
            self.refuse(f"{line['call']}: header {name}", headers[name])
        self.hear(self._caller, line)
        answer = await self._answers.get()
        content = answer["file"] if "file" in answer else json.dumps(answer["body"])
        return answer["status"], content.encode()


@asynccontextmanager
async def existing_control_plane(ours: str, **known: Any) -> AsyncIterator[CallerStage]:
    """An HTTP server that answers as recorded."""
    stage, loop = CallerStage(ours, **known), asyncio.get_running_loop()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            asked = stage.asked(self.command, self.path, headers, body)
            status, content = asyncio.run_coroutine_threadsafe(asked, loop).result(DEADLINE_S)
            self.send_response(status)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_POST = do_PUT = do_GET

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    stage.url = f"http://127.0.0.1:{server.server_port}"
    stage.bindings.bind("base", stage.url)
    try:
        yield stage
    finally:
        await asyncio.to_thread(server.shutdown)
        server.server_close()
        thread.join()
