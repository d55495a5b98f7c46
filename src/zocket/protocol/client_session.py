"""The client's end of one connection after another: calls, subscriptions and replicas, without any I/O.

Rules: a call is sent once and answered or lost once; subscriptions and replicas outlive the connection and are asked
for again on the next one (`opened`), from the version on that the client has where the server names versions; a replica
takes patches only in order, and asks again by itself when one is missing; frames, fields and ids that are not known are
ignored. What is to be sent is in `outgoing`; who drives the session empties it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NewType

import msgspec

from zocket.errors import PASSING, ActorError, CallTimeout, PatchError, ZocketError
from zocket.protocol import frames
from zocket.protocol.replica import Feed as Feed
from zocket.protocol.replica import Instance as Instance
from zocket.protocol.replica import Replica as Replica
from zocket.protocol.replica import decode_plain as decode_plain

if TYPE_CHECKING:
    from zocket.protocol.frames import Since

CallId = NewType("CallId", bytes)
"""The JSON of a call's id, as it stands in its frames."""


@dataclass(frozen=True, slots=True)
class Welcome:
    """The connection has an id; its token expires then, in seconds since the epoch (None: never, or not known)."""

    client_id: str
    expires_at: float | None = None


@dataclass(frozen=True, slots=True)
class Refreshed:
    """The server took another token; `expires_at` as of `Welcome`."""

    expires_at: float | None


@dataclass(frozen=True, slots=True)
class Result:
    """A call was answered; `value` is JSON, None if the method returns nothing.

    `chunks` says how many came before it, if it was streamed by a server that numbers them.
    """

    call_id: CallId
    value: bytes | None
    chunks: int | None = None


@dataclass(frozen=True, slots=True)
class Chunk:
    """A part of a call's answer came; `value` is JSON, `number` counts from 1, None from a server that does not."""

    call_id: CallId
    number: int | None
    value: bytes


@dataclass(frozen=True, slots=True)
class Failed:
    """A call was answered with an error."""

    call_id: CallId
    error: ZocketError


@dataclass(frozen=True, slots=True)
class EventArrived:
    """An event of a feed; `payload` is JSON."""

    feed: Feed
    name: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A replica was given its whole state."""

    replica: Replica


@dataclass(frozen=True, slots=True)
class Patched:
    """A replica changed."""

    replica: Replica


@dataclass(frozen=True, slots=True)
class Problem:
    """The server refused something that is no call.

    If it names an instance, the subscriptions to it are given up, except where the trouble passes: `ended` holds them,
    and nothing more comes for them.
    """

    error: ZocketError
    ended: tuple[Feed | Replica, ...] = ()


ClientEvent = Welcome | Refreshed | Result | Chunk | Failed | EventArrived | Snapshot | Patched | Problem


class ClientSession:
    """What a client knows: its id, its open calls, its subscriptions.

    Attributes:
        client_id: the id of the present connection's session, or None while it has none.
        resume: what the next connection shows to go on with that session; "" if the server has given nothing.
        features: additions that the server of the present connection takes.
        connected: between `opened` and `lost`.
        outgoing: frames that wait to be sent, in order; taken by whoever drives the session.
    """

    def __init__(self) -> None:
        self.client_id: str | None = None
        self.resume = ""
        self.features: frozenset[str] = frozenset()
        self.connected = False
        self.outgoing: list[bytes] = []
        self._calls: set[CallId] = set()
        self._last_call = 0
        self._feeds: dict[Instance, Feed] = {}
        self._replicas: dict[Instance, Replica] = {}

    def opened(self) -> None:
        """A connection is up: asks for every subscription (again)."""
        self.connected = True
        for instance in self._feeds:
            self._send_subscription("event:sub", instance)
        for replica in self._replicas.values():
            self._send_subscription("state:sub", replica.instance, replica.since)

    def lost(self) -> tuple[CallId, ...]:
        """The connection is gone; gives the calls that will never be answered."""
        self.connected = False
        self.client_id = None
        self.features = frozenset()
        self.outgoing.clear()
        for replica in self._replicas.values():
            replica.live = False
        calls = tuple(self._calls)
        self._calls.clear()
        return calls

    def call(
        self, instance: Instance, method: str, value: bytes | None, key: str = "", *, cancel_on_close: bool = False
    ) -> CallId:
        """Sends a call; `value` is the JSON of its input, None for none; `key` its idempotency key, "" for none.

        `cancel_on_close` asks the server to cancel it when the connection ends; one that does not know that goes on.

        Raises:
            RuntimeError: there is no connection; who drives the session keeps the call until there is one.
        """
        if not self.connected:
            raise RuntimeError("a call needs a connection")
        self._last_call += 1
        call_id = CallId(b'"%d"' % self._last_call)
        self._calls.add(call_id)
        self.outgoing.append(
            frames.call(call_id, instance.actor, instance.actor_id, method, value, key, cancel_on_close=cancel_on_close)
        )
        return call_id

    def cancel(self, call_id: CallId) -> None:
        """Takes back a call that is not answered, where the server takes that; its answer is ignored."""
        if call_id in self._calls:
            self._calls.discard(call_id)
            if frames.CANCEL in self.features:
                self.outgoing.append(frames.cancel(call_id))

    def offer(self, token: str) -> None:
        """Offers the server another token for this connection, where it takes one."""
        if frames.REFRESH in self.features:
            self.outgoing.append(frames.refresh(token))

    def forget(self, call_id: CallId) -> None:
        """Nobody waits for the answer any more; one that comes is ignored."""
        self._calls.discard(call_id)

    @property
    def pending_calls(self) -> int:
        """Calls that were sent and not yet answered."""
        return len(self._calls)

    def listen(self, instance: Instance) -> Feed:
        """The feed of all events of the instance, with one more consumer; to be given back to `release`."""
        feed = self._feeds.get(instance)
        if feed is None:
            feed = self._feeds[instance] = Feed(instance)
            self._send_subscription("event:sub", instance)
        feed.consumers += 1
        return feed

    def watch(self, instance: Instance) -> Replica:
        """The replica of the instance, with one more consumer; to be given back to `release`."""
        replica = self._replicas.get(instance)
        if replica is None:
            replica = self._replicas[instance] = Replica(instance)
            self._send_subscription("state:sub", instance)
        replica.consumers += 1
        return replica

    def release(self, subscription: Feed | Replica) -> None:
        """One consumer less; without any the server is told that nothing more is wanted."""
        subscription.consumers -= 1
        if subscription.consumers == 0:
            self._drop(subscription)

    def refresh(self, replica: Replica) -> None:
        """Something was missed (`PatchError`): asks for a snapshot, and until it comes patches are ignored."""
        replica.since = None
        if replica.live:
            replica.live = False
            self._send_subscription("state:sub", replica.instance)

    def receive(self, frame: bytes) -> list[ClientEvent]:
        """What a frame of the server means; nothing for one that is to be ignored."""
        decoded = frames.decode_server_frame(frame)
        if decoded is None:
            return []
        event = self._meaning(decoded)
        return [] if event is None else [event]

    def _meaning(self, frame: frames.ServerFrame) -> ClientEvent | None:
        match frame.type:
            case "rpc:result":
                return self._result(frame)
            case "rpc:stream":
                return self._chunk(frame)
            case "event":
                return self._event(frame)
            case "state:patch":
                return self._patch(frame)
            case "state:snapshot":
                return self._snapshot(frame)
            case "welcome":
                return self._welcome(frame)
            case "auth:refreshed":
                return Refreshed(frame.expiry())
            case "error":
                return self._problem(frame)
            case _:
                return None

    def _welcome(self, frame: frames.ServerFrame) -> ClientEvent | None:
        if frame.client_id is None:
            return None
        self.client_id = frame.client_id
        self.resume = frame.resume if isinstance(frame.resume, str) else ""
        if isinstance(frame.features, list):
            self.features = frozenset(name for name in frame.features if isinstance(name, str))
        return Welcome(frame.client_id, frame.expiry())

    def _result(self, frame: frames.ServerFrame) -> ClientEvent | None:
        call_id = CallId(b"" if frame.id is None else bytes(frame.id))
        if call_id not in self._calls:
            return None
        self._calls.discard(call_id)
        if frame.error is not None:
            return Failed(call_id, error_of(frame, frame.error))
        chunks = frame.seq if type(frame.seq) is int else None
        return Result(call_id, None if frame.result is None else bytes(frame.result), chunks)

    def _chunk(self, frame: frames.ServerFrame) -> ClientEvent | None:
        call_id = CallId(b"" if frame.id is None else bytes(frame.id))
        if call_id not in self._calls or frame.chunk is None:
            return None
        return Chunk(call_id, frame.seq if type(frame.seq) is int else None, bytes(frame.chunk))

    def _event(self, frame: frames.ServerFrame) -> ClientEvent | None:
        feed = self._feeds.get(_instance(frame))
        if feed is None or frame.event is None:
            return None
        return EventArrived(feed, frame.event, b"null" if frame.payload is None else bytes(frame.payload))

    def _snapshot(self, frame: frames.ServerFrame) -> ClientEvent | None:
        replica = self._replicas.get(_instance(frame))
        if replica is None or frame.state is None:
            return None
        replica.replace(bytes(frame.state), frame.version())
        return Snapshot(replica)

    def _patch(self, frame: frames.ServerFrame) -> ClientEvent | None:
        replica = self._replicas.get(_instance(frame))
        if replica is None or frame.patches is None or not self._is_next(replica, frame.version()):
            return None
        try:
            replica.patch(bytes(frame.patches))
        except PatchError:
            self.refresh(replica)
            return None
        return Patched(replica)

    def _is_next(self, replica: Replica, version: Since | None) -> bool:
        """Whether a patch leads on from what the replica has; where one is missing, asks for it."""
        known = replica.since
        if version is None or known is None:
            return replica.live
        if version.epoch != known.epoch:
            self.refresh(replica)
            return False
        if version.seq > known.seq + 1:
            if replica.live:
                replica.live = False
                self._send_subscription("state:sub", replica.instance, known)
            return False
        if version.seq == known.seq:
            replica.live = True
        if version.seq <= known.seq:
            return False
        replica.live = True
        replica.since = version
        return True

    def _problem(self, frame: frames.ServerFrame) -> ClientEvent:
        instance = _instance(frame)
        if frame.code in PASSING:  # the gateway sends the subscriptions again by itself
            return Problem(error_of(frame, frame.message or "the server reports a problem"))
        held = (self._feeds.get(instance), self._replicas.get(instance))
        ended = tuple(subscription for subscription in held if subscription is not None)
        for subscription in ended:
            self._drop(subscription)
        return Problem(error_of(frame, frame.message or "the server reports a problem"), ended)

    def _drop(self, subscription: Feed | Replica) -> None:
        """Forgets it, unless it is forgotten already and another one took its place."""
        instance = subscription.instance
        if isinstance(subscription, Feed):
            if self._feeds.get(instance) is subscription:
                del self._feeds[instance]
                self._send_subscription("event:unsub", instance)
        elif self._replicas.get(instance) is subscription:
            del self._replicas[instance]
            self._send_subscription("state:unsub", instance)

    def _send_subscription(self, kind: str, instance: Instance, since: Since | None = None) -> None:
        if self.connected:
            append = kind == "state:sub"
            self.outgoing.append(frames.request(kind, instance.actor, instance.actor_id, since, append=append))


def _instance(frame: frames.ServerFrame) -> Instance:
    return Instance(frame.actor or "", frame.actor_id or "")


def error_of(frame: frames.ServerFrame, message: str) -> ZocketError:
    """The error that a frame carries: `ActorError` with the server's code, or `CallTimeout` for its time limit."""
    try:
        data = None if frame.data is None else decode_plain(frame.data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        data = None
    if frame.code == CallTimeout.default_code:
        return CallTimeout(message, data=data, request_id=frame.request_id)
    return ActorError(message, code=frame.code, data=data, request_id=frame.request_id)
