"""`Gateway`: client sessions on a broker, without sockets and without HTTP.

Rules: a runtime's message reaches only sessions of the scope in its subject, and none if another runtime has taken over
since; nothing here waits while a message is handled; whoever may have missed something (a runtime restarted, or took
us for dead, or the broker was away) gets all its subscriptions sent again, a bounded number in each turn of the event
loop.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import deque
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final

import msgspec

from zocket.broker.port import Message
from zocket.broker.streams import transport_streams
from zocket.errors import Unavailable
from zocket.gateway.bursts import Bursts
from zocket.gateway.directory import Directory, Project
from zocket.gateway.dropped import what_counts
from zocket.gateway.liveness import Liveness
from zocket.gateway.session import GatewaySession, Identity, concerns_no_call
from zocket.gateway.statistics import Statistics
from zocket.ids import WHOLE
from zocket.protocol import envelopes, frames, subjects
from zocket.protocol.coalescing import SlowReaders
from zocket.protocol.edge import EXPIRED_CODE
from zocket.protocol.subjects import INBOUND_STREAM
from zocket.sockets.resumption import ResumeTokens, first_socket

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable

    from zocket.broker.port import Broker, ConnectionState
    from zocket.clock import Clock, TimerHandle
    from zocket.errors import ZocketError
    from zocket.gateway.bursts import Done
    from zocket.ids import Partition
    from zocket.metrics import Sample
    from zocket.settings import Limits
    from zocket.sockets.port import Peer
    from zocket.sockets.refresh import Renew
    from zocket.sockets.resumption import Socket

_log: Final = logging.getLogger("zocket.gateway")

RESTARTING_CODE: Final = 1012
"""Close code of a socket whose gateway stops (Service Restart): connect again."""
STOPPING: Final = "the gateway is stopping"
SWEEP_EVERY_S: Final = 1.0
"""How often old calls and expired tokens are looked for; a tenth of the call's time limit where that is shorter."""
RETRY_AFTER_S: Final = 1.0
"""Pause before a failed subscription or stream is tried again."""
LOST_AFTER_S: Final = 5.0
"""Time for the results that were on their way when the broker lost its memory: a runtime comes back after two seconds
at most, and most calls that it had taken are finished then. Later results are dropped. The same for the results of a
runtime that was superseded with calls that nobody else has."""
RESUBSCRIPTIONS_PER_TURN: Final = 200
"""Subscriptions sent again in one turn of the event loop, a few milliseconds of work."""
MAX_OUTSTANDING: Final = 5_000
"""Publishes without acknowledgement above which subscriptions are not sent again yet: the sessions' calls go first."""
BACK_OFF_S: Final = 0.01
"""Pause while there are more."""
DRAIN_POLL_S: Final = 0.05
"""How often a stopping gateway looks whether sessions have become idle."""


class Gateway:
    """Client sessions on a broker.

    Attributes:
        slow_readers: sessions whose clients do not keep up.
        gateway_id: announces that this gateway takes batches; unique for one run.
        bursts: what its sessions publish in this loop turn.
        low_bytes: a socket in which more wait is full for streams.
        resume_tokens: by which clients go on with sessions that were dropped.
        accepting: False once the gateway is stopping.
    """

    def __init__(
        self,
        broker: Broker,
        *,
        clock: Clock,
        limits: Limits,
        gateway_id: str,
        stream_storage: str,
        partitions: int,
        stream_replicas: int,
        resume_secret: bytes,
    ) -> None:
        self.broker = broker
        self.gateway_id = gateway_id
        self.bursts = Bursts(broker)
        self.statistics = Statistics()
        self.slow_readers = SlowReaders()
        self.accepting = True
        self.low_bytes = limits.slow_reader_bytes // 2
        self.now = clock.now
        self.resume_tokens = ResumeTokens(resume_secret, clock.wall)
        self.directory = Directory(broker, clock, self._restarted, self._wake_up, self._inbound_seen)
        self._clock = clock
        self._limits = limits
        self._streams = transport_streams(stream_storage, partitions, stream_replicas)
        self._sessions: dict[str, GatewaySession] = {}
        self._resumed: dict[str, GatewaySession] = {}
        self._awake = asyncio.Event()
        self._worker: asyncio.Task[None] | None = None
        self._is_broker_closed = False
        self._was_away = False
        self._streams_in_doubt = False
        self._in_doubt_since = 0.0
        self._subscriptions_lost = False
        self._inbound_incarnation = ""
        self._resubscribing: deque[GatewaySession] = deque()
        self._resubscribing_later: dict[GatewaySession, None] = {}
        self._liveness = Liveness(broker, clock, gateway_id)
        self._sweep_timer: TimerHandle | None = None
        self._sweep_every_s = min(SWEEP_EVERY_S, limits.call_timeout_s / 10)

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        broker: Broker,
        *,
        clock: Clock,
        limits: Limits,
        gateway_id: str | None = None,
        stream_storage: str = "memory",
        partitions: int = 1,
        stream_replicas: int = 1,
        resume_secret: bytes = b"",
    ) -> AsyncIterator[Gateway]:
        """A gateway that runs inside the `async with`; its sessions are closed with 1012 at the end.

        Sessions go on at every gateway with the same `resume_secret`; without one it makes its own.

        Raises:
            Unavailable: the streams cannot be made; or, at the end, the connection to the broker was closed for good.
        """
        gateway = cls(
            broker,
            clock=clock,
            limits=limits,
            gateway_id=gateway_id or "g_" + secrets.token_hex(6),
            stream_storage=stream_storage,
            partitions=partitions,
            stream_replicas=stream_replicas,
            resume_secret=resume_secret or secrets.token_bytes(32),
        )
        await gateway._ensure_streams()
        subscriptions = [
            await broker.subscribe(subjects.gateway_filter(gateway.gateway_id), gateway._batches),
            await broker.subscribe(subjects.ANY_SESSION, gateway._singles),
            await broker.subscribe(subjects.ANY_ANNOUNCEMENT, gateway.directory.announced),
        ]
        broker.on_connection(gateway._connection_changed)
        gateway._sweep()
        gateway._liveness.say()
        gateway._worker = asyncio.create_task(gateway._work(), name=f"gateway {gateway.gateway_id}")
        try:
            yield gateway
        finally:
            gateway._stop()
            for subscription in subscriptions:
                await subscription.aclose()
            gateway._worker.cancel()
            with suppress(asyncio.CancelledError):
                await gateway._worker

    async def wait_failed(self) -> None:
        """Returns when the gateway cannot go on; leaving its `async with` then says why."""
        if self._worker is not None:
            await asyncio.wait({self._worker})

    @property
    def ready(self) -> bool:
        """Whether new sessions can be served: the broker is there, its streams are, and nobody stops the gateway."""
        return self.accepting and self.broker.connected and not self._was_away

    def open_session(
        self,
        peer: Peer,
        identity: Identity,
        renew: Renew[Identity] | None = None,
        metadata: bytes = b"",
        resume: str = "",
    ) -> GatewaySession:
        """The session of a socket; `welcome` is its first frame.

        Where `resume` counts, it is that of the earlier socket, which is closed with 4403 if it lives here still.

        Args:
            peer: the socket.
            identity: whose it is.
            renew: says whose a further token is; without it the client is not told that it may offer one.
            metadata: as of `Head`.
            resume: as of `Head`.
        """
        project = self.directory.join(identity.scope)
        socket, previous = first_socket(), None
        if resume and project.resumes is not False:
            found = self.resume_tokens.successor(resume, (*project.key, identity.user_id))
            if found is not None:
                previous, socket = found
        session = GatewaySession(self, project, socket, peer, identity, renew, metadata)
        if previous is not None:
            self._take_over(session, previous, identity)
        project.sessions[socket.name] = self._sessions[socket.name] = session
        self.statistics.sessions_opened += 1
        session.welcome()
        notice = envelopes.SessionConnected(
            envelopes.wire_scope(project.scope), socket.name, identity.user_id, self._wall_ms()
        )
        self.broker.send([Message(subjects.connected(project.scope), envelopes.encode(notice))])
        _log.info("session opened" if previous is None else "session resumed", extra=session.fields)
        if not self.accepting:
            session.end(RESTARTING_CODE, STOPPING)
        return session

    def _take_over(self, session: GatewaySession, previous: Socket, identity: Identity) -> None:
        """The session of an earlier socket goes on at this one; runtimes hear it before its first request."""
        session_id = previous.session_id
        self._say_disconnected(session.project, previous, dropped=True, following=session.next_socket(identity))
        earlier = self._resumed.get(session_id) or self._sessions.get(session_id)
        if earlier is not None:
            frame = frames.replaced()
            earlier.send(frame)
            earlier.dismiss(frame)
        self._resumed[session_id] = session

    def _say_disconnected(
        self, project: Project, socket: Socket, *, dropped: bool, following: envelopes.NextSocket | None = None
    ) -> None:
        notice = envelopes.SessionDisconnected(
            envelopes.wire_scope(project.scope),
            socket.name,
            self._wall_ms(),
            dropped,
            socket.session_id if socket.number else None,
            socket.number,
            following,
        )
        self.broker.send([Message(subjects.disconnected(project.scope), envelopes.encode(notice))])

    def limits_of(self, identity: Identity) -> Limits:
        """Bounds of one session: the project's own, where it has some."""
        own = identity.limits
        if own is None:
            return self._limits
        rate, burst = own.rate_per_s, own.rate_burst
        return replace(
            self._limits,
            rate_per_s=self._limits.rate_per_s if rate is None else rate,
            rate_burst=self._limits.rate_burst if burst is None else burst,
        )

    def ended(self, session: GatewaySession, *, dropped: bool) -> None:
        """A session's socket is gone; called by the session."""
        project, socket = session.project, session.socket
        del self._sessions[socket.name], project.sessions[socket.name]
        if self._resumed.get(socket.session_id) is session:
            del self._resumed[socket.session_id]
        self.slow_readers.discard(session)
        self.directory.leave(project)
        self._say_disconnected(project, socket, dropped=dropped)
        _log.info("session closed", extra=session.fields)

    async def drain(self, timeout_s: float) -> None:
        """Closes every socket with 1012 as soon as it has no open call, and the rest after `timeout_s`."""
        self.accepting = False
        deadline = self._clock.now() + timeout_s
        while self._sessions:
            over = self._clock.now() >= deadline
            for session in list(self._sessions.values()):
                if over or not session.edge.pending:
                    session.end(RESTARTING_CODE, STOPPING)
            if over:
                return
            await self._clock.sleep(DRAIN_POLL_S)

    def samples(self) -> Iterable[Sample]:
        """What is counted, for `exposition.render`."""
        yield from self.statistics.samples(sessions=len(self._sessions), outstanding=self.broker.outstanding)
        yield from self.slow_readers.samples()
        yield from self.resume_tokens.samples()

    def publish_alone(self, subject: str, payload: bytes, message_id: str, done: Done) -> None:
        """Publishes one request as it is, behind those that wait to leave together."""
        self.bursts.flush()
        self.broker.publish(subject, payload, message_id, done)

    def later(self, delay_s: float, callback: Callable[[], None]) -> None:
        """Calls back after the delay; also if the session is closed by then."""
        self._clock.call_later(delay_s, callback)

    def resubscribe_later(self, session: GatewaySession) -> None:
        """Sends the session's subscriptions again after a pause: one could not be published."""
        if not self._resubscribing_later:
            self._clock.call_later(RETRY_AFTER_S, self._resubscribe_failed)
        self._resubscribing_later[session] = None

    def doubt_streams(self, error: ZocketError) -> None:
        """A publish failed: if the broker is there, a stream may be missing."""
        if isinstance(error, Unavailable) and self.broker.connected and not self._streams_in_doubt:
            self._streams_in_doubt = True
            self._in_doubt_since = self.now()
            self._wake_up()

    # What comes from the broker

    def _batches(self, messages: list[Message]) -> None:
        now = self.now()
        for message in messages:
            _, workspace_id, project_id, _ = message.subject.split(".")
            project = self.directory.find(workspace_id, project_id)
            if project is None:
                continue
            try:
                batch = envelopes.decode_batch(message.payload)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                self._unreadable(project)
                continue
            if batch.scope != project.wire_scope:
                self._unreadable(project)
                continue
            if batch.epoch not in project.epochs and batch.epoch is not None:
                counting = what_counts(project, batch.epoch, batch.deliveries)
                self.statistics.dropped += len(batch.deliveries) - len(counting)
                batch.deliveries = counting
            if batch.lapsed and batch.epoch not in project.past_epochs:
                self._resubscribe_project(project, WHOLE)
            for delivery in batch.deliveries:
                self._deliver(project, delivery, now)

    def _deliver(self, project: Project, delivery: envelopes.Delivery, now: float) -> None:
        frame = bytes(delivery.message)
        sessions = project.sessions
        if len(delivery.sessions) == 1:
            session = sessions.get(delivery.sessions[0])
            if session is not None:
                session.deliver(frame, now)
                if delivery.close:
                    session.dismiss(frame)
        elif concerns_no_call(frame):
            reached = 0
            for session_id in delivery.sessions:
                session = sessions.get(session_id)
                if session is not None:
                    session.peer.send(frame)
                    reached += 1
            self.statistics.frames_out += reached
            self.statistics.bytes_out += reached * len(frame)
        else:
            self.statistics.dropped += 1

    def _singles(self, messages: list[Message]) -> None:
        now = self.now()
        for message in messages:
            _, workspace_id, project_id, session_id = message.subject.split(".")
            session = self._sessions.get(session_id)
            if session is None or session.project.key != (workspace_id, project_id):
                continue
            try:
                outbound = envelopes.decode_outbound(message.payload)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                self._unreadable(session.project)
                continue
            if outbound.session_id != session_id or outbound.scope != session.project.wire_scope:
                self._unreadable(session.project)
                continue
            session.deliver(bytes(outbound.message), now)

    def _unreadable(self, project: Project) -> None:
        self.statistics.dropped += 1
        _log.warning("a runtime's message cannot be read, or contradicts its subject", extra=project.fields)

    def _connection_changed(self, state: ConnectionState) -> None:
        if self.accepting:
            _log.log(logging.INFO if state == "reconnected" else logging.WARNING, "broker %s", state)
        if state != "connected":
            self._was_away = True
        if state in ("reconnected", "closed"):
            self._is_broker_closed = state == "closed"
            self._in_doubt_since = self.now()
            self._wake_up()

    # What takes longer than a call

    def _wake_up(self) -> None:
        self._awake.set()

    async def _work(self) -> None:
        while True:
            await self._awake.wait()
            self._awake.clear()
            if self._is_broker_closed:
                raise Unavailable("the connection to the broker was closed")
            if self._was_away or self._streams_in_doubt:
                await self._recover()
            await self.directory.look_up()

    async def _recover(self) -> None:
        """Makes the streams that a restarted broker has lost; then everyone who may have missed something asks anew."""
        while self.broker.connected:
            try:
                await self._ensure_streams()
            except Unavailable as error:
                _log.warning("the streams cannot be made: %s", error.message)
                await self._clock.sleep(RETRY_AFTER_S)
                continue
            self._streams_in_doubt = False
            if not self.broker.connected:
                return
            if self._was_away:
                self._was_away, self._subscriptions_lost = False, True
                self.directory.discover(self.directory.projects())
            if self._subscriptions_lost:
                self._subscriptions_lost = False
                self._resubscribing_later.clear()
                self._resubscribe(self._sessions.values(), WHOLE)
            return

    async def _ensure_streams(self) -> None:
        since = self._in_doubt_since
        for spec in self._streams:
            await self.broker.ensure_stream(spec)
        inbound = await self.broker.stream_info(INBOUND_STREAM)
        if inbound is None:
            raise Unavailable(f"the stream {INBOUND_STREAM} is gone again")
        known, self._inbound_incarnation = self._inbound_incarnation, inbound.incarnation
        if known not in ("", inbound.incarnation):
            _log.warning("the broker has lost the stream %s; open calls from before are given up soon", INBOUND_STREAM)
            self._clock.call_later(LOST_AFTER_S, partial(self._fail_lost_calls, since))
            self._subscriptions_lost = True  # one may have lain in it

    def _inbound_seen(self, incarnation: str) -> None:
        """A runtime reads a stream that was made anew, maybe by itself: what lay in the old one is lost."""
        if self._inbound_incarnation not in ("", incarnation) and not self._streams_in_doubt:
            self._streams_in_doubt = True
            self._in_doubt_since = self.now()
            self._wake_up()

    def _fail_lost_calls(self, moment: float) -> None:
        for session in list(self._sessions.values()):
            session.fail_lost_calls(moment)

    def _restarted(self, project: Project, partition: Partition) -> None:
        for call in project.dropped.take(partition.number):
            self._clock.call_later(LOST_AFTER_S, call.give_up)
        self._resubscribe_project(project, partition)

    # Subscribing again

    def _resubscribe_project(self, project: Project, partition: Partition) -> None:
        self._resubscribe(project.sessions.values(), partition)

    def _resubscribe_failed(self) -> None:
        failed, self._resubscribing_later = self._resubscribing_later, {}
        if self.broker.connected and not self._was_away:  # else everyone's turn comes when it is back
            self._resubscribe(failed, WHOLE)

    def _resubscribe(self, sessions: Iterable[GatewaySession], partition: Partition) -> None:
        is_running = bool(self._resubscribing)
        for session in sessions:
            if session.edge.subscriptions:
                if not session.stale:
                    self._resubscribing.append(session)
                session.stale.add(partition)
        if self._resubscribing and not is_running:
            self._resubscribe_some()

    def _resubscribe_some(self) -> None:
        waiting = self._resubscribing
        if self.broker.outstanding > MAX_OUTSTANDING:
            self._clock.call_later(BACK_OFF_S, self._resubscribe_some)
            return
        budget = RESUBSCRIPTIONS_PER_TURN
        while waiting and budget > 0:
            budget -= waiting.popleft().resubscribe()
        if waiting:
            asyncio.get_running_loop().call_soon(self._resubscribe_some)

    # Time

    def _sweep(self) -> None:
        now, wall = self._clock.now(), self._clock.wall()
        for session in list(self._sessions.values()):
            session.expire_calls(now)
            if session.expires_at is not None and session.expires_at <= wall:
                session.end(EXPIRED_CODE, "the token has expired")
        self.slow_readers.sweep(now)
        self._sweep_timer = self._clock.call_later(self._sweep_every_s, self._sweep)

    def _stop(self) -> None:
        self.accepting = False
        if self._sweep_timer is not None:
            self._sweep_timer.cancel()
        self._liveness.stop()
        self._resubscribing.clear()
        for session in list(self._sessions.values()):
            session.end(RESTARTING_CODE, STOPPING)
            session.closed()

    def _wall_ms(self) -> int:
        return int(self._clock.wall() * 1000)
