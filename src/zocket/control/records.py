"""Records of the control plane and the database they live in.

Rules: one class a table, columns only; every time is in milliseconds since the epoch; ids are random with a prefix that
says what they name. Nothing outside this package sees a record.
"""

from __future__ import annotations

import secrets
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import JSON, ForeignKey, String, UniqueConstraint, event
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

STORED: Final = "stored"
"""Status of a deployment whose bundle is here, and of which no runtime has said anything yet."""
DEPLOYED: Final = "deployed"
"""A runtime reported `ready`."""
FAILED: Final = "failed"
"""A runtime reported `failed`; `message` says why."""


class Record(DeclarativeBase):
    """Base of every table."""


class Workspace(Record):
    """A tenant."""

    __tablename__ = "workspaces"
    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    created_at: Mapped[int]


class Project(Record):
    """An app of a workspace; `domain` is the host name that its clients connect to."""

    __tablename__ = "projects"
    __table_args__ = (UniqueConstraint("workspace_id", "slug"),)
    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    workspace_id: Mapped[str] = mapped_column(ForeignKey("workspaces.id"))
    slug: Mapped[str] = mapped_column(String(64))
    domain: Mapped[str | None] = mapped_column(String(253), unique=True)
    active_deployment_id: Mapped[str | None] = mapped_column(String(64))
    created_at: Mapped[int]


class ProjectAuth(Record):
    """How a project's clients are told apart; a project without this record has the mode `none`."""

    __tablename__ = "project_auth_configs"
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"), primary_key=True)
    mode: Mapped[str] = mapped_column(String(16))
    secret: Mapped[str | None]
    jwks_url: Mapped[str | None]
    issuer: Mapped[str | None]
    audience: Mapped[str | None]


class Deployment(Record):
    """One uploaded bundle of a project and what became of it."""

    __tablename__ = "deployments"
    __table_args__ = (UniqueConstraint("project_id", "version"),)
    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"))
    version: Mapped[int]
    bundle_key: Mapped[str] = mapped_column(String(128))
    sha256: Mapped[str] = mapped_column(String(64))
    size: Mapped[int]
    status: Mapped[str] = mapped_column(String(16))
    actor_types: Mapped[list[str]] = mapped_column(JSON)
    message: Mapped[str | None]
    created_at: Mapped[int]
    updated_at: Mapped[int]


def new_id(prefix: str) -> str:
    """A fresh id such as `dpl_1f…`, 96 random bits."""
    return f"{prefix}_{secrets.token_hex(12)}"


class Database:
    """An open database; every unit of work is one session, which commits when its block ends without an error."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._sessions = async_sessionmaker(engine, expire_on_commit=False)

    @classmethod
    @asynccontextmanager
    async def open(cls, url: str) -> AsyncIterator[Database]:
        """Connects, creates the tables that are missing, and closes at the end of the block."""
        parsed = make_url(url)
        if parsed.get_backend_name() == "sqlite" and parsed.database not in (None, "", ":memory:"):
            Path(str(parsed.database)).parent.mkdir(parents=True, exist_ok=True)
        engine = create_async_engine(parsed)
        if parsed.get_backend_name() == "sqlite":
            event.listen(engine.sync_engine, "connect", _prepare_sqlite)
        try:
            async with engine.begin() as connection:
                await connection.run_sync(Record.metadata.create_all)
            yield cls(engine)
        finally:
            await engine.dispose()

    @asynccontextmanager
    async def session(self) -> AsyncIterator[AsyncSession]:
        """One transaction."""
        async with self._sessions.begin() as session:
            yield session


def _prepare_sqlite(connection: Any, _: Any) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.execute("PRAGMA busy_timeout=5000")
    cursor.close()
