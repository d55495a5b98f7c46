"""Deployments: uploaded, listed, rolled back; and how their runtime is doing (docs/control-api.md)."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Header, Request
from fastapi.responses import Response

from zocket.control.api.access import PIPELINE, Granted, requires
from zocket.control.api.services import Services, services_of
from zocket.control.bundles import receive
from zocket.control.bundles.signatures import check_signature
from zocket.control.deployment_schemas import (
    Counters,
    DeploymentView,
    LastExit,
    RollbackTarget,
    RuntimeOptions,
    RuntimeView,
    StatusView,
)
from zocket.control.paging import Page, Paging, paging

UPLOAD_PATH: Final = "/api/deployments"
"""The route with a body that may be large; it is bounded as it is received."""
MAX_MESSAGE_CHARS: Final = 2_000
SHOWN_EXIT_CHARS: Final = 8_000

router = APIRouter(tags=["deployments"])

Parts = Annotated[Services, Depends(services_of)]
Asked = Annotated[Paging, Depends(paging)]
Uploader = Annotated[Granted, requires(project_in_query="developer", callers=PIPELINE)]
Reader = Annotated[Granted, requires(project="viewer", callers=PIPELINE)]
Deployer = Annotated[Granted, requires(project="developer", callers=PIPELINE)]
Viewer = Annotated[Granted, requires(project="viewer")]
Owner = Annotated[Granted, requires(project="owner")]
OfDeployment = Annotated[Granted, requires(deployment="viewer", callers=PIPELINE)]


@router.post(
    UPLOAD_PATH,
    status_code=201,
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
        }
    },
)
async def upload(
    granted: Uploader,
    request: Request,
    parts: Parts,
    x_zocket_sha256: Annotated[str | None, Header(max_length=200)] = None,
    x_zocket_message: Annotated[str | None, Header(max_length=MAX_MESSAGE_CHARS)] = None,
    x_zocket_signature: Annotated[str | None, Header(max_length=200)] = None,
) -> DeploymentView:
    """Takes a bundle and starts its runtime in standby; it becomes active once that proves itself and takes over."""
    options = await parts.runtime_configs.read(granted.project_id)
    async with receive(request.stream(), parts.store.spool, sha256=x_zocket_sha256) as incoming:
        check_signature(options.signing_key, x_zocket_signature, incoming.sha256)
        async with parts.retention.lock:
            await parts.store.keep(incoming.sha256, incoming.path)
            deployment = await parts.deployments.add(
                granted.project_id,
                incoming.stored,
                author=granted.caller.name,
                message=_readable(x_zocket_message),
                signature=x_zocket_signature,
            )
    parts.supervision.deploy(deployment.id, granted.caller.name)
    return deployment


@router.get("/api/projects/{project_id}/deployments")
async def deployments(granted: Reader, parts: Parts, asked: Asked) -> Page[DeploymentView]:
    """The project's deployments, newest first."""
    return await parts.deployments.page(granted.project_id, asked)


@router.get("/api/deployments/{deployment_id}")
async def deployment(granted: OfDeployment, parts: Parts) -> DeploymentView:
    """A deployment with its whole history."""
    return await parts.deployments.read(granted.deployment_id)


@router.get("/api/deployments/{deployment_id}/schema", response_class=Response)
async def deployment_schema(granted: OfDeployment, parts: Parts) -> Response:
    """The contract of a deployment (docs/contracts.md)."""
    return Response(await parts.contracts.of_deployment(granted.deployment_id), media_type="application/json")


@router.get("/api/projects/{project_id}/schema", response_class=Response)
async def schema(granted: Reader, parts: Parts) -> Response:
    """The contract of the deployment that serves."""
    return Response(await parts.contracts.of_project(granted.project_id), media_type="application/json")


@router.post("/api/projects/{project_id}/rollback", status_code=202)
async def rollback(granted: Deployer, parts: Parts, body: RollbackTarget) -> DeploymentView:
    """An earlier deployment becomes the active one again: the one named, else the one that served before."""
    target = await parts.deployments.rollback_target(granted.project_id, body.deployment_id)
    parts.supervision.deploy(target.id, granted.caller.name)
    return await parts.deployments.read(target.id)


@router.get("/api/projects/{project_id}/status")
async def status(granted: Reader, parts: Parts) -> StatusView:
    """How the project's runtime is, and its live counters."""
    return await read_status(parts, granted.project_id)


@router.get("/api/projects/{project_id}/runtime")
async def runtime_options(granted: Viewer, parts: Parts) -> RuntimeOptions:
    """How the project's runtime is run, and whose bundles it takes."""
    return await parts.runtime_configs.read(granted.project_id)


@router.put("/api/projects/{project_id}/runtime")
async def set_runtime_options(granted: Owner, parts: Parts, body: RuntimeOptions) -> RuntimeOptions:
    """Writes it as a whole; counts from the next start of a runtime on."""
    return await parts.runtime_configs.write(granted.project_id, body)


async def read_status(parts: Services, project_id: str) -> StatusView:
    """How a project's runtime is, and its live counters."""
    active = await parts.deployments.active_id(project_id)
    if active is None:
        return StatusView(runtime=RuntimeView(deployment_id=None, state="stopped"), counters=None)
    seen = parts.supervision.observe(active)
    if seen is None:
        return StatusView(runtime=RuntimeView(deployment_id=active, state="unknown"), counters=None)
    counters: Counters | None = await parts.readings.of(seen.address) if seen.address is not None else None
    ended: Any = seen.last_exit
    return StatusView(
        runtime=RuntimeView(
            deployment_id=active,
            state=seen.state,
            pid=seen.pid,
            since=seen.since_ms,
            restarts=seen.restarts,
            last_exit=ended and LastExit(code=ended.code, at=ended.at_ms, message=ended.message[:SHOWN_EXIT_CHARS]),
        ),
        counters=counters,
    )


def _readable(header: str | None) -> str | None:
    """A header as its sender wrote it: in UTF-8, which arrives read as Latin-1, or percent-encoded."""
    if header is None:
        return None
    try:
        text = header.encode("latin-1").decode("utf-8")
    except UnicodeError:
        text = header
    return text.replace("\0", "").strip() or None
