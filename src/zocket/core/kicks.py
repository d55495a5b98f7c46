"""Kicks: an actor parts with a session.

Rules: what a kick ends is what the session has of this instance; whether it may come back is for guards to say.
"""

from __future__ import annotations

from typing import Final

from zocket.core.orders import Order

MAX_REASON_CHARS: Final = 1_000
"""Of the text that the client is told: a sentence, not a document."""


class Kick(Order):
    """Parts with a session; see `Actor.kick`."""

    __slots__ = ("close", "reason", "session_id")

    def __init__(self, session_id: str, reason: str, *, close: bool) -> None:
        self.session_id = session_id
        self.reason = reason
        self.close = close
