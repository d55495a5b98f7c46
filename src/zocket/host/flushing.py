"""Commit points inside a turn: what it has changed and emitted so far leaves while its handler goes on.

Rules: a flush commits like the end of a turn, but no message counts as finished by it; a durable instance's leaves when
it is stored, and a turn whose flush cannot be stored fails whatever its handler makes of that. Flushes by time happen
where the handler is suspended, one after the other.
"""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import TYPE_CHECKING

from zocket.errors import Unavailable
from zocket.host.keeper import Outcome
from zocket.host.resident import FLUSH, NOBODY

if TYPE_CHECKING:
    from collections.abc import Callable

    from zocket.clock import Clock, TimerHandle
    from zocket.core import Effects, Instance
    from zocket.host.host import Host
    from zocket.host.resident import Resident

log = logging.getLogger("zocket.host")


class Flushing:
    """The flushes of a host.

    Args:
        host: publishes what they let out.
        clock: time of regular flushes.
    """

    def __init__(self, host: Host, clock: Clock) -> None:
        self._host = host
        self._clock = clock

    async def flush(self, instance: Instance) -> None:
        """What the instance's turn did so far has left, or is stored and has left, afterwards.

        Raises:
            PlatformError: it cannot be stored, or the turn has failed already.
            StateValueError: the state holds what JSON cannot.
            TooLarge: the state or an event is over its limit.
        """
        resident = self._host.resident_of(instance)
        if resident is None:
            raise Unavailable(f"{instance.definition.name}: the instance does not live here any more")
        keeper = resident.keeper
        if keeper is not None and keeper.trouble is not None:
            self._fail(resident)
        effects = instance.commit_part()
        if keeper is None:
            self._host.publish(resident, effects)
            await asyncio.sleep(0)
            return
        stored: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        waiting = resident.flushes = resident.flushes or []
        waiting.append(stored)
        self.keep(resident, effects, partial(_settle, stored, True))
        try:
            is_stored = await stored
        finally:
            waiting.remove(stored)
        if not is_stored:
            self._fail(resident)

    def keep(self, resident: Resident, effects: Effects, done: Callable[[], None]) -> None:
        """Hands a part of a turn to the store; `done` is called when it has left."""
        assert resident.keeper is not None
        self._host.begin()
        piece = (NOBODY, FLUSH, "", done, self._clock.now(), None)
        resident.keeper.add(Outcome(piece, effects, None))

    @staticmethod
    def _fail(resident: Resident) -> None:
        """Ends the turn: what it builds on is not stored."""
        assert resident.keeper is not None
        instance = resident.instance
        if instance.abandoned is None:
            instance.abandoned = resident.keeper.trouble or Unavailable("what the turn has flushed could not be stored")
        raise instance.abandoned

    def regularly(self, resident: Resident, every_s: float) -> Regular:
        """Flushes every so many seconds until it is stopped."""
        return Regular(self, self._host, self._clock, resident, every_s)


class Regular:
    """Flushes of one turn by time."""

    __slots__ = ("_clock", "_every_s", "_flushing", "_host", "_is_stored", "_resident", "_timer")

    def __init__(self, flushing: Flushing, host: Host, clock: Clock, resident: Resident, every_s: float) -> None:
        self._flushing = flushing
        self._host = host
        self._clock = clock
        self._resident = resident
        self._every_s = every_s
        self._is_stored = True
        self._timer: TimerHandle = clock.call_later(every_s, self._flush)

    def stop(self) -> None:
        """The turn is over."""
        self._timer.cancel()

    def _flush(self) -> None:
        self._timer = self._clock.call_later(self._every_s, self._flush)
        instance, keeper = self._resident.instance, self._resident.keeper
        if not (instance.in_turn and instance.abandoned is None and self._is_stored):
            return
        if keeper is not None and keeper.trouble is not None:
            return
        try:
            effects = instance.commit_part()
        except Exception as error:  # noqa: BLE001 — border: a developer's values; the end of the turn raises it again
            log.debug("a regular flush is left out: %s", error)
            return
        if not any(effects):
            return
        if keeper is None:
            self._host.publish(self._resident, effects)
        else:
            self._is_stored = False
            self._flushing.keep(self._resident, effects, self._stored)

    def _stored(self) -> None:
        self._is_stored = True


def give_up_flushes(resident: Resident) -> None:
    """Nothing more is stored before the turn in progress has ended: whoever waits for that is told."""
    for stored in resident.flushes or ():
        _settle(stored, False)


def _settle(stored: asyncio.Future[bool], is_stored: bool) -> None:
    if not stored.done():
        stored.set_result(is_stored)
