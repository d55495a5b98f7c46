"""The fixed HTTP paths, with and without WebSockets beside them."""

from __future__ import annotations

import asyncio
import http.client
import json
from typing import Any

import pytest

from zocket.sockets.front import HttpFront

Run = Any


def ask(port: int, method: str, path: str, **options: Any) -> tuple[int, dict[str, str], bytes]:
    """One request by the standard library's client."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request(method, path, **options)
        response = connection.getresponse()
        return response.status, dict(response.headers), response.read()
    finally:
        connection.close()


async def health() -> tuple[int, str, bytes]:
    await asyncio.sleep(0)
    return 200, "application/json", b'{"ok":true}'


async def broken() -> tuple[int, str, bytes]:
    raise RuntimeError("secret detail")


ROUTES: Any = {"/health": health, "/broken": broken, "/with space": health}


def test_a_path_is_answered_by_its_route(run: Run, world: Any) -> None:
    async def body() -> None:
        async with world.serve(routes=ROUTES):
            for path in ("/health", "/health?probe=1", "/with%20space"):
                status, headers, answer = await asyncio.to_thread(ask, world.port, "GET", path)
                assert (status, headers["Content-Type"], answer) == (200, "application/json", b'{"ok":true}')
            status, headers, answer = await asyncio.to_thread(ask, world.port, "HEAD", "/health")
            assert (status, headers["Content-Length"], answer) == (200, "11", b"")
            assert world.front.statistics().requests == 4

    run(body())


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nothing", 404, "not_found"),
        ("GET", "/", 404, "not_found"),
        ("POST", "/health", 405, "method_not_allowed"),
        ("DELETE", "/nothing", 405, "method_not_allowed"),
        ("GET", "/broken", 500, "internal"),
    ],
)
def test_what_cannot_be_served_is_a_json_error(
    run: Run, world: Any, method: str, path: str, status: int, code: str
) -> None:
    async def body() -> None:
        async with world.serve(routes=ROUTES):
            got, headers, answer = await asyncio.to_thread(ask, world.port, method, path)
            assert (got, headers["Content-Type"]) == (status, "application/json")
            assert json.loads(answer)["code"] == code
            assert b"secret" not in answer
            assert headers.get("Allow") == ("GET, HEAD" if status == 405 else None)
            assert world.front.statistics().refused == 1

    run(body())


UPGRADE = {
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"Sec-WebSocket-Version": "8"}, 426),
        ({"Sec-WebSocket-Version": ""}, 426),
        ({"Sec-WebSocket-Key": ""}, 400),
        ({"Sec-WebSocket-Key": "short"}, 400),
        ({"Sec-WebSocket-Key": "ü" * 24}, 400),
        ({"Connection": "close"}, 400),
    ],
)
def test_an_upgrade_that_is_none_is_refused_before_anyone_is_asked(
    run: Run, world: Any, change: dict[str, str], status: int
) -> None:
    async def body() -> None:
        async with world.serve():
            got, headers, _ = await asyncio.to_thread(ask, world.port, "GET", "/", headers={**UPGRADE, **change})
            assert got == status
            assert headers.get("Sec-WebSocket-Version") == ("13" if status == 426 else None)
        assert world.heads == []

    run(body())


def test_an_upgrade_needs_get(run: Run, world: Any) -> None:
    async def body() -> None:
        async with world.serve():
            assert (await asyncio.to_thread(ask, world.port, "HEAD", "/", headers=UPGRADE))[0] == 405
            assert (await asyncio.to_thread(ask, world.port, "POST", "/", headers=UPGRADE))[0] == 405

    run(body())


def test_an_upgrade_to_something_else_is_an_ordinary_request(run: Run, world: Any) -> None:
    async def body() -> None:
        async with world.serve(routes=ROUTES):
            headers = {"Connection": "Upgrade, HTTP2-Settings", "Upgrade": "h2c", "HTTP2-Settings": "AAMAAABk"}
            assert (await asyncio.to_thread(ask, world.port, "GET", "/health", headers=headers))[0] == 200

    run(body())


def test_a_front_without_websockets_answers_paths_and_nothing_else(run: Run) -> None:
    async def body() -> None:
        async with HttpFront.open("127.0.0.1", 0, routes=ROUTES) as front:
            assert (await asyncio.to_thread(ask, front.port, "GET", "/health"))[2] == b'{"ok":true}'
            assert (await asyncio.to_thread(ask, front.port, "GET", "/", headers=UPGRADE))[0] == 404

    run(body())


def test_a_client_may_close_its_side_before_the_answer(run: Run, world: Any) -> None:
    async def body() -> None:
        async with world.serve(routes=ROUTES):
            raw = await world.raw(upgrade=False)
            await raw.write(b"GET /health HTTP/1.0\r\n\r\n")
            raw.sock.shutdown(1)
            assert (await raw.read_to_end()).endswith(b'\r\n\r\n{"ok":true}')

    run(body())


def test_a_large_answer_reaches_a_slow_reader_whole(run: Run, world: Any) -> None:
    async def body() -> None:
        async def large() -> tuple[int, str, bytes]:
            return 200, "text/plain", b"l" * 8_000_000

        async with world.serve(routes={"/large": large}, limits={"close_timeout_s": 0.15}):
            raw = await world.raw(upgrade=False, receive_buffer=65_536)
            await raw.write(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n")
            await raw.read_until(b"\r\n\r\n")
            for _ in range(8):
                await raw.read_exactly(1_000_000)
                await asyncio.sleep(0.05)
            assert await raw.read_to_end() == b""

    run(body())


def test_a_reader_that_stops_is_cut(run: Run, world: Any) -> None:
    async def body() -> None:
        async def large() -> tuple[int, str, bytes]:
            return 200, "text/plain", b"l" * 20_000_000

        async with world.serve(routes={"/large": large}, limits={"close_timeout_s": 0.1}):
            raw = await world.raw(upgrade=False, receive_buffer=4_096)
            await raw.write(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n")
            await raw.read_until(b"\r\n\r\n")
            await world.until(lambda: world.front.statistics().connections == 0)

    run(body())


def test_a_route_of_a_client_that_vanished_is_cancelled(run: Run, world: Any) -> None:
    async def body() -> None:
        started, cancelled = asyncio.Event(), asyncio.Event()

        async def slow() -> tuple[int, str, bytes]:
            started.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled.set()
                raise
            raise AssertionError

        async with world.serve(routes={"/slow": slow}):
            raw = await world.raw(upgrade=False)
            await raw.write(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
            await world.within(started.wait())
            raw.reset()
            await world.within(cancelled.wait())

    run(body())
