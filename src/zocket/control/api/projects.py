"""Projects, their tokens, and how their clients are told apart (docs/control-api.md)."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query

from zocket.control.api.access import ID_PATTERN, PIPELINE, Granted, Id, granted_in_workspace, requires
from zocket.control.api.services import Services, services_of
from zocket.control.identity.schemas import InternalTokenView, IssuedToken, NewInternalToken, NewToken, TokenView
from zocket.control.paging import Page, Paging, paging
from zocket.control.project_schemas import (
    AuthView,
    CreatedProject,
    NewAuth,
    NewProject,
    ProjectChange,
    ProjectView,
    Trial,
    TrialResult,
)
from zocket.control.schemas import Done

router = APIRouter(prefix="/api", tags=["projects"])

Parts = Annotated[Services, Depends(services_of)]
Asked = Annotated[Paging, Depends(paging)]
Person = Annotated[Granted, requires()]
Admin = Annotated[Granted, requires(admin=True)]
Reader = Annotated[Granted, requires(project="viewer", callers=PIPELINE)]
Viewer = Annotated[Granted, requires(project="viewer")]
Developer = Annotated[Granted, requires(project="developer")]
Owner = Annotated[Granted, requires(project="owner")]


@router.get("/projects")
async def projects(
    granted: Person,
    parts: Parts,
    asked: Asked,
    workspace_id: Annotated[str | None, Query(alias="workspaceId", pattern=ID_PATTERN)] = None,
) -> Page[ProjectView]:
    """The projects of one's workspaces, or of one of them."""
    return await parts.projects.of(granted.user_id, asked, workspace_id)


@router.post("/projects", status_code=201)
async def create_project(granted: Person, parts: Parts, body: NewProject) -> CreatedProject:
    """A new project with its first deploy token; needs the role developer in its workspace."""
    workspace_id = body.workspace_id or await parts.projects.default_workspace(granted.user_id)
    allowed = await granted_in_workspace(parts, granted.caller, workspace_id, "developer")
    created = await parts.projects.create(allowed.workspace_id, body, granted.user_id)
    parts.changes.project_changed(created.id)
    return created


@router.get("/projects/{project_id}")
async def project(granted: Reader, parts: Parts) -> ProjectView:
    """A project, by its id or its slug."""
    return await parts.projects.read(granted.project_id)


@router.patch("/projects/{project_id}")
async def change_project(granted: Developer, parts: Parts, body: ProjectChange) -> ProjectView:
    """Changes name, slug or host name."""
    changed = await parts.projects.change(granted.project_id, body)
    parts.changes.project_changed(granted.project_id)
    return changed


@router.delete("/projects/{project_id}")
async def delete_project(granted: Owner, parts: Parts) -> Done:
    """Stops a project's runtime and deletes the project with everything that belongs to it."""
    for before in parts.before_project_deleted:
        await before(granted.project_id)
    await parts.projects.delete(granted.project_id)
    return Done()


@router.get("/projects/{project_id}/deploy-tokens")
async def deploy_tokens(granted: Developer, parts: Parts, asked: Asked) -> Page[TokenView]:
    """The project's deploy tokens, newest first."""
    return await parts.bearers.deploy_tokens(granted.project_id, asked)


@router.post("/projects/{project_id}/deploy-tokens", status_code=201)
async def issue_deploy_token(granted: Developer, parts: Parts, body: NewToken) -> IssuedToken:
    """A fresh deploy token, shown once."""
    return await parts.bearers.issue_deploy_token(granted.project_id, body.name, granted.user_id)


@router.post("/projects/{project_id}/deploy-tokens/{token_id}/revoke")
async def revoke_deploy_token(granted: Developer, parts: Parts, token_id: Id) -> Done:
    """Ends a deploy token."""
    await parts.bearers.revoke_deploy_token(granted.project_id, token_id)
    return Done()


@router.get("/projects/{project_id}/auth")
async def auth(granted: Viewer, parts: Parts) -> AuthView:
    """How the project's clients are told apart, which pages may connect, and what a session may do."""
    return await parts.projects.auth(granted.project_id)


@router.put("/projects/{project_id}/auth")
async def set_auth(granted: Owner, parts: Parts, body: NewAuth) -> AuthView:
    """Writes it as a whole."""
    return await parts.projects.set_auth(granted.project_id, body)


@router.post("/projects/{project_id}/auth/test")
async def try_token(granted: Developer, parts: Parts, body: Trial) -> TrialResult:
    """What the project would say to a client's token."""
    return await parts.projects.try_token(granted.project_id, body.token)


@router.get("/internal-tokens")
async def internal_tokens(granted: Admin, parts: Parts, asked: Asked) -> Page[InternalTokenView]:
    """The tokens of gateways and runtimes, newest first."""
    return await parts.bearers.internal_tokens(asked)


@router.post("/internal-tokens", status_code=201)
async def issue_internal_token(granted: Admin, parts: Parts, body: NewInternalToken) -> IssuedToken:
    """A fresh token of a gateway, or of one project's runtime, shown once."""
    return await parts.bearers.issue_internal_token(body)


@router.post("/internal-tokens/{token_id}/revoke")
async def revoke_internal_token(granted: Admin, parts: Parts, token_id: Id) -> Done:
    """Ends it."""
    await parts.bearers.revoke_internal_token(token_id)
    return Done()
