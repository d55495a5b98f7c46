"""Everything that changes in what the caller may see, as server-sent events (docs/control-api.md)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final

from fastapi import APIRouter, Depends, Request
from fastapi.responses import StreamingResponse
from sqlalchemy import select

from zocket.control.api.access import Granted, requires
from zocket.control.api.deployments import read_status
from zocket.control.api.services import Services, services_of
from zocket.control.api.streaming import EVENTS_RESPONSE, KEEP_ALIVE, sent_event, stream, with_keep_alive
from zocket.control.failures import NotFound
from zocket.control.records import Membership, Project
from zocket.errors import Unauthorized

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from zocket.control.callers import Caller
    from zocket.control.changes import Change, Listener

RECHECK_S: Final = 15.0
"""How long a stream may outlive the right to it."""
COUNTERS_S: Final = 2.0
"""How often the live counters of a project with a runtime are told."""

router = APIRouter(tags=["deployments"])

Parts = Annotated[Services, Depends(services_of)]
Person = Annotated[Granted, requires()]


@router.get("/api/events", response_class=StreamingResponse, responses=EVENTS_RESPONSE)
async def events(granted: Person, request: Request, parts: Parts) -> StreamingResponse:
    """`project`, `deployment` and `status` events; `lagged` says to read everything anew.

    A `deployment` event holds the deployment, a `status` event `{projectId, runtime, counters}`.
    """
    return stream(with_keep_alive(_told(granted.caller, request, parts), parts.changes.closing))


async def _told(caller: Caller, request: Request, parts: Services) -> AsyncIterator[bytes]:
    with parts.changes.listen() as listener:
        yield KEEP_ALIVE  # the reader knows that it listens
        while True:
            try:
                caller = await parts.callers.find(request)
            except Unauthorized:
                return
            if caller.kind == "nobody":
                return
            visible = await _visible(parts, caller)
            checked = parts.now_ms()
            counted = 0
            while parts.now_ms() - checked < RECHECK_S * 1000:
                change = await _next(listener)
                if change is not None:
                    if change.kind == "lagged":
                        yield sent_event({}, name="lagged")
                    elif change.project_id in visible:
                        async for event in _event(parts, change):
                            yield event
                    elif change.project_id:
                        break  # perhaps a new project
                elif parts.changes.closing.is_set():
                    return
                elif parts.now_ms() - counted >= COUNTERS_S * 1000:
                    counted = parts.now_ms()
                    for project_id in sorted(visible):
                        async for event in _status(parts, project_id, running_only=True):
                            yield event


async def _next(listener: Listener) -> Change | None:
    try:
        return await listener.next(COUNTERS_S)
    except TimeoutError:
        return None


async def _event(parts: Services, change: Change) -> AsyncIterator[bytes]:
    try:
        match change.kind:
            case "deployment":
                view = await parts.deployments.read(change.content["deploymentId"])
                yield sent_event(view.model_dump(mode="json", by_alias=True), name="deployment")
            case "status":
                async for event in _status(parts, change.project_id):
                    yield event
            case "project":
                project = await parts.projects.read(change.project_id)
                yield sent_event(project.model_dump(mode="json", by_alias=True), name="project")
            case "lagged":
                pass
    except NotFound:
        return


async def _status(parts: Services, project_id: str, *, running_only: bool = False) -> AsyncIterator[bytes]:
    try:
        status = await read_status(parts, project_id)
    except NotFound:
        return
    if running_only and status.runtime.state in ("stopped", "unknown"):
        return
    content: dict[str, Any] = {"projectId": project_id, **status.model_dump(mode="json", by_alias=True)}
    yield sent_event(content, name="status")


async def _visible(parts: Services, caller: Caller) -> frozenset[str]:
    query = select(Project.id).join(Membership, Membership.workspace_id == Project.workspace_id)
    async with parts.database.reading() as session:
        return frozenset(await session.scalars(query.where(Membership.user_id == caller.user_id)))
