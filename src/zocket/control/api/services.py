"""What the routes work with: one object of everything that is open while the application runs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fastapi import Request  # noqa: TC002 — FastAPI reads the annotation

if TYPE_CHECKING:
    from zocket.control.bundles import BundleStore
    from zocket.control.callers import Callers
    from zocket.control.database import Database
    from zocket.control.deployments import Deployments
    from zocket.settings import ControlSettings

ProjectHook = Callable[[str], Awaitable[None]]
"""Is told the id of a project."""


@dataclass(kw_only=True)
class Services:
    """The operations, opened by the application's lifespan.

    Attributes:
        before_project_deleted: what has to stop before a project's records go (its runtime); awaited in order.
    """

    settings: ControlSettings
    now_ms: Callable[[], int]
    database: Database
    callers: Callers
    deployments: Deployments
    store: BundleStore
    before_project_deleted: list[ProjectHook] = field(default_factory=list)


def services_of(request: Request) -> Services:
    """The dependency that gives them."""
    services: Services = request.app.state.services
    return services
