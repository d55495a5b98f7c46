"""The calls of runtimes, gateways and `zocket dev` (spec: control plane, for runtimes and gateways).

Rules: their form on the wire is a contract with peers of other versions; a gateway's token is good for `authorize`
alone, a runtime's for its own project's bundle and report, the configured token for all of them.
"""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import FileResponse

from zocket.control.api.access import Granted, public, requires
from zocket.control.api.services import Services, services_of
from zocket.control.failures import NotFound
from zocket.control.schemas import ActiveBundle, Authorized, DeploymentView, Done, Knock, ProjectConfig, Report
from zocket.errors import InvalidFrame, SettingsError, Unauthorized, Unavailable
from zocket.ids import Scope

UPLOAD_PATH: Final = "/api/internal/deployments"
"""The one route with a body that may be large; it is bounded by the bundle store."""

router = APIRouter(tags=["internal"])

Parts = Annotated[Services, Depends(services_of)]
Configured = Annotated[Granted, requires(service="any")]
Gateway = Annotated[Granted, requires(service="gateway")]
Runtime = Annotated[Granted, requires(service="runtime")]


def _scope(
    workspace_id: Annotated[str, Query(alias="workspaceId")], project_id: Annotated[str, Query(alias="projectId")]
) -> Scope:
    try:
        return Scope(workspace_id, project_id)
    except SettingsError as error:
        raise InvalidFrame(error.message) from error


InScope = Annotated[Scope, Depends(_scope)]


@router.get("/api/health", dependencies=[public])
async def health() -> Done:
    """The service answers."""
    return Done()


@router.get("/api/internal/runtime/active")
async def active(
    granted: Runtime,
    request: Request,
    parts: Parts,
    scope: InScope,
    deployment_id: Annotated[str, Query(alias="deploymentId")],
) -> ActiveBundle:
    """What a runtime is to load, and what its bundle's checksum must be."""
    granted.check_project(scope.project_id)
    deployment, key = await parts.deployments.deployment(scope, deployment_id)
    base = parts.settings.public_url or str(request.base_url)
    return ActiveBundle(
        deployment_id=deployment.deployment_id,
        url=f"{base.rstrip('/')}/api/internal/bundles/{key}",
        sha256=deployment.sha256,
        size=deployment.size,
    )


@router.get("/api/internal/bundles/{key}", response_class=FileResponse)
async def bundle(granted: Runtime, parts: Parts, key: str) -> FileResponse:
    """The bytes of a bundle."""
    path = parts.store.path(key)
    if path is None or not await parts.deployments.has_bundle(granted.caller.project_id, key):
        raise NotFound("no such bundle")
    return FileResponse(path, media_type="application/octet-stream")


@router.post("/api/internal/runtime/report")
async def report(granted: Runtime, parts: Parts, body: Report) -> Done:
    """A runtime is ready, or could not start."""
    await parts.deployments.report(body, project_id=granted.caller.project_id)
    return Done()


@router.post("/api/registry/authorize", response_model_exclude_defaults=True)
async def authorize(granted: Gateway, parts: Parts, body: Knock) -> Authorized:
    """Which project a socket belongs to and who its client is; 401 for anybody who may not connect."""
    try:
        return await parts.deployments.authorize(body.host, body.token)
    except Unavailable as error:
        raise Unauthorized(error.message, code=error.code) from error


@router.put("/api/internal/projects/{project_id}")
async def put_project(granted: Configured, parts: Parts, project_id: str, body: ProjectConfig) -> Done:
    """Creates a project or changes its host name and how its clients are told apart."""
    await parts.deployments.put_project(project_id, body)
    return Done()


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
async def upload(granted: Configured, request: Request, parts: Parts, scope: InScope) -> DeploymentView:
    """Stores a bundle as the project's next deployment; it becomes active when its runtime reports `ready`."""
    await parts.deployments.check_project(scope)
    stored = await parts.store.store(request.stream())
    if stored.size == 0:
        raise InvalidFrame("bundle: the body is empty")
    return await parts.deployments.add(scope, stored)


@router.get(UPLOAD_PATH + "/{deployment_id}")
async def deployment(granted: Configured, parts: Parts, scope: InScope, deployment_id: str) -> DeploymentView:
    """What became of a deployment."""
    view, _ = await parts.deployments.deployment(scope, deployment_id)
    return view
