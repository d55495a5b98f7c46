"""The client against each server of ours: the same bodies on `zocket serve`'s front, on ASGI, and over NATS (R20)."""

from __future__ import annotations

import asyncio
import json
import secrets
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import uvicorn
from pydantic import BaseModel, Field
from websockets.asyncio.client import connect as open_websocket
from websockets.exceptions import InvalidStatus

from zocket import Actor, ActorError, App, Event, Identity, connect, method
from zocket.broker.nats import NatsBroker
from zocket.client.websocket import WebSocketConnection
from zocket.clock import SystemClock
from zocket.errors import Disconnected, Unauthorized
from zocket.gateway.gateway import Gateway
from zocket.gateway.session import Identity as GatewayIdentity
from zocket.ids import Scope
from zocket.runtime.runtime import Runtime
from zocket.server.process import serve
from zocket.settings import Limits, ServeSettings
from zocket.sockets.front import SocketFront
from zocket.sockets.port import Refused

if TYPE_CHECKING:
    from zocket.client import Client
    from zocket.sockets.port import Head, Peer, SocketSession

Until = Callable[[Callable[[], object]], Awaitable[None]]

pytestmark = pytest.mark.realtime


class Message(BaseModel):
    author: str
    text: str = Field(min_length=1, max_length=2000)


class RoomState(BaseModel):
    messages: list[Message] = []
    online: dict[str, str] = {}


class ChatRoom(Actor[RoomState]):
    posted = Event(Message)

    async def on_connect(self) -> None:
        self.state.online[self.session.id] = self.session.user_id or "guest"

    async def on_disconnect(self) -> None:
        self.state.online.pop(self.session.id, None)

    @method
    async def post(self, text: str) -> Message:
        message = Message(author=self.session.user_id or "guest", text=text)
        self.state.messages.append(message)
        self.posted.emit(message, exclude=self.session.id)
        return message

    @method
    async def metadata(self) -> dict[str, object]:
        return dict(self.presence[self.session.id].metadata)

    @method
    async def refuse(self) -> None:
        raise ActorError("not today", code="closed", data={"opens": 9})

    @method
    async def wait(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class Game(Actor[dict[str, Any]]):
    grace = 60.0

    async def on_connect(self) -> None:
        self.note("+")

    async def on_drop(self) -> None:
        self.note("?")

    async def on_resume(self) -> None:
        self.note("!")

    async def on_disconnect(self) -> None:
        self.note("-")

    def note(self, what: str) -> None:
        self.state.setdefault("log", []).append(f"{what}{self.session.user_id}")

    @method
    async def whoami(self) -> str:
        return self.session.id


async def authorize(token: str | None) -> Identity | None:
    return None if token == "expired" else Identity(user_id=token)


APP = App(actors={"chat": ChatRoom}, authorize=authorize)
GAMES = App(actors={"game": Game}, authorize=authorize)


@asynccontextmanager
async def served_by_serve(_: str, app: App) -> AsyncIterator[str]:
    settings = ServeSettings(host="127.0.0.1", port=0, metrics_port=0)
    async with serve(app.definition, settings, authorize=authorize) as port:
        yield f"ws://127.0.0.1:{port}"


class _Uvicorn(uvicorn.Server):
    def install_signal_handlers(self) -> None:
        """None: they are pytest's."""


@asynccontextmanager
async def served_by_uvicorn(_: str, app: App) -> AsyncIterator[str]:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        config = uvicorn.Config(app, log_level="warning", lifespan="on", ws="websockets-sansio")
        server = _Uvicorn(config)
        serving = asyncio.create_task(server.serve([listening]))
        while not server.started:  # noqa: ASYNC110 — uvicorn offers no event
            await asyncio.sleep(0.01)
        yield f"ws://127.0.0.1:{listening.getsockname()[1]}"
        server.should_exit = True
        await serving


@asynccontextmanager
async def served_over_nats(nats_url: str, app: App) -> AsyncIterator[str]:
    """Gateway and runtime on a broker connection each, in a project of their own."""
    scope, clock, limits = Scope("client-tests", secrets.token_hex(8)), SystemClock(), Limits()

    async def admit(head: Head) -> tuple[GatewayIdentity, bytes, str]:
        if head.token == "expired":
            raise Refused(401, "unauthorized", "the token has expired")
        return GatewayIdentity(scope, head.token), head.metadata, head.resume

    async def renew(token: str) -> GatewayIdentity:
        if token == "expired":
            raise Refused(401, "unauthorized", "the token has expired")
        return GatewayIdentity(scope, token)

    def open_session(peer: Peer, admitted: tuple[GatewayIdentity, bytes, str]) -> SocketSession:
        return gateway.open_session(peer, admitted[0], renew, *admitted[1:])

    async with AsyncExitStack() as stack:
        brokers = [await NatsBroker.open(nats_url, name=name, boot_timeout_s=10) for name in ("gateway", "runtime")]
        for broker in brokers:
            stack.push_async_callback(broker.aclose)
        runtime = Runtime.open(app.definition, scope, brokers[1], clock=clock, limits=limits, process_name="tests")
        await stack.enter_async_context(runtime)
        gateway = await stack.enter_async_context(Gateway.open(brokers[0], clock=clock, limits=limits))
        front = await stack.enter_async_context(SocketFront.open("127.0.0.1", 0, admit=admit, open=open_session))
        yield f"ws://127.0.0.1:{front.port}"


Served = Callable[..., AbstractAsyncContextManager[str]]


@pytest.fixture(
    params=[served_by_serve, served_by_uvicorn, pytest.param(served_over_nats, marks=pytest.mark.nats)],
    ids=["serve", "asgi", "nats"],
)
def served(request: pytest.FixtureRequest) -> Served:
    over_nats = request.param is served_over_nats
    nats_url = request.getfixturevalue("nats_url") if over_nats else ""
    return lambda app=APP: request.param(nats_url, app)


async def test_a_typed_handle_calls_watches_and_listens(served: Served) -> None:
    async with served() as url, connect(url, token="alice") as alice, connect(url, token="bob") as bob:
        room = alice.actor(ChatRoom, "general")
        states = bob.state(bob.actor(ChatRoom, "general"))
        messages = bob.events(bob.actor(ChatRoom, "general"), ChatRoom.posted)
        assert (await anext(states)).messages == []
        sent = await room.post(text="hello")
        assert sent == Message(author="alice", text="hello")
        assert await anext(messages) == sent
        async with asyncio.timeout(10):
            async for state in states:
                if state.messages:
                    break
        assert state.messages == [sent]
        assert sorted(state.online.values()) == ["alice", "bob"]


async def test_a_dynamic_handle_does_the_same_with_plain_json(served: Served) -> None:
    async with served() as url, connect(url) as client:
        room = client.dynamic("chat", "plain")
        states = client.state(room)
        assert (await anext(states))["messages"] == []
        assert await room.post(text="hello") == {"author": "guest", "text": "hello"}
        assert (await anext(states))["messages"] == [{"author": "guest", "text": "hello"}]
        assert await room.wait(seconds=0) is None


async def test_a_caller_sees_its_own_change_before_its_result(served: Served) -> None:
    async with served() as url, connect(url) as client:
        room = client.actor(ChatRoom, "own")
        states = client.state(room)
        await anext(states)
        await room.post("first")
        assert len((await anext(states)).messages) == 1


async def test_errors_of_the_server_reach_the_caller(served: Served) -> None:
    async with served() as url, connect(url) as client:
        room = client.actor(ChatRoom, "errors")
        with pytest.raises(ActorError, match="not today") as refused:
            await room.refuse()
        assert (refused.value.code, refused.value.data) == ("closed", {"opens": 9})
        with pytest.raises(ActorError, match=r"Validation failed for post: \[") as invalid:
            await client.dynamic("chat", "errors").post(text=7)
        assert invalid.value.code == "validation_failed"
        with pytest.raises(ActorError, match="Unknown method: shout") as unknown:
            await client.dynamic("chat", "errors").shout()
        assert unknown.value.code == "unknown_method"
        with pytest.raises(ActorError, match="Unknown actor: nobody"):
            await client.dynamic("nobody", "errors").shout()


async def test_a_refused_subscription_raises_where_it_is_read(served: Served) -> None:
    async with served() as url, connect(url) as client:
        with pytest.raises(ActorError, match="Unknown actor: nobody"):
            await asyncio.wait_for(anext(client.state(client.dynamic("nobody", "1"))), 10)


async def test_a_refused_token_is_unauthorized(served: Served) -> None:
    async with served() as url:
        with pytest.raises(Unauthorized):
            await connect(url, token="expired")


async def test_an_actor_is_told_what_a_client_says_of_itself(served: Served) -> None:
    said = {"name": "Ada \u00e9", "colour": "#f00"}
    async with served() as url, connect(url, token="ada", metadata=said) as ada, connect(url) as silent:
        assert await ada.actor(ChatRoom, "general").metadata() == said
        assert await silent.actor(ChatRoom, "general").metadata() == {}


async def test_metadata_that_cannot_be_used_are_refused_before_the_upgrade(served: Served) -> None:
    async with served() as url:
        with pytest.raises(InvalidStatus) as refused:
            await open_websocket(f"{url}/?metadata=[]", proxy=None)
        assert refused.value.response.status_code == 400
        assert json.loads(refused.value.response.body or b"")["code"] == "invalid_metadata"


async def test_an_open_socket_takes_another_token_of_its_user_alone(served: Served) -> None:
    async with served() as url, open_websocket(f"{url}/?token=carol", proxy=None) as client:

        async def next_frame() -> Any:
            return json.loads(await asyncio.wait_for(client.recv(), 10))

        assert (await next_frame())["features"] == ["rpc:cancel", "auth:refresh"]
        answers = []
        for token in ("carol", "dave", "expired"):
            await client.send(json.dumps({"type": "auth:refresh", "token": token}))
            answers.append(await next_frame())
        assert answers[0] == {"type": "auth:refreshed", "expiresAt": None}
        assert [answer["code"] for answer in answers[1:]] == ["unauthorized", "unauthorized"]


async def test_the_id_of_the_client_is_its_session(served: Served, until: Until) -> None:
    async with served() as url, connect(url, token="carol") as client:
        states = client.state(client.actor(ChatRoom, "ids"))
        await until(lambda: client.id)
        assert (await anext(states)).online == {client.id: "carol"}


async def test_a_stop_of_the_server_rejects_what_is_open(served: Served, until: Until) -> None:
    async with served() as url:
        client: Client = await connect(url)
        quick = await client.actor(ChatRoom, "stop").post("still there")
        assert quick.text == "still there"
    await until(lambda: client.status == "reconnecting")
    waiting = asyncio.create_task(client.actor(ChatRoom, "stop").post("waits"))
    await asyncio.sleep(0)
    await client.aclose()
    with pytest.raises(Disconnected, match="closed"):
        await waiting


def cut(client: Client) -> None:
    """The network takes the client's connection away."""
    attempt = client._link._attempt
    assert attempt is not None
    assert isinstance(attempt.connection, WebSocketConnection)
    attempt.connection._socket.transport.abort()


async def test_a_client_whose_connection_is_cut_comes_back_as_the_same_session(served: Served, until: Until) -> None:
    async with served(GAMES) as url, connect(url, token="ada") as ada, connect(url, token="bob") as bob:
        states = bob.state(bob.actor(Game, "g"))
        game = ada.actor(Game, "g")
        session_id = await game.whoami()
        await until(lambda: ada.resume)
        assert ada.id == session_id
        for _ in range(2):
            cut(ada)
            await until(lambda: ada.status != "open")
            assert await game.whoami() == session_id
            await until(lambda: ada.id == session_id)
        await ada.aclose()
        async with asyncio.timeout(10):
            async for state in states:
                lines = [line for line in state.get("log", ()) if line.endswith("ada")]
                if lines[-1:] == ["-ada"]:
                    break
        assert lines == ["+ada", "?ada", "!ada", "?ada", "!ada", "-ada"]
