"""What a hostile caller tries against the identity half of the control plane, over HTTP where the socket matters."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import httpx
import pytest

from zocket.control import bodies
from zocket.control.callers import COOKIE
from zocket.control.process import serve
from zocket.errors import SettingsError
from zocket.settings import DEVELOPMENT_TOKEN, ControlSettings, OrchestrationSettings

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.control.conftest import OpenWorld

pytestmark = pytest.mark.realtime  # databases and sockets have threads and times of their own

one_database = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
"""For what is decided before the database is asked."""

SQL = [
    "' OR '1'='1",
    "'; DROP TABLE users; --",
    '" OR 1=1 --',
    "prj_a' --",
    "%",
    "_______",
    "\\",
    "prj_a\0",
    "$1",
    ":id",
    "ä",
    "A" * 5_000,
]


@pytest.mark.parametrize("text", SQL, ids=repr)
async def test_sql_in_any_place_is_only_a_text(open_world: OpenWorld, text: str) -> None:
    async with open_world() as world:
        owner = world.person("owner")
        quoted = "/" + quote(text, safe="")
        for path in ("/api/projects", "/api/workspaces", "/api/invitations", "/api/auth/device"):
            tail = "/members" if path.endswith("workspaces") else ""
            answer = await world.call("GET", path + quoted + tail, owner.terminal)
            assert answer.status_code in (200, 400, 404), (path, answer.text)
            assert "usr_" not in answer.text
        for body in ({"email": text, "password": text}, {"email": f"a{text}@example.com", "password": "x"}):
            answer = await world.call("POST", "/api/auth/login", json=body)
            assert answer.status_code in (400, 401)
        for query in ({"workspaceId": text}, {"after": text}):
            answer = await world.call("GET", "/api/projects", owner.terminal, params=query)
            assert answer.status_code in (200, 400)
            assert not answer.json().get("items")
        for headers in ({"cookie": f"{COOKIE}={quoted}"}, {"authorization": f"Bearer zkc_{quoted}"}):
            assert (await world.call("GET", "/api/workspaces", headers)).status_code == 401
        made = await world.call("POST", "/api/projects", owner.terminal, json={"name": text})
        assert made.status_code in (201, 400)
        if made.status_code == 201:
            assert made.json()["name"] == text
        assert len((await world.ok("GET", "/api/workspaces/wsp_a/members", owner.terminal))["items"]) == 3


FORGED = {
    "x-forwarded-user": "owner@example.com",
    "x-forwarded-email": "owner@example.com",
    "x-auth-request-email": "owner@example.com",
    "x-remote-user": "owner@example.com",
    "remote-user": "owner@example.com",
    "x-webauth-user": "owner",
    "x-user-id": "usr_owner",
    "x-zocket-user": "usr_owner",
    "cf-access-authenticated-user-email": "owner@example.com",
    "x-amzn-oidc-identity": "usr_owner",
}


async def test_a_header_that_names_somebody_makes_nobody_of_them(open_world: OpenWorld) -> None:
    async with open_world() as world:
        assert (await world.call("GET", "/api/workspaces", FORGED)).status_code == 401
        assert (await world.ok("GET", "/api/auth/session", FORGED))["user"] is None
        viewer = world.person("viewer")
        assert (await world.ok("GET", "/api/auth/session", viewer.browser | FORGED))["user"]["id"] == "usr_viewer"
        answer = await world.call("DELETE", "/api/projects/prj_a", viewer.terminal | FORGED)
        assert answer.status_code == 403


async def test_a_forwarded_address_does_not_help_to_guess_on(open_world: OpenWorld) -> None:
    async with open_world() as world:
        statuses = [
            (
                await world.call(
                    "POST",
                    "/api/auth/login",
                    {"x-forwarded-for": f"198.51.100.{guess}", "x-real-ip": f"198.51.100.{guess}"},
                    json={"email": f"{guess}@example.com", "password": "x"},
                )
            ).status_code
            for guess in range(22)
        ]
        assert statuses == [401] * 20 + [429] * 2


async def test_a_wrong_bearer_is_not_helped_by_a_good_cookie(open_world: OpenWorld) -> None:
    async with open_world() as world:
        headers = world.person("owner").browser | {"authorization": "Bearer wrong"}
        assert (await world.call("GET", "/api/workspaces", headers)).status_code == 401


async def test_the_cookie_of_a_session_is_no_bearer_and_a_token_no_cookie(open_world: OpenWorld) -> None:
    async with open_world() as world:
        owner = world.person("owner")
        as_bearer = {"authorization": f"Bearer {owner.cookie}"}
        as_cookie = {"cookie": f"{COOKIE}={owner.cli}"}
        for headers in (as_bearer, as_cookie):
            assert (await world.call("GET", "/api/workspaces", headers)).status_code == 401


@one_database
@pytest.mark.parametrize(
    "body",
    [b"{", b"[" * 50_000, b'{"email":' * 5_000, b"\xff\xfe", b'{"email": "\\ud800@x", "password": "y"}', b"null",
     b'{"email": 1e999, "password": "x"}', b'"x"', b""],
    ids=lambda body: repr(body[:20]),
)  # fmt: skip
async def test_a_body_that_is_no_request_is_refused(open_world: OpenWorld, body: bytes) -> None:
    async with open_world() as world:
        answer = await world.call("POST", "/api/auth/login", {"content-type": "application/json"}, content=body)
        assert answer.status_code == 400
        assert set(answer.json()) == {"error", "code", "requestId"}


@one_database
async def test_a_body_over_the_limit_is_refused_whatever_it_says_of_its_length(open_world: OpenWorld) -> None:
    async def chunks() -> Any:
        for _ in range(100):
            yield b"x" * 1_024

    async with open_world() as world:
        for headers in (
            {"content-type": "application/json"},
            {"content-type": "application/json", "content-length": "5"},
        ):
            answer = await world.call("POST", "/api/auth/login", headers, content=chunks())
            assert (answer.status_code, answer.json()["code"]) == (413, "too_large")


def local(directory: Path, **more: Any) -> ControlSettings:
    values = {
        "database_url": f"sqlite+aiosqlite:///{directory}/control.db",
        "bundle_store": f"{directory}/bundles",
        "orchestration": OrchestrationSettings(
            orchestrator="none", runtime_dir=f"{directory}/runtimes", secret_key_file=f"{directory}/secret.key"
        ),
    }
    return ControlSettings(**{"port": 0, **values, **more})


async def test_a_body_that_arrives_slowly_is_given_up_and_the_connection_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bodies, "BODY_TIMEOUT_S", 0.3)
    async with serve(local(tmp_path)) as url, asyncio.timeout(20):
        reader, writer = await asyncio.open_connection("127.0.0.1", httpx.URL(url).port)
        writer.write(
            b"POST /api/auth/login HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
            b"content-length: 1000\r\n\r\n{"
        )
        head = await reader.readuntil(b"\r\n")
        assert head.split()[1] == b"408"
        rest = await reader.read()
        assert b"did not arrive in time" in rest
        writer.close()
        async with httpx.AsyncClient(base_url=url) as client:
            assert (await client.get("/api/health")).json() == {"ok": True}


async def test_no_proxy_is_believed_unless_the_settings_trust_it(tmp_path: Path) -> None:
    forwarded = {"x-forwarded-for": "198.51.100.9", "x-forwarded-proto": "https"}
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    for directory, trusted, seen in (("a", "", "127.0.0.1"), ("b", "127.0.0.1", "198.51.100.9")):
        settings = local(tmp_path / directory, trusted_proxies=trusted, dev_mode=True)
        async with serve(settings) as url, httpx.AsyncClient(base_url=url) as client:
            started = (await client.post("/api/auth/device/start", headers=forwarded)).json()
            assert started["verificationUri"].startswith("https://" if trusted else "http://")
            assert await _address_of_flow(settings, started["userCode"]) == seen


async def _address_of_flow(settings: ControlSettings, user_code: str) -> str:
    from zocket.control.database import Database
    from zocket.control.identity.devices import Devices

    async with Database.open(settings.database_url) as database:
        return (await Devices(database, lambda: 0).lookup(user_code)).address


async def test_answers_are_not_kept_and_not_guessed_at(open_world: OpenWorld) -> None:
    async with open_world() as world:
        for path in ("/api/auth/session", "/api/workspaces", "/api/health", "/api/nothing"):
            answer = await world.call("GET", path)
            assert answer.headers["cache-control"] == "no-store"
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["referrer-policy"] == "no-referrer"
            assert answer.headers["x-request-id"].startswith("r_")


async def test_no_token_password_or_code_is_ever_logged(
    open_world: OpenWorld, password: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with open_world() as world:
        owner = world.person("owner")
        body = {"email": owner.email, "password": password}
        cookie = (await world.call("POST", "/api/auth/login", json=body)).cookies[COOKIE]
        started = await world.ok("POST", "/api/auth/device/start")
        await world.call("GET", f"/api/auth/device/{started['deviceCode']}")
        made = await world.ok("POST", "/api/projects", owner.terminal, json={"name": "x"})
        await world.call("GET", "/api/projects/x", {"authorization": f"Bearer {made['deployToken']}"})
        await world.call("GET", "/api/workspaces", {"authorization": "Bearer zkc_wrongtoken"})
        for secret in (password, cookie, started["deviceCode"], made["deployToken"], owner.cli, "wrongtoken"):
            assert secret not in "".join(record.getMessage() for record in caplog.records if record.name != "httpx")


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "::"])
async def test_the_published_token_is_refused_beyond_this_machine(tmp_path: Path, host: str) -> None:
    assert ControlSettings().internal_token == DEVELOPMENT_TOKEN
    with pytest.raises(SettingsError, match="CONTROL_PLANE_INTERNAL_TOKEN"):
        async with serve(local(tmp_path, host=host)):
            raise AssertionError("it started")
    with pytest.raises(SettingsError, match="CONTROL_PLANE_INTERNAL_TOKEN: may not be empty"):
        async with serve(local(tmp_path, internal_token="")):
            raise AssertionError("it started")
