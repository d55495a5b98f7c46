"""The HTTP API of the control plane.

Rules: routes only translate between HTTP and `Deployments`; every internal route asks for the bearer, compared in
constant time; every error is `{error, code, requestId}`, and an unexpected one says nothing but its request id.
"""

from __future__ import annotations

import hmac
import logging
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

from fastapi import APIRouter, Depends, FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse
from starlette.exceptions import HTTPException

from zocket.control.bodies import BodyLimit, request_id_of
from zocket.control.bundles import BundleStore
from zocket.control.deployments import Deployments, NotFound
from zocket.control.key_sets import KeySets
from zocket.control.records import Database
from zocket.control.schemas import (
    ActiveBundle,
    Authorized,
    DeploymentView,
    Done,
    Failure,
    Knock,
    ProjectConfig,
    Report,
)
from zocket.control.tokens import TokenChecker
from zocket.errors import (
    INTERNAL,
    CallerError,
    InvalidFrame,
    SettingsError,
    TooLarge,
    Unauthorized,
    Unavailable,
    ZocketError,
)
from zocket.ids import Scope

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from zocket.clock import Clock
    from zocket.settings import ControlSettings

UPLOAD_PATH: Final = "/api/internal/deployments"
"""The one route with a body that may be large; it is bounded by the bundle store."""

log = logging.getLogger("zocket.control")

_STATUSES: Final[tuple[tuple[type[ZocketError], int], ...]] = (
    (Unauthorized, 401),
    (NotFound, 404),
    (TooLarge, 413),
    (Unavailable, 503),
    (CallerError, 400),
)


def create_app(settings: ControlSettings, *, clock: Clock, key_sets: KeySets | None = None) -> FastAPI:
    """The application; the database is open during its lifespan.

    Args:
        settings: environment of the control plane.
        clock: time of records and of token expiry.
        key_sets: public keys of `jwt-jwks` projects; by default fetched from the public internet.
    """
    tokens = TokenChecker(clock, key_sets or KeySets(clock))
    store = BundleStore(Path(settings.bundle_store))

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with Database.open(settings.database_url) as database:
            deployments = Deployments(database, tokens, lambda: int(clock.wall() * 1000), catch_all=settings.dev_mode)
            if settings.dev_mode:
                await deployments.ensure_local()
            app.state.deployments = deployments
            yield

    app = FastAPI(title="Zocket control plane", lifespan=lifespan, responses={"default": {"model": Failure}})
    app.state.store = store
    app.state.settings = settings
    app.include_router(_public)
    app.include_router(_internal)
    app.add_middleware(BodyLimit, unbounded=UPLOAD_PATH)
    app.add_exception_handler(ZocketError, _zocket_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(Exception, _unexpected_error)
    return app


def _deployments(request: Request) -> Deployments:
    deployments: Deployments = request.app.state.deployments
    return deployments


def _store(request: Request) -> BundleStore:
    store: BundleStore = request.app.state.store
    return store


def _scope(
    workspace_id: Annotated[str, Query(alias="workspaceId")], project_id: Annotated[str, Query(alias="projectId")]
) -> Scope:
    try:
        return Scope(workspace_id, project_id)
    except SettingsError as error:
        raise InvalidFrame(error.message) from error


def _internal_only(request: Request) -> None:
    """Lets in who has the internal token."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    wanted = request.app.state.settings.internal_token
    if scheme.lower() != "bearer" or not hmac.compare_digest(token.strip().encode(), wanted.encode()):
        raise Unauthorized("the internal bearer token is missing or wrong")


Operations = Annotated[Deployments, Depends(_deployments)]
Store = Annotated[BundleStore, Depends(_store)]
InScope = Annotated[Scope, Depends(_scope)]

_public = APIRouter()
_internal = APIRouter(dependencies=[Depends(_internal_only)])


@_public.get("/api/health")
async def health() -> Done:
    """The service answers."""
    return Done()


@_internal.get("/api/internal/runtime/active")
async def active(
    request: Request, operations: Operations, scope: InScope, deployment_id: Annotated[str, Query(alias="deploymentId")]
) -> ActiveBundle:
    """What a runtime is to load, and what its bundle's checksum must be."""
    deployment, key = await operations.deployment(scope, deployment_id)
    base = request.app.state.settings.public_url or str(request.base_url)
    return ActiveBundle(
        deployment_id=deployment.deployment_id,
        url=f"{base.rstrip('/')}/api/internal/bundles/{key}",
        sha256=deployment.sha256,
        size=deployment.size,
    )


@_internal.get("/api/internal/bundles/{key}", response_class=FileResponse)
async def bundle(store: Store, key: str) -> FileResponse:
    """The bytes of a bundle."""
    path = store.path(key)
    if path is None:
        raise NotFound("no such bundle")
    return FileResponse(path, media_type="application/octet-stream")


@_internal.post("/api/internal/runtime/report")
async def report(operations: Operations, body: Report) -> Done:
    """A runtime is ready, or could not start."""
    await operations.report(body)
    return Done()


@_internal.post("/api/registry/authorize")
async def authorize(operations: Operations, body: Knock) -> Authorized:
    """Which project a socket belongs to and who its client is; 401 for anybody who may not connect."""
    try:
        return await operations.authorize(body.host, body.token)
    except Unavailable as error:
        raise Unauthorized(error.message, code=error.code) from error


@_internal.put("/api/internal/projects/{project_id}")
async def put_project(operations: Operations, project_id: str, body: ProjectConfig) -> Done:
    """Creates a project or changes its host name and how its clients are told apart."""
    await operations.put_project(project_id, body)
    return Done()


@_internal.post(
    UPLOAD_PATH,
    status_code=201,
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
        }
    },
)
async def upload(request: Request, operations: Operations, store: Store, scope: InScope) -> DeploymentView:
    """Stores a bundle as the project's next deployment; it becomes active when its runtime reports `ready`."""
    await operations.check_project(scope)
    stored = await store.store(request.stream())
    if stored.size == 0:
        raise InvalidFrame("bundle: the body is empty")
    return await operations.add(scope, stored)


@_internal.get(UPLOAD_PATH + "/{deployment_id}")
async def deployment(operations: Operations, scope: InScope, deployment_id: str) -> DeploymentView:
    """What became of a deployment."""
    view, _ = await operations.deployment(scope, deployment_id)
    return view


def _failure(request: Request, status: int, error: str, code: str, headers: Any = None) -> JSONResponse:
    body = Failure(error=error, code=code, request_id=request_id_of(request.scope))
    return JSONResponse(body.model_dump(by_alias=True), status, headers)


async def _zocket_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, ZocketError)
    status = next((status for kind, status in _STATUSES if isinstance(error, kind)), 500)
    return _failure(request, status, error.message, error.code)


async def _validation_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    issues = "; ".join(f"{'.'.join(map(str, issue['loc']))}: {issue['msg']}" for issue in error.errors())
    return _failure(request, 400, f"the request cannot be used: {issues}", InvalidFrame.default_code)


async def _http_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    code = {404: "not_found", 405: "method_not_allowed", 413: "too_large"}.get(error.status_code, "bad_request")
    return _failure(request, error.status_code, str(error.detail), code, error.headers)


async def _unexpected_error(request: Request, error: Exception) -> JSONResponse:
    log.error(
        "request failed",
        exc_info=error,
        extra={"path": request.url.path, "request": request_id_of(request.scope)},
    )
    return _failure(request, 500, "internal error", INTERNAL)
