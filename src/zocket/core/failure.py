"""What of an exception reaches the caller.

Rules: text that actor code raises on purpose (`ActorError`) and errors that Zocket itself names for callers pass as
they are; everything else is `internal` with a request id that finds the log line, its text only in dev mode.
"""

from __future__ import annotations

import logging

from zocket.errors import (
    INTERNAL,
    ActorError,
    CallerError,
    HandlerTimeout,
    Overloaded,
    PlatformError,
    StateValueError,
    ZocketError,
)
from zocket.state import encode

log = logging.getLogger("zocket.core")


def to_caller(error: BaseException, request_id: str, *, dev_mode: bool = False) -> ZocketError:
    """The error as it may leave the process, with the request id.

    An error object may be raised twice (a constant of a module), so it is copied, never changed.
    """
    if isinstance(error, (ActorError, CallerError, PlatformError)):
        return ZocketError(
            _clean(error.message),
            code=error.code,
            data=_encodable(error.data),
            request_id=error.request_id or request_id,
        )
    text = f"{type(error).__name__}: {error}" if dev_mode else "internal error"
    return ZocketError(_clean(text), code=INTERNAL, request_id=request_id)


def is_expected(error: BaseException) -> bool:
    """Whether the error is a normal answer that needs no log line with a traceback."""
    return isinstance(error, (ActorError, CallerError, HandlerTimeout, Overloaded))


def _clean(text: str) -> str:
    """The text without lone surrogates, which JSON in UTF-8 cannot hold."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def _encodable(data: object) -> object:
    """The data, or None if JSON cannot hold it: an error must be able to leave."""
    try:
        encode(data)
    except StateValueError as error:
        log.warning("the data of an error cannot leave: %s", error.message)
        return None
    return data
