"""The log of `zocket dev`: lines of all processes in one place, each with its time and who said it.

Rules: our processes log JSON lines, which become readable here; what is no such line (a `print` of an actor, a crash of
the interpreter) is shown as it is; fields that are the same in every line (workspace, project) are left out.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TextIO

from zocket.logs import disarmed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

ROLE_COLOURS: Final = {"dev": 36, "control": 35, "gateway": 34, "runtime": 32, "nats": 33}
"""ANSI colour of each role."""
_WIDTH: Final = max(map(len, ROLE_COLOURS))
_LEVEL_COLOURS: Final = {"warning": 33, "error": 31, "critical": 31}
_DIM: Final = 2
_BOLD: Final = 1

LEFT_OUT: Final = frozenset({"event", "exception", "level", "logger", "process", "project", "timestamp", "workspace"})
"""Fields that are shown in another way, or not at all."""

_BUNDLE: Final = re.compile(r"[^\s\"']*/bundle-\d+\.(?:pyz/|py\b)")
_FRAME: Final = re.compile(r'  File "(?P<file>[^"]*)", line \d+, in .*\n(?:    .*\n)*')
_PACKAGE: Final = str(Path(__file__).parent.parent) + os.sep


class Console:
    """Writes lines of several processes.

    Args:
        style: `text`, or `json` to pass JSON lines on.
        colours: whether the stream shows ANSI colours.
        stream: by default standard error.
        wall: the time of day.
    """

    def __init__(
        self,
        style: str = "text",
        *,
        colours: bool = False,
        stream: TextIO | None = None,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._json = style == "json"
        self._colours = colours
        self._stream = stream or sys.stderr
        self._wall = wall

    def tell(self, text: str, *, level: str = "info") -> None:
        """A line of our own."""
        self._write("dev", {"event": text, "level": level})

    def hear(self, role: str, line: str) -> None:
        """A line of a process."""
        record = _parse(line)
        if record is None:
            if not line.strip():
                return
            record = {"event": line, "level": "info"}
        elif _is_noise(record):
            return
        self._write(role, record)

    def _write(self, role: str, record: Mapping[str, Any]) -> None:
        text = self._as_json(role, record) if self._json else self._as_text(role, record)
        self._stream.write(text + "\n")
        self._stream.flush()

    def _as_json(self, role: str, record: Mapping[str, Any]) -> str:
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self._wall()))
        return json.dumps({"process": role, "timestamp": now, **record}, sort_keys=True)

    def _as_text(self, role: str, record: Mapping[str, Any]) -> str:
        level = str(record.get("level", "info"))
        clock = self._paint(time.strftime("%H:%M:%S", time.localtime(self._wall())), _DIM)
        prefix = f"{clock} {self._paint(role.ljust(_WIDTH), ROLE_COLOURS.get(role, 37))} "
        fields = "".join(
            self._paint(f"  {name}={_plain(value)}", _DIM) for name, value in record.items() if name not in LEFT_OUT
        )
        event = disarmed(_unbundled(str(record["event"])), keep="\n\t")
        if level in _LEVEL_COLOURS:
            event = f"{self._paint(level, _LEVEL_COLOURS[level], _BOLD)} {event}"
        lines = [*(event + fields).split("\n"), *_trace_lines(record)]
        return "\n".join(prefix + line for line in lines)

    def _paint(self, text: str, *codes: int) -> str:
        return f"\033[{';'.join(map(str, codes))}m{text}\033[0m" if self._colours and text else text


def _parse(line: str) -> dict[str, Any] | None:
    if not line.startswith("{"):
        return None
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) and "event" in record and "level" in record else None


def _is_noise(record: Mapping[str, Any]) -> bool:
    """What libraries below the control plane tell of themselves."""
    return record["level"] == "info" and str(record.get("logger", "")).startswith(("uvicorn", "alembic"))


def _plain(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(map(_plain, value))
    return disarmed(str(value))


def _trace_lines(record: Mapping[str, Any]) -> list[str]:
    """The traceback as the developer's own code sees it; whole where none of it is theirs."""
    trace = str(record.get("exception") or "")
    if not trace:
        return []
    shortened = _FRAME.sub(_theirs, trace + "\n")
    shown = _unbundled(shortened if _FRAME.search(shortened) else trace)
    return disarmed(shown.rstrip("\n"), keep="\n\t").split("\n")


def _theirs(frame: re.Match[str]) -> str:
    file = frame["file"]
    ours = file.startswith(("<frozen ", _PACKAGE)) or Path(file).parent.name == "importlib"
    return "" if ours else frame[0]


def _unbundled(text: str) -> str:
    """With the app's files named as in its directory."""
    return _BUNDLE.sub("", text)
