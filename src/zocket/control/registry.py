"""Projects as gateways and `zocket dev` know them: which host belongs to which, and who its clients are.

Rules: one method is one transaction and knows no HTTP; an id of another workspace is answered like one that does not
exist.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from sqlalchemy import select

from zocket.control.failures import NotFound
from zocket.control.records import Project, ProjectAuth, Workspace
from zocket.control.schemas import Authorized, ProjectConfig, SessionLimits
from zocket.errors import InvalidFrame, SettingsError, Unauthorized
from zocket.ids import Scope

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.ext.asyncio import AsyncSession

    from zocket.control.auth_secrets import AuthSecrets
    from zocket.control.database import Database
    from zocket.control.tokens import TokenChecker

LOCAL: Final = Scope("local-workspace", "local-project")
"""The project that exists in dev mode, and that every host belongs to there; the defaults of a runtime's settings."""

_SLUG: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?\Z")
DOMAIN: Final = re.compile(r"(?=.{1,253}\Z)[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*\Z|\[[0-9a-f:.]+\]\Z")


class Registry:
    """Who belongs where.

    Args:
        database: the records.
        tokens: checks clients' tokens.
        secrets: seals and opens what clients' tokens are signed with.
        now_ms: the time of day.
        catch_all: every unknown host belongs to the local project (dev mode).
    """

    def __init__(
        self,
        database: Database,
        tokens: TokenChecker,
        secrets: AuthSecrets,
        now_ms: Callable[[], int],
        *,
        catch_all: bool = False,
    ) -> None:
        self._database = database
        self._tokens = tokens
        self._secrets = secrets
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
            setattr(auth, name, self._secrets.seal(value, project_id) if name == "secret" else value)

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
            await find_project(session, scope)

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
            config = self._secrets.config(auth)
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


async def find_project(session: AsyncSession, scope: Scope) -> Project:
    """The project of a workspace.

    Raises:
        NotFound: the workspace has none of this id.
    """
    project = await session.get(Project, scope.project_id)
    if project is None or project.workspace_id != scope.workspace_id:
        raise NotFound(f"no project {scope.project_id!r} in workspace {scope.workspace_id!r}")
    return project


def _limits(record: ProjectAuth | None) -> SessionLimits | None:
    if record is None or (record.rate_per_s is None and record.burst is None):
        return None
    return SessionLimits(rate_per_s=record.rate_per_s, burst=record.burst)
