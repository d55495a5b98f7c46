"""`connect` and `connect_sync`: from an address and a few options to an open client.

Rules: calling `connect` does no I/O, opening what it gives does; `connect_sync` gives an open client. The WebSocket
library is imported when it is needed, so that a client over another transport goes without it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from zocket.client.client import CONNECT_TIMEOUT_S, RPC_TIMEOUT_S, Client
from zocket.client.sync import SyncClient

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping
    from ssl import SSLContext
    from types import TracebackType
    from typing import Any

    from zocket.client.transport import Transport
    from zocket.client.websocket import TokenSource
    from zocket.clock import Clock


class Connecting:
    """What `connect` gives: awaited it is an open client, in `async with` one that is closed at the end."""

    __slots__ = ("client",)

    def __init__(self, client: Client) -> None:
        self.client = client

    def __await__(self) -> Generator[Any, None, Client]:
        return self.client.open().__await__()

    async def __aenter__(self) -> Client:
        return await self.client.open()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.client.aclose()


def connect(
    url: str,
    *,
    token: TokenSource = None,
    rpc_timeout: float = RPC_TIMEOUT_S,
    connect_timeout: float = CONNECT_TIMEOUT_S,
    reconnect: bool = True,
    ssl: SSLContext | None = None,
    metadata: Mapping[str, Any] | None = None,
    clock: Clock | None = None,
    transport: Transport | None = None,
) -> Connecting:
    """A client of the gateway or standalone server at `url`, opened by `async with` or `await`.

        async with connect("ws://localhost:3000") as client:
            await client.actor(ChatRoom, "general").post(text="hello")

    Args:
        url: `ws://host:port` or `wss://host`.
        token: the session's token, or a function (plain or async) that is asked for one before every connection, and
            for another one before the token of an open connection expires.
        rpc_timeout: seconds that a call may take, waiting for the connection included.
        connect_timeout: seconds that one attempt to connect may take.
        reconnect: False closes the client with its first lost connection.
        ssl: for `wss`; None verifies the server's certificate by the system's authorities.
        metadata: what the client says of itself, `self.session.metadata` in an actor: at most 2,048 bytes of JSON.
        clock: where time comes from; the machine's clock by default.
        transport: used instead of a WebSocket to `url`.

    Raises:
        UsageError: the address, the token or the metadata cannot be used, or the package `websockets` is missing.
        Unauthorized: (when opened) the server refuses the token.
        Unavailable: (when opened) there is no server, or it did not answer within `connect_timeout`.
    """
    fresh_token = None
    if transport is None:
        from zocket.client.websocket import WebSocketTransport

        transport = web_socket = WebSocketTransport(url, token=token, ssl=ssl, metadata=metadata)
        fresh_token = web_socket.fresh_token if callable(token) else None
    client = Client(
        transport,
        rpc_timeout=rpc_timeout,
        connect_timeout=connect_timeout,
        reconnect=reconnect,
        clock=clock,
        fresh_token=fresh_token,
    )
    return Connecting(client)


def connect_sync(
    url: str,
    *,
    token: TokenSource = None,
    rpc_timeout: float = RPC_TIMEOUT_S,
    connect_timeout: float = CONNECT_TIMEOUT_S,
    reconnect: bool = True,
    ssl: SSLContext | None = None,
    transport: Transport | None = None,
) -> SyncClient:
    """An open client for a script or a notebook: its methods wait and return results.

        with connect_sync("ws://localhost:3000") as client:
            client.call(client.actor(ChatRoom, "general").post, text="hello")

    It has a thread with an event loop of its own, so it works where a loop is running already, and blocks that one
    while it waits: an asynchronous program uses `connect`.

    Args:
        url: `ws://host:port` or `wss://host`.
        token: as of `connect`; a function is run in the client's thread.
        rpc_timeout: seconds that a call may take, waiting for the connection included.
        connect_timeout: seconds that one attempt to connect may take.
        reconnect: False closes the client with its first lost connection.
        ssl: for `wss`; None verifies the server's certificate by the system's authorities.
        transport: used instead of a WebSocket to `url`; its methods run in the client's thread.

    Raises:
        UsageError: the address or the token cannot be used, or the package `websockets` is missing.
        Unauthorized: the server refuses the token.
        Unavailable: there is no server, or it did not answer within `connect_timeout`.
    """
    return SyncClient(
        connect(
            url,
            token=token,
            rpc_timeout=rpc_timeout,
            connect_timeout=connect_timeout,
            reconnect=reconnect,
            ssl=ssl,
            transport=transport,
        ).client
    )
