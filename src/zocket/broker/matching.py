"""Subjects as NATS reads them: what is one, what a pattern covers, which patterns overlap.

Rules: pure functions on text; a subject is dot-separated tokens without white space or control characters; `*` stands
for one token, a last `>` for one or more.
"""

from __future__ import annotations

import re
from typing import Final

from zocket.errors import UsageError

MAX_SUBJECT_BYTES: Final = 3_500
"""Longest subject that is sent. The control line of a server ends at 4,096 bytes, and one that is longer makes it drop
the whole connection; the rest is for the reply inbox and the sizes."""

_UNSAFE: Final = re.compile(r"[\x00-\x20\x7f]")


def check_subject(subject: str) -> None:
    """Refuses what could end the command line or be no subject at all.

    Raises:
        UsageError: it is empty, or holds white space or a control character. Subjects are built from checked
            identifiers, so this is a mistake in the program.
    """
    if not subject or _UNSAFE.search(subject):
        raise UsageError(f"no subject: {subject[:80]!r}")


def is_pattern(subject: str) -> bool:
    """Whether the subject has a wildcard token."""
    return ("*" in subject or ">" in subject) and not {"*", ">"}.isdisjoint(subject.split("."))


def matches(pattern: str, subject: str) -> bool:
    """Whether a subscription to `pattern` receives `subject`."""
    wanted, given = pattern.split("."), subject.split(".")
    for position, token in enumerate(wanted):
        if token == ">":  # noqa: S105 — a subject token
            return position == len(wanted) - 1 and len(given) > position
        if position >= len(given) or token not in ("*", given[position]):
            return False
    return len(wanted) == len(given)


def overlaps(one: str, other: str) -> bool:
    """Whether some subject matches both patterns."""
    left, right = one.split("."), other.split(".")
    for a, b in zip(left, right, strict=False):
        if ">" in (a, b):
            return True
        if a != b and "*" not in (a, b):
            return False
    return len(left) == len(right)
