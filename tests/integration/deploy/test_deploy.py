"""R17 and the life of a deployment: control plane, local orchestrator, gateway, NATS and runtimes as real processes."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING, Any

import pytest

from zocket.broker.nats import NatsBroker
from zocket.client import connect
from zocket.ids import Scope
from zocket.protocol import subjects

if TYPE_CHECKING:
    from tests.integration.deploy.conftest import Caller, Kit, OpenPlatform, Platform

pytestmark = pytest.mark.nats


async def call(platform: Platform, method: str = "add", **arguments: Any) -> Any:
    async with connect(platform.socket_url) as client:
        return await client.dynamic("counter", "one").call(method, **arguments)


async def test_from_nothing_to_a_deployed_app_and_back(open_platform: OpenPlatform, kit: Kit) -> None:
    async with open_platform() as platform:
        first = await platform.deploy(kit.bundle("one"), "the first")
        assert (first["status"], first["active"], first["version"]) == ("active", True, 1), platform.log()
        assert (first["message"], first["actorTypes"], first["author"]) == ("the first", ["counter"], "token first")
        steps = [entry["status"] for entry in first["history"]]
        assert steps == ["stored", "starting", "smoke", "smoke", "active"]
        assert await call(platform) == "one"

        second = await platform.deploy(kit.bundle("two"))
        assert await call(platform) == "two"
        assert (await platform.wait_status(first["id"], "superseded"))["active"] is False

        answer = await platform.rollback()
        assert (answer.status_code, answer.json()["id"]) == (202, first["id"])
        await platform.wait_status(first["id"], "active")
        assert await call(platform) == "one"
        assert (await platform.read(second["id"]))["status"] == "rolled_back"
        again = await platform.rollback()
        assert (again.status_code, again.json()["code"]) == (409, "no_previous")
        forward = await platform.rollback(second["id"])
        assert forward.status_code == 202
        await platform.wait_status(second["id"], "active")
        assert await call(platform) == "two"


async def test_r17_a_broken_version_is_refused_with_its_reason_while_the_old_one_serves(
    open_platform: OpenPlatform, kit: Kit
) -> None:
    expected = {
        "import": "No module named 'a_module_that_is_not_there'",
        "syntax": "SyntaxError",
        "no app": "has no App",
        "smoke": "smoke call: ValueError: smoke rises",
        "exit": "the runtime ended with code 9",
    }
    assert set(expected) == set(kit.broken)
    async with open_platform() as platform:
        good = await platform.deploy(kit.bundle("one"))
        for number, kind in enumerate(kit.broken, start=2):
            refused = await platform.deploy(kit.bundle("bad", broken=kind))
            assert (refused["status"], refused["version"], refused["active"]) == ("failed", number, False)
            assert expected[kind] in refused["reason"]
            assert refused["history"][-1]["detail"] == refused["reason"]
            assert await call(platform) == "one"
        listed = (await platform.http.get(f"/api/projects/{platform.project['id']}/deployments")).json()
        assert [item["status"] for item in listed["items"]] == ["failed"] * len(kit.broken) + ["active"]
        after = await platform.read(good["id"])
        assert after["history"] == good["history"]


async def test_r8_a_runtime_in_standby_touches_neither_consumer_nor_owner_record(
    open_platform: OpenPlatform, kit: Kit, nats_url: str
) -> None:
    async with open_platform() as platform:
        scope = Scope(platform.project["workspaceId"], platform.project["id"])
        broker = await NatsBroker.open(nats_url, name="spy")
        try:

            async def taken() -> tuple[bool, bool]:
                names = await broker.consumer_names(subjects.INBOUND_STREAM)
                owner = await broker.get(subjects.owner_bucket(scope), subjects.owner_key(scope))
                return subjects.consumer(scope, "counter") in names, owner is not None

            gate = platform.directory / "gate"
            deployed = await platform.upload(kit.waiting(gate))
            await platform.wait_status(deployed["id"], "smoke")
            assert await taken() == (False, False)
            assert (await platform.read(deployed["id"]))["status"] == "smoke"
            gate.touch()
            await platform.wait_status(deployed["id"], "active")
            assert await taken() == (True, True)
        finally:
            await broker.aclose()


async def test_a_crashed_runtime_is_started_again_and_its_crash_is_shown(open_platform: OpenPlatform, kit: Kit) -> None:
    async with open_platform() as platform:
        deployed = await platform.deploy(kit.bundle("one"))
        await kit.until(lambda: settled(platform), "the grace is over")
        before = (await platform.status())["runtime"]
        os.kill(before["pid"], signal.SIGKILL)

        async def back() -> Any:
            runtime = (await platform.status())["runtime"]
            return runtime if runtime["pid"] not in (None, before["pid"]) else None

        runtime = await kit.until(back, "a new process")
        assert await call(platform) == "one"
        assert runtime["restarts"] == 1
        assert (runtime["lastExit"]["code"], "signal 9" in runtime["lastExit"]["message"]) == (-9, True)

        async def noted() -> bool:
            view = await platform.read(deployed["id"])
            details = [entry["detail"] or "" for entry in view["history"]]
            return any("signal 9" in detail for detail in details) and details[-1] == "it serves again"

        await kit.until(noted, "the crash and the return in the history")
        assert (await platform.read(deployed["id"]))["status"] == "active"


async def serves_again(caller: Caller, version: str, kit: Kit) -> None:
    """Until a call that is not answered yet is answered by this version."""
    before = len(caller.answers)
    await kit.until(lambda: version in caller.answers[before:], f"{version} serves again")


async def settled(platform: Platform) -> bool:
    """Whether the runtime runs and has lived through its grace."""
    status = await platform.status()
    return status["runtime"]["state"] == "running" and status["counters"] is not None


async def test_a_failure_at_the_takeover_gives_the_project_back_and_loses_no_call(
    open_platform: OpenPlatform, kit: Kit
) -> None:
    expected = {
        "refused": "the consumers are refused",
        "dies": "the runtime ended with code 8",
        "dies later": "the runtime ended with code 7",
    }
    assert set(expected) == set(kit.takeover)
    async with open_platform() as platform:
        old = await platform.deploy(kit.bundle("one"))
        caller = kit.Caller(platform.socket_url, per_s=100)
        calling = asyncio.create_task(caller.run())
        for kind in kit.takeover:
            new = await platform.upload(kit.bundle("bad", broken=kind))
            refused = await platform.wait_status(new["id"], "failed")
            assert expected[kind] in refused["reason"]
            await serves_again(caller, "one", kit)
            again = await platform.wait_status(old["id"], "active")
            assert again["active"]
            assert expected[kind] in again["history"][-1]["detail"]
        caller.stop()
        await calling
    assert (caller.failures, caller.drops) == ([], 0)
    assert len(caller.answers) == caller.sent
    assert caller.versions[0] == caller.versions[-1] == "one"
    assert caller.slowest_s < 15, "the old one was told at once, not when it asked again"


async def test_ten_deployments_good_and_broken_in_turn_while_a_client_calls(
    open_platform: OpenPlatform, kit: Kit
) -> None:
    async with open_platform(RUNTIME_GRACE_S="0.3") as platform:
        await platform.deploy(kit.bundle("v0"))
        caller = kit.Caller(platform.socket_url, per_s=200)
        calling = asyncio.create_task(caller.run())
        made = []
        for number in range(1, 11):
            broken = None if number % 2 else kit.broken[number // 2 % len(kit.broken)]
            made.append(await platform.deploy(kit.bundle(f"v{number}", broken=broken)))
        await kit.until(lambda: caller.answers[-1:] == ["v9"], "the last good one serves")
        caller.stop()
        await calling
        listed = (await platform.http.get(f"/api/projects/{platform.project['id']}/deployments")).json()["items"]
    assert (caller.failures, caller.drops) == ([], 0)
    assert len(caller.answers) == caller.sent
    assert caller.versions == ["v0", "v1", "v3", "v5", "v7", "v9"]
    assert [view["status"] for view in made] == ["active", "failed"] * 5
    assert [view["version"] for view in listed] == list(range(11, 0, -1))
    for view in listed:
        steps = [entry["status"] for entry in view["history"]]
        assert steps[:2] == ["stored", "starting"]
        assert steps[-1] == view["status"]
        assert all(entry["by"] and entry["at"] for entry in view["history"])
