"""What travels between gateway and runtime: envelopes around frames (spec: NATS subjects and envelopes).

Rules: the frame inside is spliced, never decoded and encoded again; fields that are ours (`requestId`, `gateway`,
`credits`, `deliveries`) are additions that an existing peer ignores. The addition `gateway` in an inbound envelope
announces a gateway that takes batches: everything for its sessions then goes to `gateway.{ws}.{proj}.{gatewayId}`
instead of one message a session. Such a gateway also says that it is there (`subjects.alive`). The addition `credits`
announces one that tells how far the chunks of streams have come (`Control`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from zocket.protocol.frames import Request

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from zocket.ids import Scope

_encode: Final = msgspec.json.Encoder().encode


class WireScope(msgspec.Struct, rename="camel", frozen=True, gc=False):
    """`scope` of an envelope."""

    workspace_id: str
    project_id: str


class CalledBy(msgspec.Struct, rename="camel", omit_defaults=True, gc=False):
    """Who of a project's own runtimes has sent an envelope, and for whom.

    Attributes:
        actor, actor_id: the instance that calls; "" for server code.
        chain: the instances whose turns wait, the caller last; empty for a one-way call.
        timeout_ms: how long the answer is waited for; 0 for a one-way call, which gets none.
    """

    actor: str = ""
    actor_id: str = ""
    chain: list[tuple[str, str]] = []
    timeout_ms: int = 0


class Inbound(msgspec.Struct, rename="camel", gc=False):
    """A request on its way to the runtime; `claims` is kept as JSON until a session needs it.

    With a `caller` no client sends it but a runtime: `gateway` names that one, `session_id` the call.
    `refreshes` counts the tokens that a session had after its first: with a higher number the claims are new.
    `metadata` is what its client says of itself.

    `session_id` names the socket. With `resumes` it goes on with the session of an earlier one, which has that id;
    `socket` is its number among the sockets of the session.
    """

    scope: WireScope
    session_id: str
    message: Request
    user_id: str | None = None
    claims: msgspec.Raw = msgspec.Raw(b"null")
    request_id: str | None = None
    gateway: str | None = None
    credits: bool = False
    caller: CalledBy | None = None
    refreshes: int = 0
    metadata: msgspec.Raw = msgspec.Raw(b"null")
    resumes: str | None = None
    socket: int = 0


MAX_PARTS: Final = 256
"""Requests in one burst."""


class Outbound(msgspec.Struct, rename="camel", gc=False):
    """One frame on its way to one session."""

    scope: WireScope
    session_id: str
    message: msgspec.Raw


class Delivery(msgspec.Struct, rename="camel", gc=False):
    """One frame for several sessions of one gateway.

    `kept` says that it counts also from a runtime that is superseded, `close` that the only session's socket is to be
    closed after it.
    """

    sessions: list[str]
    message: msgspec.Raw
    kept: bool = False
    close: bool = False


class Batch(msgspec.Struct, rename="camel", gc=False):
    """Frames for the sessions of one gateway, in the order they were made; `epoch` is the runtime's.

    `lapsed` says that the runtime had taken the gateway for dead: its sessions have lost their subscriptions.
    """

    scope: WireScope
    deliveries: list[Delivery]
    epoch: str | None = None
    lapsed: bool = False


class SessionConnected(msgspec.Struct, rename="camel"):
    """A session opened; `connected_at` in milliseconds since the epoch."""

    scope: WireScope
    session_id: str
    user_id: str | None
    connected_at: int


class NextSocket(msgspec.Struct, rename="camel", omit_defaults=True):
    """The socket at which a session goes on; fields as of `Inbound`."""

    session_id: str
    socket: int
    gateway: str
    user_id: str | None = None
    claims: msgspec.Raw = msgspec.Raw(b"null")
    metadata: msgspec.Raw = msgspec.Raw(b"null")


class SessionDisconnected(msgspec.Struct, rename="camel", omit_defaults=True):
    """The socket `session_id` is gone, and its session with it; `disconnected_at` in milliseconds since the epoch.

    `dropped` says that its client did not say goodbye, and may go on with the session at another socket; `next` that
    it does. `resumes` and `socket` are as of `Inbound`.
    """

    scope: WireScope
    session_id: str
    disconnected_at: int = 0
    dropped: bool = False
    resumes: str | None = None
    socket: int = 0
    next: NextSocket | None = None


class Announcement(msgspec.Struct, rename="camel", omit_defaults=True):
    """A runtime says that it serves a project now; another `epoch` means that it has lost all subscriptions.

    `inbound` names the life of the stream of requests that it reads: one that a gateway does not know was made anew,
    and what lay in the old one is lost. In a divided project the epoch is that of one partition of `partitions`.
    `bursts` says that it takes several envelopes to an instance in one message, `mixed` that they may be to several
    instances of a type which the stream has in one of so many partitions (0: to one instance only), `controls` that it
    hears what gateways say of calls under way (`Control`), `grace` that an actor of it has a grace for sessions that
    were dropped. `rank` is the revision of its owner record: of two runtimes that read the same stream the one with the
    higher rank came later; 0 where nothing is known.
    """

    scope: WireScope
    epoch: str
    actor_types: list[str]
    process: str = ""
    inbound: str = ""
    partition: int = 0
    partitions: int = 1
    bursts: bool = False
    rank: int = 0
    controls: bool = False
    grace: bool = False
    mixed: int = 0


class RollCall(msgspec.Struct, rename="camel", omit_defaults=True):
    """A replica of a divided project says that it is there.

    Attributes:
        replica: names this life of its process.
        generation: which deployment it is of, as the owner record of the project says.
        held: numbers of the partitions that it serves, or is taking.
        leaving: it takes no more partitions, and releases those it has.
        asks: it wants to hear from the others at once; nothing is released to it until it says that again without.
    """

    scope: WireScope
    replica: str
    generation: str
    held: list[int] = []
    leaving: bool = False
    asks: bool = False


class Control(msgspec.Struct, rename="camel", omit_defaults=True):
    """A gateway says that the caller of a call has cancelled it; `request_id` as in the call's envelope.

    With `received` the call goes on: its gateway has passed its chunks on up to that number.
    """

    scope: WireScope
    session_id: str
    request_id: str
    actor: str
    actor_id: str
    received: int = 0


class CallControl(msgspec.Struct, rename="camel", omit_defaults=True):
    """A runtime waits for the answer of its call no longer; both names are those of the envelope.

    With `received` the call goes on: its chunks have been taken up to that number.
    """

    gateway: str
    session_id: str
    received: int = 0


class Rewritten(msgspec.Struct, rename="camel"):
    """The record of a durable instance was written or deleted by somebody who is not its runtime."""

    actor: str
    actor_id: str


decode_inbound: Final = msgspec.json.Decoder(Inbound).decode
decode_outbound: Final = msgspec.json.Decoder(Outbound).decode
decode_batch: Final = msgspec.json.Decoder(Batch).decode
decode_connected: Final = msgspec.json.Decoder(SessionConnected).decode
decode_disconnected: Final = msgspec.json.Decoder(SessionDisconnected).decode
decode_announcement: Final = msgspec.json.Decoder(Announcement).decode
decode_roll_call: Final = msgspec.json.Decoder(RollCall).decode
decode_control: Final = msgspec.json.Decoder(Control).decode
decode_call_control: Final = msgspec.json.Decoder(CallControl).decode
decode_rewritten: Final = msgspec.json.Decoder(Rewritten).decode
encode: Final = msgspec.json.Encoder().encode
"""The JSON of one of the small records above."""


def wire_scope(scope: Scope) -> WireScope:
    """The scope as it stands in an envelope."""
    return WireScope(scope.workspace_id, scope.project_id)


def inbound_head(
    scope: Scope,
    session_id: str,
    user_id: str | None,
    claims: bytes,
    gateway: str | None,
    request_prefix: str,
    refreshes: int = 0,
    metadata: bytes = b"",
    resumes: tuple[str, int] | None = None,
) -> bytes:
    """Everything of a session's inbound envelopes in front of the request's number; made once for each token.

    `resumes` has `resumes` and `socket` of `Inbound`. `claims` is JSON, and so is `metadata` if there is any;
    `request_prefix`, with which the request ids begin, is plain ASCII without quotes.
    """
    more = b"" if gateway is None else b'"gateway":%b,"credits":true,' % _encode(gateway)
    if refreshes:
        more += b'"refreshes":%d,' % refreshes
    if metadata:
        more += b'"metadata":%b,' % metadata
    if resumes is not None:
        more += b'"resumes":%b,"socket":%d,' % (_encode(resumes[0]), resumes[1])
    return b'{"scope":%b,"sessionId":%b,"userId":%b,"claims":%b,%b"requestId":"%b' % (
        _encode(wire_scope(scope)),
        _encode(session_id),
        _encode(user_id),
        claims,
        more,
        request_prefix.encode(),
    )


def inbound(head: bytes, number: int, frame: bytes) -> bytes:
    """One inbound envelope; `number` ends its request id."""
    return b'%b%d","message":%b}' % (head, number, frame)


def call(
    scope: WireScope,
    runtime: str,
    call_id: str,
    request_id: str,
    caller: CalledBy,
    frame: bytes,
    *,
    takes_chunks: bool = False,
) -> bytes:
    """The inbound envelope of a call that a runtime makes; answers go to `runtime` as to a gateway."""
    return b'{"scope":%b,"sessionId":%b,"gateway":%b,%b"requestId":%b,"caller":%b,"message":%b}' % (
        _encode(scope),
        _encode(call_id),
        _encode(runtime),
        b'"credits":true,' if takes_chunks else b"",
        _encode(request_id),
        _encode(caller),
        frame,
    )


def burst(parts: Iterable[bytes]) -> bytes:
    """Several inbound envelopes to one instance in one message, in their order."""
    return b"[" + b",".join(parts) + b"]"


def is_burst(payload: bytes) -> bool:
    """Whether a message holds several envelopes."""
    return payload.startswith(b"[")


def outbound_head(scope: Scope, session_id: str) -> bytes:
    """Everything of a session's outbound envelopes in front of the frame; made once a session."""
    return b'{"scope":%b,"sessionId":%b,"message":' % (_encode(wire_scope(scope)), _encode(session_id))


def outbound(head: bytes, frame: bytes) -> bytes:
    """One outbound envelope."""
    return head + frame + b"}"


def delivery(sessions: bytes, frame: bytes, *, kept: bool = False, close: bool = False) -> bytes:
    """One entry of a batch; `sessions` is the JSON array of session ids, the rest as of `Delivery`.

    `kept` is for the answer to a call that is stored.
    """
    more = b',"kept":true' if kept else b""
    if close:
        more += b',"close":true'
    return b'{"sessions":%b,"message":%b%b}' % (sessions, frame, more)


def batch(scope: bytes, deliveries: Iterable[bytes], epoch: bytes = b"", *, lapsed: bool = False) -> bytes:
    """A batch of entries; `scope` and `epoch` are JSON."""
    more = b'"epoch":%b,' % epoch if epoch else b""
    if lapsed:
        more += b'"lapsed":true,'
    return b'{"scope":%b,%b"deliveries":[%b]}' % (scope, more, b",".join(deliveries))


def session_list(sessions: Sequence[str]) -> bytes:
    """The JSON array of session ids."""
    return _encode(sessions)
