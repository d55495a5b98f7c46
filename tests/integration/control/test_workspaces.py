from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from zocket.control.callers import COOKIE
from zocket.control.identity.workspaces import INVITATION_MS

if TYPE_CHECKING:
    from tests.integration.control.conftest import OpenWorld, World

pytestmark = pytest.mark.realtime  # databases have threads and times of their own

one_database = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
"""For what is decided before the database is asked."""

MEMBERS = "/api/workspaces/wsp_a/members"
INVITATIONS = "/api/workspaces/wsp_a/invitations"


async def invite(world: World, email: str, role: str = "developer") -> dict[str, Any]:
    body = {"email": email, "role": role}
    made: dict[str, Any] = await world.ok("POST", INVITATIONS, world.person("owner").browser, json=body)
    return made


def token_of(invitation: dict[str, Any]) -> str:
    return str(invitation["url"].rpartition("/")[2])


async def test_whoever_makes_a_workspace_owns_it(open_world: OpenWorld) -> None:
    async with open_world() as world:
        viewer = world.person("viewer").terminal
        made = await world.ok("POST", "/api/workspaces", viewer, json={"name": " Mine "})
        assert (made["name"], made["role"]) == ("Mine", "owner")
        listed = (await world.ok("GET", "/api/workspaces", viewer))["items"]
        assert [(item["id"], item["role"]) for item in listed] == [("wsp_a", "viewer"), (made["id"], "owner")]


async def test_members_are_listed_in_pages(open_world: OpenWorld) -> None:
    async with open_world() as world:
        seen, after = [], None
        while True:
            query = {"limit": 1, **({"after": after} if after else {})}
            page = await world.ok("GET", MEMBERS, world.person("viewer").browser, params=query)
            seen += [(item["email"], item["role"]) for item in page["items"]]
            after = page["next"]
            if after is None:
                break
        assert seen == [(f"{name}@example.com", name) for name in ("owner", "developer", "viewer")]


@one_database
@pytest.mark.parametrize(
    "query",
    [{"limit": 0}, {"limit": 201}, {"limit": "x"}, {"after": "x"}, {"after": "WzEsIngiXQ" * 90}, {"after": "e30"},
     {"after": "WzEsIlx1MDAwMCJd"}, {"after": "Wzk5OTk5OTk5OTk5OTk5OTk5OTk5OSwieCJd"}, {"after": "ä"}],
)  # fmt: skip
async def test_a_page_that_does_not_exist_is_refused(open_world: OpenWorld, query: dict[str, Any]) -> None:
    async with open_world() as world:
        answer = await world.call("GET", MEMBERS, world.person("viewer").browser, params=query)
        assert answer.status_code == 400


async def test_a_role_counts_from_the_next_request_on(open_world: OpenWorld) -> None:
    async with open_world() as world:
        owner, developer = world.person("owner").browser, world.person("developer").terminal
        change = {"json": {"name": "Beta"}}
        assert (await world.call("PATCH", "/api/projects/prj_a", developer, **change)).status_code == 200
        await world.ok("PATCH", f"{MEMBERS}/usr_developer", owner, json={"role": "viewer"})
        refused = await world.call("PATCH", "/api/projects/prj_a", developer, **change)
        assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
        await world.ok("DELETE", f"{MEMBERS}/usr_developer", owner)
        assert (await world.call("PATCH", "/api/projects/prj_a", developer, **change)).status_code == 404
        assert (await world.call("DELETE", f"{MEMBERS}/usr_developer", owner)).status_code == 404


async def test_the_last_owner_stays(open_world: OpenWorld) -> None:
    async with open_world() as world:
        owner = world.person("owner").browser
        for verb, more in (("PATCH", {"json": {"role": "viewer"}}), ("DELETE", {})):
            answer = await world.call(verb, f"{MEMBERS}/usr_owner", owner, **more)
            assert (answer.status_code, answer.json()["code"]) == (409, "last_owner")
        await world.ok("PATCH", f"{MEMBERS}/usr_owner", owner, json={"role": "owner"})


async def test_two_owners_who_remove_each_other_leave_one(open_world: OpenWorld) -> None:
    async with open_world() as world:
        owner, second = world.person("owner"), world.person("developer")
        await world.ok("PATCH", f"{MEMBERS}/usr_developer", owner.browser, json={"role": "owner"})
        answers = await asyncio.gather(
            world.call("DELETE", f"{MEMBERS}/usr_developer", owner.terminal),
            world.call("DELETE", f"{MEMBERS}/usr_owner", second.terminal),
        )
        assert 200 in [answer.status_code for answer in answers]
        members = (await world.ok("GET", MEMBERS, world.person("viewer").browser))["items"]
        assert [item["role"] for item in members].count("owner") == 1


async def test_an_invited_person_with_an_account_accepts_once(open_world: OpenWorld) -> None:
    async with open_world() as world:
        invitation = await invite(world, "Stranger@Example.com", "viewer")
        assert invitation["url"].startswith("https://control.example/invitations/zkv_")
        path, stranger = f"/api/invitations/{token_of(invitation)}", world.person("stranger").browser
        assert await world.ok("GET", path) == {
            "workspace": "wsp_a",
            "email": "stranger@example.com",
            "role": "viewer",
            "hasAccount": True,
        }
        assert await world.ok("POST", path + "/accept", stranger) == {"workspaceId": "wsp_a", "role": "viewer"}
        assert (await world.call("GET", "/api/projects/prj_a", stranger)).status_code == 200
        assert (await world.call("POST", path + "/accept", stranger)).status_code == 404
        assert (await world.call("GET", path)).status_code == 404
        assert (await world.ok("GET", INVITATIONS, world.person("owner").browser))["items"] == []


async def test_an_invitation_is_for_one_address(open_world: OpenWorld) -> None:
    async with open_world() as world:
        path = f"/api/invitations/{token_of(await invite(world, 'new@example.com', 'owner'))}/accept"
        answer = await world.call("POST", path, world.person("stranger").browser)
        assert (answer.status_code, answer.json()["code"]) == (403, "other_address")


async def test_an_invited_person_without_an_account_chooses_a_password(open_world: OpenWorld) -> None:
    async with open_world() as world:
        path = f"/api/invitations/{token_of(await invite(world, 'new@example.com'))}"
        assert (await world.ok("GET", path))["hasAccount"] is False
        assert (await world.call("POST", path + "/accept")).status_code == 401
        body = {"name": "New", "password": "short"}
        assert (await world.call("POST", path + "/accept", json=body)).status_code == 400
        answer = await world.call("POST", path + "/accept", json=body | {"password": "a long enough password"})
        assert answer.json() == {"workspaceId": "wsp_a", "role": "developer"}
        cookie = {"cookie": f"{COOKIE}={answer.cookies[COOKIE]}"}
        assert (await world.ok("GET", "/api/auth/session", cookie))["user"]["name"] == "New"
        assert (await world.call("GET", "/api/projects/prj_a", cookie)).status_code == 200


async def test_an_account_is_never_taken_over_by_an_invitation(open_world: OpenWorld) -> None:
    async with open_world() as world:
        path = f"/api/invitations/{token_of(await invite(world, 'stranger@example.com'))}/accept"
        answer = await world.call("POST", path, json={"password": "a long enough password"})
        assert answer.status_code == 401
        assert "set-cookie" not in answer.headers


async def test_an_invitation_ends_by_time_by_withdrawal_and_by_a_newer_one(open_world: OpenWorld) -> None:
    async with open_world() as world:
        owner = world.person("owner").browser
        old = await invite(world, "new@example.com")
        new = await invite(world, "new@example.com", "viewer")
        assert (await world.call("GET", f"/api/invitations/{token_of(old)}")).status_code == 404
        assert [item["id"] for item in (await world.ok("GET", INVITATIONS, owner))["items"]] == [new["id"]]
        await world.ok("DELETE", f"{INVITATIONS}/{new['id']}", owner)
        assert (await world.call("GET", f"/api/invitations/{token_of(new)}")).status_code == 404
        assert (await world.call("DELETE", f"{INVITATIONS}/{new['id']}", owner)).status_code == 404
        last = await invite(world, "new@example.com")
        world.clock.wall_s += INVITATION_MS / 1000
        assert (await world.call("GET", f"/api/invitations/{token_of(last)}")).status_code == 404


async def test_who_is_a_member_is_not_invited(open_world: OpenWorld) -> None:
    async with open_world() as world:
        body = {"email": "viewer@example.com", "role": "owner"}
        answer = await world.call("POST", INVITATIONS, world.person("owner").browser, json=body)
        assert (answer.status_code, answer.json()["code"]) == (409, "conflict")


@one_database
@pytest.mark.parametrize(
    "body",
    [{"email": "x"}, {"email": "a@b", "role": "god"}, {"email": "a b@c"}, {"email": "a@b", "odd": 1}, {}, [], None, 5,
     {"email": "a@" + "b" * 260}],
)  # fmt: skip
async def test_an_invitation_that_makes_no_sense_is_refused(open_world: OpenWorld, body: Any) -> None:
    async with open_world() as world:
        answer = await world.call("POST", INVITATIONS, world.person("owner").browser, json=body)
        assert answer.status_code == 400


async def test_another_workspaces_things_do_not_exist(open_world: OpenWorld) -> None:
    async with open_world() as world:
        invitation = await invite(world, "new@example.com")
        stranger = world.person("stranger").browser
        for verb, path in (
            ("GET", MEMBERS),
            ("DELETE", f"{INVITATIONS}/{invitation['id']}"),
            ("DELETE", f"/api/workspaces/wsp_b/invitations/{invitation['id']}"),
            ("DELETE", "/api/workspaces/wsp_b/members/usr_owner"),
            ("GET", "/api/workspaces/wsp_unknown/members"),
        ):
            answer = await world.call(verb, path, stranger)
            assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
