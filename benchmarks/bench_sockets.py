"""CPU and memory of the socket front, beside bare picows in the same run.

    python benchmarks/bench_sockets.py [--idle 15000] [--repeat 3] [--loop uvloop|asyncio]

The server is a process of its own; what counts is its CPU time (user and system), per 10,000 messages, best of
`repeat`. `picows` is the floor: its listener echoes from inside the callback and sends to a thousand sockets in a loop,
with no limits, no counting and no bound on what waits. Memory is the growth of the server's resident size per idle
socket. Rates say little on a shared machine; compare CPU and ratios.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import resource
import subprocess
import sys
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

import psutil  # type: ignore[import-untyped]
import uvloop
from picows import WSListener, WSMsgType, ws_connect, ws_create_server

from zocket.sockets.front import SocketFront

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

TEXT: Final = WSMsgType.TEXT
MESSAGE: Final = b'{"type":"rpc","id":"12","actor":"counter","actorId":"a","method":"increment","input":{"by":1}}'
CLIENTS: Final = 50
AUDIENCE: Final = 1_000
BROADCASTS: Final = 30
ECHOES: Final = {16: 1_600, 1: 600}
"""Pipeline → messages of each client in one round."""


class Commands:
    """What a client may ask of either server."""

    def __init__(self) -> None:
        self.peers: set[Any] = set()

    def received(self, peer: Any, frame: bytes) -> None:
        if frame.startswith(b"usage"):
            memory = psutil.Process().memory_info().rss
            gc.collect()
            peer.send(json.dumps({"cpu": time.process_time(), "rss": memory}).encode())
        elif frame.startswith(b"everyone"):
            for other in self.peers:
                other.send(frame)
        else:
            peer.send(frame)


class Session:
    def __init__(self, commands: Commands, peer: Any) -> None:
        self.commands, self.peer = commands, peer
        commands.peers.add(peer)

    def received(self, frame: bytes) -> None:
        self.commands.received(self.peer, frame)

    def fell_behind(self) -> None:
        pass

    def caught_up(self) -> None:
        pass

    def closed(self) -> None:
        self.commands.peers.discard(self.peer)


class BareListener(WSListener):
    def __init__(self, commands: Commands) -> None:
        self.commands = commands

    def on_ws_connected(self, transport: Any) -> None:
        self.transport = transport
        self.commands.peers.add(self)

    def on_ws_disconnected(self, transport: Any) -> None:
        self.commands.peers.discard(self)

    def on_ws_frame(self, transport: Any, frame: Any) -> None:
        if frame.msg_type == TEXT:
            self.commands.received(self, frame.get_payload_as_bytes())

    def send(self, frame: bytes) -> None:
        self.transport.send(TEXT, frame)


@asynccontextmanager
async def listening(kind: str) -> AsyncIterator[int]:
    commands = Commands()
    if kind == "front":

        async def admit(head: Any) -> None:
            return None

        def open_session(peer: Any, admitted: None) -> Session:
            return Session(commands, peer)

        async with SocketFront.open("127.0.0.1", 0, admit=admit, open=open_session) as front:
            yield front.port
    else:
        server = await ws_create_server(
            lambda _request: BareListener(commands), "127.0.0.1", 0, read_buffer_init_size=2_048, backlog=2_048
        )
        yield server.sockets[0].getsockname()[1]
        server.close()


async def serve(kind: str) -> None:
    async with listening(kind) as port:
        print(port, flush=True)
        await asyncio.Event().wait()


class Client(WSListener):
    """Counts what comes; keeps a pipeline full."""

    def on_ws_connected(self, transport: Any) -> None:
        self.transport = transport
        self.expected = self.to_send = 0
        self.last = b""
        self.done: asyncio.Future[None] | None = None

    def on_ws_frame(self, transport: Any, frame: Any) -> None:
        if self.to_send:
            self.to_send -= 1
            transport.send(TEXT, MESSAGE)
        self.expected -= 1
        if self.expected == 0 and self.done is not None:
            self.last = frame.get_payload_as_bytes()
            self.done.set_result(None)

    def expect(self, count: int) -> asyncio.Future[None]:
        self.expected, self.done = count, asyncio.get_running_loop().create_future()
        return self.done


async def usage(client: Client) -> dict[str, float]:
    done = client.expect(1)
    client.transport.send(TEXT, b"usage")
    await done
    result: dict[str, float] = json.loads(client.last)
    return result


async def connect_many(port: int, count: int) -> list[Client]:
    async def one() -> Client:
        return (await ws_connect(Client, f"ws://127.0.0.1:{port}/", read_buffer_init_size=2_048))[1]  # type: ignore[return-value]

    clients: list[Client] = []
    while len(clients) < count:
        clients += await asyncio.gather(*(one() for _ in range(min(100, count - len(clients)))))
    return clients


async def measure(port: int, repeat: int, idle: int) -> dict[str, float]:
    (control,) = await connect_many(port, 1)
    clients = await connect_many(port, CLIENTS)
    results: dict[str, float] = {}
    for pipeline, count in ECHOES.items():
        costs = []
        for _ in range(repeat):
            before = await usage(control)
            done = [client.expect(count) for client in clients]
            for client in clients:
                client.to_send = count - pipeline
                for _ in range(pipeline):
                    client.transport.send(TEXT, MESSAGE)
            await asyncio.gather(*done)
            costs.append(((await usage(control))["cpu"] - before["cpu"]) / (count * CLIENTS) * 10_000)
        results[f"echo, {CLIENTS} clients, pipeline {pipeline}: CPU s per 10,000"] = min(costs)
    clients += await connect_many(port, AUDIENCE - CLIENTS - 1)
    costs = []
    for _ in range(repeat):
        before = await usage(control)
        for _ in range(BROADCASTS):
            done = [client.expect(1) for client in (control, *clients)]
            control.transport.send(TEXT, b"everyone" + b"b" * 192)
            await asyncio.gather(*done)
        costs.append(((await usage(control))["cpu"] - before["cpu"]) / (BROADCASTS * AUDIENCE) * 10_000)
    results[f"broadcast to {AUDIENCE}: CPU s per 10,000 deliveries"] = min(costs)
    before = await usage(control)
    clients += await connect_many(port, idle)
    after = await usage(control)
    results[f"KiB per idle socket, {idle} of them"] = (after["rss"] - before["rss"]) / idle / 1_024
    results["connect: CPU s per 10,000 upgrades"] = (after["cpu"] - before["cpu"]) / idle * 10_000
    for client in clients:
        client.transport.disconnect(False)
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--idle", type=int, default=5_000)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--loop", choices=("uvloop", "asyncio"), default="uvloop")
    parser.add_argument("--serve", choices=("front", "picows"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if arguments.serve:
        (uvloop if arguments.loop == "uvloop" else asyncio).run(serve(arguments.serve))
        return
    columns = {}
    for kind in ("picows", "front"):
        command = [sys.executable, __file__, "--serve", kind, "--loop", arguments.loop]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ) as server:
            assert server.stdout is not None
            try:
                port = int(server.stdout.readline())
                columns[kind] = uvloop.run(measure(port, arguments.repeat, arguments.idle))
            finally:
                server.terminate()
    print(f"{arguments.loop:52} {'picows':>8} {'front':>8} {'ratio':>6}")
    for name, floor in columns["picows"].items():
        ours = columns["front"][name]
        print(f"{name:52} {floor:8.3f} {ours:8.3f} {ours / floor:6.2f}")


if __name__ == "__main__":
    main()
