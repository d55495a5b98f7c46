"""Browsers that are signed in.

Rules: signing in always makes a fresh session and ends the one that the browser had, so nobody can plant one; the
cookie's value is stored nowhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import delete

from zocket.control.callers import SESSION_IDLE_MS
from zocket.control.credentials import SESSION, digest, mint
from zocket.control.records import WebSession

if TYPE_CHECKING:
    from collections.abc import Callable

    from zocket.control.database import Database


class Browsers:
    """Starts and ends web sessions."""

    def __init__(self, database: Database, now_ms: Callable[[], int]) -> None:
        self._database = database
        self._now_ms = now_ms

    async def start(self, user_id: str, previous: str | None) -> str:
        """Signs a person in; the value of the cookie.

        Args:
            user_id: who.
            previous: the cookie that the browser sent, if any; its session ends.
        """
        minted, now = mint(SESSION), self._now_ms()
        async with self._database.session() as session:
            await session.execute(delete(WebSession).where(WebSession.expires_at <= now))
            if previous:
                await session.execute(delete(WebSession).where(WebSession.token_hash == digest(previous)))
            session.add(
                WebSession(
                    token_hash=minted.token_hash,
                    user_id=user_id,
                    created_at=now,
                    last_used_at=now,
                    expires_at=now + SESSION_IDLE_MS,
                )
            )
        return minted.token

    async def end(self, token_hash: str) -> None:
        """Signs one browser out."""
        async with self._database.session() as session:
            await session.execute(delete(WebSession).where(WebSession.token_hash == token_hash))
