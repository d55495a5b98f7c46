from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest
from sqlalchemy import select

from zocket.control.credentials import mint
from zocket.control.identity import devices
from zocket.control.records import CliToken, DeviceFlow

if TYPE_CHECKING:
    from tests.integration.control.conftest import OpenWorld, World

pytestmark = pytest.mark.realtime  # databases have threads and times of their own

one_database = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
"""For what is decided before the database is asked."""


async def start(world: World, name: str = "Ada's laptop") -> dict[str, Any]:
    started: dict[str, Any] = await world.ok("POST", "/api/auth/device/start", json={"name": name})
    return started


async def poll(world: World, started: dict[str, Any]) -> dict[str, Any]:
    seen: dict[str, Any] = await world.ok("GET", f"/api/auth/device/{started['deviceCode']}")
    return seen


async def approve(world: World, started: dict[str, Any], person: str = "owner") -> int:
    path = f"/api/auth/device/{started['deviceCode']}/approve"
    return (await world.call("POST", path, world.person(person).browser)).status_code


async def test_a_command_line_is_signed_in_from_a_browser(open_world: OpenWorld) -> None:
    async with open_world() as world:
        started = await start(world)
        assert set(started) == {
            "deviceCode", "userCode", "verificationUri", "verificationUriComplete",
            "intervalSeconds", "expiresInSeconds",
        }  # fmt: skip
        assert started["verificationUri"] == "https://control.example/device"
        assert parse_qs(urlsplit(started["verificationUriComplete"]).query) == {"code": [started["userCode"]]}
        assert await poll(world, started) == {
            "status": "pending",
            "userCode": started["userCode"],
            "cliToken": None,
        }
        owner = world.person("owner")
        typed = started["userCode"].lower().replace("-", " ")
        waiting = await world.ok("POST", "/api/auth/device/lookup", owner.browser, json={"userCode": typed})
        assert (waiting["name"], waiting["address"]) == ("Ada's laptop", "203.0.113.7")
        assert await approve(world, waiting) == 200
        approved = await poll(world, started)
        assert (approved["status"], approved["userCode"]) == ("approved", started["userCode"])
        headers = {"authorization": f"Bearer {approved['cliToken']}"}
        assert (await world.ok("GET", "/api/auth/session", headers))["user"]["id"] == "usr_owner"
        listed = await world.ok("GET", "/api/auth/cli-tokens", owner.browser)
        assert listed["items"][0]["prefix"] == approved["cliToken"][:12]


async def test_the_device_code_itself_approves_too(open_world: OpenWorld) -> None:
    async with open_world() as world:
        started = await start(world)
        assert await approve(world, started) == 200
        assert (await poll(world, started))["status"] == "approved"


async def test_the_token_is_handed_out_once_also_to_many_who_ask_at_the_same_time(open_world: OpenWorld) -> None:
    async with open_world() as world:
        started = await start(world)
        await approve(world, started)
        answers = await asyncio.gather(*(poll(world, started) for _ in range(8)))
        tokens = [answer["cliToken"] for answer in answers if answer["cliToken"]]
        assert len(tokens) == 1
        assert sorted(answer["status"] for answer in answers) == ["approved"] + ["not_found"] * 7
        assert (await poll(world, started))["status"] == "not_found"
        async with world.database.reading() as session:
            made = (await session.scalars(select(CliToken).where(CliToken.name == "Ada's laptop"))).all()
        assert len(made) == 1


async def test_what_lookup_shows_cannot_fetch_the_token(open_world: OpenWorld) -> None:
    async with open_world() as world:
        started, viewer = await start(world), world.person("viewer")
        waiting = await world.ok(
            "POST", "/api/auth/device/lookup", viewer.browser, json={"userCode": started["userCode"]}
        )
        assert waiting["deviceCode"] != started["deviceCode"]
        await approve(world, started)
        assert (await poll(world, waiting))["status"] == "not_found"
        assert (await poll(world, started))["status"] == "approved"


async def test_a_flow_expires_before_and_after_its_approval(open_world: OpenWorld) -> None:
    async with open_world() as world:
        waiting, approved = await start(world), await start(world)
        await approve(world, approved)
        world.clock.wall_s += devices.FLOW_MS / 1000
        assert (await poll(world, waiting))["status"] == "not_found"
        assert (await poll(world, approved))["status"] == "not_found"
        assert await approve(world, waiting) == 404
        await start(world)
        async with world.database.reading() as session:
            assert len((await session.scalars(select(DeviceFlow))).all()) == 1


async def test_a_flow_is_approved_once(open_world: OpenWorld) -> None:
    async with open_world() as world:
        started = await start(world)
        assert await approve(world, started, "viewer") == 200
        assert await approve(world, started, "owner") == 404
        token = (await poll(world, started))["cliToken"]
        seen = await world.ok("GET", "/api/auth/session", {"authorization": f"Bearer {token}"})
        assert seen["user"]["id"] == "usr_viewer"


async def test_guessing_user_codes_is_slowed_down(open_world: OpenWorld) -> None:
    async with open_world() as world:
        viewer = world.person("viewer")
        guesses = [
            (await world.call("POST", "/api/auth/device/lookup", viewer.browser, json={"userCode": f"BCDF-GHJ{x}"}))
            for x in "BCDFGHJKLMNP"
        ]
        assert [guess.status_code for guess in guesses] == [404] * 10 + [429] * 2
        started = await start(world)
        path = f"/api/auth/device/{started['deviceCode']}/approve"
        assert (await world.call("POST", path, viewer.browser)).status_code == 429


async def test_beginning_and_asking_are_slowed_down(open_world: OpenWorld) -> None:
    async with open_world() as world:
        begun = [(await world.call("POST", "/api/auth/device/start")).status_code for _ in range(21)]
        assert begun == [200] * 20 + [429]
        path = f"/api/auth/device/{mint('zkf_').token}"
        asked = [(await world.call("GET", path)).status_code for _ in range(61)]
        assert asked == [200] * 60 + [429]
        world.clock.wall_s += devices.INTERVAL_S
        assert (await world.call("GET", path)).status_code == 200


async def test_open_flows_are_bounded(open_world: OpenWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "MAX_FLOWS", 2)
    async with open_world() as world:
        assert [(await world.call("POST", "/api/auth/device/start")).status_code for _ in range(3)] == [200, 200, 503]


async def test_neither_code_nor_token_is_stored(open_world: OpenWorld) -> None:
    async with open_world() as world:
        started = await start(world)
        await approve(world, started)
        token = (await poll(world, started))["cliToken"]
        async with world.database.reading() as session:
            [flow] = await session.scalars(select(DeviceFlow))
            stored = [str(value) for value in vars(flow).values()]
            for record in await session.scalars(select(CliToken)):
                stored += [str(value) for value in vars(record).values()]
        assert started["deviceCode"] not in stored
        assert token not in stored


async def test_a_command_line_signs_itself_out(open_world: OpenWorld) -> None:
    async with open_world() as world:
        viewer = world.person("viewer")
        assert (await world.call("POST", "/api/auth/logout", viewer.terminal)).status_code == 200
        assert (await world.call("GET", "/api/auth/session", viewer.terminal)).status_code == 401
        assert (await world.ok("GET", "/api/auth/session", viewer.browser))["user"]["id"] == "usr_viewer"


async def test_nobody_signs_another_persons_command_line_out(open_world: OpenWorld) -> None:
    async with open_world() as world:
        path = "/api/auth/cli-tokens/clt_viewer/revoke"
        assert (await world.call("POST", path, world.person("owner").browser)).status_code == 404
        assert (await world.call("POST", path, world.person("viewer").browser)).status_code == 200
        assert (await world.call("POST", path, world.person("viewer").browser)).status_code == 200


async def test_a_cli_token_lives_thirty_days(open_world: OpenWorld) -> None:
    async with open_world() as world:
        started = await start(world)
        await approve(world, started)
        headers = {"authorization": f"Bearer {(await poll(world, started))['cliToken']}"}
        world.clock.wall_s += 30 * 86_400 - 1
        assert (await world.call("GET", "/api/workspaces", headers)).status_code == 200
        world.clock.wall_s += 1
        answer = await world.call("GET", "/api/workspaces", headers)
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")


async def test_the_last_use_of_a_token_is_written_down_once_a_minute(open_world: OpenWorld) -> None:
    async with open_world() as world:
        viewer = world.person("viewer")

        async def last_use() -> int:
            listed = await world.ok("GET", "/api/auth/cli-tokens", viewer.browser)
            return int(listed["items"][0]["lastUsedAt"])

        first = await last_use()
        for passed_s, seen_s in ((30, 0), (29, 0), (1, 60), (59, 60), (2, 121)):
            world.clock.wall_s += passed_s
            await world.ok("GET", "/api/workspaces", viewer.terminal)
            assert await last_use() - first == seen_s * 1000


@one_database
@pytest.mark.parametrize("name", ["", " ", "x" * 101, "a\0b", 5])
async def test_a_name_that_cannot_be_shown_is_refused(open_world: OpenWorld, name: Any) -> None:
    async with open_world(people=False) as world:
        answer = await world.call("POST", "/api/auth/device/start", json={"name": name})
        assert answer.status_code == 400
        assert re.match("the request cannot be used: body.name: ", answer.json()["error"])
