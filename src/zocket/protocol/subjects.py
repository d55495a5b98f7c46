"""NATS subjects and the names of streams and consumers (spec: NATS subjects and envelopes).

Rules: the scope comes from the control plane or the settings, never from a client; an actor id enters a subject only
as its token; what a message is about is read from its envelope, and the subject must agree with it.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final

from zocket.ids import WHOLE, actor_id_token, check_actor_id, check_actor_type

if TYPE_CHECKING:
    from zocket.ids import Partition, Scope

INBOUND_STREAM: Final = "INBOUND"
INBOUND_SUBJECTS: Final = "inbound.>"
INBOUND_MAX_AGE_S: Final = 60.0
OUTBOUND_STREAM: Final = "OUTBOUND"
OUTBOUND_SUBJECTS: Final = "outbound.>"
OUTBOUND_MAX_AGE_S: Final = 30.0
DEAD_LETTER_STREAM: Final = "DEADLETTER"
DEAD_LETTER_SUBJECTS: Final = "dead.>"
DEAD_LETTER_MAX_AGE_S: Final = 14 * 24 * 3600.0
ANY_SESSION: Final = "outbound.*.*.*"
"""What a gateway listens to for runtimes that do not batch."""
ANY_ANNOUNCEMENT: Final = "runtime.announce.*.*"
ANY_ALIVE: Final = "gateway.alive.*"
"""What a runtime listens to for the gateways that are there."""
_FNV_OFFSET: Final = 0x811C9DC5
_FNV_PRIME: Final = 0x01000193


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


def inbound_filter(scope: Scope, actor: str, partition: Partition = WHOLE) -> str:
    """All requests to one actor type, or those to the instances of one partition."""
    prefix = f"{inbound_prefix(scope)}{actor}"
    return f"{prefix}.>" if partition.count == 1 else f"{prefix}.{partition.number}.*"


def consumer(scope: Scope, actor: str, partition: Partition = WHOLE) -> str:
    """Durable name of a runtime's consumer (R5); in a divided project with the partition's number."""
    name = f"rt-{scope.workspace_id}-{scope.project_id}-{actor}"
    return name if partition.count == 1 else f"{name}-{partition.number}"


def partition_of(actor: str, token: str, count: int) -> int:
    """The number of the partition that an instance falls into, as a NATS server computes it.

    It is FNV-1a (32 bits) over both tokens, modulo the count: `partition(N,3,4)` of a subject transform.
    """
    value = _FNV_OFFSET
    for byte in f"{actor}{token}".encode():
        value = (value ^ byte) * _FNV_PRIME & 0xFFFFFFFF
    return value % count


@lru_cache(maxsize=16_384)
def partition_of_instance(actor: str, actor_id: str, count: int) -> int:
    """As `partition_of`, for an actor id."""
    return partition_of(actor, actor_id_token(actor_id), count)


def with_partition(subject: str, count: int) -> str:
    """A request's subject as a divided stream stores it: the partition's number stands before the last token."""
    parts = subject.split(".")
    if count == 1 or len(parts) != 5 or parts[0] != "inbound":
        return subject
    number = partition_of(parts[3], parts[4], count)
    return ".".join((*parts[:4], str(number), parts[4]))


def agrees(subject: str, scope: Scope, actor: str, actor_id: str, partitions: int = 1) -> bool:
    """Whether an envelope's instance is the one its subject names, by canonical token or by raw id.

    Args:
        subject: as the stream has it.
        scope: of the envelope.
        actor: of the envelope.
        actor_id: of the envelope.
        partitions: that the stream puts into its subjects; a raw id counts only where there is one.

    Raises:
        InvalidId: the envelope's actor type or actor id is none that may be used.
    """
    prefix = inbound_prefix(scope)
    canonical = prefix + instance(actor, actor_id)
    if partitions > 1:
        return subject == with_partition(canonical, partitions)
    return subject == canonical or subject == f"{prefix}{actor}.{actor_id}"


def agrees_in_burst(subject: str, scope: Scope, actor: str, actor_id: str, partitions: int = 1) -> bool:
    """As `agrees`, for one envelope of several: its instance and that of the subject are of one type and partition."""
    canonical = with_partition(inbound_prefix(scope) + instance(actor, actor_id), partitions)
    return subject.rpartition(".")[0] == canonical.rpartition(".")[0]


def outbound(scope: Scope, session_id: str) -> str:
    """Where a runtime publishes one frame for one session."""
    return f"outbound.{scope.workspace_id}.{scope.project_id}.{session_id}"


def gateway(scope: Scope, gateway_id: str) -> str:
    """Where a runtime publishes batches for a gateway that announced itself; no stream captures it."""
    return f"gateway.{scope.workspace_id}.{scope.project_id}.{gateway_id}"


def gateway_filter(gateway_id: str) -> str:
    """All batches for one gateway."""
    return f"gateway.*.*.{gateway_id}"


def alive(gateway_id: str) -> str:
    """Core NATS: a gateway that takes batches is there; for the runtimes of all projects."""
    return f"gateway.alive.{gateway_id}"


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


def roll_call(scope: Scope) -> str:
    """Core NATS: the replicas of a divided project say that they are there, and what they serve."""
    return f"runtime.replica.{scope.workspace_id}.{scope.project_id}"


def control(scope: Scope, partition: int) -> str:
    """Core NATS: what a gateway says of calls under way to the owner of a partition (0 of an undivided project)."""
    return f"runtime.control.{scope.workspace_id}.{scope.project_id}.{partition}"


def rewritten(scope: Scope) -> str:
    """Core NATS: tells the project's runtimes that somebody else has written the record of an instance."""
    return f"runtime.rewritten.{scope.workspace_id}.{scope.project_id}"


def call_control(scope: Scope) -> str:
    """Core NATS: what a runtime of the project says of its calls (`envelopes.CallControl`)."""
    return f"runtime.cancelled.{scope.workspace_id}.{scope.project_id}"


def owner_bucket(scope: Scope) -> str:
    """Key-value bucket of a project's owner records and marks.

    It is the project's own, since a read names its key where no permission looks.
    """
    return f"zocket-owner-{scope.workspace_id}-{scope.project_id}"


def state_bucket(scope: Scope) -> str:
    """Key-value bucket of a project's durable state."""
    return f"zocket-state-{scope.workspace_id}-{scope.project_id}"


def reminder_bucket(scope: Scope) -> str:
    """Key-value bucket of the alarms of a project's reminders."""
    return f"zocket-reminders-{scope.workspace_id}-{scope.project_id}"


def owner_key(scope: Scope, partition: Partition = WHOLE) -> str:
    """Key of the owner record of a project, or of one of its partitions."""
    key = f"{scope.workspace_id}.{scope.project_id}"
    return key if partition.count == 1 else f"{key}.{partition.number}"


def marks_key(scope: Scope, partition: Partition = WHOLE) -> str:
    """Key of the marks of begun messages, beside the owner record."""
    return f"{owner_key(scope, partition)}.begun"


def dead_letter(scope: Scope, actor: str, actor_id: str) -> str:
    """Where a runtime publishes a message that it has given up."""
    return f"dead.{scope.workspace_id}.{scope.project_id}.{instance(actor, actor_id)}"


def dead_letter_filter(scope: Scope) -> str:
    """All dead letters of a project."""
    return f"dead.{scope.workspace_id}.{scope.project_id}.>"
