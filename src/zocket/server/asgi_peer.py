"""One ASGI socket's frames on their way out.

Rules: `send` never waits and never writes: what the sockets of one application send in a turn of the loop leaves behind
it, in one callback for all of them. There a socket's own task is impersonated for as long as the ASGI server's `send`
does not wait; from where it does, that task goes on, and takes the rest of what waits. So a frame costs no wake-up of a
task where nothing holds it up, and `send` runs in the task and context of its socket either way.
"""

from __future__ import annotations

import asyncio
import logging
from asyncio.tasks import _enter_task, _leave_task  # public: "Extending asyncio" of the Python documentation
from collections import deque
from contextvars import copy_context
from types import CoroutineType
from typing import TYPE_CHECKING, Any

from zocket.sockets.backlog import TRY_AGAIN_LATER

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator, MutableMapping

    from zocket.server.local import LocalSession
    from zocket.sockets.backlog import Backlog
    from zocket.sockets.limits import SocketLimits

    Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

log = logging.getLogger("zocket.server")


class Outbound:
    """The sockets of one application with something to send in this turn of the loop."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self._waiting: list[AsgiPeer] = []
        self._planned = False

    def plan(self) -> None:
        """Sends soon: after what is planned already. For whoever knows that frames are on their way."""
        if not self._planned:
            self._planned = True
            self.loop.call_soon(self._flush)

    def add(self, peer: AsgiPeer) -> None:
        """The peer's `flush` is called soon."""
        self._waiting.append(peer)
        self.plan()

    def _flush(self) -> None:
        self._planned = False
        peers, self._waiting = self._waiting, []
        for peer in peers:
            peer.flush()


class Started:
    """Awaits the rest of a coroutine whose first step was taken: it waits for `first`."""

    def __init__(self, coroutine: CoroutineType[Any, Any, Any], first: Any) -> None:
        self._coroutine = coroutine
        self._first = first

    def __await__(self) -> Generator[Any, Any, None]:
        """What the event loop drives."""
        awaited = self._first
        try:
            while True:
                try:
                    yield awaited
                except GeneratorExit:
                    raise
                except BaseException as error:  # noqa: BLE001 — a cancellation, which is the coroutine's to handle
                    awaited = self._coroutine.throw(error)
                else:
                    awaited = self._coroutine.send(None)
        except StopIteration:
            return
        finally:
            self._coroutine.close()


class AsgiPeer:
    """A `Peer` on ASGI's `send`; made in the task that runs `write`.

    Attributes:
        session: is told when the client falls behind.
        is_paused: the client is to be read no more for a while, for whoever reads it to clear.
    """

    def __init__(self, send: Send, limits: SocketLimits, backlog: Backlog, outbound: Outbound) -> None:
        self.session: LocalSession | None = None
        self.is_paused = False
        self._send = send
        self._limits = limits
        self._backlog = backlog
        self._outbound = outbound
        self._slow_reader_bytes = limits.slow_reader_bytes
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._is_queued = False
        self._closing: tuple[int, str] | None = None
        self._wake = asyncio.Event()
        self._started: tuple[Awaitable[None], int] | None = None
        self._context = copy_context()
        self._task: asyncio.Task[None] = asyncio.Task(self._write(), context=self._context)
        self._is_busy = False

    def send(self, frame: bytes) -> None:
        """See `Peer.send`."""
        if self._closing is not None:
            return
        self._waiting.append(frame)
        self._waiting_bytes += len(frame)
        if self._waiting_bytes > self._slow_reader_bytes:
            if self._waiting_bytes > self._limits.max_buffer_bytes:
                self.give_up("more bytes wait than one socket may hold")
            else:
                self._backlog.watch(self)
        if not self._is_queued:
            self._is_queued = True
            self._outbound.add(self)

    @property
    def is_closing(self) -> bool:
        """Whether this side has closed the socket."""
        return self._closing is not None

    def unsent_bytes(self) -> int:
        """See `Reader.unsent_bytes`; what the ASGI server has taken is its own business."""
        return self._waiting_bytes

    def pause(self) -> None:
        """See `Peer.pause`."""
        self.is_paused = True

    def fell_behind(self) -> None:
        """See `Reader.fell_behind`."""
        if self.session is not None:
            self.session.fell_behind()

    def caught_up(self) -> None:
        """See `Reader.caught_up`."""
        if self.session is not None:
            self.session.caught_up()

    def give_up(self, reason: str) -> None:
        """Closes with 1013; what waits is dropped. `reason` is for the log."""
        if self._closing is None:
            log.info("a client reads too slowly", extra={"unsent_bytes": self._waiting_bytes, "reason": reason})
            self._waiting.clear()
            self.close(TRY_AGAIN_LATER, "the client reads too slowly")

    def close(self, code: int, reason: str = "") -> None:
        """See `Peer.close`."""
        if self._closing is None:
            self._closing = (code, reason)
            self._go_on()

    async def aclose(self) -> None:
        """Sends nothing more; what is being sent is cancelled."""
        self._backlog.discard(self)
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    def flush(self) -> None:
        """Sends what waits, unless the socket's task is at it; called by the loop, in no task."""
        self._is_queued = False
        if self._is_busy or not self._waiting:
            return
        if self._task.done():
            self._waiting.clear()
            return
        _enter_task(self._outbound.loop, self._task)
        try:
            self._context.run(self._send_waiting)
        finally:
            _leave_task(self._outbound.loop, self._task)

    def _send_waiting(self) -> None:
        waiting = self._waiting
        while waiting:
            frame = waiting.popleft()
            try:
                sending = self._send({"type": "websocket.send", "text": _decoded(frame)})
                if type(sending) is CoroutineType:
                    sending = Started(sending, sending.send(None))
            except StopIteration:
                self._waiting_bytes -= len(frame)
            except Exception:  # noqa: BLE001 — border: the ASGI server's `send`; it says at `receive` that the client is gone
                self._task.cancel()
                return
            else:
                self._go_on(sending, len(frame))
                return

    def _go_on(self, started: Awaitable[None] | None = None, size: int = 0) -> None:
        """Lets the socket's task go on: with what was started, which sends so many bytes, and what waits behind it."""
        if started is not None:
            self._started = started, size
        self._is_busy = True
        self._wake.set()

    async def _write(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            if self._started is not None:
                (started, size), self._started = self._started, None
                await started
                self._waiting_bytes -= size
            while self._waiting:
                frame = self._waiting.popleft()
                await self._send({"type": "websocket.send", "text": _decoded(frame)})
                self._waiting_bytes -= len(frame)
            if self._closing is not None:
                code, reason = self._closing
                await self._send({"type": "websocket.close", "code": code, "reason": reason})
                return
            self._is_busy = False


_last_frame, _last_text = b"", ""


def _decoded(frame: bytes) -> str:
    """The frame as text; a broadcast, which is one object for all its sockets, is decoded once."""
    global _last_frame, _last_text
    if frame is not _last_frame:
        _last_frame, _last_text = frame, frame.decode()
    return _last_text
