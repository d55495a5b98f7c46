"""The gateway process between real sockets and a real NATS server, with a runtime that a test scripts."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from websockets.exceptions import InvalidStatus

from tests.integration.gateway.conftest import until
from zocket.broker.server import NatsServer
from zocket.settings import Limits

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from tests.integration.gateway.conftest import World

    Open = Callable[[NatsServer], AbstractAsyncContextManager[World]]

pytestmark = pytest.mark.nats

STATE_SUB = {"type": "state:sub", "actor": "counter", "actorId": "a"}
DRAIN_S = 15.0
STYLES = pytest.mark.parametrize("own", [True, False], ids=["own", "foreign"])


@STYLES
async def test_the_whole_way_of_a_call_and_a_subscription(world: Open, nats_server: NatsServer, own: bool) -> None:
    """R20, with a runtime of ours and with an existing one."""
    async with world(nats_server) as w:
        runtime = await w.runtime(own=own)
        gateway = await w.gateway()
        ada, bob = await w.client(gateway.port), await w.client(gateway.port, token=None)
        welcome = await ada.hears()
        features = ["rpc:cancel", "auth:refresh"]
        assert welcome == {"type": "welcome", "clientId": welcome["clientId"], "features": features}
        await bob.hears()
        for client in (ada, bob):
            await client.says(STATE_SUB)
            assert await client.hears() == {**STATE_SUB, "type": "state:snapshot", "state": {"n": 0}}
        await ada.calls("x-1")
        patch = [{"op": "replace", "path": "/n", "value": 1}]
        assert await ada.hears() == {**STATE_SUB, "type": "state:patch", "patches": patch}
        assert await ada.hears() == {"type": "rpc:result", "id": "x-1", "result": 1}
        assert (await bob.hears())["patches"] == patch
        envelope = runtime.requests[0]
        assert (envelope["userId"], envelope["claims"]) == ("ada", {"sub": "ada"})
        assert envelope["sessionId"] == welcome["clientId"]
        assert w.plane.asked[0] == {"host": "127.0.0.1", "token": "ada"}
        await ada.socket.close()
        await until(lambda: [n for n in runtime.notices if n[0] == "disconnected"], "the notice of the closed socket")
        assert runtime.notices[-1][1]["sessionId"] == welcome["clientId"]


@STYLES
async def test_an_unknown_actor_type_is_answered_at_once(world: Open, nats_server: NatsServer, own: bool) -> None:
    async with world(nats_server) as w:
        await w.runtime(own=own)
        client = await w.client((await w.gateway()).port)
        await client.hears()
        await client.calls(7, actor="nobody")
        answer = await client.hears()
        assert (answer["id"], answer["error"], answer["code"]) == (7, "Unknown actor: nobody", "unknown_actor")
        await client.calls(8)
        assert (await client.hears())["result"] == 1


async def test_frames_reach_the_session_through_whichever_gateway_has_it(world: Open, nats_server: NatsServer) -> None:
    async with world(nats_server) as w:
        await w.runtime()
        ada = await w.client((await w.gateway()).port)
        bob = await w.client((await w.gateway()).port)
        for client in (ada, bob):
            await client.hears()
            await client.says(STATE_SUB)
            assert (await client.hears())["type"] == "state:snapshot"
        await bob.calls(1)
        assert (await ada.hears())["type"] == "state:patch"
        assert [(await bob.hears())["type"] for _ in range(2)] == ["state:patch", "rpc:result"]


async def test_a_thousand_pipelined_calls_are_each_answered_once_and_in_order(
    world: Open, nats_server: NatsServer
) -> None:
    async with world(nats_server) as w:
        await w.runtime()
        client = await w.client((await w.gateway(limits=Limits(max_pending_calls=1_000))).port)
        await client.hears()
        for number in range(1_000):
            await client.calls(number)
        answers = [await client.hears() for _ in range(1_000)]
        assert [(answer["id"], answer.get("result")) for answer in answers] == [(n, n + 1) for n in range(1_000)]


async def test_a_new_runtime_gives_open_sockets_a_fresh_snapshot(world: Open, nats_server: NatsServer) -> None:
    async with world(nats_server) as w:
        old = await w.runtime()
        client = await w.client((await w.gateway()).port)
        await client.hears()
        await client.says(STATE_SUB)
        assert (await client.hears())["state"] == {"n": 0}
        await old.broker.aclose()
        new = await w.runtime()
        new.counts["a"] = 41
        assert await client.hears() == {**STATE_SUB, "type": "state:snapshot", "state": {"n": 41}}


async def test_another_token_on_an_open_socket_is_asked_about_under_the_host_of_its_upgrade(
    world: Open, nats_server: NatsServer
) -> None:
    async with world(nats_server) as w:
        gateway = await w.gateway()
        ada = await w.client(gateway.port)
        await ada.hears()
        for token, message in (("bad", "the token is bad"), ("bob", "the token is somebody else's")):
            await ada.says({"type": "auth:refresh", "token": token})
            frame = await ada.hears()
            assert (frame["type"], frame["code"], frame["message"]) == ("error", "unauthorized", message)
            assert w.plane.asked[-1] == {"host": "127.0.0.1", "token": token}
        await ada.says({"type": "auth:refresh", "token": "ada"})
        assert await ada.hears() == {"type": "auth:refreshed", "expiresAt": None}


async def test_a_bad_token_is_refused_and_a_silent_control_plane_is_503(world: Open, nats_server: NatsServer) -> None:
    async with world(nats_server) as w:
        gateway = await w.gateway()
        with pytest.raises(InvalidStatus) as refused:
            await w.client(gateway.port, token="bad")
        assert refused.value.response.status_code == 401
        assert json.loads(refused.value.response.body)["error"] == "the token is bad"
        away = await w.gateway(control_plane_url="http://127.0.0.1:9")
        with pytest.raises(InvalidStatus) as refused:
            await w.client(away.port)
        assert refused.value.response.status_code == 503


async def test_hostile_frames_are_answered_or_ignored_and_only_size_closes_the_socket(
    world: Open, nats_server: NatsServer
) -> None:
    async with world(nats_server) as w:
        await w.runtime()
        client = await w.client((await w.gateway()).port)
        await client.hears()
        deep = '{"type":"rpc","id":"deep","actor":"counter","actorId":"a","method":"m","input":' + "[" * 5_000
        await client.says(deep + "]" * 5_000 + "}")
        await client.calls("long", actor_id="x" * 5_000)
        await client.calls("type", actor="a.>")
        await client.says("no json")
        await client.says(b'{"type":"\xff"}')
        await client.says({"type": "unheard-of"})
        await client.says(b'{"type":"rpc","id":"binary","actor":"counter","actorId":"a","method":"m"}')
        await client.calls("dots", actor_id="a.b.>")
        answers = {answer["id"]: answer for answer in [await client.hears() for _ in range(5)]}
        codes = {call_id: answer.get("code") for call_id, answer in answers.items()}
        assert codes == {
            "deep": "invalid_frame",
            "long": "invalid_id",
            "type": "invalid_id",
            "binary": None,
            "dots": None,
        }
        await client.says("x" * 300_000)
        assert await client.closed() == 1009


async def test_calls_during_an_outage_are_answered_and_afterwards_everything_works(world: Open) -> None:
    """A NATS server that is killed and comes back without its memory streams."""
    async with NatsServer() as server, world(server) as w:
        runtime = await w.runtime()
        gateway = await w.gateway()
        client = await w.client(gateway.port)
        await client.hears()
        await client.says(STATE_SUB)
        await client.hears()
        await server.kill()
        await until(lambda: not gateway.gateway.ready, "the gateway notices")
        await client.calls(1)
        answer = await client.hears()
        assert (answer["id"], answer["code"]) == (1, "unavailable")
        async with httpx.AsyncClient(timeout=20) as http:
            ready = await http.get(f"http://127.0.0.1:{gateway.metrics_port}/ready")
            health = await http.get(f"http://127.0.0.1:{gateway.port}/health")
        assert (ready.status_code, health.json()) == (503, {"ok": True})
        await server.start()
        await until(lambda: gateway.gateway.ready and runtime.broker.connected, "both are back")
        await runtime.consume()
        assert (await client.hears())["type"] == "state:snapshot"
        await client.calls(2)
        assert [(await client.hears())["type"] for _ in range(2)] == ["state:patch", "rpc:result"]


async def test_operators_see_readiness_and_metrics_apart_from_the_public_port(
    world: Open, nats_server: NatsServer
) -> None:
    async with world(nats_server) as w:
        await w.runtime()
        gateway = await w.gateway()
        client = await w.client(gateway.port)
        await client.hears()
        await client.calls(1)
        await client.hears()
        async with httpx.AsyncClient(timeout=20) as http:
            operators, public = f"http://127.0.0.1:{gateway.metrics_port}", f"http://127.0.0.1:{gateway.port}"
            assert (await http.get(operators + "/ready")).json() == {"ready": True}
            metrics = (await http.get(operators + "/metrics")).text
            assert (await http.get(public + "/health")).json() == {"ok": True}
            assert (await http.get(public + "/metrics")).status_code == 404
        for line in ("zocket_gateway_sessions 1.0", 'zocket_gateway_calls_total{code="ok"} 1.0', "zocket_sockets 1.0"):
            assert line in metrics.splitlines()


async def test_a_stopping_gateway_answers_open_calls_before_it_closes(world: Open, nats_server: NatsServer) -> None:
    async with world(nats_server) as w:
        runtime = await w.runtime()
        gateway = await w.gateway()
        idle, busy = await w.client(gateway.port), await w.client(gateway.port)
        for client in (idle, busy):
            await client.hears()
        await busy.calls("open", actor="silent")
        await until(lambda: runtime.requests, "the call arrives")
        draining = asyncio.create_task(gateway.gateway.drain(DRAIN_S))
        assert await idle.closed() == 1012
        with pytest.raises(InvalidStatus) as refused:
            await w.client(gateway.port)
        assert refused.value.response.status_code == 503
        envelope: Any = runtime.requests[0]
        result = {"type": "rpc:result", "id": "open", "result": "late but there"}
        runtime.say({envelope["sessionId"]: envelope["gateway"]}, result)
        assert await busy.hears() == result
        assert await busy.closed() == 1012
        await draining
