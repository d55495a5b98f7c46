"""`POST /call/{actor}/{id}/{method}`: a socket session that lives for one call.

Rules: whoever may open a socket may call, and is bound by the same limits; the rate of a project counts over all the
requests of one user, or of one address where nobody is known. A page of any origin may ask what it may do; the call
itself is checked as a socket is, and its answer may be read by the page that asked.
"""

from __future__ import annotations

import asyncio
import logging
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, Generic, NamedTuple

from zocket.errors import INTERNAL, InvalidFrame, TooManyRequests, Unavailable
from zocket.protocol import http_calls
from zocket.protocol.rate import TokenBucket
from zocket.sockets.port import A, Admit, Head, Open, Refused

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

log = logging.getLogger("zocket.sockets")

CALL_METHODS: Final = ("POST", "OPTIONS")
"""Of the requests below `/call/`."""
MAX_BUCKETS: Final = 10_000
"""Callers whose rate is remembered; the one that has not called for longest goes first."""
PREFLIGHT: Final = (
    ("Access-Control-Allow-Methods", "POST"),
    ("Access-Control-Allow-Headers", "authorization, content-type, idempotency-key"),
    ("Access-Control-Max-Age", "600"),
)


class Rate(NamedTuple):
    """How often somebody may call.

    Attributes:
        caller: whom requests are counted for.
        per_s: requests a second, 0 for no limit.
        burst: requests at once before the rate counts.
    """

    caller: Hashable
    per_s: float
    burst: int


class Reply(NamedTuple):
    """An HTTP answer."""

    status: int
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()


class _OneAnswer:
    """A `Peer` that wants one frame: the answer of the call."""

    __slots__ = ("answered",)

    def __init__(self) -> None:
        self.answered: asyncio.Future[tuple[int, bytes]] = asyncio.get_running_loop().create_future()

    def send(self, frame: bytes) -> None:
        """See `Peer.send`."""
        if not self.answered.done() and (answer := http_calls.answer_of(frame)) is not None:
            self.answered.set_result(answer)

    def unsent_bytes(self) -> int:
        """See `Peer.unsent_bytes`; nothing is kept for later."""
        return 0

    def pause(self) -> None:
        """See `Peer.pause`; nothing more comes."""

    def close(self, code: int, reason: str = "") -> None:
        """See `Peer.close`."""
        if not self.answered.done():
            status = HTTPStatus.SERVICE_UNAVAILABLE
            self.answered.set_result((status, http_calls.failure(Unavailable.default_code, reason or "closed")))


class HttpCalls(Generic[A]):
    """Answers the requests below `/call/`.

    Args:
        admit: who knocks, as for a socket.
        open_session: the session of the call, as of a socket.
        rate: of an admitted caller.
        now: monotonic seconds.
        admit_timeout_s: `SocketLimits.admit_timeout_s`.
    """

    def __init__(
        self,
        admit: Admit[A],
        open_session: Open[A],
        *,
        rate: Callable[[A, Head], Rate],
        now: Callable[[], float],
        admit_timeout_s: float,
    ) -> None:
        self._admit = admit
        self._open_session = open_session
        self._rate = rate
        self._now = now
        self._admit_timeout_s = admit_timeout_s
        self._buckets: dict[Hashable, TokenBucket] = {}

    async def __call__(self, method: str, head: Head, path: str, body: bytes) -> Reply:
        """The answer to a request; `path` as it stands in the request line."""
        try:
            if method == "OPTIONS":
                reply = await self._preflight(head)
            else:
                reply = await self._call(head, path, body)
        except Refused as refused:
            reply = Reply(refused.status, http_calls.failure(refused.code, refused.message))
        except Exception:  # border: whoever decides or serves is code from outside of this package
            log.exception("a call over HTTP failed")
            reply = Reply(HTTPStatus.INTERNAL_SERVER_ERROR, http_calls.failure(INTERNAL, "the request failed"))
        return reply._replace(headers=(*reply.headers, *_sharing(head, reply.status)))

    async def _preflight(self, head: Head) -> Reply:
        """A browser sends no token here: where the project wants one, the origin is checked with the call alone."""
        try:
            await self._admitted(head)
        except Refused as refused:
            if refused.status != HTTPStatus.UNAUTHORIZED:
                raise
        return Reply(HTTPStatus.OK, b"", PREFLIGHT)

    async def _call(self, head: Head, path: str, body: bytes) -> Reply:
        admitted = await self._admitted(head)
        self._count(self._rate(admitted, head))
        try:
            target = http_calls.target_of(path)
            if target is None:
                raise Refused(HTTPStatus.NOT_FOUND, "not_found", "expected /call/{actor}/{id}/{method}")
            frame = http_calls.frame_of(target, body, head.headers.get("idempotency-key", ""))
        except InvalidFrame as error:
            raise Refused(HTTPStatus.BAD_REQUEST, error.code, error.message) from error
        peer = _OneAnswer()
        session = self._open_session(peer, admitted)
        try:
            session.received(frame)
            return Reply(*await peer.answered)
        finally:
            session.closed(said_goodbye=True)

    async def _admitted(self, head: Head) -> A:
        try:
            async with asyncio.timeout(self._admit_timeout_s):
                return await self._admit(head)
        except TimeoutError as error:
            message = "the authorization took too long"
            raise Refused(HTTPStatus.SERVICE_UNAVAILABLE, Unavailable.default_code, message) from error

    def _count(self, rate: Rate) -> None:
        if rate.per_s <= 0:
            return
        bucket = self._buckets.pop(rate.caller, None) or TokenBucket(rate.per_s, rate.burst)
        self._buckets[rate.caller] = bucket
        if len(self._buckets) > MAX_BUCKETS:
            del self._buckets[next(iter(self._buckets))]
        if not bucket.take(self._now()):
            raise Refused(HTTPStatus.TOO_MANY_REQUESTS, TooManyRequests.default_code, "too many calls a second")


def address_of(head: Head) -> str:
    """The remote address without its port."""
    return head.remote.rpartition(":")[0]


def _sharing(head: Head, status: int) -> tuple[tuple[str, str], ...]:
    """Which page may read the answer: the one that asked, unless its origin is refused."""
    origin = head.headers.get("origin")
    if origin is None or status == HTTPStatus.FORBIDDEN:
        return (("Vary", "Origin"),)
    return (("Access-Control-Allow-Origin", origin), ("Vary", "Origin"))
