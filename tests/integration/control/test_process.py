from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.tied import tied
from zocket.control.process import serve
from zocket.errors import BootError, SettingsError
from zocket.settings import ControlSettings

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.realtime

MAIN = """
import asyncio, logging, os, sys
from zocket import logs, settings
from zocket.control.process import run
logs.configure(style="json")
sys.exit(asyncio.run(run(settings.read(settings.ControlSettings, os.environ))))
"""


def local(directory: Path, **more: object) -> ControlSettings:
    values = {"database_url": f"sqlite+aiosqlite:///{directory}/new/control.db", "bundle_store": f"{directory}/b"}
    return ControlSettings(**{"port": 0, **values, **more})  # type: ignore[arg-type]


async def test_the_whole_round_over_http(tmp_path: Path) -> None:
    scope = {"workspaceId": "local-workspace", "projectId": "local-project"}
    settings = local(tmp_path, dev_mode=True)
    headers = {"authorization": f"Bearer {settings.internal_token}"}
    async with serve(settings) as url, httpx.AsyncClient(base_url=url, headers=headers, timeout=20) as client:
        assert (await client.get("/api/health")).json() == {"ok": True}
        content = bytes(range(256)) * 8_192
        stored = (await client.post("/api/internal/deployments", params=scope, content=content)).json()
        query = scope | {"deploymentId": stored["deploymentId"]}
        active = (await client.get("/api/internal/runtime/active", params=query)).json()
        assert active["url"].startswith(url)
        assert (await client.get(active["url"])).content == content
        assert (await client.get(active["url"], headers={"authorization": "Bearer no"})).status_code == 401


def test_the_process_takes_a_free_port_logs_it_and_stops_on_sigterm(tmp_path: Path) -> None:
    environment = {
        "PORT": "0",
        "ZOCKET_DEV": "1",
        "DATABASE_URL": f"sqlite+aiosqlite:///{tmp_path}/control.db",
        "BUNDLE_STORE": str(tmp_path / "bundles"),
    }
    with subprocess.Popen(
        tied(sys.executable, "-c", MAIN), env=environment, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        try:
            url = next(line["url"] for line in map(json.loads, process.stderr) if "url" in line)
            assert httpx.get(url + "/api/health", timeout=20).json() == {"ok": True}
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=20) == 0
        finally:
            process.kill()


async def test_a_taken_port_is_an_error_that_names_the_variable(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(BootError, match="PORT: cannot listen on"):
        async with serve(local(tmp_path, port=taken.getsockname()[1])):
            raise AssertionError("it started")


async def test_a_database_that_cannot_be_opened_is_named_without_its_password(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no directory")
    with pytest.raises(BootError, match="DATABASE_URL"):
        async with serve(local(tmp_path, database_url=f"sqlite+aiosqlite:///{tmp_path}/file/control.db")):
            raise AssertionError("it started")


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
async def test_the_published_token_is_refused_where_other_machines_reach_it(tmp_path: Path, host: str) -> None:
    with pytest.raises(SettingsError, match="CONTROL_PLANE_INTERNAL_TOKEN"):
        async with serve(local(tmp_path, host=host)):
            raise AssertionError("it started")
