"""Deployments: recorded, moved along their life, told with their history.

Rules: one method is one transaction and knows no HTTP; a status changes only through `lifecycle.step`, and every change
leaves an entry in the history with who and why; a deployment becomes active when its runtime says `ready`, never
earlier, and in that same transaction the one before stops being it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sqlalchemy import func, select

from zocket.control.deployment_views import (
    Target,
    active_of,
    previous_id,
    project_of,
    target_of,
    upload_view_of,
    view_of,
    views_of,
)
from zocket.control.failures import NotFound, Taken
from zocket.control.lifecycle import COMING, step
from zocket.control.paging import Page, Paging, read_page
from zocket.control.records import Deployment, DeploymentEvent, Project, new_id
from zocket.control.registry import find_project

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.ext.asyncio import AsyncSession

    from zocket.control.bundles import StoredBundle
    from zocket.control.database import Database
    from zocket.control.deployment_schemas import DeploymentView
    from zocket.control.lifecycle import Event
    from zocket.control.schemas import Report, UploadView
    from zocket.ids import Scope

MAX_MESSAGE_CHARS: Final = 8_000
"""What is kept of a runtime's message; the whole traceback is in its log."""
RUNTIME: Final = "runtime"
PLATFORM: Final = "platform"
"""Who acts where no person does."""
INTERNAL: Final = "internal"
"""Author of what peers upload whose runtimes they start themselves."""
_NOTED: Final = frozenset({"crash", "fail"})
"""Events that go into the history although the status stays."""


@dataclass(frozen=True, slots=True)
class Step:
    """What a report or an event did.

    Attributes:
        status: of the deployment now.
        previous: the deployment that was active until now and is no more, or None.
    """

    project_id: str
    status: str
    previous: str | None = None


class Deployments:
    """The operations.

    Args:
        database: the records.
        now_ms: the time of day.
        changed: is told the ids of a project and of the deployment that changed (empty: which one is active), after
            the change is written.
    """

    def __init__(
        self, database: Database, now_ms: Callable[[], int], changed: Callable[[str, str], None] = lambda *_: None
    ) -> None:
        self._database = database
        self._now_ms = now_ms
        self._changed = changed

    # -- what runtimes and `zocket dev` see ------------------------------------------------------------------------

    async def upload(self, scope: Scope, bundle: StoredBundle) -> UploadView:
        """A stored bundle becomes the project's next version; nobody here starts its runtime.

        Raises:
            NotFound: the workspace has no such project.
        """
        async with self._database.session() as session:
            project = await find_project(session, scope)
            deployment = await self._add(session, project, bundle, author=INTERNAL)
            return upload_view_of(deployment, project)

    async def uploaded(self, scope: Scope, deployment_id: str) -> tuple[UploadView, str]:
        """A deployment of a project, and the key of its bundle.

        Raises:
            NotFound: the project has no such deployment.
        """
        async with self._database.reading() as session:
            project = await find_project(session, scope)
            deployment = await session.get(Deployment, deployment_id)
            if deployment is None or deployment.project_id != scope.project_id:
                raise NotFound(f"no deployment {deployment_id[:80]!r} in project {scope.project_id!r}")
            return upload_view_of(deployment, project), deployment.bundle_key

    async def has_bundle(self, project_id: str | None, key: str) -> int | None:
        """The size of a bundle that belongs to a deployment of a project (of any for None), else None."""
        query = select(Deployment.size).where(Deployment.bundle_key == key)
        if project_id is not None:
            query = query.where(Deployment.project_id == project_id)
        async with self._database.reading() as session:
            return await session.scalar(query.limit(1))

    async def report(self, report: Report, *, project_id: str | None = None) -> Step:
        """Takes down what a runtime says; `ready` makes its deployment the active one.

        Args:
            report: what it says.
            project_id: the only project that the runtime may speak of, or None for any.

        Raises:
            NotFound: there is no such deployment.
            ImpossibleStep: the deployment is in no state in which its runtime can say this.
        """
        event: Event = "fail" if report.status == "failed" else report.status
        detail = (report.message or "the runtime gave no message") if event == "fail" else None
        return await self.record(
            report.deployment_id, event, RUNTIME, detail, actor_types=report.actor_types, project_id=project_id
        )

    # -- life ------------------------------------------------------------------------------------------------------

    async def add(
        self, project_id: str, bundle: StoredBundle, *, author: str, message: str | None, signature: str | None = None
    ) -> DeploymentView:
        """A stored bundle becomes the project's next version.

        Raises:
            NotFound: the project was deleted meanwhile.
        """
        async with self._database.session() as session:
            project = await project_of(session, project_id)
            deployment = await self._add(session, project, bundle, author=author, message=message, signature=signature)
            await session.flush()
            view = await view_of(session, deployment, project)
        self._changed(project_id, view.id)
        return view

    async def add_copy(self, project_id: str, *, author: str, message: str) -> DeploymentView | None:
        """The active bundle becomes the project's next version; None if nothing is active.

        Raises:
            NotFound: the project was deleted meanwhile.
        """
        from zocket.control.bundles import StoredBundle

        async with self._database.session() as session:
            project = await project_of(session, project_id)
            active = await active_of(session, project)
            if active is None:
                return None
            bundle = StoredBundle(active.bundle_key, active.sha256, active.size)
            copy = await self._add(session, project, bundle, author=author, message=message, signature=active.signature)
            await session.flush()
            view = await view_of(session, copy, project)
        self._changed(project_id, view.id)
        return view

    async def record(
        self,
        deployment_id: str,
        event: Event,
        by: str,
        detail: str | None = None,
        *,
        actor_types: list[str] | None = None,
        project_id: str | None = None,
    ) -> Step:
        """Something happens to a deployment.

        Raises:
            NotFound: there is no such deployment.
            ImpossibleStep: it cannot happen to it now.
        """
        async with self._database.session() as session:
            deployment = await session.get(Deployment, deployment_id, with_for_update=True)
            if deployment is None or project_id not in (None, deployment.project_id):
                raise NotFound(f"no deployment {deployment_id[:80]!r}")
            project = await session.get_one(Project, deployment.project_id, with_for_update=True)
            if event == "fail" and deployment.status == "active" and project.active_deployment_id == deployment.id:
                event = "crash"  # it serves, or did until now, and is started again: no later one took its place
            previous = None
            if event == "ready":
                previous = await self._make_active(session, project, deployment, by)
            self._move(session, deployment, event, by, detail)
            if actor_types and event in ("ready", "standby", "smoke"):
                deployment.actor_types = actor_types
            done = Step(project.id, deployment.status, previous)
        self._changed(done.project_id, deployment_id)
        if done.previous is not None:
            self._changed(done.project_id, done.previous)
        if event == "ready":
            self._changed(done.project_id, "")
        return done

    async def give_back(self, failed_id: str, restored_id: str, reason: str) -> None:
        """A deployment that had become active does not serve: it failed, and the one before is active again."""
        async with self._database.session() as session:
            failed = await session.get_one(Deployment, failed_id, with_for_update=True)
            restored = await session.get_one(Deployment, restored_id, with_for_update=True)
            project = await session.get_one(Project, failed.project_id, with_for_update=True)
            project.active_deployment_id = restored.id
            self._move(session, failed, "fail", PLATFORM, reason)
            self._move(session, restored, "restore", PLATFORM, f"version {failed.version} gave it back: {reason}")
            restored.reason = None
        self._changed(project.id, failed_id)
        self._changed(project.id, restored_id)
        self._changed(project.id, "")

    async def note(self, deployment_id: str, detail: str, by: str = PLATFORM) -> None:
        """Something worth knowing happened that changes nothing."""
        async with self._database.session() as session:
            deployment = await session.get_one(Deployment, deployment_id)
            self._enter(session, deployment, by, detail)
            project_id = deployment.project_id
        self._changed(project_id, deployment_id)

    async def _make_active(
        self, session: AsyncSession, project: Project, deployment: Deployment, by: str
    ) -> str | None:
        previous = await active_of(session, project)
        project.active_deployment_id = deployment.id
        if previous is None or previous.id == deployment.id:
            return None
        if previous.status == "active":
            event: Event = "roll_back" if previous.version > deployment.version else "supersede"
            self._move(session, previous, event, by, f"version {deployment.version} took over")
        return previous.id

    def _move(self, session: AsyncSession, deployment: Deployment, event: Event, by: str, detail: str | None) -> None:
        before, deployment.status = deployment.status, step(deployment.status, event)
        deployment.updated_at = self._now_ms()
        if detail is not None:
            detail = detail[:MAX_MESSAGE_CHARS]
        came_back = event == "ready" and deployment.reason is not None
        if event in ("fail", "crash"):
            deployment.reason = detail
        elif event in ("start", "ready"):
            deployment.reason = None
        if event == "standby" and deployment.status == "smoke":
            detail = detail or "every check passed; it stands by"
        elif came_back:
            detail = detail or "it serves again"
        elif before == deployment.status and event not in _NOTED:
            return
        self._enter(session, deployment, by, detail)

    def _enter(self, session: AsyncSession, deployment: Deployment, by: str, detail: str | None) -> None:
        session.add(
            DeploymentEvent(
                deployment_id=deployment.id, status=deployment.status, at=self._now_ms(), by=by[:254], detail=detail
            )
        )

    async def _add(
        self,
        session: AsyncSession,
        project: Project,
        bundle: StoredBundle,
        *,
        author: str,
        message: str | None = None,
        signature: str | None = None,
    ) -> Deployment:
        last = await session.scalar(select(func.max(Deployment.version)).where(Deployment.project_id == project.id))
        now = self._now_ms()
        deployment = Deployment(
            id=new_id("dpl"),
            project_id=project.id,
            version=(last or 0) + 1,
            bundle_key=bundle.key,
            sha256=bundle.sha256,
            size=bundle.size,
            signature=signature,
            status="stored",
            actor_types=[],
            author=author[:254],
            message=message,
            created_at=now,
            updated_at=now,
        )
        session.add(deployment)
        await session.flush()
        self._enter(session, deployment, author, message)
        return deployment

    # -- reading ---------------------------------------------------------------------------------------------------

    async def page(self, project_id: str, asked: Paging) -> Page[DeploymentView]:
        """A project's deployments, newest first."""
        async with self._database.reading() as session:
            project = await project_of(session, project_id)
            query = select(Deployment).where(Deployment.project_id == project_id)
            page = await read_page(
                session,
                query,
                asked,
                lambda row: row[0],
                at=Deployment.version,
                key=Deployment.id,
                newest_first=True,
            )
            return Page(items=await views_of(session, page.items, project), next=page.next)

    async def read(self, deployment_id: str) -> DeploymentView:
        """A deployment.

        Raises:
            NotFound: there is no such deployment.
        """
        async with self._database.reading() as session:
            deployment = await session.get(Deployment, deployment_id)
            if deployment is None:
                raise NotFound("no such deployment")
            return await view_of(session, deployment, await project_of(session, deployment.project_id))

    async def target(self, deployment_id: str) -> Target:
        """What is to be started.

        Raises:
            NotFound: there is no such deployment.
        """
        async with self._database.reading() as session:
            deployment = await session.get(Deployment, deployment_id)
            if deployment is None:
                raise NotFound("no such deployment")
            return target_of(deployment, await project_of(session, deployment.project_id))

    async def active_id(self, project_id: str) -> str | None:
        """The deployment that serves, or None.

        Raises:
            NotFound: there is no such project.
        """
        async with self._database.reading() as session:
            return (await project_of(session, project_id)).active_deployment_id

    async def rollback_target(self, project_id: str, deployment_id: str | None) -> Target:
        """The deployment to go back to: the one asked for, else the one that served before.

        Raises:
            NotFound: the project has no such deployment.
            Taken: it serves already, is on its way, never served, or its bundle is no longer kept.
        """
        async with self._database.reading() as session:
            project = await project_of(session, project_id)
            if deployment_id is None:
                deployment_id = await previous_id(session, project)
                if deployment_id is None:
                    raise Taken("no earlier deployment served; there is nothing to go back to", code="no_previous")
            found = await session.get(Deployment, deployment_id)
            if found is None or found.project_id != project_id:
                raise NotFound("no such deployment")
            if found.id == project.active_deployment_id:
                raise Taken(f"version {found.version} serves already", code="already_active")
            if found.status in COMING or found.status == "stored":
                raise Taken(f"version {found.version} is on its way already", code="impossible_step")
            if not found.bundle_key:
                raise Taken(
                    f"the bundle of version {found.version} is no longer kept; deploy it again", code="no_bundle"
                )
            return target_of(found, project)

    async def orchestrated(self) -> tuple[list[Target], list[Target], list[Target]]:
        """After a start of this process: what serves, what was on its way when the last one ended, what waited then.

        A deployment whose runtime somebody else starts (`zocket dev`) never was on its way and is left alone.
        """
        started = select(DeploymentEvent.deployment_id).where(DeploymentEvent.status == "starting")
        async with self._database.reading() as session:
            query = select(Deployment, Project).join(Project, Project.id == Deployment.project_id)
            rows = await session.execute(
                query.where(Project.active_deployment_id == Deployment.id, Deployment.id.in_(started))
            )
            serving = [target_of(row[0], row[1]) for row in rows]
            rows = await session.execute(query.where(Deployment.status.in_(COMING)))
            coming = [target_of(row[0], row[1]) for row in rows]
            rows = await session.execute(
                query.where(Deployment.status == "stored", Deployment.author != INTERNAL).order_by(Deployment.version)
            )
            return serving, coming, [target_of(row[0], row[1]) for row in rows]
