"""What a client needs of a network: a `Transport` opens a `Connection`, which reports to a `Receiver`.

Rules: `send` never waits and keeps the order; `on_closed` is called once for a connection that ended, whoever ended it;
nothing is reported after it. `WebSocketTransport` is the default, the test kit supplies one without a network.
"""

from __future__ import annotations

from typing import Protocol


class Receiver(Protocol):
    """Where a connection reports what happens to it. Neither method waits or raises."""

    @property
    def resume(self) -> str:
        """What the connection shows the server to go on with the session of the one before; "" if there is nothing."""

    def on_frame(self, frame: bytes | str, /) -> None:
        """One whole frame of the server came. It may come before `Transport.connect` has returned."""

    def on_closed(self, code: int | None, reason: str, /) -> None:
        """The connection is gone; `code` is the WebSocket close code if there was one."""


class Connection(Protocol):
    """An open connection to a server."""

    def send(self, frame: bytes, /) -> None:
        """Sends one text frame after those sent before; on a connection that is gone nothing happens."""

    async def close(self) -> None:
        """Ends the connection and waits until it is gone, for a bounded time."""


class Transport(Protocol):
    """Opens connections to one server, one after another. `str(transport)` names the server in messages, no secrets."""

    async def connect(self, receiver: Receiver, /) -> Connection:
        """Opens a connection; cancelling it leaves nothing open.

        Raises:
            Unauthorized: the server refuses the token; it is not asked again.
            Unavailable: anything else that another attempt may cure.
        """
