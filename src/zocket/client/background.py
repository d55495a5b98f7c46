"""An event loop in a thread of its own, for programs that have none or whose loop is busy with them.

Rules: what runs in the loop is begun and ended there; a thread that stops waiting cancels what it waits for; the thread
never keeps the program alive, and ends when nothing refers to its `Background` any more.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import weakref
from concurrent.futures import Future
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from zocket.errors import Disconnected, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

R = TypeVar("R")


class Background:
    """A running loop that other threads hand work to.

    Args:
        at_end: run in the loop when it is closed; it lets everything that was begun there come to its end.
    """

    def __init__(self, at_end: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._loop = asyncio.new_event_loop()
        self._lock = threading.Lock()
        self.closed = False
        stopping = asyncio.Event()
        self._thread = threading.Thread(
            target=_serve, args=(self._loop, stopping, at_end), name="zocket-client", daemon=True
        )
        self._stop = weakref.finalize(self, _stop, self._loop, stopping)
        self._thread.start()

    def run(self, operation: Callable[[], Coroutine[Any, Any, R]]) -> R:
        """What `operation` gives, run in the loop; the calling thread waits for it.

        An exception that ends the waiting, as Ctrl-C does, cancels the operation.

        Raises:
            Disconnected: the loop is closed.
            UsageError: the loop's own thread cannot wait for itself.
        """
        if threading.current_thread() is self._thread:
            raise UsageError("a synchronous client cannot be waited for in its own thread, as in a token function")
        outcome: Future[R] = Future()
        try:  # from here on, since Ctrl-C may come before the waiting begins
            with self._lock:
                if self.closed:
                    raise Disconnected("the client was closed")
                self._loop.call_soon_threadsafe(_begin, operation, outcome)
            return outcome.result()
        finally:
            outcome.cancel()

    def post(self, callback: Callable[[], object]) -> None:
        """Runs a callback in the loop, soon; never once the loop is closed. Nobody waits, so finalizers may use it."""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(callback)

    def close(self) -> None:
        """Runs `at_end`, then ends the thread; from any thread, any number of times."""
        with self._lock:
            self.closed = True
            self._stop()
        if threading.current_thread() is not self._thread:
            self._thread.join()


def _serve(
    loop: asyncio.AbstractEventLoop, stopping: asyncio.Event, at_end: Callable[[], Coroutine[Any, Any, None]]
) -> None:
    # No method: a thread that refers to its `Background` would keep it for ever.
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(_until(stopping, at_end))


async def _until(stopping: asyncio.Event, at_end: Callable[[], Coroutine[Any, Any, None]]) -> None:
    await stopping.wait()
    await at_end()
    if others := asyncio.all_tasks() - {asyncio.current_task()}:
        await asyncio.wait(others)


def _stop(loop: asyncio.AbstractEventLoop, stopping: asyncio.Event) -> None:
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(stopping.set)


def _begin(operation: Callable[[], Coroutine[Any, Any, R]], outcome: Future[R]) -> None:
    task = asyncio.get_running_loop().create_task(_run(operation))
    task.add_done_callback(lambda task: _settle(task, outcome))
    outcome.add_done_callback(partial(_abandon, task))


async def _run(operation: Callable[[], Coroutine[Any, Any, R]]) -> R:
    return await operation()


def _settle(task: asyncio.Task[R], outcome: Future[R]) -> None:
    if not outcome.set_running_or_notify_cancel():
        if not task.cancelled():
            task.exception()  # nobody waits for it
    elif task.cancelled():
        outcome.set_exception(Disconnected("the client was closed"))
    elif (error := task.exception()) is not None:
        outcome.set_exception(error)
    else:
        outcome.set_result(task.result())


def _abandon(task: asyncio.Task[Any], outcome: Future[Any]) -> None:
    """In whichever thread settles the outcome."""
    if outcome.cancelled():
        with contextlib.suppress(RuntimeError):
            task.get_loop().call_soon_threadsafe(task.cancel)
