"""`GET /schema` of a gateway: what the control plane says, to those who may open a socket."""

from __future__ import annotations

import json

import httpx
import pytest

from zocket.gateway.schema import SchemaRoute
from zocket.sockets.port import Head, Refused

HEAD = Head("/schema", "chat.example.com", "a token", "127.0.0.1:1", {})


def route(
    status: int = 200, *, admitted: bool = True, away: bool = False, asked: list[object] | None = None
) -> SchemaRoute:
    def answer(request: httpx.Request) -> httpx.Response:
        if asked is not None:
            asked.append((request.url.path, json.loads(request.content)))
        if away:
            raise httpx.ConnectError("refused")
        return httpx.Response(status, content=b'{"zocketContract":1}')

    async def admit(head: Head) -> object:
        if not admitted:
            raise Refused(401, "unauthorized", "no")
        return head

    client = httpx.AsyncClient(transport=httpx.MockTransport(answer), base_url="http://control")
    return SchemaRoute(client, admit)


async def test_who_may_open_a_socket_gets_the_contract_of_the_host() -> None:
    asked: list[object] = []
    assert await route(asked=asked)(HEAD) == (200, "application/json", b'{"zocketContract":1}')
    assert asked == [("/api/registry/schema", {"host": "chat.example.com", "token": "a token"})]


async def test_who_may_not_is_refused_before_anything_is_asked() -> None:
    asked: list[object] = []
    with pytest.raises(Refused) as caught:
        await route(admitted=False, asked=asked)(HEAD)
    assert (caught.value.status, asked) == (401, [])


@pytest.mark.parametrize(
    ("status", "away", "refused"),
    [
        (404, False, (404, "no_contract")),
        (405, False, (404, "no_contract")),
        (500, False, (503, "unavailable")),
        (200, True, (503, "unavailable")),
    ],
)
async def test_what_the_control_plane_cannot_say_is_told(status: int, away: bool, refused: tuple[int, str]) -> None:
    with pytest.raises(Refused) as caught:
        await route(status, away=away)(HEAD)
    assert (caught.value.status, caught.value.code) == refused
