"""The process around the control plane: socket, signals, clean stop.

Rules: the port is bound before anything is announced; a stop finishes the requests in progress.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Final

import uvicorn
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from zocket.clock import SystemClock
from zocket.control.api import create_app
from zocket.errors import BootError
from zocket.settings import check_internal_token

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from fastapi import FastAPI

    from zocket.clock import Clock
    from zocket.control.api.services import Services
    from zocket.settings import ControlSettings

STOP_TIMEOUT_S: Final = 5
"""How long a stop waits for requests in progress."""

_LOCAL: Final = {"0.0.0.0": "127.0.0.1", "::": "[::1]", "": "127.0.0.1"}  # noqa: S104 — compared, not bound
"""How this machine reaches itself where every address is listened on."""

log = logging.getLogger("zocket.control")


class _Server(uvicorn.Server):
    """Uvicorn without its signal handlers: the process around it has its own."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@asynccontextmanager
async def serve(settings: ControlSettings, *, clock: Clock | None = None) -> AsyncIterator[str]:
    """The control plane, answering during the block; gives its base URL.

    Raises:
        BootError: the port is taken, or the database cannot be opened.
        SettingsError: the published token, on an address that other machines reach.
    """
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    check_internal_token(settings.internal_token, [f"http://{host}"], dev_mode=settings.dev_mode)
    app = create_app(settings, clock=clock or SystemClock())
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        lifespan="off",
        timeout_graceful_shutdown=STOP_TIMEOUT_S,
        ws="none",
        server_header=False,
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=settings.trusted_proxies or [],
    )
    async with _opened(app, settings):
        with _listen(settings.host, settings.port) as listener:
            server = _Server(config)
            services: Services = app.state.services
            running = asyncio.create_task(server.serve(sockets=[listener]))
            try:
                port = listener.getsockname()[1]
                url = f"http://{host}:{port}"
                log.info("control plane answers", extra={"url": url})
                await services.supervision.resume(f"http://{_LOCAL.get(settings.host, host)}:{port}")
                yield url
            finally:
                services.changes.close()  # whoever is held back or streamed to goes now, so that the stop is quick
                server.should_exit = True
                await running


@asynccontextmanager
async def _opened(app: FastAPI, settings: ControlSettings) -> AsyncIterator[None]:
    """The application's lifespan, kept here so that a database that cannot be opened is an error of the boot."""
    async with AsyncExitStack() as stack:
        try:
            await stack.enter_async_context(app.router.lifespan_context(app))
        except (SQLAlchemyError, OSError) as error:
            reason = str(error).partition("\n")[0]
            url = make_url(settings.database_url).render_as_string(hide_password=True)
            raise BootError(f"DATABASE_URL: {url} cannot be opened: {reason}") from error
        yield


async def run(settings: ControlSettings) -> int:
    """Serves until SIGTERM or SIGINT; the exit code."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stop.set)
    try:
        async with serve(settings):
            await stop.wait()
    finally:
        for name in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(name)
    log.info("control plane stopped")
    return 0


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=512)
    except OSError as error:
        raise BootError(f"PORT: cannot listen on {host}:{port}: {error.strerror or error}") from error
