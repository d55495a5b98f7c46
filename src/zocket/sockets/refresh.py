"""A new token for an open socket: whose it is, and what the client is answered.

Rules: one token at a time; a token that is refused changes nothing; once the session has ended nothing is answered.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Generic, TypeVar

from zocket.errors import INTERNAL, CallerError, PlatformError, TooManyRequests, ZocketError
from zocket.protocol import frames
from zocket.sockets.port import Refused

if TYPE_CHECKING:
    from typing import Any

A = TypeVar("A")

Renew = Callable[[str], Awaitable[A]]
"""Says who a token belongs to, or raises `Refused` or a `ZocketError`."""

_log = logging.getLogger("zocket.sockets")


class Refresh(Generic[A]):
    """The tokens that one session offers after its first.

    Args:
        renew: says whose a token is.
        accept: takes the new identity, gives when it expires in seconds since the epoch (None: never), or raises a
            `ZocketError`.
        send: takes frames for the client.
    """

    __slots__ = ("_accept", "_renew", "_send", "_task")

    def __init__(self, renew: Renew[A], accept: Callable[[A], float | None], send: Callable[[bytes], None]) -> None:
        self._renew = renew
        self._accept = accept
        self._send = send
        self._task: asyncio.Task[None] | None = None

    def offer(self, token: str, request_id: str) -> None:
        """The client offers a token; it is answered with `auth:refreshed` or an error frame."""
        if self._task is not None:
            self._refuse(TooManyRequests("another token is being checked"), request_id)
            return
        # The session may end at any time and cancels it, so the task is its own.
        self._task = asyncio.get_running_loop().create_task(self._check(token, request_id))

    def cancel(self) -> None:
        """The session has ended."""
        if self._task is not None:
            self._task.cancel()

    async def _check(self, token: str, request_id: str) -> None:
        try:
            expires_at = self._accept(await self._renew(token))
        except Refused as refused:
            kind: type[ZocketError] = CallerError if refused.status < 500 else PlatformError
            self._refuse(kind(refused.message, code=refused.code), request_id)
        except ZocketError as error:
            self._refuse(error, request_id)
        except Exception:  # noqa: BLE001 — border: a developer's authorize
            _log.exception("authorize raised", extra={"request": request_id})
            self._refuse(PlatformError("internal error", code=INTERNAL), request_id)
        else:
            self._send(frames.refreshed(expires_at))
        finally:
            self._task = None

    def _refuse(self, error: ZocketError, request_id: str) -> None:
        error.request_id = request_id
        self._send(frames.problem(error))


def expiry_of(claims: Any) -> float | None:
    """`exp` of a token's claims, in seconds since the epoch; None if it does not expire."""
    exp = claims.get("exp") if isinstance(claims, dict) else None
    return float(exp) if isinstance(exp, int | float) and not isinstance(exp, bool) else None
