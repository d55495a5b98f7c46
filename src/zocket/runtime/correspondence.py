"""Calls between instances that lie in different runtimes of a project, and one-way calls, which all go by the broker.

Rules: a call is an ordinary request of the stream, answered on the subject that the calling runtime listens on as a
gateway does; so are the chunks of a stream. One-way calls of one instance to another leave one after the other, each
when the stream holds the one before; they are tried until it does. After a lost connection open calls are sent again:
their keys keep them single. Streams have none, and end.
"""

from __future__ import annotations

from collections import deque
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from zocket import logs
from zocket.core import SERVER, Caller
from zocket.errors import TooLarge, Unavailable
from zocket.host import Link
from zocket.host.calls import call_name
from zocket.host.tells import TellLink
from zocket.metrics import Sample
from zocket.protocol import envelopes, frames, subjects
from zocket.protocol.envelopes import CalledBy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from zocket.broker.port import Broker, Message
    from zocket.clock import Clock, TimerHandle
    from zocket.errors import ZocketError
    from zocket.host import Host
    from zocket.host.resident import CallLink
    from zocket.host.store import Position
    from zocket.host.streams import StreamLink
    from zocket.host.tells import Letter
    from zocket.ids import Partition, Scope
    from zocket.protocol.envelopes import Inbound
    from zocket.protocol.frames import CallId, Rpc
    from zocket.runtime.intake import Intake
    from zocket.runtime.outbox import Outbox

AGAIN_FIRST_S: Final = 0.1
AGAIN_MOST_S: Final = 2.0
"""Between attempts to publish a one-way call that the broker does not take."""
ONE_WAY: Final = "tell"
"""In place of the call's id in the envelope of a one-way call."""

INTERRUPTED: Final = "the connection to the broker was lost in the middle of a stream; the call may have taken effect"

_CALL_ID: Final = b"0"
_CHUNK_OF: Final = msgspec.Raw(_CALL_ID)
_CHUNK: Final = b'{"type":"rpc:stream",'


class _Open(NamedTuple):
    """A call that waits for its answer."""

    link: CallLink
    subject: str
    payload: bytes


class _Answering(Link):
    """The link of a call from another runtime, with the way back to it."""

    __slots__ = ("_gateway", "_outbox", "_sessions")

    def __init__(self, outbox: Outbox, envelope: Inbound, caller: Caller) -> None:
        super().__init__(None)
        self.caller = caller
        self._outbox = outbox
        self._gateway = envelope.gateway or ""
        self._sessions = envelopes.session_list([envelope.session_id])
        self.credits = True if envelope.credits else None

    def send(self, frame: bytes) -> None:
        """See `Link.send`."""
        self._outbox.add_delivery(self._gateway, self._sessions, frame)

    def send_chunk(self, call_id: CallId, number: int, frame: bytes) -> None:
        """See `Link.send_chunk`."""
        self.send(frame)


class Correspondence:
    """The calls of one runtime's instances, and those that come to them.

    Args:
        broker: carries them.
        scope: the project.
        runtime_id: what this runtime is called as a gateway of its calls.
        partition: whose instances are here.
        host: runs them.
        intake: gives the host what has come.
        outbox: what leaves is held back there while it is in doubt who owns the project.
        clock: pauses and time limits.
    """

    def __init__(
        self,
        broker: Broker,
        scope: Scope,
        *,
        runtime_id: str,
        partition: Partition,
        host: Host,
        intake: Intake,
        outbox: Outbox,
        clock: Clock,
    ) -> None:
        self._broker = broker
        self._scope = scope
        self._wire_scope = envelopes.wire_scope(scope)
        self._prefix = subjects.inbound_prefix(scope)
        self._runtime_id = runtime_id
        self._partition = partition
        self._host = host
        self._intake = intake
        self._outbox = outbox
        self._clock = clock
        self._numbers = count(1)
        self._open: dict[str, _Open] = {}
        self._ids: dict[CallLink, str] = {}
        self._running: dict[tuple[str, str], tuple[Rpc, str]] = {}
        self._queues: dict[tuple[tuple[str, str], tuple[str, str]], deque[tuple[Letter, Callable[[], None]]]] = {}
        self._sent = 0
        self._log = logs.bound("zocket.runtime", workspace=scope.workspace_id, project=scope.project_id)
        intake.called = self.called
        host.tells.post = self.post
        if partition.count > 1:
            host.calls.elsewhere = self

    # -- calls out -----------------------------------------------------------------------------------------------

    def has(self, actor: str, actor_id: str) -> bool:
        """See `Elsewhere.has`."""
        return subjects.partition_of_instance(actor, actor_id, self._partition.count) != self._partition.number

    def call(self, link: CallLink, request: Rpc, request_id: str, left_s: float) -> None:
        """See `Elsewhere.call`."""
        call_id = f"c_{next(self._numbers)}"
        caller = link.caller
        called_by = CalledBy(caller.actor, caller.actor_id, list(caller.chain), max(1, int(left_s * 1000)))
        payload = self._envelope(call_id, request_id, called_by, request, takes_chunks=bool(link.credits))
        subject = self._prefix + subjects.instance(request.actor, request.actor_id)
        self._open[call_id] = _Open(link, subject, payload)
        self._ids[link] = call_id
        self._publish(call_id)

    def give_up(self, link: CallLink) -> None:
        """See `Elsewhere.give_up`."""
        call_id = self._ids.pop(link, None)
        if call_id is not None:
            del self._open[call_id]
            self._say(call_id)

    def credit(self, link: StreamLink, number: int) -> None:
        """See `Elsewhere.credit`."""
        if (call_id := self._ids.get(link)) is not None:
            self._say(call_id, number)

    def _say(self, call_id: str, received: int = 0) -> None:
        word = envelopes.encode(envelopes.CallControl(self._runtime_id, call_id, received))
        self._outbox.add_message(subjects.call_control(self._scope), word)

    def answered(self, messages: list[Message]) -> None:
        """Takes what other runtimes send to this one as a gateway."""
        for message in messages:
            try:
                batch = envelopes.decode_batch(message.payload)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                self._log.warning("an answer of another runtime cannot be decoded")
                continue
            for delivery in batch.deliveries if batch.scope == self._wire_scope else ():
                for call_id in delivery.sessions:
                    self._answer(call_id, bytes(delivery.message))

    def send_again(self) -> None:
        """The connection was lost, and maybe calls or answers with it.

        A stream has no key that would keep it single: whoever iterates over it is told, and its call is cancelled.
        """
        for call_id, waiting in list(self._open.items()):
            if waiting.link.credits:
                self._say(call_id)
                self._answer(call_id, frames.failure(_CALL_ID, Unavailable(INTERRUPTED)))
            else:
                self._publish(call_id)

    def _publish(self, call_id: str) -> None:
        self._sent += 1
        message_id = f"{self._runtime_id}:{call_id}:{self._sent}"  # never the same: the answer may have been lost
        waiting = self._open[call_id]
        self._outbox.add_call(waiting.subject, waiting.payload, message_id, partial(self._published, call_id))

    def _published(self, call_id: str, error: ZocketError | None) -> None:
        if error is not None and (self._broker.connected or not isinstance(error, Unavailable)):
            self._answer(call_id, frames.failure(_CALL_ID, error))

    def _answer(self, call_id: str, frame: bytes) -> None:
        waiting = self._open.get(call_id)
        if waiting is None:
            return
        if waiting.link.credits and frame.startswith(_CHUNK):
            waiting.link.send_chunk(_CHUNK_OF, 0, frame)
            return
        del self._open[call_id]
        del self._ids[waiting.link]
        waiting.link.send(frame)

    def _envelope(
        self, call_id: str, request_id: str, caller: CalledBy, request: Rpc, *, takes_chunks: bool = False
    ) -> bytes:
        value = bytes(request.input) or None
        frame = frames.call(_CALL_ID, request.actor, request.actor_id, request.method, value, request.idempotency_key)
        return envelopes.call(
            self._wire_scope, self._runtime_id, call_id, request_id, caller, frame, takes_chunks=takes_chunks
        )

    # -- one-way calls out ---------------------------------------------------------------------------------------

    def post(self, letter: Letter, arrived: Callable[[], None]) -> None:
        """See `Tells.post`: it is its receiver's business once the stream holds it."""
        way = (letter.sender, letter.receiver)
        queue = self._queues.setdefault(way, deque())
        queue.append((letter, arrived))
        if len(queue) == 1:
            self._send_first(way, AGAIN_FIRST_S)

    def _send_first(self, way: tuple[tuple[str, str], tuple[str, str]], again_s: float) -> None:
        queue = self._queues.get(way)
        if queue is not None:
            letter, _ = queue[0]
            told, key = letter.told, call_name(letter.told.request_id)
            payload = self._envelope(ONE_WAY, told.request_id, CalledBy(*letter.sender), letter.request())
            subject = self._prefix + subjects.instance(*letter.receiver)
            self._outbox.add_call(subject, payload, f"tell:{key}", partial(self._posted, way, again_s))

    def _posted(self, way: tuple[tuple[str, str], tuple[str, str]], again_s: float, error: ZocketError | None) -> None:
        queue = self._queues.get(way)
        if queue is None:
            return
        letter, arrived = queue[0]
        fields = {"actor": letter.told.actor, "actor_id": letter.told.actor_id, "request": letter.told.request_id}
        if error is not None and not isinstance(error, TooLarge):
            self._log.warning("a one-way call cannot leave, trying again: %s", error.message, extra=fields)
            following_s = min(2 * again_s, AGAIN_MOST_S)
            self._clock.call_later(again_s, partial(self._send_first, way, following_s))
            return
        if error is not None:
            self._log.error("a one-way call is dropped: %s", error.message, extra=fields)
        queue.popleft()
        if queue:
            self._send_first(way, AGAIN_FIRST_S)
        else:
            del self._queues[way]
        arrived()

    # -- calls in ------------------------------------------------------------------------------------------------

    def called(self, envelope: Inbound, request_id: str, position: Position, finished: Callable[[], None]) -> None:
        """Takes a call that another instance, or server code, makes."""
        by, request = envelope.caller, envelope.message
        assert by is not None
        assert isinstance(request, frames.Rpc)
        if not by.timeout_ms:
            told = TellLink((by.actor, by.actor_id))
            done = self._host.tells.finisher(told, request, request_id, finished, position)
            self._intake.submit(told, request, request_id, done, position)
            return
        caller = Caller("actor", None, by.actor, by.actor_id, tuple(by.chain)) if by.actor else SERVER
        link = _Answering(self._outbox, envelope, caller)
        name = (envelope.gateway or "", envelope.session_id)
        self._running[name] = (request, request_id)
        timer = None  # a stream that nobody takes ends by the time limit of its own turn
        if not envelope.credits:
            timer = self._clock.call_later(by.timeout_ms / 1000, partial(self._cancel, name))
        self._intake.submit(link, request, request_id, partial(self._finish, name, timer, finished), position)

    def controlled(self, messages: list[Message]) -> None:
        """Takes what other runtimes say of their calls: that they wait no longer, or how far its chunks have come."""
        for message in messages:
            try:
                word = envelopes.decode_call_control(message.payload)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                self._log.warning("what a runtime says of its call cannot be decoded")
                continue
            name = (word.gateway, word.session_id)
            if not word.received:
                self._cancel(name)
            elif (found := self._running.get(name)) is not None:
                self._host.credit("", found[1], word.received)

    def _cancel(self, name: tuple[str, str]) -> None:
        found = self._running.get(name)
        if found is not None:
            request, request_id = found
            self._host.cancel(request.actor, request.actor_id, "", request_id)

    def _finish(self, name: tuple[str, str], timer: TimerHandle | None, finished: Callable[[], None]) -> None:
        if timer is not None:
            timer.cancel()
        self._running.pop(name, None)
        finished()

    # -- end -----------------------------------------------------------------------------------------------------

    def forget(self) -> None:
        """Nothing more leaves: another runtime has the instances, and what they have stored."""
        self._queues.clear()
        self._open.clear()
        self._ids.clear()

    def samples(self) -> Iterator[Sample]:
        """Counts for a scrape."""
        yield Sample("calls_elsewhere", "Calls of instances in other runtimes.", "counter", self._sent)
        yield Sample("calls_elsewhere_open", "Those that wait for their answer.", "gauge", len(self._open))
