from __future__ import annotations

from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Any, Protocol

import httpx
import pytest

from zocket.clock import SystemClock
from zocket.control.api import create_app
from zocket.settings import ControlSettings, OrchestrationSettings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from zocket.control.key_sets import KeySets


class MovableClock(SystemClock):
    """A clock whose time of day and monotonic time a test sets."""

    def __init__(self, wall_s: float = 1_700_000_000.0) -> None:
        super().__init__()
        self.wall_s = wall_s
        self.wall = lambda: self.wall_s
        self.now = lambda: self.wall_s


class OpenControl(Protocol):
    """Opens the application on a fresh database; gives a client with the internal token."""

    def __call__(
        self, *, key_sets: KeySets | None = None, **settings: Any
    ) -> AbstractAsyncContextManager[httpx.AsyncClient]: ...


@pytest.fixture
def clock() -> MovableClock:
    return MovableClock()


@pytest.fixture
def open_control(tmp_path: Path, clock: MovableClock) -> OpenControl:
    @asynccontextmanager
    async def opened(*, key_sets: KeySets | None = None, **settings: Any) -> AsyncIterator[httpx.AsyncClient]:
        values = {
            "database_url": f"sqlite+aiosqlite:///{tmp_path}/control.db",
            "bundle_store": str(tmp_path / "bundles"),
            "internal_token": "a token of the test",
            "orchestration": OrchestrationSettings(orchestrator="none", secret_key="A" * 43 + "="),
            **settings,
        }
        app = create_app(ControlSettings(**values), clock=clock, key_sets=key_sets)
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        headers = {"authorization": f"Bearer {values['internal_token']}"}
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://control", headers=headers) as client,
        ):
            yield client

    return opened
