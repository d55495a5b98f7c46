"""How log lines look: readable on a terminal, one JSON object a line otherwise.

Rules: everything logs through the standard library with `extra={…}` fields; no payloads and no tokens are ever
fields; `bound` gives a logger that carries the fields of its place (workspace, project, actor, actor_id, session, …).
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, MutableMapping

CALL_FIELDS: Final = ("actor", "actor_id", "method", "session", "request")
"""Fields of the call in progress, which also lines of user code get."""

current_call: Callable[[], Mapping[str, str] | None] = lambda: None  # noqa: E731
"""Set by the host: the fields of the call that the running task works on, or None."""


class BoundLogger(logging.LoggerAdapter[logging.Logger]):
    """A logger whose lines carry fixed fields; `extra` of one line adds to them."""

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        """Merges the bound fields with those of the line."""
        kwargs["extra"] = {**(self.extra or {}), **kwargs.get("extra", {})}
        return msg, kwargs


def bound(name: str, **fields: str) -> BoundLogger:
    """The logger `name` with fields that all its lines carry."""
    return BoundLogger(logging.getLogger(name), fields)


def use_call_fields(source: Callable[[], Mapping[str, str] | None]) -> None:
    """Names the source of the call fields for every later line of this process."""
    global current_call
    current_call = source


def configure(*, style: str = "auto", level: str = "INFO", **fields: str) -> None:
    """Formats the root logger of this process; called once in `main`.

    Args:
        style: `text`, `json`, or `auto`: text where standard error is a terminal.
        level: least severe level that is written.
        fields: go into every line (workspace, project, process).
    """
    text = style == "text" or (style == "auto" and sys.stderr.isatty())
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_readable(fields) if text else JsonLines(fields))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for noisy in ("httpx", "httpcore", "uvicorn.access", "picows"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


class JsonLines(logging.Formatter):
    """One JSON object a line, with sorted keys. Written out here, since every session has two lines.

    Args:
        fields: go into every line that has no value of its own for them.
    """

    def __init__(self, fields: Mapping[str, str]) -> None:
        super().__init__()
        self._fields = fields

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        line: dict[str, Any] = {
            "event": record.getMessage(),
            "level": record.levelname.lower(),
            "logger": record.name,
        }
        line.update({key: value for key, value in record.__dict__.items() if key not in _NO_EXTRAS})
        for key, value in {**(current_call() or {}), **self._fields}.items():
            line.setdefault(key, value)
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        if record.stack_info:
            line["stack_info"] = record.stack_info
        moment = datetime.fromtimestamp(record.created, UTC)
        line["timestamp"] = f"{moment.isoformat(timespec='microseconds').removesuffix('+00:00')}Z"
        return _encode(line)


_encode: Final = json.JSONEncoder(sort_keys=True, default=repr).encode
_NO_EXTRAS: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}
"""Attributes of a record that are no `extra` of its line."""


def _readable(fields: Mapping[str, str]) -> logging.Formatter:
    import structlog

    def disarm(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        for key, value in event.items():
            if isinstance(value, str) and not value.isprintable():
                event[key] = disarmed(value, keep="\n\t" if key == "event" else "")
        return event

    def add_call(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        for key, value in {**(current_call() or {}), **fields}.items():
            event.setdefault(key, value)
        return event

    # Not the default, which prints local variables (payloads, tokens) where the package rich is installed.
    plain = structlog.dev.plain_traceback
    chain: list[Any] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        add_call,
        structlog.processors.TimeStamper(fmt="%H:%M:%S.%f", utc=False),
        disarm,
    ]
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=chain,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), pad_event_to=0, exception_formatter=plain),
        ],
    )


def disarmed(text: str, keep: str = "") -> str:
    """The text with everything escaped that a terminal would obey, but for `keep`: clients choose actor ids."""
    return "".join(
        char if char in keep or char.isprintable() else char.encode("unicode_escape", "surrogatepass").decode()
        for char in text
    )
