"""Which orchestrator a setting names."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from zocket.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from zocket.clock import Clock
    from zocket.control.orchestration.port import Orchestrator
    from zocket.settings import OrchestrationSettings


@asynccontextmanager
async def open_orchestrator(
    settings: OrchestrationSettings, clock: Clock, *, dev_mode: bool
) -> AsyncIterator[Orchestrator | None]:
    """The orchestrator of a setting, for the time of the block; None where nobody here runs anything.

    In dev mode that is so: `zocket dev` starts the runtimes itself.

    Raises:
        SettingsError: there is no such orchestrator, or it cannot be used here.
    """
    match settings.orchestrator:
        case _ if dev_mode:
            yield None
        case "none":
            yield None
        case "local":
            from zocket.control.orchestration.local import LocalOrchestrator

            async with LocalOrchestrator.open(settings, clock) as local:
                yield local
        case "kubernetes":
            from zocket.control.orchestration.kubernetes import KubernetesOrchestrator

            async with KubernetesOrchestrator.open(settings, clock) as cluster:
                yield cluster
        case "external":
            from zocket.control.orchestration.external import ExternalOrchestrator

            yield ExternalOrchestrator(settings)
        case other:
            raise SettingsError(f'ORCHESTRATOR: expected local, kubernetes, external or none, got "{other}"')
