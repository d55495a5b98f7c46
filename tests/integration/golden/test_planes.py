"""Golden conversations over HTTP: existing runtimes, gateways and control planes with ours."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from tests.integration.golden.__main__ import answered
from tests.integration.golden.contract import Contract
from tests.integration.golden.conversation import Conversation, path_of
from tests.integration.golden.planes import BEARER, BROKEN, BUNDLE, HOST, existing_control_plane, known
from tests.integration.golden.player import replay
from zocket.clock import SystemClock
from zocket.dev.ports import free_port
from zocket.gateway.process import serve
from zocket.runtime.process import RuntimeProcess
from zocket.settings import GatewaySettings, RuntimeSettings

if TYPE_CHECKING:
    from pathlib import Path

    from zocket.ids import Scope

DEPLOYMENT = "dpl_golden"
RECORD_ANEW = "record it anew (python -m tests.integration.golden) and review the diff"


@pytest.mark.realtime
async def test_an_existing_runtime_and_gateway_with_our_control_plane(tmp_path: Path) -> None:
    for name, again in (await answered(tmp_path)).items():
        assert again.text() == path_of(name).read_text(), RECORD_ANEW


@pytest.mark.nats
@pytest.mark.parametrize(("name", "exit_code"), [("boot", 0), ("inline-code", 0), ("failed-boot", 1)])
async def test_an_existing_control_plane_with_our_runtime(
    name: str, exit_code: int, scope: Scope, nats_url: str, tmp_path: Path
) -> None:
    """R2, R3, R7, R8, R9 toward a control plane that knows the contract alone."""
    bundle = BROKEN if name == "failed-boot" else BUNDLE
    values = known(scope, bundle) | {"deployment": DEPLOYMENT}
    async with existing_control_plane("runtime", **values) as stage:
        settings = RuntimeSettings(
            deployment_id=DEPLOYMENT,
            nats_url=nats_url,
            control_plane_url=stage.url,
            internal_token=BEARER,
            workspace_id=scope.workspace_id,
            project_id=scope.project_id,
            api_host="127.0.0.1",
            api_port=free_port(),
            bundle_dir=str(tmp_path),
        )
        process = RuntimeProcess(settings, SystemClock())
        running = asyncio.create_task(process.run())
        await replay(Conversation.read(name), stage)
        if exit_code == 0:
            async with httpx.AsyncClient() as client:
                health = await client.get(f"http://127.0.0.1:{settings.api_port}/health")
            assert Contract([]).refusal_of_answer("GET /health", health.status_code, health.json()) is None
            process.stop()
        async with asyncio.timeout(30):
            assert await running == exit_code
        assert (stage.refused, stage.heard) == ([], [])


@pytest.mark.nats
async def test_an_existing_control_plane_with_our_gateway(scope: Scope, nats_url: str) -> None:
    values = known(scope, "")
    async with existing_control_plane("gateway", **values) as stage:
        settings = GatewaySettings(
            host="127.0.0.1",
            port=0,
            metrics_port=0,
            nats_url=nats_url,
            control_plane_url=stage.url,
            internal_token=BEARER,
            drain_timeout_s=0.0,
        )
        async with serve(settings) as gateway:

            async def open_sockets() -> None:
                """One whose token is good, one whose token is bad, one without a token."""
                url = f"ws://{HOST.upper()}:{gateway.port}/"
                where: dict[str, Any] = {"host": "127.0.0.1", "port": gateway.port}
                async with connect(f"{url}?token={values['token']}", proxy=None, **where) as socket:
                    assert json.loads(await socket.recv())["type"] == "welcome"
                for query in ("?token=no%20token", ""):
                    with pytest.raises(InvalidStatus) as refused:
                        await connect(url + query, proxy=None, **where)
                    assert refused.value.response.status_code == 401

            opening = asyncio.create_task(open_sockets())
            await replay(Conversation.read("authorize"), stage)
            async with asyncio.timeout(30):
                await opening
    assert (stage.refused, stage.heard) == ([], [])
