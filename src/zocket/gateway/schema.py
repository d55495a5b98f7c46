"""`GET /schema` of a gateway: the contract of what serves at the host, to whoever may open a socket there.

Rules: the control plane decides and answers, for each request anew; a control plane that knows no contracts, or has
none, is 404.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

import httpx
import msgspec

from zocket.errors import Unavailable
from zocket.sockets.port import Refused

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from zocket.sockets.connection import Answer
    from zocket.sockets.port import Head

_log: Final = logging.getLogger("zocket.gateway")

SCHEMA_PATH: Final = "/api/registry/schema"
MAX_ASKING: Final = 4
"""Questions at once; more wait, so that sockets are still admitted while many ask for the contract."""


class SchemaRoute:
    """Answers with the contract; a `PrivateRoute` of the socket front.

    Args:
        client: speaks to the control plane with the internal bearer.
        admit: who may open a socket.
    """

    def __init__(self, client: httpx.AsyncClient, admit: Callable[[Head], Awaitable[object]]) -> None:
        self._client = client
        self._admit = admit
        self._asking = asyncio.Semaphore(MAX_ASKING)

    async def __call__(self, head: Head) -> Answer:
        """The contract.

        Raises:
            Refused: 401, 403 and 503 as for a socket, 404 if there is none.
        """
        await self._admit(head)
        try:
            body = msgspec.json.encode({"host": head.host, "token": head.token})
            async with self._asking:
                response = await self._client.post(SCHEMA_PATH, content=body)
        except httpx.HTTPError as error:
            _log.warning("the control plane cannot give the contract: %s", type(error).__name__)
            raise Refused(503, Unavailable.default_code, "the control plane does not answer; try again") from error
        if response.status_code == httpx.codes.OK:
            return 200, "application/json", response.content
        if response.status_code in (httpx.codes.NOT_FOUND, httpx.codes.METHOD_NOT_ALLOWED):
            raise Refused(404, "no_contract", "nothing serves here, or nobody said what it offers")
        _log.warning("the control plane cannot give the contract: status %d", response.status_code)
        raise Refused(503, Unavailable.default_code, "the control plane does not answer; try again")
