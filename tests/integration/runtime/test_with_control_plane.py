"""The runtime process against our own control plane, with a bundle that was packed from a project."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
import pytest

from zocket.control.process import serve
from zocket.dev.packaging import pack
from zocket.settings import ControlSettings

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.runtime.conftest import FakeControlPlane, Launcher, WireMaker

pytestmark = pytest.mark.nats


def write(directory: Path, files: dict[str, bytes]) -> None:
    directory.mkdir()
    for name, content in files.items():
        (directory / name).write_bytes(content)


async def upload(client: httpx.AsyncClient, scope: dict[str, str], content: bytes) -> str:
    answer = await client.post("/api/internal/deployments", params=scope, content=content)
    assert answer.status_code == 201, answer.text
    deployment_id: str = answer.json()["deploymentId"]
    return deployment_id


async def test_a_packed_app_is_deployed_reported_and_replaced(
    launcher: Launcher, control_plane: FakeControlPlane, wires: WireMaker, tmp_path: Path
) -> None:
    project = tmp_path / "project"
    write(project, {"rooms.py": control_plane.content, "chat.py": b"from rooms import app\n"})
    settings = ControlSettings(
        port=0,
        database_url=f"sqlite+aiosqlite:///{tmp_path}/control.db",
        bundle_store=str(tmp_path / "store"),
        internal_token="a token of the test",
    )
    scope = {"workspaceId": launcher.scope.workspace_id, "projectId": launcher.scope.project_id}
    headers = {"authorization": "Bearer a token of the test"}
    async with serve(settings) as url, httpx.AsyncClient(base_url=url, headers=headers, timeout=30) as client:

        async def view(deployment_id: str) -> dict[str, Any]:
            answer = await client.get(f"/api/internal/deployments/{deployment_id}", params=scope)
            found: dict[str, Any] = answer.json()
            return found

        body = {"workspaceId": scope["workspaceId"], "slug": "chat"}
        assert (await client.put(f"/api/internal/projects/{scope['projectId']}", json=body)).status_code == 200
        first = await upload(client, scope, pack("chat:app", [project]).content)
        old = await launcher.start(CONTROL_PLANE_URL=url, DEPLOYMENT_ID=first).wait_ready()
        seen = await view(first)
        assert (seen["status"], seen["active"], seen["actorTypes"]) == ("deployed", True, ["room", "other"])

        broken = await upload(client, scope, b"raise RuntimeError('broken on purpose')\n")
        assert await launcher.start(CONTROL_PLANE_URL=url, DEPLOYMENT_ID=broken).wait_exit() == 1
        seen = await view(broken)
        assert (seen["status"], seen["active"]) == ("failed", False)
        assert "broken on purpose" in seen["message"]
        assert old.process.poll() is None

        second = await upload(client, scope, pack("rooms:app", [project]).content)
        await launcher.start(CONTROL_PLANE_URL=url, DEPLOYMENT_ID=second).wait_ready()
        assert await old.wait_exit() == 3
        assert [(await view(item))["active"] for item in (first, second)] == [False, True]
        async with wires.open(launcher.scope) as wire:
            wire.call(1, "a", "add", by=3)
            assert await wire.wait_results(1) == {1: 3}

        unknown = launcher.start(CONTROL_PLANE_URL=url, DEPLOYMENT_ID="dpl_unknown")
        assert await unknown.wait_exit() == 1
        assert "does not know deployment dpl_unknown" in unknown.log
