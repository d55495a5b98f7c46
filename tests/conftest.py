"""What holds for every test: nothing that runs beside calls may block the event loop."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from blockbuster import blockbuster_ctx
from hypothesis import settings

if TYPE_CHECKING:
    from collections.abc import Iterator


settings.register_profile("short", deadline=None)
settings.load_profile("short")
"""An example takes the time that the machine has for it."""
settings.register_profile("long", max_examples=5_000, deadline=None)
"""`--hypothesis-profile long`: what a hostile party may send gets its share of so many examples, for minutes."""

HOT = [
    f"zocket.{name}" for name in ("core", "state", "protocol", "host", "sockets", "gateway", "server.local", "client")
]
"""Boot, bundles and the control plane's files may touch a disk; what serves calls may not."""
WAITING = [f"zocket.client.{name}" for name in ("background", "sync", "sync_streams")]
"""The synchronous client blocks who calls it, a notebook's loop too."""


@pytest.fixture(autouse=True)
def loop_is_never_blocked() -> Iterator[None]:
    """A blocking call (file, socket, sleep) of the hot path inside the loop fails the test."""
    with blockbuster_ctx(HOT, excluded_modules=WAITING):
        yield
