"""A control plane and a runtime that a test scripts, around a real gateway on a real NATS server."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections import defaultdict
from contextlib import AsyncExitStack, asynccontextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import TYPE_CHECKING, Any

import pytest
from websockets.asyncio.client import ClientConnection, connect

from zocket.broker.nats import NatsBroker
from zocket.broker.port import ConsumerSpec, Delivered, Message
from zocket.broker.streams import transport_streams
from zocket.gateway.process import Serving, serve
from zocket.ids import Scope
from zocket.protocol import envelopes, subjects
from zocket.settings import GatewaySettings, Limits

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from contextlib import AbstractAsyncContextManager

    from zocket.broker.server import NatsServer

DEADLINE_S = 20.0


async def until(condition: Callable[[], object], what: str = "condition") -> None:
    try:
        async with asyncio.timeout(DEADLINE_S):
            while not condition():  # noqa: ASYNC110 — a condition of any kind
                await asyncio.sleep(0.005)
    except TimeoutError:
        raise AssertionError(f"{what}: not within {DEADLINE_S} s") from None


class ControlPlane:
    """Answers `authorize`: the token is `{user}` or `bad`, the host does not matter."""

    def __init__(self, scope: Scope) -> None:
        plane = self
        self.scope = scope
        self.asked: list[Any] = []
        self.bearers: set[str | None] = set()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                ask = json.loads(self.rfile.read(int(self.headers["content-length"])))
                plane.asked.append(ask)
                plane.bearers.add(self.headers["authorization"])
                granted = ask["token"] != "bad"
                answer = plane.granted(ask["token"]) if granted else {"error": "the token is bad"}
                body = json.dumps(answer).encode()
                self.send_response(200 if granted else 401)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def granted(self, token: str | None) -> dict[str, Any]:
        scope = {"workspaceId": self.scope.workspace_id, "projectId": self.scope.project_id}
        return {**scope, "userId": token, "claims": {"sub": token}}

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class Runtime:
    """Counts for every instance; `own` sends batches and announces itself, else it is like an existing runtime."""

    def __init__(self, broker: NatsBroker, scope: Scope, *, own: bool) -> None:
        self.broker = broker
        self.scope = scope
        self.own = own
        self.epoch = "e_" + secrets.token_hex(4)
        self.actor_types = ["counter", "silent"]
        self.counts: defaultdict[str, int] = defaultdict(int)
        self.watchers: dict[str, str | None] = {}
        self.requests: list[Any] = []
        self.notices: list[tuple[str, Any]] = []

    async def start(self) -> None:
        for spec in transport_streams():
            await self.broker.ensure_stream(spec)
        await self.broker.subscribe(subjects.connected(self.scope), self._noticed)
        await self.broker.subscribe(subjects.disconnected(self.scope), self._noticed)
        await self.consume()
        if self.own:
            await self.broker.subscribe(subjects.discovery(self.scope), lambda _: self.announce())
            self.announce()

    async def consume(self) -> None:
        for actor in self.actor_types:
            spec = ConsumerSpec(
                subjects.INBOUND_STREAM,
                subjects.consumer(self.scope, actor),
                subjects.inbound_filter(self.scope, actor),
            )
            await self.broker.take_over(spec, self._inbound, lambda: None)

    def announce(self) -> None:
        record = envelopes.Announcement(envelopes.wire_scope(self.scope), self.epoch, self.actor_types)
        self.broker.send([Message(subjects.announcement(self.scope), envelopes.encode(record))])

    def _noticed(self, messages: list[Message]) -> None:
        self.notices += [(m.subject.split(".")[1], json.loads(m.payload)) for m in messages]

    def _inbound(self, messages: list[Delivered]) -> None:
        for message in messages:
            envelope = json.loads(message.payload)
            self.requests.append(envelope)
            if envelope["message"]["actor"] != "silent":
                self._serve(envelope, envelope["message"])
        self.broker.ack(messages)

    def _serve(self, envelope: dict[str, Any], request: dict[str, Any]) -> None:
        session, gateway = envelope["sessionId"], envelope.get("gateway")
        address = {"actor": request["actor"], "actorId": request["actorId"]}
        if request["type"] == "state:sub":
            self.watchers[session] = gateway
            count = self.counts[request["actorId"]]
            self.say({session: gateway}, {"type": "state:snapshot", **address, "state": {"n": count}})
        if request["type"] == "rpc":
            count = self.counts[request["actorId"]] = self.counts[request["actorId"]] + 1
            patch = {"op": "replace", "path": "/n", "value": count}
            self.say(self.watchers, {"type": "state:patch", **address, "patches": [patch]})
            self.say({session: gateway}, {"type": "rpc:result", "id": request["id"], "result": count})

    def say(self, audience: dict[str, str | None], frame: dict[str, Any]) -> None:
        text = json.dumps(frame).encode()
        if self.own:
            scope = envelopes.encode(envelopes.wire_scope(self.scope))
            for gateway in {gateway for gateway in audience.values() if gateway}:
                sessions = [session for session, its in audience.items() if its == gateway]
                entry = envelopes.delivery(envelopes.session_list(sessions), text)
                self.broker.send([Message(subjects.gateway(self.scope, gateway), envelopes.batch(scope, [entry]))])
        else:
            self.broker.send(
                [
                    Message(
                        subjects.outbound(self.scope, session),
                        envelopes.outbound(envelopes.outbound_head(self.scope, session), text),
                    )
                    for session in audience
                ]
            )


class World:
    """What one test starts; everything is stopped at its end."""

    def __init__(self, stack: AsyncExitStack, nats_url: str, plane: ControlPlane) -> None:
        self._stack = stack
        self.nats_url = nats_url
        self.plane = plane
        self.scope = plane.scope

    def settings(self, **more: Any) -> GatewaySettings:
        values: dict[str, Any] = {
            "host": "127.0.0.1",
            "port": 0,
            "metrics_port": 0,
            "nats_url": self.nats_url,
            "control_plane_url": self.plane.url,
            "drain_timeout_s": 0.0,
            "limits": Limits(),
        }
        return GatewaySettings(**values | more)

    async def gateway(self, **settings: Any) -> Serving:
        return await self._stack.enter_async_context(serve(self.settings(**settings)))

    async def runtime(self, *, own: bool = True) -> Runtime:
        broker = await NatsBroker.open(self.nats_url, name="scripted runtime")
        self._stack.push_async_callback(broker.aclose)
        runtime = Runtime(broker, self.scope, own=own)
        await runtime.start()
        return runtime

    async def client(self, port: int, token: str | None = "ada") -> Client:
        query = "" if token is None else f"?token={token}"
        socket = await self._stack.enter_async_context(connect(f"ws://127.0.0.1:{port}/{query}", proxy=None))
        return Client(socket)


class Client:
    """A raw WebSocket that speaks JSON."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket

    async def says(self, frame: dict[str, Any] | str | bytes) -> None:
        await self.socket.send(json.dumps(frame) if isinstance(frame, dict) else frame)

    async def hears(self) -> Any:
        async with asyncio.timeout(DEADLINE_S):
            return json.loads(await self.socket.recv())

    async def calls(self, call_id: Any, actor: str = "counter", actor_id: str = "a") -> None:
        await self.says({"type": "rpc", "id": call_id, "actor": actor, "actorId": actor_id, "method": "add"})

    async def closed(self) -> int | None:
        async with asyncio.timeout(DEADLINE_S):
            await self.socket.wait_closed()
        return self.socket.close_code


@pytest.fixture
def plane() -> Iterator[ControlPlane]:
    plane = ControlPlane(Scope("w" + secrets.token_hex(4), "p"))
    yield plane
    plane.close()


@pytest.fixture
def world(plane: ControlPlane) -> Callable[[NatsServer], AbstractAsyncContextManager[World]]:
    @asynccontextmanager
    async def open_world(server: NatsServer) -> AsyncIterator[World]:
        async with AsyncExitStack() as stack:
            yield World(stack, server.url, plane)

    return open_world
