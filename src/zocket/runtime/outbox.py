"""What leaves the runtime: frames on their way to gateways, calls, and the acknowledgements behind them.

Rules: everything of one loop turn leaves together, acknowledgements last, each session's frames in order. A
gateway that announced itself gets batches; every session of another one gets each frame as a message of its own (R14).
While it is in doubt whether this runtime still owns its project, everything is held back. Once muted, nothing leaves
any more.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, NamedTuple

from zocket.broker.port import Message
from zocket.host import Link
from zocket.protocol import envelopes, subjects

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from zocket.broker.port import Broker, Delivered
    from zocket.core import Session
    from zocket.crashpoints import CrashPoints
    from zocket.errors import ZocketError
    from zocket.host import Audience
    from zocket.ids import Scope
    from zocket.protocol.frames import CallId

MAX_BATCH_BYTES: Final = 512 * 1024
"""A batch is sent before it grows beyond this: half of what a NATS server takes by default."""
MAX_HELD_BYTES: Final = 8 * 1024 * 1024
"""What is held back at most, the oldest is dropped first: as much as a broker keeps while it is disconnected."""
SENDING_S: Final = 0.05
"""At the crash point `before_ack`: until the frames have left the process."""
MAX_LISTED_SESSIONS: Final = 4_096
"""Sessions in one delivery: their list stays near 128 kB, so that a frame of usual size fits beside it."""


class SessionLink(Link):
    """One socket of a session, with its way out.

    Attributes:
        gateway: None for one that takes no batches.
        refreshes: as of `Inbound.refreshes`, of the token that its claims are from.
        socket: its name towards gateways.
        number: as of `Inbound.socket`.
    """

    __slots__ = ("_head", "_outbox", "_sessions", "_subject", "gateway", "number", "refreshes", "socket")

    def __init__(self, outbox: Outbox, session: Session, gateway: str | None, *, does_credit: bool = False) -> None:
        super().__init__(session)
        self.credits = does_credit
        self._outbox = outbox
        self.socket = session.socket or session.id
        self._subject = subjects.outbound(outbox.scope, self.socket)
        self._head = envelopes.outbound_head(outbox.scope, self.socket)
        self._sessions = envelopes.session_list([self.socket])
        self.gateway = gateway
        self.refreshes = 0
        self.number = 0

    def send(self, frame: bytes) -> None:
        """See `Link.send`."""
        if self.gateway is None:
            self._outbox.add_message(self._subject, envelopes.outbound(self._head, frame))
        else:
            self._outbox.add_delivery(self.gateway, self._sessions, frame)

    def dismiss(self, frame: bytes) -> None:
        """See `Link.dismiss`; a gateway that does not announce itself is sent the frame alone."""
        if self.gateway is None:
            self.send(frame)
        else:
            self._outbox.add_delivery(self.gateway, self._sessions, frame, close=True)

    def send_chunk(self, call_id: CallId, number: int, frame: bytes) -> None:
        """See `Link.send_chunk`."""
        self.send(frame)

    def answer(self, call_id: CallId, frame: bytes, *, kept: bool = False) -> None:
        """See `Link.answer`; of a call that is stored also a superseded runtime's answer counts."""
        if kept and self.gateway is not None:
            self._outbox.add_delivery(self.gateway, self._sessions, frame, kept=True)
        else:
            self.send(frame)


class _Route(NamedTuple):
    """What an audience is to an outbox."""

    lists: list[tuple[str, bytes]]
    single: list[Link]


class _Call(NamedTuple):
    """The arguments of `Broker.publish`."""

    subject: str
    payload: bytes
    message_id: str
    done: Callable[[ZocketError | None], None]


class _Batch:
    __slots__ = ("deliveries", "size", "subject")

    def __init__(self, subject: str) -> None:
        self.subject = subject
        self.deliveries: list[bytes] = []
        self.size = 0


class Outbox:
    """Collects during a loop turn and sends at its end. It is the host's `Outlet`.

    Attributes:
        before_flush: called before anything leaves; it may `hold` it.
        doubt: counts up with every `hold`.
        held: whether everything is held back now.
    """

    def __init__(
        self, broker: Broker, scope: Scope, epoch: str | None = None, crashpoints: CrashPoints | None = None
    ) -> None:
        self.scope = scope
        self.messages = 0
        self.bytes = 0
        self.before_flush: Callable[[], None] | None = None
        self.doubt = 0
        self.held = False
        self._broker = broker
        self._crashpoints = crashpoints
        self._epoch_json = b"" if epoch is None else envelopes.encode(epoch)
        self._scope_json = envelopes.encode(envelopes.wire_scope(scope))
        self._ready: list[Message] = []
        self._batches: dict[str, _Batch] = {}
        self._calls: list[_Call] = []
        self._acknowledgements: list[Delivered] = []
        self._planned = False
        self._muted = False

    def add_message(self, subject: str, payload: bytes) -> None:
        """A message of its own."""
        self._ready.append(Message(subject, payload))
        self._plan()

    def add_delivery(
        self, gateway: str, sessions: bytes, frame: bytes, *, kept: bool = False, close: bool = False
    ) -> None:
        """A frame for the listed sessions (JSON) of one gateway."""
        batch = self._batches.get(gateway)
        if batch is None:
            batch = self._batches[gateway] = _Batch(subjects.gateway(self.scope, gateway))
        delivery = envelopes.delivery(sessions, frame, kept=kept, close=close)
        if batch.size and batch.size + len(delivery) > MAX_BATCH_BYTES:
            self._close(batch)
        batch.deliveries.append(delivery)
        batch.size += len(delivery)
        self._plan()

    def add_call(
        self, subject: str, payload: bytes, message_id: str, done: Callable[[ZocketError | None], None]
    ) -> None:
        """A call of another instance, as `Broker.publish`; `done` is never called once this outbox is muted."""
        self._calls.append(_Call(subject, payload, message_id, done))
        self._plan()

    def add_lapsed(self, gateway: str) -> None:
        """Tells a gateway that its sessions were ended here, so that it subscribes them again."""
        payload = envelopes.batch(self._scope_json, (), self._epoch_json, lapsed=True)
        self.add_message(subjects.gateway(self.scope, gateway), payload)

    def broadcast(self, audience: Audience, frame: bytes) -> None:
        """See `Outlet.broadcast`; how the audience spreads over gateways is kept with it."""
        route: _Route | None = audience.cache
        if route is None:
            route = audience.cache = _route(audience)
        for gateway, sessions in route.lists:
            self.add_delivery(gateway, sessions, frame)
        for link in route.single:
            link.send(frame)

    def acknowledge(self, delivered: Delivered) -> None:
        """The message is done; said after all frames that were added before."""
        self._acknowledgements.append(delivered)
        self._plan()

    def hold(self) -> None:
        """Keeps everything from now on: another runtime may have taken over."""
        self.doubt += 1
        self.held = True

    def release(self, doubt: int) -> None:
        """Sends what was held, unless there was another `hold` after the one that `doubt` counted."""
        if doubt == self.doubt:
            self.held = False
            self.flush()

    def mute(self) -> None:
        """Drops what waits and whatever is still added."""
        self._muted = True

    def flush(self) -> None:
        """Gives everything to the broker now."""
        self._planned = False
        if self.before_flush is not None:
            self.before_flush()
        for batch in self._batches.values():
            self._close(batch)
        self._batches.clear()
        if self.held and not self._muted:
            self._drop_oldest()
            return
        messages, self._ready = self._ready, []
        calls, self._calls = self._calls, []
        acknowledgements, self._acknowledgements = self._acknowledgements, []
        if self._muted:
            return
        if self._crashpoints is not None and (messages or calls or acknowledgements):
            acknowledgements = self._crash(self._crashpoints, acknowledgements)
        if messages:
            self.messages += len(messages)
            self.bytes += sum(len(message.payload) for message in messages)
            self._broker.send(messages)
        for call in calls:
            self._broker.publish(*call)
        if acknowledgements:
            self._broker.ack(acknowledgements)

    def _crash(self, crashpoints: CrashPoints, acknowledgements: list[Delivered]) -> list[Delivered]:
        """What may still be acknowledged if the process lives on; what is sent now leaves in any case."""
        crashpoints.reach("before_publish")
        if not acknowledgements or not crashpoints.strikes("before_ack"):
            return acknowledgements
        self._muted = True
        asyncio.get_running_loop().call_later(SENDING_S, crashpoints.die)
        return []

    def _drop_oldest(self) -> None:
        size, first = 0, len(self._ready)
        while first > 0 and (size := size + len(self._ready[first - 1].payload)) <= MAX_HELD_BYTES:
            first -= 1
        del self._ready[:first]

    def _close(self, batch: _Batch) -> None:
        if batch.deliveries:
            payload = envelopes.batch(self._scope_json, batch.deliveries, self._epoch_json)
            self._ready.append(Message(batch.subject, payload))
            batch.deliveries, batch.size = [], 0

    def _plan(self) -> None:
        if not self._planned:
            self._planned = True
            asyncio.get_running_loop().call_soon(self.flush)


def _route(audience: Audience) -> _Route:
    by_gateway: dict[str, list[str]] = {}
    single: list[Link] = []
    for link in audience.links.values():
        if isinstance(link, SessionLink) and link.gateway is not None:
            by_gateway.setdefault(link.gateway, []).append(link.socket)
        else:
            single.append(link)
    lists = [
        (gateway, envelopes.session_list(part)) for gateway, sessions in by_gateway.items() for part in _parts(sessions)
    ]
    return _Route(lists, single)


def _parts(sessions: list[str]) -> Iterator[list[str]]:
    for start in range(0, len(sessions), MAX_LISTED_SESSIONS):
        yield sessions[start : start + MAX_LISTED_SESSIONS]
