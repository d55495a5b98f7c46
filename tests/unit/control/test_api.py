from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    import httpx

    from tests.unit.control.conftest import MovableClock, OpenControl

pytestmark = pytest.mark.realtime  # SQLite and sockets have threads and times of their own

LOCAL = {"workspaceId": "local-workspace", "projectId": "local-project"}
BUNDLE = b"app = 1\n"


async def upload(control: httpx.AsyncClient, content: bytes = BUNDLE) -> dict[str, Any]:
    answer = await control.post("/api/internal/deployments", params=LOCAL, content=content)
    assert answer.status_code == 201, answer.text
    view: dict[str, Any] = answer.json()
    return view


async def deployment(control: httpx.AsyncClient, deployment_id: str) -> dict[str, Any]:
    answer = await control.get(f"/api/internal/deployments/{deployment_id}", params=LOCAL)
    assert answer.status_code == 200, answer.text
    view: dict[str, Any] = answer.json()
    return view


async def test_health_answers_anyone(open_control: OpenControl) -> None:
    async with open_control() as control:
        answer = await control.get("/api/health", headers={"authorization": ""})
    assert (answer.status_code, answer.json()) == (200, {"ok": True})


@pytest.mark.parametrize(
    ("verb", "path"),
    [
        ("GET", "/api/internal/runtime/active"),
        ("POST", "/api/internal/runtime/report"),
        ("POST", "/api/registry/authorize"),
        ("GET", "/api/internal/bundles/x"),
        ("PUT", "/api/internal/projects/p"),
        ("POST", "/api/internal/deployments"),
        ("GET", "/api/internal/deployments/x"),
    ],
)
@pytest.mark.parametrize(
    "authorization",
    ["", "Bearer", "Bearer wrong", "Basic a token of the test", "Bearer a token of the test2", "Bearer \u00e9"],
)
async def test_internal_calls_need_the_bearer(
    open_control: OpenControl, verb: str, path: str, authorization: str
) -> None:
    async with open_control(dev_mode=True) as control:
        answer = await control.request(verb, path, headers=[(b"authorization", authorization.encode("latin-1"))])
    assert answer.status_code == 401
    assert set(answer.json()) == {"error", "code", "requestId"}
    assert answer.headers["x-request-id"] == answer.json()["requestId"]


async def test_a_bundle_goes_in_and_comes_out_unchanged(open_control: OpenControl) -> None:
    async with open_control(dev_mode=True) as control:
        stored = await upload(control)
        active = await control.get(
            "/api/internal/runtime/active", params=LOCAL | {"deploymentId": stored["deploymentId"]}
        )
        assert active.json() == {
            "deploymentId": stored["deploymentId"],
            "url": f"http://control/api/internal/bundles/{hashlib.sha256(BUNDLE).hexdigest()}",
            "sha256": hashlib.sha256(BUNDLE).hexdigest(),
            "size": len(BUNDLE),
        }
        assert (await control.get(active.json()["url"])).content == BUNDLE


async def test_the_bundle_url_is_the_public_one_where_one_is_set(open_control: OpenControl) -> None:
    async with open_control(dev_mode=True, public_url="https://control.example/") as control:
        stored = await upload(control)
        active = await control.get(
            "/api/internal/runtime/active", params=LOCAL | {"deploymentId": stored["deploymentId"]}
        )
    assert active.json()["url"].startswith("https://control.example/api/internal/bundles/")


async def test_a_deployment_is_active_only_after_ready(open_control: OpenControl, clock: MovableClock) -> None:
    async with open_control(dev_mode=True) as control:
        first, second = await upload(control), await upload(control, b"app = 2\n")
        assert [first["version"], second["version"]] == [1, 2]
        assert (first["status"], first["active"]) == ("stored", False)
        clock.wall_s += 5
        done = await control.post(
            "/api/internal/runtime/report",
            json={"deploymentId": first["deploymentId"], "status": "ready", "actorTypes": ["chat"]},
        )
        assert done.json() == {"ok": True}
        seen = await deployment(control, first["deploymentId"])
        assert (seen["status"], seen["active"], seen["actorTypes"]) == ("deployed", True, ["chat"])
        assert seen["updatedAt"] - seen["createdAt"] == 5_000
        assert (await deployment(control, second["deploymentId"]))["active"] is False


async def test_a_failed_report_keeps_the_message_and_what_was_active(open_control: OpenControl) -> None:
    async with open_control(dev_mode=True) as control:
        good, bad = await upload(control), await upload(control)
        ready = {"deploymentId": good["deploymentId"], "status": "ready", "actorTypes": []}
        await control.post("/api/internal/runtime/report", json=ready)
        failed = {"deploymentId": bad["deploymentId"], "status": "failed", "message": "no app in it"}
        await control.post("/api/internal/runtime/report", json=failed)
        seen = await deployment(control, bad["deploymentId"])
        assert (seen["status"], seen["message"], seen["active"]) == ("failed", "no app in it", False)
        assert (await deployment(control, good["deploymentId"]))["active"] is True


async def test_deployments_survive_a_restart_of_the_control_plane(open_control: OpenControl) -> None:
    async with open_control(dev_mode=True) as control:
        stored = await upload(control)
    async with open_control(dev_mode=True) as control:
        assert await deployment(control, stored["deploymentId"]) == stored


async def test_a_deployment_of_another_project_is_like_none(open_control: OpenControl) -> None:
    async with open_control(dev_mode=True) as control:
        stored = await upload(control)
        other = {"workspaceId": "other", "slug": "other"}
        assert (await control.put("/api/internal/projects/prj_other", json=other)).status_code == 200
        for params in (
            {"workspaceId": "other", "projectId": "prj_other"},
            {"workspaceId": "other", "projectId": "local-project"},
            {"workspaceId": "local-workspace", "projectId": "prj_unknown"},
        ):
            answer = await control.get(
                "/api/internal/runtime/active", params=params | {"deploymentId": stored["deploymentId"]}
            )
            assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


@pytest.mark.parametrize("key", ["..%2f..%2fcontrol.db", "..", "A" * 64, "0" * 64, "0" * 63])
async def test_a_bundle_key_reaches_no_other_file(open_control: OpenControl, key: str) -> None:
    async with open_control(dev_mode=True) as control:
        await upload(control)
        assert (await control.get(f"/api/internal/bundles/{key}")).status_code == 404


async def test_bodies_that_cannot_be_used_are_refused_by_name(open_control: OpenControl) -> None:
    async with open_control(dev_mode=True) as control:
        answers = [
            await control.post("/api/internal/deployments", params=LOCAL, content=b""),
            await control.post("/api/internal/deployments", params={"workspaceId": "a.b", "projectId": "*"}),
            await control.post("/api/internal/runtime/report", json={"deploymentId": "x", "status": "odd"}),
            await control.post("/api/internal/runtime/report", content=b"{"),
            await control.put("/api/internal/projects/a.b", json={"workspaceId": "w", "slug": "s"}),
            await control.put("/api/internal/projects/p", json={"workspaceId": "w", "slug": "Not A Slug"}),
            await control.put("/api/internal/projects/p", json={"workspaceId": "w", "slug": "s", "domain": "A:80"}),
            await control.put("/api/internal/projects/p", json={"workspaceId": "w", "slug": "s", "odd": 1}),
            await control.put(
                "/api/internal/projects/p",
                json={"workspaceId": "w", "slug": "s", "auth": {"mode": "jwt-secret", "secret": "short"}},
            ),
            await control.put(
                "/api/internal/projects/p",
                json={"workspaceId": "w", "slug": "s", "auth": {"mode": "jwt-jwks", "jwksUrl": "http://a/k"}},
            ),
        ]
    assert [answer.status_code for answer in answers] == [400] * len(answers)
    assert all(answer.json()["error"] and answer.json()["requestId"] for answer in answers)


async def test_an_oversize_json_body_is_refused(open_control: OpenControl) -> None:
    async with open_control(dev_mode=True) as control:
        answer = await control.post("/api/registry/authorize", json={"host": "a", "token": "x" * 70_000})
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")


async def test_two_projects_share_neither_domain_nor_slug(open_control: OpenControl) -> None:
    async with open_control() as control:
        first = {"workspaceId": "w", "slug": "one", "domain": "one.example"}
        assert (await control.put("/api/internal/projects/p1", json=first)).status_code == 200
        assert (await control.put("/api/internal/projects/p1", json=first)).status_code == 200
        same_domain = {"workspaceId": "w", "slug": "two", "domain": "one.example"}
        same_slug = {"workspaceId": "w", "slug": "one", "domain": "two.example"}
        moved = {"workspaceId": "other", "slug": "one"}
        assert (await control.put("/api/internal/projects/p2", json=same_domain)).status_code == 400
        assert (await control.put("/api/internal/projects/p2", json=same_slug)).status_code == 400
        assert (await control.put("/api/internal/projects/p1", json=moved)).status_code == 400


async def test_unknown_paths_and_verbs_answer_in_the_same_form(open_control: OpenControl) -> None:
    async with open_control() as control:
        missing, verb = await control.get("/api/nothing"), await control.delete("/api/health")
    assert (missing.status_code, missing.json()["code"]) == (404, "not_found")
    assert (verb.status_code, verb.json()["code"]) == (405, "method_not_allowed")


async def test_an_unexpected_error_says_only_its_request_id(
    open_control: OpenControl, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr("zocket.control.deployments.Deployments.report", broken)
    async with open_control() as control:
        body = {"deploymentId": "x", "status": "ready"}
        answer = await control.post("/api/internal/runtime/report", json=body)
    assert (answer.status_code, answer.json()["error"], answer.json()["code"]) == (500, "internal error", "internal")
    assert "secret detail" not in answer.text
