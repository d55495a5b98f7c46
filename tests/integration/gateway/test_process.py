"""`run` as a process: environment, exit codes, signals."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import sys
from typing import TYPE_CHECKING, Any

import pytest
from websockets.asyncio.client import connect

from tests.tied import tied
from zocket.broker.nats import NatsBroker
from zocket.errors import BootError, SettingsError, Unavailable
from zocket.gateway.process import serve
from zocket.settings import DEVELOPMENT_TOKEN, GatewaySettings, is_loopback

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from tests.integration.gateway.conftest import ControlPlane, World
    from zocket.broker.server import NatsServer

    Open = Callable[[NatsServer], AbstractAsyncContextManager[World]]

pytestmark = pytest.mark.nats

MAIN = """
import asyncio, os, sys
from zocket import logs, settings
from zocket.broker.nats import NatsBroker
from zocket.errors import BootError, SettingsError, Unavailable
from zocket.gateway.process import run
logs.configure(style="json")
try:
    sys.exit(asyncio.run(run(settings.read(settings.GatewaySettings, os.environ))))
except (BootError, SettingsError) as error:
    sys.exit(f"zocket gateway: {error.message}")
"""


async def start(**environment: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *tied(sys.executable, "-c", MAIN), env=environment, stderr=asyncio.subprocess.PIPE
    )


async def line_with(process: asyncio.subprocess.Process, text: str) -> Any:
    assert process.stderr is not None
    async with asyncio.timeout(20):
        while line := await process.stderr.readline():
            if text in line.decode():
                return json.loads(line)
    raise AssertionError(f"the process ended without saying {text!r}")


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
async def test_a_signal_drains_and_exits_with_0(nats_server: NatsServer, plane: ControlPlane, name: str) -> None:
    process = await start(
        HOST="127.0.0.1", PORT="0", METRICS_PORT="0", NATS_URL=nats_server.url, CONTROL_PLANE_URL=plane.url
    )
    try:
        said = await line_with(process, "answers on port")
        port = said["event"].split("answers on port ")[1].split(",")[0]
        async with connect(f"ws://127.0.0.1:{port}/?token=secret-of-ada", proxy=None) as client:
            assert json.loads(await client.recv())["type"] == "welcome"
            process.send_signal(getattr(signal, name))
            async with asyncio.timeout(20):
                await client.wait_closed()
            assert client.close_code == 1012
        assert process.stderr is not None
        async with asyncio.timeout(20):
            rest = await process.stderr.read()
            assert await process.wait() == 0
        assert b"gateway stopped" in rest
        assert b"secret-of-ada" not in rest
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_a_boot_failure_is_one_clear_line_and_a_non_zero_exit(plane: ControlPlane) -> None:
    process = await start(
        PORT="0",
        METRICS_PORT="0",
        NATS_URL="nats://127.0.0.1:9",
        NATS_BOOT_TIMEOUT_S="0.3",
        CONTROL_PLANE_URL=plane.url,
    )
    assert process.stderr is not None
    async with asyncio.timeout(20):
        lines = (await process.stderr.read()).decode().strip().splitlines()
        assert await process.wait() == 1
    assert lines[-1].startswith("zocket gateway: ")
    assert "NATS_URL" in lines[-1]
    assert "Traceback" not in "\n".join(lines)


async def refused(settings: GatewaySettings) -> None:
    async with serve(settings):
        raise AssertionError("it started")


@pytest.mark.parametrize("variable", ["control_plane_url", "nats_url"])
async def test_the_published_token_is_refused_toward_another_machine(variable: str) -> None:
    settings = GatewaySettings(**{variable: "nats://nats.example.com"})  # type: ignore[arg-type]
    assert settings.internal_token == DEVELOPMENT_TOKEN
    assert not is_loopback("nats://nats.example.com")
    with pytest.raises(SettingsError, match="CONTROL_PLANE_INTERNAL_TOKEN"):
        await refused(settings)


async def test_a_certificate_that_cannot_be_used_is_an_error_that_names_the_variable() -> None:
    with pytest.raises(SettingsError, match="TLS_CERTIFICATE"):
        await refused(GatewaySettings(tls_certificate="/nowhere.pem"))


@pytest.mark.parametrize("variable", ["port", "metrics_port"])
async def test_a_taken_port_is_a_boot_error(world: Open, nats_server: NatsServer, variable: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        async with world(nats_server) as w:
            with pytest.raises(BootError, match=str(port)):
                await refused(w.settings(**{variable: port}))


async def test_a_nats_server_without_streams_is_a_boot_error(
    world: Open, nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def no_jetstream(*_: object) -> None:
        raise Unavailable("JetStream not enabled")

    monkeypatch.setattr(NatsBroker, "ensure_stream", no_jetstream)
    async with world(nats_server) as w:
        with pytest.raises(BootError, match=r"JetStream not enabled\. Is JetStream enabled"):
            await refused(w.settings())
