"""Requests below `/call/` on a real connection: bodies of every kind, and clients that are slow or gone."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.sockets.test_paths import ask
from zocket.sockets.calls import Reply

if TYPE_CHECKING:
    from zocket.sockets.port import Head

Run = Any
HEAD = "POST /call/room/a/post HTTP/1.1\r\nHost: a\r\n"


class Calls:
    """Answers with what it was asked, once it may."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, bytes]] = []
        self.may = asyncio.Event()
        self.may.set()
        self.gone = 0

    async def __call__(self, method: str, head: Head, path: str, body: bytes) -> Reply:
        self.asked.append((method, path, body))
        try:
            await self.may.wait()
        except asyncio.CancelledError:
            self.gone += 1
            raise
        return Reply(200, json.dumps({"token": head.token, "bytes": len(body)}).encode(), (("X-More", "yes"),))


async def said(world: Any, *parts: str | bytes) -> bytes:
    raw = await world.raw(upgrade=False)
    for part in parts:
        await raw.write(part if isinstance(part, bytes) else part.encode())
    answer: bytes = await world.within(raw.read_to_end())
    return answer


def test_a_body_is_read_whole_and_the_path_stays_encoded(run: Run, world: Any) -> None:
    async def body() -> None:
        calls = Calls()
        async with world.serve(calls=calls):
            path, content = "/call/room/a%2Fb/post?token=t", b'{"text":"' + b"x" * 200_000 + b'"}'
            status, headers, answer = await asyncio.to_thread(ask, world.port, "POST", path, body=content)
            assert (status, json.loads(answer)) == (200, {"token": "t", "bytes": len(content)})
            assert (headers["Content-Type"], headers["X-More"]) == ("application/json", "yes")
            status, _, answer = await asyncio.to_thread(ask, world.port, "POST", "/call/room/a/post")
            assert (status, json.loads(answer)["bytes"]) == (200, 0)
            assert calls.asked == [("POST", "/call/room/a%2Fb/post", content), ("POST", "/call/room/a/post", b"")]

    run(body())


def test_a_body_may_come_in_pieces_and_a_client_that_waits_is_told_to_go_on(run: Run, world: Any) -> None:
    async def body() -> None:
        async with world.serve(calls=Calls()):
            answer = await said(world, HEAD[:20], HEAD[20:] + "Content-Length: 6\r\n\r\nab", "c", "def and more")
            assert answer.endswith(b'"bytes": 6}')
            raw = await world.raw(upgrade=False)
            await raw.write((HEAD + "Content-Length: 3\r\nExpect: 100-continue\r\n\r\n").encode())
            going_on = b"HTTP/1.1 100 Continue\r\n\r\n"
            assert await world.within(raw.read_exactly(len(going_on))) == going_on
            await raw.write(b"abc")
            assert (await world.within(raw.read_to_end())).endswith(b'"bytes": 3}')

    run(body())


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ("Transfer-Encoding: chunked\r\n", 411, "length_required"),
        ("Content-Length: 1001\r\n", 413, "too_large"),
        ("Content-Length: 99999999999999999999999999\r\n", 0, ""),
        ("Content-Length: -1\r\n", 400, "bad_request"),
        ("Content-Length: 1\r\nContent-Length: 2\r\n", 400, "bad_request"),
    ],
)
def test_a_body_that_is_not_taken_is_refused_before_it_comes(
    run: Run, world: Any, headers: str, status: int, code: str
) -> None:
    async def body() -> None:
        calls = Calls()
        async with world.serve(calls=calls, limits={"max_frame_bytes": 1000}):
            answer = await said(world, f"{HEAD}{headers}\r\n")
            assert not status or answer.startswith(f"HTTP/1.1 {status} ".encode())
            assert answer.startswith(b"HTTP/1.1 4")
            assert code.encode() in answer
            assert calls.asked == []

    run(body())


def test_only_post_and_options_are_served_below_call_and_only_where_calls_are(run: Run, world: Any) -> None:
    async def body() -> None:
        calls = Calls()
        async with world.serve(calls=calls):
            for method in ("GET", "PUT"):
                status, headers, _ = await asyncio.to_thread(ask, world.port, method, "/call/room/a/post")
                assert (status, headers["Allow"]) == (405, "POST, OPTIONS")
            status, headers, _ = await asyncio.to_thread(ask, world.port, "POST", "/other")
            assert (status, headers["Allow"]) == (405, "GET, HEAD")
            assert (await asyncio.to_thread(ask, world.port, "OPTIONS", "/call/room/a/post"))[0] == 200
        async with world.serve():
            assert (await asyncio.to_thread(ask, world.port, "POST", "/call/room/a/post"))[0] == 405
        assert [asked[0] for asked in calls.asked] == ["OPTIONS"]

    run(body())


def test_a_body_that_does_not_come_is_not_waited_for_without_end(run: Run, world: Any) -> None:
    async def body() -> None:
        async with world.serve(calls=Calls(), limits={"head_timeout_s": 0.3}):
            answer = await said(world, HEAD + "Content-Length: 10\r\n\r\nab")
            assert answer.startswith(b"HTTP/1.1 408 ")
            await world.until(lambda: world.front.statistics().connections == 0)

    run(body())


def test_a_client_that_goes_cancels_its_call(run: Run, world: Any) -> None:
    async def body() -> None:
        calls = Calls()
        calls.may.clear()
        async with world.serve(calls=calls):
            raw = await world.raw(upgrade=False)
            await raw.write((HEAD + "\r\n").encode())
            await world.until(lambda: calls.asked)
            raw.reset()
            await world.until(lambda: calls.gone == 1)

    run(body())
