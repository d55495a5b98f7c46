"""The output of a deployment's runtime, as server-sent events (docs/control-api.md)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Depends, Query
from fastapi.responses import StreamingResponse

from zocket.control.api.access import PIPELINE, Granted, requires
from zocket.control.api.services import Services, services_of
from zocket.control.api.streaming import EVENTS_RESPONSE, sent_event, stream, with_keep_alive

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from zocket.control.deployment_schemas import LogLine

router = APIRouter(tags=["deployments"])

Parts = Annotated[Services, Depends(services_of)]
OfDeployment = Annotated[Granted, requires(deployment="viewer", callers=PIPELINE)]


@router.get("/api/deployments/{deployment_id}/logs", response_class=StreamingResponse, responses=EVENTS_RESPONSE)
async def logs(
    granted: OfDeployment,
    parts: Parts,
    follow: Annotated[bool, Query(description="Go on with what is to come")] = False,
    lines: Annotated[int, Query(ge=0, le=1_000, description="How many of the past")] = 200,
) -> StreamingResponse:
    """`{at, stream, line}` each: the last lines, and with `follow` those to come until the runtime is stopped."""
    orchestrator = parts.supervision.orchestrator
    if orchestrator is None:
        return stream(_nothing())
    tail = orchestrator.logs(granted.deployment_id, lines=lines, follow=follow)
    return stream(with_keep_alive(_events(tail), parts.changes.closing))


async def _events(lines: AsyncIterator[LogLine]) -> AsyncIterator[bytes]:
    async for entry in lines:
        yield sent_event({"at": entry.at, "stream": entry.stream, "line": entry.line})


async def _nothing() -> AsyncIterator[bytes]:
    return
    yield
