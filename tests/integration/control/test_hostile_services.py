"""The service API against the runtime of another project: whatever it sends, no record of the victim changes.

The attacker holds a valid runtime token of project `prj_a`, a revoked one, or none; it knows the victim's ids (`prj_b`)
and sends any verb, path, query, head and body. The victim's rows and bundle are compared before and after.
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import MetaData, select

if TYPE_CHECKING:
    from tests.integration.control.conftest import OpenWorld, World

VICTIM, DEPLOYMENT, KEY = "prj_b", "THE_VICTIMS_DEPLOYMENT", "THE_VICTIMS_BUNDLE"
SCOPE = {"workspaceId": "wsp_b", "projectId": VICTIM}
APP = b"the victim's bundle"

texts = st.sampled_from(
    [
        VICTIM,
        "prj_a",
        "wsp_b",
        "wsp_a",
        DEPLOYMENT,
        KEY,
        "ready",
        "failed",
        "standby",
        "x",
        "",
        "../" + KEY,
        "\x00",
        "'",
    ]
) | st.text(max_size=8)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | texts,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(texts, inner, max_size=2),
    max_leaves=4,
)
bodies = st.one_of(
    st.fixed_dictionaries(
        {
            "deploymentId": st.just(DEPLOYMENT) | texts,
            "status": st.sampled_from(["ready", "failed", "smoke", "standby"]),
        },
        optional={"message": texts, "actorTypes": st.lists(texts, max_size=2)},
    ).map(lambda body: json.dumps(body).encode()),
    st.fixed_dictionaries(
        {"workspaceId": texts, "slug": texts},
        optional={"domain": st.just("beta.example") | texts, "auth": values, "origins": values},
    ).map(lambda body: json.dumps(body).encode()),
    st.fixed_dictionaries({"host": st.just("beta.example") | texts, "token": texts}).map(
        lambda body: json.dumps(body).encode()
    ),
    values.map(lambda value: json.dumps(value).encode()),
    st.binary(max_size=40),
    st.sampled_from([b"[" * 3_000, b'{"a":' * 3_000, b'"\\ud800"', b"x" * 300_000]),
)
paths = st.sampled_from(
    [
        "/api/internal/runtime/report",
        "/api/internal/runtime/active",
        f"/api/internal/bundles/{KEY}",
        f"/api/internal/projects/{VICTIM}",
        "/api/internal/projects/prj_a",
        "/api/internal/deployments",
        f"/api/internal/deployments/{DEPLOYMENT}",
        "/api/registry/authorize",
        f"/api/internal/../internal/projects/{VICTIM}",
    ]
)
queries = st.dictionaries(
    st.sampled_from(["workspaceId", "projectId", "deploymentId", "since"]), texts, max_size=4
) | st.just(SCOPE | {"deploymentId": DEPLOYMENT})
headers = st.fixed_dictionaries(
    {},
    optional={
        "content-type": st.sampled_from(["application/json", "text/plain", "application/octet-stream", "multipart/x"]),
        "x-forwarded-for": st.just("127.0.0.1"),
        "x-forwarded-host": st.just("beta.example"),
        "host": st.just("beta.example"),
        "x-project-id": st.just(VICTIM),
        "x-http-method-override": st.just("PUT"),
    },
)
tokens = st.sampled_from(["runtime_prj_a", "runtime_prj_a", "runtime_prj_a_revoked", "deploy_prj_a", ""])
requests = st.tuples(
    st.sampled_from(["GET", "POST", "PUT", "PATCH", "DELETE"]), paths, queries, headers, bodies, tokens
)


async def tables_of(world: World) -> MetaData:
    tables = MetaData()
    async with world.database.session() as session:
        await (await session.connection()).run_sync(tables.reflect)
    return tables


async def rows_of_victim(world: World, tables: MetaData) -> list[str]:
    """Every row that names the victim's project or workspace, in all tables."""
    async with world.database.session() as session:
        found = [
            f"{table.name} {tuple(row)!r}"
            for table in tables.sorted_tables
            for row in (await session.execute(select(table))).all()
        ]
    return sorted(row for row in found if VICTIM in row or "wsp_b" in row)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_no_record_of_a_project_changes_because_of_the_runtime_of_another_one(open_world: OpenWorld) -> None:
    with asyncio.Runner() as runner:
        stop, opened = asyncio.Event(), runner.get_loop().create_future()
        serving = runner.get_loop().create_task(keep_open(open_world, opened, stop))
        world = runner.run(opened_world(opened))
        token = {"authorization": "Bearer the configured internal token"}
        deployed = runner.run(world.ok("POST", "/api/internal/deployments", token, params=SCOPE, content=APP))
        active = runner.run(
            world.ok(
                "GET", "/api/internal/runtime/active", token, params=SCOPE | {"deploymentId": deployed["deploymentId"]}
            )
        )
        real = {DEPLOYMENT: deployed["deploymentId"], KEY: active["url"].rpartition("/")[2]}
        tables = runner.run(tables_of(world))
        before = runner.run(rows_of_victim(world, tables))
        assert any(real[DEPLOYMENT] in row for row in before)

        @settings(
            max_examples=settings().max_examples // 6,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        )
        @given(st.lists(requests, min_size=1, max_size=4))
        def fuzzed(sent: list[tuple[str, str, dict[str, str], dict[str, str], bytes, str]]) -> None:
            for request in sent:
                runner.run(send(world, real, *request))
            assert runner.run(rows_of_victim(world, tables)) == before

        fuzzed()
        bundle = runner.run(world.call("GET", f"/api/internal/bundles/{real[KEY]}", token))
        assert bundle.content == APP
        stop.set()
        runner.run(asyncio.wait_for(serving, 10))


async def keep_open(open_world: OpenWorld, opened: asyncio.Future[World], stop: asyncio.Event) -> None:
    """In a task of its own: what the world starts must end in the task that started it."""
    async with open_world() as world:
        opened.set_result(world)
        await stop.wait()


async def opened_world(opened: asyncio.Future[World]) -> World:
    return await asyncio.wait_for(opened, 30)


async def send(
    world: World,
    real: dict[str, str],
    verb: str,
    path: str,
    query: dict[str, str],
    head: dict[str, str],
    body: bytes,
    token: str,
) -> None:
    def named(text: str) -> str:
        for placeholder, value in real.items():
            text = text.replace(placeholder, value)
        return text

    content: Any = body
    for placeholder, value in real.items():
        content = content.replace(placeholder.encode(), value.encode())
    proof = {"authorization": f"Bearer {world.tokens[token]}"} if token else {}
    query = {name: named(value) for name, value in query.items()}
    answer = await world.call(verb, named(path), head | proof, params=query, content=content)
    assert answer.status_code < 500, (verb, path, query, body[:200], answer.text)
    assert APP not in answer.content
    assert real[KEY] not in answer.text or path.endswith(KEY)
