"""How deployments are shown: to people with their history, to old peers in their words, to the supervision in short.

Rules: only reads; one query for the history of a whole page.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from zocket.control.deployment_schemas import DeploymentView, HistoryEntry
from zocket.control.failures import NotFound
from zocket.control.lifecycle import wire_status
from zocket.control.records import Deployment, DeploymentEvent, Project
from zocket.control.schemas import UploadView

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy.ext.asyncio import AsyncSession


@dataclass(frozen=True, slots=True)
class Target:
    """What an orchestrator has to know of a deployment."""

    id: str
    workspace_id: str
    project_id: str
    version: int
    status: str
    active: bool


async def previous_id(session: AsyncSession, project: Project) -> str | None:
    """The deployment that served last before the active one and was not given up for an earlier one."""
    query = (
        select(DeploymentEvent.deployment_id)
        .join(Deployment, Deployment.id == DeploymentEvent.deployment_id)
        .where(
            Deployment.project_id == project.id,
            Deployment.status == "superseded",
            Deployment.bundle_key != "",
            DeploymentEvent.status == "active",
        )
        .order_by(DeploymentEvent.id.desc())
        .limit(1)
    )
    found: str | None = await session.scalar(query)
    return found


async def project_of(session: AsyncSession, project_id: str) -> Project:
    """A project.

    Raises:
        NotFound: there is none of this id.
    """
    project = await session.get(Project, project_id)
    if project is None:
        raise NotFound("no such project")
    return project


async def active_of(session: AsyncSession, project: Project) -> Deployment | None:
    """The deployment that serves, or None."""
    if project.active_deployment_id is None:
        return None
    return await session.get(Deployment, project.active_deployment_id)


async def view_of(session: AsyncSession, deployment: Deployment, project: Project) -> DeploymentView:
    """A deployment with its history."""
    [view] = await views_of(session, [deployment], project)
    return view


async def views_of(session: AsyncSession, deployments: Iterable[Deployment], project: Project) -> list[DeploymentView]:
    """Deployments of a project with their histories, in the same order."""
    deployments = list(deployments)
    entries: dict[str, list[HistoryEntry]] = {}
    query = select(DeploymentEvent).where(DeploymentEvent.deployment_id.in_([found.id for found in deployments]))
    for event in await session.scalars(query.order_by(DeploymentEvent.id)):
        status: Any = event.status
        entry = HistoryEntry(status=status, at=event.at, by=event.by, detail=event.detail)
        entries.setdefault(event.deployment_id, []).append(entry)
    return [_shown(found, project, entries.get(found.id, [])) for found in deployments]


def _shown(deployment: Deployment, project: Project, history: list[HistoryEntry]) -> DeploymentView:
    status: Any = deployment.status
    active = project.active_deployment_id == deployment.id
    return DeploymentView(
        id=deployment.id,
        project_id=deployment.project_id,
        version=deployment.version,
        author=deployment.author,
        message=deployment.message,
        status=status,
        active=active,
        reason=deployment.reason,
        actor_types=list(deployment.actor_types),
        sha256=deployment.sha256,
        size=deployment.size,
        signed=deployment.signature is not None,
        rollback=bool(deployment.bundle_key) and not active,
        created_at=deployment.created_at,
        updated_at=deployment.updated_at,
        history=history,
    )


def target_of(deployment: Deployment, project: Project) -> Target:
    """What the supervision needs."""
    return Target(
        id=deployment.id,
        workspace_id=project.workspace_id,
        project_id=project.id,
        version=deployment.version,
        status=deployment.status,
        active=project.active_deployment_id == deployment.id,
    )


def upload_view_of(deployment: Deployment, project: Project) -> UploadView:
    """What runtimes and `zocket dev` see."""
    return UploadView(
        deployment_id=deployment.id,
        version=deployment.version,
        sha256=deployment.sha256,
        size=deployment.size,
        status=wire_status(deployment.status),
        active=project.active_deployment_id == deployment.id,
        actor_types=list(deployment.actor_types),
        message=deployment.reason,
        created_at=deployment.created_at,
        updated_at=deployment.updated_at,
    )
