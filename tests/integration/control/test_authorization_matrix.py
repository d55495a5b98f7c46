"""Who may use which call: every endpoint with every kind of proof, as one table.

Add a row here for every new route; `test_every_route_is_in_the_table` fails until there is one. A row says who is let
in; what everybody else gets follows from it: 401 without a proof that counts, 403 for a proof of the wrong kind or a
role that does not suffice, 404 for what lies in another workspace or project.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import pytest
from fastapi.routing import APIRoute
from sqlalchemy import delete

from zocket.control.callers import SESSION_IDLE_MS
from zocket.control.credentials import CLI, INVITATION, SESSION, digest, mint, new_user_code
from zocket.control.records import (
    CliToken,
    Deployment,
    DeploymentEvent,
    DeployToken,
    DeviceFlow,
    InternalToken,
    Invitation,
    Membership,
    Project,
    User,
    WebSession,
    new_id,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fastapi import FastAPI

    from tests.integration.control.conftest import OpenWorld, World

DAY_MS = 24 * 3_600_000

pytestmark = pytest.mark.realtime  # databases have threads and times of their own

Who = Literal[
    "public", "anyone", "person", "browser", "admin", "viewer", "developer", "owner", "gateway", "runtime", "configured"
]


@dataclass(frozen=True)
class Row:
    """One call.

    Attributes:
        who: the least that is let in. `public`: everybody, unseen; `anyone`: also nobody; `person`: whoever is signed
            in; `browser`: only in a browser; `viewer`, `developer`, `owner`: this role in the workspace `wsp_a`.
        deploy: deploy tokens of the project `prj_a` are let in, too.
        success: what who is let in gets.
        ends: the proof itself does not count afterwards.
        json: the body that is sent.
        more: further arguments of the request.
    """

    method: str
    path: str
    who: Who
    success: int = 200
    deploy: bool = False
    ends: bool = False
    json: Any = None
    more: Any = None


SCOPE = {"workspaceId": "wsp_a", "projectId": "prj_a"}
ACTIVE = {"params": SCOPE | {"deploymentId": "dpl_a"}}
CONTRACT: dict[str, Any] = {"params": {"deploymentId": "dpl_a"}, "content": b'{"zocketContract":1,"actors":{}}'}
UPLOAD = {"params": {"projectId": "prj_a"}, "content": b"app = 1\n"}

TABLE = [
    Row("GET", "/api/health", "public"),
    # identity
    Row("GET", "/api/auth/session", "anyone"),
    Row("POST", "/api/auth/login", "public", json={"email": "owner@example.com", "password": "{password}"}),
    Row("POST", "/api/auth/logout", "person", ends=True),
    Row("POST", "/api/auth/password", "browser", ends=True, json={"current": "{password}", "new": "{password}"}),
    Row("GET", "/api/auth/oidc/start", "public", 404),
    Row("GET", "/api/auth/oidc/callback", "public", 404),
    Row("POST", "/api/auth/device/start", "public"),
    Row("GET", "/api/auth/device/{device_code}", "public"),
    Row("POST", "/api/auth/device/lookup", "browser", json={"userCode": "{user_code}"}),
    Row("POST", "/api/auth/device/{device_code}/approve", "browser"),
    Row("GET", "/api/auth/cli-tokens", "person"),
    Row("POST", "/api/auth/cli-tokens/{token_id:cli}/revoke", "person"),
    # workspaces
    Row("GET", "/api/workspaces", "person"),
    Row("POST", "/api/workspaces", "person", 201, json={"name": "New"}),
    Row("GET", "/api/workspaces/{workspace_id}/members", "viewer"),
    Row("PATCH", "/api/workspaces/{workspace_id}/members/{user_id}", "owner", json={"role": "viewer"}),
    Row("DELETE", "/api/workspaces/{workspace_id}/members/{user_id}", "owner"),
    Row("GET", "/api/workspaces/{workspace_id}/invitations", "owner"),
    Row("POST", "/api/workspaces/{workspace_id}/invitations", "owner", 201, json={"email": "{email}"}),
    Row("DELETE", "/api/workspaces/{workspace_id}/invitations/{invitation_id}", "owner"),
    Row("GET", "/api/invitations/{token}", "public"),
    Row("POST", "/api/invitations/{token}/accept", "anyone", json={"password": "{password}"}),
    # projects
    Row("GET", "/api/projects", "person"),
    Row("POST", "/api/projects", "developer", 201, json={"name": "New", "workspaceId": "wsp_a"}),
    Row("GET", "/api/projects/{project_id}", "viewer", deploy=True),
    Row("PATCH", "/api/projects/{project_id}", "developer", json={"name": "Alpha"}),
    Row("DELETE", "/api/projects/{project_id:new}", "owner"),
    Row("GET", "/api/projects/{project_id}/deploy-tokens", "developer"),
    Row("POST", "/api/projects/{project_id}/deploy-tokens", "developer", 201, json={"name": "ci"}),
    Row("POST", "/api/projects/{project_id}/deploy-tokens/{token_id:deploy}/revoke", "developer"),
    Row("GET", "/api/projects/{project_id}/auth", "viewer"),
    Row("PUT", "/api/projects/{project_id}/auth", "owner", json={"mode": "none"}),
    Row("POST", "/api/projects/{project_id}/auth/test", "developer", json={"token": None}),
    # deployments
    Row("POST", "/api/deployments", "developer", 201, deploy=True, more=UPLOAD),
    Row("GET", "/api/projects/{project_id}/deployments", "viewer", deploy=True),
    Row("GET", "/api/deployments/{deployment_id}", "viewer", deploy=True),
    Row("GET", "/api/deployments/{deployment_id}/logs", "viewer", deploy=True),
    Row("GET", "/api/deployments/{deployment_id}/schema", "viewer", deploy=True),
    Row("GET", "/api/projects/{project_id}/schema", "viewer", deploy=True),
    Row("POST", "/api/projects/{project_id}/rollback", "developer", 409, deploy=True, json={}),
    Row("GET", "/api/projects/{project_id}/status", "viewer", deploy=True),
    Row("GET", "/api/projects/{project_id}/runtime", "viewer"),
    Row("PUT", "/api/projects/{project_id}/runtime", "owner", json={}),
    Row("GET", "/api/projects/{project_id}/env", "viewer"),
    Row("PUT", "/api/projects/{project_id}/env/{name}", "developer", json={"value": "hello"}),
    Row("DELETE", "/api/projects/{project_id}/env/{name:set}", "developer"),
    Row("GET", "/api/events", "person"),
    # the installation
    Row("GET", "/api/internal-tokens", "admin"),
    Row("POST", "/api/internal-tokens", "admin", 201, json={"name": "edge", "kind": "gateway"}),
    Row("POST", "/api/internal-tokens/{token_id:internal}/revoke", "admin"),
    # runtimes and gateways
    Row("GET", "/api/internal/runtime/active", "runtime", more=ACTIVE),
    Row("GET", "/api/internal/runtime/activation", "runtime", more={"params": {"deploymentId": "dpl_a"}}),
    Row("GET", "/api/internal/bundles/{key}", "runtime"),
    Row("PUT", "/api/internal/runtime/contract", "runtime", more=CONTRACT),
    Row("POST", "/api/internal/runtime/report", "runtime", json={"deploymentId": "dpl_a", "status": "ready"}),
    Row("POST", "/api/registry/authorize", "gateway", json={"host": "alpha.example", "token": None}),
    Row("POST", "/api/registry/schema", "gateway", json={"host": "alpha.example", "token": None}),
    Row(
        "PUT",
        "/api/internal/projects/{project_id}",
        "configured",
        json={"workspaceId": "wsp_a", "slug": "alpha", "domain": "alpha.example"},
    ),
    Row("POST", "/api/internal/deployments", "configured", 201, more={"params": SCOPE, "content": b"app = 1\n"}),
    Row("GET", "/api/internal/deployments/{deployment_id}", "configured", more={"params": SCOPE}),
    Row("GET", "/api/internal/deployments/{deployment_id}/schema", "configured", more={"params": SCOPE}),
]


@dataclass(frozen=True)
class Proof:
    """What a caller sends: headers, and what there is to know of it."""

    name: str
    kind: Literal["none", "bad", "cookie", "cookie without csrf", "cli", "deploy", "internal"]
    is_of: str = ""


PLACES: list[tuple[str, Literal["cookie", "cli"]]] = [("in a browser", "cookie"), ("in a terminal", "cli")]
ROLES = {"viewer": 1, "developer": 2, "owner": 3}
PROOFS = [
    Proof("no token", "none"),
    Proof("wrong token", "bad"),
    Proof("no bearer", "bad"),
    Proof("wrong CLI token", "bad"),
    Proof("wrong deploy token", "bad"),
    Proof("wrong internal token", "bad"),
    Proof("revoked CLI token", "bad"),
    Proof("expired CLI token", "bad"),
    Proof("revoked deploy token", "bad"),
    Proof("revoked gateway token", "bad"),
    Proof("revoked runtime token", "bad"),
    Proof("expired cookie", "none"),
    Proof("wrong cookie", "none"),
    Proof("deploy token", "deploy", "prj_a"),
    Proof("other project's deploy token", "deploy", "prj_b"),
    Proof("gateway token", "internal", "gateway"),
    Proof("runtime token", "internal", "prj_a"),
    Proof("other project's runtime token", "internal", "prj_b"),
    Proof("configured internal token", "internal", "configured"),
    *(Proof(f"{person} in a browser without CSRF", "cookie without csrf", person) for person in ("owner", "admin")),
    *(
        Proof(f"{person} {where}", kind, person)
        for person in ("stranger", "viewer", "developer", "owner", "admin")
        for where, kind in PLACES
    ),
]


def expected(row: Row, proof: Proof) -> int:
    """What the table promises."""
    if row.who == "public":
        return row.success
    if proof.kind == "none":
        return row.success if row.who == "anyone" else 401
    if proof.kind == "bad":
        return 401
    if proof.kind == "cookie without csrf" and row.method != "GET":
        return 403
    if row.who in ("gateway", "runtime", "configured"):
        if proof.kind != "internal":
            return 403
        if proof.is_of == "configured" or proof.is_of == row.who:
            return row.success
        if row.who == "runtime" and proof.is_of in ("prj_a", "prj_b"):
            return row.success if proof.is_of == "prj_a" else 404
        return 403
    if proof.kind == "internal":
        return 403
    if proof.kind == "deploy":
        if not row.deploy:
            return 403
        return row.success if proof.is_of == "prj_a" else 404
    if row.who in ("anyone", "person"):
        return row.success
    if row.who == "browser":
        return 403 if proof.kind == "cli" else row.success
    if row.who == "admin":
        return row.success if proof.is_of == "admin" else 403
    if proof.is_of not in ROLES:
        return 404
    return row.success if ROLES[proof.is_of] >= ROLES[row.who] else 403


class Stage:
    """Makes the proofs, and for every call a fresh thing that it can act upon."""

    def __init__(self, world: World, password: str, configured: str, key: str) -> None:
        self.world = world
        self.password = password
        self.configured = configured
        self.key = key

    async def headers(self, proof: Proof, *, fresh: bool) -> dict[str, str]:
        tokens = self.world.tokens
        bearers = {
            "wrong token": "wrong",
            "wrong CLI token": mint(CLI).token,
            "wrong deploy token": "zkd_" + "A" * 43,
            "wrong internal token": tokens["gateway"][:-1],
            "revoked deploy token": tokens["deploy_prj_a_revoked"],
            "revoked gateway token": tokens["gateway_revoked"],
            "revoked runtime token": tokens["runtime_prj_a_revoked"],
            "deploy token": tokens["deploy_prj_a"],
            "other project's deploy token": tokens["deploy_prj_b"],
            "gateway token": tokens["gateway"],
            "runtime token": tokens["runtime_prj_a"],
            "other project's runtime token": tokens["runtime_prj_b"],
            "configured internal token": self.configured,
        }
        now = self.world.now_ms
        match proof.name:
            case "no token":
                return {}
            case "no bearer":
                return {"authorization": "Basic b3duZXI6b3duZXI="}
            case "wrong cookie":
                return {"cookie": f"zocket_session={mint(SESSION).token}"}
            case "expired cookie":
                return {"cookie": f"zocket_session={await self.browser('owner', expires_at=now)}"}
            case "revoked CLI token":
                return {"authorization": f"Bearer {await self.terminal('owner', revoked_at=now)}"}
            case "expired CLI token":
                return {"authorization": f"Bearer {await self.terminal('owner', expires_at=now)}"}
            case name if name in bearers:
                return {"authorization": f"Bearer {bearers[name]}"}
        someone = self.world.person(proof.is_of)
        if fresh:
            await self.renew(proof.is_of)
        if proof.kind == "cli":
            return someone.terminal
        return someone.browser if proof.kind == "cookie" else someone.browser_without_csrf

    async def renew(self, name: str) -> None:
        """New proofs for a person."""
        self.world.person(name).cli, self.world.person(name).cookie = (
            await self.terminal(name),
            await self.browser(name),
        )

    async def browser(self, name: str, **more: Any) -> str:
        minted, now = mint(SESSION), self.world.now_ms
        values = {"created_at": now, "last_used_at": now, "expires_at": now + SESSION_IDLE_MS, **more}
        await self.add(WebSession(token_hash=minted.token_hash, user_id=f"usr_{name}", **values))
        return minted.token

    async def terminal(self, name: str, **more: Any) -> str:
        minted, now = mint(CLI), self.world.now_ms
        values = {"created_at": now, "expires_at": now + DAY_MS, "last_used_at": now, **more}
        await self.add(self.token(CliToken, "clt", minted.token, user_id=f"usr_{name}", **values))
        return minted.token

    def token(self, table: Any, prefix: str, token: str, **more: Any) -> Any:
        values = {"created_at": self.world.now_ms, **more}
        return table(id=new_id(prefix), name="one", token_hash=digest(token), prefix=token[:12], **values)

    async def add(self, *records: Any) -> None:
        async with self.world.database.session() as session:
            for record in records:
                session.add(record)
                await session.flush()

    async def things(self, row: Row, proof: Proof) -> dict[str, str]:
        """What stands for all placeholders of a row."""
        return {name: await self.thing(name, proof) for name in placeholders([row.path, row.json])}

    async def thing(self, name: str, proof: Proof) -> str:
        """What stands for a placeholder of a path or body."""
        now, person = self.world.now_ms, f"usr_{proof.is_of if proof.kind != 'deploy' else 'owner'}"
        token: Any
        match name:
            case "password":
                return self.password
            case "email":
                return f"{new_id('new')}@example.com"
            case "workspace_id":
                return "wsp_a"
            case "project_id":
                return "prj_a"
            case "deployment_id":
                return "dpl_a"
            case "key":
                return self.key
            case "name":
                return "GREETING"
            case "name:set":
                await self.world.services.environment.set("prj_a", "GREETING", "hello", "somebody")
                return "GREETING"
            case "project_id:new":
                token = Project(id=new_id("prj"), workspace_id="wsp_a", name="x", slug=new_id("x")[2:], created_at=now)
            case "token_id:cli":
                owner = person if person in {f"usr_{someone}" for someone in self.world.people} else "usr_owner"
                token = self.token(CliToken, "clt", new_id("x"), user_id=owner, expires_at=now + 1_000)
            case "token_id:deploy":
                token = self.token(DeployToken, "dpt", new_id("x"), project_id="prj_a")
            case "token_id:internal":
                token = self.token(InternalToken, "int", new_id("x"), kind="gateway")
            case "user_id":
                token = User(
                    id=new_id("usr"), email=f"{new_id('m')}@example.com", name="m", is_admin=False, created_at=now
                )
                await self.add(token, Membership(workspace_id="wsp_a", user_id=token.id, role="viewer", created_at=now))
                return str(token.id)
            case "invitation_id":
                token = self.invitation(f"{new_id('i')}@example.com", new_id("x"))
            case "token":
                secret = mint(INVITATION).token
                known = proof.kind in ("cookie", "cli", "cookie without csrf")
                email = f"{proof.is_of}@example.com" if known else f"{new_id('i')}@example.com"
                await self.add(self.invitation(email, secret, workspace="wsp_admin"))
                return secret
            case "device_code" | "user_code":
                flow = DeviceFlow(
                    id=new_id("dvf"),
                    device_code_hash=digest(new_id("x")),
                    user_code=new_user_code(),
                    name="n",
                    address="a",
                    created_at=now,
                    expires_at=now + 1_000,
                )
                await self.add(flow)
                return flow.id if name == "device_code" else flow.user_code
            case _:
                raise AssertionError(f"nothing stands for {name}")
        await self.add(token)
        return str(token.id)

    def invitation(self, email: str, secret: str, workspace: str = "wsp_a") -> Invitation:
        now = self.world.now_ms
        return Invitation(
            id=new_id("inv"),
            workspace_id=workspace,
            email=email,
            role="viewer",
            token_hash=digest(secret),
            created_at=now,
            expires_at=now + 1_000,
        )


def placeholders(text: Any) -> Iterator[str]:
    """The names between braces, wherever they are in a path or body."""
    if isinstance(text, dict | list):
        for value in text.values() if isinstance(text, dict) else text:
            yield from placeholders(value)
    elif isinstance(text, str):
        yield from (part.partition("}")[0] for part in text.split("{")[1:])


def filled(text: Any, things: dict[str, str]) -> Any:
    if isinstance(text, dict):
        return {name: filled(value, things) for name, value in text.items()}
    if isinstance(text, str):
        for name, thing in things.items():
            text = text.replace("{" + name + "}", thing)
    return text


def routes(app: FastAPI) -> dict[tuple[str, str], APIRoute]:
    """Every call that the application answers, by method and path."""
    found: dict[tuple[str, str], APIRoute] = {}
    pending: list[Any] = list(app.routes)
    while pending:
        route = pending.pop()
        included = getattr(route, "original_router", None)  # how newer versions of FastAPI keep a router
        pending += included.routes if included else []
        if isinstance(route, APIRoute):
            found |= {(method, route.path): route for method in route.methods or ()}
    return found


def rules_of(route: APIRoute) -> list[Any]:
    found: list[Any] = []
    pending: list[Any] = [route.dependant]
    while pending:
        dependant = pending.pop()
        pending += dependant.dependencies
        found += [dependant.call.rule] if hasattr(dependant.call, "rule") else []
    return found


async def test_every_route_is_in_the_table_and_has_one_rule(open_world: OpenWorld) -> None:
    async with open_world(people=False) as world:
        found = routes(world.app)
    in_table = {(row.method, plain(row.path)) for row in TABLE}
    assert in_table == set(found)
    assert len(TABLE) == len(in_table)
    assert {call: len(rules_of(route)) for call, route in found.items()} == dict.fromkeys(found, 1)


def plain(path: str) -> str:
    """The path as the application has it: `{token_id:cli}` is its `{token_id}`."""
    return re.sub(r":[a-z]+}", "}", path)


async def test_every_call_with_every_proof(open_world: OpenWorld, password: str, configured_token: str) -> None:
    wrong: list[str] = []
    async with open_world() as world:
        stage = Stage(world, password, configured_token, await deploy(world, configured_token))
        world.services.changes.close()  # a stream ends at once, and nobody is held back

        async def judge(row: Row, proof: Proof, things: dict[str, str]) -> None:
            headers = await stage.headers(proof, fresh=row.ends)
            more = {**(row.more or {})}
            if row.json is not None:
                more["json"] = filled(row.json, things)
            answer = await world.call(row.method, filled(row.path, things), headers, **more)
            wanted = expected(row, proof)
            if answer.status_code != wanted:
                wrong.append(f"{row.method} {row.path} with {proof.name}: {answer.status_code}, not {wanted}")
            elif wanted >= 400 and set(answer.json()) != {"error", "code", "requestId"}:
                wrong.append(f"{row.method} {row.path} with {proof.name}: {answer.text}")

        for row in TABLE:
            world.clock.wall_s += 1
            things = await stage.things(row, PROOFS[0])
            refused = [proof for proof in PROOFS if expected(row, proof) != row.success]
            await asyncio.gather(*(judge(row, proof, things) for proof in refused))
            for proof in PROOFS:
                if proof not in refused:
                    world.clock.wall_s += 10 if row.who == "public" else 0
                    await judge(row, proof, await stage.things(row, proof))
            for name in world.people if row.ends else ():
                await stage.renew(name)
    assert not wrong, "\n".join(wrong)


async def deploy(world: World, configured: str) -> str:
    """A deployment `dpl_a` of `prj_a`; the key of its bundle."""
    headers = {"authorization": f"Bearer {configured}"}
    answer = await world.ok("POST", "/api/internal/deployments", headers, params=SCOPE, content=b"app = 1\n")
    async with world.database.session() as session:
        deployment = await session.get_one(Deployment, answer["deploymentId"])
        await session.execute(delete(DeploymentEvent))
        deployment.id = "dpl_a"
        deployment.contract = CONTRACT["content"]
        project = await session.get_one(Project, "prj_a")
        project.active_deployment_id = "dpl_a"
        return deployment.bundle_key
