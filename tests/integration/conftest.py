"""One NATS server for the whole session; a test that stops or kills its server starts one of its own."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from zocket.broker.server import NatsServer

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def nats_server() -> Iterator[NatsServer]:
    server = NatsServer()
    asyncio.run(server.start())
    yield server
    asyncio.run(server.aclose())


@pytest.fixture(scope="session")
def nats_url(nats_server: NatsServer) -> str:
    return nats_server.url
