"""A new token on an open socket, the gateway's side."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from tests.unit.gateway.conftest import SCOPE, Client, World
from zocket.errors import Unauthorized
from zocket.gateway.session import Identity
from zocket.ids import Scope
from zocket.protocol.edge import EXPIRED_CODE, MAX_TOKEN_CHARS
from zocket.sockets.port import Refused
from zocket.testing.clock import EPOCH_S

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    Open = Callable[..., AbstractAsyncContextManager[World]]


class Issuer:
    """Says whose a token is: what the test put there, or raises it; waits while it is `slow`."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.answer: Identity | Exception = Identity(SCOPE, "ada", b'{"role":"admin"}', EPOCH_S + 90)
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def __call__(self, token: str) -> Identity:
        self.asked.append(token)
        await self.may_answer.wait()
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def opened(w: World, issuer: Issuer) -> Client:
    client = Client()
    identity = Identity(SCOPE, "ada", b'{"role":"guest"}', EPOCH_S + 30)
    client.session = w.gateway.open_session(client, identity, issuer)
    return client


async def offers(w: World, client: Client, token: Any = "t2") -> list[Any]:
    client.says({"type": "auth:refresh", "token": token})
    await w.settle()
    return client.taken()


async def test_welcome_says_when_the_token_expires_and_that_another_one_is_taken(world: Open) -> None:
    async with world() as w:
        client = opened(w, Issuer())
        expires_at = (EPOCH_S + 30) * 1000
        named = {"features": ["rpc:cancel", "auth:refresh"], "expiresAt": expires_at}
        assert client.taken() == [{"type": "welcome", "clientId": client.session_id, **named}]
        assert w.client().taken()[0]["features"] == ["rpc:cancel"]


async def test_a_new_token_gives_new_claims_and_a_later_end(world: Open) -> None:
    async with world() as w:
        runtime, issuer = await w.runtime("room", epoch="e1"), Issuer()
        client = opened(w, issuer)
        client.calls(1)
        client.taken()
        assert await offers(w, client) == [{"type": "auth:refreshed", "expiresAt": (EPOCH_S + 90) * 1000}]
        assert issuer.asked == ["t2"]
        client.calls(2)
        await w.settle()
        first, second = runtime.requests
        assert (first["claims"], "refreshes" in first) == ({"role": "guest"}, False)
        assert (second["claims"], second["refreshes"], second["userId"]) == ({"role": "admin"}, 1, "ada")
        await w.clock.sleep(89)
        assert client.closed is None
        await w.clock.sleep(2)
        assert client.closed == (EXPIRED_CODE, "the token has expired")


async def test_a_token_without_an_end_keeps_the_socket_open(world: Open) -> None:
    async with world() as w:
        issuer = Issuer()
        issuer.answer = Identity(SCOPE, "ada")
        client = opened(w, issuer)
        client.taken()
        assert await offers(w, client) == [{"type": "auth:refreshed", "expiresAt": None}]
        await w.clock.sleep(300)
        assert client.closed is None


@pytest.mark.parametrize(
    ("answer", "code", "message"),
    [
        (Identity(SCOPE, "mallory"), "unauthorized", "the token is somebody else's"),
        (Identity(SCOPE, None), "unauthorized", "the token is somebody else's"),
        (Identity(Scope("rival", "chat"), "ada"), "unauthorized", "the token is somebody else's"),
        (Refused(401, "unauthorized", "the token is expired"), "unauthorized", "the token is expired"),
        (Refused(503, "unavailable", "try again"), "unavailable", "try again"),
        (Unauthorized("go away"), "unauthorized", "go away"),
        (RuntimeError("secret"), "internal", "internal error"),
    ],
)
async def test_a_token_that_is_refused_changes_nothing(
    world: Open, answer: Identity | Exception, code: str, message: str
) -> None:
    async with world() as w:
        runtime, issuer = await w.runtime("room", epoch="e1"), Issuer()
        issuer.answer = answer
        client = opened(w, issuer)
        client.taken()
        (frame,) = await offers(w, client)
        assert (frame["type"], frame["code"], frame["message"]) == ("error", code, message)
        assert frame["requestId"] == client.session.edge.request_id
        client.calls(1)
        await w.settle()
        assert runtime.requests[0]["claims"] == {"role": "guest"}
        await w.clock.sleep(32)
        assert client.closed == (EXPIRED_CODE, "the token has expired")


@pytest.mark.parametrize("token", [None, "", 7, ["t"], "t" * (MAX_TOKEN_CHARS + 1)])
async def test_what_is_no_token_is_refused_without_asking(world: Open, token: Any) -> None:
    async with world() as w:
        issuer = Issuer()
        client = opened(w, issuer)
        client.taken()
        (frame,) = await offers(w, client, token)
        assert (frame["type"], frame["code"]) == ("error", "invalid_frame")
        assert issuer.asked == []


async def test_one_token_is_checked_at_a_time(world: Open) -> None:
    async with world() as w:
        issuer = Issuer()
        issuer.may_answer.clear()
        client = opened(w, issuer)
        client.taken()
        assert await offers(w, client, "t2") == []
        (frame,) = await offers(w, client, "t3")
        assert frame["code"] == "rate_limited"
        issuer.may_answer.set()
        await w.settle()
        assert [frame["type"] for frame in client.taken()] == ["auth:refreshed"]
        assert [frame["type"] for frame in await offers(w, client, "t4")] == ["auth:refreshed"]
        assert issuer.asked == ["t2", "t4"]


@pytest.mark.parametrize("how", ["closed", "ended"])
async def test_a_session_that_has_ended_is_answered_nothing(world: Open, how: str) -> None:
    async with world() as w:
        issuer = Issuer()
        issuer.may_answer.clear()
        client = opened(w, issuer)
        client.taken()
        await offers(w, client)
        client.session.closed() if how == "closed" else client.session.end(1012, "")
        issuer.may_answer.set()
        await w.settle()
        assert client.taken() == []


async def test_where_no_further_token_is_taken_it_is_ignored(world: Open) -> None:
    async with world() as w:
        client = w.client(expires_at=EPOCH_S + 30)
        client.taken()
        assert await offers(w, client) == []
