"""A TCP proxy on loopback that delays and cuts.

Rules: bytes pass in order and unchanged, or their connection ends on both sides by a reset, as with a broken network;
where it leads to is asked for each connection, so that a server may come back on another port.
"""

from __future__ import annotations

import asyncio
import contextlib
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

CHUNK_BYTES = 65_536


class Proxy:
    """Opened by `open`.

    Attributes:
        port: where it listens.
        delay_s: each chunk, of at most 64 kB and in each direction, waits so long before it goes on.
        refusing: new connections are reset at once.
    """

    def __init__(self, target: Callable[[], int]) -> None:
        self.port = 0
        self.delay_s = 0.0
        self.refusing = False
        self._target = target
        self._writers: set[asyncio.StreamWriter] = set()
        self._serving: set[asyncio.Task[None]] = set()

    @classmethod
    @asynccontextmanager
    async def open(cls, target: Callable[[], int]) -> AsyncIterator[Proxy]:
        """Serves during the block; `target` gives the port that it leads to."""
        proxy = cls(target)
        server = await asyncio.start_server(proxy._accept, "127.0.0.1", 0)
        proxy.port = server.sockets[0].getsockname()[1]
        try:
            yield proxy
        finally:
            server.close()
            proxy.cut()
            if proxy._serving:
                await asyncio.wait(proxy._serving)

    @property
    def connections(self) -> int:
        """Connections that pass now."""
        return len(self._writers) // 2

    def cut(self) -> None:
        """Resets every connection."""
        for writer in self._writers:
            writer.transport.abort()

    def cut_some(self, chosen: Callable[[], bool]) -> None:
        """Resets the client's side of the connections for which `chosen` says so."""
        for writer in self._writers:
            if chosen():
                writer.transport.abort()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if self.refusing:
                raise ConnectionRefusedError
            onward_reader, onward = await asyncio.open_connection("127.0.0.1", self._target())
        except OSError:
            writer.transport.abort()
            return
        pair = {writer, onward}
        self._writers |= pair
        try:
            pumps = [
                asyncio.create_task(self._pump(reader, onward)),
                asyncio.create_task(self._pump(onward_reader, writer)),
            ]
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
        finally:
            self._writers -= pair
            for one in pair:
                one.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(CHUNK_BYTES):
                if self.delay_s:
                    await asyncio.sleep(self.delay_s)
                writer.write(data)
                await writer.drain()
