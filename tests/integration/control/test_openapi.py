"""The OpenAPI document is complete and true: schemathesis calls everything in it and judges the answers."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from zocket.control.identity.accounts import create_admin
from zocket.control.process import serve
from zocket.settings import ControlSettings, OrchestrationSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from zocket.control.identity.passwords import Passwords

    Case = schemathesis.Case[Any]

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    negative_data_rejection,
    unsupported_method,
]
"""All but `positive_data_acceptance` (that two fields exclude each other is beyond a schema) and `ignored_auth` (the
authorization matrix shows more)."""

EXAMPLES_EACH = 6
SERVICE_PATHS = ("/api/internal/", "/api/registry/")
LEFT_OUT = {
    "/api/auth/logout",  # ends the token that everything else is called with
    "/api/events",  # does not end
    "/api/deployments/{deployment_id}/logs",  # neither, if it is followed
    "/api/internal/runtime/activation",  # waits for a word
}
PASSWORD = "a long enough password"


@dataclass
class Served:
    """A control plane that answers, and what a caller of it has."""

    url: str
    cli_token: str
    internal_token: str
    ids: dict[str, str]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, cheap_passwords: Callable[[], Passwords]) -> Iterator[Served]:
    directory = tmp_path_factory.mktemp("openapi")
    loop, stop, ready = asyncio.new_event_loop(), asyncio.Event(), threading.Event()
    opened: list[Served] = []

    async def run() -> None:
        configured = local(directory)
        await create_admin(configured, "ada@example.com", "Ada", PASSWORD, passwords=cheap_passwords())
        async with serve(configured) as url:
            opened.append(await sign_in(url, configured.internal_token))
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(run(),))
    thread.start()
    try:
        assert ready.wait(30)
        yield opened[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()


def local(directory: Path) -> ControlSettings:
    return ControlSettings(
        port=0,
        database_url=f"sqlite+aiosqlite:///{directory}/control.db",
        bundle_store=f"{directory}/bundles",
        orchestration=OrchestrationSettings(
            orchestrator="none", runtime_dir=f"{directory}/runtimes", secret_key_file=f"{directory}/secret.key"
        ),
    )


async def sign_in(url: str, internal_token: str) -> Served:
    """A command line of the administrator, by the device flow, and a project."""
    async with httpx.AsyncClient(base_url=url, timeout=30) as client:
        body = {"email": "ada@example.com", "password": PASSWORD}
        csrf = (await client.post("/api/auth/login", json=body)).json()["csrf"]
        device = (await client.post("/api/auth/device/start")).json()["deviceCode"]
        await client.post(f"/api/auth/device/{device}/approve", headers={"x-zocket-csrf": csrf})
        token = (await client.get(f"/api/auth/device/{device}")).json()["cliToken"]
        client.cookies.clear()
        client.headers["authorization"] = f"Bearer {token}"
        project = (await client.post("/api/projects", json={"name": "Chat"})).json()
        ids = {"project_id": project["id"], "workspace_id": project["workspaceId"]}
        return Served(url, token, internal_token, ids)


FAILURES = (schemathesis.errors.SchemathesisError, AssertionError, BaseExceptionGroup)
EXAMPLES: Any = settings(
    max_examples=EXAMPLES_EACH,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


def test_every_call_answers_as_it_is_documented(served: Served) -> None:
    schema = schemathesis.openapi.from_url(f"{served.url}/api/openapi.json")
    failures: list[str] = []
    called = 0
    for found in schema.get_all_operations():
        operation: Any = found.ok()  # type: ignore[union-attr]  # a broken document fails here
        if operation.path in LEFT_OUT:
            continue
        called += 1
        cases = operation.as_strategy(generation_mode=GenerationMode.POSITIVE)
        if operation.body or operation.query or operation.path_parameters:
            cases |= operation.as_strategy(generation_mode=GenerationMode.NEGATIVE)
        try:
            test: Any = given(cases)
            EXAMPLES(test(judge_for(served)))()
        except FAILURES as failure:
            failures.append(f"{operation.label}: {failure}")
    assert not failures, "\n\n".join(failures)
    assert called > 40


def judge_for(served: Served) -> Callable[[Case], None]:
    def judged(case: Case) -> None:
        judge(served, case)

    return judged


def judge(served: Served, case: Case) -> None:
    token = served.internal_token if case.path.startswith(SERVICE_PATHS) else served.cli_token
    if case.method != "DELETE" and case.meta is not None and case.meta.generation.mode == GenerationMode.POSITIVE:
        case.path_parameters = {**case.path_parameters, **_known(served, case.path_parameters)}
    case.call_and_validate(headers={"authorization": f"Bearer {token}"}, checks=CHECKS)


def _known(served: Served, parameters: Any) -> dict[str, str]:
    """Ids that exist, for those that the path asks for; what is beside them stays made up."""
    return {name: value for name, value in served.ids.items() if name in parameters}
