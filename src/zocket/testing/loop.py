"""An event loop on virtual time, for tests that finish in milliseconds whatever they wait for.

Rules: time stands still while anything is ready to run, and jumps to the next timer when nothing is. So every timeout,
backoff and sleep happens in its order and at its time, and none of them takes any. Work in threads is waited for
really; a test that waits for what can never come fails instead of hanging.
"""

from __future__ import annotations

import asyncio
import selectors
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

THREAD_WAIT_S: Final = 10.0
"""Real seconds that the loop waits for threads and sockets before it says that nothing will ever come."""
START: Final = 1_000.0
"""Virtual `time()` at which every loop starts: no test may rely on a zero."""


class Deadlock(RuntimeError):
    """Nothing is ready, no timer runs, and no thread is at work: the test waits for something that never comes."""


class _JumpingSelector(selectors.DefaultSelector):
    """Polls; instead of waiting for a timeout, moves the loop's time by it."""

    loop: VirtualLoop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """See `selectors.BaseSelector.select`."""
        events = super().select(0)
        if events or (timeout is not None and timeout <= 0):
            return events
        if self.loop.threads_at_work:
            return super().select(THREAD_WAIT_S if timeout is None else min(timeout, 0.01))
        if self.loop.resolve_quiet():
            return events
        if timeout is None:
            events = super().select(THREAD_WAIT_S)
            if not events:
                raise Deadlock("nothing is ready and no timer runs: the test waits for something that never comes")
            return events
        self.loop.jump(timeout)
        return events


class VirtualLoop(asyncio.SelectorEventLoop):
    """A selector loop whose time jumps from timer to timer."""

    def __init__(self) -> None:
        selector = _JumpingSelector()
        selector.loop = self
        self._virtual_now = START
        self.threads_at_work = 0
        self._awaiting_quiet: list[asyncio.Future[None]] = []
        super().__init__(selector)

    def time(self) -> float:
        """Virtual seconds."""
        return self._virtual_now

    def jump(self, seconds: float) -> None:
        """Moves the time forward."""
        self._virtual_now += seconds

    async def quiet(self) -> None:
        """Waits until nothing is left to do at this time."""
        waiting: asyncio.Future[None] = self.create_future()
        self._awaiting_quiet.append(waiting)
        await waiting

    def resolve_quiet(self) -> bool:
        """Nothing is ready: tells who waits for that; False if nobody does."""
        waiting, self._awaiting_quiet = self._awaiting_quiet, []
        for future in waiting:
            if not future.done():
                future.set_result(None)
        return bool(waiting)

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:  # type: ignore[override]
        """See `asyncio.loop.run_in_executor`; time stands still until the thread is done."""
        future = super().run_in_executor(executor, func, *args)
        self.threads_at_work += 1
        future.add_done_callback(self._thread_done)
        return future

    def _thread_done(self, _: asyncio.Future[Any]) -> None:
        self.threads_at_work -= 1
