"""The output of one runtime: kept in a file that does not grow for ever, and told to whoever follows.

Rules: a line is a line of JSON `{at, stream, line}`; the file is moved aside when it is full, and one such is kept; a
follower that does not read loses the oldest lines and is told how many.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections import deque
from typing import TYPE_CHECKING, Any, Final

import msgspec

from zocket.control.deployment_schemas import LogLine

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from zocket.clock import Clock

MAX_FILE_BYTES: Final = 4 * 1024 * 1024
"""A full file is moved aside; with the one before it, a runtime's log takes at most twice this."""
KEPT_LINES: Final = 1_000
"""Lines in memory, for a tail without reading the file."""
QUEUED_LINES: Final = 2_000
"""Lines that wait for one follower."""


class Journal:
    """One log, open for writing.

    Args:
        path: of the file; its directory is made.
        clock: time of the lines.

    Raises:
        OSError: it cannot be written to.
    """

    def __init__(self, path: Path, clock: Clock) -> None:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._path = path
        self._clock = clock
        self._file = path.open("ab")
        self._bytes = self._file.tell()
        self._recent: deque[LogLine] = deque(_read_lines(path, KEPT_LINES), KEPT_LINES)
        self._followers: set[_Follower] = set()

    def write(self, stream: str, line: str) -> None:
        """Keeps a line, and tells it."""
        entry: Any = LogLine(at=int(self._clock.wall() * 1000), stream=stream, line=line)  # type: ignore[arg-type]
        encoded = msgspec.json.encode({"at": entry.at, "stream": stream, "line": line}) + b"\n"
        if self._bytes + len(encoded) > MAX_FILE_BYTES:
            self._file.close()
            self._path.replace(self._path.with_suffix(".old.jsonl"))
            self._file, self._bytes = self._path.open("ab"), 0
        self._file.write(encoded)
        self._file.flush()
        self._bytes += len(encoded)
        self._recent.append(entry)
        for follower in self._followers:
            follower.put(entry)

    def last_words(self, count: int) -> list[str]:
        """The last lines of this life that were no progress report of ours, as a person would read them."""
        life = itertools.takewhile(lambda entry: entry.stream != "platform", reversed(self._recent))
        spoken = filter(None, (_spoken(entry.line) for entry in life))
        return list(itertools.islice(spoken, count))[::-1]

    async def tail(self, lines: int, *, follow: bool) -> AsyncIterator[LogLine]:
        """The last lines, and with `follow` those to come until the journal is closed."""
        follower = _Follower()
        if follow:
            self._followers.add(follower)
        try:
            for entry in list(self._recent)[-lines:] if lines else []:
                yield entry
            while follow and (following := await follower.next()) is not None:
                yield following
        finally:
            self._followers.discard(follower)

    def close(self) -> None:
        """Nothing more comes; who follows comes to an end."""
        self._file.close()
        for follower in self._followers:
            follower.put(None)

    @staticmethod
    async def read(path: Path, lines: int) -> AsyncIterator[LogLine]:
        """The last lines of a log that nobody writes to any more; none if there is no such file."""
        for entry in await asyncio.to_thread(_read_lines, path, lines):
            yield entry


class _Follower:
    """The lines that wait for one reader."""

    def __init__(self) -> None:
        self._lines: deque[LogLine | None] = deque()
        self._missed = 0
        self._news = asyncio.Event()

    def put(self, entry: LogLine | None) -> None:
        if len(self._lines) >= QUEUED_LINES:
            self._lines.popleft()
            self._missed += 1
        self._lines.append(entry)
        self._news.set()

    async def next(self) -> LogLine | None:
        while not self._lines:
            self._news.clear()
            await self._news.wait()
        entry = self._lines.popleft()
        if self._missed and entry is not None:
            missed, self._missed = self._missed, 0
            self._lines.appendleft(entry)
            return LogLine(at=entry.at, stream="platform", line=f"{missed} lines were left out: too many to follow")
        return entry


def _read_lines(path: Path, lines: int) -> list[LogLine]:
    kept: deque[LogLine] = deque(maxlen=lines)
    for file in (path.with_suffix(".old.jsonl"), path):
        try:
            content = file.read_bytes()
        except FileNotFoundError:
            continue
        for raw in content.splitlines()[-lines:] if lines else []:
            try:
                kept.append(LogLine.model_validate_json(raw))
            except ValueError:  # the last line of a process that was killed while it wrote
                continue
    return list(kept)


def _spoken(line: str) -> str:
    """The message of one of our JSON log lines from warnings up, or a line of any other program as it is."""
    try:
        entry = json.loads(line)
    except ValueError:
        return line.strip()
    if not isinstance(entry, dict):
        return line.strip()
    return str(entry.get("event", "")) if entry.get("level") in ("warning", "error", "critical") else ""
