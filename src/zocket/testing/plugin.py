"""The pytest plugin: runs `async def` tests, and gives them their loop.

Rules: a test gets a loop on virtual time (`VirtualLoop`), so nothing in it really sleeps; one marked `realtime` or
`nats` gets a real loop. One marked `each_broker` runs twice, on the memory broker and on a real NATS server. Tests that
another plugin claims (markers `asyncio`, `anyio`, `trio`) are left to it.
"""

from __future__ import annotations

import asyncio
import inspect
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

FOREIGN_MARKERS = ("asyncio", "anyio", "trio")


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--zocket-nats`: tests written with `TestApp` run on a real NATS server instead of the memory broker."""
    group = parser.getgroup("zocket")
    group.addoption(
        "--zocket-nats", action="store_true", help="run TestApp on a real NATS server (started by the test)"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Registers the markers."""
    config.addinivalue_line("markers", "realtime: an async test on a real event loop instead of virtual time")
    config.addinivalue_line("markers", "each_broker: runs on the memory broker and again on a real NATS server")
    config.addinivalue_line("markers", "nats: needs a real NATS server, which the test starts itself")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Doubles the tests marked `each_broker`."""
    if metafunc.definition.get_closest_marker("each_broker"):
        metafunc.fixturenames.append("zocket_broker")
        metafunc.parametrize("zocket_broker", ["memory", pytest.param("nats", marks=pytest.mark.nats)], indirect=True)


@pytest.fixture
def zocket_broker(request: pytest.FixtureRequest) -> str:
    """Which broker the `TestApp`s of this test use."""
    return str(getattr(request, "param", "memory"))


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Runs a coroutine function to its end; anything else is pytest's."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj) or any(map(pyfuncitem.get_closest_marker, FOREIGN_MARKERS)):
        return None
    names = inspect.signature(pyfuncitem.obj).parameters
    arguments = {name: pyfuncitem.funcargs[name] for name in names if name in pyfuncitem.funcargs}
    with asyncio.Runner(loop_factory=loop_factory(pyfuncitem)) as runner:
        runner.run(_on_broker(pyfuncitem, pyfuncitem.obj(**arguments)))
    return True


async def _on_broker(item: pytest.Function, test: Coroutine[object, object, object]) -> None:
    """The test, with the broker chosen that its `TestApp`s use, and what it left for its end."""
    from zocket.testing.app import backend, finalizers

    params = item.callspec.params if hasattr(item, "callspec") else {}
    chosen = params.get("zocket_broker", "nats" if item.config.getoption("--zocket-nats") else "memory")
    backend.set("nats" if chosen == "nats" else "memory")
    async with AsyncExitStack() as stack:
        finalizers.set(stack)
        await test


def loop_factory(item: pytest.Function) -> Callable[[], asyncio.AbstractEventLoop]:
    """The kind of loop that a test runs on."""
    from zocket.testing.loop import VirtualLoop

    real = item.get_closest_marker("realtime") or item.get_closest_marker("nats")
    return asyncio.new_event_loop if real or item.config.getoption("--zocket-nats") else VirtualLoop
