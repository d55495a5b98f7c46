"""One client session of a gateway: the edge's decisions on one side, the broker on the other.

Rules: a frame is published in the call that received it, so the order of a socket is the order of its requests; what
cannot be published is answered; after `closed` nothing is sent and nothing is published.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final

import msgspec

from zocket.broker.port import Message
from zocket.errors import KICKED, REPLACED, CallTimeout, Unauthorized, Unavailable, UnknownActor
from zocket.metrics import count_code
from zocket.protocol import envelopes, frames, subjects
from zocket.protocol.edge import KICKED_CODE, REFUSED_AGAIN_S, EdgeSession
from zocket.protocol.flow import Flow
from zocket.protocol.frames import EventSub, StateSub
from zocket.sockets.refresh import Refresh

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from zocket.errors import ZocketError
    from zocket.gateway.directory import Project
    from zocket.gateway.gateway import Gateway
    from zocket.ids import Partition, Scope
    from zocket.protocol.edge import Pending
    from zocket.protocol.frames import Request
    from zocket.sockets.port import Peer
    from zocket.sockets.refresh import Renew
    from zocket.sockets.resumption import Socket

_log: Final = logging.getLogger("zocket.gateway")

FEATURES: Final = (frames.CANCEL,)
"""What clients are told that they may use; a runtime that does not know it lets a cancelled call run."""
LOST: Final = "the broker was restarted and lost the call or its result; it may have taken effect"

_PROBLEM: Final = b'{"type":"error",'
_PASSING: Final = (b'{"type":"state:', b'{"type":"event",', _PROBLEM)
"""How frames begin that concern no call; they pass without being decoded."""

_OWN_TYPES: Final = frozenset({"welcome", "rpc:result", "rpc:stream"})
"""Frame types that need a decision for each session."""


@dataclass(frozen=True, slots=True)
class SessionLimits:
    """What a project lets one of its sessions send; None leaves it to the gateway's own settings."""

    rate_per_s: float | None = None
    rate_burst: int | None = None


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a session is, as the control plane says.

    Attributes:
        claims: of the token, as JSON.
        expires_at: seconds since the epoch after which the token counts no longer, or None.
        origins: pages that may open sockets of the project, in lower case; None for every page.
        limits: the project's own, or None.
    """

    scope: Scope
    user_id: str | None = None
    claims: bytes = field(default=b"null", repr=False)
    expires_at: float | None = None
    origins: frozenset[str] | None = None
    limits: SessionLimits | None = None


def _lies_in(request: Request, partitions: Iterable[Partition]) -> bool:
    return any(
        subjects.partition_of_instance(request.actor, request.actor_id, partition.count) == partition.number
        for partition in partitions
    )


def concerns_no_call(frame: bytes) -> bool:
    """Whether a runtime's frame may go to several sessions as it is."""
    if frame.startswith(_PASSING):
        return True
    head = frames.decode_head(frame)
    return head is not None and head.type not in _OWN_TYPES


class GatewaySession:
    """A `SocketSession` on a broker; made by `Gateway.open_session`.

    Attributes:
        edge: its `session_id` names the socket.
        socket: which one of its session it is.
        expires_at: seconds since the epoch when the socket is to be closed, or None.
        stale: partitions whose subscriptions are to be sent again; it is in the gateway's queue if there are any.
    """

    __slots__ = (
        "_envelope_head",
        "_flow",
        "_gateway",
        "_has_token",
        "_is_closed",
        "_is_ending",
        "_is_kicked",
        "_metadata",
        "_refresh",
        "_refreshes",
        "_renew",
        "_statistics",
        "_user_id",
        "edge",
        "expires_at",
        "fields",
        "peer",
        "project",
        "socket",
        "stale",
    )

    def __init__(
        self,
        gateway: Gateway,
        project: Project,
        socket: Socket,
        peer: Peer,
        identity: Identity,
        renew: Renew[Identity] | None,
        metadata: bytes,
    ) -> None:
        self._gateway = gateway
        self._statistics = gateway.statistics
        self._user_id = identity.user_id
        self._metadata = metadata
        self._refreshes = 0
        self._renew = renew
        self._refresh: Refresh[Identity] | None = None
        self._is_closed = False
        self._is_ending = False
        self._is_kicked = False
        self._has_token = False
        self.project = project
        self.socket = socket
        self.edge = EdgeSession(socket.name, gateway.limits_of(identity))
        self.peer: Peer = peer
        self._flow: Flow | None = None
        self.expires_at = identity.expires_at
        self.stale: set[Partition] = set()
        self.fields = {**project.fields, "session": socket.session_id}
        self._envelope_head = self._head(identity)

    @property
    def owner(self) -> tuple[str | None, ...]:
        """Whose the session is; what must be the same when it goes on at another socket."""
        return (*self.project.key, self._user_id)

    def welcome(self) -> None:
        """Sends the first frame; again where it has become possible to resume the session."""
        features = FEATURES if self._renew is None else (*FEATURES, frames.REFRESH)
        token = self._gateway.resume_tokens.issue(self.socket, self.owner) if self.project.resumes else ""
        self._has_token = bool(token)
        self.send(frames.welcome(self.socket.session_id, features, self.expires_at, token))

    def next_socket(self, identity: Identity) -> envelopes.NextSocket:
        """What runtimes are told of a socket that goes on with a session."""
        return envelopes.NextSocket(
            self.socket.name,
            self.socket.number,
            self._gateway.gateway_id,
            identity.user_id,
            msgspec.Raw(identity.claims),
            msgspec.Raw(self._metadata or b"null"),
        )

    def received(self, frame: bytes) -> None:
        """See `SocketSession.received`."""
        if self._is_ending:
            return
        statistics, edge = self._statistics, self.edge
        statistics.frames_in += 1
        statistics.bytes_in += len(frame)
        request = edge.receive(frame, self._gateway.now())
        if request is None:
            if edge.outgoing:
                self.flush()
            if edge.withdrawn:
                self._cancel_withdrawn()
            elif edge.token is not None:
                self._offer(edge.token)
            return
        if request.actor not in self.project.actor_types and not self._gateway.directory.serves(self, request):
            self.refuse_unknown(request)
            return
        number = edge.number
        self._publish(request, edge.instance, frame, number, partial(self._published, request, number))

    def _cancel_withdrawn(self) -> None:
        """Tells the owners of these calls, past the stream in which one of them may lie still."""
        withdrawn, self.edge.withdrawn = self.edge.withdrawn, []
        for pending in withdrawn:
            self._control(pending)

    def _control(self, pending: Pending, received: int = 0) -> None:
        project = self.project
        if not project.takes_controls:
            return
        _, number, actor, actor_id = pending
        control = envelopes.Control(
            project.wire_scope,
            self.socket.session_id,
            f"{self.edge.request_prefix}{number}",
            actor,
            actor_id,
            received,
        )
        partition = subjects.partition_of_instance(actor, actor_id, project.partitions)
        self._gateway.broker.send([Message(subjects.control(project.scope, partition), envelopes.encode(control))])

    def closed(self, *, said_goodbye: bool = False) -> None:
        """See `SocketSession.closed`; a client that has no token to come back with has left for good."""
        if not self._is_closed:
            self._is_closed = True
            self._stop_refresh()
            self.edge.close()
            if self._flow is not None:
                self._flow.close()
            self._gateway.ended(self, dropped=self._has_token and not (said_goodbye or self._is_kicked))

    def fell_behind(self) -> None:
        """See `SocketSession.fell_behind`."""
        if not self._is_closed:
            self._gateway.slow_readers.fell_behind(self)

    def caught_up(self) -> None:
        """See `SocketSession.caught_up`."""
        self._gateway.slow_readers.caught_up(self, self._gateway.now())

    def end(self, code: int, reason: str) -> None:
        """Closes the socket; what the client sends from now on is not served."""
        if not self._is_ending:
            self._is_ending = True
            self._stop_refresh()
            self.peer.close(code, reason)

    def dismiss(self, frame: bytes) -> None:
        """Closes the socket for the reason that the frame before has told the client, which does not connect again."""
        head = frames.decode_head(frame)
        code = KICKED if head is None or head.code is None else head.code
        self._is_kicked = code != REPLACED
        self.end(KICKED_CODE, code)

    def _head(self, identity: Identity) -> bytes:
        edge, socket = self.edge, self.socket
        return envelopes.inbound_head(
            self.project.scope,
            edge.session_id,
            identity.user_id,
            identity.claims,
            self._gateway.gateway_id,
            edge.request_prefix,
            self._refreshes,
            self._metadata,
            (socket.session_id, socket.number) if socket.number else None,
        )

    def _offer(self, token: str) -> None:
        self.edge.token = None
        if self._renew is None:
            return
        if self._refresh is None:
            self._refresh = Refresh(self._renew, self._accept, self.send)
        self._refresh.offer(token, self.edge.request_id)

    def _accept(self, identity: Identity) -> float | None:
        """The session has the claims of another token of its user from its next frame on."""
        if identity.scope != self.project.scope or identity.user_id != self._user_id:
            raise Unauthorized("the token is somebody else's")
        self._refreshes += 1
        self._envelope_head = self._head(identity)
        self.expires_at = identity.expires_at
        return identity.expires_at

    def _stop_refresh(self) -> None:
        if self._refresh is not None:
            self._refresh.cancel()

    def send(self, frame: bytes) -> None:
        """Sends a frame to the client."""
        self._statistics.frames_out += 1
        self._statistics.bytes_out += len(frame)
        self.peer.send(frame)

    def flush(self) -> None:
        """Sends what the edge answers by itself, and reads less of a client that has gone too far."""
        if self.edge.has_excess:
            self.edge.has_excess = False
            self.peer.pause()
        taken, self.edge.outgoing = self.edge.outgoing, []
        for frame in taken:
            head = frames.decode_head(frame)
            if head is not None:
                self._count_own(head)
            self.send(frame)

    def deliver(self, frame: bytes, now: float) -> None:
        """Takes a runtime's frame for this session alone: an answer settles its call, or is dropped."""
        if frame.startswith(_PROBLEM):
            again = self.edge.take_problem(frame)
            if again:
                self._gateway.later(REFUSED_AGAIN_S, partial(self._ask_again, again))
        elif not frame.startswith(_PASSING):
            head = frames.decode_head(frame)
            if head is None or head.type == "welcome" or (head.type == "rpc:result" and not self._settle(head, now)):
                self._statistics.dropped += 1
                return
            if head.type == "rpc:stream":
                self._pass_on(head, frame, now)
                return
        self.send(frame)

    def _pass_on(self, head: frames.FrameHead, frame: bytes, now: float) -> None:
        """A part of the answer to a call that is pending."""
        pending = None if head.id is None else self.edge.renew(bytes(head.id), now)
        if pending is None:
            self._statistics.dropped += 1
            return
        self.send(frame)
        if isinstance(head.seq, int):
            if self._flow is None:
                gateway = self._gateway
                self._flow = Flow(lambda: self.peer.unsent_bytes(), gateway.low_bytes, self._control, gateway.later)
            self._flow.sent(pending, head.seq, len(frame))

    def refuse_unknown(self, request: Request) -> None:
        """Nobody serves the request's actor type."""
        if not self._is_closed:
            self.edge.refuse(request, UnknownActor(request.actor))
            self.flush()

    def expire_calls(self, now: float) -> None:
        """Answers the calls that wait too long."""
        if self.edge.pending and self.edge.expire(now):
            self.flush()

    def fail_lost_calls(self, moment: float) -> None:
        """Answers the calls that came until `moment` and are open still: the broker has lost them, or their results."""
        if not self._is_closed and self.edge.fail_older(moment, lambda: Unavailable(LOST)):
            self.flush()

    def fail(self, call_id: bytes, error: ZocketError) -> None:
        """Answers an open call with an error."""
        if self.edge.fail(call_id, error):
            self.flush()

    def resubscribe(self) -> int:
        """Sends the subscriptions of the stale partitions again, so that each gets a fresh snapshot; how many."""
        stale, self.stale = self.stale, set()
        subscriptions = [request for request in self.edge.subscriptions if _lies_in(request, stale)]
        self.subscribe_again(subscriptions)
        return len(subscriptions)

    def _ask_again(self, subscriptions: list[EventSub | StateSub]) -> None:
        if not self._is_closed:
            self.subscribe_again(self.edge.still_wanted(subscriptions))

    def subscribe_again(self, subscriptions: Sequence[EventSub | StateSub]) -> None:
        """Sends these subscriptions again."""
        for request in subscriptions:
            instance = subjects.instance(request.actor, request.actor_id)
            frame = frames.subscription(self.edge.subscriptions[request])
            self._publish(request, instance, frame, self.edge.next_number(), self._resubscribed)
        self._statistics.resubscriptions += len(subscriptions)

    def _publish(
        self,
        request: Request,
        instance: str,
        frame: bytes,
        number: int,
        done: Callable[[ZocketError | None], None],
    ) -> None:
        project = self.project
        subject = project.inbound + instance
        envelope = envelopes.inbound(self._envelope_head, number, frame)
        message_id = f"{self.edge.session_id}:{number}"
        if project.takes_bursts:
            self._gateway.bursts.add(project.row(subject, request), subject, envelope, message_id, done)
        else:
            self._gateway.publish_alone(subject, envelope, message_id, done)

    def _published(self, request: Request, number: int, error: ZocketError | None) -> None:
        if error is None or self._is_closed:
            return
        self._gateway.doubt_streams(error)
        self.edge.refuse(request, error, number=number, forget=False)
        self.flush()
        if isinstance(request, EventSub | StateSub):
            self._gateway.resubscribe_later(self)

    def _resubscribed(self, error: ZocketError | None) -> None:
        if error is not None and not self._is_closed:
            self._gateway.doubt_streams(error)
            self._gateway.resubscribe_later(self)

    def _settle(self, head: frames.FrameHead, now: float) -> bool:
        pending = None if head.id is None else self.edge.take(bytes(head.id))
        if pending is None:
            return False
        count_code(self._statistics.calls, head.outcome)
        self._statistics.answer_time.add(now - pending[0])
        return True

    def _count_own(self, head: frames.FrameHead) -> None:
        if head.type == "rpc:result":
            count_code(self._statistics.calls, head.outcome)
        level = logging.WARNING if head.code == CallTimeout.default_code else logging.DEBUG
        if _log.isEnabledFor(level):
            _log.log(level, "answered with %s", head.code, extra={**self.fields, "request": head.request_id})
