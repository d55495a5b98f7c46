"""The ASGI application of the control plane: its parts opened, its routes put together.

Rules: routes only translate between HTTP and the operations; whatever they need is one field of `Services`.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from fastapi import FastAPI

from zocket.control.api import internal
from zocket.control.api.errors import add_error_handlers
from zocket.control.api.services import Services
from zocket.control.bodies import BodyLimit
from zocket.control.bundles import BundleStore
from zocket.control.callers import Callers
from zocket.control.database import Database
from zocket.control.deployments import Deployments
from zocket.control.key_sets import KeySets
from zocket.control.schemas import Failure
from zocket.control.tokens import TokenChecker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from zocket.clock import Clock
    from zocket.settings import ControlSettings


def create_app(settings: ControlSettings, *, clock: Clock, key_sets: KeySets | None = None) -> FastAPI:
    """The application; the database is open during its lifespan.

    Args:
        settings: environment of the control plane.
        clock: time of records and of token expiry.
        key_sets: public keys of `jwt-jwks` projects; by default fetched from the public internet.
    """
    checker = TokenChecker(clock, key_sets or KeySets(clock))

    def now_ms() -> int:
        return int(clock.wall() * 1000)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with Database.open(settings.database_url) as database:
            deployments = Deployments(database, checker, now_ms, catch_all=settings.dev_mode)
            if settings.dev_mode:
                await deployments.ensure_local()
            app.state.services = Services(
                settings=settings,
                now_ms=now_ms,
                database=database,
                callers=Callers(database, now_ms, settings.internal_token),
                deployments=deployments,
                store=BundleStore(Path(settings.bundle_store)),
            )
            yield

    app = FastAPI(
        title="Zocket control plane",
        lifespan=lifespan,
        responses={"default": {"model": Failure}},
        openapi_url="/api/openapi.json",
        docs_url=None,
        redoc_url=None,
    )
    app.include_router(internal.router)
    app.add_middleware(BodyLimit, unbounded=internal.UPLOAD_PATH)
    add_error_handlers(app)
    return app
