"""A NATS object store behind plain bytes: put a file, read it in chunks, remove it.

Rules: a connection of its own, made at the first use and again after it was lost; no NATS type and no NATS exception
passes upward.
"""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from typing import TYPE_CHECKING, Any, Final, TypeVar

import nats
from nats import errors as nats_errors
from nats.js import errors as js_errors

from zocket.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable
    from pathlib import Path

    from nats.aio.client import Client
    from nats.js.object_store import ObjectStore as Bucket

T = TypeVar("T")

CONNECT_TIMEOUT_S: Final = 5.0
CALL_TIMEOUT_S: Final = 60.0
"""Longest transfer of one object."""
CHUNK_BYTES: Final = 128 * 1024


class ObjectStore:
    """One bucket; it is made if it does not exist.

    Args:
        url: servers, comma-separated, credentials included.
        bucket: its name.
    """

    def __init__(self, url: str, bucket: str) -> None:
        self._url = url
        self._bucket = bucket
        self._client: Client | None = None
        self._opening = asyncio.Lock()

    async def has(self, name: str) -> bool:
        """Whether there is an object of this name.

        Raises:
            Unavailable: the server is away or refuses.
        """
        bucket = await self._open()
        try:
            await self._ask(bucket.get_info(name))
        except js_errors.NotFoundError:
            return False
        return True

    async def put(self, name: str, path: Path) -> None:
        """Stores a file.

        Raises:
            Unavailable: the server is away or refuses.
        """
        bucket = await self._open()
        with await asyncio.to_thread(path.open, "rb") as file:
            await self._ask(bucket.put(name, file))

    async def open(self, name: str) -> AsyncIterator[bytes] | None:
        """The bytes of an object, or None if there is none.

        Raises:
            Unavailable: the server is away or refuses, or the object is damaged.
        """
        bucket = await self._open()
        # Into a file: nats-py puts what it keeps in memory together in quadratic time.
        file: Any = await asyncio.to_thread(tempfile.TemporaryFile)
        try:
            await self._ask(bucket.get(name, writeinto=file))
        except js_errors.NotFoundError:
            file.close()
            return None
        except BaseException:
            file.close()
            raise
        return _chunks(file)

    async def remove(self, name: str) -> None:
        """Removes an object, if there is one.

        Raises:
            Unavailable: the server is away or refuses.
        """
        bucket = await self._open()
        with contextlib.suppress(js_errors.NotFoundError):
            await self._ask(bucket.delete(name))

    async def aclose(self) -> None:
        """Closes the connection."""
        client, self._client = self._client, None
        if client is not None and not client.is_closed:
            await client.close()

    async def _open(self) -> Bucket:
        async with self._opening:
            client = self._client
            if client is None or client.is_closed:
                client = self._client = await self._ask(_connect(self._url), CONNECT_TIMEOUT_S)
            stream = client.jetstream()
            try:
                return await self._ask(stream.object_store(self._bucket))
            except js_errors.NotFoundError:
                return await self._ask(stream.create_object_store(self._bucket))

    async def _ask(self, call: Awaitable[T], timeout_s: float = CALL_TIMEOUT_S) -> T:
        try:
            return await asyncio.wait_for(call, timeout_s)
        except js_errors.NotFoundError:
            raise
        except (nats_errors.Error, OSError, TimeoutError) as error:
            text = str(error) or type(error).__name__
            raise Unavailable(f"the NATS object store {self._bucket} does not do it: {text}") from error


async def _connect(url: str) -> Client:
    async def quiet(_: Exception) -> None:
        """What goes wrong is an error of the call that needed the connection."""

    return await nats.connect(
        [part.strip() for part in url.split(",")],
        allow_reconnect=False,
        max_reconnect_attempts=1,
        reconnect_time_wait=0.2,
        error_cb=quiet,
    )


async def _chunks(file: Any) -> AsyncIterator[bytes]:
    with file:
        await asyncio.to_thread(file.seek, 0)
        while chunk := await asyncio.to_thread(file.read, CHUNK_BYTES):
            yield chunk
