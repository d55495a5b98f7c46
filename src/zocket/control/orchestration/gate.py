"""The gate that a new runtime has to pass: standby, then ready, then alive for a while.

Rules: what a runtime reported and how its process is come in from two sides, in any order; a report of a failure is
preferred to the bare end of the process, so a process that ended is given a moment for its report to arrive.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from zocket.errors import PlatformError

if TYPE_CHECKING:
    from collections.abc import Callable

    from zocket.clock import Clock
    from zocket.control.orchestration.port import Exit, Observation
    from zocket.control.schemas import Report

REPORT_WAIT_S: Final = 0.5
"""How long the report of a process that has ended may still be on its way."""


class Refused(PlatformError):
    """A runtime did not pass; the message is its own where it said something."""

    default_code = "deployment_refused"


class Gate:
    """One runtime on its way."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._standby = False
        self._ready = False
        self._failure: str | None = None
        self._exit: Exit | None = None
        self._news = asyncio.Event()

    @property
    def is_ready(self) -> bool:
        """Whether it said that it serves."""
        return self._ready

    def heard(self, report: Report) -> None:
        """The runtime said something."""
        match report.status:
            case "standby":
                self._standby = True
            case "ready":
                self._ready = True
            case "failed":
                self._failure = report.message or "the runtime gave no message"
            case "smoke":
                pass
        self._news.set()

    def observed(self, observation: Observation | None) -> None:
        """Its process is in another state."""
        if observation is not None and observation.last_exit is not None and self._exit is None:
            self._exit = observation.last_exit
        self._news.set()

    async def wait_standby(self, timeout_s: float) -> None:
        """Until it stands by, or serves already.

        Raises:
            Refused: it failed, ended, or took too long.
        """
        await self._until(lambda: self._standby or self._ready, timeout_s, "in standby")

    async def wait_ready(self, timeout_s: float) -> None:
        """Until it serves.

        Raises:
            Refused: it failed, ended, or took too long.
        """
        await self._until(lambda: self._ready, timeout_s, "ready after its activation")

    async def wait_grace(self, grace_s: float) -> None:
        """Until it has lived for a while.

        Raises:
            Refused: it failed or ended meanwhile.
        """
        deadline = self._clock.now() + grace_s
        while self._clock.now() < deadline:
            await self._check()
            await self._wait_news(deadline - self._clock.now())
        await self._check()

    async def _until(self, reached: Callable[[], bool], timeout_s: float, what: str) -> None:
        deadline = self._clock.now() + timeout_s
        while True:
            await self._check()
            if reached():
                return
            left_s = deadline - self._clock.now()
            if left_s <= 0:
                raise Refused(f"the runtime was not {what} within {timeout_s:g} s; look at its log")
            await self._wait_news(left_s)

    async def _check(self) -> None:
        if self._exit is not None and self._failure is None:
            deadline = self._clock.now() + REPORT_WAIT_S
            while self._failure is None and self._clock.now() < deadline:
                await self._wait_news(deadline - self._clock.now())
        if self._failure is not None:
            raise Refused(self._failure)
        if self._exit is not None:
            raise Refused(self._exit.message)

    async def _wait_news(self, timeout_s: float) -> None:
        timer = self._clock.call_later(max(timeout_s, 0.0), self._news.set)
        try:
            await self._news.wait()
        finally:
            timer.cancel()
        self._news.clear()
