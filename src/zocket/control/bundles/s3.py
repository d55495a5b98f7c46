"""Bundles in an S3-compatible store, through boto3.

Rules: boto3 blocks, so each call runs in a thread; credentials and region come from where boto3 looks for them (its
environment variables, files, the machine's role), never from our settings.
"""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from zocket.control.bundles.port import is_key
from zocket.errors import SettingsError, Unavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

T = TypeVar("T")
READ_BYTES: Final = 1024 * 1024
_MISSING: Final = frozenset({"404", "NoSuchKey", "NotFound"})


class S3Store:
    """A bucket, or a part of one. See `BundleStore`.

    Args:
        bucket: its name; it must exist.
        prefix: goes before each key.
        endpoint: URL of a store that is not Amazon's, or None.
        region: its region, or None for what boto3 finds.

    Raises:
        SettingsError: boto3 is not installed.
    """

    def __init__(
        self, bucket: str, prefix: str = "", *, endpoint: str | None = None, region: str | None = None
    ) -> None:
        try:
            import boto3
            from botocore.config import Config
        except ModuleNotFoundError as error:
            raise SettingsError("BUNDLE_STORE: s3:// needs boto3; pip install 'zocket[s3]' brings it") from error
        config = Config(connect_timeout=5, read_timeout=60, retries={"max_attempts": 3, "mode": "standard"})
        self._client: Any = boto3.client("s3", endpoint_url=endpoint, region_name=region, config=config)
        self._bucket = bucket
        self._prefix = prefix

    @property
    def spool(self) -> Path:
        """See `BundleStore.spool`."""
        return Path(tempfile.gettempdir())

    async def keep(self, key: str, path: Path) -> None:
        """See `BundleStore.keep`."""
        assert is_key(key)
        if not await self._has(key):
            await self._call(lambda: self._client.upload_file(str(path), self._bucket, self._prefix + key))

    async def open(self, key: str) -> AsyncIterator[bytes] | None:
        """See `BundleStore.open`."""
        if not is_key(key) or not await self._has(key):
            return None
        found = await self._call(lambda: self._client.get_object(Bucket=self._bucket, Key=self._prefix + key))
        return self._read(found["Body"])

    async def remove(self, key: str) -> None:
        """See `BundleStore.remove`."""
        if is_key(key):
            await self._call(lambda: self._client.delete_object(Bucket=self._bucket, Key=self._prefix + key))

    async def _has(self, key: str) -> bool:
        from botocore.exceptions import ClientError

        def head() -> bool:
            try:
                self._client.head_object(Bucket=self._bucket, Key=self._prefix + key)
            except ClientError as error:
                if error.response.get("Error", {}).get("Code") in _MISSING:
                    return False
                raise
            return True

        return await self._call(head)

    async def _read(self, body: Any) -> AsyncIterator[bytes]:
        try:
            while chunk := await self._call(lambda: body.read(READ_BYTES)):
                yield chunk
        finally:
            body.close()

    async def _call(self, call: Callable[[], T]) -> T:
        from boto3.exceptions import Boto3Error
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            return await asyncio.to_thread(call)
        except (BotoCoreError, ClientError, Boto3Error) as error:
            raise Unavailable(f"BUNDLE_STORE: the bucket {self._bucket} does not do it: {error}") from error
