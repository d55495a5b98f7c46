"""Clients that read too slowly: their state frames are left out, and a snapshot makes up for them; sans-I/O.

Rules: a client sees a jump, never a hole. Once a state frame of an instance was left out, the next state frame of it
that the client gets is a snapshot, whatever comes before. Everything that is no state frame passes. A session that
keeps up is not here: its frames go to its peer directly.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

import msgspec

from zocket.metrics import Sample
from zocket.protocol.frames import StateSub

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from zocket.protocol.edge import EdgeSession

ASK_AGAIN_S: Final = 5.0
"""A snapshot that has not come for so long is asked for again: its request or its answer was lost or refused."""

_STATE: Final = b'{"type":"state:'
_SNAPSHOT: Final = "state:snapshot"


class Peer(Protocol):
    """Where a session's frames go."""

    def send(self, frame: bytes) -> None:
        """Sends one frame."""

    def close(self, code: int, reason: str = "") -> None:
        """Closes the socket."""

    def unsent_bytes(self) -> int:
        """What waits for the client in this process."""

    def pause(self) -> None:
        """Reads nothing more of the client for a moment."""


class Coalesced(Protocol):
    """A session as it is seen from here: a `SlowReader` takes the place of its `peer` while it is needed."""

    peer: Peer

    @property
    def edge(self) -> EdgeSession:
        """Knows the subscriptions."""

    def subscribe_again(self, subscriptions: Sequence[StateSub]) -> None:
        """Sends these subscriptions to their actors, without a version."""


class _StateHead(msgspec.Struct, rename="camel", frozen=True, gc=False):
    type: str
    actor: str
    actor_id: str


_decode_state_head: Final = msgspec.json.Decoder(_StateHead).decode


class SlowReader:
    """The peer of a session while its client is behind, and until the last snapshot has made up for it.

    Attributes:
        is_behind: state frames are left out.
        stale: subscriptions of which state frames were left out, and no snapshot came since.
        asked_at: when their snapshots were asked for (monotonic seconds).
    """

    __slots__ = ("_readers", "_session", "asked_at", "is_behind", "peer", "stale")

    def __init__(self, readers: SlowReaders, session: Coalesced) -> None:
        self._readers = readers
        self._session = session
        self.peer = session.peer
        self.is_behind = True
        self.stale: dict[StateSub, None] = {}
        self.asked_at = 0.0

    def send(self, frame: bytes) -> None:
        """See `Peer.send`; a state frame may be left out."""
        head = self._readers.state_head(frame)
        if head is None:
            self.peer.send(frame)
            return
        subscription = StateSub(head.actor, head.actor_id)
        if self.is_behind:
            if subscription in self._session.edge.subscriptions:
                self.stale[subscription] = None
            self._readers.left_out()
        elif subscription not in self.stale:
            self.peer.send(frame)
        elif head.type == _SNAPSHOT:
            self.peer.send(frame)
            del self.stale[subscription]
            if not self.stale:
                self._readers.discard(self._session)
        else:
            self._readers.left_out()

    def close(self, code: int, reason: str = "") -> None:
        """See `Peer.close`."""
        self.peer.close(code, reason)

    def unsent_bytes(self) -> int:
        """See `Peer.unsent_bytes`."""
        return self.peer.unsent_bytes()

    def pause(self) -> None:
        """See `Peer.pause`."""
        self.peer.pause()

    def ask(self, now: float) -> None:
        """Asks for the snapshots that are owed; those that the client wants no more are forgotten."""
        subscriptions = self._session.edge.subscriptions
        self.stale = {subscription: None for subscription in self.stale if subscription in subscriptions}
        self.asked_at = now
        if self.stale:
            self._session.subscribe_again(list(self.stale))
        else:
            self._readers.discard(self._session)


class SlowReaders:
    """The slow readers of one server."""

    def __init__(self) -> None:
        self._readers: dict[Coalesced, SlowReader] = {}
        self._coalesced = 0
        self._last_frame: bytes = b""
        self._last_head: _StateHead | None = None

    def fell_behind(self, session: Coalesced) -> None:
        """From now on the session gets no state frames."""
        reader = self._readers.get(session)
        if reader is None:
            reader = self._readers[session] = SlowReader(self, session)
            session.peer = reader
        reader.is_behind = True

    def caught_up(self, session: Coalesced, now: float) -> None:
        """The session gets a snapshot of everything that it missed frames of, and then all frames again."""
        reader = self._readers.get(session)
        if reader is not None and reader.is_behind:
            reader.is_behind = False
            reader.ask(now)

    def sweep(self, now: float) -> None:
        """Asks again for snapshots that did not come; called about every second."""
        for reader in list(self._readers.values()):
            if not reader.is_behind and now - reader.asked_at >= ASK_AGAIN_S:
                reader.ask(now)

    def discard(self, session: Coalesced) -> None:
        """The session keeps up, or is gone: its frames go to its own peer."""
        reader = self._readers.pop(session, None)
        if reader is not None:
            session.peer = reader.peer

    def left_out(self) -> None:
        """Counts a frame."""
        self._coalesced += 1

    def state_head(self, frame: bytes) -> _StateHead | None:
        """What a state frame is about, None for any other; a broadcast, one object for all, is decoded once."""
        if not frame.startswith(_STATE):
            return None
        if frame is not self._last_frame:
            self._last_frame = frame
            try:
                self._last_head = _decode_state_head(frame)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                self._last_head = None
        return self._last_head

    def samples(self) -> Iterator[Sample]:
        """Counts for a scrape."""
        behind = sum(reader.is_behind for reader in self._readers.values())
        yield Sample("sessions_behind", "Sessions whose client reads too slowly.", "gauge", behind)
        yield Sample("frames_coalesced", "State frames that snapshots make up for.", "counter", self._coalesced)
