"""Records of the control plane: people and their proofs, workspaces, projects, deployments.

Rules: one class a table, columns only; every time is in milliseconds since the epoch; ids are random with a prefix that
says what they name; a token is only ever stored as its SHA-256. What belongs to a project goes with it (`CASCADE`).
Nothing outside this package sees a record. A change here needs a migration (`migrations/versions`); a test compares.
"""

from __future__ import annotations

import secrets
from typing import Final, Literal

from sqlalchemy import (
    JSON,
    BigInteger,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Text,
    UniqueConstraint,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

STORED: Final = "stored"
"""Status of a deployment whose bundle is here, and of which no runtime has said anything yet."""
STARTING: Final = "starting"
"""Its runtime is being started in standby."""
SMOKE: Final = "smoke"
"""Its runtime checks itself in standby."""
ACTIVE: Final = "active"
"""A runtime reported `ready`; existing peers know it as `deployed` (`lifecycle.wire_status`)."""
FAILED: Final = "failed"
"""A runtime reported `failed`; `reason` says why."""
SUPERSEDED: Final = "superseded"
"""It was active until a later one took over."""
ROLLED_BACK: Final = "rolled_back"
"""It was active until an earlier one was made active again."""

Role = Literal["owner", "developer", "viewer"]

NAMES: Final = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}
"""Names of constraints; a migration can only alter what has one."""

_HASH: Final = String(64)
_ID: Final = String(64)
_COUNTED: Final = BigInteger().with_variant(Integer, "sqlite")  # SQLite counts only an INTEGER key up


class Record(DeclarativeBase):
    """Base of every table."""

    metadata = MetaData(naming_convention=NAMES)
    type_annotation_map = {int: BigInteger()}  # noqa: RUF012 — read by SQLAlchemy as it is


# People and how they prove who they are


class User(Record):
    """A person; `email` is in lower case."""

    __tablename__ = "users"
    __table_args__ = (UniqueConstraint("oidc_issuer", "oidc_subject"),)
    id: Mapped[str] = mapped_column(_ID, primary_key=True)
    email: Mapped[str] = mapped_column(String(254), unique=True)
    name: Mapped[str] = mapped_column(String(200))
    password_hash: Mapped[str | None] = mapped_column(String(255))
    oidc_issuer: Mapped[str | None] = mapped_column(String(500))
    oidc_subject: Mapped[str | None] = mapped_column(String(255))
    is_admin: Mapped[bool]
    """May issue tokens for the installation's gateways and runtimes."""
    created_at: Mapped[int]


class WebSession(Record):
    """A browser that is signed in; `token_hash` is of its cookie."""

    __tablename__ = "web_sessions"
    token_hash: Mapped[str] = mapped_column(_HASH, primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    created_at: Mapped[int]
    last_used_at: Mapped[int]
    expires_at: Mapped[int] = mapped_column(index=True)


class SignInFlow(Record):
    """A sign-in on its way through the OpenID Connect issuer, bound to one browser by `browser_hash`."""

    __tablename__ = "sign_in_flows"
    state_hash: Mapped[str] = mapped_column(_HASH, primary_key=True)
    browser_hash: Mapped[str] = mapped_column(_HASH)
    nonce: Mapped[str] = mapped_column(String(64))
    code_verifier: Mapped[str] = mapped_column(String(128))
    next_path: Mapped[str] = mapped_column(String(2_000))
    expires_at: Mapped[int] = mapped_column(index=True)


class DeviceFlow(Record):
    """A command line that asks to be signed in; `taken_at` is set when its token was handed out."""

    __tablename__ = "device_flows"
    id: Mapped[str] = mapped_column(_ID, primary_key=True)
    device_code_hash: Mapped[str] = mapped_column(_HASH, unique=True)
    user_code: Mapped[str] = mapped_column(String(16), unique=True)
    name: Mapped[str] = mapped_column(String(100))
    address: Mapped[str] = mapped_column(String(64))
    approved_by: Mapped[str | None] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    created_at: Mapped[int]
    expires_at: Mapped[int] = mapped_column(index=True)
    taken_at: Mapped[int | None]


class CliToken(Record):
    """A command line that acts as the person who approved it."""

    __tablename__ = "cli_tokens"
    id: Mapped[str] = mapped_column(_ID, primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    name: Mapped[str] = mapped_column(String(100))
    token_hash: Mapped[str] = mapped_column(_HASH, unique=True)
    prefix: Mapped[str] = mapped_column(String(16))
    created_at: Mapped[int]
    expires_at: Mapped[int]
    last_used_at: Mapped[int | None]
    revoked_at: Mapped[int | None]


class InternalToken(Record):
    """The bearer of a gateway, or (`project_id`) of one project's runtime."""

    __tablename__ = "internal_tokens"
    id: Mapped[str] = mapped_column(_ID, primary_key=True)
    kind: Mapped[str] = mapped_column(String(16))
    project_id: Mapped[str | None] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"), index=True)
    name: Mapped[str] = mapped_column(String(100))
    token_hash: Mapped[str] = mapped_column(_HASH, unique=True)
    prefix: Mapped[str] = mapped_column(String(16))
    created_at: Mapped[int]
    last_used_at: Mapped[int | None]
    revoked_at: Mapped[int | None]


# Workspaces


class Workspace(Record):
    """A tenant."""

    __tablename__ = "workspaces"
    id: Mapped[str] = mapped_column(_ID, primary_key=True)
    name: Mapped[str] = mapped_column(String(100))
    created_at: Mapped[int]


class Membership(Record):
    """A person's role in a workspace."""

    __tablename__ = "memberships"
    workspace_id: Mapped[str] = mapped_column(ForeignKey("workspaces.id", ondelete="CASCADE"), primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True, index=True)
    role: Mapped[str] = mapped_column(String(16))
    created_at: Mapped[int]


class Invitation(Record):
    """An address that may become a member."""

    __tablename__ = "invitations"
    id: Mapped[str] = mapped_column(_ID, primary_key=True)
    workspace_id: Mapped[str] = mapped_column(ForeignKey("workspaces.id", ondelete="CASCADE"), index=True)
    email: Mapped[str] = mapped_column(String(254), index=True)
    role: Mapped[str] = mapped_column(String(16))
    token_hash: Mapped[str] = mapped_column(_HASH, unique=True)
    invited_by: Mapped[str | None] = mapped_column(ForeignKey("users.id", ondelete="SET NULL"))
    created_at: Mapped[int]
    expires_at: Mapped[int]
    accepted_at: Mapped[int | None]


# Projects


class Project(Record):
    """An app of a workspace; `domain` is the host name that its clients connect to."""

    __tablename__ = "projects"
    __table_args__ = (UniqueConstraint("workspace_id", "slug"),)
    id: Mapped[str] = mapped_column(_ID, primary_key=True)
    workspace_id: Mapped[str] = mapped_column(ForeignKey("workspaces.id"))
    name: Mapped[str] = mapped_column(String(100))
    slug: Mapped[str] = mapped_column(String(64))
    domain: Mapped[str | None] = mapped_column(String(253), unique=True)
    active_deployment_id: Mapped[str | None] = mapped_column(_ID)
    created_at: Mapped[int]


class ProjectAuth(Record):
    """How a project's clients are told apart, and what they may; a project without this record has the mode `none`."""

    __tablename__ = "project_auth_configs"
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"), primary_key=True)
    mode: Mapped[str] = mapped_column(String(16))
    secret: Mapped[str | None] = mapped_column(Text)
    jwks_url: Mapped[str | None] = mapped_column(Text)
    issuer: Mapped[str | None] = mapped_column(Text)
    audience: Mapped[str | None] = mapped_column(Text)
    origins: Mapped[list[str]] = mapped_column(JSON)
    """Pages that may connect; an empty list allows every page."""
    rate_per_s: Mapped[float | None]
    burst: Mapped[int | None]


class DeployToken(Record):
    """The bearer of a deploy pipeline; `created_by` is who issued it, while that account exists."""

    __tablename__ = "deploy_tokens"
    id: Mapped[str] = mapped_column(_ID, primary_key=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"), index=True)
    name: Mapped[str] = mapped_column(String(100))
    token_hash: Mapped[str] = mapped_column(_HASH, unique=True)
    prefix: Mapped[str] = mapped_column(String(16))
    created_by: Mapped[str | None] = mapped_column(ForeignKey("users.id", ondelete="SET NULL"))
    created_at: Mapped[int]
    last_used_at: Mapped[int | None]
    revoked_at: Mapped[int | None]


class RuntimeConfig(Record):
    """How a project's runtime is to be run; a project without this record has the defaults of the installation."""

    __tablename__ = "runtime_configs"
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"), primary_key=True)
    memory_bytes: Mapped[int | None]
    cpu_seconds_per_s: Mapped[float | None]
    options: Mapped[dict[str, str]] = mapped_column(JSON)
    """Further settings of the orchestrator, by its own names."""
    updated_at: Mapped[int]


class EnvSecret(Record):
    """A variable of a project's runtime, encrypted; nobody but that runtime ever gets its value."""

    __tablename__ = "env_secrets"
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"), primary_key=True)
    name: Mapped[str] = mapped_column(String(128), primary_key=True)
    ciphertext: Mapped[bytes] = mapped_column(LargeBinary)
    key_id: Mapped[str] = mapped_column(String(64))
    updated_at: Mapped[int]
    updated_by: Mapped[str] = mapped_column(String(254))


class Deployment(Record):
    """One version of a project and what became of it; `message` is its author's, `reason` the platform's."""

    __tablename__ = "deployments"
    __table_args__ = (UniqueConstraint("project_id", "version"),)
    id: Mapped[str] = mapped_column(_ID, primary_key=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"))
    version: Mapped[int]
    bundle_key: Mapped[str] = mapped_column(String(128), index=True)
    sha256: Mapped[str] = mapped_column(_HASH)
    size: Mapped[int]
    signature: Mapped[str | None] = mapped_column(Text)
    status: Mapped[str] = mapped_column(String(16))
    actor_types: Mapped[list[str]] = mapped_column(JSON)
    author: Mapped[str] = mapped_column(String(254))
    """An address, or the name of a deploy token, as it was then."""
    message: Mapped[str | None] = mapped_column(Text)
    reason: Mapped[str | None] = mapped_column(Text)
    contract: Mapped[bytes | None] = mapped_column(LargeBinary, deferred=True)
    """What its runtime said that clients can name; None until it did. Read only where it is asked for."""
    created_at: Mapped[int]
    updated_at: Mapped[int]


class DeploymentEvent(Record):
    """One step in the history of a deployment; `by` is a person, a token's name, or the platform's part that acted."""

    __tablename__ = "deployment_history"
    __table_args__ = (Index(None, "deployment_id", "id"),)
    id: Mapped[int] = mapped_column(_COUNTED, primary_key=True)
    deployment_id: Mapped[str] = mapped_column(ForeignKey("deployments.id", ondelete="CASCADE"))
    status: Mapped[str] = mapped_column(String(16))
    at: Mapped[int]
    by: Mapped[str] = mapped_column(String(254))
    detail: Mapped[str | None] = mapped_column(Text)


def new_id(prefix: str) -> str:
    """A fresh id such as `dpl_1f…`, 96 random bits."""
    return f"{prefix}_{secrets.token_hex(12)}"
