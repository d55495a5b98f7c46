"""Options of single calls: what `client.options(…)` gives.

Rules: handles made here differ from the client's own only in their calls; a key that is given names one call, so it is
for one call of one handle.
"""

from __future__ import annotations

import re
import secrets
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar, cast

from zocket.client.handles import ActorHandle, DynamicHandle
from zocket.core.actor import Actor
from zocket.core.definition import actor_definition
from zocket.errors import UsageError
from zocket.protocol.frames import IDEMPOTENCY_KEY

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from zocket.client.client import Client
    from zocket.client.handles import Invoker
    from zocket.protocol.client_session import Instance

A = TypeVar("A", bound=Actor[Any, Any])

_KEY: Final = re.compile(IDEMPOTENCY_KEY)


class CallOptions:
    """Makes handles whose calls have options; made by `Client.options`."""

    __slots__ = ("_cancel_on_close", "_key", "_timeout_s", "client")

    def __init__(
        self,
        client: Client,
        timeout_s: float | None,
        key: str | Literal[True] | None,
        *,
        cancel_on_close: bool = False,
    ) -> None:
        if timeout_s is not None and not timeout_s > 0:
            raise UsageError(f"timeout: expected seconds above 0, got {timeout_s!r}")
        if key is not None and key is not True and not (isinstance(key, str) and _KEY.match(key)):
            raise UsageError(f"idempotency_key: expected True or 1-128 printable ASCII characters, got {key!r}")
        self.client = client
        self._timeout_s = timeout_s
        self._key = key
        self._cancel_on_close = cancel_on_close

    def actor(self, cls: type[A], actor_id: str, *, name: str | None = None) -> A:
        """See `Client.actor`."""
        return cast("A", ActorHandle(self, actor_definition(cls, name), actor_id))

    def dynamic(self, actor: str, actor_id: str) -> DynamicHandle:
        """See `Client.dynamic`."""
        return DynamicHandle(self, actor, actor_id)

    async def invoke(self, instance: Instance, method: str, value: bytes | None, /) -> bytes | None:
        """See `Client.invoke`."""
        key = secrets.token_hex(16) if self._key is True else self._key or ""
        return await self.client.invoke(
            instance, method, value, key=key, timeout=self._timeout_s, cancel_on_close=self._cancel_on_close
        )

    def stream(self, instance: Instance, method: str, value: bytes | None, /) -> AsyncGenerator[bytes, None]:
        """See `Client.stream`.

        Raises:
            UsageError: there is an idempotency key, and what was streamed once cannot be answered again.
        """
        if self._key is not None:
            raise UsageError(f"{instance}.{method}: a method that yields cannot be called with an idempotency key")
        return self.client.stream(instance, method, value, timeout=self._timeout_s)


def client_of(invoker: Invoker) -> Invoker:
    """The client that carries the calls of a handle, with options or without."""
    return invoker.client if isinstance(invoker, CallOptions) else invoker
