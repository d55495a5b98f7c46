"""Bounds on what a request may carry and how long it may take, the id that finds it in the log, and safe headers.

Rules: a body is counted as it arrives, whatever its Content-Length says, and has to be here in time; the paths of
uploads are exempt from the size, because the store behind them counts for itself, and have to go on arriving.
"""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING, Any, Final

from starlette.exceptions import HTTPException

if TYPE_CHECKING:
    from collections.abc import Collection

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_BODY_BYTES: Final = 65_536
"""Largest JSON body; the longest usual one is a token of a few kB."""
BODY_TIMEOUT_S: Final = 10.0
"""A JSON body that takes longer is given up; it fits into a few packets."""
PAUSE_TIMEOUT_S: Final = 30.0
"""An upload of which nothing arrives for so long is given up."""

_HEADERS: Final = [(b"x-content-type-options", b"nosniff"), (b"referrer-policy", b"no-referrer")]


def request_id_of(scope: Scope) -> str:
    """The id of this request; made at the first look."""
    state: dict[str, Any] = scope.setdefault("state", {})
    request_id: str = state.setdefault("request_id", "r_" + secrets.token_hex(8))
    return request_id


class BodyLimit:
    """Middleware: answers 413 to a body over the limit and 408 to a slow one, and adds headers to every answer.

    These are `x-request-id`, and `cache-control: no-store` for the API (answers hold tokens and people's addresses).

    Args:
        app: what is called.
        unbounded: paths of uploads.
    """

    def __init__(self, app: ASGIApp, *, unbounded: Collection[str]) -> None:
        self._app = app
        self._unbounded = frozenset(unbounded)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = request_id_of(scope)
        is_api = scope["path"].startswith("/api/")
        is_upload = scope["path"] in self._unbounded

        async def send_marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = list(message.get("headers", []))
                headers += [*_HEADERS, (b"x-request-id", request_id.encode())]
                if is_api and not any(name.lower() == b"cache-control" for name, _ in headers):
                    headers.append((b"cache-control", b"no-store"))
                message["headers"] = headers
            await send(message)

        await self._app(scope, _bounded(receive, is_upload=is_upload), send_marked)


def _bounded(receive: Receive, *, is_upload: bool) -> Receive:
    seen, is_whole = 0, False
    ends_at = asyncio.get_running_loop().time() + BODY_TIMEOUT_S

    async def receive_bounded() -> Message:
        nonlocal seen, is_whole
        if is_whole:  # what comes now is the end of the connection, whenever that is
            return await receive()
        now = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout_at(now + PAUSE_TIMEOUT_S if is_upload else ends_at):
                message = await receive()
        except TimeoutError:
            raise HTTPException(408, "the body did not arrive in time", {"connection": "close"}) from None
        seen += len(message.get("body", b""))
        is_whole = not message.get("more_body", False)
        if seen > MAX_BODY_BYTES and not is_upload:
            raise HTTPException(413, f"the body is larger than {MAX_BODY_BYTES} bytes")
        return message

    return receive_bounded
