"""Keeps one process of the platform running: starts it, starts it again when it dies, waits longer each time.

Rules: a process that ran steadily counts as healthy again; a stop is final, and nothing runs when it has returned.
"""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from zocket.clock import Clock
    from zocket.dev.child import Running

FIRST_DELAY_S: Final = 0.1
"""Before the first restart: a process that was killed comes back at once."""
MAX_DELAY_S: Final = 5.0
"""Longest wait of a process that dies again and again."""
STEADY_S: Final = 10.0
"""A process that lived this long was healthy; its next death is a first one."""


class Teller(Protocol):
    """Where a service tells of deaths and restarts."""

    def tell(self, text: str, *, level: str = ...) -> None:
        """Shows one line."""


class Service:
    """One role of the platform.

    Args:
        role: its name in the log.
        launch: starts its process.
        clock: time between restarts.
        console: where deaths and restarts are told.
        restarts: whether it is started again when it ends; may be changed while it runs.
        started: called with the id of each new process.
    """

    def __init__(
        self,
        role: str,
        launch: Callable[[], Awaitable[Running]],
        *,
        clock: Clock,
        console: Teller,
        restarts: bool = True,
        started: Callable[[int], None] = lambda pid: None,
    ) -> None:
        self.role = role
        self.restarts = restarts
        self.exit_code: int | None = None
        self._launch = launch
        self._clock = clock
        self._console = console
        self._started = started
        self._child: Running | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        """The process that runs now, None between two."""
        return self._child.pid if self._child is not None else None

    @property
    def ended(self) -> bool:
        """Whether it has ended and is not started again."""
        return self._task is not None and self._task.done()

    def start(self) -> None:
        """Begins; to be followed by `stop`."""
        self._task = asyncio.get_running_loop().create_task(self._keep())

    async def wait_ended(self) -> None:
        """Until it has ended for good.

        Raises:
            OSError: it could not be started.
        """
        assert self._task is not None, "start comes first"
        await asyncio.shield(self._task)

    async def stop(self) -> None:
        """Ends it for good; it is gone when this returns."""
        if self._task is None:
            return
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        child, self._child = self._child, None
        if child is not None:
            await child.stop()

    def kill(self) -> None:
        """Ends its process at once, for a stop that somebody does not want to wait for."""
        if self._child is not None:
            self._child.kill()

    async def _keep(self) -> None:
        delay_s = FIRST_DELAY_S
        while True:
            began = self._clock.now()
            self._child = await self._launch()
            pid = self._child.pid
            self._started(pid)
            self.exit_code = await self._child.wait()
            self._child = None
            if not self.restarts:
                return
            if self._clock.now() - began >= STEADY_S:
                delay_s = FIRST_DELAY_S
            died = f"{self.role} (process {pid}) {_died(self.exit_code)}"
            self._console.tell(f"{died}; starting it again", level="warning")
            await self._clock.sleep(delay_s)
            delay_s = min(2 * delay_s, MAX_DELAY_S)


def _died(code: int) -> str:
    if code >= 0:
        return f"ended with code {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"
