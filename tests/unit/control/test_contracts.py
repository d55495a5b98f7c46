"""Contracts of deployments: told by the runtime, given to whoever may see the deployment, or may connect."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.unit.contract.samples import chat, everything
from zocket.contract import contract_of

if TYPE_CHECKING:
    import httpx

    from tests.unit.control.conftest import OpenControl

pytestmark = pytest.mark.realtime  # SQLite and sockets have threads and times of their own

LOCAL = {"workspaceId": "local-workspace", "projectId": "local-project"}
CONTRACT = contract_of(everything.definition).encode()
ANYWHERE = {"host": "example.com", "token": None}


async def upload(control: httpx.AsyncClient, *, ready: bool = True) -> str:
    answer = await control.post("/api/internal/deployments", params=LOCAL, content=b"app = 1\n")
    found: str = answer.json()["deploymentId"]
    if ready:
        await control.post("/api/internal/runtime/report", json={"deploymentId": found, "status": "ready"})
    return found


async def tell(control: httpx.AsyncClient, deployment_id: str, content: bytes = CONTRACT) -> Any:
    where = "/api/internal/runtime/contract"
    return await control.put(where, params={"deploymentId": deployment_id}, content=content)


async def test_a_gateway_gets_the_contract_of_what_serves(open_control: OpenControl) -> None:
    async with open_control(dev_mode=True) as control:
        old, new = await upload(control), await upload(control, ready=False)
        params = LOCAL | {"deploymentId": new}
        active = await control.get("/api/internal/runtime/active", params=params)
        assert active.headers["x-zocket-takes"] == "contract"
        assert (await tell(control, old)).json() == {"ok": True}
        await tell(control, new, contract_of(chat.definition).encode())
        answer = await control.post("/api/registry/schema", json=ANYWHERE)
        assert (answer.headers["content-type"], answer.content) == ("application/json", CONTRACT)
        await control.post("/api/internal/runtime/report", json={"deploymentId": new, "status": "ready"})
        answer = await control.post("/api/registry/schema", json=ANYWHERE)
        assert list(answer.json()["actors"]) == ["chat"]
        seen = await control.get(f"/api/internal/deployments/{old}/schema", params=LOCAL)
        assert seen.content == CONTRACT


async def test_without_a_contract_there_is_none(open_control: OpenControl) -> None:
    async with open_control(dev_mode=True) as control:
        answer = await control.post("/api/registry/schema", json=ANYWHERE)
        assert (answer.status_code, answer.json()["code"]) == (404, "no_contract")
        await upload(control)
        answer = await control.post("/api/registry/schema", json=ANYWHERE)
        assert (answer.status_code, answer.json()["code"]) == (404, "no_contract")


async def test_who_may_not_connect_gets_no_contract(open_control: OpenControl) -> None:
    async with open_control() as control:
        answer = await control.post("/api/registry/schema", json=ANYWHERE)
        assert answer.status_code == 401


async def test_what_is_no_contract_is_refused_and_a_large_one_is_not(open_control: OpenControl) -> None:
    document = json.loads(CONTRACT)
    document["$defs"]["Long"] = {"description": "x" * 200_000}
    async with open_control(dev_mode=True) as control:
        deployment = await upload(control)
        for content in (b"", b"[]", b"{}", b'{"zocketContract": 9, "actors": {}}'):
            answer = await tell(control, deployment, content)
            assert (answer.status_code, answer.json()["code"]) == (400, "invalid_frame")
        assert (await tell(control, deployment, json.dumps(document).encode())).status_code == 200
        document["$defs"]["Long"] = {"description": "x" * 5_000_000}
        assert (await tell(control, deployment, json.dumps(document).encode())).status_code == 413
        assert (await tell(control, "dpl_unknown")).status_code == 404
        assert (await control.get("/api/internal/deployments/dpl_x/schema", params=LOCAL)).status_code == 404
