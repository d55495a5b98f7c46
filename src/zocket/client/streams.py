"""What a client gives out for `async for`: the states of an instance, the events of an instance.

Rules: a stream holds its subscription from the moment it is made until `aclose`, the end of its `async with`, or until
nobody refers to it any more; what arrived is delivered before a stream ends. A slow reader of states misses all but the
newest one; a slow reader of events gets an error instead of a gap.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from zocket.errors import Overloaded, PatchError, UsageError, ZocketError

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self

    from zocket.protocol.client_session import Feed, Replica

T = TypeVar("T")

MAX_WAITING_EVENTS: Final = 1_000
"""Events that wait for a slow reader of one stream; one more ends the stream with `Overloaded`."""
MAX_WAITING_EVENT_BYTES: Final = 16 * 1024 * 1024
"""The same bound in bytes of payload, since one event may be as large as a result (1 MiB)."""


class _Stream(Generic[T]):
    """An asynchronous iterator over what one subscription brings; for one reader at a time."""

    _subscription: Feed | Replica | None = None

    def __init__(self, subscription: Feed | Replica, release: Callable[[Feed | Replica], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._name = str(subscription.instance)
        self._release = release
        self._waiter: asyncio.Future[None] | None = None
        self._end: ZocketError | None = None
        self._subscription = subscription

    def _ready(self) -> bool:
        """Whether there is something for the reader."""
        raise NotImplementedError

    def _take(self) -> T:
        """What there is."""
        raise NotImplementedError

    def _discard(self) -> None:
        """Nobody wants what there is."""
        raise NotImplementedError

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        while True:
            if self._ready():
                with contextlib.suppress(PatchError):  # the state has been asked for again
                    return self._take()
            elif self._subscription is not None:
                await self._wait()
            elif self._end is not None:
                raise self._end
            else:
                raise StopAsyncIteration

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Ends the subscription if no other stream shares it; a reader that waits is told that this is the end."""
        self._discard()
        self.finish(None)

    def finish(self, error: ZocketError | None) -> None:
        """Nothing more comes; after what arrived the reader gets the error, or the end of the iteration."""
        subscription, self._subscription = self._subscription, None
        if subscription is not None:
            self._end = error
            self._release(subscription)
            self._wake()

    def __del__(self) -> None:
        # `async for … break` leaves a stream to the garbage collector, which may run in any thread and at exit.
        if self._subscription is not None:
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._release, self._subscription)

    async def _wait(self) -> None:
        if self._waiter is not None:
            raise UsageError(f"{self._name}: another task reads this stream already; make one stream for each reader")
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class StateStream(_Stream[T]):
    """The states of one instance: first the present one, then the newest after each change.

    States that a slow reader could not take in time are skipped. After a reconnect the present state comes again.
    """

    def __init__(
        self, replica: Replica, release: Callable[[Feed | Replica], None], decode: Callable[[Replica], T]
    ) -> None:
        super().__init__(replica, release)
        self._replica = replica
        self._decode = decode
        self._fresh = replica.live

    def changed(self) -> None:
        """The replica has another state."""
        if self._subscription is not None:
            self._fresh = True
            self._wake()

    def _ready(self) -> bool:
        return self._fresh

    def _take(self) -> T:
        self._fresh = False
        return self._decode(self._replica)

    def _discard(self) -> None:
        self._fresh = False


class EventStream(_Stream[T]):
    """The payloads of one event of one instance, in order and without gaps while the connection holds.

    What the server sends while there is no connection is not seen. A reader that falls more than `MAX_WAITING_EVENTS`
    behind gets those, and then `Overloaded`.
    """

    def __init__(
        self, feed: Feed, release: Callable[[Feed | Replica], None], event: str, decode: Callable[[bytes], T]
    ) -> None:
        super().__init__(feed, release)
        self.event = event
        self._decode = decode
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0

    def push(self, payload: bytes) -> None:
        """An event came."""
        if self._subscription is None:
            return
        self._waiting_bytes += len(payload)
        if len(self._waiting) >= MAX_WAITING_EVENTS or self._waiting_bytes > MAX_WAITING_EVENT_BYTES:
            behind = f"the reader of {self.event} is {len(self._waiting)} events behind, so this one would be lost"
            self.finish(Overloaded(f"{self._name}: {behind}"))
            return
        self._waiting.append(payload)
        self._wake()

    def _ready(self) -> bool:
        return bool(self._waiting)

    def _take(self) -> T:
        payload = self._waiting.popleft()
        self._waiting_bytes -= len(payload)
        return self._decode(payload)

    def _discard(self) -> None:
        self._waiting.clear()
        self._waiting_bytes = 0
