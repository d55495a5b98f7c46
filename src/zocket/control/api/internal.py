"""The calls of runtimes, gateways and `zocket dev` (spec: control plane, for runtimes and gateways).

Rules: their form on the wire is a contract with peers of other versions; a gateway's token is good for `authorize`
alone, a runtime's for its own project's bundle and report, the configured token for all of them.
"""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Depends, Path, Query, Request
from fastapi.responses import Response, StreamingResponse

from zocket.control.api.access import Granted, public, requires
from zocket.control.api.services import Services, services_of
from zocket.control.bundles import receive
from zocket.control.bundles.port import is_key
from zocket.control.contracts import received
from zocket.control.failures import NotFound
from zocket.control.schemas import Activation, ActiveBundle, Authorized, Done, Knock, ProjectConfig, Report, UploadView
from zocket.errors import InvalidFrame, SettingsError, Unauthorized, Unavailable
from zocket.ids import Scope

CONTRACT_PATH: Final = "/api/internal/runtime/contract"
"""Its body is bounded as it is received, too."""
TAKES_HEADER: Final = "x-zocket-takes"
"""Tells a runtime what it may say besides its reports; an older one does not look at it."""
UPLOAD_PATH: Final = "/api/internal/deployments"
"""The one route with a body that may be large; it is bounded by the bundle store."""
STORABLE: Final = r"^[^\x00]*$"
"""PostgreSQL cannot even be asked for a text with NUL."""

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
    response: Response,
    parts: Parts,
    scope: InScope,
    deployment_id: Annotated[str, Query(alias="deploymentId", pattern=STORABLE)],
) -> ActiveBundle:
    """What a runtime is to load, and what its bundle's checksum must be."""
    response.headers[TAKES_HEADER] = "contract"
    granted.check_project(scope.project_id)
    deployment, key = await parts.deployments.uploaded(scope, deployment_id)
    base = parts.settings.public_url or str(request.base_url)
    return ActiveBundle(
        deployment_id=deployment.deployment_id,
        url=f"{base.rstrip('/')}/api/internal/bundles/{key}",
        sha256=deployment.sha256,
        size=deployment.size,
    )


@router.get("/api/internal/bundles/{key}", response_class=StreamingResponse)
async def bundle(granted: Runtime, parts: Parts, key: str) -> StreamingResponse:
    """The bytes of a bundle."""
    size = await parts.deployments.has_bundle(granted.caller.project_id, key) if is_key(key) else None
    content = None if size is None else await parts.store.open(key)
    if content is None:
        raise NotFound("no such bundle")
    headers = {"content-length": str(size)}
    return StreamingResponse(content, media_type="application/octet-stream", headers=headers)


@router.post("/api/internal/runtime/report")
async def report(granted: Runtime, parts: Parts, body: Report) -> Done:
    """A runtime is ready, or could not start."""
    await parts.deployments.report(body, project_id=granted.caller.project_id)
    parts.supervision.reported(body)
    return Done()


@router.put(CONTRACT_PATH, openapi_extra={"requestBody": {"required": True, "content": {"application/json": {}}}})
async def contract(
    granted: Runtime,
    request: Request,
    parts: Parts,
    deployment_id: Annotated[str, Query(alias="deploymentId", min_length=1, max_length=64, pattern=STORABLE)],
) -> Done:
    """A runtime tells what the app that it loaded offers (docs/contracts.md)."""
    granted.check_project((await parts.deployments.target(deployment_id)).project_id)
    await parts.contracts.keep(deployment_id, await received(request.stream()))
    return Done()


@router.get("/api/internal/runtime/activation")
async def activation(
    granted: Runtime,
    parts: Parts,
    deployment_id: Annotated[str, Query(alias="deploymentId", min_length=1, max_length=64, pattern=STORABLE)],
    since: Annotated[int, Query(ge=0, le=2**53, description="`turn` of the word that is heeded already")] = 0,
) -> Activation:
    """The word to a runtime that was started in standby; held back for up to 20 s while there is no new one."""
    target = await parts.deployments.target(deployment_id)
    granted.check_project(target.project_id)
    action, turn = await parts.supervision.word(target, since)
    return Activation(deployment_id=deployment_id, action=action, turn=turn)


@router.post("/api/registry/authorize", response_model_exclude_defaults=True)
async def authorize(granted: Gateway, parts: Parts, body: Knock) -> Authorized:
    """Which project a socket belongs to and who its client is; 401 for anybody who may not connect."""
    try:
        return await parts.registry.authorize(body.host, body.token)
    except Unavailable as error:
        raise Unauthorized(error.message, code=error.code) from error


@router.post("/api/registry/schema", response_class=Response)
async def schema(granted: Gateway, parts: Parts, body: Knock) -> Response:
    """The contract of what serves at a host, for a client that may connect there; 401 for anybody who may not."""
    found = await authorize(granted, parts, body)
    return Response(await parts.contracts.of_project(found.project_id), media_type="application/json")


@router.put("/api/internal/projects/{project_id}")
async def put_project(granted: Configured, parts: Parts, project_id: str, body: ProjectConfig) -> Done:
    """Creates a project or changes its host name and how its clients are told apart."""
    await parts.registry.put_project(project_id, body)
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
async def upload(granted: Configured, request: Request, parts: Parts, scope: InScope) -> UploadView:
    """Stores a bundle as the project's next deployment; it becomes active when its runtime reports `ready`."""
    await parts.registry.check_project(scope)
    async with receive(request.stream(), parts.store.spool) as incoming, parts.retention.lock:
        await parts.store.keep(incoming.sha256, incoming.path)
        return await parts.deployments.upload(scope, incoming.stored)


@router.get(UPLOAD_PATH + "/{deployment_id}")
async def deployment(
    granted: Configured, parts: Parts, scope: InScope, deployment_id: Annotated[str, Path(pattern=STORABLE)]
) -> UploadView:
    """What became of a deployment."""
    view, _ = await parts.deployments.uploaded(scope, deployment_id)
    return view


@router.get(UPLOAD_PATH + "/{deployment_id}/schema", response_class=Response)
async def deployment_schema(
    granted: Configured, parts: Parts, scope: InScope, deployment_id: Annotated[str, Path(pattern=STORABLE)]
) -> Response:
    """The contract of a deployment."""
    await parts.deployments.uploaded(scope, deployment_id)
    return Response(await parts.contracts.of_deployment(deployment_id), media_type="application/json")
