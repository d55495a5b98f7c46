"""Lets idle instances leave memory, and keeps a host within its limits of instances and of state bytes.

Rules: only that leaves which loses nothing by it: durable instances, and those of a class with `idle_after` once they
have been idle for so long. Idle is what has no work, no subscriber, nothing unstored, and no session that a hook of its
class would miss. `on_deactivate` is an instance's last turn: a request that arrives before it begins keeps the
instance; one that arrives later is for a fresh instance, which is made when the last turn is stored. Nothing walks all
instances: they lie in heaps by the use that was known when they were last looked at.
"""

from __future__ import annotations

import math
from functools import partial
from heapq import heappop, heappush
from itertools import count
from typing import TYPE_CHECKING, Final

from zocket.errors import Overloaded
from zocket.metrics import Sample

if TYPE_CHECKING:
    from collections.abc import Iterator

    from zocket.clock import Clock, TimerHandle
    from zocket.core import ActorDefinition
    from zocket.host.host import Host
    from zocket.host.resident import Resident
    from zocket.settings import Limits

SWEEP_S: Final = 1.0
"""Between two looks for idle instances: how late one may leave."""
PAUSE_S: Final = 0.05
"""The same while more of them are due than one look takes."""
MAX_LOOKED_AT: Final = 256
"""Instances that one look, or one request that makes room, examines: a millisecond or two."""
MAX_LEAVING: Final = 256
"""Instances whose `on_deactivate` runs or is stored at the same time; the limits may be exceeded by as many."""

IDLE: Final = "idle"
INSTANCES: Final = "instances"
MEMORY: Final = "memory"


class _Lineup:
    """The instances of one actor type that may leave, the least recently used in front."""

    __slots__ = ("durable", "entries", "idle_after_s")

    def __init__(self, definition: ActorDefinition, default_s: float) -> None:
        self.durable = definition.durable
        self.idle_after_s = definition.idle_after or default_s or math.inf
        self.entries: list[tuple[float, int, Resident]] = []

    def due(self) -> float:
        """When the front one has been idle long enough, as far as is known."""
        return self.entries[0][0] + self.idle_after_s if self.entries else math.inf


class Eviction:
    """What leaves the memory of a host, and when.

    Args:
        host: runs the turns and holds the instances.
        clock: time of use.
        limits: `max_instances`, `max_memory_bytes`, `idle_after_s`.

    Attributes:
        state_bytes: estimated size of all states here.
    """

    def __init__(self, host: Host, *, clock: Clock, limits: Limits) -> None:
        self._host = host
        self._clock = clock
        self._max_instances = limits.max_instances
        self._max_bytes = limits.max_memory_bytes or math.inf
        self._lineups = {
            name: _Lineup(definition, limits.idle_after_s)
            for name, definition in host.definition.actors.items()
            if definition.durable or definition.idle_after is not None
        }
        self._numbers = count()
        self._leaving: dict[Resident, str] = {}
        self._counts = {IDLE: 0, INSTANCES: 0, MEMORY: 0}
        self._timer: TimerHandle | None = None
        self._planned = math.inf
        self.state_bytes = 0

    # -- who is here ---------------------------------------------------------------------------------------------

    def make_room(self) -> None:
        """There is room for one more instance afterwards; others may still be leaving.

        Raises:
            Overloaded: a limit is reached, and nothing may leave.
        """
        while self._host.instances - len(self._leaving) >= self._max_instances:
            resident = self._least_recently_used()
            if resident is None:
                raise Overloaded(f"{self._max_instances} instances live here already")
            self._evict(resident, INSTANCES)
        if not self._relieve():
            raise Overloaded(f"the states here have {self.state_bytes} bytes, the limit is {self._max_bytes}")

    def add(self, resident: Resident) -> None:
        """The instance lives here from now on."""
        self.weigh(resident)
        self._line_up(resident, resident.used)

    def weigh(self, resident: Resident) -> None:
        """Counts the present size of the instance's state."""
        size = resident.instance.document.size
        self.state_bytes += size - resident.size
        resident.size = size
        if self.state_bytes > self._max_bytes:
            self._plan(self._clock.now() + SWEEP_S)

    def forget(self, resident: Resident) -> None:
        """The instance is not here any more, for whatever reason."""
        resident.gone = True
        self._leaving.pop(resident, None)
        self.state_bytes -= resident.size
        resident.size = 0

    def _line_up(self, resident: Resident, used: float) -> None:
        lineup = self._lineups.get(resident.instance.definition.name)
        if lineup is not None:
            heappush(lineup.entries, (used, next(self._numbers), resident))
            self._plan(lineup.due())

    # -- leaving -------------------------------------------------------------------------------------------------

    def begin(self, resident: Resident) -> bool:
        """Whether the instance's last turn begins now; False if it is in use again."""
        if resident.active and _is_in_use(resident):
            return False
        resident.active = False
        if resident.keeper is not None:
            resident.keeper.careful = max(resident.keeper.careful, 1)  # no turn before the last one is stored
        return True

    def is_leaving(self, resident: Resident) -> bool:
        """Whether its last turn has begun."""
        return resident in self._leaving and not resident.active

    def _evict(self, resident: Resident, reason: str) -> None:
        if "on_deactivate" in resident.instance.definition.hooks:
            self._leaving[resident] = reason
            self._host.evict(resident, partial(self._settled, resident))
        else:
            self._counts[reason] += 1
            self._host.remove(resident)

    def _settled(self, resident: Resident) -> None:
        """The last turn is over and stored, or it was not begun. What it told has to arrive first."""
        if not resident.active and resident.keeper is not None and not resident.keeper.idle:
            self._clock.call_later(PAUSE_S, partial(self._settled, resident))
            return
        reason = self._leaving.pop(resident)
        if resident.active:
            self._line_up(resident, self._clock.now())
            return
        late = list(resident.mailbox)
        resident.mailbox.clear()
        self._counts[reason] += 1
        self._host.remove(resident)
        self._host.resubmit(late)

    # -- who may leave -------------------------------------------------------------------------------------------

    def _sweep(self) -> None:
        """Lets go who has been idle long enough, then whoever is in the way of the limit of memory."""
        self._timer, self._planned = None, math.inf
        now, looks = self._clock.now(), MAX_LOOKED_AT
        for lineup in self._lineups.values():
            while looks and lineup.due() <= now and len(self._leaving) < MAX_LEAVING:
                looks -= 1
                resident = self._look(lineup, now, lineup.entries[0][0])
                if resident is not None:
                    self._evict(resident, IDLE)
        if not looks:
            self._plan(now + PAUSE_S)
        self._relieve()
        due = min((lineup.due() for lineup in self._lineups.values()), default=math.inf)
        self._plan(max(due, now + SWEEP_S))

    def _look(self, lineup: _Lineup, now: float, unused_since: float) -> Resident | None:
        """Takes the front one out of its line if it is idle and was not used after `unused_since`.

        Else it gets the place that it should have.
        """
        resident = heappop(lineup.entries)[2]
        if resident.gone:
            return None
        idle = not (resident.scheduled or _is_in_use(resident))
        if idle and resident.used <= unused_since:
            return resident
        heappush(lineup.entries, (resident.used if idle else now, next(self._numbers), resident))
        return None

    def _least_recently_used(self) -> Resident | None:
        """Takes the least recently used instance that may leave now out of its line; None if none was found.

        It is exactly that one unless many were used since they were last looked at: then it is an idle one.
        """
        if len(self._leaving) >= MAX_LEAVING:
            return None
        now = self._clock.now()
        for look in range(MAX_LOOKED_AT):
            lines = [line for line in self._lineups.values() if line.entries and (line.durable or line.due() <= now)]
            if not lines:
                return None
            line = min(lines, key=lambda line: line.entries[0][0])
            exact = look < MAX_LOOKED_AT // 2 or not line.durable
            resident = self._look(line, now, line.entries[0][0] if exact else now)
            if resident is not None:
                return resident
        return None

    def _relieve(self) -> bool:
        """Lets instances go until the states fit; whether they do without those that are leaving."""
        if self.state_bytes <= self._max_bytes:
            return True
        leaving = sum(resident.size for resident in self._leaving)
        for _ in range(MAX_LEAVING):
            if self.state_bytes - leaving <= self._max_bytes:
                return True
            resident = self._least_recently_used()
            if resident is None:
                self._plan(self._clock.now() + SWEEP_S)
                return False
            self._evict(resident, MEMORY)
            leaving += resident.size
        self._plan(self._clock.now() + PAUSE_S)
        return False

    # -- time ----------------------------------------------------------------------------------------------------

    def _plan(self, at: float) -> None:
        """The next look is then, if none comes earlier."""
        if self._planned <= at:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._planned = at
        self._timer = self._clock.call_later(max(at - self._clock.now(), 0.0), self._sweep)

    def close(self) -> None:
        """Nothing leaves any more."""
        self._planned = -math.inf
        if self._timer is not None:
            self._timer.cancel()

    def samples(self) -> Iterator[Sample]:
        """Counts for a scrape."""
        yield Sample("state_bytes", "Estimated bytes of all states as JSON.", "gauge", self.state_bytes)
        for reason, number in self._counts.items():
            yield Sample("evictions", "Instances that left memory.", "counter", number, {"reason": reason})


def _is_in_use(resident: Resident) -> bool:
    """Whether somebody needs the instance besides the turn in progress."""
    definition = resident.instance.definition
    return bool(
        resident.mailbox
        or resident.watchers.links
        or resident.events.links
        or (resident.keeper is not None and not resident.keeper.idle)
        or (resident.instance.sessions and definition.keeps_sessions)
    )
