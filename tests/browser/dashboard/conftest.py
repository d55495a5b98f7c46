"""A control plane for tests of the dashboard's pages: people are real, projects and deployments are played.

What a page shows in every state, also in those that take minutes or luck with real runtimes, is set here by hand; the
whole chain with real ones is in `test_whole_chain.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
import uvicorn
from argon2 import PasswordHasher
from playwright.async_api import BrowserContext, Page
from sqlalchemy import delete, select, update
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from zocket.clock import SystemClock
from zocket.control.api import create_app
from zocket.control.identity.accounts import create_admin
from zocket.control.identity.passwords import Passwords
from zocket.control.records import Membership, WebSession, Workspace
from zocket.settings import ControlSettings

if TYPE_CHECKING:
    from pathlib import Path

    from fastapi import FastAPI

    from tests.browser.conftest import Contexts

EMAIL = "priya@example.com"
PASSWORD = "correct horse battery"
LOOK_AGAIN_S = 0.1

Json = dict[str, Any]


def now_ms() -> int:
    return int(time.time() * 1000)


@dataclass
class Played:
    """Projects and deployments as the API shows them, changed by tests and by the page's own calls."""

    workspace_id: str = ""
    projects: dict[str, Json] = field(default_factory=dict)
    deployments: dict[str, list[Json]] = field(default_factory=dict)
    tokens: dict[str, list[Json]] = field(default_factory=dict)
    env: dict[str, dict[str, Json]] = field(default_factory=dict)
    auth: dict[str, Json] = field(default_factory=dict)
    status: dict[str, Json] = field(default_factory=dict)
    logs: dict[str, list[Json]] = field(default_factory=dict)
    failing: dict[str, tuple[int, Json]] = field(default_factory=dict)
    requests: list[tuple[str, str, Any]] = field(default_factory=list)
    listeners: set[asyncio.Queue[tuple[str, Json]]] = field(default_factory=set)
    ids: Any = field(default_factory=lambda: itertools.count(1))
    generation: int = 0

    def add_project(self, name: str, slug: str | None = None) -> Json:
        slug = slug or name.lower().replace(" ", "-")
        project = {
            "id": f"prj_{next(self.ids)}",
            "workspaceId": self.workspace_id,
            "name": name,
            "slug": slug,
            "domain": f"{slug}.apps.example",
            "url": f"wss://{slug}.apps.example",
            "status": "empty",
            "activeDeployment": None,
            "createdAt": now_ms(),
        }
        key = str(project["id"])
        self.projects[key] = project
        self.deployments[key], self.tokens[key], self.env[key] = [], [], {}
        self.auth[key] = {
            "mode": "none",
            "hasSecret": False,
            "jwksUrl": None,
            "issuer": None,
            "audience": None,
            "origins": [],
            "limits": {"ratePerS": None, "burst": None},
        }
        self.set_status(key, "stopped")
        self.tell("project", project)
        return project

    def set_status(self, project_id: str, state: str, counters: Json | None = None, **runtime: Any) -> None:
        self.status[project_id] = {
            "runtime": {"deploymentId": None, "state": state, "pid": None, "since": None, "restarts": 0, **runtime},
            "counters": counters,
        }
        self.tell("status", {"projectId": project_id, **self.status[project_id]})

    def add_deployment(self, project_id: str, message: str, *, at: int | None = None, author: str = EMAIL) -> Json:
        at = at or now_ms()
        number = next(self.ids)
        deployment = {
            "id": f"dep_{number}",
            "projectId": project_id,
            "version": len(self.deployments[project_id]) + 1,
            "author": author,
            "message": message,
            "status": "stored",
            "active": False,
            "reason": None,
            "actorTypes": [],
            "sha256": f"{number:064x}",
            "size": 48_213,
            "signed": False,
            "rollback": True,
            "createdAt": at,
            "updatedAt": at,
            "history": [{"status": "stored", "at": at, "by": author, "detail": None}],
        }
        self.deployments[project_id].insert(0, deployment)
        self.logs[str(deployment["id"])] = []
        self._settle(project_id)
        self.tell("deployment", deployment)
        return deployment

    def advance(self, deployment: Json, status: str, *, detail: str | None = None, at: int | None = None) -> None:
        """What happens to a deployment next, and to the one that served before."""
        project = self.projects[deployment["projectId"]]
        if status == "active":
            for other in self.deployments[project["id"]]:
                if other["active"]:
                    before = "superseded" if other["version"] < deployment["version"] else "rolled_back"
                    self._note(other, before, None, at)
                    other["active"] = False
            deployment.update(active=True, actorTypes=["chat", "presence", "map_tile"])
            project["activeDeployment"] = deployment["id"]
        if status == "failed":
            deployment["reason"] = detail
        self._note(deployment, status, detail, at)
        self._settle(project["id"])
        self.tell("deployment", deployment)

    def _note(self, deployment: Json, status: str, detail: str | None, at: int | None) -> None:
        at = at or now_ms()
        deployment.update(status=status, updatedAt=at)
        deployment["history"].append({"status": status, "at": at, "by": "platform", "detail": detail})

    def _settle(self, project_id: str) -> None:
        project, items = self.projects[project_id], self.deployments[project_id]
        if items and items[0]["status"] in ("stored", "starting", "smoke"):
            project["status"] = "deploying"
        elif project["activeDeployment"]:
            project["status"] = "active"
        else:
            project["status"] = "failed" if items else "empty"
        self.tell("project", project)

    def log(self, deployment: Json, line: str, stream: str = "stdout", at: int | None = None) -> None:
        entry = {"at": at or now_ms(), "stream": stream, "line": line}
        self.logs[deployment["id"]].append(entry)
        self.tell("log", {"deploymentId": deployment["id"], **entry})

    def cut_streams(self) -> None:
        """Ends every stream, as a proxy or a restart would."""
        self.generation += 1

    def tell(self, kind: str, content: Json) -> None:
        for listener in self.listeners:
            listener.put_nowait((kind, content))


class PlayedRoutes:
    """The routes of docs/control-api.md under /api/projects, /api/deployments and /api/events."""

    def __init__(self, played: Played, app: FastAPI) -> None:
        self.played = played
        self.app = app
        self.closing = False

    def routes(self) -> list[Route]:
        table: list[tuple[str, str, Callable[[Request], Any]]] = [
            ("GET", "/api/projects", lambda _: listed(self.played.projects.values())),
            ("POST", "/api/projects", self.create_project),
            ("PATCH", "/api/projects/{id}", self.change_project),
            ("DELETE", "/api/projects/{id}", self.delete_project),
            ("GET", "/api/projects/{id}/deployments", self.list_deployments),
            ("POST", "/api/projects/{id}/rollback", self.roll_back),
            ("GET", "/api/projects/{id}/status", lambda r: self.played.status[r.path_params["id"]]),
            ("GET", "/api/projects/{id}/deploy-tokens", lambda r: listed(self.played.tokens[r.path_params["id"]])),
            ("POST", "/api/projects/{id}/deploy-tokens", self.create_token),
            ("POST", "/api/projects/{id}/deploy-tokens/{token}/revoke", self.revoke_token),
            ("GET", "/api/projects/{id}/env", lambda r: listed(self.played.env[r.path_params["id"]].values())),
            ("PUT", "/api/projects/{id}/env/{name}", self.set_env),
            ("DELETE", "/api/projects/{id}/env/{name}", self.unset_env),
            ("GET", "/api/projects/{id}/runtime", lambda _: {"memoryBytes": None, "signingKey": None}),
            ("GET", "/api/projects/{id}/auth", lambda r: self.played.auth[r.path_params["id"]]),
            ("PUT", "/api/projects/{id}/auth", self.set_auth),
            ("POST", "/api/projects/{id}/auth/test", self.try_token),
            ("GET", "/api/deployments/{id}", lambda r: self.found(r.path_params["id"])),
            ("GET", "/api/deployments/{id}/logs", self.read_log),
            ("GET", "/api/events", self.events),
        ]
        return [Route(path, self.guarded(answer), methods=[method]) for method, path, answer in table]

    def guarded(self, answer: Callable[[Request], Any]) -> Callable[[Request], Any]:
        async def endpoint(request: Request) -> Response:
            caller = await self.app.state.services.callers.find(request)
            path = request.url.path
            body = await request.json() if request.method in ("POST", "PUT", "PATCH") else None
            request.state.json = body
            self.played.requests.append((request.method, path, body))
            if caller.user_id is None:
                return JSONResponse({"error": "sign in", "code": "unauthorized", "requestId": "r_test"}, 401)
            if path in self.played.failing:
                status, failure = self.played.failing[path]
                return JSONResponse(failure, status)
            result = answer(request)
            return result if isinstance(result, Response) else JSONResponse(result)

        return endpoint

    def found(self, deployment_id: str) -> Json:
        everything = itertools.chain.from_iterable(self.played.deployments.values())
        return next(deployment for deployment in everything if deployment["id"] == deployment_id)

    def create_project(self, request: Request) -> Response:
        body = request.state.json
        project = self.played.add_project(body["name"], body.get("slug"))
        return JSONResponse({**project, "deployToken": "zkd_first-token-of-this-project"}, 201)

    def change_project(self, request: Request) -> Json:
        project = self.played.projects[request.path_params["id"]]
        project.update(request.state.json)
        self.played.tell("project", project)
        return project

    def delete_project(self, request: Request) -> Json:
        del self.played.projects[request.path_params["id"]]
        self.played.tell("project", {"id": request.path_params["id"]})
        return {"ok": True}

    def list_deployments(self, request: Request) -> Json:
        items = self.played.deployments[request.path_params["id"]]
        start, limit = int(request.query_params.get("after", 0)), int(request.query_params["limit"])
        following = start + limit if len(items) > start + limit else None
        return {"items": items[start : start + limit], "next": None if following is None else str(following)}

    def roll_back(self, request: Request) -> Json:
        deployment = self.found(request.state.json["deploymentId"])
        self.played.advance(deployment, "starting")
        self.played.advance(deployment, "active")
        return deployment

    def create_token(self, request: Request) -> Response:
        token = {"id": f"dpt_{next(self.played.ids)}", "name": request.state.json["name"], "prefix": "zkd_4fK2"}
        row = {**token, "createdAt": now_ms(), "lastUsedAt": None, "revokedAt": None}
        self.played.tokens[request.path_params["id"]].insert(0, row)
        return JSONResponse({**token, "token": "zkd_4fK2nothing-but-a-test"}, 201)

    def revoke_token(self, request: Request) -> Json:
        for token in self.played.tokens[request.path_params["id"]]:
            if token["id"] == request.path_params["token"]:
                token["revokedAt"] = now_ms()
        return {"ok": True}

    def set_env(self, request: Request) -> Json:
        name = request.path_params["name"]
        self.played.env[request.path_params["id"]][name] = {"name": name, "updatedAt": now_ms(), "updatedBy": EMAIL}
        return {"name": name, "deployment": None}

    def unset_env(self, request: Request) -> Json:
        del self.played.env[request.path_params["id"]][request.path_params["name"]]
        return {"name": request.path_params["name"], "deployment": None}

    def set_auth(self, request: Request) -> Json:
        body = dict(request.state.json)
        auth = self.played.auth[request.path_params["id"]]
        had = auth["hasSecret"]
        auth.update(body, hasSecret=had or bool(body.get("secret")))
        auth.pop("secret", None)
        return auth

    def try_token(self, request: Request) -> Json:
        if request.state.json["token"] == "good":
            claims = {"sub": "user-7", "role": "editor", "exp": 1_900_000_000}
            return {"ok": True, "userId": "user-7", "claims": claims}
        return {"ok": False, "error": "the token has expired", "code": "unauthorized"}

    def read_log(self, request: Request) -> Response:
        deployment_id = request.path_params["id"]
        tail = [("message", entry) for entry in self.played.logs[deployment_id]]
        if "follow" not in request.query_params:
            return StreamingResponse(iter([encoded(*entry) for entry in tail]), media_type="text/event-stream")

        def mine(kind: str, content: Json) -> tuple[str, Json] | None:
            if kind == "log" and content["deploymentId"] == deployment_id:
                return "message", {name: content[name] for name in ("at", "stream", "line")}
            return None

        return self.stream(tail, mine)

    def events(self, _: Request) -> Response:
        return self.stream([], lambda kind, content: None if kind == "log" else (kind, content))

    def stream(
        self, first: list[tuple[str, Json]], choose: Callable[[str, Json], tuple[str, Json] | None]
    ) -> StreamingResponse:
        queue: asyncio.Queue[tuple[str, Json]] = asyncio.Queue()
        self.played.listeners.add(queue)
        generation = self.played.generation

        async def chunks() -> AsyncIterator[str]:
            try:
                yield ": open\n\n"
                for entry in first:
                    yield encoded(*entry)
                while not self.closing and generation == self.played.generation:
                    with contextlib.suppress(TimeoutError):
                        chosen = choose(*await asyncio.wait_for(queue.get(), LOOK_AGAIN_S))
                        if chosen:
                            yield encoded(*chosen)
            finally:
                self.played.listeners.discard(queue)

        return StreamingResponse(chunks(), media_type="text/event-stream")


def listed(items: Any) -> Json:
    return {"items": list(items), "next": None}


def encoded(kind: str, content: Json) -> str:
    return f"event: {kind}\ndata: {json.dumps(content)}\n\n"


@dataclass
class Stage:
    """A running control plane whose projects are played."""

    url: str
    played: Played
    app: FastAPI
    user_id: str

    async def set_role(self, role: str) -> None:
        """Of the person who signs in, in their workspace."""
        async with self.app.state.services.database.session() as session:
            await session.execute(update(Membership).values(role=role))

    async def make_account(self) -> None:
        """What `zocket control create-admin` does."""
        passwords = Passwords(PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
        settings = self.app.state.services.settings
        await create_admin(settings, EMAIL, "Priya Nair", PASSWORD, passwords=passwords)

    async def wait_for_listeners(self, count: int) -> None:
        """Until so many streams are open."""
        async with asyncio.timeout(30):
            while len(self.played.listeners) != count:  # noqa: ASYNC110 — a browser tells nobody
                await asyncio.sleep(LOOK_AGAIN_S)

    async def end_sessions(self) -> None:
        """As if every browser had been away for too long."""
        async with self.app.state.services.database.session() as session:
            await session.execute(delete(WebSession))


class _Server(uvicorn.Server):
    """Uvicorn that says when it listens, and leaves signals to the test run."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.up = asyncio.Event()

    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        self.up.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Any:
        yield


@pytest.fixture
def stage(tmp_path: Path) -> Callable[..., AbstractAsyncContextManager[Stage]]:
    """`async with stage() as on:`; `account=False` leaves it without one."""

    @asynccontextmanager
    async def opened(*, account: bool = True, **settings: Any) -> AsyncIterator[Stage]:
        values = {
            "database_url": f"sqlite+aiosqlite:///{tmp_path}/control.db",
            "bundle_store": str(tmp_path / "bundles"),
            "internal_token": "a token of the test",
            **settings,
        }
        settled = ControlSettings(**values)
        passwords = Passwords(PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
        user_id = await create_admin(settled, EMAIL, "Priya Nair", PASSWORD, passwords=passwords) if account else ""
        app = create_app(settled, clock=SystemClock(), passwords=passwords)
        played = Played()
        playing = PlayedRoutes(played, app)
        app.router.routes[:0] = playing.routes()
        config = uvicorn.Config(app, port=0, log_config=None, lifespan="off", timeout_graceful_shutdown=2)
        async with app.router.lifespan_context(app):
            async with app.state.services.database.reading() as session:
                played.workspace_id = await session.scalar(select(Workspace.id)) or ""
            server = _Server(config)
            running = asyncio.create_task(server.serve())
            await server.up.wait()
            port = server.servers[0].sockets[0].getsockname()[1]
            try:
                yield Stage(f"http://127.0.0.1:{port}", played, app, user_id)
            finally:
                playing.closing = True
                server.should_exit = True
                await running

    return opened


class Visitors:
    """Pages; whatever one complains about (scripts, policy, requests that were not foreseen) fails the test."""

    def __init__(self, contexts: Contexts) -> None:
        self._contexts = contexts
        self.complaints: list[str] = []
        self.expected: list[str] = []

    async def open(self, url: str, context: BrowserContext | None = None, **options: Any) -> Page:
        context = context or await self._contexts.open(**options)
        page = await context.new_page()
        page.on("pageerror", lambda error: self.complaints.append(f"{error}\n{error.stack}"))
        page.on("console", lambda message: self._said(message.type, message.text))
        await page.goto(url)
        return page

    def expect(self, text: str) -> None:
        """A complaint with this text is part of the test."""
        self.expected.append(text)

    def _said(self, kind: str, text: str) -> None:
        if kind in ("error", "warning"):
            self.complaints.append(f"{kind}: {text}")

    def check(self) -> None:
        left = [text for text in self.complaints if not any(known in text for known in self.expected)]
        assert left == []


@pytest.fixture
def visit(contexts: Contexts) -> Callable[[], AbstractAsyncContextManager[Visitors]]:
    """`async with visit() as visitors`."""

    @asynccontextmanager
    async def opened() -> AsyncIterator[Visitors]:
        visitors = Visitors(contexts)
        async with contexts:
            yield visitors
        visitors.check()

    return opened


@pytest.fixture
def sign_in() -> Callable[[Page], Any]:
    """Signs the person in on an open page."""

    async def signed_in(page: Page) -> None:
        await page.get_by_label("Email").fill(EMAIL)
        await page.get_by_label("Password").fill(PASSWORD)
        await page.keyboard.press("Enter")
        await page.locator(".sidebar .badge[data-status=open]").wait_for(state="attached")

    return signed_in
