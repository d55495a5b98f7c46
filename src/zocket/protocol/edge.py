"""One socket's side of the protocol, for the gateway and the standalone server alike; sans-I/O, time is handed in.

Rules: every frame is checked here, once, and nothing that fails a check goes further; every `rpc` that was let through
is in `pending` until it is answered exactly once; whatever a client sends, `receive` raises nothing. What is to be said
to the client at once collects in `outgoing`, which the caller sends and clears.
"""

from __future__ import annotations

from itertools import takewhile
from typing import TYPE_CHECKING, Final, Protocol

import msgspec

from zocket.errors import KICKED, PASSING, CallerError, CallTimeout, InvalidFrame, TooManyRequests
from zocket.protocol import frames, subjects
from zocket.protocol.frames import (
    Cancel,
    EventSub,
    EventUnsub,
    Refresh,
    Rpc,
    StateSub,
    StateUnsub,
    decode_request,
    too_deep,
)
from zocket.protocol.rate import TokenBucket

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from zocket.errors import ZocketError
    from zocket.protocol.frames import Request, Subscription

EXPIRED_CODE: Final = 4401
"""Close code of a socket whose token has expired: 401 in the range that applications own, so that a client can tell."""
KICKED_CODE: Final = 4403
"""Close code of a socket that an actor had closed, or whose session goes on at another one: do not connect again by
yourself."""
REFUSED_AGAIN_S: Final = 2.0
"""When a subscription that was refused for a reason that passes is sent again, by whoever serves the socket."""
MAX_CALL_ID_BYTES: Final = 256
"""JSON text of a call's `id`. It is kept while the call is pending; clients use counters and UUIDs (38 bytes)."""
MAX_TOKEN_CHARS: Final = 16_384
"""Of a token that an open connection is given: as long as the control plane checks one."""

REQUEST_PREFIX_CHARS: Final = 10
"""End of the session id that its request ids begin with: 40 random bits, so that they name one call of a process."""

_decode_id: Final = msgspec.json.Decoder(str | int | float).decode
_ID_STARTS: Final = b'"-0123456789'

Pending = tuple[float, int, str, str]
"""When a call or its newest chunk came (monotonic seconds), its number in the session, and which instance it is to."""


class EdgeLimits(Protocol):
    """The bounds of one session; `settings.Limits` has them all."""

    @property
    def max_json_depth(self) -> int:
        """Nesting of arrays and objects in a frame."""

    @property
    def max_pending_calls(self) -> int:
        """Calls that wait for their result."""

    @property
    def max_subscriptions(self) -> int:
        """Event and state subscriptions together."""

    @property
    def rate_per_s(self) -> float:
        """Frames a second, 0 for no limit."""

    @property
    def rate_burst(self) -> int:
        """Frames at once before the rate counts."""

    @property
    def call_timeout_s(self) -> float:
        """Age at which a pending call is answered with `timeout`."""


class EdgeSession:
    """The protocol state of one socket.

    Attributes:
        session_id: plain ASCII, as `ids.new_session_id` makes it.
        request_prefix: the request ids of the session are this and the number of the request.
        number: of the last frame; counts up by one, also for frames that are refused or ignored.
        instance: of the last request that was let through, as `subjects.instance` names it.
        pending: calls without an answer by the JSON text of their id, in the order of their times.
        subscriptions: what the client is subscribed to, in the order it subscribed, by what it is known by: the request
            as whoever serves the socket sends it again.
        outgoing: frames for the client.
        has_excess: the client has gone beyond a bound (rate, calls, subscriptions), for whoever serves the socket to
            read it less and clear.
        withdrawn: pending calls that the client has taken back, for whoever serves the socket to cancel and clear.
        token: a new one that the client offers, for whoever serves the socket to check and clear.
    """

    __slots__ = (
        "_bucket",
        "_call_timeout_s",
        "_max_depth",
        "_max_pending",
        "_max_subscriptions",
        "has_excess",
        "instance",
        "number",
        "outgoing",
        "pending",
        "request_prefix",
        "session_id",
        "subscriptions",
        "token",
        "withdrawn",
    )

    def __init__(self, session_id: str, limits: EdgeLimits) -> None:
        self.session_id = session_id
        self.number = 0
        self.instance = ""
        self.has_excess = False
        self.pending: dict[bytes, Pending] = {}
        self.subscriptions: dict[EventSub | StateSub, EventSub | StateSub] = {}
        self.outgoing: list[bytes] = []
        self.withdrawn: list[Pending] = []
        self.token: str | None = None
        self.request_prefix = session_id[-REQUEST_PREFIX_CHARS:] + "."
        self._max_depth = limits.max_json_depth
        self._max_pending = limits.max_pending_calls
        self._max_subscriptions = limits.max_subscriptions
        self._call_timeout_s = limits.call_timeout_s
        self._bucket = TokenBucket(limits.rate_per_s, limits.rate_burst) if limits.rate_per_s > 0 else None

    @property
    def request_id(self) -> str:
        """Names the last request in logs, envelopes and errors; plain ASCII."""
        return f"{self.request_prefix}{self.number}"

    def next_number(self) -> int:
        """Numbers a request that the edge itself makes of what it remembers."""
        self.number += 1
        return self.number

    def receive(self, frame: bytes, now: float) -> Request | None:
        """The request in a client's frame, to be served; None if it is to be ignored or was answered in `outgoing`.

        None also for a call that is taken back, which is in `withdrawn`, and for a new token, which is in `token`.
        """
        if not frame.isascii() and not _is_utf8(frame):
            return None
        self.number = number = self.number + 1
        try:
            if too_deep(frame, self._max_depth):
                raise InvalidFrame(f"frame: nested deeper than {self._max_depth} levels")
            if self._bucket is not None and not self._bucket.take(now):
                raise TooManyRequests("too many messages a second")
            request = decode_request(frame)
        except CallerError as error:
            self._refuse_frame(frame, error)
            return None
        if not isinstance(request, Rpc):
            return self._receive_other(request)
        try:
            self.instance = subjects.instance(request.actor, request.actor_id)
            request.id = call_id = bytes(request.id)
            pending = self.pending
            if (
                call_id in pending
                or len(pending) >= self._max_pending
                or call_id[0] not in _ID_STARTS
                or len(call_id) > MAX_CALL_ID_BYTES
            ):
                raise self._refusal(call_id)
        except CallerError as error:
            self._refuse(request, error)
            return None
        pending[call_id] = (now, number, request.actor, request.actor_id)
        return request

    def settle(self, call_id: bytes) -> bool:
        """Takes note that a call is answered; False if it is none that is pending (late, doubled, unknown)."""
        return self.pending.pop(call_id, None) is not None or self._take_respelled(call_id) is not None

    def take(self, call_id: bytes) -> Pending | None:
        """As `settle`, but gives when the call came and its number."""
        return self.pending.pop(call_id, None) or self._take_respelled(call_id)

    def renew(self, call_id: bytes, now: float) -> Pending | None:
        """A part of a call's answer has come, so its time limit begins anew; None if it is none that is pending."""
        pending = self.pending.pop(call_id, None)
        if pending is None:
            return None
        self.pending[call_id] = renewed = (now, *pending[1:])
        return renewed

    def fail(self, call_id: bytes, error: ZocketError) -> bool:
        """Answers a pending call with an error; False if it is none that is pending."""
        pending = self.take(call_id)
        if pending is None:
            return False
        error.request_id = f"{self.request_prefix}{pending[1]}"
        self.outgoing.append(frames.failure(call_id, error))
        return True

    def refuse(self, request: Request, error: ZocketError, *, number: int | None = None, forget: bool = True) -> None:
        """Answers a request that `receive` let through, but that cannot be served.

        Args:
            request: a call is pending no longer.
            error: gets the request id.
            number: the request's, if it is not the last one.
            forget: whether a subscription is forgotten.
        """
        if isinstance(request, Rpc):
            self.fail(bytes(request.id), error)
            return
        if forget and isinstance(request, EventSub | StateSub):
            self.subscriptions.pop(request.plain() if isinstance(request, StateSub) else request, None)
        error.request_id = f"{self.request_prefix}{self.number if number is None else number}"
        self.outgoing.append(frames.problem(error, request.actor, request.actor_id))

    def take_problem(self, problem: bytes) -> list[EventSub | StateSub]:
        """Takes note of an actor's error frame: a kick ends the subscriptions that it concerns.

        Those whose reason passes are given back, to be asked for again: nobody else does.
        """
        frame = frames.decode_server_frame(problem)
        if frame is None or frame.actor is None or frame.actor_id is None:
            return []
        concerned = self.still_wanted([StateSub(frame.actor, frame.actor_id), EventSub(frame.actor, frame.actor_id)])
        if frame.code == KICKED:
            for subscription in concerned:
                del self.subscriptions[subscription]
        return concerned if frame.code in PASSING else []

    def still_wanted(self, subscriptions: Iterable[EventSub | StateSub]) -> list[EventSub | StateSub]:
        """Those of them that the client has not given up."""
        return [subscription for subscription in subscriptions if subscription in self.subscriptions]

    def expire(self, now: float) -> list[bytes]:
        """Answers the calls that wait longer than the limit with `timeout`; their ids."""
        message = f"no result within {self._call_timeout_s:g} s"
        return self.fail_older(now - self._call_timeout_s, lambda: CallTimeout(message))

    def fail_older(self, moment: float, error: Callable[[], ZocketError]) -> list[bytes]:
        """Answers the calls that came until `moment` with an error each; their ids."""
        older = [call_id for call_id, _ in takewhile(lambda item: item[1][0] <= moment, self.pending.items())]
        for call_id in older:
            self.fail(call_id, error())
        return older

    def close(self) -> None:
        """The socket is gone: nothing is pending, nothing is subscribed, nothing is to be sent."""
        self.pending.clear()
        self.subscriptions.clear()
        self.outgoing.clear()
        self.withdrawn.clear()

    def _receive_other(self, request: Subscription | Cancel | Refresh | None) -> Subscription | None:
        """As `receive`, for what is no call."""
        if request is None:
            return None
        if isinstance(request, Cancel):
            self._withdraw(bytes(request.id))
            return None
        if isinstance(request, Refresh):
            self._take_token(request.token)
            return None
        try:
            self.instance = subjects.instance(request.actor, request.actor_id)
            self._subscribe(request)
        except CallerError as error:
            self._refuse(request, error)
            return None
        return request

    def _take_token(self, token: object) -> None:
        if isinstance(token, str) and 0 < len(token) <= MAX_TOKEN_CHARS:
            self.token = token
        else:
            message = f"auth:refresh: expected a token of 1-{MAX_TOKEN_CHARS} characters"
            self._answer(None, InvalidFrame(message))

    def _subscribe(self, request: Subscription) -> None:
        subscriptions = self.subscriptions
        if isinstance(request, EventUnsub):
            subscriptions.pop(EventSub(request.actor, request.actor_id), None)
            return
        if isinstance(request, StateUnsub):
            subscriptions.pop(StateSub(request.actor, request.actor_id), None)
            return
        known = request.plain() if isinstance(request, StateSub) else request
        if known not in subscriptions and len(subscriptions) >= self._max_subscriptions:
            raise TooManyRequests(f"more than {self._max_subscriptions} subscriptions", code="too_many_subscriptions")
        subscriptions[known] = request.lasting() if isinstance(request, StateSub) else request

    def _withdraw(self, call_id: bytes) -> None:
        """The call is pending still: it may be answered already, and what answers it settles it."""
        pending = self.pending.get(call_id)
        if pending is not None:
            self.withdrawn.append(pending)

    def _refusal(self, call_id: bytes) -> CallerError:
        if not _is_call_id(call_id):
            return InvalidFrame(f"rpc: expected a string or a number of at most {MAX_CALL_ID_BYTES} bytes as id")
        if call_id in self.pending:
            return InvalidFrame("rpc: a call with this id is pending", code="duplicate_id")
        message = f"more than {self._max_pending} calls wait for their result"
        return TooManyRequests(message, code="too_many_calls")

    def _take_respelled(self, call_id: bytes) -> Pending | None:
        """A runtime that parsed the id and wrote it anew may spell it otherwise: `1.0` as `1`, an escape as itself."""
        value = _id_value(call_id)
        if value is None:
            return None
        return next((self.pending.pop(sent) for sent in self.pending if _id_value(sent) == value), None)

    def _refuse(self, request: Request, error: CallerError) -> None:
        """As `refuse`, for a request that is not pending and not subscribed."""
        call_id = bytes(request.id) if isinstance(request, Rpc) else None
        self._answer(call_id, error, request.actor, request.actor_id)

    def _refuse_frame(self, frame: bytes, error: CallerError) -> None:
        error.data = None
        self._answer(frames.salvage_id(frame) or frames.salvage_id_of_deep(frame), error)

    def _answer(
        self, call_id: bytes | None, error: ZocketError, actor: str | None = None, actor_id: str | None = None
    ) -> None:
        error.request_id = self.request_id
        if isinstance(error, TooManyRequests):
            self.has_excess = True
        if call_id is not None and _is_call_id(call_id):
            self.outgoing.append(frames.failure(call_id, error))
        else:
            self.outgoing.append(frames.problem(error, actor, actor_id))


def _id_value(call_id: bytes) -> str | float | None:
    try:
        value: str | float = _decode_id(call_id)
    except ValueError:  # msgspec.DecodeError, UnicodeDecodeError
        return None
    return value


def _is_call_id(call_id: bytes) -> bool:
    return call_id[0] in _ID_STARTS and len(call_id) <= MAX_CALL_ID_BYTES


def _is_utf8(frame: bytes) -> bool:
    try:
        frame.decode()
    except UnicodeDecodeError:
        return False
    return True
