"""Who calls, found from a cookie or a bearer token.

Rules: a bearer counts alone, a cookie beside it is not looked at; a token that is unknown, revoked or expired is
`Unauthorized`, a session that is no longer there is nobody; headers in which a proxy names somebody are never read;
the last use of a token is written down at most once a minute.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from sqlalchemy import or_, select, update

from zocket.control.credentials import CLI, DEPLOY, INTERNAL, MAX_TOKEN_CHARS, csrf_of, digest
from zocket.control.failures import Forbidden
from zocket.control.records import CliToken, DeployToken, InternalToken, User, WebSession
from zocket.errors import Unauthorized

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import Request

    from zocket.control.database import Database

Kind = Literal["nobody", "cookie", "cli", "deploy", "internal"]

COOKIE: Final = "zocket_session"
CSRF_HEADER: Final = "x-zocket-csrf"
SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
TOUCH_EVERY_MS: Final = 60_000
"""How exact a last use is; writing each one would make every read a write."""
SESSION_IDLE_MS: Final = 7 * 24 * 3_600_000
"""A browser that was away for so long signs in again."""
SESSION_MAX_MS: Final = 30 * 24 * 3_600_000
"""So does one that never was away, after so long."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls.

    Attributes:
        kind: how it was proved.
        user_id: the person, for `cookie` and `cli`.
        name: what history shows: the person's address or the token's name.
        is_admin: the person may issue internal tokens.
        project_id: the only project that a deploy token, or a runtime's internal token, is good for.
        service: of an internal token: `gateway`, `runtime`, or `any` for the configured one.
        token_hash: of the cookie or token itself.
    """

    kind: Kind = "nobody"
    user_id: str | None = None
    name: str = ""
    is_admin: bool = False
    project_id: str | None = None
    service: Literal["gateway", "runtime", "any"] | None = None
    token_hash: str = ""


class Callers:
    """Finds callers.

    Args:
        database: the records.
        now_ms: the time of day.
        internal_token: the configured bearer of gateways and runtimes.
    """

    def __init__(self, database: Database, now_ms: Callable[[], int], internal_token: str) -> None:
        self._database = database
        self._now_ms = now_ms
        self._internal_token = internal_token

    async def find(self, request: Request) -> Caller:
        """Who sent a request.

        Raises:
            Unauthorized: the bearer is wrong, revoked or expired.
            Forbidden: a signed-in page's request changes something and lacks its CSRF header.
        """
        authorization = request.headers.get("authorization")
        if authorization is not None:
            scheme, _, token = authorization.partition(" ")
            if scheme.lower() != "bearer":
                raise Unauthorized("the authorization header is no bearer token")
            return await self.of_token(token.strip())
        cookie = request.cookies.get(COOKIE)
        if not cookie or len(cookie) > MAX_TOKEN_CHARS:
            return Caller()
        caller = await self._of_cookie(cookie)
        if caller.kind == "cookie" and request.method not in SAFE_METHODS:
            sent = request.headers.get(CSRF_HEADER, "")
            if not hmac.compare_digest(sent.encode(), csrf_of(cookie).encode()):
                raise Forbidden(f"the header {CSRF_HEADER} is missing or wrong", code="csrf")
        return caller

    async def of_token(self, token: str) -> Caller:
        """Who a bearer token belongs to.

        Raises:
            Unauthorized: it is wrong, revoked or expired.
        """
        if self._internal_token and hmac.compare_digest(token.encode(), self._internal_token.encode()):
            return Caller("internal", name="internal", service="any")
        if len(token) > MAX_TOKEN_CHARS:
            raise Unauthorized("the bearer token is wrong")
        finders = {CLI: self._of_cli_token, DEPLOY: self._of_deploy_token, INTERNAL: self._of_internal_token}
        find = finders.get(token[:4])
        caller = await find(digest(token)) if find else None
        if caller is None:
            raise Unauthorized("the bearer token is missing, wrong, revoked or expired")
        return caller

    async def _of_cookie(self, cookie: str) -> Caller:
        token_hash, now = digest(cookie), self._now_ms()
        async with self._database.reading() as session:
            query = select(WebSession, User).join(User, User.id == WebSession.user_id)
            found = (await session.execute(query.where(WebSession.token_hash == token_hash))).one_or_none()
        if found is None or found[0].expires_at <= now:
            return Caller()
        browser, user = found
        if now - browser.last_used_at >= TOUCH_EVERY_MS:
            expires_at = min(now + SESSION_IDLE_MS, browser.created_at + SESSION_MAX_MS)
            async with self._database.session() as session:
                await session.execute(
                    update(WebSession)
                    .where(WebSession.token_hash == token_hash)
                    .values(last_used_at=now, expires_at=expires_at)
                )
        return Caller("cookie", user.id, user.email, user.is_admin, token_hash=token_hash)

    async def _of_cli_token(self, token_hash: str) -> Caller | None:
        async with self._database.reading() as session:
            query = select(CliToken, User).join(User, User.id == CliToken.user_id)
            found = (await session.execute(query.where(CliToken.token_hash == token_hash))).one_or_none()
        if found is None or found[0].revoked_at is not None or found[0].expires_at <= self._now_ms():
            return None
        token, user = found
        await self._touch(token)
        return Caller("cli", user.id, user.email, user.is_admin, token_hash=token_hash)

    async def _of_deploy_token(self, token_hash: str) -> Caller | None:
        async with self._database.reading() as session:
            token = await session.scalar(select(DeployToken).where(DeployToken.token_hash == token_hash))
        if token is None or token.revoked_at is not None:
            return None
        await self._touch(token)
        return Caller("deploy", name=f"token {token.name}", project_id=token.project_id, token_hash=token_hash)

    async def _of_internal_token(self, token_hash: str) -> Caller | None:
        async with self._database.reading() as session:
            token = await session.scalar(select(InternalToken).where(InternalToken.token_hash == token_hash))
        if token is None or token.revoked_at is not None:
            return None
        await self._touch(token)
        service: Literal["gateway", "runtime"] = "gateway" if token.kind == "gateway" else "runtime"
        return Caller(
            "internal", name=f"token {token.name}", project_id=token.project_id, service=service, token_hash=token_hash
        )

    async def _touch(self, token: CliToken | DeployToken | InternalToken) -> None:
        now = self._now_ms()
        if token.last_used_at is not None and now - token.last_used_at < TOUCH_EVERY_MS:
            return
        table = type(token)
        async with self._database.session() as session:
            await session.execute(
                update(table)
                .where(
                    table.id == token.id,
                    or_(table.last_used_at.is_(None), table.last_used_at <= now - TOUCH_EVERY_MS),
                )
                .values(last_used_at=now)
            )
