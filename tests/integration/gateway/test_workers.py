"""`zocket gateway --workers N` as processes: one port, deaths, stops."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import socket
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from tests.integration.gateway.conftest import until
from tests.tied import tied

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from websockets.asyncio.client import ClientConnection

    from tests.integration.gateway.conftest import ControlPlane
    from zocket.broker.server import NatsServer

pytestmark = pytest.mark.nats


class Command:
    """A `zocket gateway` and what it says."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.lines: list[str] = []
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self.process.stderr is not None
        while line := await self.process.stderr.readline():
            self.lines.append(line.decode())

    def said(self, pattern: str) -> list[str]:
        """The first group of each line that matches."""
        found = [re.search(pattern, line) for line in self.lines]
        return [match[1] for match in found if match is not None]

    async def port(self) -> int:
        await until(lambda: self.said(r"workers answer on port (\d+)"), f"the workers: {self.lines}")
        return int(self.said(r"workers answer on port (\d+)")[0])

    def pids(self, number: int) -> list[int]:
        """Processes that worker `number` has been."""
        return [int(pid) for pid in self.said(rf"worker {number} is process (\d+)")]

    async def ended(self) -> int:
        async with asyncio.timeout(30):
            code = await self.process.wait()
            await self._reading
        return code


@asynccontextmanager
async def gateway(**environment: str) -> AsyncIterator[Command]:
    process = await asyncio.create_subprocess_exec(
        *tied(sys.executable, "-m", "zocket", "gateway", "--workers", "2", "--log-format", "json"),
        env={"HOST": "127.0.0.1", "PORT": "0", "METRICS_PORT": "0", "DRAIN_TIMEOUT_S": "1", **environment},
        stderr=asyncio.subprocess.PIPE,
    )
    command = Command(process)
    try:
        yield command
    finally:
        if process.returncode is None:
            process.kill()
        pids = (*command.pids(1), *command.pids(2))
        try:
            await until(lambda: not any(map(alive, pids)), f"the end of the workers {pids}")
        finally:
            for pid in filter(alive, pids):
                os.kill(pid, signal.SIGKILL)
            await command.ended()


def alive(pid: int) -> bool:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, 0)
        return True
    return False


async def opened(port: int) -> ClientConnection:
    client = await connect(f"ws://127.0.0.1:{port}/", proxy=None)
    assert json.loads(await client.recv())["type"] == "welcome"
    return client


async def sockets_of_both(command: Command, port: int) -> dict[int, ClientConnection]:
    """One socket of each worker, by its number."""
    found: dict[int, ClientConnection] = {}
    async with asyncio.timeout(20):
        while len(found) < 2:
            client = await opened(port)
            local = client.local_address[1]
            number = next(n for n in (1, 2) if holds(command.pids(n)[-1], port, local))
            if number in found:
                await client.close()
            else:
                found[number] = client
    return found


def holds(pid: int, port: int, remote: int) -> bool:
    """Whether a process has the server's side of a connection."""
    with open("/proc/net/tcp") as table:
        rows = [line.split() for line in table][1:]
    wanted = (f"{port:04X}", f"{remote:04X}")
    inodes = {row[9] for row in rows if (row[1][-4:], row[2][-4:]) == wanted}
    directory = f"/proc/{pid}/fd"
    links = []
    for name in os.listdir(directory):
        with contextlib.suppress(OSError):
            links.append(os.readlink(f"{directory}/{name}"))
    return any(f"socket:[{inode}]" in links for inode in inodes)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
async def test_workers_share_a_port_and_one_that_dies_comes_back(nats_server: NatsServer, plane: ControlPlane) -> None:
    async with gateway(NATS_URL=nats_server.url, CONTROL_PLANE_URL=plane.url) as command:
        port = await command.port()
        clients = await sockets_of_both(command, port)
        os.kill(command.pids(1)[0], signal.SIGKILL)
        async with asyncio.timeout(20):
            await clients[1].wait_closed()
        await until(lambda: len(command.pids(1)) == 2, "the restart")
        assert command.said(r"(worker 1 \(process \d+\) was ended by SIGKILL)")
        pong = await clients[2].ping()
        async with asyncio.timeout(20):
            await pong
        for client in (await sockets_of_both(command, port)).values():
            await client.close()
        command.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(20):
            await clients[2].wait_closed()
        assert clients[2].close_code == 1012
        assert await command.ended() == 0


async def test_workers_end_with_their_parent_however_it_died(nats_server: NatsServer, plane: ControlPlane) -> None:
    async with gateway(NATS_URL=nats_server.url, CONTROL_PLANE_URL=plane.url) as command:
        port = await command.port()
        client = await opened(port)
        command.process.kill()
        async with asyncio.timeout(20):
            await client.wait_closed()
        assert client.close_code == 1012, "drained, not killed"
    with pytest.raises((OSError, WebSocketException)):
        await opened(port)


async def test_what_keeps_all_workers_from_starting_is_said_once(plane: ControlPlane) -> None:
    url = {"NATS_URL": "nats://127.0.0.1:9", "NATS_BOOT_TIMEOUT_S": "0.3", "CONTROL_PLANE_URL": plane.url}
    async with gateway(**url) as command:
        assert await command.ended() == 1
        assert len(command.said("(zocket gateway: .*NATS_URL)")) == 1
        assert "Traceback" not in "".join(command.lines)


async def test_a_port_that_somebody_listens_on_is_refused(plane: ControlPlane) -> None:
    with socket.create_server(("127.0.0.1", 0), reuse_port=True) as other:
        port = str(other.getsockname()[1])
        async with gateway(NATS_URL="nats://127.0.0.1:9", CONTROL_PLANE_URL=plane.url, PORT=port) as command:
            assert await command.ended() == 1
            assert command.said(f"(cannot listen on 127.0.0.1 port {port})")
            assert command.pids(1) == []
