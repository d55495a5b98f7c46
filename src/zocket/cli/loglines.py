"""A line of a runtime's output as a person reads it.

Rules: a line in our own JSON form becomes level, event and fields; every other line stays as the app wrote it, without
control characters.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final

import click

from zocket.cli.output import Styled, clean, clean_lines

_KNOWN: Final = frozenset(
    {"color_message", "deployment", "event", "exception", "level", "logger", "process", "project", "timestamp"}
    | {"workspace"}
)
"""Fields that are said otherwise, or the same in every line of a project."""
_FRAME: Final = re.compile(r'  File "([^"]*)"')
_NOT_THE_APPS: Final = (
    "<frozen importlib",
    "/importlib/__init__.py",
    "/zocket/runtime/",
    "/zocket/host/",
    "/zocket/core/",
)
_TONES: Final = {"warning": "yellow", "error": "red", "critical": "red"}


def readable(line: object) -> Styled:
    """The line for a terminal."""
    fields = _fields(line)
    if fields is None:
        return Styled(clean(line))
    level = clean(fields["level"])
    named = " ".join(f"{clean(name)}={_value(value)}" for name, value in fields.items() if name not in _KNOWN)
    parts = [click.style(level.ljust(7), fg=_TONES.get(level)), clean(fields["event"]), click.style(named, dim=True)]
    text = " ".join(part for part in parts if click.unstyle(part).strip()).rstrip()
    traceback = fields.get("exception")
    return Styled(f"{text}\n{clean_lines(_of_the_app(traceback))}" if isinstance(traceback, str) else text)


def _of_the_app(traceback: str) -> str:
    """A traceback without the frames of the import system and of Zocket."""
    kept: list[str] = []
    is_shown = True
    for line in traceback.split("\n"):
        frame = _FRAME.match(line)
        if frame:
            is_shown = not any(part in frame[1] for part in _NOT_THE_APPS)
        elif not line.startswith("    "):
            is_shown = True
        if is_shown:
            kept.append(line)
    return "\n".join(kept)


def _fields(line: object) -> dict[str, Any] | None:
    if not isinstance(line, str) or not line.startswith("{"):
        return None
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return fields if isinstance(fields, dict) and isinstance(fields.get("event"), str) and "level" in fields else None


def _value(value: object) -> str:
    text = clean(value if isinstance(value, str) else json.dumps(value))
    return text if text and " " not in text else json.dumps(text)
