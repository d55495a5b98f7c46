"""Who may use a route: one rule per route, declared where the route is (`requires(project="developer")`).

Rules: no route checks a role by itself; a workspace, project or deployment that the caller may not know of is answered
like one that does not exist; every route of the application has a rule or is `PUBLIC` (a test walks over all of them).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final

from fastapi import Depends, Path, Query, Request, Security
from fastapi.security import APIKeyCookie, HTTPBearer
from sqlalchemy import and_, or_, select

from zocket.control.api.services import Services, services_of
from zocket.control.callers import COOKIE, Caller, Kind
from zocket.control.failures import Forbidden, NotFound, Taken
from zocket.control.records import Deployment, Membership, Project, Role, Workspace
from zocket.errors import Unauthorized

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.ext.asyncio import AsyncSession

PERSON: Final[frozenset[Kind]] = frozenset({"cookie", "cli"})
"""A person, in a browser or with the command line."""
BROWSER: Final[frozenset[Kind]] = frozenset({"cookie"})
"""A person in a browser: a token must not make further tokens of its kind."""
PIPELINE: Final[frozenset[Kind]] = PERSON | {"deploy"}
"""A person, or the deploy token of the project in question."""
SERVICE: Final[frozenset[Kind]] = frozenset({"internal"})

RANKS: Final[dict[Role, int]] = {"viewer": 1, "developer": 2, "owner": 3}

ID_PATTERN: Final = r"^[A-Za-z0-9_-]{1,64}$"
Id = Annotated[str, Path(pattern=ID_PATTERN)]
"""An id in a path; what cannot be one is refused before the database is asked."""
QueryId = Annotated[str, Query(pattern=ID_PATTERN)]

_bearer = HTTPBearer(auto_error=False, description="CLI token `zkc_…`, deploy token `zkd_…` or internal token `zki_…`")
_cookie = APIKeyCookie(name=COOKIE, auto_error=False, description="A signed-in browser; X-Zocket-CSRF beside it")


@dataclass(frozen=True, slots=True)
class Rule:
    """What a route asks of its caller.

    Attributes:
        callers: the kinds that may come at all.
        role: the least role of a person in the workspace concerned, or None.
        service: which internal token is good for it besides the configured one, or None.
        admin: only for administrators of the installation.
        optional: nobody may come, too.
    """

    callers: frozenset[Kind]
    role: Role | None = None
    service: str | None = None
    admin: bool = False
    optional: bool = False


PUBLIC: Final = Rule(frozenset(), optional=True)
"""Anybody, and nobody is looked at."""

OPTIONAL: Final[dict[str, Any]] = {"security": [{}]}
"""`openapi_extra` of a route with `requires(optional=True)`: no proof is one of the alternatives."""


@dataclass(frozen=True, slots=True)
class Granted:
    """A caller who passed, and what the path named.

    Attributes:
        role: the person's, or `developer` for a deploy token; None where no workspace is concerned.
    """

    caller: Caller
    workspace_id: str = ""
    project_id: str = ""
    deployment_id: str = ""
    role: Role | None = None

    @property
    def user_id(self) -> str:
        """The person; only for rules that let nobody else in."""
        if self.caller.user_id is None:
            raise Forbidden("only a person may do this")
        return self.caller.user_id

    def check_project(self, project_id: str) -> None:
        """Refuses what an internal token of another project asks for.

        Raises:
            NotFound: the token is good for one project only, and this is another.
        """
        if self.caller.project_id not in (None, project_id):
            raise NotFound("no such project")


async def _found(
    request: Request,
    services: Annotated[Services, Depends(services_of)],
    _bearer: Annotated[Any, Security(_bearer)],
    _cookie: Annotated[Any, Security(_cookie)],
) -> Caller:
    return await services.callers.find(request)


Found = Annotated[Caller, Depends(_found)]
Parts = Annotated[Services, Depends(services_of)]


def requires(
    *,
    callers: frozenset[Kind] = PERSON,
    workspace: Role | None = None,
    project: Role | None = None,
    project_in_query: Role | None = None,
    deployment: Role | None = None,
    service: str | None = None,
    admin: bool = False,
    optional: bool = False,
) -> Any:
    """A dependency that gives `Granted`, or refuses.

    Args:
        callers: the kinds that may come.
        workspace: least role in the workspace of the path's `{workspace_id}`.
        project: least role in the workspace of the path's `{project_id}`, which is an id or a slug.
        project_in_query: the same for `?projectId=`.
        deployment: least role in the workspace of the path's `{deployment_id}`.
        service: instead of people, internal tokens: `gateway`, `runtime`, or `any` for the configured one alone.
        admin: only administrators of the installation.
        optional: also who does not say who it is.
    """
    role = workspace or project or project_in_query or deployment
    rule = Rule(SERVICE if service else callers, role, service, admin, optional)

    async def plain(caller: Found) -> Granted:
        return Granted(_admit(caller, rule))

    async def in_workspace(caller: Found, parts: Parts, workspace_id: Id) -> Granted:
        _admit(caller, rule)
        return await _in_workspace(parts, caller, rule, workspace_id)

    async def in_project(caller: Found, parts: Parts, project_id: Id) -> Granted:
        _admit(caller, rule)
        async with parts.database.reading() as session:
            return await _in_project(session, caller, rule, project_id)

    async def in_query(caller: Found, parts: Parts, projectId: QueryId) -> Granted:  # noqa: N803 — as on the wire
        _admit(caller, rule)
        async with parts.database.reading() as session:
            return await _in_project(session, caller, rule, projectId)

    async def in_deployment(caller: Found, parts: Parts, deployment_id: Id) -> Granted:
        _admit(caller, rule)
        async with parts.database.reading() as session:
            found = await session.get(Deployment, deployment_id)
            if found is None:
                raise NotFound("no such deployment")
            try:
                granted = await _in_project(session, caller, rule, found.project_id)
            except NotFound:
                raise NotFound("no such deployment") from None
        return Granted(caller, granted.workspace_id, granted.project_id, deployment_id, granted.role)

    check: Callable[..., Any] = plain
    if workspace:
        check = in_workspace
    elif project:
        check = in_project
    elif project_in_query:
        check = in_query
    elif deployment:
        check = in_deployment
    check.rule = rule  # type: ignore[attr-defined]  # what the walk over all routes looks for
    return Depends(check)


def _public() -> None:
    """Lets everybody in."""


_public.rule = PUBLIC  # type: ignore[attr-defined]
public: Final = Depends(_public)
"""The dependency of a route that anybody may use."""


def _admit(caller: Caller, rule: Rule) -> Caller:
    """The part of a rule that needs no record."""
    if caller.kind == "nobody":
        if rule.optional:
            return caller
        raise Unauthorized("sign in, or send a token as `Authorization: Bearer …`")
    if caller.kind not in rule.callers:
        raise Forbidden(f"a caller with this kind of proof ({caller.kind}) may not do this")
    if rule.service and caller.service not in ("any", rule.service):
        raise Forbidden(f"an internal token of a {caller.service} may not do this")
    if rule.admin and not caller.is_admin:
        raise Forbidden("only an administrator of this installation may do this")
    return caller


def _ranked(role: str, rule: Rule) -> Role:
    """The person's role, if it suffices."""
    has: Role = role  # type: ignore[assignment]  # only these three are ever written
    if rule.role and RANKS[has] < RANKS[rule.role]:
        raise Forbidden(f"this needs the role {rule.role}; yours is {has}")
    return has


async def granted_in_workspace(parts: Services, caller: Caller, workspace_id: str, role: Role) -> Granted:
    """The same as `requires(workspace=role)`, for a workspace that the body names.

    Raises:
        NotFound: the caller is no member.
        Forbidden: the caller's role does not suffice.
    """
    return await _in_workspace(parts, caller, Rule(PERSON, role), workspace_id)


async def _in_workspace(parts: Services, caller: Caller, rule: Rule, workspace_id: str) -> Granted:
    query = select(Workspace.id, Membership.role).join(Membership, Membership.workspace_id == Workspace.id)
    async with parts.database.reading() as session:
        query = query.where(Workspace.id == workspace_id, Membership.user_id == caller.user_id)
        found = (await session.execute(query)).one_or_none()
    if found is None:
        raise NotFound("no such workspace")
    return Granted(caller, found[0], role=_ranked(found[1], rule))


async def _in_project(session: AsyncSession, caller: Caller, rule: Rule, named: str) -> Granted:
    matches = or_(Project.id == named, Project.slug == named)
    if caller.kind == "deploy":
        project = await session.get(Project, caller.project_id)
        if project is None or named not in (project.id, project.slug):
            raise NotFound("no such project")
        return Granted(caller, project.workspace_id, project.id, role=_ranked("developer", rule))
    query = select(Project.id, Project.workspace_id, Membership.role).join(
        Membership, and_(Membership.workspace_id == Project.workspace_id, Membership.user_id == caller.user_id)
    )
    found = (await session.execute(query.where(matches))).all()
    exact = [row for row in found if row[0] == named] or found
    if not exact:
        raise NotFound("no such project")
    if len(exact) > 1:
        raise Taken("several projects of yours have this slug; name the project by its id", code="ambiguous")
    project_id, workspace_id, role = exact[0]
    return Granted(caller, workspace_id, project_id, role=_ranked(role, rule))
