"""What a NATS user has to be allowed, and no more: one list for a runtime of a project, one for a gateway.

Rules: pure functions; a runtime reads and writes what is of its own project, and makes and deletes no stream, since
whoever may make a stream may copy any other into it. NATS has no wildcard inside a token, so the consumers of a runtime
are listed by actor type.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import product
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from zocket.ids import WHOLE, Partition, check_actor_type
from zocket.protocol import subjects

if TYPE_CHECKING:
    from collections.abc import Iterable

    from zocket.ids import Scope

_API = "$JS.API"


@dataclass(frozen=True, slots=True)
class Permissions:
    """Allow lists of one user; everything else is denied.

    Attributes:
        inbox_prefix: beginning of its private inboxes (`NATS_INBOX_PREFIX`), which no other user may read.
    """

    user: str
    inbox_prefix: str
    publish: tuple[str, ...]
    subscribe: tuple[str, ...]

    def environment(self) -> dict[str, str]:
        """What the process needs, besides the password, to be this user."""
        return {"NATS_USER": self.user, "NATS_INBOX_PREFIX": self.inbox_prefix}

    def as_json(self) -> dict[str, Any]:
        """The permissions in the words of a NATS server, and the process's environment."""
        allowed = {"publish": {"allow": list(self.publish)}, "subscribe": {"allow": list(self.subscribe)}}
        return {"user": self.user, "permissions": allowed, "environment": self.environment()}

    def user_block(self, password: str) -> str:
        """An entry of `authorization { users: [ … ] }`.

        Args:
            password: as it stands in the file: in quotes, or a `$VARIABLE` of the server's environment.
        """
        return (
            f"{{\n  user: {json.dumps(self.user)}\n  password: {password}\n  permissions: {{\n"
            f"    publish: {{ allow: [\n{_lines(self.publish)}    ] }}\n"
            f"    subscribe: {{ allow: [\n{_lines(self.subscribe)}    ] }}\n  }}\n}}\n"
        )


def runtime_permissions(scope: Scope, actor_types: Iterable[str], partitions: int = 1) -> Permissions:
    """For a runtime that serves these actor types of one project, or with others a divided one.

    Raises:
        InvalidId: an actor type is none that may be used.
    """
    workspace, project = scope.workspace_id, scope.project_id
    inbox = f"_INBOX_runtime.{workspace}.{project}"
    buckets = (subjects.owner_bucket(scope), subjects.state_bucket(scope), subjects.reminder_bucket(scope))
    streams = (subjects.INBOUND_STREAM, subjects.OUTBOUND_STREAM, subjects.DEAD_LETTER_STREAM)
    publish = [
        subjects.outbound(scope, "*"),
        subjects.gateway(scope, "*"),
        subjects.announcement(scope),
        subjects.roll_call(scope),
        f"{subjects.inbound_prefix(scope)}>",
        subjects.call_control(scope),
        subjects.dead_letter_filter(scope),
        *(f"{_API}.STREAM.INFO.{stream}" for stream in streams),
        *(f"$KV.{name}.>" for name in buckets),
    ]
    publish += [f"{_API}.STREAM.{verb}.KV_{name}" for name in buckets for verb in ("INFO", "MSG.GET")]
    publish.append(f"{_API}.DIRECT.GET.KV_{subjects.reminder_bucket(scope)}")
    parts = {WHOLE, *(Partition(number, partitions) for number in range(partitions))}
    for actor, part in product(actor_types, sorted(parts, key=attrgetter("count", "number"))):
        consumer = f"{subjects.INBOUND_STREAM}.{subjects.consumer(scope, check_actor_type(actor), part)}"
        publish += [
            f"{_API}.CONSUMER.CREATE.{consumer}.{subjects.inbound_filter(scope, actor, part)}",
            f"{_API}.CONSUMER.DELETE.{consumer}",
            f"$JS.ACK.{consumer}.>",
            f"$JS.ACK.*.*.{consumer}.>",  # of servers that put domain and account in front
        ]
    subscribe = [
        subjects.disconnected(scope),
        subjects.discovery(scope),
        subjects.announcement(scope),
        subjects.roll_call(scope),
        subjects.rewritten(scope),
        f"runtime.control.{workspace}.{project}.*",
        subjects.gateway(scope, "*"),
        subjects.call_control(scope),
        subjects.ANY_ALIVE,
        f"{inbox}.>",
    ]
    return Permissions(f"runtime-{workspace}-{project}", inbox, tuple(publish), tuple(subscribe))


def gateway_permissions() -> Permissions:
    """For gateways, which serve every project."""
    inbox = "_INBOX_gateway"
    streams = (subjects.INBOUND_STREAM, subjects.OUTBOUND_STREAM)
    publish = [
        subjects.INBOUND_SUBJECTS,
        "session.connected.*.*",
        "session.disconnected.*.*",
        "runtime.discover.*.*",
        "runtime.control.*.*.*",
        subjects.ANY_ALIVE,
        f"{_API}.CONSUMER.NAMES.{subjects.INBOUND_STREAM}",
        *(f"{_API}.STREAM.{verb}.{stream}" for stream in streams for verb in ("INFO", "CREATE")),
    ]
    subscribe = [subjects.gateway_filter("*"), subjects.ANY_SESSION, subjects.ANY_ANNOUNCEMENT, f"{inbox}.>"]
    return Permissions("gateway", inbox, tuple(publish), tuple(subscribe))


def _lines(patterns: Iterable[str]) -> str:
    return "".join(f"      {json.dumps(pattern)}\n" for pattern in patterns)
