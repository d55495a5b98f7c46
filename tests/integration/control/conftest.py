"""A control plane in process on SQLite and on a real PostgreSQL, with people in two workspaces.

Rules: PostgreSQL is started once, on a free port of this machine; a database is a copy of a migrated template, so a
test costs no migration. Where PostgreSQL cannot be had the tests on it are skipped with the reason; in CI they fail.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import os
import pwd
import secrets
import shutil
import socket
import subprocess
import tempfile
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncpg
import httpx
import pytest
from argon2 import PasswordHasher
from sqlalchemy import delete

from zocket.broker.lifeline import Lifeline
from zocket.clock import SystemClock
from zocket.control.api import create_app
from zocket.control.callers import COOKIE, SESSION_IDLE_MS
from zocket.control.credentials import CLI, DEPLOY, INTERNAL, SESSION, csrf_of, digest, mint
from zocket.control.database import Database
from zocket.control.identity.passwords import Passwords
from zocket.control.records import (
    CliToken,
    DeployToken,
    InternalToken,
    Membership,
    Project,
    ProjectAuth,
    User,
    WebSession,
    Workspace,
)
from zocket.settings import ControlSettings, OrchestrationSettings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from fastapi import FastAPI

    from zocket.control.api.services import Services
    from zocket.control.key_sets import KeySets

PASSWORD = "correct horse battery staple"
CONFIGURED = "the configured internal token"
CHEAP = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
CHEAP_HASH = CHEAP.hash(PASSWORD)
DAY_MS = 24 * 3_600_000
START_S = 1_700_000_000.0
"""When every test begins."""


class MovableClock(SystemClock):
    """A clock whose time of day and monotonic time a test sets."""

    def __init__(self, wall_s: float = START_S) -> None:
        self.wall_s = wall_s
        self.wall = lambda: self.wall_s
        self.now = lambda: self.wall_s


# PostgreSQL


class PostgresMissing(Exception):
    """It cannot be had here."""


class Postgres:
    """A server of our own."""

    def __init__(self) -> None:
        self._programs = _programs()
        self._home = Path(tempfile.mkdtemp(prefix="zocket-postgres-"))
        self._user: str | None = None
        if os.geteuid() == 0:
            self._user = "postgres"
            owner = pwd.getpwnam("postgres")
            os.chown(self._home, owner.pw_uid, owner.pw_gid)
        self._password = secrets.token_hex(16)
        self._lifeline: Lifeline | None = None
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self._port = probe.getsockname()[1]

    def start(self) -> None:
        password_file = self._home / "password"
        password_file.write_text(self._password)
        shutil.chown(password_file, self._user) if self._user else None
        data = str(self._home / "data")
        self._run("initdb", "-D", data, "-U", "zocket", "-A", "scram-sha-256", f"--pwfile={password_file}", "-N")
        options = [
            f"-p {self._port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={self._home}",
            "-c fsync=off -c synchronous_commit=off -c full_page_writes=off -c shared_buffers=16MB",
        ]
        self._run(
            "pg_ctl", "-D", data, "-w", "-t", "60", "-l", str(self._home / "log"), "-o", " ".join(options), "start"
        )
        # It is a daemon, no child of ours.
        self._lifeline = Lifeline(int((self._home / "data" / "postmaster.pid").read_text().split()[0]))

    def stop(self) -> None:
        with contextlib.suppress(subprocess.CalledProcessError):
            self._run("pg_ctl", "-D", str(self._home / "data"), "-m", "immediate", "-w", "stop")
        if self._lifeline is not None:
            self._lifeline.release()
        shutil.rmtree(self._home, ignore_errors=True)

    def url(self, name: str, scheme: str = "postgresql+asyncpg") -> str:
        return f"{scheme}://zocket:{self._password}@127.0.0.1:{self._port}/{name}"

    def execute(self, statement: str) -> None:
        async def run() -> None:
            connection = await asyncpg.connect(self.url("postgres", "postgresql"))
            try:
                await connection.execute(statement)
            finally:
                await connection.close()

        asyncio.run(run())

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [str(self._programs / program), *arguments],
            user=self._user,
            cwd="/",
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=120,
        )


def _programs() -> Path:
    for _ in range(2):
        found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
        if found:
            return found[-1].parent
        if os.geteuid() != 0 or shutil.which("apt-get") is None:
            raise PostgresMissing("PostgreSQL is not installed (apt-get install postgresql)")
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        for command in (["update", "-qq"], ["install", "-y", "-qq", "--no-install-recommends", "postgresql"]):
            subprocess.run(["apt-get", *command], env=environment, capture_output=True, timeout=600, check=False)
    raise PostgresMissing("PostgreSQL could not be installed (apt-get install postgresql)")


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    try:
        server = Postgres()
    except PostgresMissing as missing:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(missing))
    try:
        server.start()
        yield server
    finally:
        server.stop()


async def _prepare(url: str, crowd: Crowd) -> None:
    async with Database.open(url) as database:
        await populate(database, crowd)


@pytest.fixture(scope="session")
def crowd() -> Crowd:
    """Everybody, with the proofs that the templates know."""
    names = ["gateway", *(f"{kind}_{project}" for kind in ("runtime", "deploy") for project in PROJECTS)]
    kinds = {name: DEPLOY if name.startswith("deploy") else INTERNAL for name in names}
    return Crowd(
        {name: Someone(f"usr_{name}", f"{name}@example.com", mint(SESSION).token, mint(CLI).token) for name in PEOPLE},
        {name + suffix: mint(kind).token for name, kind in kinds.items() for suffix in ("", "_revoked")},
    )


@pytest.fixture(scope="session")
def postgres_template(postgres: Postgres, crowd: Crowd) -> str:
    postgres.execute("CREATE DATABASE template_zocket")
    asyncio.run(_prepare(postgres.url("template_zocket"), crowd))
    return "template_zocket"


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory, crowd: Crowd) -> Path:
    path = tmp_path_factory.mktemp("control") / "template.db"
    asyncio.run(_prepare(f"sqlite+aiosqlite:///{path}", crowd))
    return path


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A fresh database of each kind, migrated and with everybody in it."""
    if request.param == "sqlite":
        shutil.copy(request.getfixturevalue("sqlite_template"), tmp_path / "control.db")
        yield f"sqlite+aiosqlite:///{tmp_path}/control.db"
        return
    template, server = request.getfixturevalue("postgres_template"), request.getfixturevalue("postgres")
    name = f"test_{secrets.token_hex(6)}"
    server.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
    yield server.url(name)
    server.execute(f"DROP DATABASE {name} WITH (FORCE)")


# People


@dataclass
class Someone:
    """A person with one browser and one command line."""

    id: str
    email: str
    cookie: str
    cli: str

    @property
    def browser(self) -> dict[str, str]:
        return {"cookie": f"{COOKIE}={self.cookie}", "x-zocket-csrf": csrf_of(self.cookie)}

    @property
    def browser_without_csrf(self) -> dict[str, str]:
        return {"cookie": f"{COOKIE}={self.cookie}"}

    @property
    def terminal(self) -> dict[str, str]:
        return bearer(self.cli)


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


@dataclass
class Crowd:
    """People by name, and the tokens of projects and services by name."""

    people: dict[str, Someone]
    tokens: dict[str, str]


@dataclass
class World:
    """A running control plane, and who is in it: workspace `wsp_a` with its people, and a stranger who owns `wsp_b`."""

    app: FastAPI
    client: httpx.AsyncClient
    clock: MovableClock
    url: str
    people: dict[str, Someone]
    tokens: dict[str, str]

    @property
    def services(self) -> Services:
        services: Services = self.app.state.services
        return services

    @property
    def database(self) -> Database:
        return self.services.database

    @property
    def now_ms(self) -> int:
        return int(self.clock.wall_s * 1000)

    async def call(self, method: str, path: str, headers: dict[str, str] | None = None, **more: Any) -> httpx.Response:
        """One request with exactly these proofs."""
        self.client.cookies.clear()
        return await self.client.request(method, path, headers=headers or {}, **more)

    async def ok(self, method: str, path: str, headers: dict[str, str] | None = None, **more: Any) -> Any:
        """The body of a request that must succeed."""
        answer = await self.call(method, path, headers, **more)
        assert answer.is_success, (answer.status_code, answer.text)
        return answer.json()

    def person(self, name: str) -> Someone:
        return self.people[name]


PEOPLE = {
    "owner": ("wsp_a", "owner"),
    "developer": ("wsp_a", "developer"),
    "viewer": ("wsp_a", "viewer"),
    "stranger": ("wsp_b", "owner"),
    "admin": ("wsp_admin", "owner"),
}
PROJECTS = {"prj_a": ("wsp_a", "alpha"), "prj_b": ("wsp_b", "beta")}


async def populate(database: Database, crowd: Crowd) -> None:
    now = int(START_S * 1000)
    earlier = now - 10_000  # than whatever a test makes
    async with database.session() as session:
        for workspace in ("wsp_a", "wsp_b", "wsp_admin"):
            session.add(Workspace(id=workspace, name=workspace, created_at=now))
        for name in PEOPLE:
            session.add(
                User(
                    id=f"usr_{name}",
                    email=f"{name}@example.com",
                    name=name.title(),
                    password_hash=CHEAP_HASH,
                    is_admin=name == "admin",
                    created_at=now,
                )
            )
        await session.flush()
        for offset, (name, (workspace, role)) in enumerate(PEOPLE.items()):
            someone = crowd.people[name]
            session.add(
                Membership(workspace_id=workspace, user_id=f"usr_{name}", role=role, created_at=earlier + offset)
            )
            session.add(
                WebSession(
                    token_hash=digest(someone.cookie),
                    user_id=f"usr_{name}",
                    created_at=now,
                    last_used_at=now,
                    expires_at=now + SESSION_IDLE_MS,
                )
            )
            session.add(cli_record(f"clt_{name}", f"usr_{name}", someone.cli, now, created_at=earlier))
        for project, (workspace, slug) in PROJECTS.items():
            session.add(
                Project(
                    id=project,
                    workspace_id=workspace,
                    name=slug.title(),
                    slug=slug,
                    domain=f"{slug}.example",
                    created_at=earlier,
                )
            )
        await session.flush()
        for project in PROJECTS:
            session.add(ProjectAuth(project_id=project, mode="none", origins=[]))
            _add_tokens(session, crowd, project, now)
        _add_internal(session, crowd, "gateway", "gateway", None, now)


def cli_record(token_id: str, user_id: str, token: str, now: int, **more: Any) -> CliToken:
    values = {"created_at": now, "expires_at": now + 30 * DAY_MS, "last_used_at": now, **more}
    return CliToken(id=token_id, user_id=user_id, name="laptop", token_hash=digest(token), prefix=token[:12], **values)


def _add_tokens(session: Any, crowd: Crowd, project: str, now: int) -> None:
    for name, revoked_at in ((f"deploy_{project}", None), (f"deploy_{project}_revoked", now)):
        token = crowd.tokens[name]
        session.add(
            DeployToken(
                id=f"dpt_{name}",
                project_id=project,
                name=name,
                token_hash=digest(token),
                prefix=token[:12],
                created_at=now,
                last_used_at=now,
                revoked_at=revoked_at,
            )
        )
    _add_internal(session, crowd, f"runtime_{project}", "runtime", project, now)


def _add_internal(session: Any, crowd: Crowd, name: str, kind: str, project: str | None, now: int) -> None:
    for suffix, revoked_at in (("", None), ("_revoked", now)):
        token = crowd.tokens[name + suffix]
        session.add(
            InternalToken(
                id=f"int_{name}{suffix}",
                kind=kind,
                project_id=project,
                name=name,
                token_hash=digest(token),
                prefix=token[:12],
                created_at=now,
                last_used_at=now,
                revoked_at=revoked_at,
            )
        )


@dataclass
class OpenWorld:
    """Opens a control plane on the test's database; `people=False` leaves it empty."""

    database_url: str
    directory: Path
    crowd: Crowd

    @asynccontextmanager
    async def __call__(
        self, *, people: bool = True, key_sets: KeySets | None = None, **settings: Any
    ) -> AsyncIterator[World]:
        clock = MovableClock()
        values = {
            "database_url": self.database_url,
            "bundle_store": str(self.directory / "bundles"),
            "internal_token": CONFIGURED,
            "project_domain": "apps.example",
            "gateway_url": "wss://{domain}",
            "orchestration": OrchestrationSettings(orchestrator="none", secret_key="A" * 43 + "="),
            **settings,
        }
        passwords = Passwords(CHEAP)
        app = create_app(ControlSettings(**values), clock=clock, key_sets=key_sets, passwords=passwords)
        transport = httpx.ASGITransport(app, raise_app_exceptions=False, client=("203.0.113.7", 4_711))
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(app.router.lifespan_context(app))
            client = httpx.AsyncClient(transport=transport, base_url="https://control.example")
            everybody = copy.deepcopy(self.crowd)
            await stack.enter_async_context(client)
            world = World(app, client, clock, self.database_url, everybody.people, everybody.tokens)
            if not people:
                async with world.database.session() as session:
                    for table, kind in ((InternalToken, "int"), (Project, "prj"), (Workspace, "wsp"), (User, "usr")):
                        await session.execute(delete(table).where(table.id.startswith(kind)))
            yield world


@pytest.fixture
def open_world(database_url: str, tmp_path: Path, crowd: Crowd) -> OpenWorld:
    return OpenWorld(database_url, tmp_path, crowd)


@pytest.fixture
def password() -> str:
    """Of everybody in the world."""
    return PASSWORD


@pytest.fixture
def configured_token() -> str:
    """CONTROL_PLANE_INTERNAL_TOKEN."""
    return CONFIGURED


@pytest.fixture(scope="session")
def cheap_passwords() -> Callable[[], Passwords]:
    return lambda: Passwords(CHEAP)
