from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import inspect, text
from sqlalchemy.ext.asyncio import create_async_engine

from zocket.control.database import Database
from zocket.control.records import Record
from zocket.errors import BootError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sqlalchemy import Connection

    from tests.integration.control.conftest import Postgres

pytestmark = pytest.mark.realtime  # databases have threads and times of their own


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database without tables."""
    if request.param == "sqlite":
        yield f"sqlite+aiosqlite:///{tmp_path}/new/control.db"
        return
    server: Postgres = request.getfixturevalue("postgres")
    server.execute("CREATE DATABASE empty")
    yield server.url("empty")
    server.execute("DROP DATABASE empty WITH (FORCE)")


def differences(connection: Connection) -> list[object]:
    return list(compare_metadata(MigrationContext.configure(connection), Record.metadata))


async def test_the_migrations_make_exactly_the_tables_that_the_records_describe(empty_url: str) -> None:
    async with Database.open(empty_url):
        pass
    engine = create_async_engine(empty_url)
    async with engine.connect() as connection:
        found = await connection.run_sync(differences)
    await engine.dispose()
    assert found == []


async def test_processes_that_start_together_migrate_once_and_all_come_up(empty_url: str) -> None:
    async def start() -> None:
        async with Database.open(empty_url) as database, database.reading() as session:
            assert (await session.execute(text("SELECT count(*) FROM workspaces"))).scalar_one() == 0

    await asyncio.gather(*(start() for _ in range(4)))


async def test_a_database_is_opened_again_without_a_change(empty_url: str) -> None:
    async with Database.open(empty_url) as database, database.session() as session:
        await session.execute(text("INSERT INTO workspaces (id, name, created_at) VALUES ('w', 'w', 1)"))
    async with Database.open(empty_url) as database, database.reading() as session:
        assert (await session.execute(text("SELECT created_at FROM workspaces"))).scalar_one() == 1


async def test_a_database_without_a_revision_is_refused_and_left_as_it_is(empty_url: str, tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    engine = create_async_engine(empty_url)
    async with engine.begin() as connection:
        await connection.execute(text("CREATE TABLE workspaces (id VARCHAR(64) PRIMARY KEY)"))
    with pytest.raises(BootError, match="unreleased version"):
        async with Database.open(empty_url):
            raise AssertionError("it was opened")
    async with engine.connect() as connection:
        tables = await connection.run_sync(lambda sync: inspect(sync).get_table_names())
    await engine.dispose()
    assert tables == ["workspaces"]


async def test_a_migration_that_fails_leaves_nothing_behind(
    empty_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripts = tmp_path / "scripts"
    (scripts / "versions").mkdir(parents=True)
    (scripts / "env.py").write_text(
        "from alembic import context\n"
        "context.configure(connection=context.config.attributes['connection'], transactional_ddl=False)\n"
        "context.run_migrations()\n"
    )
    (scripts / "versions" / "broken.py").write_text(
        "from alembic import op\nrevision = 'x'\ndown_revision = None\n"
        "def upgrade():\n    op.execute('CREATE TABLE half (id INTEGER)')\n    raise RuntimeError('half way')\n"
    )
    monkeypatch.setattr("zocket.control.database.MIGRATIONS", scripts)
    with pytest.raises(RuntimeError, match="half way"):
        async with Database.open(empty_url):
            raise AssertionError("it was opened")
    engine = create_async_engine(empty_url)
    async with engine.connect() as connection:
        assert await connection.run_sync(lambda sync: inspect(sync).get_table_names()) == []
    await engine.dispose()
