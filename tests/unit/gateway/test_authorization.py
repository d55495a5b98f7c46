"""What the gateway asks the control plane, and for how long it believes an answer."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from zocket.gateway.authorization import MAX_REMEMBERED, REMEMBERED_S, ControlPlaneAuthorizer, control_plane
from zocket.gateway.session import Identity, SessionLimits
from zocket.ids import Scope
from zocket.sockets.port import Head, Refused
from zocket.testing.clock import EPOCH_S, VirtualClock

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

TOKEN = "eyJhbGciOi.secret"
GRANTED = {"workspaceId": "acme", "projectId": "chat", "userId": "ada", "claims": {"sub": "ada"}}


def head(token: str | None = TOKEN, host: str = "chat.example.com", **headers: str) -> Head:
    return Head("/", host, token, "127.0.0.1:1", headers)


class ControlPlane:
    """Answers by a script and keeps what it was asked."""

    def __init__(self, answer: Callable[[], Awaitable[httpx.Response]] | None = None, **granted: Any) -> None:
        self.asked: list[Any] = []
        self.requests: list[httpx.Request] = []
        self._answer = answer
        self._granted = {**GRANTED, **granted}

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        self.asked.append(json.loads(request.content))
        return await self._answer() if self._answer else httpx.Response(200, json=self._granted)

    def authorizer(self, clock: VirtualClock | None = None) -> ControlPlaneAuthorizer:
        client = httpx.AsyncClient(transport=httpx.MockTransport(self), base_url="http://control")
        return ControlPlaneAuthorizer(client, clock or VirtualClock())


def answering(status: int, **content: Any) -> ControlPlane:
    async def answer() -> httpx.Response:
        await asyncio.sleep(0)
        return httpx.Response(status, **content)

    return ControlPlane(answer)


async def refusal(authorize: ControlPlaneAuthorizer, knock: Head | None = None) -> Refused:
    with pytest.raises(Refused) as caught:
        await authorize(knock or head())
    return caught.value


async def test_the_host_and_the_token_are_asked_with_the_internal_bearer() -> None:
    plane = ControlPlane()
    async with control_plane("http://control/", "internal") as real:
        client = httpx.AsyncClient(transport=httpx.MockTransport(plane), base_url=real.base_url, headers=real.headers)
        identity = await ControlPlaneAuthorizer(client, VirtualClock())(head())
    assert identity == Identity(Scope("acme", "chat"), "ada", b'{"sub":"ada"}', None)
    [request] = plane.requests
    assert (request.method, request.url.path) == ("POST", "/api/registry/authorize")
    assert request.headers["authorization"] == "Bearer internal"
    assert plane.asked == [{"host": "chat.example.com", "token": TOKEN}]


async def test_no_token_is_asked_as_null_and_an_anonymous_answer_is_enough() -> None:
    plane = ControlPlane(userId=None, claims=None)
    identity = await plane.authorizer()(head(token=None))
    assert plane.asked[0]["token"] is None
    assert (identity.user_id, identity.claims, identity.expires_at) == (None, b"null", None)


async def test_401_refuses_with_the_control_planes_reason() -> None:
    refused = await refusal(answering(401, json={"error": "the token is expired"}).authorizer())
    assert (refused.status, refused.code, refused.message) == (401, "unauthorized", "the token is expired")
    assert (await refusal(answering(401, content=b"\xff").authorizer())).status == 401


@pytest.mark.parametrize("status", [301, 400, 404, 500, 503])
async def test_any_other_answer_is_no_decision(status: int) -> None:
    refused = await refusal(answering(status, json={"error": "x"}, headers={"location": "http://evil/"}).authorizer())
    assert (refused.status, refused.code) == (503, "unavailable")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"\xff",
        b'{"workspaceId":"a.b","projectId":"c"}',
        b'{"workspaceId":"a","projectId":""}',
        b'{"workspaceId":"a","projectId":"c","claims":"\xff"}',
    ],
)
async def test_an_answer_that_cannot_be_used_admits_nobody(body: bytes) -> None:
    assert (await refusal(answering(200, content=body).authorizer())).status == 503


async def test_a_control_plane_that_is_away_refuses_with_503_and_is_asked_again() -> None:
    async def away() -> httpx.Response:
        raise httpx.ConnectError("refused")

    plane = ControlPlane(away)
    authorize = plane.authorizer()
    assert (await refusal(authorize)).status == 503
    assert (await refusal(authorize)).status == 503
    assert len(plane.asked) == 2


async def test_a_positive_answer_counts_for_a_while_for_the_same_host_and_token() -> None:
    clock = VirtualClock()
    plane = ControlPlane()
    authorize = plane.authorizer(clock)
    await authorize(head())
    await clock.advance(REMEMBERED_S - 0.1)
    await authorize(head())
    assert len(plane.asked) == 1
    await authorize(head(token="another"))
    await authorize(head(host="other.example.com"))
    assert len(plane.asked) == 3
    await clock.advance(0.2)
    await authorize(head())
    assert len(plane.asked) == 4


async def test_who_is_remembered_is_known_without_asking_for_as_long_as_the_answer_counts() -> None:
    clock = VirtualClock()
    plane = ControlPlane(claims={"exp": EPOCH_S + REMEMBERED_S + 1}, origins=["https://chat.example.com"])
    authorize = plane.authorizer(clock)
    assert authorize.known(head()) is None
    identity = await authorize(head())
    assert authorize.known(head()) == identity
    assert authorize.known(head(token="another")) is None
    assert authorize.known(head(host="other.example.com")) is None
    with pytest.raises(Refused, match="origin_refused"):
        authorize.known(head(origin="https://evil.example.com"))
    await clock.advance(REMEMBERED_S)
    assert authorize.known(head()) is None
    await authorize(head())
    await clock.advance(1.0)
    assert authorize.known(head()) is None  # the token has ended
    assert len(plane.asked) == 2


async def test_an_answer_never_counts_beyond_the_tokens_end() -> None:
    clock = VirtualClock()
    plane = ControlPlane(claims={"exp": EPOCH_S + 2})
    authorize = plane.authorizer(clock)
    assert (await authorize(head())).expires_at == EPOCH_S + 2
    await clock.advance(2.0)
    assert (await refusal(authorize)).status == 401
    assert len(plane.asked) == 2


@pytest.mark.parametrize("claims", [{"exp": "soon"}, {"exp": None}, [1], "text", 5])
async def test_claims_without_a_usable_end_have_none(claims: Any) -> None:
    assert (await ControlPlane(claims=claims).authorizer()(head())).expires_at is None


async def test_equal_questions_at_the_same_time_are_asked_once() -> None:
    clock = VirtualClock()

    async def slow() -> httpx.Response:
        await clock.sleep(1.0)
        return httpx.Response(200, json=GRANTED)

    plane = ControlPlane(slow)
    authorize = plane.authorizer(clock)
    identities = await asyncio.gather(*(authorize(head()) for _ in range(20)), authorize(head(token="another")))
    assert len(plane.asked) == 2
    assert len(set(identities)) == 1


async def test_equal_questions_share_a_refusal_and_each_gets_its_own_error() -> None:
    plane = answering(401, json={"error": "no"})
    authorize = plane.authorizer()
    refused = await asyncio.gather(*(refusal(authorize) for _ in range(3)))
    assert len(plane.asked) == 1
    assert len({id(error) for error in refused}) == 3


async def test_when_the_one_who_asks_gives_up_another_asks() -> None:
    clock = VirtualClock()

    async def slow() -> httpx.Response:
        await clock.sleep(1.0)
        return httpx.Response(200, json=GRANTED)

    plane = ControlPlane(slow)
    authorize = plane.authorizer(clock)
    first = asyncio.create_task(authorize(head()))
    await asyncio.sleep(0)
    second = asyncio.create_task(authorize(head()))
    await clock.advance(0.5)
    first.cancel()
    assert (await second).user_id == "ada"
    assert first.cancelled()
    assert len(plane.asked) == 2


async def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    assert MAX_REMEMBERED == 10_000
    monkeypatch.setattr("zocket.gateway.authorization.MAX_REMEMBERED", 2)
    plane = ControlPlane()
    authorize = plane.authorizer()
    for token in ("a", "b", "c", "c", "b", "a"):
        await authorize(head(token=token))
    assert [asked["token"] for asked in plane.asked] == ["a", "b", "c", "a"]


async def test_a_token_that_is_no_text_is_refused_without_asking() -> None:
    plane = ControlPlane()
    assert (await refusal(plane.authorizer(), head(token="\ud800"))).status == 401
    assert plane.asked == []


@pytest.mark.parametrize("origin", ["https://chat.example.com", "HTTPS://Chat.Example.COM"])
async def test_a_page_of_a_listed_origin_is_admitted(origin: str) -> None:
    authorize = ControlPlane(origins=["https://chat.example.com"]).authorizer()
    assert (await authorize(head(origin=origin))).user_id == "ada"


@pytest.mark.parametrize(
    "origin",
    ["https://evil.example", "http://chat.example.com", "https://chat.example.com.evil.example", "null", "", "*"],
)
async def test_a_page_of_another_origin_is_refused_also_when_the_answer_is_remembered(origin: str) -> None:
    plane = ControlPlane(origins=["https://chat.example.com"])
    authorize = plane.authorizer()
    assert (await authorize(head())).user_id == "ada"
    refused = await refusal(authorize, head(origin=origin))
    assert (refused.status, refused.code) == (403, "origin_refused")
    assert len(plane.asked) == 1


@pytest.mark.parametrize("granted", [{}, {"origins": None, "limits": None}, {"origins": [], "limits": {}}])
async def test_a_project_or_control_plane_that_lists_nothing_restricts_nothing(granted: dict[str, Any]) -> None:
    identity = await ControlPlane(**granted).authorizer()(head(origin="https://anywhere.example"))
    assert identity.origins is None
    assert identity.limits in (None, SessionLimits())


async def test_the_projects_limits_come_with_the_identity() -> None:
    identity = await ControlPlane(limits={"ratePerS": 2.5, "burst": 7, "later": 1}).authorizer()(head())
    assert identity.limits == SessionLimits(2.5, 7)


@pytest.mark.parametrize("limits", [{"ratePerS": 0}, {"ratePerS": -1}, {"burst": 0}, {"burst": "many"}, 5])
async def test_limits_that_cannot_be_used_admit_nobody(limits: Any) -> None:
    assert (await refusal(ControlPlane(limits=limits).authorizer())).status == 503


async def test_no_token_is_ever_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    authorize = answering(500).authorizer()
    await refusal(authorize)
    assert "500" in caplog.text
    assert TOKEN not in caplog.text
    assert TOKEN not in repr(head())
