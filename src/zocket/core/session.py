"""Who calls: a client's session, or somebody inside the platform.

Rules: a session is what the gateway vouches for, its metadata aside; id and user never change, metadata and socket do
when the client resumes the session on another socket, claims also when its token is refreshed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime


@dataclass(frozen=True, slots=True, eq=False)
class Session:
    """One socket of a client, and those on which the client resumes it.

    Attributes:
        id: known to the client as `clientId`.
        user_id: the token's subject, or None for somebody unknown.
        claims: the token's claims; empty if there is none.
        metadata: what the client says of itself (`connect(url, metadata=…)`): anybody may say anything.
        socket: names the present socket like no other; "" stands for `id`, which names the first one.
    """

    id: str
    user_id: str | None = None
    claims: Mapping[str, Any] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)
    socket: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who caused the turn in progress.

    Attributes:
        kind: `client` with a session; `server` for a call from this project's own code; `actor` for a call from another
            actor; `instance` for the hooks that nobody calls (`on_activate`, `on_deactivate`); `timer` for a timer, a
            reminder or a `@cron`.
        actor: wire name of the actor type that calls; "" unless the kind is `actor`.
        actor_id: which instance of it.
        chain: the instances whose turns wait for this one, as (actor, id); the last one calls. Empty for a one-way
            call.
        due: of a `timer`, the time of day that this run was for, in UTC.
    """

    kind: Literal["client", "server", "actor", "instance", "timer"]
    session: Session | None = None
    actor: str = ""
    actor_id: str = ""
    chain: tuple[tuple[str, str], ...] = ()
    due: datetime | None = None


SERVER = Caller("server")
INSTANCE = Caller("instance")
