"""Bodies of the calls about projects and how their clients are told apart."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from zocket.control.identity.schemas import Name
from zocket.control.schemas import AuthConfig, AuthMode, Body, Configuration, SessionLimits

Slug = Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$")]
Domain = Annotated[str, Field(min_length=1, max_length=253)]


class NewProject(Configuration):
    """A project to be; without `slug` it is made from the name, without `workspaceId` it goes into one's only one."""

    name: Name
    slug: Slug | None = None
    workspace_id: str | None = Field(default=None, max_length=64)


class ProjectChange(Configuration):
    """What is to be changed; what is left out stays, and a `domain` of null takes it away."""

    name: Name | None = None
    slug: Slug | None = None
    domain: Domain | None = None


class ProjectView(Body):
    """A project.

    `url` is the address that its clients connect to, `activeDeployment` the id of what serves them, or null; `status`
    is `empty` before the first deployment, then `deploying`, `active`, or `failed` if none ever became active.
    """

    id: str
    workspace_id: str
    name: str
    slug: str
    domain: str | None
    url: str | None
    status: Literal["empty", "deploying", "active", "failed"]
    active_deployment: str | None
    created_at: int


class CreatedProject(ProjectView):
    """A fresh project; its first deploy token is never shown again."""

    deploy_token: str = Field(repr=False)


class AuthView(Body):
    """How a project's clients are told apart; the secret itself is never read back."""

    mode: AuthMode
    has_secret: bool
    jwks_url: str | None
    issuer: str | None
    audience: str | None
    origins: list[str]
    limits: SessionLimits


class NewAuth(AuthConfig):
    """The whole configuration; a `secret` that is left out stays as it is, an empty `origins` allows every page."""

    secret: str | None = Field(default=None, max_length=4_096, repr=False)
    jwks_url: str | None = Field(default=None, max_length=2_000)
    issuer: str | None = Field(default=None, max_length=500)
    audience: str | None = Field(default=None, max_length=500)
    origins: list[Annotated[str, Field(max_length=300)]] = Field(default=[], max_length=50)
    limits: SessionLimits = SessionLimits()


class Trial(Configuration):
    """A client's token to be tried."""

    token: str | None = Field(default=None, max_length=20_000, repr=False)


class TrialResult(Body):
    """Whether the token opens a socket, as whom, and if not, why."""

    ok: bool
    user_id: str | None = None
    claims: dict[str, Any] | None = None
    error: str | None = None
    code: str | None = None
