"""Workspaces, their members, and who is invited.

Rules: a workspace always has an owner; an invitation is for one address, once, for a week, and its link is stored
hashed; it is accepted by the account of that address, or makes that account where people sign in by password.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import func, select

from zocket.control.credentials import INVITATION, digest, mint
from zocket.control.failures import Forbidden, NotFound, Taken
from zocket.control.identity.accounts import add_user, add_workspace, normal_email
from zocket.control.identity.schemas import (
    Accepted,
    InvitationPreview,
    InvitationView,
    IssuedInvitation,
    MemberView,
    NewInvitation,
    WorkspaceView,
)
from zocket.control.paging import Page, Paging, read_page
from zocket.control.records import Invitation, Membership, Role, User, Workspace, new_id
from zocket.errors import Unauthorized

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.ext.asyncio import AsyncSession

    from zocket.control.database import Database

INVITATION_MS: Final = 7 * 24 * 3_600_000
MAX_INVITATIONS: Final = 500
"""Open ones of a workspace."""


class Workspaces:
    """The operations."""

    def __init__(self, database: Database, now_ms: Callable[[], int]) -> None:
        self._database = database
        self._now_ms = now_ms

    async def of(self, user_id: str, asked: Paging) -> Page[WorkspaceView]:
        """The workspaces that a person is a member of, in the order of joining."""
        query = select(Workspace.id, Workspace.name, Membership.role).join(
            Membership, Membership.workspace_id == Workspace.id
        )
        async with self._database.reading() as session:
            return await read_page(
                session,
                query.where(Membership.user_id == user_id),
                asked,
                lambda row: WorkspaceView(id=row[0], name=row[1], role=row[2]),
                at=Membership.created_at,
                key=Membership.workspace_id,
            )

    async def create(self, user_id: str, name: str) -> WorkspaceView:
        """A new workspace with its owner."""
        async with self._database.session() as session:
            workspace = await add_workspace(session, name, user_id, self._now_ms())
            return WorkspaceView(id=workspace.id, name=workspace.name, role="owner")

    async def members(self, workspace_id: str, asked: Paging) -> Page[MemberView]:
        """Who is in a workspace, in the order of joining."""
        query = select(User.id, User.email, User.name, Membership.role, Membership.created_at).join(
            Membership, Membership.user_id == User.id
        )
        async with self._database.reading() as session:
            return await read_page(
                session,
                query.where(Membership.workspace_id == workspace_id),
                asked,
                lambda row: MemberView(user_id=row[0], email=row[1], name=row[2], role=row[3], since=row[4]),
                at=Membership.created_at,
                key=Membership.user_id,
            )

    async def set_role(self, workspace_id: str, user_id: str, role: Role) -> None:
        """Changes what a member may do.

        Raises:
            NotFound: no such member.
            Taken: it is the last owner.
        """
        async with self._database.session() as session:
            membership = await _locked_member(session, workspace_id, user_id)
            if membership.role == "owner" and role != "owner":
                await _check_another_owner(session, workspace_id)
            membership.role = role

    async def remove(self, workspace_id: str, user_id: str) -> None:
        """Takes a member out.

        Raises:
            NotFound: no such member.
            Taken: it is the last owner.
        """
        async with self._database.session() as session:
            membership = await _locked_member(session, workspace_id, user_id)
            if membership.role == "owner":
                await _check_another_owner(session, workspace_id)
            await session.delete(membership)

    async def invitations(self, workspace_id: str, asked: Paging) -> Page[InvitationView]:
        """The invitations that wait."""
        query = select(Invitation).where(
            Invitation.workspace_id == workspace_id,
            Invitation.accepted_at.is_(None),
            Invitation.expires_at > self._now_ms(),
        )
        async with self._database.reading() as session:
            return await read_page(
                session,
                query,
                asked,
                lambda row: InvitationView.model_validate(row[0], from_attributes=True),
                at=Invitation.created_at,
                key=Invitation.id,
            )

    async def invite(
        self, workspace_id: str, wanted: NewInvitation, invited_by: str, base_url: str
    ) -> IssuedInvitation:
        """A fresh invitation; one for the same address that waits is replaced.

        Args:
            workspace_id: where to.
            wanted: who, and as what.
            invited_by: the owner who does it.
            base_url: where people reach the dashboard.

        Raises:
            CallerError: no address.
            Taken: the person is a member already, or too many invitations are open.
        """
        email, minted, now = normal_email(wanted.email), mint(INVITATION), self._now_ms()
        async with self._database.session() as session:
            await session.get(Workspace, workspace_id, with_for_update=True)
            member = select(User.id).join(Membership, Membership.user_id == User.id)
            member = member.where(Membership.workspace_id == workspace_id, User.email == email)
            if await session.scalar(member) is not None:
                raise Taken("this person is a member already")
            waiting = (
                await session.scalars(
                    select(Invitation).where(Invitation.workspace_id == workspace_id, Invitation.accepted_at.is_(None))
                )
            ).all()
            for old in waiting:
                if old.email == email or old.expires_at <= now:
                    await session.delete(old)
            if len(waiting) >= MAX_INVITATIONS:
                raise Taken(f"{MAX_INVITATIONS} invitations of this workspace wait already")
            invitation = Invitation(
                id=new_id("inv"),
                workspace_id=workspace_id,
                email=email,
                role=wanted.role,
                token_hash=minted.token_hash,
                invited_by=invited_by,
                created_at=now,
                expires_at=now + INVITATION_MS,
            )
            session.add(invitation)
            view = InvitationView.model_validate(invitation, from_attributes=True)
            return IssuedInvitation(**view.model_dump(), url=f"{base_url}/invitations/{minted.token}")

    async def withdraw(self, workspace_id: str, invitation_id: str) -> None:
        """Takes an invitation back.

        Raises:
            NotFound: none such waits.
        """
        async with self._database.session() as session:
            invitation = await session.get(Invitation, invitation_id)
            if invitation is None or invitation.workspace_id != workspace_id or invitation.accepted_at is not None:
                raise NotFound("no such invitation")
            await session.delete(invitation)

    async def preview(self, token: str) -> InvitationPreview:
        """What an invitation's link is for.

        Raises:
            NotFound: it is none, was used or withdrawn, or has expired.
        """
        async with self._database.reading() as session:
            invitation = await self._open(session, token)
            workspace = await session.get_one(Workspace, invitation.workspace_id)
            account = await session.scalar(select(User.id).where(User.email == invitation.email))
            role: Any = invitation.role
            return InvitationPreview(
                workspace=workspace.name, email=invitation.email, role=role, has_account=account is not None
            )

    async def accept(self, token: str, user_id: str) -> Accepted:
        """A person becomes a member.

        Raises:
            NotFound: as `preview`.
            Forbidden: the invitation is for another address.
        """
        async with self._database.session() as session:
            invitation = await self._open(session, token)
            user = await session.get_one(User, user_id)
            if user.email != invitation.email:
                raise Forbidden("this invitation is for another address", code="other_address")
            return await self._join(session, invitation, user_id)

    async def accept_as_newcomer(self, token: str, name: str, password_hash: str) -> tuple[Accepted, User]:
        """An invited person gets an account with a password, and becomes a member.

        Raises:
            NotFound: as `preview`.
            Unauthorized: the address has an account: its owner signs in and accepts.
        """
        async with self._database.session() as session:
            invitation = await self._open(session, token)
            if await session.scalar(select(User.id).where(User.email == invitation.email)) is not None:
                raise Unauthorized("this address has an account; sign in, then accept")
            user = await add_user(session, invitation.email, name, self._now_ms(), password_hash=password_hash)
            return await self._join(session, invitation, user.id), user

    async def _open(self, session: AsyncSession, token: str) -> Invitation:
        query = select(Invitation).where(
            Invitation.token_hash == digest(token),
            Invitation.accepted_at.is_(None),
            Invitation.expires_at > self._now_ms(),
        )
        invitation = await session.scalar(query.with_for_update())
        if invitation is None:
            raise NotFound("this invitation was used or withdrawn, or has expired")
        return invitation

    async def _join(self, session: AsyncSession, invitation: Invitation, user_id: str) -> Accepted:
        now = self._now_ms()
        membership = await session.get(Membership, (invitation.workspace_id, user_id))
        if membership is None:
            membership = Membership(
                workspace_id=invitation.workspace_id, user_id=user_id, role=invitation.role, created_at=now
            )
            session.add(membership)
        invitation.accepted_at = now
        role: Any = membership.role
        return Accepted(workspace_id=invitation.workspace_id, role=role)


async def _locked_member(session: AsyncSession, workspace_id: str, user_id: str) -> Membership:
    """A member, while nobody else changes the members of the workspace."""
    await session.get(Workspace, workspace_id, with_for_update=True)
    membership = await session.get(Membership, (workspace_id, user_id))
    if membership is None:
        raise NotFound("no such member")
    return membership


async def _check_another_owner(session: AsyncSession, workspace_id: str) -> None:
    owners = select(func.count()).select_from(Membership)
    owners = owners.where(Membership.workspace_id == workspace_id, Membership.role == "owner")
    if (await session.scalar(owners) or 0) < 2:
        raise Taken("a workspace keeps at least one owner", code="last_owner")
