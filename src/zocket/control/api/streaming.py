"""Server-sent events: a stream of `event` and `data` lines that says something at least every 15 seconds.

Rules: a stream ends with the process, with its reader, and when whoever reads it may no longer.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Any, Final

import msgspec
from fastapi.responses import StreamingResponse

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

KEEP_ALIVE_S: Final = 15.0
"""Shorter than the idle limits of common proxies."""
KEEP_ALIVE: Final = b": nothing new\n\n"
_HEADERS: Final = {"cache-control": "no-store", "x-accel-buffering": "no"}

EVENTS_RESPONSE: Final[dict[int | str, dict[str, Any]]] = {
    200: {"description": "Server-sent events", "content": {"text/event-stream": {"schema": {"type": "string"}}}}
}
"""What OpenAPI is told of a route that streams."""


def sent_event(content: Any, *, name: str | None = None) -> bytes:
    """One event; line breaks of the content are inside its JSON."""
    head = f"event: {name}\n".encode() if name is not None else b""
    return head + b"data: " + msgspec.json.encode(content) + b"\n\n"


def stream(events: AsyncIterator[bytes]) -> StreamingResponse:
    """The answer that sends events as they come."""
    return StreamingResponse(events, media_type="text/event-stream", headers=_HEADERS)


async def with_keep_alive(
    items: AsyncIterator[bytes], closing: asyncio.Event, *, every_s: float = KEEP_ALIVE_S
) -> AsyncIterator[bytes]:
    """The items, and a comment whenever there was none for a while; ends early when the process does."""
    ending = asyncio.ensure_future(closing.wait())
    coming: asyncio.Future[bytes] | None = None
    try:
        while not closing.is_set():
            coming = coming or asyncio.ensure_future(anext(items))
            done, _ = await asyncio.wait((coming, ending), timeout=every_s, return_when=asyncio.FIRST_COMPLETED)
            if coming in done:
                try:
                    yield coming.result()
                except StopAsyncIteration:
                    return
                coming = None
            elif not done:
                yield KEEP_ALIVE
    finally:
        pending = [task for task in (coming, ending) if task is not None]
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
        if isinstance(items, AsyncGenerator):
            await items.aclose()
