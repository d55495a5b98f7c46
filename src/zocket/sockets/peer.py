"""One open WebSocket: the session's frames out, the client's messages in, and every way it can end.

Rules: `send` never writes, it queues for this loop turn; what waits for the client is bounded in bytes; messages reach
the session whole and only while the socket is open; whatever goes wrong ends this socket and no other.

    OPEN ──close, violation, 1013──► CLOSING ──client's close or end──► GONE
                                       └──violation: discard input──► LINGERING ──► GONE
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from enum import Enum
from functools import partial
from typing import TYPE_CHECKING, Final

from picows import WSFrame, WSListener, WSMsgType, WSTransport

from zocket.sockets.backlog import TRY_AGAIN_LATER, Backlog
from zocket.sockets.deadlines import Deadlines
from zocket.sockets.goodbye import say_goodbye
from zocket.sockets.members import Members
from zocket.sockets.outgoing import PONG_FRAME, Outgoing
from zocket.sockets.port import PAUSE_S, is_goodbye
from zocket.sockets.wire import Drain, Wire

if TYPE_CHECKING:
    from collections.abc import Callable

    from zocket.sockets.limits import Counts, SocketLimits
    from zocket.sockets.port import Peer, SocketSession

log = logging.getLogger("zocket.sockets")

TEXT: Final = WSMsgType.TEXT
BINARY: Final = WSMsgType.BINARY

NORMAL, PROTOCOL_ERROR, TOO_BIG, INTERNAL_ERROR = 1000, 1002, 1009, 1011
"""Close codes (RFC 6455, section 7.4.1, and its registry)."""

MAX_REASON_BYTES: Final = 123
"""A close frame's payload is at most 125 bytes, two of them the code."""


class State(Enum):
    """Where a socket is; see the module's picture."""

    OPEN = "open"
    CLOSING = "closing"
    LINGERING = "lingering"
    GONE = "gone"


OPEN: Final = State.OPEN


def _ignore(message: bytes) -> None:
    """Where messages go that come when no session is there."""


class Sockets:
    """What the sockets of one front share."""

    def __init__(self, limits: SocketLimits, counts: Counts) -> None:
        self.limits = limits
        self.counts = counts
        self.outgoing = Outgoing(counts)
        self.backlog = Backlog(limits)
        self.peers: Members[SocketPeer] = Members()
        self.closing: Deadlines[SocketPeer] = Deadlines(limits.close_timeout_s, SocketPeer.abort)
        self.paused: Deadlines[SocketPeer] = Deadlines(PAUSE_S, SocketPeer.read_on)
        self.ping_ticks = 0
        self.lost_ticks = 0

    async def close_all(self, code: int, reason: str) -> None:
        """Closes the sockets that are open now, and returns when all of them are gone."""
        for peer in self.peers:
            peer.close(code, reason)
        await self.peers.wait_left()


class SocketPeer(WSListener):
    """A `Peer` on picows."""

    __slots__ = (
        "_active",
        "_buffered",
        "_counts",
        "_fragments",
        "_has_said_goodbye",
        "_held",
        "_max_buffer_bytes",
        "_opening",
        "_outgoing",
        "_pong",
        "_queue",
        "_quiet_ticks",
        "_received",
        "_room",
        "_session",
        "_slow_room",
        "_sockets",
        "_state",
        "_transport",
        "_wire",
        "_write",
        "_ws",
        "remote",
    )

    def __init__(self, sockets: Sockets, transport: asyncio.Transport, remote: str) -> None:
        self.remote = remote
        self._sockets = sockets
        self._outgoing = sockets.outgoing
        self._counts = sockets.counts
        self._max_buffer_bytes = sockets.limits.max_buffer_bytes
        self._transport = transport
        self._opening: list[bytes] | None = []
        self._write: Callable[[bytes], object] = self._opening.append
        self._buffered = transport.get_write_buffer_size
        self._state = State.GONE
        self._session: SocketSession | None = None
        self._received: Callable[[bytes], None] = _ignore
        self._ws: WSTransport | None = None
        self._wire: Wire | None = None
        self._queue: list[bytes] = []
        self._room = self._max_buffer_bytes
        self._slow_room = self._max_buffer_bytes - sockets.limits.slow_reader_bytes
        self._pong: bytes | None = None
        self._fragments: bytearray | None = None
        self._held: deque[bytes] | None = None
        self._has_said_goodbye = False
        self._active = True
        self._quiet_ticks = 0

    # ---- opening

    def begin(self, key: str, early: bytes, open_session: Callable[[Peer], SocketSession]) -> None:
        """Makes the session, answers the upgrade together with its first frames, and reads what came early."""
        self._wire = wire = Wire(self, self._sockets.limits.max_frame_bytes)
        self._write(wire.begin(self._transport, key))
        try:
            self._session = open_session(self)
            self._received = self._session.received
        except Exception:  # border: the session is code from above, and may fail to start
            log.exception("a session could not be opened", extra={"remote": self.remote})
            self._fail()
        self.flush()
        self._answer()
        if early and self._state is OPEN:
            wire.feed(early)

    def _answer(self) -> None:
        """Lets out what waits for the session to be made; whatever picows writes by itself must come behind it."""
        if self._opening is not None:
            opening, self._opening = self._opening, None
            # aiofastnet's own name for a write that checks neither thread nor type.
            self._write = getattr(self._transport, "write_nocheck", self._transport.write)
            self._write(b"".join(opening))
            self._measure_room()
            if self._room < self._slow_room:
                self._sockets.backlog.watch(self)

    def on_ws_connected(self, ws: WSTransport) -> None:
        """The upgrade is taken."""
        self._ws = ws
        self._state = OPEN
        self._sockets.peers.add(self)
        self._counts.opened += 1

    # ---- sending

    def send(self, frame: bytes) -> None:
        """Sends one text frame in this loop turn, together with the others."""
        if self._state is not OPEN:
            return
        queue = self._queue
        if not queue:
            self._outgoing.add(self)
        queue.append(frame)
        self._room -= len(frame)
        if self._room < 0:
            self._measure_room()

    def flush(self) -> None:
        """Writes what is queued."""
        if self._pong is not None:
            self._write(bytes((PONG_FRAME, len(self._pong))) + self._pong)
            self._pong = None
            self._measure_room()
        frames = self._queue
        if frames:
            self._queue = []
            self._write(self._outgoing.framed(frames))
            self._room = self._max_buffer_bytes - self._buffered()
            if self._room < self._slow_room:
                self._sockets.backlog.watch(self)

    def _measure_room(self) -> None:
        """`_room` counts what was sent but not what the client has read meanwhile, so it may be too small."""
        self._room = self._max_buffer_bytes - self.unsent_bytes()
        if self._room < 0:
            self.give_up("more bytes wait than one socket may hold")

    # ---- a client that reads slowly

    def unsent_bytes(self) -> int:
        """See `Reader.unsent_bytes`."""
        return self._buffered() + sum(map(len, self._queue))

    def fell_behind(self) -> None:
        """See `Reader.fell_behind`."""
        if self._state is OPEN and self._session is not None:
            self._tell(self._session.fell_behind)

    def caught_up(self) -> None:
        """See `Reader.caught_up`."""
        if self._state is OPEN and self._session is not None:
            self._tell(self._session.caught_up)

    def give_up(self, reason: str) -> None:
        """Closes with 1013; what is queued is dropped. `reason` is for the log."""
        if self._state is OPEN:
            self._counts.slow += 1
            extra = {"remote": self.remote, "unsent_bytes": self.unsent_bytes(), "reason": reason}
            log.info("a client reads too slowly", extra=extra)
            self._queue = []
            self._say_close(TRY_AGAIN_LATER, "too slow")

    def _tell(self, notice: Callable[[], None]) -> None:
        try:
            notice()
        except Exception:  # border: the session is code from above; its failure ends this socket alone
            log.exception("a session failed", extra={"remote": self.remote})
            self._fail()

    # ---- receiving

    def pause(self) -> None:
        """See `Peer.pause`; what was read together with the message that is served now waits as well."""
        if self._state is OPEN and self._held is None:
            self._held = deque()
            self._received = self._held.append
            self._transport.pause_reading()
            self._sockets.paused.add(self)

    def read_on(self) -> None:
        """The pause is over: serves what waits, until the session asks for another one."""
        held, session = self._held, self._session
        self._held = None
        if session is None:
            return
        self._active = True
        self._received = session.received
        while held and self._state is OPEN:
            message = held.popleft()
            self._tell(partial(session.received, message))
            if self._held is not None:
                self._held.extend(held)
                return
        self._transport.resume_reading()

    def on_ws_frame(self, ws: WSTransport, frame: WSFrame) -> None:
        """A frame came whole."""
        kind = frame.msg_type  # read once: picows makes the enum member anew
        self._active = True
        if self._state is not OPEN:
            if kind is WSMsgType.CLOSE and self._state is State.CLOSING:
                self.hang_up()
        elif frame.rsv1 or frame.rsv2 or frame.rsv3:
            self.violated(PROTOCOL_ERROR, "reserved bits are set", say=True)
        elif (kind is TEXT or kind is BINARY) and self._fragments is None and frame.fin:
            self._deliver(frame.get_payload_as_bytes())
        elif kind is WSMsgType.PING:
            if not self._queue and self._pong is None:
                self._outgoing.add(self)
            self._pong = frame.get_payload_as_bytes()
        elif kind is WSMsgType.CLOSE:
            self._answer_close(frame.get_payload_as_bytes())
        elif kind is not WSMsgType.PONG:
            self._receive_fragment(kind, frame)

    def _receive_fragment(self, kind: WSMsgType, frame: WSFrame) -> None:
        first = kind is not WSMsgType.CONTINUATION
        if first is (self._fragments is not None):
            self.violated(PROTOCOL_ERROR, "fragments are out of order", say=True)
            return
        if self._fragments is None:
            self._fragments = bytearray()
        if len(self._fragments) + frame.payload_size > self._sockets.limits.max_frame_bytes:
            self.violated(TOO_BIG, "the message is too big", say=True)
            return
        self._fragments += frame.get_payload_as_bytes()
        if frame.fin:
            message, self._fragments = bytes(self._fragments), None
            self._deliver(message)

    def _deliver(self, message: bytes) -> None:
        counts = self._counts
        counts.messages_in += 1
        counts.bytes_in += len(message)
        try:
            self._received(message)
        except Exception:  # border: the session is code from above; its failure ends this socket alone
            log.exception("a session failed", extra={"remote": self.remote})
            self._fail()
        if not self._outgoing.planned:
            self._outgoing.plan()

    def _fail(self) -> None:
        self._counts.failed += 1
        self.close(INTERNAL_ERROR, "internal error")

    # ---- ending

    def close(self, code: int, reason: str = "") -> None:
        """Sends what is waiting, then closes with the code; the client has limited time to answer."""
        if self._state is OPEN:
            self.flush()
            if self._state is OPEN:  # flushing may have found that the client does not read
                self._say_close(code, reason)

    def hang_up(self) -> None:
        """Both sides have said their last word, or the client can say none: closes the connection."""
        if self._state in (OPEN, State.CLOSING):
            if self._state is OPEN:
                self.flush()
            self._state = State.CLOSING
            self._sockets.closing.add(self)
            self._transport.close()

    def violated(self, code: int, reason: str, *, say: bool = False) -> None:
        """The client broke the protocol: its further bytes mean nothing.

        Args:
            code: what the socket is closed with.
            reason: goes into the log and the close frame.
            say: whether the close frame is still to be sent; picows sends it for what it finds itself.
        """
        if self._state is not OPEN:
            return
        if code == TOO_BIG:
            self._counts.oversize += 1
        else:
            self._counts.violations += 1
        log.info("a client broke the protocol", extra={"remote": self.remote, "code": code, "reason": reason})
        self.flush()
        if say and self._state is OPEN:
            self._say_close(code, reason)
        self._state = State.CLOSING
        self._sockets.closing.add(self)
        asyncio.get_running_loop().call_soon(self._linger)

    def abort(self) -> None:
        """Cuts the connection."""
        self._transport.abort()

    def beat(self) -> None:
        """Called regularly: pings a client that is quiet, and cuts one that stays quiet."""
        if self._state is not OPEN:
            return
        if self._active:
            self._active = False
            self._quiet_ticks = 0
            return
        self._quiet_ticks += 1
        if self._quiet_ticks == self._sockets.ping_ticks and self._ws is not None:
            self._ws.send_ping()
        elif self._quiet_ticks >= self._sockets.lost_ticks:
            self._counts.lost += 1
            log.info("a client does not answer pings", extra={"remote": self.remote})
            self.abort()

    def on_ws_disconnected(self, ws: WSTransport) -> None:
        """The connection is gone."""
        self._state = State.GONE
        self._sockets.peers.discard(self)
        self._sockets.closing.discard(self)
        self._sockets.paused.discard(self)
        self._sockets.backlog.discard(self)
        session, self._session, self._ws, self._wire = self._session, None, None, None
        self._received = _ignore
        self._queue = []
        self._fragments = self._held = None
        if session is not None:
            try:
                session.closed(said_goodbye=self._has_said_goodbye)
            except Exception:  # border: the session is code from above; its socket is gone either way
                log.exception("a session failed to close", extra={"remote": self.remote})

    def pause_writing(self) -> None:
        """Nothing: the front's backlog looks after what waits."""

    def resume_writing(self) -> None:
        """Nothing: the queue never waits for it."""

    def _say_close(self, code: int, reason: str) -> None:
        self._answer()
        self._state = State.CLOSING
        self._sockets.closing.add(self)
        if self._ws is not None:
            text = reason.encode()[:MAX_REASON_BYTES].decode(errors="ignore")
            self._ws.send_close(code, text)  # type: ignore[arg-type]  # any code is taken, not only picows' own

    def _answer_close(self, payload: bytes) -> None:
        code = int.from_bytes(payload[:2], "big") if payload else NORMAL
        self._has_said_goodbye = bool(payload) and is_goodbye(code)
        while self._held:
            self._sockets.paused.discard(self)
            self.read_on()
        self.flush()
        if self._state is OPEN:
            self._say_close(code, "")
            self.hang_up()

    def _linger(self) -> None:
        """Discards input until the client closes: closing with unread bytes would throw the close frame away."""
        if self._state is not State.CLOSING or self._wire is None:
            return
        self._state = State.LINGERING
        self._transport.set_protocol(Drain(self._wire))
        say_goodbye(self._transport)
