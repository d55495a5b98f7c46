"""What surrounds a deployment, over HTTP and with real runtimes: variables, logs, events, status, restarts, limits."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import os
import signal
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from zocket.client import connect
from zocket.control.bundles.signatures import signed_text

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.integration.deploy.conftest import Kit, OpenPlatform, Platform

pytestmark = pytest.mark.nats

SECRET = "a secret of the test, nowhere else"


async def call(platform: Platform, method: str, **arguments: Any) -> Any:
    async with connect(platform.socket_url) as client:
        return await client.dynamic("counter", "one").call(method, **arguments)


def place(platform: Platform, path: str) -> str:
    return f"/api/projects/{platform.project['id']}/{path}"


async def sent(answer: httpx.Response) -> AsyncIterator[tuple[str, Any]]:
    """The events of a stream: name and content."""
    name = ""
    async for line in answer.aiter_lines():
        field, _, value = line.partition(": ")
        if field == "event":
            name = value
        elif field == "data":
            yield name, json.loads(value)
            name = ""


async def test_a_variable_reaches_its_runtime_alone_and_is_never_shown(open_platform: OpenPlatform, kit: Kit) -> None:
    async with open_platform(RUNTIME_GRACE_S="0.2") as platform:
        early = await platform.http.put(place(platform, "env/EARLY"), json={"value": "1"})
        assert (early.status_code, early.json()) == (200, {"name": "EARLY", "deployment": None})
        first = await platform.deploy(kit.bundle("one"))
        assert await call(platform, "env", name="EARLY") == "1"
        names = await call(platform, "names")
        assert not {"PRIVATE_TO_THE_CONTROL_PLANE", "DATABASE_URL", "ZOCKET_SECRET_KEY_FILE"} & set(names)

        changed = await platform.http.put(place(platform, "env/API_KEY"), json={"value": SECRET})
        made = changed.json()["deployment"]
        assert (made["version"], made["sha256"], made["message"]) == (2, first["sha256"], "set API_KEY")
        await platform.wait_status(made["id"], "active")
        assert await call(platform, "env", name="API_KEY") == SECRET
        shown = await platform.http.get(place(platform, "env"))
        assert [item["name"] for item in shown.json()["items"]] == ["EARLY", "API_KEY"]
        assert set(shown.json()["items"][0]) == {"name", "updatedAt", "updatedBy"}

        removed = await platform.http.delete(place(platform, "env/API_KEY"))
        await platform.wait_status(removed.json()["deployment"]["id"], "active")
        assert await call(platform, "env", name="API_KEY") is None
        assert (await platform.http.delete(place(platform, "env/API_KEY"))).status_code == 404
        for name in ("NATS_URL", "LD_PRELOAD", "PYTHONPATH"):
            refused = await platform.http.put(place(platform, f"env/{name}"), json={"value": "x"})
            assert (refused.status_code, refused.json()["code"]) == (400, "reserved_name")
        logs = "".join(file.read_text() for file in platform.directory.rglob("*.log"))
    everything = b"".join(file.read_bytes() for file in platform.directory.iterdir() if file.is_file())
    assert SECRET.encode() not in everything
    assert SECRET not in logs


async def test_logs_events_and_status_tell_what_happens(open_platform: OpenPlatform, kit: Kit) -> None:
    told: list[tuple[str, Any]] = []
    async with open_platform(RUNTIME_GRACE_S="0.2") as platform:
        empty = await platform.status()
        assert empty == {"runtime": empty["runtime"], "counters": None}
        assert (empty["runtime"]["state"], empty["runtime"]["deploymentId"]) == ("stopped", None)

        open_ = asyncio.Event()

        async def listen() -> None:
            async with platform.http.stream("GET", "/api/events") as answer:
                open_.set()
                assert answer.headers["content-type"].startswith("text/event-stream")
                async for event in sent(answer):
                    told.append(event)  # noqa: PERF401 — read while it grows

        listening = asyncio.create_task(listen())
        await asyncio.wait_for(open_.wait(), kit.limit_s)
        deployed = await platform.deploy(kit.bundle("one"))
        for _ in range(5):
            await call(platform, "add")

        async def counted() -> Any:
            status = await platform.status()
            return status if status["counters"] and status["counters"]["calls"] == 5 else None

        status = await kit.until(counted, "the counters")
        assert status["runtime"]["state"] == "running"
        assert (status["counters"]["instances"], status["counters"]["errors"]) == (1, 0)
        await kit.until(lambda: any(name == "status" and event["counters"] for name, event in told), "counters told")
        statuses = [event["status"] for name, event in told if name == "deployment"]
        assert (statuses[0] in ("stored", "starting"), statuses[-1]) == (True, "active")
        projects = [event for name, event in told if name == "project"]
        assert projects[-1]["activeDeployment"] == deployed["id"]
        listening.cancel()

        path = f"/api/deployments/{deployed['id']}/logs"
        async with platform.http.stream("GET", path, params={"lines": 1_000}) as answer:
            lines = [content async for _, content in sent(answer)]
        assert any("runtime is ready" in entry["line"] for entry in lines)
        assert all(set(entry) == {"at", "stream", "line"} for entry in lines)

        async with platform.http.stream("GET", path, params={"lines": 0, "follow": True}) as answer:
            events = sent(answer)
            os.kill(status["runtime"]["pid"], signal.SIGKILL)
            _, entry = await asyncio.wait_for(anext(events), kit.limit_s)
            assert entry["stream"] == "platform"
            assert "was ended by signal 9" in entry["line"]
        await platform.control_stops_quickly()


async def test_a_control_plane_that_is_started_again_starts_what_served(open_platform: OpenPlatform, kit: Kit) -> None:
    async with open_platform(RUNTIME_GRACE_S="0.2") as platform:
        deployed = await platform.deploy(kit.bundle("one"))
        assert await call(platform, "add") == "one"
        os.killpg(platform.control.process.pid, signal.SIGKILL)
        platform.control.process.wait()
        await platform.start_control()
        assert await call(platform, "add") == "one"
        assert (await platform.read(deployed["id"]))["status"] == "active"
        second = await platform.deploy(kit.bundle("two"))
        assert second["status"] == "active"
        assert await call(platform, "add") == "two"


async def test_uploads_are_held_to_checksum_signature_and_project(open_platform: OpenPlatform, kit: Kit) -> None:
    private = Ed25519PrivateKey.generate()
    public = base64.b64encode(private.public_key().public_bytes_raw()).decode()
    content = kit.bundle("one")
    sha256 = hashlib.sha256(content).hexdigest()
    async with open_platform(ORCHESTRATOR="none") as platform:
        bearer = {"authorization": f"Bearer {platform.project['deployToken']}"}
        params = {"projectId": platform.project["id"]}

        async def post(body: bytes, **headers: str) -> tuple[int, str]:
            async with httpx.AsyncClient(
                base_url=platform.http.base_url, timeout=kit.limit_s, trust_env=False
            ) as client:
                answer = await client.post("/api/deployments", params=params, content=body, headers=bearer | headers)
            return answer.status_code, answer.json().get("code", "")

        assert await post(b"") == (400, "invalid_frame")
        assert await post(content, **{"x-zocket-sha256": "0" * 64}) == (400, "checksum_mismatch")
        assert await post(content, **{"x-zocket-signature": "eA=="}) == (400, "bad_signature")
        options = await platform.http.put(place(platform, "runtime"), json={"signingKey": public})
        assert options.json() == {"memoryBytes": None, "signingKey": public}
        assert await post(content) == (400, "bad_signature")
        good = base64.b64encode(private.sign(signed_text(sha256))).decode()
        assert await post(content, **{"x-zocket-signature": good}) == (201, "")
        assert await post(content + b"#", **{"x-zocket-signature": good}) == (400, "bad_signature")
        listed = (await platform.http.get(place(platform, "deployments"))).json()["items"]
        assert [(item["signed"], item["status"], item["version"]) for item in listed] == [(True, "stored", 1)]
        assert (await platform.rollback()).json()["code"] == "no_previous"
        assert (await platform.rollback(listed[0]["id"])).json()["code"] == "impossible_step"
        assert (await platform.rollback("dpl_of_nobody")).status_code == 404
        assert {file.name for file in (platform.directory / "bundles").iterdir()} == {sha256}


async def test_only_bundles_that_nothing_needs_are_removed(open_platform: OpenPlatform, kit: Kit) -> None:
    async with open_platform(RUNTIME_GRACE_S="0", BUNDLES_KEPT="1") as platform:
        made = [await platform.deploy(kit.bundle(version)) for version in ("one", "two", "three")]

        def kept() -> set[str]:
            return {file.name for file in (platform.directory / "bundles").iterdir()}

        await kit.until(lambda: len(kept()) == 2, "the first one is removed")
        assert kept() == {view["sha256"] for view in made[1:]}
        gone = await platform.rollback(made[0]["id"])
        assert (gone.status_code, gone.json()["code"]) == (409, "no_bundle")
        assert (await platform.read(made[0]["id"]))["rollback"] is False
        assert (await platform.rollback()).json()["id"] == made[1]["id"]
        await platform.wait_status(made[1]["id"], "active")
        assert await call(platform, "add") == "two"
        assert (await platform.http.delete(f"/api/projects/{platform.project['id']}")).status_code == 200
        assert kept() == set()
        assert (await platform.http.get(place(platform, "status"))).status_code == 404
