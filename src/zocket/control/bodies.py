"""Bounds on what a request may carry, and the id that finds it in the log.

Rules: a body is counted as it arrives, whatever its Content-Length says; one path is exempt, because the store behind
it counts for itself.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any, Final

from starlette.exceptions import HTTPException

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_BODY_BYTES: Final = 65_536
"""Largest JSON body; the longest usual one is a token of a few kB."""


def request_id_of(scope: Scope) -> str:
    """The id of this request; made at the first look."""
    state: dict[str, Any] = scope.setdefault("state", {})
    request_id: str = state.setdefault("request_id", "r_" + secrets.token_hex(8))
    return request_id


class BodyLimit:
    """Middleware: answers 413 to a body over the limit and adds `x-request-id` to every answer."""

    def __init__(self, app: ASGIApp, *, unbounded: str) -> None:
        self._app = app
        self._unbounded = unbounded

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id, seen = request_id_of(scope), 0

        async def receive_bounded() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > MAX_BODY_BYTES:
                raise HTTPException(413, f"the body is larger than {MAX_BODY_BYTES} bytes")
            return message

        async def send_marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), (b"x-request-id", request_id.encode())]
            await send(message)

        bounded = receive if scope["path"] == self._unbounded else receive_bounded
        await self._app(scope, bounded, send_marked)
