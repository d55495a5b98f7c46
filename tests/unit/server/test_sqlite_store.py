"""The SQLite store: compare-and-set, one process a file, and nothing lost by a killed process."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from zocket.errors import BootError, Conflict
from zocket.host.store import Stored
from zocket.server.sqlite_store import SqliteStore

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.realtime


async def save(store: SqliteStore, actor_id: str, record: bytes, expected: int) -> Any:
    answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    store.save("it", actor_id, record, expected, answer.set_result)
    return await asyncio.wait_for(answer, 10)


@pytest.mark.parametrize("sync", [False, True])
async def test_what_is_saved_is_loaded_also_by_the_next_process(tmp_path: Path, sync: bool) -> None:
    path = tmp_path / "deep" / "state.db"
    async with SqliteStore.open(path, sync=sync) as store:
        assert await store.load("it", "a") is None
        assert await save(store, "a", b"one", 0) == 1
        assert await save(store, "a", b"two", 1) == 2
        assert await store.load("it", "a") == Stored(b"two", 2)
        assert await store.load("it", "A") is None
    async with SqliteStore.open(path, sync=sync) as store:
        assert await store.load("it", "a") == Stored(b"two", 2)


async def test_a_stale_revision_is_a_conflict_and_changes_nothing(tmp_path: Path) -> None:
    async with SqliteStore.open(tmp_path / "state.db") as store:
        assert await save(store, "a", b"one", 0) == 1
        assert isinstance(await save(store, "a", b"again", 0), Conflict)
        assert isinstance(await save(store, "a", b"ahead", 2), Conflict)
        assert isinstance(await save(store, "b", b"ahead", 1), Conflict)
        assert await store.load("it", "a") == Stored(b"one", 1)
        assert await store.load("it", "b") is None


async def test_many_saves_at_once_keep_their_order(tmp_path: Path) -> None:
    results: list[Any] = []
    async with SqliteStore.open(tmp_path / "state.db") as store:
        for number in range(1000):
            store.save("it", "a", b"%d" % number, number, results.append)
            store.save("it", f"other{number}", b"x", 0, results.append)
    await asyncio.sleep(0)
    assert results[::2] == list(range(1, 1001))
    assert results[1::2] == [1] * 1000


async def test_a_second_process_on_the_same_file_refuses_to_start(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    script = f"""
import asyncio
from zocket.errors import BootError
from zocket.server.sqlite_store import SqliteStore
async def main():
    try:
        async with SqliteStore.open({str(path)!r}):
            print("opened")
    except BootError as error:
        print(error.message)
asyncio.run(main())
"""
    run = lambda: subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout  # noqa: E731
    async with SqliteStore.open(path) as store:
        await save(store, "a", b"one", 0)
        assert "another process serves the actors" in await asyncio.to_thread(run)
    assert await asyncio.to_thread(run) == "opened\n"


async def test_a_killed_process_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    script = f"""
import asyncio, os, signal
from zocket.server.sqlite_store import SqliteStore
async def main():
    async with SqliteStore.open({str(path)!r}) as store:
        for number in range(200):
            answer = asyncio.get_running_loop().create_future()
            store.save("it", "a", b"%d" % number, number, answer.set_result)
            print(await answer, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
asyncio.run(main())
"""
    done = await asyncio.to_thread(subprocess.run, [sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.split()[-1] == "200"
    async with SqliteStore.open(path) as store:
        assert await store.load("it", "a") == Stored(b"199", 200)


async def test_a_database_of_something_else_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE users (id TEXT)")
    before = path.read_bytes()
    with pytest.raises(BootError, match="is a database of something else"):
        async with SqliteStore.open(path):
            pass
    assert path.read_bytes() == before


async def test_a_file_that_is_no_database_says_so(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    path.write_bytes(b"this is no database, it is a text" * 100)
    with pytest.raises(BootError, match="cannot be opened"):
        async with SqliteStore.open(path):
            pass
