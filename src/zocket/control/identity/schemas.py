"""Bodies of the calls about people: camelCase outside, snake_case here.

Rules: what a person or tool sends refuses fields it does not know; every text has a length that its column holds.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from zocket.control.records import Role
from zocket.control.schemas import Body, Configuration

Name = Annotated[str, Field(min_length=1, max_length=100, pattern=r"\S")]
Email = Annotated[str, Field(min_length=3, max_length=254, json_schema_extra={"format": "email"})]
Password = Annotated[str, Field(min_length=1, max_length=256)]


class UserView(Body):
    """A person."""

    id: str
    email: str
    name: str
    is_admin: bool


class SessionView(Body):
    """Who is signed in, and how one can sign in here; `setup`: there is no account yet."""

    user: UserView | None
    csrf: str | None
    methods: list[Literal["password", "oidc"]]
    setup: bool


class Login(Configuration):
    """An address and its password."""

    email: str = Field(max_length=254)
    password: Password = Field(repr=False)


class PasswordChange(Configuration):
    """The password so far, and from now on."""

    current: Password = Field(repr=False)
    new: Password = Field(repr=False)


class SignedIn(Body):
    """Who is signed in now, and what the page sends as X-Zocket-CSRF."""

    user: UserView
    csrf: str


class DeviceStart(Configuration):
    """How the machine that wants to be signed in calls itself."""

    name: Name = "command line"


class DeviceStarted(Body):
    """What a command line shows (`userCode`, `verificationUri…`) and asks with (`deviceCode`)."""

    device_code: str = Field(repr=False)
    user_code: str
    verification_uri: str
    verification_uri_complete: str
    interval_seconds: int
    expires_in_seconds: int


class DeviceProgress(Body):
    """How far a flow is; `cliToken` with the first `approved` only, afterwards the flow is `not_found`."""

    status: Literal["pending", "approved", "not_found"]
    user_code: str | None = None
    cli_token: str | None = Field(default=None, repr=False)


class UserCode(Configuration):
    """What a person reads off their terminal."""

    user_code: str = Field(min_length=1, max_length=32)


class DeviceView(Body):
    """A command line that waits; its `deviceCode` here approves it and cannot fetch its token."""

    device_code: str
    user_code: str
    name: str
    address: str
    requested_at: int


class TokenView(Body):
    """A token as a list shows it: `prefix` is how it begins; times in milliseconds since the epoch."""

    id: str
    name: str
    prefix: str
    created_at: int
    last_used_at: int | None
    revoked_at: int | None


class CliTokenView(TokenView):
    """A command line of one's own."""

    expires_at: int


class InternalTokenView(TokenView):
    """A bearer of a gateway, or of one project's runtime."""

    kind: Literal["gateway", "runtime"]
    project_id: str | None


class NewToken(Configuration):
    """How a token is called in lists."""

    name: Name


class NewInternalToken(NewToken):
    """`projectId` belongs to `runtime` and to it alone."""

    kind: Literal["gateway", "runtime"]
    project_id: str | None = Field(default=None, max_length=64)


class IssuedToken(Body):
    """A fresh token; `token` is never shown again."""

    id: str
    name: str
    prefix: str
    token: str = Field(repr=False)


class NewWorkspace(Configuration):
    """How a workspace is called."""

    name: Name


class WorkspaceView(Body):
    """A workspace, and one's role in it."""

    id: str
    name: str
    role: Role


class MemberView(Body):
    """A person in a workspace."""

    user_id: str
    email: str
    name: str
    role: Role
    since: int


class RoleChange(Configuration):
    """A person's role from now on."""

    role: Role


class NewInvitation(Configuration):
    """Who is to become a member."""

    email: Email
    role: Role = "developer"


class InvitationView(Body):
    """An invitation that waits."""

    id: str
    email: str
    role: Role
    created_at: int
    expires_at: int


class IssuedInvitation(InvitationView):
    """A fresh one; `url` is never shown again."""

    url: str = Field(repr=False)


class InvitationPreview(Body):
    """What somebody who has the link sees: `hasAccount` says whether they sign in, or choose a password."""

    workspace: str
    email: str
    role: Role
    has_account: bool


class Acceptance(Configuration):
    """Of somebody without an account, where people sign in by password: the one they want."""

    name: str = Field(default="", max_length=100)
    password: Password | None = Field(default=None, repr=False)


class Accepted(Body):
    """Where one is a member now."""

    workspace_id: str
    role: Role
