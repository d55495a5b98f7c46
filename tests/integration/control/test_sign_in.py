from __future__ import annotations

from http.cookies import SimpleCookie
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import func, select

from zocket.control.callers import COOKIE, SESSION_IDLE_MS, SESSION_MAX_MS
from zocket.control.credentials import csrf_of, digest
from zocket.control.identity.accounts import create_admin
from zocket.control.records import CliToken, Membership, User, WebSession, Workspace
from zocket.errors import CallerError
from zocket.settings import ControlSettings

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx

    from tests.integration.control.conftest import OpenWorld, World
    from zocket.control.identity.passwords import Passwords

pytestmark = pytest.mark.realtime  # databases have threads and times of their own

one_database = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
"""For what is decided before the database is asked."""

OWNER = "owner@example.com"


async def login(world: World, password: str, email: str = OWNER, **more: Any) -> httpx.Response:
    return await world.call("POST", "/api/auth/login", json={"email": email, "password": password}, **more)


def cookie_of(answer: httpx.Response, name: str = COOKIE) -> Any:
    cookies: SimpleCookie = SimpleCookie()
    for header in answer.headers.get_list("set-cookie"):
        cookies.load(header)
    return cookies[name]


async def session_of(world: World, cookie: str) -> Any:
    return await world.ok("GET", "/api/auth/session", {"cookie": f"{COOKIE}={cookie}"})


async def test_a_person_signs_in_is_known_and_signs_out(open_world: OpenWorld, password: str) -> None:
    async with open_world() as world:
        nobody = await world.ok("GET", "/api/auth/session")
        assert nobody == {"user": None, "csrf": None, "methods": ["password"], "setup": False}
        answer = await login(world, password, " Owner@Example.COM ")
        assert answer.status_code == 200
        assert answer.json()["user"] == {"id": "usr_owner", "email": OWNER, "name": "Owner", "isAdmin": False}
        cookie = cookie_of(answer).value
        seen = await session_of(world, cookie)
        assert seen["user"]["id"] == "usr_owner"
        assert seen["csrf"] == answer.json()["csrf"] == csrf_of(cookie)
        headers = {"cookie": f"{COOKIE}={cookie}", "x-zocket-csrf": seen["csrf"]}
        left = await world.call("POST", "/api/auth/logout", headers)
        assert left.json() == {"ok": True}
        assert cookie_of(left)["max-age"] == "0"
        assert (await session_of(world, cookie))["user"] is None


async def test_the_cookie_is_out_of_reach_of_scripts_other_sites_and_plain_http(
    open_world: OpenWorld, password: str
) -> None:
    async with open_world() as world:
        cookie = cookie_of(await login(world, password))
        assert cookie["httponly"]
        assert cookie["secure"]
        assert cookie["samesite"].lower() == "lax"
        assert (cookie["path"], cookie["domain"]) == ("/", "")
        here = cookie_of(await login(world, password, headers={"host": "127.0.0.1:3000"}))
        assert (here["httponly"], here["secure"], here["samesite"].lower()) == (True, "", "lax")


async def test_a_public_address_makes_cookies_secure_whatever_host_is_asked(
    open_world: OpenWorld, password: str
) -> None:
    async with open_world(dashboard_url="https://zocket.example") as world:
        assert cookie_of(await login(world, password, headers={"host": "localhost"}))["secure"]


async def test_a_session_that_somebody_planted_is_never_signed_in(open_world: OpenWorld, password: str) -> None:
    async with open_world() as world:
        planted = "zks_" + "A" * 43
        answer = await login(world, password, headers={"cookie": f"{COOKIE}={planted}"})
        assert cookie_of(answer).value != planted
        assert (await session_of(world, planted))["user"] is None


async def test_signing_in_again_ends_the_session_before(open_world: OpenWorld, password: str) -> None:
    async with open_world() as world:
        first = cookie_of(await login(world, password)).value
        second = cookie_of(await login(world, password, headers={"cookie": f"{COOKIE}={first}"})).value
        assert (await session_of(world, first))["user"] is None
        assert (await session_of(world, second))["user"]["id"] == "usr_owner"


async def test_a_session_ends_when_idle_and_after_its_longest_life(open_world: OpenWorld, password: str) -> None:
    async with open_world() as world:
        idle = cookie_of(await login(world, password)).value
        world.clock.wall_s += SESSION_IDLE_MS / 1000 - 1
        assert (await session_of(world, idle))["user"] is not None
        world.clock.wall_s += SESSION_IDLE_MS / 1000
        assert (await session_of(world, idle))["user"] is None
        busy = cookie_of(await login(world, password)).value
        days = 0
        while (await session_of(world, busy))["user"] is not None:
            world.clock.wall_s += 86_400
            days += 1
        assert days == SESSION_MAX_MS // 86_400_000


async def test_a_wrong_password_says_the_same_as_an_unknown_address(open_world: OpenWorld, password: str) -> None:
    async with open_world() as world:
        wrong = await login(world, "not the password")
        unknown = await login(world, password, "nobody@example.com")
        for answer in (wrong, unknown):
            assert (answer.status_code, answer.json()["code"]) == (401, "bad_credentials")
            assert "set-cookie" not in answer.headers
        assert wrong.json()["error"] == unknown.json()["error"]


async def test_guessing_at_one_account_is_slowed_down_even_for_the_right_password(
    open_world: OpenWorld, password: str
) -> None:
    async with open_world() as world:
        answers = [await login(world, f"guess {guess}") for guess in range(12)]
        assert [answer.status_code for answer in answers] == [401] * 10 + [429] * 2
        assert answers[-1].json()["code"] == "rate_limited"
        assert int(answers[-1].headers["retry-after"]) > 0
        assert (await login(world, password)).status_code == 429
        world.clock.wall_s += int(answers[-1].headers["retry-after"])
        assert (await login(world, password)).status_code == 200


async def test_guessing_at_many_accounts_from_one_address_is_slowed_down(open_world: OpenWorld) -> None:
    async with open_world() as world:
        answers = [await login(world, "password1234", f"{guess}@example.com") for guess in range(21)]
        assert [answer.status_code for answer in answers] == [401] * 20 + [429]


async def test_signing_in_rightly_is_never_slowed_down(open_world: OpenWorld, password: str) -> None:
    async with open_world() as world:
        assert {(await login(world, password)).status_code for _ in range(30)} == {200}


@one_database
@pytest.mark.parametrize(
    "headers",
    [
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "https://control.example.evil.example"},
    ],
)
async def test_another_sites_page_cannot_sign_a_person_in(
    open_world: OpenWorld, password: str, headers: dict[str, str]
) -> None:
    async with open_world() as world:
        answer = await login(world, password, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (403, "csrf")


@one_database
async def test_our_own_page_can(open_world: OpenWorld, password: str) -> None:
    async with open_world() as world:
        for headers in ({"sec-fetch-site": "same-origin"}, {"origin": "https://control.example"}):
            assert (await login(world, password, headers=headers)).status_code == 200


@one_database
async def test_a_form_of_another_site_is_no_json(open_world: OpenWorld, password: str) -> None:
    async with open_world() as world:
        text = f'{{"email":"{OWNER}","password":"{password}"}}'
        for kind in ("text/plain", "application/x-www-form-urlencoded", ""):
            answer = await world.call("POST", "/api/auth/login", {"content-type": kind}, content=text)
            assert answer.status_code == 400


@one_database
@pytest.mark.parametrize("csrf", ["", "0" * 64, "é"])
async def test_a_signed_in_page_shows_that_it_is_ours(open_world: OpenWorld, csrf: str) -> None:
    async with open_world() as world:
        owner = world.person("owner")
        headers = [(b"cookie", owner.browser["cookie"].encode()), (b"x-zocket-csrf", csrf.encode("latin-1"))]
        answer = await world.client.post("/api/workspaces", headers=headers, json={"name": "New"})
        assert (answer.status_code, answer.json()["code"]) == (403, "csrf")
        others = owner.browser | {"x-zocket-csrf": world.person("viewer").browser["x-zocket-csrf"]}
        assert (await world.call("POST", "/api/workspaces", others, json={"name": "New"})).status_code == 403


async def test_a_new_password_signs_everything_else_out(open_world: OpenWorld, password: str) -> None:
    async with open_world() as world:
        owner = world.person("owner")
        other = cookie_of(await login(world, password)).value
        body = {"current": password, "new": "another long password"}
        wrong = await world.call("POST", "/api/auth/password", owner.browser, json=body | {"current": "x"})
        assert (wrong.status_code, wrong.json()["code"]) == (401, "bad_credentials")
        short = await world.call("POST", "/api/auth/password", owner.browser, json=body | {"new": "short"})
        assert short.status_code == 400
        assert (await world.call("POST", "/api/auth/password", owner.browser, json=body)).status_code == 200
        assert (await session_of(world, owner.cookie))["user"]["id"] == "usr_owner"
        assert (await session_of(world, other))["user"] is None
        assert (await world.call("GET", "/api/workspaces", owner.terminal)).status_code == 401
        assert (await login(world, password)).status_code == 401
        assert (await login(world, "another long password")).status_code == 200


async def test_no_password_and_no_token_is_stored(open_world: OpenWorld, password: str) -> None:
    async with open_world() as world:
        cookie = cookie_of(await login(world, password)).value
        async with world.database.reading() as session:
            assert await session.get(WebSession, digest(cookie)) is not None
            user = await session.get_one(User, "usr_owner")
            assert user.password_hash is not None
            assert user.password_hash.startswith("$argon2id$")
            hashes = (await session.scalars(select(CliToken.token_hash))).all()
        assert not {world.person(name).cli for name in world.people} & set(hashes)


# The first account


def settings_of(world_url: str) -> ControlSettings:
    return ControlSettings(database_url=world_url)


async def test_the_first_administrator_gets_a_workspace_and_can_sign_in(
    open_world: OpenWorld, password: str, cheap_passwords: Callable[[], Passwords]
) -> None:
    async with open_world(people=False) as world:
        assert (await world.ok("GET", "/api/auth/session"))["setup"] is True
        settings = settings_of(world.url)
        user_id = await create_admin(settings, "Ada@Example.com", "Ada", password, passwords=cheap_passwords())
        assert (await world.ok("GET", "/api/auth/session"))["setup"] is False
        answer = await login(world, password, "ada@example.com")
        assert answer.json()["user"] == {"id": user_id, "email": "ada@example.com", "name": "Ada", "isAdmin": True}
        cookie = {"cookie": f"{COOKIE}={cookie_of(answer).value}"}
        [workspace] = (await world.ok("GET", "/api/workspaces", cookie))["items"]
        assert (workspace["name"], workspace["role"]) == ("Main", "owner")


async def test_an_administrator_takes_over_workspaces_without_members(
    open_world: OpenWorld, password: str, cheap_passwords: Callable[[], Passwords]
) -> None:
    async with open_world(people=False, dev_mode=True) as world:
        await create_admin(settings_of(world.url), "ada@example.com", "Ada", password, passwords=cheap_passwords())
        async with world.database.reading() as session:
            owned = (await session.execute(select(Membership.workspace_id, Membership.role))).all()
            assert [tuple(row) for row in owned] == [("local-workspace", "owner")]
            assert await session.scalar(select(func.count()).select_from(Workspace)) == 1


async def test_an_account_is_replaced_only_on_request_and_then_signed_out(
    open_world: OpenWorld, password: str, cheap_passwords: Callable[[], Passwords]
) -> None:
    async with open_world() as world:
        settings = settings_of(world.url)
        with pytest.raises(CallerError, match="has an account already"):
            await create_admin(settings, OWNER, "Owner", "another long password", passwords=cheap_passwords())
        assert (await login(world, password)).status_code == 200
        await create_admin(settings, OWNER, "Owner", "another long password", replace=True, passwords=cheap_passwords())
        assert (await session_of(world, world.person("owner").cookie))["user"] is None
        answer = await login(world, "another long password")
        assert answer.json()["user"]["isAdmin"] is True


@one_database
@pytest.mark.parametrize(
    ("email", "secret"),
    [("no address", "a long enough password"), ("a@b", "short"), ("@", "x" * 20), ("a@b\0", "x" * 20)],
)
async def test_an_administrator_needs_an_address_and_a_long_password(
    open_world: OpenWorld, cheap_passwords: Callable[[], Passwords], email: str, secret: str
) -> None:
    async with open_world(people=False) as world:
        with pytest.raises(CallerError):
            await create_admin(settings_of(world.url), email, "Ada", secret, passwords=cheap_passwords())
        assert (await world.ok("GET", "/api/auth/session"))["setup"] is True
