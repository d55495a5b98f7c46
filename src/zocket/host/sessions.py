"""Which sessions each instance knows: from a session's first request to an instance until its `on_disconnect` there.

Rules: `on_connect` runs in front of the request that a session comes with; `on_disconnect` runs once, for whoever was
known. A session that has ended does not come back, whatever of it is still on its way. One that was dropped may
come back with another link; instances with a grace keep it meanwhile (`grace.py`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from zocket.host.durability import keeps_sessions
from zocket.host.grace import Grace
from zocket.host.resident import CONNECT, DISCONNECT, RESUME, Absent, Hook
from zocket.protocol.frames import EventUnsub, StateUnsub

if TYPE_CHECKING:
    from zocket.clock import Clock
    from zocket.host.host import Host
    from zocket.host.link import Link
    from zocket.host.resident import Piece, Resident
    from zocket.host.running import Running

GONE_KEPT_S: Final = 120.0
"""How long the socket of an ended session is remembered: twice the age at which its last requests leave the stream."""

_UNINTRODUCED: Final = (Hook, StateUnsub, EventUnsub)
"""What does not make a session known."""


class Sessions:
    """The sessions of a host.

    Args:
        host: runs the hooks.
        running: has calls that end with their session.
        clock: time of their ends.

    Attributes:
        grace: those that were dropped and may come back.
    """

    def __init__(self, host: Host, running: Running, clock: Clock) -> None:
        self._host = host
        self._running = running
        self._clock = clock
        self.grace = Grace(self, host, clock)
        self._known: dict[str, dict[Resident, None]] = {}
        self._gone: dict[str, float] = {}

    # -- the end of a session --------------------------------------------------------------------------------------

    def disconnect(self, session_id: str, socket: str = "") -> None:
        """The session has ended: every instance that knows it drops it and runs `on_disconnect` once (R6).

        `socket` is its socket, where that is not named after it.
        """
        self._note_gone(socket or session_id)
        self.grace.forget(session_id)
        self._part(session_id, dropped=False)

    def drop(self, session_id: str, socket: str = "") -> None:
        """The session was lost without a goodbye, and may come back at another socket: as `disconnect`.

        But an instance with a grace runs `on_drop`, and keeps it until that is over.
        """
        self._note_gone(socket or session_id)
        self._part(session_id, dropped=True)

    def lapse(self, link: Link) -> None:
        """As `drop`, of a session that may also come back at the same socket, with another link.

        What the link has asked already still runs, and does not bring the session back.
        """
        assert link.session is not None
        link.lapsed = True
        self._part(link.session.id, dropped=True)

    def resume(self, link: Link) -> None:
        """The session has this link; if it was dropped, it is back. To be called before the link's first request."""
        if not self.has_ended(link):
            self.grace.resume(link)

    def has_ended(self, link: Link) -> bool:
        """Whether nobody waits at the other end."""
        session = link.session
        return link.lapsed or (session is not None and (session.socket or session.id) in self._gone)

    def _note_gone(self, socket: str) -> None:
        now = self._clock.now()
        self._gone[socket] = now
        while self._gone and now - next(iter(self._gone.values())) > GONE_KEPT_S:
            del self._gone[next(iter(self._gone))]

    def _part(self, session_id: str, *, dropped: bool) -> None:
        now = self._clock.now()
        self._running.session_ended(session_id)
        for resident in self._known.pop(session_id, ()):
            link = resident.instance.sessions.get(session_id)
            if link is not None and not (dropped and self.grace.begin(resident, link)):
                self._host.put(resident, (link, DISCONNECT, "", None, now, None))

    def end_absent(self, resident: Resident, absent: dict[str, Absent]) -> None:
        """Drops the sessions that have not returned to this instance, nor to any other of this process."""
        if self._host.resident_of(resident.instance) is not resident:
            return
        now = self._clock.now()
        for session_id, link in absent.items():
            known = self._known.get(session_id, {})
            if resident in known and all(type(other.instance.sessions.get(session_id)) is Absent for other in known):
                self.end_known(resident, session_id)
                if not self.grace.begin(resident, link):
                    self._host.put(resident, (link, DISCONNECT, "", None, now, None))

    # -- who is known ----------------------------------------------------------------------------------------------

    def introduce(self, resident: Resident, link: Link, piece: Piece) -> bool:
        """A session's first request to the instance: `on_connect` goes in front of it (True), as a turn of its own.

        `on_resume` does if it was taken for dropped, for want of requests to an instance that was loaded.
        A session that has ended meanwhile stays a stranger, and so does one that only takes a subscription back.
        """
        assert link.session is not None
        if self.has_ended(link) or type(piece[1]) in _UNINTRODUCED:
            return False
        returned = link.session.id in resident.instance.sessions
        self.remember(resident, link.session.id, link)
        hook = CONNECT
        if returned:
            if not self.grace.take(resident, link.session.id):
                return False
            hook = RESUME
        elif not self.has_connect(resident):
            return False
        self._host.put_first(resident, (link, hook, "", None, piece[4], None), piece)
        return True

    def has_connect(self, resident: Resident) -> bool:
        """Whether a new session causes a piece: for guards, for `on_connect`, or to note it for its `on_disconnect`."""
        definition = resident.instance.definition
        return "on_connect" in definition.hooks or bool(definition.guards) or keeps_sessions(resident)

    def meet(self, resident: Resident, link: Link, request_id: str, now: float) -> None:
        """The instance knows the session from now on, though its `on_connect` runs when its turn comes."""
        assert link.session is not None
        if link.session.id not in resident.instance.sessions:
            self.remember(resident, link.session.id, link)
            if self.has_connect(resident):
                self._host.put(resident, (link, CONNECT, request_id, None, now, None))

    def meet_beside(self, resident: Resident, link: Link, piece: Piece) -> bool:
        """Whether a call may pass the mailbox: not where guards or `on_connect` are for its session to meet first."""
        known = link.session is None or link.session.id in resident.instance.sessions
        if not known and resident.instance.definition.guards:
            return False
        if known or self.has_ended(link):
            return self.may_pass(resident, link)
        if not resident.scheduled and self.has_connect(resident):
            return False
        self.meet(resident, link, piece[2], piece[4])
        return True

    def may_pass(self, resident: Resident, link: Link) -> bool:
        """Whether there is a state to see, and no earlier link of the session still waits for its `on_disconnect`."""
        session_id = "" if link.session is None else link.session.id
        return resident.active and resident.instance.sessions.get(session_id, link) is link

    def remember(self, resident: Resident, session_id: str, link: Link) -> None:
        """The instance knows the session from now on, by this link."""
        resident.instance.sessions[session_id] = link
        self._known.setdefault(session_id, {})[resident] = None

    # -- who is not known any more ---------------------------------------------------------------------------------

    def forget(self, resident: Resident, link: Link) -> None:
        """Drops a session; a hook that runs again finds it dropped already, or back with another link."""
        assert link.session is not None
        session_id = link.session.id
        if resident.instance.sessions.get(session_id) is link:
            del resident.instance.sessions[session_id]
            resident.watchers.discard(session_id)
            resident.events.discard(session_id)

    def turn_away(self, resident: Resident, link: Link) -> None:
        """The session was refused, and leaves no trace."""
        assert link.session is not None
        self.forget(resident, link)
        self.end_known(resident, link.session.id)

    def part_with(self, resident: Resident, link: Link, *, introduced: bool) -> bool:
        """The instance does not know the session any more; False if its `on_disconnect` is on its way already.

        That is the next turn, for one that was `introduced`, and does not concern its link, which may come back.
        """
        session = link.session
        assert session is not None
        if resident not in self._known.get(session.id, ()):
            return False
        self.turn_away(resident, link)
        if introduced:
            self._host.put_first(resident, (Absent(session), DISCONNECT, "", None, self._clock.now(), None))
            self._host.schedule(resident)
        return True

    def leave(self, resident: Resident) -> None:
        """The instance is not here any more."""
        for session_id in list(resident.instance.sessions):
            self.end_known(resident, session_id)

    def clear(self) -> None:
        """Nobody is here any more."""
        self._known.clear()
        self.grace.close()

    def end_known(self, resident: Resident, session_id: str) -> None:
        """The instance hears no more of what becomes of the session."""
        self.grace.take(resident, session_id)
        known = self._known.get(session_id, {})
        known.pop(resident, None)
        if not known:
            self._known.pop(session_id, None)
