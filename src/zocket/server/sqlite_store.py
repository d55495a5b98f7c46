"""The store of durable actors of a standalone server: one SQLite file, so a laptop needs nothing else.

Rules: the file belongs to one process, a second one refuses to start; all writes go through one thread, those that
wait go into one transaction (group commit); nothing of SQLite runs on the event loop. It writes ahead into a log; with
`sync` every transaction is on the disk before it counts (`synchronous=FULL`), otherwise a power cut may lose the newest
ones. A killed process loses none. https://www.sqlite.org/wal.html
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from contextlib import asynccontextmanager
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Final, NamedTuple

from zocket.errors import BootError, Conflict, Unavailable
from zocket.host.store import Stored

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from zocket.errors import ZocketError

MAX_GROUP: Final = 256
"""Saves in one transaction."""

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS records (
    actor TEXT NOT NULL, actor_id TEXT NOT NULL, revision INTEGER NOT NULL, record BLOB NOT NULL,
    PRIMARY KEY (actor, actor_id)
) WITHOUT ROWID
"""


class _Save(NamedTuple):
    actor: str
    actor_id: str
    record: bytes
    expected: int
    done: Callable[[int | ZocketError], None]


class _Load(NamedTuple):
    actor: str
    actor_id: str
    answer: asyncio.Future[Stored | ZocketError | None]


class SqliteStore:
    """A `StateStore` in a file; made by `open`."""

    shared = False

    def __init__(self, path: Path, *, sync: bool) -> None:
        self.path = path
        self._sync = sync
        self._loop = asyncio.get_running_loop()
        self._work: SimpleQueue[_Save | _Load | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="zocket state store", daemon=True)
        self._connection: sqlite3.Connection

    @classmethod
    @asynccontextmanager
    async def open(cls, path: str | Path, *, sync: bool = False) -> AsyncIterator[SqliteStore]:
        """The store, during the block; at its end everything that was given to it is written.

        Args:
            path: of the file; it and its directory are made if they are missing.
            sync: every transaction is on the disk before it counts.

        Raises:
            BootError: another process has the file, or it cannot be opened.
        """
        store = cls(Path(path), sync=sync)
        await asyncio.to_thread(store._connect)
        store._thread.start()
        try:
            yield store
        finally:
            store._work.put(None)
            await asyncio.to_thread(store._thread.join)

    def _connect(self) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False, timeout=0.2)
            connection.execute("PRAGMA locking_mode=EXCLUSIVE")
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute(f"PRAGMA synchronous={'FULL' if self._sync else 'NORMAL'}")
            connection.execute("BEGIN IMMEDIATE")
            connection.execute(_SCHEMA)
            connection.execute("COMMIT")
        except sqlite3.OperationalError as error:
            if "locked" in str(error):
                raise BootError(
                    f"{self.path}: another process serves the actors stored here; stop it, or name another file"
                ) from error
            raise BootError(f"{self.path}: the state cannot be opened: {error}") from error
        except (OSError, sqlite3.DatabaseError) as error:
            raise BootError(f"{self.path}: the state cannot be opened: {error}") from error
        self._connection = connection

    async def load(self, actor: str, actor_id: str) -> Stored | None:
        """See `StateStore.load`."""
        answer: asyncio.Future[Stored | ZocketError | None] = self._loop.create_future()
        self._work.put(_Load(actor, actor_id, answer))
        found = await answer
        if found is None or isinstance(found, Stored):
            return found
        raise found

    def save(
        self, actor: str, actor_id: str, record: bytes, expected: int, done: Callable[[int | ZocketError], None]
    ) -> None:
        """See `StateStore.save`."""
        self._work.put(_Save(actor, actor_id, record, expected, done))

    # -- the thread ----------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while (first := self._work.get()) is not None:
            batch = [first]
            while len(batch) < MAX_GROUP and not self._work.empty():
                following = self._work.get()
                if following is None:
                    self._work.put(None)
                    break
                batch.append(following)
            results = self._transact(batch)
            self._loop.call_soon_threadsafe(_answer, batch, results)
        self._connection.close()

    def _transact(self, batch: list[_Save | _Load]) -> list[int | Stored | ZocketError | None]:
        execute = self._connection.execute
        try:
            execute("BEGIN IMMEDIATE")
            results = [self._load(item) if isinstance(item, _Load) else self._save(item) for item in batch]
            execute("COMMIT")
        except sqlite3.Error as error:
            if self._connection.in_transaction:
                execute("ROLLBACK")
            return [Unavailable(f"{self.path}: {error}")] * len(batch)
        return results

    def _load(self, item: _Load) -> Stored | None:
        row = self._connection.execute(
            "SELECT record, revision FROM records WHERE actor = ? AND actor_id = ?", (item.actor, item.actor_id)
        ).fetchone()
        return None if row is None else Stored(row[0], row[1])

    def _save(self, item: _Save) -> int | ZocketError:
        key = (item.actor, item.actor_id)
        if item.expected:
            changed = self._connection.execute(
                "UPDATE records SET record = ?, revision = ? WHERE actor = ? AND actor_id = ? AND revision = ?",
                (item.record, item.expected + 1, *key, item.expected),
            )
        else:
            changed = self._connection.execute(
                "INSERT OR IGNORE INTO records (record, revision, actor, actor_id) VALUES (?, 1, ?, ?)",
                (item.record, *key),
            )
        if changed.rowcount != 1:
            return Conflict(f"{item.actor}/{item.actor_id}: the stored revision is not {item.expected}")
        return item.expected + 1


def _answer(batch: list[_Save | _Load], results: list[int | Stored | ZocketError | None]) -> None:
    """On the loop: tells everybody how it went."""
    for item, result in zip(batch, results, strict=True):
        if isinstance(item, _Save):
            assert not isinstance(result, Stored)
            assert result is not None
            item.done(result)
        elif not item.answer.done():
            assert not isinstance(result, int)
            item.answer.set_result(result)
