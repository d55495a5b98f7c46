"""`POST /call/…` of the ASGI application."""

from __future__ import annotations

import json
from typing import Any

import pytest

from zocket import Actor, App, Identity, Limits, method


class Counter(Actor[dict[str, Any]]):
    async def on_connect(self) -> None:
        self.state["connected"] = self.state.get("connected", 0) + 1

    async def on_disconnect(self) -> None:
        self.state["gone"] = self.state.get("gone", 0) + 1

    @method
    async def increment(self, by: int = 1) -> int:
        self.state["count"] = self.state.get("count", 0) + by
        return int(self.state["count"])

    @method
    async def who(self) -> list[Any]:
        session = self.session
        return [
            self.caller.kind,
            session.user_id,
            dict(session.claims),
            self.state["connected"],
            self.state.get("gone"),
        ]


async def authorize(token: str | None) -> Identity | None:
    return None if token is None else Identity(token, {"sub": token})


class Web:
    """An ASGI server's side of one request after the other."""

    def __init__(self, app: App) -> None:
        self.app = app
        self.headers: dict[bytes, bytes] = {}

    async def ask(self, path: str, body: bytes = b"", *, method: str = "POST", parts: int = 1, **more: Any) -> Any:
        size = max(1, -(-len(body) // parts))
        pieces = [body[start : start + size] for start in range(0, len(body), size)] or [b""]
        events = [{"type": "http.request", "body": piece, "more_body": True} for piece in pieces]
        events[-1]["more_body"] = False
        events += [{"type": "http.disconnect"}]
        sent: list[Any] = []

        async def receive() -> Any:
            return events.pop(0)

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {"type": "http", "method": method, "path": path, "query_string": b"", "headers": [], **more}
        await self.app(scope, receive, send)
        self.headers = dict(sent[0]["headers"])
        return sent[0]["status"], json.loads(sent[1]["body"] or b"null")


BEARER = [(b"authorization", b"Bearer alice")]


async def test_a_call_is_answered_and_its_session_comes_and_goes() -> None:
    app = App(actors={"counter": Counter}, authorize=authorize)
    async with app.lifespan():
        web = Web(app)
        assert await web.ask("/call/counter/c/increment", b'{"by": 2}', parts=3, headers=BEARER) == (200, {"result": 2})
        status, answer = await web.ask("/call/counter/c/who", query_string=b"token=bob")
        assert (status, answer["result"]) == (200, ["client", "bob", {"sub": "bob"}, 2, 1])
        status, answer = await web.ask("/call/counter/c/increment", b'{"by": "x"}', headers=BEARER)
        assert (status, answer["code"]) == (400, "validation_failed")
        assert set(answer) == {"error", "code", "data", "requestId"}
        assert (await web.ask("/call/counter/c/nothing", headers=BEARER))[1]["code"] == "unknown_method"
        assert (await web.ask("/call/nobody/c/who", headers=BEARER))[0] == 404
        assert (await web.ask("/call/counter/c/who"))[0] == 401
        assert (await web.ask("/call/counter/c/who", method="GET"))[0] == 405
        assert web.headers[b"allow"] == b"POST, OPTIONS"


async def test_a_key_makes_a_retry_of_a_call() -> None:
    app = App(actors={"counter": Counter})
    async with app.lifespan():
        for _ in range(2):
            answer = await Web(app).ask("/call/counter/c/increment", headers=[(b"idempotency-key", b"order-17")])
            assert answer == (200, {"result": 1})


async def test_the_id_may_hold_a_slash_below_a_mount_and_the_server_starts_by_itself() -> None:
    app = App(actors={"counter": Counter})
    web = Web(app)
    path, raw = "/realtime/call/counter/a/b/increment", b"/realtime/call/counter/a%2Fb/increment"
    assert await web.ask(path, raw_path=raw, root_path="/realtime") == (200, {"result": 1})
    server = app.running()
    assert server is not None
    assert await app.actor(Counter, "a/b").increment() == 2
    await server.host.abort()


@pytest.mark.parametrize(("body", "status"), [(b" " * 2_000, 413), (b"{" * 100, 400), (b"[" * 100 + b"]" * 100, 400)])
async def test_bad_bodies_are_refused(body: bytes, status: int) -> None:
    app = App(actors={"counter": Counter}, limits=Limits(max_frame_bytes=1_024))
    async with app.lifespan():
        assert (await Web(app).ask("/call/counter/c/increment", body))[0] == status


async def test_the_rate_of_the_limits_counts_over_requests() -> None:
    app = App(actors={"counter": Counter}, authorize=authorize, limits=Limits(rate_per_s=0.001, rate_burst=2))
    async with app.lifespan():
        web = Web(app)
        statuses = [(await web.ask("/call/counter/c/increment", headers=BEARER))[0] for _ in range(3)]
        assert statuses == [200, 200, 429]
        assert (await web.ask("/call/counter/c/increment", query_string=b"token=bob"))[0] == 200
