"""The whole chain in one process: sockets above, a host below, no broker between.

Rules: the same `EdgeSession` as the gateway's checks every frame, the same `Host` as the runtime's runs the actors;
only what lies between them is left out. A socket that its client closes is a session that ends; one that is lost is
a session that is dropped, and may be resumed on another socket as long as this server runs.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import msgspec

from zocket.clock import SystemClock
from zocket.core import Session
from zocket.errors import KICKED, REPLACED, Unauthorized
from zocket.host import Host, Link
from zocket.host.calls import ServerInvoker
from zocket.metrics import Sample
from zocket.protocol import frames
from zocket.protocol.coalescing import SlowReaders
from zocket.protocol.edge import EXPIRED_CODE, KICKED_CODE, REFUSED_AGAIN_S, EdgeSession
from zocket.protocol.flow import Flow
from zocket.sockets.refresh import Refresh, expiry_of
from zocket.sockets.resumption import ResumeTokens, first_socket

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping, Sequence

    from zocket.clock import Clock
    from zocket.core import AppDefinition
    from zocket.protocol.edge import Pending
    from zocket.protocol.frames import CallId, EventSub, StateSub
    from zocket.server.sqlite_store import SqliteStore
    from zocket.settings import Limits
    from zocket.sockets.port import Peer

DEFAULT_STATE_FILE: Final = ".zocket/state.db"
"""Where a standalone server keeps its durable actors, from the working directory."""
FEATURES: Final = (frames.CANCEL,)
"""What clients are told that they may use, whether or not there is an `authorize`."""
SWEEP_S: Final = 1.0
"""How often calls over their time limit are looked for; also the coarseness of that limit."""

log = logging.getLogger("zocket.server")


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a socket belongs to; what an app's `authorize` gives.

    Attributes:
        user_id: becomes `self.session.user_id`; None for somebody unknown.
        claims: becomes `self.session.claims`. After the time `exp` in it, seconds since the epoch, the socket is closed
            with 4401, unless the client has given another token.
    """

    user_id: str | None = None
    claims: Mapping[str, Any] = field(default_factory=dict)


Authorize = Callable[[str | None], Awaitable[Identity | None]]
"""An app's `authorize`."""


async def identify(authorize: Authorize | None, token: str | None) -> Identity:
    """Who a token belongs to.

    Raises:
        Unauthorized: it is missing, or none that the app accepts.
    """
    if authorize is None:
        return Identity()
    identity = await authorize(token)
    if identity is None:
        raise Unauthorized("the token is missing or not accepted")
    return identity


class LocalSession(Link):
    """One socket: a `SocketSession` for the front, a `Link` for the host."""

    __slots__ = ("_flow", "_is_ending", "_is_kicked", "_refresh", "_server", "edge", "expires_at", "peer")

    def __init__(self, server: LocalServer, peer: Peer, session: Session, resume: str) -> None:
        super().__init__(session)
        self._server = server
        self.credits = True
        self._is_ending = self._is_kicked = False
        self._refresh: Refresh[Identity] | None = None
        self.expires_at = expiry_of(session.claims)
        self.peer: Peer = peer
        self.edge = EdgeSession(session.socket or session.id, server.limits)
        self._flow: Flow | None = None
        peer.send(frames.welcome(session.id, server.features, self.expires_at, resume))

    @property
    def session_id(self) -> str:
        """The id of its session, which may have had other sockets."""
        assert self.session is not None
        return self.session.id

    def received(self, frame: bytes) -> None:
        """See `SocketSession.received`."""
        if self._is_ending:
            return
        edge, server = self.edge, self._server
        read_clock = server.read_clock
        request = edge.receive(frame, read_clock())
        if edge.outgoing:
            self.flush()
        if request is not None:
            server.host.submit(self, request, edge.request_id)
        elif edge.withdrawn:
            self._cancel_withdrawn()
        elif edge.token is not None:
            self._offer(edge.token)

    def _cancel_withdrawn(self) -> None:
        edge = self.edge
        withdrawn, edge.withdrawn = edge.withdrawn, []
        for _, number, actor, actor_id in withdrawn:
            self._server.host.cancel(actor, actor_id, self.session_id, f"{edge.request_prefix}{number}")

    def send(self, frame: bytes) -> None:
        """See `Link.send`."""
        self.peer.send(frame)

    def refuse(self, frame: bytes) -> None:
        """See `Link.refuse`; for a reason that passes it is asked for again."""
        self.peer.send(frame)
        again = self.edge.take_problem(frame)
        if again:
            self._server.clock.call_later(REFUSED_AGAIN_S, lambda: self.subscribe_again(self.edge.still_wanted(again)))

    def dismiss(self, frame: bytes) -> None:
        """See `Link.dismiss`."""
        self._is_kicked = True
        self.refuse(frame)
        self.end(KICKED_CODE, KICKED)

    def replace(self) -> None:
        """The session goes on at another socket."""
        self.peer.send(frames.replaced())
        self.end(KICKED_CODE, REPLACED)

    def answer(self, call_id: CallId, frame: bytes, *, kept: bool = False) -> None:
        """See `Link.answer`; the answer to a call that was already answered (`timeout`) is dropped."""
        edge = self.edge
        if edge.pending.pop(call_id, None) is not None or edge.settle(bytes(call_id)):
            self.peer.send(frame)

    def send_chunk(self, call_id: CallId, number: int, frame: bytes) -> None:
        """See `Link.send_chunk`; a chunk of a call that was already answered is dropped."""
        pending = self.edge.renew(bytes(call_id), self._server.clock.now())
        if pending is None:
            return
        self.peer.send(frame)
        if self._flow is None:
            low_bytes = self._server.limits.slow_reader_bytes // 2
            self._flow = Flow(lambda: self.peer.unsent_bytes(), low_bytes, self._credit, self._server.clock.call_later)
        self._flow.sent(pending, number, len(frame))

    def _credit(self, pending: Pending, number: int) -> None:
        self._server.host.credit(self.session_id, f"{self.edge.request_prefix}{pending[1]}", number)

    def flush(self) -> None:
        """Sends what the edge has to say, and reads less of a client that has gone too far."""
        edge = self.edge
        for frame in edge.outgoing:
            self.peer.send(frame)
        edge.outgoing.clear()
        if edge.has_excess:
            edge.has_excess = False
            self.peer.pause()

    def end(self, code: int, reason: str) -> None:
        """Closes the socket; what the client sends from now on is not served."""
        if not self._is_ending:
            self._is_ending = True
            self._stop_refresh()
            self.peer.close(code, reason)

    def _offer(self, token: str) -> None:
        self.edge.token = None
        if self._server.authorize is None:
            return
        if self._refresh is None:
            self._refresh = Refresh(partial(identify, self._server.authorize), self._accept, self.send)
        self._refresh.offer(token, self.edge.request_id)

    def _accept(self, identity: Identity) -> float | None:
        """The session has the claims of another token of its user from its next turn on."""
        session = self.session
        assert session is not None
        if identity.user_id != session.user_id:
            raise Unauthorized("the token is somebody else's")
        self.renew(replace(session, claims=identity.claims))
        self.expires_at = expiry_of(identity.claims)
        return self.expires_at

    def _stop_refresh(self) -> None:
        if self._refresh is not None:
            self._refresh.cancel()

    def subscribe_again(self, subscriptions: Sequence[EventSub | StateSub]) -> None:
        """Sends these subscriptions to the host again."""
        for request in subscriptions:
            self.edge.next_number()
            self._server.host.submit(self, self.edge.subscriptions[request], self.edge.request_id)

    def fell_behind(self) -> None:
        """See `SocketSession.fell_behind`."""
        self._server.slow_readers.fell_behind(self)

    def caught_up(self) -> None:
        """See `SocketSession.caught_up`."""
        self._server.slow_readers.caught_up(self, self._server.clock.now())

    def closed(self, *, said_goodbye: bool = False) -> None:
        """See `SocketSession.closed`."""
        self._stop_refresh()
        self.edge.close()
        if self._flow is not None:
            self._flow.close()
        self._server.ended(self, dropped=not (said_goodbye or self._is_kicked))


class LocalServer:
    """Sessions of one process; made by `open`.

    Attributes:
        host: runs the actors.
        slow_readers: sessions whose clients do not keep up.
        read_clock: the clock's `now`, bound once.
        authorize: says whose a token is that an open socket is given; None takes none.
        features: additions that clients may use.
    """

    def __init__(
        self,
        definition: AppDefinition,
        *,
        clock: Clock,
        limits: Limits,
        dev_mode: bool,
        store: SqliteStore | None = None,
        authorize: Authorize | None = None,
    ) -> None:
        self.authorize = authorize
        self.features = FEATURES if authorize is None else (*FEATURES, frames.REFRESH)
        self.clock = clock
        self.read_clock = clock.now
        self.limits = limits
        alarms = None if store is None else store.alarms
        self.host = Host(definition, clock=clock, limits=limits, dev_mode=dev_mode, store=store, alarms=alarms)
        self.slow_readers = SlowReaders()
        self._resume = ResumeTokens(secrets.token_bytes(32), clock.wall) if definition.has_grace else None
        self._sessions: dict[str, LocalSession] = {}
        self._opened = 0
        self._timeouts = 0
        self._running = True

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        definition: AppDefinition,
        *,
        limits: Limits,
        clock: Clock | None = None,
        dev_mode: bool = False,
        drain_timeout_s: float = 10.0,
        state_file: str = DEFAULT_STATE_FILE,
        authorize: Authorize | None = None,
    ) -> AsyncIterator[LocalServer]:
        """A running server; at the end sockets are closed with 1001, open calls are finished, `on_deactivate` runs.

        Args:
            definition: what is served.
            limits: bounds of sessions and instances.
            clock: the machine's by default.
            dev_mode: unexpected exceptions reach callers with their text.
            drain_timeout_s: how long the end waits for open calls.
            state_file: where durable actors are kept; it is only made if there are any.
            authorize: says whose a token is that an open socket is given.

        Raises:
            BootError: the state file is another process's, or cannot be opened.
        """
        async with AsyncExitStack() as stack:
            store = await _open_store(stack, definition, state_file)
            server = cls(
                definition,
                clock=clock or SystemClock(),
                limits=limits,
                dev_mode=dev_mode,
                store=store,
                authorize=authorize,
            )
            if store is not None:
                await stack.enter_async_context(_one_life(store, server.host, server.clock))
            await server.host.timing.open(lambda key: key.actor in definition.actors)
            server.host.timing.start()
            server._sweep()
            for key in () if store is None else await store.unsent():
                if key.actor in definition.actors:
                    server.host.revive(*key)
            invoker = ServerInvoker(server.host)
            definition.invokers.append(invoker)
            try:
                yield server
            finally:
                definition.invokers.remove(invoker)
                server._running = False
                server.host.timing.stop()
                await server.host.drain(drain_timeout_s)
                for session in list(server._sessions.values()):
                    session.end(1001, "server stops")
                await server.host.aclose(drain_timeout_s)

    def open_session(self, peer: Peer, identity: Identity, metadata: bytes = b"", resume: str = "") -> LocalSession:
        """The session of a socket that was let in; `metadata` and `resume` as of `Head`.

        Where `resume` counts, it is that of the earlier socket, which is closed with 4403 if it lives still.
        """
        said = msgspec.json.decode(metadata) if metadata else {}
        socket, token, owner = first_socket(), "", (identity.user_id,)
        if self._resume is not None:
            resumed = self._resume.successor(resume, owner) if resume else None
            if resumed is not None:
                socket = resumed[1]
            token = self._resume.issue(socket, owner)
        session = Session(socket.session_id, identity.user_id, identity.claims, said, socket.name)
        local = LocalSession(self, peer, session, token)
        if socket.number:
            self._take_over(local)
        self._sessions[session.id] = local
        self._opened += 1
        return local

    def _take_over(self, local: LocalSession) -> None:
        """The session of an earlier socket goes on at this one."""
        earlier = self._sessions.get(local.session_id)
        if earlier is not None:
            self._leave(earlier)
            self.host.sessions.lapse(earlier)
            earlier.replace()
        self.host.sessions.resume(local)

    def _leave(self, local: LocalSession) -> None:
        del self._sessions[local.session_id]
        self.slow_readers.discard(local)

    def ended(self, local: LocalSession, *, dropped: bool) -> None:
        """The session's socket is gone."""
        if self._sessions.get(local.session_id) is local:
            self._leave(local)
            if dropped:
                self.host.sessions.lapse(local)
            else:
                local.lapsed = True
                self.host.sessions.disconnect(local.session_id, local.edge.session_id)

    def _sweep(self) -> None:
        """Answers calls over their time limit and closes sockets of expired tokens, for as long as the server runs."""
        if not self._running:
            return
        now, wall = self.clock.now(), self.clock.wall()
        for session in list(self._sessions.values()):
            if session.edge.pending and session.edge.expire(now):
                self._timeouts += 1
                session.flush()
            if session.expires_at is not None and session.expires_at <= wall:
                session.end(EXPIRED_CODE, "the token has expired")
        self.slow_readers.sweep(now)
        self.clock.call_later(SWEEP_S, self._sweep)

    def samples(self) -> Iterator[Sample]:
        """Counts for a scrape."""
        yield Sample("sessions", "Open sessions.", "gauge", len(self._sessions))
        yield Sample("sessions_opened", "Sessions opened so far.", "counter", self._opened)
        yield Sample("call_timeouts", "Calls answered with timeout.", "counter", self._timeouts)
        yield from self.slow_readers.samples()
        if self._resume is not None:
            yield from self._resume.samples()
        yield from self.host.samples()


def _one_life(store: SqliteStore, host: Host, clock: Clock) -> AbstractAsyncContextManager[None]:
    from zocket.server.suspect_runs import one_life

    return one_life(store, host, clock)


async def _open_store(stack: AsyncExitStack, definition: AppDefinition, state_file: str) -> SqliteStore | None:
    durable = [actor.cls.durability for actor in definition.actors.values() if actor.durable]
    if not durable:
        return None
    from zocket.server.sqlite_store import SqliteStore

    store = await stack.enter_async_context(SqliteStore.open(state_file, sync="sync" in durable))
    log.info("durable actors are stored", extra={"state_file": str(store.path)})
    return store
