"""What an orchestrator does: it keeps runtimes running, one a deployment, and tells how they are.

Rules: whatever it starts is in standby and takes no call before the control plane says so, so starting is never
dangerous; a runtime that ends is started again with backoff until `stop`; starting what runs already changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Mapping

    from zocket.control.deployment_schemas import LogLine


@dataclass(frozen=True, slots=True)
class Launch:
    """One runtime that should run.

    Attributes:
        environ: what the platform tells it (deployment, scope, addresses, token, standby).
        variables: the project's own environment; secret.
        memory_bytes: its limit, or None for the installation's.
    """

    workspace_id: str
    project_id: str
    deployment_id: str
    version: int
    environ: Mapping[str, str] = field(repr=False)
    variables: Mapping[str, str] = field(default_factory=dict, repr=False)
    memory_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Exit:
    """How a runtime ended; `code` is negative for a signal, None if nobody knows."""

    code: int | None
    at_ms: int
    message: str


@dataclass(frozen=True, slots=True)
class Observation:
    """How a runtime is.

    Attributes:
        state: `waiting` is between an end and the next start, `crash_loop` the same after several quick ends.
        since_ms: when it got into this state.
        restarts: how often it was started again.
        last_exit: of the process before.
        address: base URL of its health port, where this process can reach it.
    """

    state: Literal["starting", "running", "waiting", "crash_loop"]
    since_ms: int
    restarts: int = 0
    pid: int | None = None
    last_exit: Exit | None = None
    address: str | None = None


class Watcher(Protocol):
    """Is told what happens to runtimes."""

    def changed(self, deployment_id: str) -> None:
        """Its observation is another one now."""


class Orchestrator(Protocol):
    """Keeps runtimes running; opened for the time of a block by its own `open`."""

    async def start(self, launch: Launch) -> None:
        """The runtime runs, or will soon.

        Raises:
            Unavailable: it cannot be started; the message says why.
        """

    async def stop(self, deployment_id: str) -> None:
        """It runs no more when this returns; one that does not run is no error.

        Raises:
            Unavailable: nobody can tell.
        """

    async def sweep(self, keep: Collection[str]) -> None:
        """Stops whatever an earlier control plane left running and is not to be kept.

        Raises:
            Unavailable: nobody can tell.
        """

    def observe(self, deployment_id: str) -> Observation | None:
        """How it is; None if it does not run, or nobody can tell."""

    def watch(self, watcher: Watcher) -> None:
        """Who is told of changes; set once, before anything is started."""

    def logs(self, deployment_id: str, *, lines: int, follow: bool) -> AsyncIterator[LogLine]:
        """The last lines of its output, and with `follow` those to come until it is stopped."""
