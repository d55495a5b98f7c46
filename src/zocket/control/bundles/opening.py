"""Which store a setting names: a directory, `s3://bucket/prefix?endpoint=URL&region=NAME`, `nats://host:port/bucket`."""

from __future__ import annotations

import re
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qs, urlsplit

from zocket.control.bundles.directory import DirectoryStore
from zocket.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from zocket.control.bundles.port import BundleStore

DEFAULT_BUCKET: Final = "zocket-bundles"
_BUCKET: Final = re.compile(r"[A-Za-z0-9_-]{1,63}\Z")


@asynccontextmanager
async def open_store(setting: str) -> AsyncIterator[BundleStore]:
    """The store of a setting, for the time of the block.

    Raises:
        SettingsError: the URL cannot be used, or its library is not installed.
    """
    scheme = setting.partition("://")[0] if "://" in setting else ""
    if scheme == "s3":
        yield _s3(setting)
    elif scheme in ("nats", "tls"):
        from zocket.control.bundles.objects import ObjectBundleStore

        url, _, bucket = setting.rpartition("/")
        if url.endswith("/"):
            url, bucket = setting, DEFAULT_BUCKET
        if not _BUCKET.match(bucket):
            raise SettingsError("BUNDLE_STORE: expected nats://host:4222/bucket with letters, digits, - and _")
        objects = ObjectBundleStore(url, bucket)
        try:
            yield objects
        finally:
            await objects.aclose()
    elif scheme:
        raise SettingsError(f"BUNDLE_STORE: expected a directory, s3://… or nats://…, got {scheme}://")
    else:
        yield DirectoryStore(Path(setting))


def _s3(setting: str) -> BundleStore:
    from zocket.control.bundles.s3 import S3Store

    parts = urlsplit(setting)
    if not parts.hostname:
        raise SettingsError("BUNDLE_STORE: expected s3://bucket/prefix")
    query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    if unknown := query.keys() - {"endpoint", "region"}:
        raise SettingsError(f"BUNDLE_STORE: s3:// has no {', '.join(sorted(unknown))}; only endpoint and region")
    prefix = parts.path.strip("/")
    return S3Store(
        parts.netloc, f"{prefix}/" if prefix else "", endpoint=query.get("endpoint"), region=query.get("region")
    )
