"""A server that answers upgrades and says one frame: what opening a session costs the load generator itself.

python upgrades.py PORT
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import sys
from typing import Final

import uvloop

GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
"""RFC 6455, section 1.3."""
WELCOME: Final = b'{"type":"welcome","sessionId":"s_0123456789abcdef","features":["refresh","resume"]}'
CLOSE: Final = 8


class Upgrade(asyncio.Protocol):
    """One connection; its head comes in one piece, since the load generator sends it so."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport
        self._is_open = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        if self._is_open:
            if data[0] & 0x0F == CLOSE:
                self._transport.close()
            return
        self._is_open = True
        key = data.partition(b"Sec-WebSocket-Key: ")[2].partition(b"\r\n")[0]
        accepted = base64.b64encode(hashlib.sha1(key + GUID).digest())
        self._transport.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: %b\r\n\r\n%b%b" % (accepted, bytes((0x81, len(WELCOME))), WELCOME)
        )


async def main() -> None:
    server = await asyncio.get_running_loop().create_server(Upgrade, "127.0.0.1", int(sys.argv[1]), backlog=2_048)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main())
