"""The app as an ASGI application: sockets, authorization, limits, lifespan; spoken to by hand, on virtual time."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import BaseModel

from zocket import Actor, App, Identity, Limits, Unauthorized, method
from zocket.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


class Count(BaseModel):
    count: int = 0


class Counter(Actor[Count]):
    @method
    async def increment(self, by: int = 1) -> int:
        self.state.count += by
        return self.state.count

    @method
    async def who(self) -> list[Any]:
        return [self.session.user_id, dict(self.session.claims)]


class Socket:
    """An ASGI server's side of one WebSocket."""

    def __init__(self, app: App, query: bytes = b"", headers: list[tuple[bytes, bytes]] | None = None) -> None:
        self.scope = {
            "type": "websocket", "path": "/", "query_string": query, "headers": headers or [],
            "extensions": {"websocket.http.response": {}},
        }  # fmt: skip
        self.to_app: asyncio.Queue[Any] = asyncio.Queue()
        self.from_app: asyncio.Queue[Any] = asyncio.Queue()
        self.to_app.put_nowait({"type": "websocket.connect"})
        self.task = asyncio.ensure_future(app(self.scope, self.to_app.get, self.take))

    async def take(self, message: Any) -> None:
        await self.from_app.put(message)

    def send(self, **frame: Any) -> None:
        self.to_app.put_nowait({"type": "websocket.receive", "text": json.dumps(frame)})

    def call(self, number: int, name: str, **given: Any) -> None:
        self.send(type="rpc", id=number, actor="counter", actorId="c", method=name, input=given)

    async def next(self) -> Any:
        message = await asyncio.wait_for(self.from_app.get(), 5)
        return json.loads(message["text"]) if message["type"] == "websocket.send" else message

    async def leave(self) -> None:
        self.to_app.put_nowait({"type": "websocket.disconnect", "code": 1000})
        await self.task


class Gated(Socket):
    """One whose client reads while `reads` is set."""

    def __init__(self, app: App) -> None:
        self.reads = asyncio.Event()
        self.reads.set()
        super().__init__(app)

    async def take(self, message: Any) -> None:
        await self.reads.wait()
        await self.from_app.put(message)


@asynccontextmanager
async def opened(app: App, **options: Any) -> AsyncIterator[Socket]:
    socket = Socket(app, **options)
    assert (await socket.next())["type"] == "websocket.accept"
    assert (await socket.next())["type"] == "welcome"
    yield socket
    await socket.leave()


async def test_a_socket_calls_and_is_answered() -> None:
    app = App(actors={"counter": Counter})
    async with app.lifespan(), opened(app) as socket:
        socket.call(1, "increment", by=2)
        assert await socket.next() == {"type": "rpc:result", "id": 1, "result": 2}
        socket.to_app.put_nowait({"type": "websocket.receive", "text": "{broken"})
        socket.to_app.put_nowait(
            {"type": "websocket.receive", "bytes": b'{"type":"state:sub","actor":"counter","actorId":"c"}'}
        )
        assert (await socket.next())["state"] == {"count": 2}


async def test_the_server_starts_with_the_first_socket_where_nobody_runs_the_lifespan() -> None:
    app = App(actors={"counter": Counter})
    async with opened(app) as socket:
        socket.call(1, "increment")
        assert (await socket.next())["result"] == 1
    server = app.running()
    assert server is not None
    await server.host.abort()


@pytest.mark.parametrize(
    "options",
    [{"query": b"token=good"}, {"headers": [(b"authorization", b"Bearer good")]}, {"query": b"a=b&token=good&c"}],
)
async def test_a_token_becomes_an_identity(options: dict[str, Any]) -> None:
    async def authorize(token: str | None) -> Identity | None:
        return Identity("alice", {"role": "owner"}) if token == "good" else None

    app = App(actors={"counter": Counter}, authorize=authorize)
    async with app.lifespan(), opened(app, **options) as socket:
        socket.call(1, "who")
        assert (await socket.next())["result"] == ["alice", {"role": "owner"}]


@pytest.mark.parametrize("raises", [True, False])
async def test_a_wrong_token_is_refused_with_401_before_the_upgrade(raises: bool) -> None:
    async def authorize(token: str | None) -> Identity | None:
        if raises:
            raise Unauthorized("go away")
        return None

    app = App(actors={"counter": Counter}, authorize=authorize)
    async with app.lifespan():
        socket = Socket(app, query=b"token=bad")
        assert (await socket.next())["status"] == 401
        body = json.loads((await socket.next())["body"])
        assert body["code"] == "unauthorized"
        await socket.task


async def test_a_frame_over_the_limit_closes_with_1009() -> None:
    app = App(actors={"counter": Counter}, limits=Limits(max_frame_bytes=2000))
    async with app.lifespan(), opened(app) as socket:
        socket.send(type="rpc", id=1, actor="counter", actorId="c", method="increment", filler="x" * 3000)
        assert (await socket.next())["code"] == 1009


async def test_a_client_that_does_not_read_is_closed_with_1013() -> None:
    class Big(Actor[Count]):
        @method
        async def big(self) -> str:
            return "x" * 50_000

    app = App(actors={"big": Big}, limits=Limits(max_buffer_bytes=100_000))
    stuck = asyncio.Event()
    async with app.lifespan():
        socket = Socket(app)
        await socket.next()
        await socket.next()
        put = socket.from_app.put

        async def slow_put(message: Any) -> None:
            if message["type"] == "websocket.send":
                await stuck.wait()
            await put(message)

        socket.task.cancel()
        slow = Socket.__new__(Socket)
        slow.to_app, slow.from_app = asyncio.Queue(), socket.from_app
        slow.to_app.put_nowait({"type": "websocket.connect"})
        slow.task = asyncio.ensure_future(app(socket.scope, slow.to_app.get, slow_put))
        for number in range(10):
            slow.send(type="rpc", id=number, actor="big", actorId="b", method="big")
        await asyncio.sleep(1)
        stuck.set()
        codes: list[int | None] = []
        while not codes or codes[-1] is None:
            codes.append((await asyncio.wait_for(slow.from_app.get(), 5)).get("code"))
        assert codes[-1] == 1013
        await slow.leave()


async def test_a_client_that_reads_too_slowly_gets_one_snapshot_for_what_it_missed_and_one_that_never_reads_1013() -> (
    None
):
    limits = Limits(slow_reader_bytes=2_000, slow_reader_timeout_s=8.0)
    app = App(actors={"counter": Counter}, limits=limits)
    async with app.lifespan(), opened(app) as writer:
        reader = Gated(app)
        await reader.next()
        await reader.next()
        reader.send(type="state:sub", actor="counter", actorId="c")
        assert (await reader.next())["type"] == "state:snapshot"
        reader.reads.clear()
        for number in range(1, 501):
            writer.call(number, "increment")
            await writer.next()
            await asyncio.sleep(0.01)
        reader.reads.set()
        frames: list[Any] = []
        while not frames or frames[-1]["type"] != "state:snapshot":
            frames.append(await reader.next())
        assert len(frames) < 100
        assert frames[-1]["state"] == {"count": 500}
        writer.call(501, "increment")
        assert (await reader.next())["type"] == "state:patch"
        reader.reads.clear()
        await writer.next()
        for number in range(502, 600):
            writer.call(number, "increment")
            await writer.next()
        await asyncio.sleep(limits.slow_reader_timeout_s + 1)
        reader.reads.set()
        while (frame := await reader.next())["type"] != "websocket.close":
            assert frame["type"] == "state:patch"
        assert frame["code"] == 1013
        await reader.leave()


class Draft(Actor[dict[str, str]]):
    @classmethod
    def initial_state(cls) -> dict[str, str]:
        return {"text": "x" * 300}

    @method
    async def say(self, text: str) -> None:
        self.state["text"] += text


async def test_a_slow_reader_gets_again_what_it_announced() -> None:
    app = App(actors={"counter": Draft}, limits=Limits(slow_reader_bytes=2_000))
    async with app.lifespan(), opened(app) as writer:
        reader = Gated(app)
        await reader.next()
        await reader.next()
        reader.send(type="state:sub", actor="counter", actorId="c", append=True)
        assert (await reader.next())["type"] == "state:snapshot"
        reader.reads.clear()
        for number in range(500):
            writer.call(number, "say", text="more")
            await writer.next()
            await asyncio.sleep(0.01)
        reader.reads.set()
        while (frame := await reader.next())["type"] != "state:snapshot":
            assert frame["patches"][0]["op"] == "append"
        writer.call(501, "say", text="last")
        assert (await reader.next())["patches"] == [{"op": "append", "path": "/text", "value": "last"}]
        await reader.leave()


async def test_lifespan_messages_start_and_stop_the_server() -> None:
    app = App(actors={"counter": Counter})
    to_app: asyncio.Queue[Any] = asyncio.Queue()
    from_app: asyncio.Queue[Any] = asyncio.Queue()
    task = asyncio.ensure_future(app({"type": "lifespan"}, to_app.get, from_app.put))
    to_app.put_nowait({"type": "lifespan.startup"})
    assert (await from_app.get())["type"] == "lifespan.startup.complete"
    assert app.running() is not None
    to_app.put_nowait({"type": "lifespan.shutdown"})
    assert (await from_app.get())["type"] == "lifespan.shutdown.complete"
    assert app.running() is None
    await task


async def test_plain_http_is_told_to_connect_with_a_websocket() -> None:
    app = App(actors={"counter": Counter})
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        raise AssertionError

    async with app.lifespan():
        await app({"type": "http", "path": "/x"}, receive, send)
        await app({"type": "http", "path": "/realtime/health", "root_path": "/realtime"}, receive, send)
    assert [message.get("status") for message in sent] == [404, None, 200, None]
    assert json.loads(sent[3]["body"]) == {"ok": True, "actorTypes": ["counter"]}


class TestServerCalls:
    async def test_a_handle_of_the_app_calls_this_process(self) -> None:
        app = App(actors={"counter": Counter})
        async with app.lifespan():
            assert await app.actor(Counter, "c").increment(by=3) == 3
            assert await app.actor(Counter, "c").increment() == 4

    async def test_an_app_that_does_not_run_says_how_to_run_it(self) -> None:
        app = App(actors={"counter": Counter})
        with pytest.raises(UsageError, match=r"lifespan=app\.lifespan"):
            await app.actor(Counter, "c").increment()

    async def test_a_class_of_another_app_is_refused(self) -> None:
        class Other(Actor[Count]): ...

        with pytest.raises(UsageError, match="not in this app"):
            App(actors={"counter": Counter}).actor(Other, "c")


@pytest.mark.realtime
async def test_durable_actors_survive_the_server(tmp_path: Path) -> None:
    class Kept(Counter):
        durability = "file"

    def make() -> App:
        return App(actors={"counter": Kept}, state_file=str(tmp_path / "state.db"))

    for expected in (1, 2, 3):
        app = make()
        async with app.lifespan():
            assert await app.actor(Kept, "c").increment() == expected
