"""Projects: created, changed, deleted; and how their clients are told apart.

Rules: a slug is unique in its workspace, a domain everywhere; a domain below the installation's own is given out here
and never chosen, so nobody takes the address of somebody else's project; a secret goes in and is never read back.
"""

from __future__ import annotations

import re
import secrets
import unicodedata
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from sqlalchemy import delete, func, select, tuple_

from zocket.control.failures import Forbidden, NotFound, Taken
from zocket.control.identity.bearers import add_deploy_token
from zocket.control.paging import Page, Paging, read_page
from zocket.control.project_schemas import (
    AuthView,
    CreatedProject,
    NewAuth,
    NewProject,
    ProjectChange,
    ProjectView,
    TrialResult,
)
from zocket.control.records import FAILED, Deployment, Membership, Project, ProjectAuth, Workspace, new_id
from zocket.control.registry import DOMAIN
from zocket.control.schemas import AuthConfig, SessionLimits
from zocket.errors import CallerError, InvalidFrame, Unauthorized, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from sqlalchemy.ext.asyncio import AsyncSession

    from zocket.control.auth_secrets import AuthSecrets
    from zocket.control.database import Database
    from zocket.control.tokens import TokenChecker
    from zocket.settings import ControlSettings

MAX_DERIVED_SLUG_CHARS: Final = 40
_ORIGIN: Final = re.compile(r"https?://(?:[a-z0-9_-]+(?:\.[a-z0-9_-]+)*|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?\Z")
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


def slug_of(name: str) -> str:
    """The slug that a name suggests."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:MAX_DERIVED_SLUG_CHARS].strip("-") or "project"


def normal_origin(text: str) -> str:
    """An origin as browsers send it: lower case, no path, no usual port.

    Raises:
        InvalidFrame: it is none.
    """
    origin = text.strip().lower().removesuffix("/")
    if not _ORIGIN.match(origin):
        raise InvalidFrame("origins: expected such as https://app.example.com, without a path")
    parts = urlsplit(origin)
    try:
        is_usual = parts.port == _DEFAULT_PORTS[parts.scheme]
    except ValueError:
        raise InvalidFrame("origins: a port is 1-65535") from None
    return origin.rpartition(":")[0] if is_usual else origin


class Projects:
    """The operations; who may use them is the routes' business.

    Args:
        database: the records.
        checker: tries clients' tokens.
        secrets: seals and opens what clients' tokens are signed with.
        settings: domain and address of the projects.
        now_ms: the time of day.
    """

    def __init__(
        self,
        database: Database,
        checker: TokenChecker,
        secrets: AuthSecrets,
        settings: ControlSettings,
        now_ms: Callable[[], int],
    ) -> None:
        self._database = database
        self._checker = checker
        self._secrets = secrets
        self._base_domain = settings.project_domain.lower()
        self._gateway_url = settings.gateway_url
        self._now_ms = now_ms

    async def of(self, user_id: str, asked: Paging, workspace_id: str | None = None) -> Page[ProjectView]:
        """The projects of a person's workspaces, or of one of these, oldest first."""
        query = select(Project).join(Membership, Membership.workspace_id == Project.workspace_id)
        query = query.where(Membership.user_id == user_id)
        if workspace_id is not None:
            query = query.where(Project.workspace_id == workspace_id)
        async with self._database.reading() as session:
            page = await read_page(session, query, asked, lambda row: row[0], at=Project.created_at, key=Project.id)
            return Page(items=await self._views(session, page.items), next=page.next)

    async def default_workspace(self, user_id: str) -> str:
        """Where a person's project goes if they do not say: the only workspace in which they may create one.

        Raises:
            CallerError: there is none, or several.
        """
        query = select(Membership.workspace_id).where(
            Membership.user_id == user_id, Membership.role.in_(("owner", "developer"))
        )
        async with self._database.reading() as session:
            found = (await session.scalars(query.limit(2))).all()
        if len(found) != 1:
            several = "you are in several workspaces" if found else "you have no workspace to create projects in"
            raise CallerError(f"workspaceId: {several}; name one", code="workspace_needed")
        return found[0]

    async def create(self, workspace_id: str, wanted: NewProject, user_id: str | None) -> CreatedProject:
        """A new project with its first deploy token.

        Raises:
            Taken: the slug is in use in the workspace.
        """
        now = self._now_ms()
        async with self._database.session() as session:
            await session.get(Workspace, workspace_id, with_for_update=True)
            slug = wanted.slug or await _free_slug(session, workspace_id, slug_of(wanted.name))
            await _check_slug(session, workspace_id, slug)
            project = Project(
                id=new_id("prj"),
                workspace_id=workspace_id,
                name=wanted.name.strip(),
                slug=slug,
                domain=await self._own_domain(session, slug),
                created_at=now,
            )
            session.add(project)
            await session.flush()
            session.add(ProjectAuth(project_id=project.id, mode="none", origins=[]))
            issued = add_deploy_token(session, project.id, "first", user_id, now)
            [view] = await self._views(session, [project])
            return CreatedProject(**view.model_dump(), deploy_token=issued.token)

    async def read(self, project_id: str) -> ProjectView:
        """A project.

        Raises:
            NotFound: it was deleted meanwhile.
        """
        async with self._database.reading() as session:
            [view] = await self._views(session, [await _project(session, project_id)])
            return view

    async def change(self, project_id: str, change: ProjectChange) -> ProjectView:
        """Changes the fields that were sent.

        Raises:
            Taken: the slug or domain is in use, or the domain is the installation's to give.
            InvalidFrame: no host name.
        """
        async with self._database.session() as session:
            project = await _project(session, project_id)
            if change.name is not None:
                project.name = change.name.strip()
            if change.slug is not None and change.slug != project.slug:
                await _check_slug(session, project.workspace_id, change.slug)
                project.slug = change.slug
            if "domain" in change.model_fields_set and change.domain != project.domain:
                project.domain = await self._checked_domain(session, project, change.domain)
            await session.flush()
            [view] = await self._views(session, [project])
            return view

    async def delete(self, project_id: str) -> None:
        """Deletes a project and everything that belongs to it; its bundles go with the next clean-up."""
        async with self._database.session() as session:
            await session.execute(delete(Project).where(Project.id == project_id))

    async def auth(self, project_id: str) -> AuthView:
        """How the project's clients are told apart."""
        async with self._database.reading() as session:
            return _auth_view(await session.get(ProjectAuth, project_id))

    async def set_auth(self, project_id: str, wanted: NewAuth) -> AuthView:
        """Writes the whole configuration; the secret stays if none is sent and the mode still needs one.

        Raises:
            InvalidFrame: it could let nobody, or anybody, in; or an origin is none.
        """
        origins = list(dict.fromkeys(map(normal_origin, wanted.origins)))
        async with self._database.session() as session:
            auth = await session.get(ProjectAuth, project_id, with_for_update=True)
            if auth is None:
                auth = ProjectAuth(project_id=project_id, mode="none")
                session.add(auth)
            stays = wanted.mode == "jwt-secret" and wanted.secret is None
            kept = self._secrets.config(auth).secret if stays else wanted.secret
            config = AuthConfig(**(wanted.model_dump(exclude={"origins", "limits"}) | {"secret": kept}))
            config.check()
            for name, value in config.model_dump().items():
                setattr(auth, name, self._secrets.seal(value, project_id) if name == "secret" else value)
            auth.origins, auth.rate_per_s, auth.burst = origins, wanted.limits.rate_per_s, wanted.limits.burst
            return _auth_view(auth)

    async def try_token(self, project_id: str, token: str | None) -> TrialResult:
        """What the project would say to a client's token."""
        async with self._database.reading() as session:
            config = self._secrets.config(await session.get(ProjectAuth, project_id))
        try:
            identity = await self._checker.identify(config, token)
        except (Unauthorized, Unavailable) as error:
            return TrialResult(ok=False, error=error.message, code=error.code)
        claims = dict(identity.claims) if identity.claims is not None else None
        return TrialResult(ok=True, user_id=identity.user_id, claims=claims)

    async def _own_domain(self, session: AsyncSession, slug: str) -> str | None:
        if not self._base_domain:
            return None
        domain = f"{slug}.{self._base_domain}"
        while await session.scalar(select(Project.id).where(Project.domain == domain)) is not None:
            domain = f"{slug[:MAX_DERIVED_SLUG_CHARS]}-{secrets.token_hex(3)}.{self._base_domain}"
        return domain

    async def _checked_domain(self, session: AsyncSession, project: Project, wanted: str | None) -> str | None:
        if wanted is None:
            return None
        domain = wanted.strip().lower().removesuffix(".")
        if not DOMAIN.match(domain):
            raise InvalidFrame("domain: expected a host name without a port")
        is_ours = self._base_domain and f".{domain}".endswith(f".{self._base_domain}")
        if is_ours and domain != f"{project.slug}.{self._base_domain}":
            raise Forbidden(f"domain: names below {self._base_domain} are given out by the control plane")
        if await session.scalar(select(Project.id).where(Project.domain == domain, Project.id != project.id)):
            raise Taken("domain: another project has it")
        return domain

    async def _views(self, session: AsyncSession, projects: Iterable[Project]) -> list[ProjectView]:
        projects = list(projects)
        newest = select(Deployment.project_id, func.max(Deployment.version)).where(
            Deployment.project_id.in_([project.id for project in projects])
        )
        query = select(Deployment.project_id, Deployment.status).where(
            tuple_(Deployment.project_id, Deployment.version).in_(newest.group_by(Deployment.project_id))
        )
        statuses = {row[0]: row[1] for row in await session.execute(query)}
        return [self._view(project, statuses.get(project.id)) for project in projects]

    def _view(self, project: Project, newest: str | None) -> ProjectView:
        status: Any = "empty"
        if project.active_deployment_id is not None:
            status = "active"
        elif newest is not None:
            status = "failed" if newest == FAILED else "deploying"
        return ProjectView(
            id=project.id,
            workspace_id=project.workspace_id,
            name=project.name,
            slug=project.slug,
            domain=project.domain,
            url=self._gateway_url.replace("{domain}", project.domain) if project.domain else None,
            status=status,
            active_deployment=project.active_deployment_id,
            created_at=project.created_at,
        )


async def _project(session: AsyncSession, project_id: str) -> Project:
    project = await session.get(Project, project_id)
    if project is None:
        raise NotFound("no such project")
    return project


async def _check_slug(session: AsyncSession, workspace_id: str, slug: str) -> None:
    taken = select(Project.id).where(Project.workspace_id == workspace_id, Project.slug == slug)
    if await session.scalar(taken) is not None:
        raise Taken("slug: another project of the workspace has it")


async def _free_slug(session: AsyncSession, workspace_id: str, wanted: str) -> str:
    taken = set(
        await session.scalars(
            select(Project.slug).where(Project.workspace_id == workspace_id, Project.slug.startswith(wanted))
        )
    )
    number, slug = 1, wanted
    while slug in taken:
        number += 1
        slug = f"{wanted}-{number}"
    return slug


def _auth_view(auth: ProjectAuth | None) -> AuthView:
    if auth is None:
        auth = ProjectAuth(mode="none", origins=[])
    mode: Any = auth.mode
    return AuthView(
        mode=mode,
        has_secret=bool(auth.secret),
        jwks_url=auth.jwks_url,
        issuer=auth.issuer,
        audience=auth.audience,
        origins=auth.origins,
        limits=SessionLimits(rate_per_s=auth.rate_per_s, burst=auth.burst),
    )
