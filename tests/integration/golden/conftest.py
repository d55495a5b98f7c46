"""What the golden tests need: a place for the broker, in memory or on NATS, and scopes that nobody else has."""

from __future__ import annotations

import secrets

import pytest

from tests.integration.golden.servers import Place
from zocket.ids import Scope


@pytest.fixture
def scope() -> Scope:
    return Scope("ws" + secrets.token_hex(4), "proj" + secrets.token_hex(4))


@pytest.fixture
def place(request: pytest.FixtureRequest, zocket_broker: str) -> Place:
    """Where gateway and runtime meet; a test with it is marked `each_broker`."""
    return Place(request.getfixturevalue("nats_url") if zocket_broker == "nats" else None)
