"""Lets the examples' tests import their apps as `examples.<name>.app`, wherever pytest is started, and serve them."""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn

sys.path.insert(0, str(Path(__file__).parent.parent))

LIMIT_S = 30.0


@contextmanager
def served(asgi: Any) -> Iterator[int]:
    """An ASGI application under uvicorn, in a thread, on a free port."""
    server = uvicorn.Server(uvicorn.Config(asgi, port=0, log_level="warning", ws="websockets-sansio"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        deadline = time.monotonic() + LIMIT_S
        while not server.started:  # uvicorn has no event for it
            assert thread.is_alive()
            assert time.monotonic() < deadline
            time.sleep(0.01)
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture
def serve() -> Iterator[Callable[[Any], int]]:
    """Serves an ASGI application until the end of the test; gives its port."""
    with ExitStack() as stack:
        yield lambda asgi: stack.enter_context(served(asgi))
