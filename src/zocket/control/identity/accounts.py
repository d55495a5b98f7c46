"""Accounts: who has one, and how a person gets into theirs.

Rules: an address is compared in lower case; a password says nothing about whether the account exists; an account that
was made by password belongs to the OpenID Connect identity whose issuer vouches for the same address, and to no second
one; a person without an invitation gets an account only where the installation says so.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from sqlalchemy import delete, func, select

from zocket.clock import SystemClock
from zocket.control.database import Database
from zocket.control.failures import Forbidden, Taken
from zocket.control.identity.passwords import Passwords
from zocket.control.records import CliToken, Invitation, Membership, User, WebSession, Workspace, new_id
from zocket.errors import CallerError, Unauthorized

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.ext.asyncio import AsyncSession

    from zocket.clock import Clock
    from zocket.control.identity.oidc import Person
    from zocket.settings import ControlSettings

MAX_EMAIL_CHARS: Final = 254
_EMAIL: Final = re.compile(r"[^@\s\x00-\x1f]{1,64}@[^@\s\x00-\x1f]{1,253}\Z")


def normal_email(text: str) -> str:
    """An address as it is stored.

    Raises:
        CallerError: it is no address.
    """
    email = text.strip().lower()
    if len(email) > MAX_EMAIL_CHARS or not _EMAIL.match(email):
        raise CallerError("email: expected an address such as ada@example.com")
    return email


class Accounts:
    """The accounts.

    Args:
        database: the records.
        passwords: hashes them.
        now_ms: the time of day.
        open_to_anyone: whoever the issuer knows gets an account.
    """

    def __init__(
        self, database: Database, passwords: Passwords, now_ms: Callable[[], int], *, open_to_anyone: bool = False
    ) -> None:
        self._database = database
        self._passwords = passwords
        self._now_ms = now_ms
        self._open_to_anyone = open_to_anyone

    async def exist(self) -> bool:
        """Whether there is any."""
        async with self._database.reading() as session:
            return await session.scalar(select(User.id).limit(1)) is not None

    async def read(self, user_id: str) -> User:
        """A person's record."""
        async with self._database.reading() as session:
            return await session.get_one(User, user_id)

    async def with_password(self, email: str, password: str) -> User:
        """The account that an address and a password open.

        Raises:
            Unauthorized: they open none.
        """
        async with self._database.reading() as session:
            user = await session.scalar(select(User).where(User.email == email.strip().lower()))
        right = await self._passwords.check(password, user.password_hash if user else None)
        if user is None or not right:
            raise Unauthorized("the address or the password is wrong", code="bad_credentials")
        return user

    async def change_password(self, user_id: str, current: str, new: str, *, keep: str) -> None:
        """A new password; every other browser and every command line of the account is signed out.

        Args:
            user_id: whose.
            current: the password so far.
            new: the password from now on.
            keep: hash of the session that stays.

        Raises:
            Unauthorized: the current one is wrong.
            CallerError: the new one is too short.
        """
        user = await self.read(user_id)
        if not await self._passwords.check(current, user.password_hash):
            raise Unauthorized("the current password is wrong", code="bad_credentials")
        hashed = await self._passwords.hash(new)
        async with self._database.session() as session:
            (await session.get_one(User, user_id)).password_hash = hashed
            await _sign_out_everywhere(session, user_id, self._now_ms(), keep=keep)

    async def of_issuer(self, issuer: str, person: Person) -> User:
        """The account of somebody whom the issuer knows; made where that is allowed.

        Raises:
            Forbidden: the person has none and may not have one, or it belongs to another identity.
        """
        async with self._database.session() as session:
            known = select(User).where(User.oidc_issuer == issuer, User.oidc_subject == person.subject)
            user = await session.scalar(known)
            if user is not None:
                return user
            if person.email is None or not person.email_verified:
                raise Forbidden("the issuer does not vouch for your address", code="unverified_email")
            user = await session.scalar(select(User).where(User.email == person.email))
            if user is None:
                await self._check_welcome(session, person.email)
                user = await add_user(session, person.email, person.name, self._now_ms())
                if self._open_to_anyone:
                    await add_workspace(session, f"{user.name}'s workspace"[:100], user.id, self._now_ms())
            elif user.oidc_subject is not None:
                raise Forbidden("this address belongs to another account of the issuer", code="other_identity")
            user.oidc_issuer, user.oidc_subject = issuer, person.subject
            return user

    async def _check_welcome(self, session: AsyncSession, email: str) -> None:
        if self._open_to_anyone:
            return
        invited = select(Invitation.id).where(
            Invitation.email == email, Invitation.accepted_at.is_(None), Invitation.expires_at > self._now_ms()
        )
        if await session.scalar(invited.limit(1)) is None:
            raise Forbidden("nobody has invited you to this installation", code="not_invited")


async def add_user(
    session: AsyncSession, email: str, name: str, now_ms: int, *, password_hash: str | None = None
) -> User:
    """A new account in an open transaction."""
    user = User(
        id=new_id("usr"),
        email=email,
        name=(name.replace("\0", "").strip() or email.partition("@")[0])[:200],
        password_hash=password_hash,
        is_admin=False,
        created_at=now_ms,
    )
    session.add(user)
    await session.flush()
    return user


async def add_workspace(session: AsyncSession, name: str, owner_id: str, now_ms: int) -> Workspace:
    """A new workspace with its owner in an open transaction."""
    workspace = Workspace(id=new_id("wsp"), name=name, created_at=now_ms)
    session.add(workspace)
    await session.flush()
    session.add(Membership(workspace_id=workspace.id, user_id=owner_id, role="owner", created_at=now_ms))
    return workspace


async def _sign_out_everywhere(session: AsyncSession, user_id: str, now_ms: int, *, keep: str = "") -> None:
    await session.execute(delete(WebSession).where(WebSession.user_id == user_id, WebSession.token_hash != keep))
    for token in await session.scalars(
        select(CliToken).where(CliToken.user_id == user_id, CliToken.revoked_at.is_(None))
    ):
        token.revoked_at = now_ms


async def create_admin(
    settings: ControlSettings,
    email: str,
    name: str,
    password: str,
    *,
    replace: bool = False,
    clock: Clock | None = None,
    passwords: Passwords | None = None,
) -> str:
    """Makes an administrator's account (`zocket control create-admin`); the control plane need not run.

    The first one becomes the owner of every workspace that has no member yet, or of a new one.

    Args:
        settings: which database.
        email: the address to sign in with.
        name: how the person is called.
        password: at least 12 characters.
        replace: an account of this address gets the new password and is signed out everywhere.
        clock: the machine's by default.
        passwords: hashes it; argon2 with its usual cost by default.

    Returns:
        The id of the account.

    Raises:
        CallerError: no address, or too short a password.
        Taken: the address has an account, and `replace` is not set.
        BootError: the database is of an unreleased version.
    """
    address = normal_email(email)
    hashed = await (passwords or Passwords()).hash(password)
    now_ms = int((clock or SystemClock()).wall() * 1000)
    async with Database.open(settings.database_url) as database, database.session() as session:
        user = await session.scalar(select(User).where(User.email == address))
        if user is None:
            user = await add_user(session, address, name, now_ms)
        elif not replace:
            raise Taken(f"{address} has an account already; --replace gives it this password")
        user.password_hash, user.is_admin = hashed, True
        await _sign_out_everywhere(session, user.id, now_ms)
        await _give_a_workspace(session, user, now_ms)
        return user.id


async def _give_a_workspace(session: AsyncSession, user: User, now_ms: int) -> None:
    if await session.scalar(select(Membership.user_id).where(Membership.user_id == user.id).limit(1)):
        return
    owned = select(Membership.workspace_id)
    orphans = (await session.scalars(select(Workspace.id).where(Workspace.id.not_in(owned)))).all()
    for workspace_id in orphans:
        session.add(Membership(workspace_id=workspace_id, user_id=user.id, role="owner", created_at=now_ms))
    if not orphans and await session.scalar(select(func.count()).select_from(Workspace)) == 0:
        await add_workspace(session, "Main", user.id, now_ms)
    elif not orphans:
        await add_workspace(session, f"{user.name}'s workspace"[:100], user.id, now_ms)
