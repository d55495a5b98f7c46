"""The environment of a project's runtime (docs/control-api.md)."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Path

from zocket.control.api.access import Granted, requires
from zocket.control.api.services import Services, services_of
from zocket.control.deployment_schemas import NewValue, VariableChange, VariableView
from zocket.control.paging import Page, Paging, paging

router = APIRouter(prefix="/api/projects/{project_id}/env", tags=["deployments"])

Parts = Annotated[Services, Depends(services_of)]
Asked = Annotated[Paging, Depends(paging)]
Viewer = Annotated[Granted, requires(project="viewer")]
Developer = Annotated[Granted, requires(project="developer")]
Name = Annotated[str, Path(min_length=1, max_length=128, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]


@router.get("")
async def variables(granted: Viewer, parts: Parts, asked: Asked) -> Page[VariableView]:
    """The names of the variables, and when and by whom each was set; never a value."""
    return await parts.environment.page(granted.project_id, asked)


@router.put("/{name}")
async def set_variable(granted: Developer, parts: Parts, name: Name, body: NewValue) -> VariableChange:
    """Sets a variable; the active bundle is deployed anew with it."""
    await parts.environment.set(granted.project_id, name, body.value, granted.caller.name)
    return await _changed(granted, parts, name, f"set {name}")


@router.delete("/{name}")
async def unset_variable(granted: Developer, parts: Parts, name: Name) -> VariableChange:
    """Removes a variable; the active bundle is deployed anew without it."""
    await parts.environment.unset(granted.project_id, name)
    return await _changed(granted, parts, name, f"unset {name}")


async def _changed(granted: Granted, parts: Services, name: str, message: str) -> VariableChange:
    async with parts.retention.lock:
        deployment = await parts.deployments.add_copy(granted.project_id, author=granted.caller.name, message=message)
    if deployment is not None:
        parts.supervision.deploy(deployment.id, granted.caller.name)
    return VariableChange(name=name, deployment=deployment)
