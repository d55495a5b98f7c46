"""Runs one process of ours until it is told to stop: settings, logs, event loop, exit code.

Rules: settings are read before anything heavy is imported, so a mistake in them shows at once; uvloop where it exists.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import fields
from typing import TYPE_CHECKING, Any, TypeVar

from zocket import logs
from zocket.cli.failures import needs
from zocket.settings import Limits, read

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

T = TypeVar("T")


def settings(cls: type[T], **flags: Any) -> T:
    """The settings of a process: its flags, then the environment, then the defaults.

    Raises:
        SettingsError: one of them cannot be used.
    """
    return read(cls, os.environ, **flags)


def limits_over(base: Limits) -> Limits:
    """Limits of an app, overridden by the environment.

    Raises:
        SettingsError: a variable cannot be used.
    """
    unset = {item.name for item in fields(Limits) if not os.environ.get(item.metadata["variable"])}
    return read(Limits, os.environ, **{name: getattr(base, name) for name in unset})


def configure_logs(style: str, level: str, **bound: str) -> None:
    """Logs of this process; see `zocket.logs`."""
    with needs("serve"):
        logs.configure(style=style, level=level.upper(), **bound)


def run(main: Callable[[], Coroutine[Any, Any, int]]) -> int:
    """Runs a process to its end; its exit code."""
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(main())


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ModuleNotFoundError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory
