"""`POST /call/…` of a gateway process, on a real NATS server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.integration.gateway.conftest import ControlPlane, until
from zocket.settings import Limits

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from tests.integration.gateway.conftest import World
    from zocket.broker.server import NatsServer

    Open = Callable[[NatsServer], AbstractAsyncContextManager[World]]

pytestmark = pytest.mark.nats

PAGE = "https://a.example"


async def ask(port: int, path: str = "/call/counter/a/add", method: str = "POST", **more: Any) -> httpx.Response:
    async with httpx.AsyncClient(trust_env=False, timeout=20) as client:
        return await client.request(method, f"http://127.0.0.1:{port}{path}", **more)


def bearer(user: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {user}"}


@pytest.mark.parametrize("own", [True, False], ids=["own", "foreign"])
async def test_the_whole_way_of_a_call(world: Open, nats_server: NatsServer, own: bool) -> None:
    async with world(nats_server) as w:
        runtime = await w.runtime(own=own)
        gateway = await w.gateway()
        answer = await ask(gateway.port, json={"by": 2}, headers={**bearer("ada"), "Idempotency-Key": "k1"})
        assert (answer.status_code, answer.json()) == (200, {"result": 1})
        envelope = runtime.requests[0]
        assert (envelope["userId"], envelope["claims"]) == ("ada", {"sub": "ada"})
        assert envelope["message"]["input"] == {"by": 2}
        assert envelope["message"]["idempotencyKey"] == "k1"
        assert (await ask(gateway.port, headers=bearer("bad"))).status_code == 401
        answer = await ask(gateway.port, "/call/nobody/a/add?token=ada")
        assert (answer.status_code, answer.json()["code"]) == (404, "unknown_actor")
        await until(lambda: len([n for n in runtime.notices if n[0] == "disconnected"]) == 2, "both sessions are over")


async def test_a_call_that_nobody_answers_is_a_timeout(world: Open, nats_server: NatsServer) -> None:
    async with world(nats_server) as w:
        await w.runtime()
        gateway = await w.gateway(limits=Limits(call_timeout_s=0.3))
        answer = await ask(gateway.port, "/call/silent/a/add")
        assert (answer.status_code, answer.json()["code"]) == (504, "timeout")


async def test_pages_of_the_projects_origins_may_call_at_its_rate(
    world: Open, nats_server: NatsServer, plane: ControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    granted = plane.granted
    more = {"origins": [PAGE], "limits": {"ratePerS": 0.001, "burst": 2}}
    monkeypatch.setattr(plane, "granted", lambda token: {**granted(token), **more})
    async with world(nats_server) as w:
        await w.runtime()
        port = (await w.gateway()).port
        preflight = await ask(port, method="OPTIONS", headers={"Origin": PAGE, "Access-Control-Request-Method": "POST"})
        assert (preflight.status_code, preflight.headers["access-control-allow-origin"]) == (200, PAGE)
        assert (await ask(port, method="OPTIONS", headers={"Origin": "https://b.example"})).status_code == 403
        refused = await ask(port, headers={**bearer("ada"), "Origin": "https://b.example"})
        assert (refused.status_code, refused.json()["code"]) == (403, "origin_refused")
        assert "access-control-allow-origin" not in refused.headers
        answers = [await ask(port, headers={**bearer("ada"), "Origin": PAGE}) for _ in range(3)]
        assert [answer.status_code for answer in answers] == [200, 200, 429]
        assert {answer.headers["access-control-allow-origin"] for answer in answers} == {PAGE}
        assert (await ask(port, headers=bearer("bob"))).status_code == 200
