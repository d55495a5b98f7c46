"""What of an exception reaches the caller.

Rules: text that actor code raises on purpose (`ActorError`) and errors that Zocket itself names for callers pass as
they are; everything else is `internal` with a request id that finds the log line, its text only in dev mode.
"""

from __future__ import annotations

import logging
from typing import Final

from zocket.errors import (
    INTERNAL,
    ActorError,
    CallerError,
    Cancelled,
    DeadLettered,
    HandlerTimeout,
    Overloaded,
    PlatformError,
    StateValueError,
    ZocketError,
)
from zocket.state import encode

log = logging.getLogger("zocket.core")

MAX_CODE_CHARS: Final = 64
"""Programs match codes: a longer one is none."""


def to_caller(error: BaseException, request_id: str, *, dev_mode: bool = False) -> ZocketError:
    """The error as it may leave the process, with the request id; never raises, whatever the error's parts are.

    An error object may be raised twice (a constant of a module), so it is copied, never changed.
    """
    try:
        return _public(error, request_id, dev_mode)
    except Exception as failure:  # border: the parts of a developer's exception can be anything
        log.error("an error cannot be told", exc_info=failure, extra={"request": request_id})
        return ZocketError("internal error", code=INTERNAL, request_id=request_id)


def _public(error: BaseException, request_id: str, dev_mode: bool) -> ZocketError:
    if isinstance(error, (ActorError, CallerError, PlatformError)):
        return ZocketError(
            _clean(error.message),
            code=_clean(error.code)[:MAX_CODE_CHARS],
            data=_encodable(error.data),
            request_id=_clean(error.request_id or request_id),
        )
    text = f"{type(error).__name__}: {error}" if dev_mode else "internal error"
    return ZocketError(_clean(text), code=INTERNAL, request_id=request_id)


def is_expected(error: BaseException) -> bool:
    """Whether the error is a normal answer that needs no log line with a traceback."""
    return isinstance(error, (ActorError, CallerError, Cancelled, DeadLettered, HandlerTimeout, Overloaded))


def _clean(value: object) -> str:
    """The value as text (`ActorError(404)` is easily written) without lone surrogates, which UTF-8 cannot hold."""
    text = value if type(value) is str else str(value)
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def _encodable(data: object) -> object:
    """The data, or None if JSON cannot hold it: an error must be able to leave."""
    try:
        encode(data)
    except StateValueError as error:
        log.warning("the data of an error cannot leave: %s", error.message)
        return None
    return data
