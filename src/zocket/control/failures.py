"""What a call of the control plane can fail with, beyond `zocket.errors`: each is one HTTP status (`api/errors.py`)."""

from __future__ import annotations

from zocket.errors import CallerError, TooManyRequests


class NotFound(CallerError):
    """No such record, or none that the caller may know of: both are answered alike."""

    default_code = "not_found"


class Forbidden(CallerError):
    """The caller is known, and may not do this."""

    default_code = "forbidden"


class Taken(CallerError):
    """It clashes with what is there: a name in use, the last owner, something that was done already."""

    default_code = "conflict"


class SlowDown(TooManyRequests):
    """Too many attempts; `retry_after_s` says when the next one may succeed."""

    def __init__(self, retry_after_s: int) -> None:
        super().__init__(f"too many attempts; try again in {retry_after_s} s", data={"retryAfterS": retry_after_s})
        self.retry_after_s = retry_after_s
