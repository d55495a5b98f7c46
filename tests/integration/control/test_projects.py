from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import jwt
import pytest
from sqlalchemy import func, select

from zocket.control.records import DeployToken, EnvSecret, InternalToken, Project, ProjectAuth

if TYPE_CHECKING:
    from tests.integration.control.conftest import OpenWorld, World

pytestmark = pytest.mark.realtime  # databases have threads and times of their own

one_database = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
"""For what is decided before the database is asked."""

SECRET = "a shared secret that is long enough for HS256"


async def create(world: World, name: str, person: str = "developer", **more: Any) -> dict[str, Any]:
    body = {"name": name, **more}
    made: dict[str, Any] = await world.ok("POST", "/api/projects", world.person(person).terminal, json=body)
    return made


async def knock(world: World, token: str, host: str = "alpha.example", client: str | None = None) -> Any:
    body = {"host": host, "token": client}
    return await world.call("POST", "/api/registry/authorize", {"authorization": f"Bearer {token}"}, json=body)


async def test_a_project_begins_with_a_slug_an_address_and_a_deploy_token(open_world: OpenWorld) -> None:
    async with open_world() as world:
        made = await create(world, "My Chat")
        token = made.pop("deployToken")
        assert made == {
            "id": made["id"],
            "workspaceId": "wsp_a",
            "name": "My Chat",
            "slug": "my-chat",
            "domain": "my-chat.apps.example",
            "url": "wss://my-chat.apps.example",
            "status": "empty",
            "activeDeployment": None,
            "createdAt": world.now_ms,
        }
        headers = {"authorization": f"Bearer {token}"}
        for named in (made["id"], "my-chat"):
            assert await world.ok("GET", f"/api/projects/{named}", headers) == made
        listed = await world.ok("GET", "/api/projects", world.person("viewer").browser)
        assert [item["slug"] for item in listed["items"]] == ["alpha", "my-chat"]
        assert "deployToken" not in listed["items"][1]


async def test_names_may_repeat_slugs_and_addresses_do_not(open_world: OpenWorld) -> None:
    async with open_world() as world:
        made = [await create(world, "Chat") for _ in range(3)]
        assert [item["slug"] for item in made] == ["chat", "chat-2", "chat-3"]
        other = await create(world, "Chat", "stranger")
        assert other["slug"] == "chat"
        assert other["domain"].startswith("chat-")
        body = {"name": "x", "slug": "chat"}
        answer = await world.call("POST", "/api/projects", world.person("developer").terminal, json=body)
        assert (answer.status_code, answer.json()["code"]) == (409, "conflict")


async def test_projects_of_one_name_made_at_the_same_time_all_get_their_own_slug(open_world: OpenWorld) -> None:
    async with open_world() as world:
        made = await asyncio.gather(*(create(world, "Chat") for _ in range(5)))
        assert len({item["slug"] for item in made}) == len({item["domain"] for item in made}) == 5


async def test_a_project_goes_into_ones_only_workspace_or_the_one_that_is_named(open_world: OpenWorld) -> None:
    async with open_world() as world:
        developer = world.person("developer").terminal
        mine = await world.ok("POST", "/api/workspaces", developer, json={"name": "Mine"})
        answer = await world.call("POST", "/api/projects", developer, json={"name": "x"})
        assert (answer.status_code, answer.json()["code"]) == (400, "workspace_needed")
        assert (await create(world, "x", workspaceId=mine["id"]))["workspaceId"] == mine["id"]
        answer = await world.call("POST", "/api/projects", world.person("viewer").terminal, json={"name": "x"})
        assert (answer.status_code, answer.json()["code"]) == (400, "workspace_needed")
        only = await world.ok("GET", "/api/projects", developer, params={"workspaceId": mine["id"]})
        assert [item["slug"] for item in only["items"]] == ["x"]
        none = await world.ok("GET", "/api/projects", developer, params={"workspaceId": "wsp_b"})
        assert none["items"] == []


async def test_a_slug_of_several_workspaces_needs_the_id(open_world: OpenWorld) -> None:
    async with open_world() as world:
        developer = world.person("developer").terminal
        mine = await world.ok("POST", "/api/workspaces", developer, json={"name": "Mine"})
        made = await create(world, "Alpha", workspaceId=mine["id"])
        answer = await world.call("GET", "/api/projects/alpha", developer)
        assert (answer.status_code, answer.json()["code"]) == (409, "ambiguous")
        assert (await world.ok("GET", f"/api/projects/{made['id']}", developer))["id"] == made["id"]
        assert (await world.ok("GET", "/api/projects/alpha", world.person("viewer").terminal))["id"] == "prj_a"


async def test_a_change_changes_what_was_sent(open_world: OpenWorld) -> None:
    async with open_world() as world:
        developer = world.person("developer").browser

        async def change(**body: Any) -> Any:
            return await world.ok("PATCH", "/api/projects/prj_a", developer, json=body)

        assert (await change(name="Nova"))["slug"] == "alpha"
        assert (await change(slug="nova"))["domain"] == "alpha.example"
        moved = await change(domain="Nova.Example.")
        assert (moved["domain"], moved["url"]) == ("nova.example", "wss://nova.example")
        assert (await change(domain="nova.apps.example"))["domain"] == "nova.apps.example"
        gone = await change(domain=None)
        assert (gone["domain"], gone["url"], gone["name"]) == (None, None, "Nova")
        assert await change() == gone


@one_database
@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"domain": "beta.example"}, 409),
        ({"domain": "beta.apps.example"}, 403),
        ({"domain": "apps.example"}, 403),
        ({"domain": "x.alpha.apps.example"}, 403),
        ({"domain": "a b"}, 400),
        ({"domain": "a:80"}, 400),
        ({"domain": "https://a"}, 400),
        ({"domain": "a..b"}, 400),
        ({"domain": ""}, 400),
        ({"slug": "Not A Slug"}, 400),
        ({"slug": "-a"}, 400),
        ({"slug": "a\n"}, 400),
        ({"name": ""}, 400),
        ({"name": "x" * 101}, 400),
        ({"name": "a\0"}, 400),
        ({"workspaceId": "wsp_b"}, 400),
    ],
)
async def test_a_change_that_cannot_be_is_refused(open_world: OpenWorld, body: dict[str, Any], status: int) -> None:
    async with open_world() as world:
        answer = await world.call("PATCH", "/api/projects/prj_a", world.person("owner").browser, json=body)
        assert answer.status_code == status, answer.text


async def test_a_deleted_project_takes_everything_with_it_and_stops_first(open_world: OpenWorld) -> None:
    async with open_world() as world:
        stopped: list[str] = []

        async def stop(project_id: str) -> None:
            async with world.database.reading() as session:
                assert await session.get(Project, project_id) is not None
            stopped.append(project_id)

        world.services.before_project_deleted.append(stop)
        async with world.database.session() as session:
            session.add(
                EnvSecret(project_id="prj_a", name="KEY", ciphertext=b"x", key_id="k", updated_at=1, updated_by="o")
            )
        await world.ok("DELETE", "/api/projects/alpha", world.person("owner").browser)
        assert stopped == ["prj_a"]
        async with world.database.reading() as session:
            for table in (Project, ProjectAuth, DeployToken, InternalToken, EnvSecret):
                column: Any = table.id if table is Project else table.project_id  # type: ignore[union-attr]
                left = await session.scalar(select(func.count()).select_from(table).where(column == "prj_a"))
                assert left == 0
        for token in ("deploy_prj_a", "runtime_prj_a"):
            headers = {"authorization": f"Bearer {world.tokens[token]}"}
            assert (await world.call("GET", "/api/projects/prj_a", headers)).status_code == 401


# Tokens


async def test_a_deploy_token_is_shown_once_listed_and_revoked(open_world: OpenWorld) -> None:
    async with open_world() as world:
        developer, path = world.person("developer").browser, "/api/projects/alpha/deploy-tokens"
        issued = await world.ok("POST", path, developer, json={"name": "CI"})
        headers = {"authorization": f"Bearer {issued['token']}"}
        world.clock.wall_s += 5
        await world.ok("GET", "/api/projects/alpha", headers)
        listed = (await world.ok("GET", path, developer))["items"]
        [shown] = [item for item in listed if item["id"] == issued["id"]]
        assert shown == {
            "id": issued["id"],
            "name": "CI",
            "prefix": issued["token"][:12],
            "createdAt": world.now_ms - 5_000,
            "lastUsedAt": world.now_ms,
            "revokedAt": None,
        }
        assert issued["token"] not in str(listed)
        other = f"/api/projects/prj_b/deploy-tokens/{issued['id']}/revoke"
        assert (await world.call("POST", other, world.person("stranger").browser)).status_code == 404
        await world.ok("POST", f"{path}/{issued['id']}/revoke", developer)
        assert (await world.call("GET", "/api/projects/alpha", headers)).status_code == 401


async def test_an_administrator_issues_tokens_for_services(open_world: OpenWorld) -> None:
    async with open_world() as world:
        admin, path = world.person("admin").browser, "/api/internal-tokens"
        gateway = await world.ok("POST", path, admin, json={"name": "edge", "kind": "gateway"})
        assert (await knock(world, gateway["token"])).status_code == 200
        runtime = {"name": "r", "kind": "runtime", "projectId": "prj_a"}
        assert (await knock(world, (await world.ok("POST", path, admin, json=runtime))["token"])).status_code == 403
        for wrong, status in (
            ({"name": "x", "kind": "runtime"}, 400),
            ({"name": "x", "kind": "gateway", "projectId": "prj_a"}, 400),
            ({"name": "x", "kind": "any"}, 400),
            ({"name": "x", "kind": "runtime", "projectId": "prj_unknown"}, 404),
        ):
            assert (await world.call("POST", path, admin, json=wrong)).status_code == status
        await world.ok("POST", f"{path}/{gateway['id']}/revoke", admin)
        assert (await knock(world, gateway["token"])).status_code == 401


# How a project's clients are told apart


async def put_auth(world: World, **body: Any) -> Any:
    return await world.call("PUT", "/api/projects/alpha/auth", world.person("owner").browser, json=body)


async def test_a_secret_goes_in_stays_and_is_never_read_back(open_world: OpenWorld) -> None:
    async with open_world() as world:
        owner = world.person("owner").browser
        first = await put_auth(world, mode="jwt-secret", secret=SECRET, issuer="us")
        assert first.json() == {
            "mode": "jwt-secret",
            "hasSecret": True,
            "jwksUrl": None,
            "issuer": "us",
            "audience": None,
            "origins": [],
            "limits": {"ratePerS": None, "burst": None},
        }
        assert (await put_auth(world, mode="jwt-secret")).json()["hasSecret"] is True
        read = await world.call("GET", "/api/projects/alpha/auth", owner)
        assert SECRET not in read.text
        token = jwt.encode({"sub": "ada"}, SECRET, "HS256")
        assert (await knock(world, world.tokens["gateway"], client=token)).json()["userId"] == "ada"
        assert (await put_auth(world, mode="none")).json()["hasSecret"] is False
        assert (await put_auth(world, mode="jwt-secret")).status_code == 400


async def test_the_tester_says_what_a_socket_would_be_told(open_world: OpenWorld) -> None:
    async with open_world() as world:
        developer, path = world.person("developer").browser, "/api/projects/alpha/auth/test"
        assert (await world.ok("POST", path, developer, json={"token": None}))["ok"] is True
        await put_auth(world, mode="jwt-secret", secret=SECRET, audience="app")
        good = jwt.encode({"sub": "ada", "aud": "app", "role": "x"}, SECRET, "HS256")
        tried = await world.ok("POST", path, developer, json={"token": good})
        assert (tried["ok"], tried["userId"], tried["claims"]["role"]) == (True, "ada", "x")
        for token, reason in (
            (None, "a token is required"),
            ("x", "the token is refused: decode"),
            (jwt.encode({"sub": "ada", "aud": "other"}, SECRET, "HS256"), "the token is refused: invalid audience"),
            (jwt.encode({"sub": "a", "aud": "app", "exp": 1}, SECRET, "HS256"), "the token is refused: it has expired"),
        ):
            tried = await world.ok("POST", path, developer, json={"token": token})
            assert (tried["ok"], tried["error"], tried["code"]) == (False, reason, "unauthorized")


async def test_the_gateway_is_told_origins_and_limits_only_where_there_are_some(open_world: OpenWorld) -> None:
    async with open_world() as world:
        gateway = world.tokens["gateway"]
        plain = {"workspaceId": "wsp_a", "projectId": "prj_a", "userId": None, "claims": None}
        assert (await knock(world, gateway)).json() == plain
        origins = ["https://App.example:443/", "http://localhost:5173", "https://app.example"]
        saved = await put_auth(world, mode="none", origins=origins, limits={"ratePerS": 200, "burst": 400})
        assert saved.json()["origins"] == ["https://app.example", "http://localhost:5173"]
        assert (await knock(world, gateway)).json() == plain | {
            "origins": ["https://app.example", "http://localhost:5173"],
            "limits": {"ratePerS": 200.0, "burst": 400},
        }
        await put_auth(world, mode="none", limits={"burst": 5})
        assert (await knock(world, gateway)).json() == plain | {"limits": {"burst": 5}}
        await put_auth(world, mode="none")
        assert (await knock(world, gateway)).json() == plain


@one_database
@pytest.mark.parametrize(
    "body",
    [
        {"mode": "open"},
        {"mode": "jwt-secret", "secret": "short"},
        {"mode": "jwt-jwks"},
        {"mode": "jwt-jwks", "jwksUrl": "http://keys.example"},
        {"mode": "jwt-jwks", "jwksUrl": "https://user:x@keys.example"},
        {"mode": "jwt-jwks", "jwksUrl": "https://"},
        {"mode": "none", "origins": ["*"]},
        {"mode": "none", "origins": ["https://a/b"]},
        {"mode": "none", "origins": "https://a"},
        {"mode": "none", "origins": ["https://a"] * 51},
        {"mode": "none", "limits": {"ratePerS": 0}},
        {"mode": "none", "limits": {"ratePerS": 1e9}},
        {"mode": "none", "limits": {"burst": 0}},
        {"mode": "none", "limits": {"odd": 1}},
        {"mode": "none", "issuer": "a\0"},
        {"mode": "none", "sceret": "x"},
    ],
    ids=str,
)
async def test_an_authorization_that_could_let_anybody_or_nobody_in_is_refused(
    open_world: OpenWorld, body: dict[str, Any]
) -> None:
    async with open_world() as world:
        assert (await put_auth(world, **body)).status_code == 400


async def test_a_runtime_reaches_its_own_project_alone(open_world: OpenWorld, configured_token: str) -> None:
    async with open_world() as world:
        ours = {"authorization": f"Bearer {configured_token}"}
        scope = {"workspaceId": "wsp_a", "projectId": "prj_a"}
        made = await world.ok("POST", "/api/internal/deployments", ours, params=scope, content=b"app = 1\n")
        query = scope | {"deploymentId": made["deploymentId"]}
        report = {"deploymentId": made["deploymentId"], "status": "failed", "message": "no"}
        for token, status in (("runtime_prj_a", 200), ("runtime_prj_b", 404), ("gateway", 403)):
            headers = {"authorization": f"Bearer {world.tokens[token]}"}
            active = await world.call("GET", "/api/internal/runtime/active", headers, params=query)
            assert active.status_code == status
            bundle = await world.call("GET", f"/api/internal/bundles/{made['sha256']}", headers)
            assert bundle.status_code == status
            reported = await world.call("POST", "/api/internal/runtime/report", headers, json=report)
            assert reported.status_code == status
