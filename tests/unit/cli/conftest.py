"""A control plane of the commands' own: the part of docs/control-api.md that they use, in memory."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from zocket.cli.commands import run
from zocket.cli.surroundings import Surroundings

URL = "https://control.example"
NOW_S = 1_700_000_000.0
PERSON = "zkc_person"
DEPLOY = "zkd_deploy"

APP = """
from zocket import Actor, App, method


class Counter(Actor[dict[str, int]]):
    @method
    async def add(self, amount: int = 1) -> int:
        self.state["count"] = self.state.get("count", 0) + amount
        return self.state["count"]


app = App(actors={"counter": Counter})
"""


@dataclass
class FakeControl:
    """Answers like a control plane; what becomes of the next deployments is in `plan`.

    Attributes:
        plan: for each upload the steps that each question brings it, the last one deciding.
        failures: answers to give instead, by (method, path): status, body, headers; each used once.
    """

    url: str = URL
    approvals: int = 1
    plan: list[list[tuple[str, str | None]]] = field(default_factory=list)
    failures: dict[tuple[str, str], list[httpx.Response | httpx.TransportError]] = field(default_factory=dict)
    tokens: set[str] = field(default_factory=lambda: {PERSON, DEPLOY})
    projects: dict[str, dict[str, Any]] = field(default_factory=dict)
    deployments: dict[str, dict[str, Any]] = field(default_factory=dict)
    bundles: dict[str, bytes] = field(default_factory=dict)
    variables: dict[str, str] = field(default_factory=dict)
    deploy_tokens: list[dict[str, Any]] = field(default_factory=list)
    log_lines: list[dict[str, Any]] = field(default_factory=list)
    requests: list[tuple[str, str]] = field(default_factory=list)
    _coming: dict[str, list[tuple[str, str | None]]] = field(default_factory=dict)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        method, path = request.method, request.url.path
        self.requests.append((method, path))
        planned = self.failures.get((method, path))
        if planned:
            outcome = planned.pop(0)
            if isinstance(outcome, Exception):
                raise outcome
            return outcome
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        if not path.startswith("/api/auth/device") and token not in self.tokens:
            return failure(401, "sign in", "unauthorized")
        parts = path.removeprefix("/api/").split("/")
        return self._route(request, method, parts, token)

    def _route(self, request: httpx.Request, method: str, parts: list[str], token: str) -> httpx.Response:
        match method, parts:
            case "POST", ["auth", "device", "start"]:
                page = f"{self.url}/device"
                return ok(
                    deviceCode="dev_1",
                    userCode="ABCD-EFGH",
                    verificationUri=page,
                    verificationUriComplete=f"{page}?code=ABCD-EFGH",
                    intervalSeconds=5,
                    expiresInSeconds=600,
                )
            case "GET", ["auth", "device", "dev_1"]:
                self.approvals -= 1
                if self.approvals >= 0:
                    return ok(status="pending", userCode="ABCD-EFGH", cliToken=None)
                return ok(status="approved", userCode="ABCD-EFGH", cliToken=PERSON)
            case "GET", ["auth", "session"]:
                return ok(user={"id": "usr_1", "email": "ada@example.com", "name": "Ada", "isAdmin": False})
            case "POST", ["auth", "logout"]:
                self.tokens.discard(token)
                return ok(ok=True)
            case "GET", ["projects"]:
                return page_of(request, list(self.projects.values()))
            case "POST", ["projects"]:
                body = json.loads(request.content)
                project = self.add_project(body.get("slug") or body["name"].lower().replace(" ", "-"), body["name"])
                return httpx.Response(201, json={**project, "deployToken": DEPLOY})
            case _, ["projects", named, *rest]:
                found = next((item for item in self.projects.values() if named in (item["id"], item["slug"])), None)
                if found is None:
                    return failure(404, "no such project", "not_found")
                return self._project(request, method, rest, found)
            case "POST", ["deployments"]:
                return self._upload(request)
            case "GET", ["deployments", deployment_id, *rest] if deployment_id in self.deployments:
                if rest == ["logs"]:
                    lines = [f"data: {json.dumps(item)}\n\n" for item in self.log_lines]
                    return httpx.Response(
                        200, text=": hello\n\n" + "".join(lines), headers={"content-type": "text/event-stream"}
                    )
                return httpx.Response(200, json=self._step(deployment_id))
        return failure(404, "nothing here", "not_found")

    def _project(self, request: httpx.Request, method: str, rest: list[str], project: dict[str, Any]) -> httpx.Response:
        match method, rest:
            case "GET", []:
                return ok(**project)
            case "DELETE", []:
                del self.projects[project["id"]]
                return ok(ok=True)
            case "GET", ["deployments"]:
                newest = sorted(self.deployments.values(), key=lambda item: -item["version"])
                return page_of(request, newest)
            case "POST", ["rollback"]:
                wanted = json.loads(request.content).get("deploymentId") or "dpl_1"
                before = dict(self.deployments[wanted], history=list(self.deployments[wanted]["history"]))
                self._coming[wanted] = self.plan.pop(0)
                return httpx.Response(202, json=before)
            case "GET", ["deploy-tokens"]:
                return page_of(request, self.deploy_tokens)
            case "POST", ["deploy-tokens"]:
                name = json.loads(request.content)["name"]
                item = {"id": f"dpt_{len(self.deploy_tokens) + 1}", "name": name, "prefix": "zkd_abc"}
                self.deploy_tokens.append({**item, "createdAt": 0, "lastUsedAt": None, "revokedAt": None})
                return httpx.Response(201, json={**item, "token": "zkd_abcdef"})
            case "POST", ["deploy-tokens", token_id, "revoke"]:
                next(item for item in self.deploy_tokens if item["id"] == token_id)["revokedAt"] = 1
                return ok(ok=True)
            case "GET", ["env"]:
                items = [{"name": name, "updatedAt": 0, "updatedBy": "Ada"} for name in self.variables]
                return page_of(request, items)
            case (("PUT" | "DELETE"), ["env", name]):
                if method == "PUT":
                    self.variables[name] = json.loads(request.content)["value"]
                else:
                    del self.variables[name]
                return ok(name=name, deployment=self._add(b"", None) if self.plan else None)
        return failure(404, "nothing here", "not_found")

    def _upload(self, request: httpx.Request) -> httpx.Response:
        content = request.read()
        if hashlib.sha256(content).hexdigest() != request.headers["x-zocket-sha256"]:
            return failure(400, "checksum", "checksum_mismatch")
        if request.url.params["projectId"] not in {*self.projects, *(p["slug"] for p in self.projects.values())}:
            return failure(404, "no such project", "not_found")
        message = dict(request.headers.raw).get(b"x-zocket-message")
        return httpx.Response(201, json=self._add(content, message.decode("utf-8") if message else None))

    def _add(self, content: bytes, message: str | None) -> dict[str, Any]:
        number = len(self.deployments) + 1
        deployment_id = f"dpl_{number}"
        self.bundles[deployment_id] = content
        self.deployments[deployment_id] = {
            "id": deployment_id,
            "projectId": "prj_1",
            "version": number,
            "author": "Ada",
            "message": message,
            "status": "stored",
            "reason": None,
            "actorTypes": ["counter"],
            "createdAt": int(NOW_S * 1000) - 90_000,
            "history": [{"status": "stored", "at": 0, "by": "Ada", "detail": None}],
        }
        self._coming[deployment_id] = self.plan.pop(0) if self.plan else []
        return self.deployments[deployment_id]

    def _step(self, deployment_id: str) -> dict[str, Any]:
        deployment = self.deployments[deployment_id]
        if self._coming.get(deployment_id):
            status, detail = self._coming[deployment_id].pop(0)
            deployment["status"] = status
            deployment["history"].append({"status": status, "at": 0, "by": "zocket", "detail": detail})
            if status == "failed":
                deployment["reason"] = detail
        return deployment

    def add_project(self, slug: str = "chat", name: str = "Chat") -> dict[str, Any]:
        number = len(self.projects) + 1
        project = {
            "id": f"prj_{number}",
            "workspaceId": "wsp_1",
            "name": name,
            "slug": slug,
            "domain": None,
            "url": f"wss://{slug}.example",
            "status": "empty",
            "activeDeployment": None,
            "createdAt": 0,
        }
        self.projects[f"prj_{number}"] = project
        return project

    def names_in(self, deployment_id: str) -> list[str]:
        """The members of an uploaded bundle that are files."""
        with zipfile.ZipFile(io.BytesIO(self.bundles[deployment_id])) as bundle:
            return [name for name in bundle.namelist() if not name.endswith("/")]


def ok(**body: Any) -> httpx.Response:
    return httpx.Response(200, json=body)


def failure(status: int, error: str, code: str, **headers: str) -> httpx.Response:
    return httpx.Response(status, json={"error": error, "code": code, "requestId": "req_7"}, headers=headers)


def page_of(request: httpx.Request, items: list[Any]) -> httpx.Response:
    """Two at a time, so that every list has pages."""
    after = int(request.url.params.get("after", 0))
    limit = min(2, int(request.url.params["limit"]))
    following = after + limit
    return ok(items=items[after:following], next=str(following) if following < len(items) else None)


@dataclass
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass
class Cli:
    """Runs commands in a directory, against the fake control plane.

    Attributes:
        paused: every pause that a command made, in seconds.
        opened: pages that were opened in a browser.
    """

    directory: Path
    control: FakeControl
    capsys: pytest.CaptureFixture[str]
    environ: dict[str, str]
    paused: list[float] = field(default_factory=list)
    opened: list[str] = field(default_factory=list)
    interactive: bool = False
    on_pause: Callable[[], None] | None = None

    @property
    def config(self) -> Path:
        return Path(self.environ["ZOCKET_HOME"]) / "config.json"

    def __call__(self, *arguments: str, **environ: str) -> Ended:
        around = Surroundings(
            environ={**self.environ, **environ},
            directory=self.directory,
            transport=httpx.MockTransport(self.control),
            pause=self._pause,
            wall=lambda: NOW_S,
            browse=self._browse,
            interactive=self.interactive,
        )
        self.capsys.readouterr()
        code = run(list(arguments), around)
        captured = self.capsys.readouterr()
        return Ended(code, captured.out, captured.err)

    def _pause(self, seconds: float) -> None:
        self.paused.append(seconds)
        if self.on_pause is not None:
            self.on_pause()

    def _browse(self, page: str) -> bool:
        self.opened.append(page)
        return True

    def sign_in(self) -> None:
        self.config.parent.mkdir(parents=True, exist_ok=True)
        content = {"controlUrl": URL, "controlPlanes": {URL: {"token": PERSON, "email": "ada@example.com"}}}
        self.config.write_text(json.dumps(content))

    def link(self) -> None:
        project = self.control.add_project()
        content = {"controlUrl": URL, "projectId": project["id"], "slug": "chat", "workspaceId": "wsp_1"}
        (self.directory / ".zocket.json").write_text(json.dumps(content))

    def write(self, **files: str) -> None:
        """`write(app__py="…")` writes app.py; `__` is a dot and `___` a slash."""
        for name, text in files.items():
            path = self.directory / name.replace("___", "/").replace("__", ".")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)


@pytest.fixture
def control() -> FakeControl:
    return FakeControl()


@pytest.fixture
def cli(tmp_path: Path, control: FakeControl, capsys: pytest.CaptureFixture[str]) -> Cli:
    """Nobody is signed in, and nothing is linked."""
    directory = tmp_path / "project"
    directory.mkdir()
    return Cli(directory, control, capsys, {"ZOCKET_HOME": str(tmp_path / "home"), "DISPLAY": ":0"})


@pytest.fixture
def linked(cli: Cli) -> Cli:
    """Somebody is signed in, in the directory of a project with one app."""
    cli.sign_in()
    cli.link()
    cli.write(app__py=APP)
    return cli


@pytest.fixture
def failing() -> Callable[..., httpx.Response]:
    """`failing(403, "no", "forbidden")` is an answer of the control plane."""
    return failure
