"""Sessions that were dropped and may come back: kept by the instances of classes with a `grace`, until it is over.

Rules: of one drop `on_drop` is followed by exactly one of `on_resume` and `on_disconnect`, unless the session is
kicked before; each is a turn of its own, in the order of the mailbox. What the instance sends does not reach a session
that is away: its subscriptions end with the drop. One timer for the whole host.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from itertools import count
from typing import TYPE_CHECKING, Final

from zocket.host.resident import DISCONNECT, DROP, RESUME
from zocket.metrics import Sample

if TYPE_CHECKING:
    from collections.abc import Iterator

    from zocket.clock import Clock, TimerHandle
    from zocket.host.host import Host
    from zocket.host.link import Link
    from zocket.host.resident import Resident
    from zocket.host.sessions import Sessions

MAX_AWAY: Final = 100_000
"""Graces that run in one host; beyond it the one that is over first ends at once."""
OVER_KEPT: Final = 64
"""Entries of graces that ended early, beside as many as run, before they are cleared away."""


class _Away:
    """One session that one instance waits for."""

    __slots__ = ("link", "over", "resident")

    def __init__(self, resident: Resident, link: Link) -> None:
        self.resident = resident
        self.link = link
        self.over = False


class Grace:
    """The sessions that a host's instances wait for.

    Args:
        sessions: knows who is known.
        host: runs the hooks.
        clock: measures the graces.
    """

    def __init__(self, sessions: Sessions, host: Host, clock: Clock) -> None:
        self._sessions = sessions
        self._host = host
        self._clock = clock
        self._away: dict[str, dict[Resident, _Away]] = {}
        self._due: list[tuple[float, int, _Away]] = []
        self._numbers = count()
        self._running = self._resumed = self._expired = 0
        self._timer: TimerHandle | None = None
        self._planned = 0.0
        self._closed = False

    def begin(self, resident: Resident, link: Link) -> bool:
        """The instance keeps the session that was dropped; False if its class does not."""
        grace_s = resident.instance.definition.grace_s
        if grace_s is None:
            return False
        assert link.session is not None
        session_id = link.session.id
        self._sessions.remember(resident, session_id, link)
        if resident in self._away.get(session_id, ()):
            return True  # it was away already
        resident.watchers.discard(session_id)
        resident.events.discard(session_id)
        self._host.put(resident, (link, DROP, "", None, self._clock.now(), None))
        self.wait(resident, link, grace_s)
        return True

    def wait(self, resident: Resident, link: Link, seconds: float) -> None:
        """The session, whose `on_drop` is ordered or stored already, has so much time left to come back."""
        assert link.session is not None
        self.take(resident, link.session.id)
        away = _Away(resident, link)
        self._away.setdefault(link.session.id, {})[resident] = away
        self._running += 1
        if len(self._due) > 2 * self._running + OVER_KEPT:
            self._due = [item for item in self._due if not item[2].over]
            heapify(self._due)
        heappush(self._due, (self._clock.now() + seconds, next(self._numbers), away))
        while self._running > MAX_AWAY:
            self._end_first()
        self._plan()

    def resume(self, link: Link) -> None:
        """The session is back by this link: `on_resume` is ordered wherever it is waited for."""
        assert link.session is not None
        for away in self._away.pop(link.session.id, {}).values():
            self._settle(away)
            self._resumed += 1
            self._sessions.remember(away.resident, link.session.id, link)
            self._host.put(away.resident, (link, RESUME, "", None, self._clock.now(), None))

    def take(self, resident: Resident, session_id: str) -> bool:
        """The instance waits no longer; False if it did not."""
        waiting = self._away.get(session_id, {})
        away = waiting.pop(resident, None)
        if away is None:
            return False
        self._settle(away)
        if not waiting:
            del self._away[session_id]
        return True

    def forget(self, session_id: str) -> None:
        """The session has ended for good."""
        for away in self._away.pop(session_id, {}).values():
            self._settle(away)

    def close(self) -> None:
        """No grace ends any more."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()

    def _settle(self, away: _Away) -> None:
        away.over = True
        self._running -= 1

    def _plan(self) -> None:
        while self._due and self._due[0][2].over:
            heappop(self._due)
        if not self._due or self._closed:
            return
        first = self._due[0][0]
        if self._timer is not None:
            if self._planned <= first:
                return
            self._timer.cancel()
        self._planned = first
        self._timer = self._clock.call_later(max(first - self._clock.now(), 0.0), self._sweep)

    def _sweep(self) -> None:
        self._timer = None
        now = self._clock.now()
        while self._due and self._due[0][0] <= now:
            self._end_first()
        self._plan()

    def _end_first(self) -> None:
        """The client has not come back in time, or there are too many to wait for."""
        away = heappop(self._due)[2]
        if away.over:
            return
        session = away.link.session
        assert session is not None
        self._expired += 1
        self._sessions.end_known(away.resident, session.id)
        self._host.put(away.resident, (away.link, DISCONNECT, "", None, self._clock.now(), None))

    def samples(self) -> Iterator[Sample]:
        """Counts for a scrape."""
        yield Sample("sessions_away", "Dropped sessions that instances wait for.", "gauge", self._running)
        outcome = "Dropped sessions that came back to an instance, or did not."
        yield Sample("graces_ended", outcome, "counter", self._resumed, {"outcome": "resumed"})
        yield Sample("graces_ended", outcome, "counter", self._expired, {"outcome": "expired"})
