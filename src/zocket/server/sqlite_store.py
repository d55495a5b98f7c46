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
from zocket.host.store import OUTBOX, Key, Stored

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

T = TypeVar("T")

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


class _Query(NamedTuple):
    run: Callable[[], Any]
    answer: asyncio.Future[Any]


class SqliteStore:
    """A `StateStore` in a file, and its `StateAdministration`; made by `open`."""

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
        return await self._ask(lambda: self._load(actor, actor_id))

    def save(
        self, actor: str, actor_id: str, record: bytes, expected: int, done: Callable[[int | ZocketError], None]
    ) -> None:
        """See `StateStore.save`."""
        self._work.put(_Save(actor, actor_id, record, expected, done))

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
        answer: asyncio.Future[int | ZocketError] = self._loop.create_future()
        self.save(*key, record, expected, answer.set_result)
        if isinstance(result := await answer, ZocketError):
            raise result

    async def delete(self, key: Key, expected: int) -> None:
        """See `StateAdministration.delete`."""
        if not await self._ask(lambda: self._delete(key, expected)):
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

    def _load(self, actor: str, actor_id: str) -> Stored | None:
        row = self._connection.execute(
            "SELECT record, revision FROM records WHERE actor = ? AND actor_id = ?", (actor, actor_id)
        ).fetchone()
        return None if row is None else Stored(row[0], row[1])

    def _keys(self, actor: str) -> list[Key]:
        rows = self._connection.execute("SELECT actor, actor_id FROM records WHERE ? IN ('', actor)", (actor,))
        return [Key(*row) for row in rows]

    def _unsent(self) -> list[Key]:
        rows = self._connection.execute("SELECT actor, actor_id FROM records WHERE instr(record, ?)", (OUTBOX,))
        return [Key(*row) for row in rows]

    def _delete(self, key: Key, expected: int) -> bool:
        deleted = self._connection.execute(
            "DELETE FROM records WHERE actor = ? AND actor_id = ? AND revision = ?", (*key, expected)
        )
        return deleted.rowcount == 1

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


def _answer(batch: list[_Save | _Query], results: list[Any]) -> None:
    """On the loop: tells everybody how it went."""
    for item, result in zip(batch, results, strict=True):
        if isinstance(item, _Save):
            item.done(result)
        elif not item.answer.done():
            item.answer.set_result(result)
