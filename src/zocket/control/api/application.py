"""The ASGI application of the control plane: its parts opened, its routes put together.

Rules: routes only translate between HTTP and the operations; whatever they need is one field of `Services`.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from fastapi import APIRouter, FastAPI

from zocket.control.api import auth, deployments, env, events, internal, logs, projects, workspaces
from zocket.control.api.errors import add_error_handlers
from zocket.control.api.services import Services, Throttles
from zocket.control.auth_secrets import AuthSecrets
from zocket.control.bodies import BodyLimit
from zocket.control.callers import Callers
from zocket.control.dashboard import dashboard_routes
from zocket.control.database import Database
from zocket.control.delivery import open_delivery
from zocket.control.identity.accounts import Accounts
from zocket.control.identity.bearers import Bearers
from zocket.control.identity.browsers import Browsers
from zocket.control.identity.devices import Devices
from zocket.control.identity.oidc import Issuer, SignIn
from zocket.control.identity.passwords import Passwords
from zocket.control.identity.throttle import Throttle
from zocket.control.identity.workspaces import Workspaces
from zocket.control.key_sets import KeySets
from zocket.control.projects import Projects
from zocket.control.registry import Registry
from zocket.control.schemas import Failure
from zocket.control.secrets import Vault
from zocket.control.tokens import TokenChecker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.routing import BaseRoute

    from zocket.clock import Clock
    from zocket.settings import ControlSettings


def create_app(
    settings: ControlSettings,
    *,
    clock: Clock,
    key_sets: KeySets | None = None,
    passwords: Passwords | None = None,
) -> FastAPI:
    """The application; the database is open during its lifespan.

    Args:
        settings: environment of the control plane.
        clock: time of records and of token expiry.
        key_sets: public keys of `jwt-jwks` projects; by default fetched from the public internet.
        passwords: hashes those of people; by default argon2 with its usual cost.

    Raises:
        SettingsError: the issuer of OpenID Connect is configured in part, or without https.
    """
    checker = TokenChecker(clock, key_sets or KeySets(clock))
    hashing = passwords or Passwords()
    issuer = _issuer(settings, clock)

    def now_ms() -> int:
        return int(clock.wall() * 1000)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with (
            Database.open(settings.database_url) as database,
            open_delivery(settings, database, clock, now_ms) as delivery,
        ):
            orchestration = settings.orchestration
            secrets = AuthSecrets(Vault.of(orchestration.secret_key, Path(orchestration.secret_key_file)))
            registry = Registry(database, checker, secrets, now_ms, catch_all=settings.dev_mode)
            if settings.dev_mode:
                await registry.ensure_local()
            app.state.services = Services(
                settings=settings,
                now_ms=now_ms,
                database=database,
                callers=Callers(database, now_ms, settings.internal_token),
                registry=registry,
                **vars(delivery),
                accounts=Accounts(database, hashing, now_ms, open_to_anyone=settings.oidc_open),
                passwords=hashing,
                browsers=Browsers(database, now_ms),
                devices=Devices(database, now_ms),
                sign_in=SignIn(database, issuer, now_ms) if issuer else None,
                workspaces=Workspaces(database, now_ms),
                bearers=Bearers(database, now_ms),
                projects=Projects(database, checker, secrets, settings, now_ms),
                throttles=_throttles(clock),
                before_project_deleted=[delivery.before_project_deleted],
            )
            yield

    app = FastAPI(
        title="Zocket control plane",
        lifespan=lifespan,
        openapi_url="/api/openapi.json",
        docs_url=None,
        redoc_url=None,
    )
    app.router.routes.extend(_routes())
    app.add_middleware(BodyLimit, unbounded=[internal.UPLOAD_PATH, internal.CONTRACT_PATH, deployments.UPLOAD_PATH])
    add_error_handlers(app)
    return app


@cache
def _routes() -> list[BaseRoute]:
    """Of every application of this process; reading every signature and packing the dashboard's files takes a while."""
    router = APIRouter(responses={"default": {"model": Failure}})
    for part in (internal, auth, workspaces, projects, deployments, logs, env, events):
        router.include_router(part.router)
    return [*router.routes, *dashboard_routes()]


def _issuer(settings: ControlSettings, clock: Clock) -> Issuer | None:
    if not settings.oidc_issuer:
        return None
    return Issuer(settings.oidc_issuer, settings.oidc_client_id, settings.oidc_client_secret, clock)


def _throttles(clock: Clock) -> Throttles:
    """Attempts at once, and seconds until one comes back."""
    return Throttles(
        logins_of_address=Throttle(20, 6, clock.now),
        logins_of_account=Throttle(10, 30, clock.now),
        device_starts=Throttle(20, 6, clock.now),
        device_polls=Throttle(60, 0.5, clock.now),
        user_codes=Throttle(10, 30, clock.now),
        sign_ins=Throttle(60, 2, clock.now),
        invitations=Throttle(30, 5, clock.now),
    )
