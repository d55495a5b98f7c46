"""What the control plane does: projects, deployments, authorization, over the records.

Rules: one method is one transaction and knows no HTTP; an id of another project is answered like one that does not
exist; a deployment becomes active when its runtime says `ready`, never earlier.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from sqlalchemy import func, select

from zocket.control.failures import NotFound
from zocket.control.records import DEPLOYED, FAILED, STORED, Deployment, Project, ProjectAuth, Workspace, new_id
from zocket.control.schemas import AuthConfig, Authorized, DeploymentView, ProjectConfig, Report, SessionLimits
from zocket.errors import InvalidFrame, SettingsError, Unauthorized
from zocket.ids import Scope

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.ext.asyncio import AsyncSession

    from zocket.control.bundles import StoredBundle
    from zocket.control.database import Database
    from zocket.control.tokens import TokenChecker

LOCAL: Final = Scope("local-workspace", "local-project")
"""The project that exists in dev mode, and that every host belongs to there; the defaults of a runtime's settings."""
MAX_MESSAGE_CHARS: Final = 8_000
"""What is kept of a runtime's message; the whole traceback is in its log."""

_SLUG: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?\Z")
DOMAIN: Final = re.compile(r"(?=.{1,253}\Z)[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*\Z|\[[0-9a-f:.]+\]\Z")


class Deployments:
    """The operations.

    Args:
        database: the records.
        tokens: checks clients' tokens.
        now_ms: the time of day.
        catch_all: every unknown host belongs to the local project (dev mode).
    """

    def __init__(
        self, database: Database, tokens: TokenChecker, now_ms: Callable[[], int], *, catch_all: bool = False
    ) -> None:
        self._database = database
        self._tokens = tokens
        self._now_ms = now_ms
        self._catch_all = catch_all

    async def put_project(self, project_id: str, config: ProjectConfig) -> None:
        """Writes a project and how its clients are told apart.

        Raises:
            InvalidFrame: an id, the slug, the domain or the auth config is not usable, or the domain is taken.
        """
        try:
            Scope(config.workspace_id, project_id)
        except SettingsError as error:
            raise InvalidFrame(error.message) from error
        if not _SLUG.match(config.slug):
            raise InvalidFrame("slug: expected 1-64 lower-case letters, digits or '-'")
        if config.domain is not None and not DOMAIN.match(config.domain):
            raise InvalidFrame("domain: expected a host name in lower case without a port")
        config.auth.check()
        async with self._database.session() as session:
            same_slug = select(Project).where(
                Project.workspace_id == config.workspace_id, Project.slug == config.slug, Project.id != project_id
            )
            if await session.scalar(same_slug) is not None:
                raise InvalidFrame("slug: another project of the workspace has it")
            same_domain = select(Project).where(Project.domain == config.domain, Project.id != project_id)
            if config.domain is not None and await session.scalar(same_domain) is not None:
                raise InvalidFrame("domain: another project has it")
            await self._write_project(session, project_id, config)

    async def _write_project(self, session: AsyncSession, project_id: str, config: ProjectConfig) -> None:
        now = self._now_ms()
        if await session.get(Workspace, config.workspace_id) is None:
            session.add(Workspace(id=config.workspace_id, name=config.workspace_id, created_at=now))
            await session.flush()
        project = await session.get(Project, project_id)
        if project is None:
            project = Project(id=project_id, workspace_id=config.workspace_id, name=config.slug, created_at=now)
            session.add(project)
        elif project.workspace_id != config.workspace_id:
            raise InvalidFrame("workspaceId: the project belongs to another workspace")
        project.slug, project.domain = config.slug, config.domain
        await session.flush()
        auth = await session.get(ProjectAuth, project_id)
        if auth is None:
            auth = ProjectAuth(project_id=project_id, origins=[])
            session.add(auth)
        for name, value in config.auth.model_dump().items():
            setattr(auth, name, value)

    async def ensure_local(self) -> None:
        """The project of dev mode exists."""
        async with self._database.session() as session:
            if await session.get(Project, LOCAL.project_id) is None:
                await self._write_project(
                    session, LOCAL.project_id, ProjectConfig(workspace_id=LOCAL.workspace_id, slug="local")
                )

    async def check_project(self, scope: Scope) -> None:
        """Raises NotFound unless the workspace has the project."""
        async with self._database.reading() as session:
            await _project(session, scope)

    async def add(self, scope: Scope, bundle: StoredBundle) -> DeploymentView:
        """A stored bundle becomes the project's next version.

        Raises:
            NotFound: the workspace has no such project.
        """
        async with self._database.session() as session:
            project = await _project(session, scope)
            last = await session.scalar(
                select(func.max(Deployment.version)).where(Deployment.project_id == scope.project_id)
            )
            now = self._now_ms()
            deployment = Deployment(
                id=new_id("dpl"),
                project_id=scope.project_id,
                version=(last or 0) + 1,
                bundle_key=bundle.key,
                sha256=bundle.sha256,
                size=bundle.size,
                status=STORED,
                actor_types=[],
                author="internal",
                created_at=now,
                updated_at=now,
            )
            session.add(deployment)
            return _view(deployment, project)

    async def deployment(self, scope: Scope, deployment_id: str) -> tuple[DeploymentView, str]:
        """A deployment of a project, and the key of its bundle.

        Raises:
            NotFound: the project has no such deployment.
        """
        async with self._database.reading() as session:
            project = await _project(session, scope)
            deployment = await session.get(Deployment, deployment_id)
            if deployment is None or deployment.project_id != scope.project_id:
                raise NotFound(f"no deployment {deployment_id[:80]!r} in project {scope.project_id!r}")
            return _view(deployment, project), deployment.bundle_key

    async def has_bundle(self, project_id: str | None, key: str) -> bool:
        """Whether a bundle belongs to a deployment of a project, or of any for None."""
        if project_id is None:
            return True
        async with self._database.reading() as session:
            query = select(Deployment.id).where(Deployment.project_id == project_id, Deployment.bundle_key == key)
            return await session.scalar(query.limit(1)) is not None

    async def report(self, report: Report, *, project_id: str | None = None) -> None:
        """Takes down what a runtime says; `ready` makes its deployment the active one.

        Args:
            report: what it says.
            project_id: the only project that the runtime may speak of, or None for any.

        Raises:
            NotFound: there is no such deployment.
        """
        async with self._database.session() as session:
            deployment = await session.get(Deployment, report.deployment_id)
            if deployment is None or project_id not in (None, deployment.project_id):
                raise NotFound(f"no deployment {report.deployment_id[:80]!r}")
            deployment.updated_at = self._now_ms()
            if report.status == "failed":
                deployment.status = FAILED
                deployment.reason = (report.message or "the runtime gave no message")[:MAX_MESSAGE_CHARS]
                return
            deployment.status, deployment.reason = DEPLOYED, None
            deployment.actor_types = report.actor_types
            project = await session.get_one(Project, deployment.project_id)
            project.active_deployment_id = deployment.id

    async def authorize(self, host: str, token: str | None) -> Authorized:
        """Which project a host belongs to and who the token names there.

        Raises:
            Unauthorized: no project has the host, or the token is refused.
            Unavailable: the project's key set cannot be fetched.
        """
        name = normal_host(host)
        async with self._database.reading() as session:
            project = await session.scalar(select(Project).where(Project.domain == name)) if name else None
            if project is None and self._catch_all:
                project = await session.get(Project, LOCAL.project_id)
            if project is None:
                raise Unauthorized("no project is served at this host")
            auth = await session.get(ProjectAuth, project.id)
            config = _auth_config(auth)
        identity = await self._tokens.identify(config, token)
        return Authorized(
            workspace_id=project.workspace_id,
            project_id=project.id,
            user_id=identity.user_id,
            claims=dict(identity.claims) if identity.claims is not None else None,
            origins=auth.origins or None if auth else None,
            limits=_limits(auth),
        )


def normal_host(host: str) -> str:
    """A Host header in lower case without its port and without the dot of a fully qualified name."""
    name = host.strip().lower()
    if name.startswith("["):
        return name.partition("]")[0] + "]"
    return name.partition(":")[0].removesuffix(".")


async def _project(session: AsyncSession, scope: Scope) -> Project:
    project = await session.get(Project, scope.project_id)
    if project is None or project.workspace_id != scope.workspace_id:
        raise NotFound(f"no project {scope.project_id!r} in workspace {scope.workspace_id!r}")
    return project


def _auth_config(record: ProjectAuth | None) -> AuthConfig:
    if record is None:
        return AuthConfig()
    return AuthConfig.model_validate(record, from_attributes=True)


def _limits(record: ProjectAuth | None) -> SessionLimits | None:
    if record is None or (record.rate_per_s is None and record.burst is None):
        return None
    return SessionLimits(rate_per_s=record.rate_per_s, burst=record.burst)


def _view(deployment: Deployment, project: Project) -> DeploymentView:
    return DeploymentView(
        deployment_id=deployment.id,
        version=deployment.version,
        sha256=deployment.sha256,
        size=deployment.size,
        status=deployment.status,
        active=project.active_deployment_id == deployment.id,
        actor_types=list(deployment.actor_types),
        message=deployment.reason,
        created_at=deployment.created_at,
        updated_at=deployment.updated_at,
    )
