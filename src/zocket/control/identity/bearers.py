"""Tokens of command lines, pipelines and services: issued, listed, revoked.

Rules: a token leaves once, in the answer that made it; revoking what is revoked changes nothing; a token of somebody
else, or of another project, is one that does not exist.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import select

from zocket.control.credentials import DEPLOY, INTERNAL, Minted, mint
from zocket.control.failures import NotFound
from zocket.control.identity.schemas import CliTokenView, InternalTokenView, IssuedToken, NewInternalToken, TokenView
from zocket.control.paging import Page, Paging, read_page
from zocket.control.records import CliToken, DeployToken, InternalToken, Project, new_id
from zocket.errors import CallerError

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.ext.asyncio import AsyncSession

    from zocket.control.database import Database

AnyToken = TypeVar("AnyToken", CliToken, DeployToken, InternalToken)


class Bearers:
    """The tokens."""

    def __init__(self, database: Database, now_ms: Callable[[], int]) -> None:
        self._database = database
        self._now_ms = now_ms

    async def cli_tokens(self, user_id: str, asked: Paging) -> Page[CliTokenView]:
        """A person's command lines, newest first."""
        query = select(CliToken).where(CliToken.user_id == user_id)
        return await self._page(query, asked, CliToken, CliTokenView)

    async def revoke_cli_token(self, user_id: str, token_id: str) -> None:
        """Signs a command line out.

        Raises:
            NotFound: the person has no such token.
        """
        await self._revoke(CliToken, CliToken.id == token_id, CliToken.user_id == user_id)

    async def revoke_this(self, token_hash: str) -> None:
        """Signs out the command line that asks for it."""
        await self._revoke(CliToken, CliToken.token_hash == token_hash)

    async def deploy_tokens(self, project_id: str, asked: Paging) -> Page[TokenView]:
        """A project's deploy tokens, newest first."""
        query = select(DeployToken).where(DeployToken.project_id == project_id)
        return await self._page(query, asked, DeployToken, TokenView)

    async def issue_deploy_token(self, project_id: str, name: str, user_id: str | None) -> IssuedToken:
        """A fresh deploy token of a project."""
        async with self._database.session() as session:
            return add_deploy_token(session, project_id, name, user_id, self._now_ms())

    async def revoke_deploy_token(self, project_id: str, token_id: str) -> None:
        """Ends a deploy token.

        Raises:
            NotFound: the project has no such token.
        """
        await self._revoke(DeployToken, DeployToken.id == token_id, DeployToken.project_id == project_id)

    async def internal_tokens(self, asked: Paging) -> Page[InternalTokenView]:
        """The installation's tokens of gateways and runtimes, newest first."""
        return await self._page(select(InternalToken), asked, InternalToken, InternalTokenView)

    async def issue_internal_token(self, wanted: NewInternalToken) -> IssuedToken:
        """A fresh token of a gateway or a runtime.

        Raises:
            CallerError: a gateway's token with a project, or a runtime's without one.
            NotFound: there is no such project.
        """
        if (wanted.kind == "runtime") != (wanted.project_id is not None):
            raise CallerError("projectId: belongs to a token of kind runtime, and to no other")
        minted = mint(INTERNAL)
        async with self._database.session() as session:
            if wanted.project_id is not None and await session.get(Project, wanted.project_id) is None:
                raise NotFound("no such project")
            token = InternalToken(
                id=new_id("int"),
                kind=wanted.kind,
                project_id=wanted.project_id,
                name=wanted.name,
                token_hash=minted.token_hash,
                prefix=minted.prefix,
                created_at=self._now_ms(),
            )
            session.add(token)
            return _issued(token, minted)

    async def revoke_internal_token(self, token_id: str) -> None:
        """Ends a token of a gateway or runtime.

        Raises:
            NotFound: there is no such token.
        """
        await self._revoke(InternalToken, InternalToken.id == token_id)

    async def _page(self, query: Any, asked: Paging, table: type[AnyToken], view: Any) -> Page[Any]:
        async with self._database.reading() as session:
            return await read_page(
                session,
                query,
                asked,
                lambda row: view.model_validate(row[0], from_attributes=True),
                at=table.created_at,
                key=table.id,
                newest_first=True,
            )

    async def _revoke(self, table: type[AnyToken], *conditions: Any) -> None:
        async with self._database.session() as session:
            token = await session.scalar(select(table).where(*conditions))
            if token is None:
                raise NotFound("no such token")
            if token.revoked_at is None:
                token.revoked_at = self._now_ms()


def add_deploy_token(
    session: AsyncSession, project_id: str, name: str, user_id: str | None, now_ms: int
) -> IssuedToken:
    """A fresh deploy token in an open transaction."""
    minted = mint(DEPLOY)
    token = DeployToken(
        id=new_id("dpt"),
        project_id=project_id,
        name=name,
        token_hash=minted.token_hash,
        prefix=minted.prefix,
        created_by=user_id,
        created_at=now_ms,
    )
    session.add(token)
    return _issued(token, minted)


def _issued(token: DeployToken | InternalToken, minted: Minted) -> IssuedToken:
    return IssuedToken(id=token.id, name=token.name, prefix=minted.prefix, token=minted.token)
