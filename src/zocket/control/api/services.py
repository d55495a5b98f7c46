"""What the routes work with: one object of everything that is open while the application runs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fastapi import Request

if TYPE_CHECKING:
    from zocket.control.bundles import BundleStore
    from zocket.control.bundles.retention import Retention
    from zocket.control.callers import Callers
    from zocket.control.changes import Changes
    from zocket.control.contracts import Contracts
    from zocket.control.database import Database
    from zocket.control.deployments import Deployments
    from zocket.control.environment import Environment
    from zocket.control.identity.accounts import Accounts
    from zocket.control.identity.bearers import Bearers
    from zocket.control.identity.browsers import Browsers
    from zocket.control.identity.devices import Devices
    from zocket.control.identity.oidc import SignIn
    from zocket.control.identity.passwords import Passwords
    from zocket.control.identity.throttle import Throttle
    from zocket.control.identity.workspaces import Workspaces
    from zocket.control.orchestration.supervision import Supervision
    from zocket.control.projects import Projects
    from zocket.control.readings import Readings
    from zocket.control.registry import Registry
    from zocket.control.runtime_options import RuntimeConfigs
    from zocket.settings import ControlSettings

ProjectHook = Callable[[str], Awaitable[None]]
"""Is told the id of a project."""


@dataclass(frozen=True, kw_only=True)
class Throttles:
    """How often what is guessable may be tried."""

    logins_of_address: Throttle
    logins_of_account: Throttle
    device_starts: Throttle
    device_polls: Throttle
    user_codes: Throttle
    sign_ins: Throttle
    invitations: Throttle


@dataclass(kw_only=True)
class Services:
    """The operations, opened by the application's lifespan.

    Attributes:
        sign_in: through an OpenID Connect issuer, or None where people have passwords.
        before_project_deleted: what has to stop before a project's records go (its runtime); awaited in order.
    """

    settings: ControlSettings
    now_ms: Callable[[], int]
    database: Database
    callers: Callers
    deployments: Deployments
    contracts: Contracts
    registry: Registry
    store: BundleStore
    retention: Retention
    environment: Environment
    runtime_configs: RuntimeConfigs
    supervision: Supervision
    readings: Readings
    changes: Changes
    accounts: Accounts
    passwords: Passwords
    browsers: Browsers
    devices: Devices
    sign_in: SignIn | None
    workspaces: Workspaces
    bearers: Bearers
    projects: Projects
    throttles: Throttles
    before_project_deleted: list[ProjectHook] = field(default_factory=list)


def services_of(request: Request) -> Services:
    """The dependency that gives them."""
    services: Services = request.app.state.services
    return services
