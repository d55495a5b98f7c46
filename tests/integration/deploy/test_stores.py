"""The stores of bundles that need a server: S3 (moto on loopback) and the object store of a real NATS server."""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

from zocket.clock import SystemClock
from zocket.control.bundles import open_store, receive
from zocket.control.orchestration.external import ExternalOrchestrator
from zocket.control.orchestration.port import Launch
from zocket.errors import Unavailable
from zocket.settings import OrchestrationSettings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from zocket.control.bundles import BundleStore

pytestmark = pytest.mark.nats

CONTENT = os.urandom(300_000)
KEY = hashlib.sha256(CONTENT).hexdigest()
CLOCK = SystemClock()


@pytest.fixture(scope="module")
def s3_url() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "testing")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(params=["s3", "nats"])
def setting(request: pytest.FixtureRequest, nats_url: str) -> str:
    if request.param == "nats":
        return f"{nats_url}/bundles-{os.urandom(4).hex()}"
    endpoint = request.getfixturevalue("s3_url")
    bucket = f"bundles-{os.urandom(4).hex()}"
    boto3.client("s3", endpoint_url=endpoint).create_bucket(Bucket=bucket)
    return f"s3://{bucket}/some/where?endpoint={endpoint}"


@asynccontextmanager
async def stored(setting: str) -> AsyncIterator[BundleStore]:
    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(CONTENT), 70_000):
            yield CONTENT[start : start + 70_000]

    async with open_store(setting) as store:
        for _ in range(2):  # the same again changes nothing
            async with receive(chunks(), store.spool) as incoming:
                await store.keep(incoming.sha256, incoming.path)
        yield store


async def content(store: BundleStore, key: str) -> bytes | None:
    found = await store.open(key)
    return None if found is None else b"".join([chunk async for chunk in found])


async def test_a_bundle_comes_out_as_it_went_in_until_it_is_removed(setting: str) -> None:
    async with stored(setting) as store:
        assert await content(store, KEY) == CONTENT
        assert await content(store, "0" * 64) is None
        assert await content(store, "../" + KEY[3:]) is None
    async with open_store(setting) as store:
        assert await content(store, KEY) == CONTENT
        await store.remove(KEY)
        await store.remove(KEY)
        assert await content(store, KEY) is None


@pytest.mark.parametrize("setting", ["s3://b?endpoint=http://127.0.0.1:9", "nats://127.0.0.1:9/b"])
async def test_a_store_that_is_away_is_said_so(setting: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    async with open_store(setting) as store:
        with pytest.raises(Unavailable):
            await store.open(KEY)


async def test_what_should_run_is_written_down_for_somebody_else(tmp_path: Path) -> None:
    orchestrator = ExternalOrchestrator(OrchestrationSettings(runtime_dir=str(tmp_path / "wishes")))
    for name in ("dpl_1", "dpl_2"):
        await orchestrator.start(Launch("w", "p", name, 1, {"DEPLOYMENT_ID": name}, {"KEY": "secret"}))
    path = tmp_path / "wishes" / "dpl_1.json"
    wish: dict[str, Any] = json.loads(path.read_text())
    assert path.stat().st_mode & 0o777 == 0o600
    assert wish["env"] == {"DEPLOYMENT_ID": "dpl_1", "KEY": "secret"}
    assert (wish["command"], wish["memoryBytes"]) == (["zocket", "runtime"], 4 * 1024**3)
    assert orchestrator.observe("dpl_1") is None
    assert [line async for line in orchestrator.logs("dpl_1", lines=1, follow=True)] == []
    await orchestrator.sweep({"dpl_1"})
    assert [file.name for file in path.parent.iterdir()] == ["dpl_1.json"]
    await orchestrator.stop("dpl_1")
    await orchestrator.stop("dpl_1")
    assert list(path.parent.iterdir()) == []
