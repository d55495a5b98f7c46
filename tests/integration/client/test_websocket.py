"""The client over real WebSockets, against a server that does what the test says."""

from __future__ import annotations

import asyncio
import gc
import logging
import socket
import ssl
import subprocess
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import pytest

from zocket.client import connect, websocket
from zocket.client.websocket import WebSocketTransport
from zocket.errors import Disconnected, Unauthorized, Unavailable, UsageError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from tests.integration.client.conftest import ScriptedServer

    Rude = Callable[[bytes], AbstractAsyncContextManager[str]]
    Until = Callable[[Callable[[], object]], Awaitable[None]]

pytestmark = pytest.mark.realtime

SECRET = "secret-token-0123456789"


async def test_a_call_goes_there_and_back_in_text_frames_without_compression(server: ScriptedServer) -> None:
    async with server.running(), connect(server.url) as client:
        assert await client.dynamic("chat", "general").echo(text="grüße") == {"text": "grüße"}
        assert server.text_frames == [True]
        assert client.id == "s_1"
        assert "Sec-WebSocket-Extensions" not in server.requests[0].headers
    assert server.sockets[0].close_code == 1000


async def test_many_calls_at_once_are_all_answered(server: ScriptedServer) -> None:
    async with server.running(), connect(server.url) as client:
        room = client.dynamic("chat", "general")
        answers = await asyncio.gather(*(room.echo(n=n) for n in range(500)))
        assert answers == [{"n": n} for n in range(500)]


async def test_a_state_of_eight_megabytes_arrives(server: ScriptedServer) -> None:
    server.state = {"text": "x" * 8_388_608}
    async with server.running(), connect(server.url) as client:
        async for state in client.state(client.dynamic("chat", "general")):
            assert len(state["text"]) == 8_388_608
            break


async def test_a_binary_frame_counts_as_text(server: ScriptedServer, until: Until) -> None:
    async with server.running(), connect(server.url) as client:
        await until(lambda: client.id)
        await server.sockets[0].send(b'{"type":"welcome","clientId":"binary"}')
        await until(lambda: client.id == "binary")


async def test_the_token_travels_in_the_header_and_is_nowhere_else(
    server: ScriptedServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with server.running(), connect(server.url, token=SECRET) as client:
        await client.dynamic("chat", "general").echo(text=SECRET)
        [request] = server.requests
        assert request.headers["Authorization"] == f"Bearer {SECRET}"
        assert SECRET not in request.path
        assert SECRET not in repr(client)
    ours = [record for record in caplog.records if record.name.startswith("zocket")]
    assert ours
    assert not [record for record in ours if SECRET in str(record.__dict__)]


async def test_a_token_in_the_address_is_in_no_message(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"ws://user:{SECRET}@127.0.0.1:{taken.getsockname()[1]}/?token={SECRET}"
        assert SECRET not in repr(WebSocketTransport(url))
        with pytest.raises(Unavailable) as caught:
            await connect(url)
    assert SECRET not in str(caught.value)
    assert SECRET not in caplog.text


async def test_a_token_in_the_clear_to_another_machine_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    WebSocketTransport("ws://localhost:3000", token=SECRET)
    WebSocketTransport("wss://chat.example", token=SECRET)
    assert caplog.records == []
    WebSocketTransport("ws://chat.example", token=SECRET)
    [record] = caplog.records
    assert "unencrypted" in record.getMessage()


async def test_a_token_function_is_asked_before_every_connection(server: ScriptedServer, until: Until) -> None:
    tokens = iter(["first", "second"])

    async def token() -> str:
        return next(tokens)

    async with server.running(), connect(server.url, token=token) as client:
        await server.sockets[0].close(1012)
        await until(lambda: client.id == "s_2")
    assert [request.headers["Authorization"] for request in server.requests] == ["Bearer first", "Bearer second"]


async def test_a_token_function_that_fails_is_a_failed_attempt(server: ScriptedServer) -> None:
    def token() -> str:
        raise OSError("the identity service is away")

    async with server.running():
        with pytest.raises(Unavailable, match="the identity service is away"):
            await connect(server.url, token=token)
    assert server.requests == []


@pytest.mark.parametrize("status", [401, 403])
async def test_a_refused_token_raises_the_servers_words(server: ScriptedServer, status: int) -> None:
    server.refusals = [(status, {}, b'{"error":"the token has expired","code":"unauthorized"}')]
    async with server.running():
        with pytest.raises(Unauthorized, match="the token has expired"):
            await connect(server.url, token=SECRET)
    assert len(server.requests) == 1


async def test_a_refusal_without_words_names_the_status(server: ScriptedServer) -> None:
    server.refusals = [(401, {}, b"<html>"), (503, {}, b'{"error":"stopping"}'), (404, {}, b'{"error":7}')]
    async with server.running():
        with pytest.raises(Unauthorized, match="HTTP 401"):
            await connect(server.url)
        with pytest.raises(Unavailable, match="HTTP 503, stopping"):
            await connect(server.url)
        with pytest.raises(Unavailable, match=r"HTTP 404\Z"):
            await connect(server.url)


async def test_a_token_refused_on_the_way_back_ends_the_client(server: ScriptedServer) -> None:
    async with server.running(), connect(server.url, token=SECRET) as client:
        states = client.state(client.dynamic("chat", "general"))
        assert await anext(states) == {"n": 0}
        server.refusals = [(401, {}, b"")]
        await server.sockets[0].close(1008, "token expired")
        with pytest.raises(Unauthorized):
            await anext(states)
        assert client.status == "closed"


async def test_a_redirect_to_elsewhere_does_not_carry_the_token(server: ScriptedServer) -> None:
    elsewhere = type(server)()
    async with elsewhere.running(), server.running():
        server.refusals = [(307, {"Location": elsewhere.url}, b"")]
        async with connect(server.url, token=SECRET):
            pass
    assert "Authorization" in server.requests[0].headers
    assert "Authorization" not in elsewhere.requests[0].headers


async def test_a_port_where_nobody_listens_is_unavailable() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"ws://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(Unavailable, match=f"no connection to {address}"):
            await connect(address)


async def test_a_server_that_says_nothing_is_unavailable_in_time(rude: Rude) -> None:
    async with rude(b"") as url:
        with pytest.raises(Unavailable, match=r"within 0\.1 s"):
            await connect(url, connect_timeout=0.1)


async def test_a_server_that_speaks_something_else_is_unavailable(rude: Rude) -> None:
    async with rude(b"220 mail.example ESMTP\r\n") as url:
        with pytest.raises(Unavailable, match="no connection"):
            await connect(url)


async def test_a_server_that_comes_back_is_found_and_subscriptions_go_on(server: ScriptedServer, until: Until) -> None:
    async with server.running():
        client = await connect(server.url)
        room = client.dynamic("chat", "general")
        states = client.state(room)
        assert await anext(states) == {"n": 0}
        hanging = asyncio.create_task(room.hang())
        await until(lambda: server.received("rpc"))
    with pytest.raises(Disconnected, match="may or may not have run"):
        await hanging
    assert client.status == "reconnecting"
    waiting = asyncio.create_task(room.echo(n=1))
    server.state = {"n": 1}
    async with server.running():
        assert await anext(states) == {"n": 1}
        assert await waiting == {"n": 1}
        assert [frame["method"] for frame in server.received("rpc")] == ["hang", "echo"]
        await client.aclose()


async def test_a_cut_wire_is_a_lost_connection(server: ScriptedServer, until: Until) -> None:
    async with server.running(), connect(server.url) as client:
        hanging = asyncio.create_task(client.dynamic("chat", "general").hang())
        await until(lambda: server.received("rpc"))
        server.sockets[0].transport.abort()
        with pytest.raises(Disconnected):
            await hanging
        await until(lambda: client.id == "s_2")


async def test_a_server_that_does_not_read_is_given_up(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(websocket, "MAX_UNSENT_BYTES", 1_000_000)
    server.reads = False
    async with server.running():
        client = await connect(server.url, reconnect=False)
        room = client.dynamic("chat", "general")
        calls = [asyncio.create_task(room.echo(text="x" * 100_000)) for _ in range(200)]
        done, _ = await asyncio.wait(calls, timeout=15)
        assert {type(call.exception()) for call in done} == {Disconnected}
        assert len(done) == 200
        await client.aclose()
    assert "the server does not read" in caplog.text


def test_a_program_that_forgets_to_close_its_client_ends_without_complaints(
    server: ScriptedServer, caplog: pytest.LogCaptureFixture
) -> None:
    stack = AsyncExitStack()

    async def forgetful() -> None:
        await stack.enter_async_context(server.running())
        client = await connect(server.url)
        states = client.state(client.dynamic("chat", "general"))
        assert await anext(states) == {"n": 0}

    asyncio.run(forgetful())
    gc.collect()
    assert [record for record in caplog.records if record.name in ("asyncio", "zocket.client")] == []


@pytest.mark.parametrize(
    "url", ["http://localhost:3000", "localhost:3000", "ws://", "ws://host:port", "ws://user:pw@[::1/?token=x"]
)
def test_an_address_that_cannot_be_is_refused_at_once(url: str) -> None:
    with pytest.raises(UsageError, match="expected an address") as caught:
        connect(url)
    assert "pw" not in str(caught.value)
    assert "token" not in str(caught.value)


@pytest.mark.parametrize("token", ["", " x", "a\r\nHost: evil", "ü", 7])
def test_a_token_that_cannot_stand_in_a_header_is_refused_at_once(token: Any) -> None:
    with pytest.raises(UsageError, match="token: expected printable ASCII"):
        WebSocketTransport("ws://localhost", token=token)


def test_a_context_without_tls_is_refused() -> None:
    with pytest.raises(UsageError, match="ssl= is for wss"):
        WebSocketTransport("ws://localhost", ssl=ssl.create_default_context())


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    directory = tmp_path_factory.mktemp("tls")
    certificate, key = directory / "cert.pem", directory / "key.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj /CN=127.0.0.1"
    names = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*command.split(), *names], check=True, capture_output=True)
    return certificate, key


async def test_certificates_are_verified_unless_a_context_knows_them(
    server: ScriptedServer, certificate: tuple[Path, Path]
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    async with server.running(ssl=context):
        url = server.url.replace("ws://", "wss://")
        with pytest.raises(Unavailable, match=r"(?i)certificate"):
            await connect(url, token=SECRET)
        assert server.requests == []
        trusting = ssl.create_default_context(cafile=str(certificate[0]))
        async with connect(url, token=SECRET, ssl=trusting) as client:
            assert await client.dynamic("chat", "general").echo(n=1) == {"n": 1}
