"""The database of the control plane: connections, transactions, and migrations at the start.

Rules: every unit of work is one `session`, which commits when its block ends without an error and never waits for
anything but the database; what only reads says so (`reading`), since on SQLite a writer holds the one lock from its
first statement on. Migrations run under a lock, so that processes which start together do it once.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from alembic import command
from alembic.config import Config
from sqlalchemy import event, inspect, text
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine

from zocket.errors import BootError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from sqlalchemy import Connection

MIGRATIONS: Final = Path(__file__).parent / "migrations"
BUSY_TIMEOUT_MS: Final = 10_000
"""How long a writer on SQLite waits for another process to finish its transaction."""
MIGRATION_LOCK: Final = 0x5A6F636B
"""PostgreSQL advisory lock that is held during migrations ("Zock")."""
_READING: Final = "zocket_reading"


class Database:
    """An open database."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._sessions = async_sessionmaker(engine, expire_on_commit=False)

    @classmethod
    @asynccontextmanager
    async def open(cls, url: str) -> AsyncIterator[Database]:
        """Connects, brings the tables up to date, and closes at the end of the block.

        Raises:
            BootError: the tables were made by an unreleased version, which wrote down no revision.
            SQLAlchemyError, OSError: the server or file cannot be used.
        """
        parsed = make_url(url)
        is_sqlite = parsed.get_backend_name() == "sqlite"
        if is_sqlite and parsed.database not in (None, "", ":memory:"):
            Path(str(parsed.database)).parent.mkdir(parents=True, exist_ok=True)
        engine = create_async_engine(parsed, pool_pre_ping=not is_sqlite)
        if is_sqlite:
            event.listen(engine.sync_engine, "connect", _prepare_sqlite)
            event.listen(engine.sync_engine, "begin", _begin_sqlite)
        try:
            async with engine.begin() as connection:
                await connection.run_sync(migrate)
            yield cls(engine)
        finally:
            await engine.dispose()

    @asynccontextmanager
    async def session(self) -> AsyncIterator[AsyncSession]:
        """One transaction that may write."""
        async with self._sessions.begin() as session:
            yield session

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncSession]:
        """One transaction that only reads."""
        async with self._sessions.begin() as session:
            await session.connection(execution_options={_READING: True})
            yield session


def migrate(connection: Connection, revision: str = "head") -> None:
    """Brings the tables of an open transaction to a revision.

    Raises:
        BootError: there are tables but no revision is written down.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK})
    tables = set(inspect(connection).get_table_names())
    if "workspaces" in tables and "alembic_version" not in tables:
        raise BootError(
            "DATABASE_URL: the database was made by an unreleased version of zocket and cannot be brought up to date; "
            "delete it, or name another one"
        )
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, revision)


def _prepare_sqlite(connection: Any, _: Any) -> None:
    connection.isolation_level = None  # transactions begin where `_begin_sqlite` says so, also for DDL
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    """A writer takes the lock first: two that read and then write would otherwise fail each other."""
    reading = connection.get_execution_options().get(_READING)
    connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")
