"""What a synchronous client gives out for `for`: the items of an asynchronous iterator, one by one.

Rules: the asynchronous iterator is touched by the loop's thread only, its last reference included; leaving the
iteration, `close` and a forgotten stream all end it.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from zocket.errors import Disconnected, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self

    from zocket.client.background import Background

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Items(Protocol[T_co]):
    """An asynchronous iterator that can be closed."""

    async def __anext__(self) -> T_co:
        """The next item."""

    async def aclose(self) -> Any:
        """Ends the iteration."""


class _Source(Generic[T]):
    """The side of a stream that lives in the loop."""

    def __init__(self, items: Items[T]) -> None:
        self._items: Items[T] | None = items
        self._reading: asyncio.Task[Any] | None = None

    async def take(self) -> tuple[T] | None:
        """The next item, None at the end."""
        if self._reading is not None:
            raise UsageError("another thread reads this stream already; make one stream for each reader")
        if self._items is None:
            return None
        self._reading = asyncio.current_task()
        try:
            return (await self._items.__anext__(),)
        except StopAsyncIteration:
            return None
        except asyncio.CancelledError:
            if self._items is not None:
                raise
            return None  # by `close`
        finally:
            self._reading = None

    async def close(self) -> None:
        """Ends the iteration; whoever waits for an item gets the end."""
        items, self._items = self._items, None
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.wait([self._reading])
        if items is not None:
            await items.aclose()

    def drop(self) -> None:
        """Nobody reads any more; what was iterated over ends itself when nothing refers to it."""
        self._items = None


class SyncStream(Generic[T]):
    """Iterates over states, events, chunks or statuses, for one reader at a time; a context manager that ends it.

    It holds its subscription, or its call, until `close`, the end of `with`, or until nothing refers to it any more, as
    after a `break` out of `for`.
    """

    def __init__(self, background: Background, open_items: Callable[[], Items[T]]) -> None:
        async def source() -> _Source[T]:
            return _Source(open_items())

        self._background = background
        self._source = background.run(source)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> T:
        try:
            taken = self._background.run(self._source.take)
        except Disconnected:
            if not self._background.closed:
                raise
            taken = None
        if taken is None:
            raise StopIteration
        return taken[0]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends the subscription or the call; from any thread. A thread that waits for an item leaves its loop."""
        with suppress(Disconnected):  # of a closed client there is nothing left to end
            self._background.run(self._source.close)

    def __del__(self) -> None:
        if hasattr(self, "_source"):
            self._background.post(self._source.drop)
