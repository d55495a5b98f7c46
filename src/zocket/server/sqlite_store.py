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
from math import inf
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

from zocket.errors import BootError, Conflict, Unavailable, ZocketError
from zocket.host.alarms import remove_alarm, set_alarm
from zocket.host.store import OUTBOX, Key, Stored

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

T = TypeVar("T")

MAX_GROUP: Final = 256
"""Saves in one transaction."""

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS {table} (
    actor TEXT NOT NULL, actor_id TEXT NOT NULL, revision INTEGER NOT NULL, record BLOB NOT NULL,
    PRIMARY KEY (actor, actor_id)
) WITHOUT ROWID
"""
RECORDS: Final = "records"
ALARMS: Final = "alarms"
LIVES: Final = "lives"
"""How the last server on the file has ended: one row, of no instance."""


class _Save(NamedTuple):
    table: str
    actor: str
    actor_id: str
    record: bytes
    expected: int
    done: Callable[[int | ZocketError], None]


class _Query(NamedTuple):
    run: Callable[[], Any]
    answer: asyncio.Future[Any]


class SqliteStore:
    """A `StateStore` in a file, and its `StateAdministration`; made by `open`.

    Attributes:
        alarms: of the reminders, in the same file.
    """

    shared = False
    max_record_bytes = inf
    """See `StateAdministration.max_record_bytes`; SQLite's own limit is far above that of a state."""

    def __init__(self, path: Path, *, sync: bool) -> None:
        self.path = path
        self._sync = sync
        self._loop = asyncio.get_running_loop()
        self._work: SimpleQueue[_Save | _Query | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="zocket state store", daemon=True)
        self._connection: sqlite3.Connection
        self.alarms = SqliteAlarms(self)

    @classmethod
    @asynccontextmanager
    async def open(cls, path: str | Path, *, sync: bool = False) -> AsyncIterator[SqliteStore]:
        """The store, during the block; at its end everything that was given to it is written.

        Args:
            path: of the file; it and its directory are made if they are missing.
            sync: every transaction is on the disk before it counts.

        Raises:
            BootError: another process has the file, it is a database of something else, or it cannot be opened.
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
            tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            if tables and "records" not in tables:
                connection.close()
                raise BootError(f"{self.path}: is a database of something else, not of durable actors")
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute(f"PRAGMA synchronous={'FULL' if self._sync else 'NORMAL'}")
            connection.execute("BEGIN IMMEDIATE")
            for table in (RECORDS, ALARMS, LIVES):
                connection.execute(_SCHEMA.format(table=table))
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
        return await self.read(RECORDS, actor, actor_id)

    def save(
        self, actor: str, actor_id: str, record: bytes, expected: int, done: Callable[[int | ZocketError], None]
    ) -> None:
        """See `StateStore.save`."""
        self._work.put(_Save(RECORDS, actor, actor_id, record, expected, done))

    async def unsent(self) -> list[Key]:
        """Instances whose record may hold one-way calls that have not arrived; none of those that do is missing.

        Raises:
            Unavailable: the file cannot be read.
        """
        return await self._ask(self._unsent)

    # -- administration ------------------------------------------------------------------------------------------

    async def keys(self, actor: str = "") -> list[Key]:
        """See `StateAdministration.keys`."""
        return sorted(await self._ask(lambda: self._keys(actor)))

    async def write(self, key: Key, record: bytes, expected: int) -> None:
        """See `StateAdministration.write`."""
        await set_alarm(self.alarms, key, record)
        await self.put(RECORDS, key, record, expected)

    async def delete(self, key: Key, expected: int) -> None:
        """See `StateAdministration.delete`."""
        await self.remove(RECORDS, key, expected)
        await remove_alarm(self.alarms, key)

    async def delete_reminders(self, key: Key) -> None:
        """See `StateAdministration.delete_reminders`."""
        await remove_alarm(self.alarms, key)

    # -- any table ---------------------------------------------------------------------------------------------

    async def read(self, table: str, actor: str, actor_id: str) -> Stored | None:
        """A row of a table, None if there is none."""
        return await self._ask(lambda: self._load(table, actor, actor_id))

    async def rows_of(self, table: str) -> list[tuple[Key, Stored]]:
        """All rows of a table."""
        return await self._ask(lambda: self._rows(table))

    async def put(self, table: str, key: Key, record: bytes, expected: int) -> int:
        """Writes a row by compare-and-set; the new revision. Raises `Conflict`."""
        answer: asyncio.Future[int | ZocketError] = self._loop.create_future()
        done = lambda result: None if answer.done() else answer.set_result(result)  # noqa: E731
        self._work.put(_Save(table, *key, record, expected, done))
        if isinstance(result := await answer, ZocketError):
            raise result
        return result

    async def remove(self, table: str, key: Key, expected: int) -> None:
        """Deletes a row by compare-and-set. Raises `Conflict`."""
        if not await self._ask(lambda: self._delete(table, key, expected)):
            raise Conflict(f"{key}: the stored revision is not {expected}")

    async def _ask(self, run: Callable[[], T]) -> T:
        """What `run` gives in the thread."""
        answer: asyncio.Future[T | ZocketError] = self._loop.create_future()
        self._work.put(_Query(run, answer))
        if isinstance(result := await answer, ZocketError):
            raise result
        return result

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

    def _transact(self, batch: list[_Save | _Query]) -> list[Any]:
        execute = self._connection.execute
        try:
            execute("BEGIN IMMEDIATE")
            results = [item.run() if isinstance(item, _Query) else self._save(item) for item in batch]
            execute("COMMIT")
        except sqlite3.Error as error:
            if self._connection.in_transaction:
                execute("ROLLBACK")
            return [Unavailable(f"{self.path}: {error}")] * len(batch)
        return results

    def _load(self, table: str, actor: str, actor_id: str) -> Stored | None:
        row = self._connection.execute(
            f"SELECT record, revision FROM {table} WHERE actor = ? AND actor_id = ?",  # noqa: S608 — one of our names
            (actor, actor_id),
        ).fetchone()
        return None if row is None else Stored(row[0], row[1])

    def _rows(self, table: str) -> list[tuple[Key, Stored]]:
        rows = self._connection.execute(f"SELECT actor, actor_id, record, revision FROM {table}")  # noqa: S608 — one of our names
        return [(Key(actor, actor_id), Stored(record, revision)) for actor, actor_id, record, revision in rows]

    def _keys(self, actor: str) -> list[Key]:
        rows = self._connection.execute("SELECT actor, actor_id FROM records WHERE ? IN ('', actor)", (actor,))
        return [Key(*row) for row in rows]

    def _unsent(self) -> list[Key]:
        rows = self._connection.execute("SELECT actor, actor_id FROM records WHERE instr(record, ?)", (OUTBOX,))
        return [Key(*row) for row in rows]

    def _delete(self, table: str, key: Key, expected: int) -> bool:
        deleted = self._connection.execute(
            f"DELETE FROM {table} WHERE actor = ? AND actor_id = ? AND revision = ?",  # noqa: S608 — one of our names
            (*key, expected),
        )
        return deleted.rowcount == 1

    def _save(self, item: _Save) -> int | ZocketError:
        key = (item.actor, item.actor_id)
        if item.expected:
            changed = self._connection.execute(
                f"UPDATE {item.table} SET record = ?, revision = ? "  # noqa: S608 — one of our names
                "WHERE actor = ? AND actor_id = ? AND revision = ?",
                (item.record, item.expected + 1, *key, item.expected),
            )
        else:
            changed = self._connection.execute(
                f"INSERT OR IGNORE INTO {item.table} (record, revision, actor, actor_id) VALUES (?, 1, ?, ?)",  # noqa: S608 — one of our names
                (item.record, *key),
            )
        if changed.rowcount != 1:
            return Conflict(f"{item.actor}/{item.actor_id}: the stored revision is not {item.expected}")
        return item.expected + 1


class SqliteAlarms:
    """An `AlarmStore` in the same file."""

    shared = False

    def __init__(self, store: SqliteStore) -> None:
        self._store = store

    async def entries(self) -> AsyncIterator[list[tuple[Key, Stored]]]:
        """See `AlarmStore.entries`."""
        yield await self._store.rows_of(ALARMS)

    async def load(self, actor: str, actor_id: str) -> Stored | None:
        """See `AlarmStore.load`."""
        return await self._store.read(ALARMS, actor, actor_id)

    async def put(self, key: Key, alarm: bytes, expected: int) -> int:
        """See `AlarmStore.put`."""
        return await self._store.put(ALARMS, key, alarm, expected)

    async def delete(self, key: Key, expected: int) -> None:
        """See `AlarmStore.delete`."""
        await self._store.remove(ALARMS, key, expected)


def _answer(batch: list[_Save | _Query], results: list[Any]) -> None:
    """On the loop: tells everybody how it went."""
    for item, result in zip(batch, results, strict=True):
        if isinstance(item, _Save):
            item.done(result)
        elif not item.answer.done():
            item.answer.set_result(result)
