"""Sessions that clients resume at a gateway: who gets a token, who is taken for whom, and what runtimes hear of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.unit.gateway.conftest import SCOPE, Client, Runtime, World
from zocket.broker.port import Message
from zocket.errors import SettingsError
from zocket.gateway.gateway import RESTARTING_CODE, Gateway
from zocket.gateway.session import Identity
from zocket.ids import Scope
from zocket.protocol import envelopes, frames, subjects
from zocket.protocol.edge import KICKED_CODE
from zocket.settings import Limits, check_resume_secret

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    OpenWorld = Callable[..., AbstractAsyncContextManager[World]]


async def serving(w: World, *, grace: bool = True) -> Runtime:
    """A runtime that was heard by the gateway, which has a client of the project."""
    runtime = await w.runtime("room")
    runtime.grace = grace
    runtime.announce("e1", "room")
    w.client(user_id="first")
    await w.settle()
    return runtime


def back(w: World, token: str, scope: Scope = SCOPE, gateway: Gateway | None = None, **identity: Any) -> Client:
    client = Client()
    client.session = (gateway or w.gateway).open_session(client, Identity(scope, **identity), None, b"", token)
    return client


def token_of(client: Client) -> str:
    token = client.frames[-1]["resume"]
    assert isinstance(token, str)
    return token


def client_id(client: Client) -> Any:
    return next(frame for frame in client.frames if frame["type"] == "welcome")["clientId"]


async def test_clients_get_a_token_once_a_runtime_says_that_there_is_a_grace(world: OpenWorld) -> None:
    async with world() as w:
        early = w.client(user_id="ada")
        assert [set(frame) for frame in early.taken()] == [{"type", "clientId", "features"}]
        await serving(w)
        (again,) = early.taken()
        assert (again["type"], again["clientId"]) == ("welcome", early.session_id)
        assert again["resume"]
        (welcome,) = w.client(user_id="bob").taken()
        assert welcome["resume"] != again["resume"]
        await w.clock.sleep(30)
        assert early.frames == []


async def test_without_a_grace_nothing_is_added_to_what_clients_and_runtimes_get(world: OpenWorld) -> None:
    async with world() as w:
        runtime = await serving(w, grace=False)
        client = w.client(user_id="ada")
        assert set(client.frames[0]) == {"type", "clientId", "features"}
        client.session.closed()
        await w.settle()
        assert set(runtime.notices["disconnected"][0]) == {"scope", "sessionId", "disconnectedAt"}


async def test_a_resumed_session_has_its_id_and_its_socket_another_name(world: OpenWorld) -> None:
    async with world() as w:
        runtime = await serving(w)
        first = w.client(user_id="ada")
        first.calls(1)
        first.session.closed()
        await w.settle()
        second = back(w, token_of(first), user_id="ada", claims=b'{"role":"x"}')
        assert client_id(second) == client_id(first)
        assert second.session_id != first.session_id
        second.calls(1)
        await w.settle()
        dropped, resumed = runtime.notices["disconnected"]
        assert (dropped["sessionId"], dropped["dropped"]) == (first.session_id, True)
        assert (resumed["sessionId"], resumed["dropped"]) == (first.session_id, True)
        assert resumed["next"] == {
            "sessionId": second.session_id,
            "socket": second.session.socket.number,
            "gateway": "g_test",
            "userId": "ada",
            "claims": {"role": "x"},
        } | ({"metadata": None} if "metadata" in resumed["next"] else {})
        one, two = runtime.requests
        assert "resumes" not in one
        assert (two["sessionId"], two["resumes"]) == (second.session_id, client_id(first))
        assert two["socket"] == second.session.socket.number > 0
        assert one["requestId"] != two["requestId"]
        runtime.batches(w.gateway, ([second], {"type": "rpc:result", "id": 1, "result": 7}))
        await w.settle()
        assert second.frames[-1]["result"] == 7


async def test_the_answer_to_a_call_of_the_lost_socket_does_not_reach_the_next_one(world: OpenWorld) -> None:
    """A client may count its calls anew with each connection."""
    async with world() as w:
        runtime = await serving(w)
        first = w.client(user_id="ada")
        first.calls(1)
        first.session.closed()
        second = back(w, token_of(first), user_id="ada")
        second.calls(1)
        await w.settle()
        runtime.batches(w.gateway, ([first], {"type": "rpc:result", "id": 1, "result": "old"}))
        runtime.sends(first, {"type": "rpc:result", "id": 1, "result": "old"})
        await w.settle()
        assert [frame["type"] for frame in second.frames] == ["welcome"]


@pytest.mark.parametrize("lives", [True, False])
async def test_the_newer_socket_wins_and_the_older_one_is_closed_for_good(world: OpenWorld, lives: bool) -> None:
    async with world() as w:
        runtime = await serving(w)
        first = w.client(user_id="ada")
        token = token_of(first)
        if not lives:
            first.session.closed()
        second = back(w, token, user_id="ada")
        third = back(w, token, user_id="ada")
        assert client_id(second) == client_id(third) == client_id(first)
        assert third.session.socket.number > second.session.socket.number
        for older in (first, second) if lives else (second,):
            assert older.closed == (KICKED_CODE, "replaced")
            assert older.frames[-1]["code"] == "replaced"
            older.session.closed()
        await w.settle()
        assert all(notice["dropped"] for notice in runtime.notices["disconnected"])  # being replaced is no goodbye
        assert third.closed is None
        third.session.closed(said_goodbye=True)
        await w.settle()
        assert "dropped" not in runtime.notices["disconnected"][-1]


@pytest.mark.parametrize("what", ["other user", "nobody", "other project", "forged", "expired"])
async def test_a_token_that_does_not_count_is_followed_by_a_new_session(world: OpenWorld, what: str) -> None:
    async with world() as w:
        runtime = await serving(w)
        first = w.client(user_id="ada")
        token = token_of(first)
        identity: dict[str, Any] = {"user_id": "ada"}
        scope = SCOPE
        if what == "other user":
            identity = {"user_id": "eve"}
        elif what == "nobody":
            identity = {}
        elif what == "other project":
            scope = Scope("acme", "other")
        elif what == "forged":
            token = token[:-3] + "AA="
        else:
            await w.clock.sleep(86_401)
        second = back(w, token, scope, **identity)
        assert client_id(second) != client_id(first)
        assert first.closed is None
        await w.settle()
        assert runtime.notices["disconnected"] == []
        outcomes = {s.labels["outcome"]: s.value for s in w.gateway.samples() if s.name == "resumptions" and s.labels}
        assert outcomes == {"taken": 0, "refused": 1}


async def test_a_runtime_without_a_grace_gets_new_sessions(world: OpenWorld) -> None:
    """Also one that does not know of any: it would take the next socket for another session than its client does."""
    async with world() as w:
        runtime = await serving(w)
        first = w.client(user_id="ada")
        runtime.grace = False
        runtime.announce("e2", "room")
        await w.settle()
        second = back(w, token_of(first), user_id="ada")
        assert client_id(second) == second.session_id != client_id(first)
        assert first.closed is None


async def test_a_gateway_with_the_same_secret_takes_over_also_before_it_has_heard_a_runtime(world: OpenWorld) -> None:
    async with world() as w:
        runtime = await serving(w)
        first = w.client(user_id="ada")
        token = token_of(first)
        secret = w.gateway.resume_tokens._secret
        brokers = [w.server.connect(), w.server.connect()]
        async with (
            Gateway.open(brokers[0], clock=w.clock, limits=Limits(), gateway_id="g_2", resume_secret=secret) as same,
            Gateway.open(brokers[1], clock=w.clock, limits=Limits(), gateway_id="g_3") as stranger,
        ):
            assert client_id(back(w, token, gateway=stranger, user_id="ada")) != client_id(first)
            second = back(w, token, gateway=same, user_id="ada")
            assert client_id(second) == client_id(first)
            await w.settle()
            assert token_of(second)
            following = runtime.notices["disconnected"][-1]["next"]
            assert (following["gateway"], following["sessionId"]) == ("g_2", second.session_id)
            # The first socket still lives at its gateway, until the runtime has it closed.
            delivery = envelopes.delivery(envelopes.session_list([first.session_id]), frames.replaced(), close=True)
            payload = envelopes.batch(envelopes.encode(envelopes.wire_scope(SCOPE)), [delivery])
            runtime.broker.send([Message(subjects.gateway(SCOPE, "g_test"), payload)])
            await w.settle()
            assert first.closed == (KICKED_CODE, "replaced")
        for broker in brokers:
            await broker.aclose()


async def test_a_drain_drops_the_sessions(world: OpenWorld) -> None:
    async with world() as w:
        runtime = await serving(w)
        client = w.client(user_id="ada")
        await w.gateway.drain(0)
        assert client.closed is not None
        assert client.closed[0] == RESTARTING_CODE
        client.session.closed()
        await w.settle()
        assert runtime.notices["disconnected"][-1]["dropped"] is True


async def test_cancelling_and_credits_name_the_session_and_the_call_of_its_socket(world: OpenWorld) -> None:
    async with world() as w:
        runtime = await serving(w)
        heard: list[Message] = []
        await runtime.broker.subscribe("runtime.control.>", heard.extend)
        runtime.announce_partition("e1", ["room"], controls=True)
        first = w.client(user_id="ada")
        await w.settle()
        second = back(w, token_of(first), user_id="ada")
        second.calls(1)
        second.says({"type": "rpc:cancel", "id": 1})
        await w.settle()
        control = envelopes.decode_control(heard[-1].payload)
        assert control.session_id == client_id(first)
        assert control.request_id == runtime.requests[-1]["requestId"]


def test_a_secret_that_could_be_guessed_is_refused() -> None:
    check_resume_secret("")
    check_resume_secret("x" * 32)
    with pytest.raises(SettingsError, match="RESUME_SECRET: expected at least 32 characters, got 31"):
        check_resume_secret("x" * 31)
