"""Bodies of the HTTP API: camelCase outside, snake_case here.

Rules: a body that comes from an existing peer ignores fields it does not know; a configuration refuses them.
"""

from __future__ import annotations

from typing import Any, Final, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator
from pydantic.alias_generators import to_camel

from zocket.errors import InvalidFrame

AuthMode = Literal["none", "jwt-secret", "jwt-jwks"]

MIN_SECRET_BYTES: Final = 32
"""Shortest secret of `jwt-secret`: RFC 7518 section 3.2 wants as many bits as the hash has."""


class Body(BaseModel):
    """Base of every body."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, frozen=True)

    @field_validator("*", mode="after")
    @classmethod
    def _storable(cls, value: object) -> object:
        """PostgreSQL stores no NUL in a text."""
        if isinstance(value, str) and "\0" in value:
            raise ValueError("a text may not contain NUL")
        return value


class Configuration(Body):
    """Base of what somebody writes by hand: a misspelt field is an error."""

    model_config = ConfigDict(extra="forbid")


class AuthConfig(Configuration):
    """How a project's clients are told apart."""

    mode: AuthMode = "none"
    secret: str | None = Field(default=None, repr=False)
    jwks_url: str | None = None
    issuer: str | None = None
    audience: str | None = None

    def check(self) -> None:
        """Refuses a configuration that could let nobody, or anybody, in.

        Raises:
            InvalidFrame: the field that the mode needs is missing or unusable.
        """
        if self.mode == "jwt-secret" and len((self.secret or "").encode()) < MIN_SECRET_BYTES:
            raise InvalidFrame(f"auth.secret: jwt-secret needs a secret of at least {MIN_SECRET_BYTES} bytes")
        if self.mode == "jwt-jwks":
            url = urlsplit(self.jwks_url or "")
            if url.scheme != "https" or not url.hostname or url.username is not None:
                raise InvalidFrame("auth.jwksUrl: jwt-jwks needs an https URL without a user name in it")


class ProjectConfig(Configuration):
    """What a project is told when it is written; the same again changes nothing."""

    workspace_id: str
    slug: str
    domain: str | None = None
    auth: AuthConfig = AuthConfig()


class Report(Body):
    """What a runtime says about its boot; `smoke` and `standby` only come from one that boots in standby."""

    deployment_id: str
    status: Literal["ready", "failed", "smoke", "standby"]
    actor_types: list[str] = []
    message: str | None = None


class Activation(Body):
    """The word to a runtime: take over, end, or ask again; `turn` is sent back as `since` to hear the next one."""

    deployment_id: str
    action: Literal["wait", "activate", "stop"]
    turn: int


class Knock(Body):
    """Who wants to open a socket: the Host header and the token, if any."""

    host: str
    token: str | None = Field(default=None, repr=False)


class SessionLimits(Configuration):
    """What one client session may do: so many messages a second, and so many at once (by default the gateway's own)."""

    rate_per_s: float | None = Field(default=None, gt=0, le=100_000)
    burst: int | None = Field(default=None, ge=1, le=1_000_000)


class Authorized(Body):
    """Which project the socket belongs to, and who the client is there.

    `origins` and `limits` are there only if the project has set them: additions to the contract, which an older
    gateway ignores.
    """

    workspace_id: str
    project_id: str
    user_id: str | None
    claims: dict[str, Any] | None
    origins: list[str] | None = None
    limits: SessionLimits | None = None


class ActiveBundle(Body):
    """What a runtime loads; the file at `url` has exactly this checksum and size."""

    deployment_id: str
    url: str
    sha256: str
    size: int


class UploadView(Body):
    """A deployment as runtimes and `zocket dev` know it; times in milliseconds since the epoch."""

    deployment_id: str
    version: int
    sha256: str
    size: int
    status: str
    active: bool
    actor_types: list[str]
    message: str | None
    created_at: int
    updated_at: int


class Done(Body):
    """It is done."""

    ok: bool = True


class Failure(Body):
    """Every error of this API; `request_id` finds the log line."""

    error: str
    code: str
    request_id: str
