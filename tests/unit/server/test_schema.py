"""`GET /schema` of the standalone server: over ASGI, and of `zocket serve`."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from tests.unit.contract.samples import ChatRoom, chat
from zocket import App, Identity
from zocket.contract import contract_of
from zocket.server.process import serve
from zocket.settings import ServeSettings

CONTRACT = contract_of(chat.definition).encode()


async def known_only(token: str | None) -> Identity | None:
    return Identity("ada") if token == "good" else None


async def get(app: App, query: bytes = b"") -> tuple[int, Any]:
    sent: list[Any] = []
    scope = {"type": "http", "method": "GET", "path": "/schema", "query_string": query, "headers": []}

    async def send(message: Any) -> None:
        sent.append(message)

    await app(scope, None, send)  # type: ignore[arg-type]  # nothing is received
    return sent[0]["status"], sent[1]["body"]


async def test_an_asgi_app_gives_its_contract_whether_it_runs_or_not() -> None:
    app = App(actors={"chat": ChatRoom})
    assert await get(app) == (200, CONTRACT)
    async with app.lifespan():
        assert await get(app) == (200, CONTRACT)


async def test_an_asgi_app_gives_it_to_those_who_may_connect() -> None:
    app = App(actors={"chat": ChatRoom}, authorize=known_only)
    assert await get(app, b"token=good") == (200, CONTRACT)
    status, body = await get(app, b"token=bad")
    assert (status, json.loads(body)["code"]) == (401, "unauthorized")


@pytest.mark.realtime
async def test_zocket_serve_gives_it_to_those_who_may_connect() -> None:
    settings = ServeSettings(host="127.0.0.1", port=0, metrics_port=0)
    async with serve(chat.definition, settings, authorize=known_only) as port, httpx.AsyncClient() as client:
        url = f"http://127.0.0.1:{port}/schema"
        refused = await client.get(url)
        assert (refused.status_code, refused.json()["code"]) == (401, "unauthorized")
        for options in ({"params": {"token": "good"}}, {"headers": {"authorization": "Bearer good"}}):
            given = await client.get(url, **options)  # type: ignore[arg-type]
            assert (given.status_code, given.content) == (200, CONTRACT)
        assert (await client.head(url, params={"token": "good"})).content == b""
