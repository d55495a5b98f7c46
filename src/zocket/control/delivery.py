"""The half of the control plane that deploys, opened as one: records, bundles, secrets, orchestrator, supervision.

Rules: what is opened last is closed first; nothing is started before `resume` is called with the address at which
runtimes reach this process.
"""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from zocket.control.bundles import open_store
from zocket.control.bundles.retention import Retention
from zocket.control.changes import Changes
from zocket.control.contracts import Contracts
from zocket.control.deployments import Deployments
from zocket.control.environment import Environment
from zocket.control.orchestration.launching import Launching
from zocket.control.orchestration.opening import open_orchestrator
from zocket.control.orchestration.supervision import Supervision
from zocket.control.readings import Readings
from zocket.control.runtime_options import RuntimeConfigs
from zocket.control.secrets import Vault

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from zocket.clock import Clock
    from zocket.control.bundles import BundleStore
    from zocket.control.database import Database
    from zocket.settings import ControlSettings


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """What the routes about deployments work with; the fields are those of `Services`."""

    deployments: Deployments
    contracts: Contracts
    store: BundleStore
    retention: Retention
    environment: Environment
    runtime_configs: RuntimeConfigs
    supervision: Supervision
    readings: Readings
    changes: Changes

    async def before_project_deleted(self, project_id: str) -> None:
        """Stops the project's runtime and removes its bundles."""
        await self.supervision.stop_project(project_id)
        await self.retention.forget(project_id)


@asynccontextmanager
async def open_delivery(
    settings: ControlSettings, database: Database, clock: Clock, now_ms: Callable[[], int]
) -> AsyncIterator[Delivery]:
    """Everything of it, for the time of the block.

    Raises:
        SettingsError: the store, the orchestrator or a key cannot be used; the message names the variable.
    """
    orchestration = settings.orchestration
    async with AsyncExitStack() as stack:
        changes = Changes()
        store = await stack.enter_async_context(open_store(settings.bundle_store))
        retention = Retention(database, store, kept=orchestration.bundles_kept)
        environment = Environment(
            database, Vault.of(orchestration.secret_key, Path(orchestration.secret_key_file)), now_ms
        )
        deployments = Deployments(database, now_ms, changes.deployment_changed)
        orchestrator = await stack.enter_async_context(
            open_orchestrator(orchestration, clock, dev_mode=settings.dev_mode)
        )
        supervision = await stack.enter_async_context(
            Supervision.open(
                orchestrator,
                deployments,
                Launching(database, environment, settings, now_ms),
                settings=orchestration,
                clock=clock,
                changes=changes,
                settled=retention.clean,
            )
        )
        stack.callback(changes.close)
        yield Delivery(
            deployments=deployments,
            contracts=Contracts(database),
            store=store,
            retention=retention,
            environment=environment,
            runtime_configs=RuntimeConfigs(database, now_ms),
            supervision=supervision,
            readings=await stack.enter_async_context(Readings.open(clock)),
            changes=changes,
        )
