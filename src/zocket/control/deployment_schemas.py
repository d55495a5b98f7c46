"""Bodies of the calls about deployments, their runtimes and their environment."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from zocket.control.lifecycle import Status
from zocket.control.schemas import Body, Configuration


class HistoryEntry(Body):
    """One step: what the deployment was from then on, who did it, and what was said about it."""

    status: Status
    at: int
    by: str
    detail: str | None


class DeploymentView(Body):
    """A deployment.

    `message` is its author's, `reason` the platform's or the runtime's own last word about a failure; `active` says
    whether it is the one that serves; `rollback` whether its bundle is still kept.
    """

    id: str
    project_id: str
    version: int
    author: str
    message: str | None
    status: Status
    active: bool
    reason: str | None
    actor_types: list[str]
    sha256: str
    size: int
    signed: bool
    rollback: bool
    created_at: int
    updated_at: int
    history: list[HistoryEntry]


class RollbackTarget(Configuration):
    """Which deployment is to serve again; the one that served before if it is left out."""

    deployment_id: str | None = Field(default=None, max_length=64)


class LastExit(Body):
    """How a runtime's process ended the last time; `code` is negative for a signal."""

    code: int | None
    at: int
    message: str


class RuntimeView(Body):
    """The runtime of the active deployment, as the orchestrator sees it.

    `unknown` where somebody else runs it, `stopped` where there is none.
    """

    deployment_id: str | None
    state: Literal["starting", "running", "waiting", "crash_loop", "stopped", "unknown"]
    pid: int | None = None
    since: int | None = None
    restarts: int = 0
    last_exit: LastExit | None = None


class Counters(Body):
    """Live counts of a runtime; rates over the last seconds, null before there are two readings."""

    sessions: int
    instances: int
    calls: int
    errors: int
    calls_per_s: float | None
    errors_per_s: float | None


class StatusView(Body):
    """How a project's runtime is doing; `counters` is null where it cannot be asked."""

    runtime: RuntimeView
    counters: Counters | None


class NewValue(Configuration):
    """The value of a variable; it is never shown again."""

    value: Annotated[str, Field(max_length=32_768, repr=False)]


class VariableView(Body):
    """A variable of a project's runtime, without its value."""

    name: str
    updated_at: int
    updated_by: str


class VariableChange(Body):
    """What a change of the environment led to: the deployment that brings it, null before the first deployment."""

    name: str
    deployment: DeploymentView | None


class RuntimeOptions(Configuration):
    """How a project's runtime is run, and who may sign its bundles.

    `signingKey` is an Ed25519 public key, 32 bytes in base64: with it, only bundles that it signed are taken.
    """

    memory_bytes: int | None = Field(default=None, ge=64 * 1024**2, le=2**50)
    signing_key: str | None = Field(default=None, max_length=100)


class LogLine(Body):
    """One line of a runtime's output; `at` in milliseconds since the epoch."""

    at: int
    stream: Literal["stdout", "stderr", "platform"]
    line: str
