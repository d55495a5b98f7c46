"""NATS subjects and the names of streams and consumers (spec: NATS subjects and envelopes).

Rules: the scope comes from the control plane or the settings, never from a client; an actor id enters a subject only
as its token; what a message is about is read from its envelope, and the subject must agree with it.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final

from zocket.ids import actor_id_token, check_actor_id, check_actor_type

if TYPE_CHECKING:
    from zocket.ids import Scope

INBOUND_STREAM: Final = "INBOUND"
INBOUND_SUBJECTS: Final = "inbound.>"
INBOUND_MAX_AGE_S: Final = 60.0
OUTBOUND_STREAM: Final = "OUTBOUND"
OUTBOUND_SUBJECTS: Final = "outbound.>"
OUTBOUND_MAX_AGE_S: Final = 30.0
ANY_SESSION: Final = "outbound.*.*.*"
"""What a gateway listens to for runtimes that do not batch."""
ANY_ANNOUNCEMENT: Final = "runtime.announce.*.*"


def inbound(scope: Scope, actor: str, actor_id: str) -> str:
    """Where a gateway publishes a request to one instance."""
    return f"inbound.{scope.workspace_id}.{scope.project_id}.{actor}.{actor_id_token(actor_id)}"


@lru_cache(maxsize=16_384)
def instance(actor: str, actor_id: str) -> str:
    """The two tokens of one instance as they end its inbound subject; remembered, since every call asks.

    Raises:
        InvalidId: the actor type or the actor id is none that may be used.
    """
    return f"{check_actor_type(actor)}.{actor_id_token(check_actor_id(actor_id))}"


def inbound_prefix(scope: Scope) -> str:
    """What stands in front of `instance` in an inbound subject of the project."""
    return f"inbound.{scope.workspace_id}.{scope.project_id}."


def inbound_filter(scope: Scope, actor: str) -> str:
    """All requests to one actor type."""
    return f"inbound.{scope.workspace_id}.{scope.project_id}.{actor}.>"


def consumer(scope: Scope, actor: str) -> str:
    """Durable name of a runtime's consumer (R5)."""
    return f"rt-{scope.workspace_id}-{scope.project_id}-{actor}"


def agrees(subject: str, scope: Scope, actor: str, actor_id: str) -> bool:
    """Whether an envelope's instance is the one its subject names, by canonical token or by raw id.

    Raises:
        InvalidId: the envelope's actor type or actor id is none that may be used.
    """
    prefix = inbound_prefix(scope)
    return subject == prefix + instance(actor, actor_id) or subject == f"{prefix}{actor}.{actor_id}"


def outbound(scope: Scope, session_id: str) -> str:
    """Where a runtime publishes one frame for one session."""
    return f"outbound.{scope.workspace_id}.{scope.project_id}.{session_id}"


def gateway(scope: Scope, gateway_id: str) -> str:
    """Where a runtime publishes batches for a gateway that announced itself; no stream captures it."""
    return f"gateway.{scope.workspace_id}.{scope.project_id}.{gateway_id}"


def gateway_filter(gateway_id: str) -> str:
    """All batches for one gateway."""
    return f"gateway.*.*.{gateway_id}"


def connected(scope: Scope) -> str:
    """Core NATS: a session opened."""
    return f"session.connected.{scope.workspace_id}.{scope.project_id}"


def disconnected(scope: Scope) -> str:
    """Core NATS: a session ended (R6)."""
    return f"session.disconnected.{scope.workspace_id}.{scope.project_id}"


def announcement(scope: Scope) -> str:
    """Core NATS: a runtime says which actor types it serves, in which epoch."""
    return f"runtime.announce.{scope.workspace_id}.{scope.project_id}"


def discovery(scope: Scope) -> str:
    """Core NATS: asks the project's runtime to announce itself."""
    return f"runtime.discover.{scope.workspace_id}.{scope.project_id}"


def owner_bucket(scope: Scope) -> str:
    """Key-value bucket of a project's owner record: its own, since a read names its key where no permission looks."""
    return f"zocket-owner-{scope.workspace_id}-{scope.project_id}"


def state_bucket(scope: Scope) -> str:
    """Key-value bucket of a project's durable state."""
    return f"zocket-state-{scope.workspace_id}-{scope.project_id}"


def owner_key(scope: Scope) -> str:
    """Key of a project's owner record."""
    return f"{scope.workspace_id}.{scope.project_id}"
