"""An app mounted into FastAPI, under uvicorn, with a route that calls an actor; spoken to over a real socket."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

from zocket import Actor, App, connect, method

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


class Note(BaseModel):
    texts: list[str] = []


class Notes(Actor[Note]):
    @method
    async def add(self, text: str) -> int:
        self.state.texts.append(text)
        return len(self.state.texts)


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@contextlib.asynccontextmanager
async def served(asgi: Any) -> AsyncIterator[int]:
    server = _Server(uvicorn.Config(asgi, port=0, log_level="warning", ws="websockets-sansio"))
    task = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110 — uvicorn has no event for it
        await asyncio.sleep(0.01)
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        await task


@pytest.mark.realtime
async def test_a_route_changes_what_a_websocket_client_watches() -> None:
    app = App(actors={"notes": Notes})
    web = FastAPI(lifespan=app.lifespan)
    web.mount("/realtime", app)

    @web.post("/notes/{name}")
    async def add(name: str, text: str) -> int:
        return await app.actor(Notes, name).add(text=text)

    async with (
        served(web) as port,
        httpx.AsyncClient(timeout=20) as http,
        connect(f"ws://127.0.0.1:{port}/realtime/") as client,
    ):
        notes = client.actor(Notes, "n")
        states = client.state(notes)
        assert (await anext(states)).texts == []
        assert await notes.add(text="from a socket") == 1
        response = await http.post(f"http://127.0.0.1:{port}/notes/n", params={"text": "from a route"})
        assert response.json() == 2
        async for state in states:
            if state.texts == ["from a socket", "from a route"]:
                break


@pytest.mark.realtime
async def test_the_app_alone_under_uvicorn_serves_clients() -> None:
    app = App(actors={"notes": Notes})
    async with served(app) as port, connect(f"ws://127.0.0.1:{port}") as client:
        assert await client.actor(Notes, "n").add(text="x") == 1
    assert app.running() is None
