"""Zocket: stateful realtime backends in Python.

Every public name is here and is imported when it is first used, so that a client does not load a server.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from zocket.app import ActorFactory as ActorFactory
    from zocket.app import App as App
    from zocket.client import connect as connect
    from zocket.client import connect_sync as connect_sync
    from zocket.core import Access as Access
    from zocket.core import Actor as Actor
    from zocket.core import Call as Call
    from zocket.core import Caller as Caller
    from zocket.core import CallNext as CallNext
    from zocket.core import Due as Due
    from zocket.core import Event as Event
    from zocket.core import Private as Private
    from zocket.core import Reminder as Reminder
    from zocket.core import Session as Session
    from zocket.core import Timer as Timer
    from zocket.core import cron as cron
    from zocket.core import method as method
    from zocket.core import migrate as migrate
    from zocket.core import query as query
    from zocket.core import view as view
    from zocket.errors import ActorError as ActorError
    from zocket.errors import CallTimeout as CallTimeout
    from zocket.errors import Disconnected as Disconnected
    from zocket.errors import Unauthorized as Unauthorized
    from zocket.errors import ZocketError as ZocketError
    from zocket.server.local import Identity as Identity
    from zocket.settings import Limits as Limits

__version__: Final = "0.1.0"

_HOMES: Final = {
    "Access": "zocket.core",
    "Actor": "zocket.core",
    "ActorError": "zocket.errors",
    "ActorFactory": "zocket.app",
    "App": "zocket.app",
    "Call": "zocket.core",
    "CallNext": "zocket.core",
    "CallTimeout": "zocket.errors",
    "Caller": "zocket.core",
    "Disconnected": "zocket.errors",
    "Due": "zocket.core",
    "Event": "zocket.core",
    "Identity": "zocket.server.local",
    "Limits": "zocket.settings",
    "Private": "zocket.core",
    "Reminder": "zocket.core",
    "Session": "zocket.core",
    "Timer": "zocket.core",
    "Unauthorized": "zocket.errors",
    "ZocketError": "zocket.errors",
    "connect": "zocket.client",
    "connect_sync": "zocket.client",
    "cron": "zocket.core",
    "method": "zocket.core",
    "migrate": "zocket.core",
    "query": "zocket.core",
    "view": "zocket.core",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'zocket' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(home), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
