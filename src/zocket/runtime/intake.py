"""What comes into the runtime: envelopes decoded, checked and given to the host; each message settled exactly once.

Rules: a message is acknowledged when its request is finished (R15), and while it waits the broker is told that it is
still in progress. What is delivered again while it is still here, or after its acknowledgement was lost with a
connection, is not run again. An envelope that cannot be used is logged, counted, never delivered again, and answered
where it says whom. A session ends when its gateway says so, for good or as one that was dropped, or when its gateway
has died: then it may come back, at the same socket or at another one (`sockets.py`).
"""

from __future__ import annotations

import re
import secrets
from functools import partial
from hashlib import blake2b
from typing import TYPE_CHECKING, Annotated, Any, Final, Generic, TypeVar

import msgspec

from zocket import logs
from zocket.core import Session
from zocket.errors import InvalidFrame, InvalidId, Unavailable
from zocket.host.store import Position
from zocket.metrics import Sample
from zocket.protocol import envelopes, frames, subjects
from zocket.protocol.frames import Rpc
from zocket.runtime.outbox import SessionLink
from zocket.runtime.sockets import Sockets

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Set

    from zocket.broker.port import Broker, Delivered, Message
    from zocket.errors import ZocketError
    from zocket.host import Host
    from zocket.ids import Scope
    from zocket.protocol.envelopes import Inbound
    from zocket.runtime.controls import Controls
    from zocket.runtime.outbox import Outbox
    from zocket.runtime.presence import Presence

K = TypeVar("K")
V = TypeVar("V")

FINISHED_KEPT: Final = 4_096
"""Finished messages that are remembered at least: what 16 actor types of 256 can have unacknowledged at once."""
GONE_KEPT: Final = 10_000
"""Ended sessions that are remembered at least, so that their last messages do not bring them back."""
LOGGED_SUBJECT_CHARS: Final = 200

_TOKEN: Final = re.compile(r"[!-)+,\-/-=?-~]{1,128}\Z")
"""A session or gateway id that is safe as one token of a subject."""


class _Sender(msgspec.Struct, rename="camel"):
    """What can be read of an envelope whose frame cannot be used."""

    scope: envelopes.WireScope
    session_id: str
    message: msgspec.Raw
    gateway: str | None = None
    request_id: str | None = None


_senders: Final = msgspec.json.Decoder(_Sender)
_raw_parts: Final = msgspec.json.Decoder(
    Annotated[list[msgspec.Raw], msgspec.Meta(min_length=1, max_length=envelopes.MAX_PARTS)]
).decode


class _Burst:
    """A message of several requests, their positions, and those of them that are not finished."""

    __slots__ = ("delivered", "open", "positions")

    def __init__(self, delivered: Delivered, positions: range) -> None:
        self.delivered = delivered
        self.positions = positions
        self.open = set(positions)


class _Recent(Generic[K, V]):
    """The last entries, between `kept` and twice as many; forgets whole halves, so that every step is cheap."""

    __slots__ = ("_kept", "_new", "_old")

    def __init__(self, kept: int) -> None:
        self._kept = kept
        self._new: dict[K, V] = {}
        self._old: dict[K, V] = {}

    def add(self, key: K, value: V) -> None:
        self._new[key] = value
        if len(self._new) >= self._kept:
            self._old, self._new = self._new, {}

    def get(self, key: K) -> V | None:
        found = self._new.get(key)
        return self._old.get(key) if found is None else found


class Intake:
    """Between the runtime's subscriptions and its host.

    Args:
        broker: settles messages.
        scope: whose messages are taken.
        host: runs the requests.
        outbox: sends the answers.
        presence: which gateways are there.
        controls: knows calls that were cancelled before they came.
        divided: this is one partition of several. A gateway that does not announce itself is refused then: it writes
            ids into subjects as they are, so one instance could fall into two partitions.

    Attributes:
        partitions: that the stream puts into its subjects; set before a consumer is taken.
        finished_before: positions of requests that an earlier runtime has finished, though their messages come again.
        submit: takes each request with its position; the host's own in normal service.
        called: takes each call that another instance makes.
    """

    def __init__(
        self,
        broker: Broker,
        scope: Scope,
        host: Host,
        outbox: Outbox,
        presence: Presence,
        controls: Controls,
        *,
        divided: bool = False,
    ) -> None:
        self._broker = broker
        self._scope = scope
        self._wire_scope = envelopes.wire_scope(scope)
        self._host = host
        self._outbox = outbox
        self._presence = presence
        self._controls = controls
        self.partitions = 1
        self._divided = divided
        self.submit = host.submit
        self.called: Callable[[Inbound, str, Position, Callable[[], None]], None] = _refuse_called
        self._links: dict[str, SessionLink] = {}
        self._sockets = Sockets(host, self._links)
        self._gone: _Recent[str, bool] = _Recent(GONE_KEPT)
        self._held: dict[int, Delivered] = {}
        self._bursts: dict[int, _Burst] = {}
        self.finished_before: Set[int] = frozenset()
        self._finished: _Recent[int, int] = _Recent(FINISHED_KEPT)
        self._received = self._received_bytes = self._requests = self._rejected = self._repeated = 0
        self._log = logs.bound("zocket.runtime", workspace=scope.workspace_id, project=scope.project_id)

    @property
    def held(self) -> int:
        """Messages that are neither acknowledged nor given back."""
        return len(self._held)

    def message(self, position: Position) -> tuple[Delivered, bytes]:
        """The message that holds the request at a position, and its envelope; raises KeyError if it is not here."""
        sequence, index = divmod(position.sequence, envelopes.MAX_PARTS)
        delivered = self._held[sequence]
        if not envelopes.is_burst(delivered.payload):
            return delivered, delivered.payload
        return delivered, bytes(_raw_parts(delivered.payload)[index])

    def received(self, batch: list[Delivered], source: str) -> None:
        """Takes messages of a consumer; `source` names the life of the stream that they come from."""
        for delivered in batch:
            self._received += 1
            self._received_bytes += len(delivered.payload)
            if self._is_repeated(delivered):
                continue
            if envelopes.is_burst(delivered.payload):
                self._take_burst(delivered, source)
                continue
            try:
                envelope = envelopes.decode_inbound(delivered.payload)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                self._reject(delivered, InvalidFrame("the envelope cannot be decoded"))
                continue
            if (refusal := self._disagreement(delivered, envelope)) is not None:
                self._reject(delivered, refusal)
                continue
            self._held[delivered.sequence] = delivered
            position = Position(source, delivered.sequence * envelopes.MAX_PARTS)
            self._submit(envelope, position, partial(self._finish, delivered))

    def _take_burst(self, delivered: Delivered, source: str) -> None:
        """Several requests in one message: it is settled when the last of them is finished."""
        try:
            parts = _raw_parts(delivered.payload)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            self._reject(delivered, InvalidFrame("the envelopes cannot be decoded"))
            return
        self._held[delivered.sequence] = delivered
        first = delivered.sequence * envelopes.MAX_PARTS
        burst = self._bursts[delivered.sequence] = _Burst(delivered, range(first, first + len(parts)))
        for number, raw in enumerate(parts, first):
            finished = partial(self._finish_part, burst, number)
            if number in self.finished_before:
                finished()
                continue
            try:
                envelope = envelopes.decode_inbound(raw)
                refusal = self._disagreement(delivered, envelope, in_burst=True)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                refusal = InvalidFrame("the envelope cannot be decoded")
            if refusal is None:
                self._submit(envelope, Position(source, number), finished)
            else:
                self._refuse(delivered, bytes(raw), refusal)
                finished()

    def _submit(self, envelope: Inbound, position: Position, finished: Callable[[], None]) -> None:
        self._requests += 1
        request_id = envelope.request_id or _request_id_of(position)
        if envelope.caller is not None:
            self.called(envelope, request_id, position, finished)
            return
        link = self._link(envelope)
        self.submit(link, envelope.message, request_id, finished, position)
        if self._controls.early:
            self._controls.arrived(envelope.message, envelope.resumes or envelope.session_id, request_id)

    def _is_repeated(self, delivered: Delivered) -> bool:
        """Whether the same message is here already, or was finished.

        The payload counts with the number: a stream that was lost and made again numbers from 1.
        """
        sequence = delivered.sequence
        held = self._held.get(sequence)
        if held is not None and held.payload == delivered.payload:
            held.handle = delivered.handle
            self._repeated += 1
            return True
        if self._finished.get(sequence) == hash(delivered.payload):
            self._outbox.acknowledge(delivered)
            self._repeated += 1
            return True
        return False

    def _disagreement(self, delivered: Delivered, envelope: Inbound, *, in_burst: bool = False) -> ZocketError | None:
        message = envelope.message
        if envelope.scope != self._wire_scope:
            return InvalidFrame("the envelope is of another project")
        agree = subjects.agrees_in_burst if in_burst else subjects.agrees
        try:
            agrees = agree(delivered.subject, self._scope, message.actor, message.actor_id, self.partitions)
        except InvalidId as error:
            return error
        if not agrees and in_burst and f".{message.actor}." in delivered.subject:
            return Unavailable("the stream was divided otherwise; the request did not reach its actor")
        if not agrees:
            return InvalidFrame("subject and envelope name different actors")
        if not _are_tokens(envelope.session_id, envelope.gateway):
            return InvalidFrame("the session or gateway id cannot be part of a subject")
        if envelope.caller is not None and type(message) is not Rpc:
            return InvalidFrame("an actor subscribes to nothing")
        if self._divided and envelope.gateway is None:
            return InvalidFrame("this project is divided (PARTITIONS), which takes a gateway that announces itself")
        return None

    def _finish(self, delivered: Delivered) -> None:
        if self._held.get(delivered.sequence) is delivered:
            del self._held[delivered.sequence]
            self._finished.add(delivered.sequence, hash(delivered.payload))
            self._outbox.acknowledge(delivered)

    def _finish_part(self, burst: _Burst, number: int) -> None:
        burst.open.discard(number)
        if not burst.open:
            self._bursts.pop(burst.delivered.sequence, None)
            self._finish(burst.delivered)

    def partly_finished(self) -> list[int]:
        """Positions of requests that are finished, in messages that are held for others in them."""
        return [
            number
            for sequence, burst in self._bursts.items()
            if sequence in self._held
            for number in burst.positions
            if number not in burst.open
        ]

    def _link(self, envelope: Inbound) -> SessionLink:
        link = self._links.get(envelope.session_id)
        if link is not None:
            link.gateway = envelope.gateway
            if envelope.refreshes > link.refreshes:
                link.refreshes = envelope.refreshes
                link.renew(_session(envelope))
            return link
        link = SessionLink(self._outbox, _session(envelope), envelope.gateway, does_credit=envelope.credits)
        link.refreshes, link.number = envelope.refreshes, envelope.socket
        self._meet(link)
        return link

    def _meet(self, link: SessionLink) -> None:
        """Takes note of a socket, unless it is gone already."""
        if self._gone.get(link.socket):
            link.lapsed = True
            return
        self._links[link.socket] = link
        if link.gateway is None:
            link.send(frames.welcome(link.socket))
        else:
            self._presence.met(link.gateway)
        self._sockets.enter(link)

    def disconnected(self, messages: list[Message]) -> None:
        """Takes what `session.disconnected` says (R6)."""
        for message in messages:
            try:
                ended = envelopes.decode_disconnected(message.payload)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                self._rejected += 1
                self._log.warning("a session.disconnected cannot be decoded")
                continue
            if ended.scope != self._wire_scope:
                self._rejected += 1
                self._log.warning("a session.disconnected is of another project")
                continue
            following = ended.next
            if following is None:
                self._end(ended)
            elif not _are_tokens(following.session_id, following.gateway):
                self._rejected += 1
                self._log.warning("a session.disconnected names a socket or a gateway that cannot be part of a subject")
            elif following.session_id not in self._links:
                self._meet(self._next_link(ended.resumes or ended.session_id, following))

    def _end(self, ended: envelopes.SessionDisconnected) -> None:
        """A socket is gone, and its session with it, unless that has gone on at a newer one."""
        session_id = ended.resumes or ended.session_id
        link = self._links.pop(ended.session_id, None)
        if link is not None:
            link.lapsed = True
        self._gone.add(ended.session_id, True)
        if not self._sockets.leave(session_id, ended.socket):
            return
        if ended.dropped:
            self._host.sessions.drop(session_id, ended.session_id)
        else:
            self._host.sessions.disconnect(session_id, ended.session_id)

    def _next_link(self, session_id: str, following: envelopes.NextSocket) -> SessionLink:
        claims, metadata = _object(following.claims), _object(following.metadata)
        session = Session(session_id, following.user_id, claims, metadata, following.session_id)
        link = SessionLink(self._outbox, session, following.gateway, does_credit=True)
        link.number = following.socket
        return link

    def alive(self, messages: list[Message]) -> None:
        """Takes what gateways say of themselves; one that was taken for dead has to subscribe its sessions again."""
        for message in messages:
            gateway = message.subject.rpartition(".")[2]
            if self._presence.heard(gateway):
                self._log.info("a gateway is back", extra={"gateway": gateway})
                self._outbox.add_lapsed(gateway)

    def sweep(self) -> None:
        """Ends the sessions of gateways that have died; what they still say brings them back."""
        dead = self._presence.sweep()
        if not dead:
            return
        ended = [(socket, link) for socket, link in self._links.items() if link.gateway in dead]
        self._log.warning("gateways have died", extra={"gateways": sorted(dead), "sessions": len(ended)})
        for socket, link in ended:
            del self._links[socket]
            assert link.session is not None
            if self._sockets.leave(link.session.id, link.number):
                self._host.sessions.lapse(link)

    def _reject(self, delivered: Delivered, refusal: ZocketError) -> None:
        self._broker.term([delivered])
        self._refuse(delivered, delivered.payload, refusal)

    def _refuse(self, delivered: Delivered, payload: bytes, refusal: ZocketError) -> None:
        """Says why to the log, and to whoever waits for an answer to this envelope."""
        self._rejected += 1
        sender = _sender(payload)
        told = sender.request_id if sender is not None else None
        request_id = refusal.request_id = told if told and _TOKEN.match(told) else _new_request_id()
        where = {"subject": delivered.subject[:LOGGED_SUBJECT_CHARS], "sequence": delivered.sequence}
        self._log.warning("a message is refused: %s", refusal.message, extra={**where, "request": request_id})
        if sender is None or sender.scope != self._wire_scope or not _are_tokens(sender.session_id, sender.gateway):
            return
        frame = _refusal(bytes(sender.message), refusal)
        if frame is not None:
            SessionLink(self._outbox, Session(sender.session_id), sender.gateway).send(frame)

    def report_progress(self) -> None:
        """Tells the broker that everything held is still in progress."""
        if self._held:
            self._broker.in_progress(list(self._held.values()))

    def give_back(self) -> int:
        """Gives everything held to whoever comes next; how many that were."""
        held = list(self._held.values())
        self._held.clear()
        if held:
            self._broker.nak(held)
        return len(held)

    def forget(self) -> None:
        """Nothing held is settled any more: another runtime has it."""
        self._held.clear()

    def samples(self) -> Iterator[Sample]:
        """Counts for a scrape."""
        yield Sample("inbound_messages", "Messages received, repeated ones too.", "counter", self._received)
        yield Sample("inbound_requests", "Requests received, several in a message each one.", "counter", self._requests)
        yield Sample("inbound_bytes", "Bytes of messages received.", "counter", self._received_bytes)
        yield Sample("inbound_refused", "Messages that could not be used.", "counter", self._rejected)
        yield Sample("inbound_repeated", "Messages that were here already.", "counter", self._repeated)
        yield Sample("acknowledgements_outstanding", "Messages not yet acknowledged.", "gauge", len(self._held))
        yield Sample("sessions", "Sessions that sent something and have not ended.", "gauge", len(self._links))


def _refuse_called(envelope: Inbound, request_id: str, position: Position, finished: Callable[[], None]) -> None:
    raise AssertionError("set before a consumer is taken")


def _session(envelope: Inbound) -> Session:
    claims, metadata = _object(envelope.claims), _object(envelope.metadata)
    session_id = envelope.resumes or envelope.session_id
    return Session(session_id, envelope.user_id, claims, metadata, envelope.session_id)


def _object(raw: msgspec.Raw) -> dict[str, Any]:
    """A JSON object; empty for anything else."""
    try:
        value = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _new_request_id() -> str:
    return "r_" + secrets.token_hex(8)


def _request_id_of(position: Position) -> str:
    """For a message of a gateway that gives none: the same when it is delivered again."""
    return "r_" + blake2b(f"{position.source}/{position.sequence}".encode(), digest_size=8).hexdigest()


def _are_tokens(session_id: str, gateway: str | None) -> bool:
    """Whether answers to this session have a subject."""
    return bool(_TOKEN.match(session_id)) and (gateway is None or bool(_TOKEN.match(gateway)))


_MESSAGE: Final = b'"message":'


def _sender(payload: bytes) -> _Sender | None:
    """Who sent an envelope, even if no parser here takes its frame (a lone surrogate, or too deep)."""
    try:
        return _senders.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    front, found, frame = payload.partition(_MESSAGE)
    if not found:
        return None
    try:
        sender = _senders.decode(front + _MESSAGE + b"null}")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    sender.message = msgspec.Raw(frame.rstrip().removesuffix(b"}"))
    return sender


def _refusal(frame: bytes, refusal: ZocketError) -> bytes | None:
    """The answer to a frame that was not run; None if nobody waits for one."""
    try:
        request = frames.decode_request(frame)
    except InvalidFrame as error:
        call_id, error.data = str(error.data).encode(), None
        error.request_id = refusal.request_id
        return frames.failure(call_id, error)
    if isinstance(request, Rpc):
        return frames.failure(request.id, refusal)
    deep_id = frames.salvage_id_of_deep(frame) if request is None else None
    return None if deep_id is None else frames.failure(deep_id, refusal)
