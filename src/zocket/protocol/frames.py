"""WebSocket frames: what a client may send, and the bytes a server sends (spec: client and server).

Rules: a frame is decoded once, its `id` and `input` stay the client's bytes; frames to the client are spliced around
bytes that are already JSON. Unknown types, unknown fields and broken JSON are no errors: `decode_request` gives None.
"""

from __future__ import annotations

import re
from array import array
from itertools import accumulate
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec

from zocket.errors import REPLACED, CallerError, InvalidFrame, ZocketError

NO_INPUT: Final = msgspec.Raw(b"")
"""`input` of a call that has none."""

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    OptionalRaw = msgspec.Raw | None
    CallId = msgspec.Raw | bytes
else:
    # msgspec reads a union of Raw and None as null alone; a bare Raw takes everything, also null, and the default None
    # stands for a field that is not there.
    OptionalRaw = msgspec.Raw
    CallId = msgspec.Raw


IDEMPOTENCY_KEY: Final = r"^[ -~]{1,128}\Z"
"""Printable ASCII: a UUID, an order number, a name of the caller's own."""


class Rpc(msgspec.Struct, tag="rpc", rename="camel", gc=False):
    """A call; `id` is the client's JSON value, echoed as it came: a Raw as it is decoded, bytes behind an edge.

    `idempotency_key` names the call over all its retries, "" for a call that has none; `cancel_on_close` says that the
    end of the session cancels it: additions.
    """

    id: CallId
    actor: str
    actor_id: str
    method: str = ""
    input: msgspec.Raw = NO_INPUT
    idempotency_key: Annotated[str, msgspec.Meta(pattern=IDEMPOTENCY_KEY)] = ""
    cancel_on_close: bool = False


class Cancel(msgspec.Struct, tag="rpc:cancel", frozen=True, gc=False):
    """The caller does not want its call any more: an addition."""

    id: msgspec.Raw


class EventSub(msgspec.Struct, tag="event:sub", rename="camel", frozen=True, gc=False):
    """Send me all events of one instance."""

    actor: str
    actor_id: str


class EventUnsub(msgspec.Struct, tag="event:unsub", rename="camel", frozen=True, gc=False):
    """No more events."""

    actor: str
    actor_id: str


class Since(msgspec.Struct, rename="camel", frozen=True, gc=False):
    """The version of a state that a client has: an addition, see `StateSub.since`."""

    epoch: str
    seq: int


class StateSub(msgspec.Struct, tag="state:sub", rename="camel", frozen=True, gc=False):
    """Send me a snapshot now, and patches from then on.

    With `since` (a `Since`) the patches that are missing will do, if they are still there. With `append` (true) patches
    may have the operation of this name.
    """

    actor: str
    actor_id: str
    since: Any = None
    append: Any = None

    def version(self) -> Since | None:
        """What `since` says; None for nothing, also where it says something else than a version."""
        try:
            return None if self.since is None else msgspec.convert(self.since, Since)
        except msgspec.ValidationError:
            return None

    @property
    def appends(self) -> bool:
        """Whether the client takes `append`."""
        return self.append is True

    def plain(self) -> StateSub:
        """What the subscription is known by: its instance alone."""
        return self if self.since is None and self.append is None else StateSub(self.actor, self.actor_id)

    def lasting(self) -> StateSub:
        """What is sent again by whoever remembers the subscription: all of it except the version."""
        return StateSub(self.actor, self.actor_id, append=True) if self.appends else self.plain()


class StateUnsub(msgspec.Struct, tag="state:unsub", rename="camel", frozen=True, gc=False):
    """No more patches."""

    actor: str
    actor_id: str


class Refresh(msgspec.Struct, tag="auth:refresh", frozen=True, gc=False):
    """A new token for the open connection: an addition, for the server that holds the socket alone."""

    token: Any = None


Request = Rpc | EventSub | EventUnsub | StateSub | StateUnsub
Subscription = EventSub | EventUnsub | StateSub | StateUnsub

_decode_request: Final[Callable[[bytes], Request | Cancel | Refresh]] = msgspec.json.Decoder(
    Request | Cancel | Refresh
).decode


class _CallHead(msgspec.Struct, rename="camel"):
    type: str
    id: msgspec.Raw


_call_heads: Final = msgspec.json.Decoder(_CallHead)


def decode_request(frame: bytes) -> Request | Cancel | Refresh | None:
    """What a client asks for, or None for a frame that is to be ignored.

    Raises:
        InvalidFrame: it is an `rpc` that can be answered, but its other fields are wrong; `data` is its id's JSON text.
    """
    try:
        return _decode_request(frame)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    call_id = salvage_id(frame)
    if call_id is None:
        return None
    expected = (
        "the strings actor, actorId and method, an idempotencyKey of 1-128 printable ASCII characters and a boolean "
        "cancelOnClose if any"
    )
    raise InvalidFrame(f"rpc: expected {expected}, and valid Unicode", data=call_id.decode())


_SURROGATES: Final = re.compile(rb"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")
_STRING: Final = rb'"[^"\\]*(?:\\.[^"\\]*)*"'
_SCALAR_MEMBERS: Final = re.compile(
    rb'\s*\{(?:\s*%b\s*:\s*(?:%b|[^\s"\[\]{},:]+)\s*,)*' % (_STRING, _STRING), re.DOTALL
)
"""No text has two readings, so it takes linear time; possessive quantifiers match wrongly before Python 3.11.5."""


def salvage_id(frame: bytes) -> bytes | None:
    """The JSON of the id of an `rpc` that cannot be served, or None if the frame is no such thing.

    A lone surrogate is valid JSON that a JavaScript client may send and that no decoder here takes: it has an id, too.
    """
    head = _call_head(frame)
    if head is None and _SURROGATES.search(frame):
        head = _call_head(_SURROGATES.sub(rb"\\ufffd", frame))
    return _id_of_call(head)


def salvage_id_of_deep(frame: bytes) -> bytes | None:
    """As `salvage_id`, for a frame too deep for any parser: looks at what stands before the first nested value."""
    members = _SCALAR_MEMBERS.match(frame)
    return None if members is None else _id_of_call(_call_head(members[0].removesuffix(b",") + b"}"))


def _id_of_call(head: _CallHead | None) -> bytes | None:
    if head is None or head.type != "rpc":
        return None
    try:
        return bytes(head.id).decode().encode()
    except UnicodeDecodeError:
        return None


def _call_head(frame: bytes) -> _CallHead | None:
    try:
        return _call_heads.decode(frame)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


class ServerFrame(msgspec.Struct, rename="camel", frozen=True, gc=False):
    """What a gateway or a client needs to know of any frame that a server sends; all parts stay JSON."""

    type: str
    id: OptionalRaw = None
    result: OptionalRaw = None
    chunk: OptionalRaw = None
    error: str | None = None
    code: str | None = None
    message: str | None = None
    data: OptionalRaw = None
    request_id: str | None = None
    client_id: str | None = None
    features: Any = None
    actor: str | None = None
    actor_id: str | None = None
    event: str | None = None
    payload: OptionalRaw = None
    state: OptionalRaw = None
    patches: OptionalRaw = None
    epoch: Any = None
    seq: Any = None
    expires_at: Any = None
    resume: Any = None

    def version(self) -> Since | None:
        """The version of the state that the frame leads to; None from a server that names none."""
        known = isinstance(self.epoch, str) and type(self.seq) is int
        return Since(self.epoch, self.seq) if known else None

    def expiry(self) -> float | None:
        """When the connection's token expires, in seconds since the epoch; None for never, or not known."""
        return self.expires_at / 1000 if type(self.expires_at) in (int, float) else None


_server_frames: Final = msgspec.json.Decoder(ServerFrame)


def decode_server_frame(frame: bytes | msgspec.Raw) -> ServerFrame | None:
    """The frame of a server, or None for one that is to be ignored."""
    try:
        return _server_frames.decode(frame)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


class FrameHead(msgspec.Struct, rename="camel", frozen=True, gc=False):
    """What a gateway needs to know of a frame that passes through it; the rest is skipped."""

    type: str
    id: OptionalRaw = None
    error: OptionalRaw = None
    code: str | None = None
    request_id: str | None = None
    seq: Any = None

    @property
    def outcome(self) -> str:
        """Result code of an `rpc:result`, for counting."""
        return "ok" if self.error is None or bytes(self.error) == b"null" else self.code or "error"


_heads: Final = msgspec.json.Decoder(FrameHead)


def decode_head(frame: bytes) -> FrameHead | None:
    """The head of a server's frame, or None for one that is no frame."""
    try:
        return _heads.decode(frame)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


_encode: Final = msgspec.json.Encoder().encode


CANCEL: Final = "rpc:cancel"
"""Feature of a server that takes `rpc:cancel` and `cancelOnClose`."""
REFRESH: Final = "auth:refresh"
"""Feature of a server that takes a new token on an open connection."""


def welcome(client_id: str, features: Sequence[str] = (), expires_at: float | None = None, resume: str = "") -> bytes:
    """First frame after the upgrade.

    Args:
        client_id: names the session.
        features: additions that the client may use.
        expires_at: when its token expires, in seconds since the epoch.
        resume: what the client shows to go on with the session on another connection; "" if it cannot.
    """
    more = b',"features":%b' % _encode(features) if features else b""
    if expires_at is not None:
        more += b',"expiresAt":%d' % (expires_at * 1000)
    if resume:
        more += b',"resume":%b' % _encode(resume)
    return b'{"type":"welcome","clientId":%b%b}' % (_encode(client_id), more)


def replaced() -> bytes:
    """The last frame of a connection whose session goes on at another one."""
    return problem(CallerError("another connection goes on with this session", code=REPLACED))


def refresh(token: str) -> bytes:
    """A new token, as a client sends it."""
    return b'{"type":"auth:refresh","token":%b}' % _encode(token)


def refreshed(expires_at: float | None) -> bytes:
    """The token was taken; it expires then, in seconds since the epoch (None: never)."""
    return b'{"type":"auth:refreshed","expiresAt":%b}' % (
        b"null" if expires_at is None else b"%d" % (expires_at * 1000)
    )


CREDIT_CHUNKS: Final = 16
"""A gateway tells a runtime of every so many-th chunk of a stream that its socket has taken it."""
CREDIT_BYTES: Final = 16 * 1024
"""And of every chunk whose frame is so large."""


def chunk(call_id: bytes | msgspec.Raw, number: int, value: bytes) -> bytes:
    """A part of a call's answer; `value` is JSON, `number` counts from 1."""
    return b'{"type":"rpc:stream","id":%b,"seq":%d,"chunk":%b}' % (call_id, number, value)


_RESULT_HEAD: Final = b'{"type":"rpc:result","id":'


def result(call_id: bytes | msgspec.Raw, value: bytes | None) -> bytes:
    """The answer to a call; `value` is JSON, None for a method that returns nothing."""
    if value is None:
        return b"".join((_RESULT_HEAD, call_id, b"}"))
    return b"".join((_RESULT_HEAD, call_id, b',"result":', value, b"}"))


def stream_end(call_id: bytes | msgspec.Raw, number: bytes | None) -> bytes:
    """The answer to a call that was streamed; `number` (JSON) is that of its last chunk, None if none were sent."""
    if number is None:
        return result(call_id, None)
    return b'{"type":"rpc:result","id":%b,"seq":%b}' % (call_id, number)


def failure(call_id: bytes | msgspec.Raw, error: ZocketError) -> bytes:
    """The answer to a call that failed."""
    data = b"" if error.data is None else b',"data":%b' % _encode(error.data)
    request = b"" if error.request_id is None else b',"requestId":%b' % _encode(error.request_id)
    return b'{"type":"rpc:result","id":%b,"error":%b,"code":%b%b%b}' % (
        call_id,
        _encode(error.message),
        _encode(error.code),
        data,
        request,
    )


def outcome_of(call_id: bytes | msgspec.Raw, answer: bytes) -> bytes:
    """What an `rpc:result` to the call says besides its id, as a JSON object."""
    return b"{" + answer[len(_RESULT_HEAD) + len(bytes(call_id)) :].removeprefix(b",")


def answer_again(call_id: bytes | msgspec.Raw, outcome: bytes) -> bytes:
    """The `rpc:result` that says to another call what `outcome_of` took from the first one."""
    return b"%b%b%b%b" % (_RESULT_HEAD, call_id, b"" if outcome == b"{}" else b",", outcome[1:])


def problem(error: ZocketError, actor: str | None = None, actor_id: str | None = None) -> bytes:
    """A failure that answers no call; an old client ignores it."""
    frame: dict[str, Any] = {"type": "error", "code": error.code, "message": error.message}
    if actor is not None:
        frame |= {"actor": actor, "actorId": actor_id}
    return _encode(frame | {"requestId": error.request_id or ""})


def address(actor: str, actor_id: str) -> bytes:
    """`"actor":…,"actorId":…` of one instance, encoded once and kept with it."""
    return b'"actor":%b,"actorId":%b' % (_encode(actor), _encode(actor_id))


def version(epoch: str, seq: int) -> bytes:
    """`,"epoch":…,"seq":…` of a version; `epoch` is plain ASCII without quotes."""
    return b',"epoch":"%b","seq":%d' % (epoch.encode(), seq)


def snapshot(instance: bytes, state: bytes, version: bytes = b"") -> bytes:
    """The whole state of the instance whose `address` is given, and its `version`."""
    return b'{"type":"state:snapshot",%b,"state":%b%b}' % (instance, state, version)


def patch(instance: bytes, operations: bytes, version: bytes = b"") -> bytes:
    """The operations of one committed handler run, and the `version` that they lead to."""
    return b'{"type":"state:patch",%b,"patches":%b%b}' % (instance, operations, version)


def event(instance: bytes, name: bytes, payload: bytes) -> bytes:
    """One event; `name` is JSON."""
    return b'{"type":"event",%b,"event":%b,"payload":%b}' % (instance, name, payload)


_APPEND: Final = b',"append":true'


def request(kind: str, actor: str, actor_id: str, since: Since | None = None, *, append: bool = False) -> bytes:
    """A subscription frame as a client sends it."""
    more = b"" if since is None else b',"since":%b' % _encode(since)
    return b'{"type":%b,%b%b%b}' % (_encode(kind), address(actor, actor_id), more, _APPEND if append else b"")


def subscription(request: Subscription) -> bytes:
    """The frame of a decoded subscription, without a version."""
    more = _APPEND if isinstance(request, StateSub) and request.appends else b""
    return b'{"type":%b,%b%b}' % (_TAGS[type(request)], address(request.actor, request.actor_id), more)


_TAGS: Final = {
    EventSub: b'"event:sub"',
    EventUnsub: b'"event:unsub"',
    StateSub: b'"state:sub"',
    StateUnsub: b'"state:unsub"',
}


def call(
    call_id: bytes,
    actor: str,
    actor_id: str,
    method: str,
    value: bytes | None,
    key: str = "",
    *,
    cancel_on_close: bool = False,
) -> bytes:
    """A call as a client sends it; `value` is the JSON of `input`, `key` the idempotency key."""
    head = b'{"type":"rpc","id":%b,%b,"method":%b' % (call_id, address(actor, actor_id), _encode(method))
    named = b',"idempotencyKey":%b' % _encode(key) if key else b""
    bound = b',"cancelOnClose":true' if cancel_on_close else b""
    return head + named + bound + (b"}" if value is None else b',"input":%b}' % value)


def cancel(call_id: bytes | msgspec.Raw) -> bytes:
    """Takes a call back, as a client sends it."""
    return b'{"type":"rpc:cancel","id":%b}' % call_id


_LIST: Final = ord("[")
_NO_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))
_STEPS: Final = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")
"""Brackets as signed bytes: one level down, one level up."""


def too_deep(frame: bytes, max_depth: int) -> bool:
    """Whether arrays and objects nest deeper than `max_depth`; brackets inside strings do not count.

    Looking for openers first makes the usual frame cost two scans in C. Otherwise the time is linear in the frame,
    whatever is in it. Of what is no JSON, everything that a parser takes before it stops is counted.
    """
    if _LIST not in frame:
        inner = frame.find(b"{", 1)
        if (len(frame) - inner if inner > 0 else 0) < max_depth:
            return False
    if frame.count(b"[") + frame.count(b"{") <= max_depth:
        return False
    outside_strings = b"".join(frame.replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"')[::2])
    return max(accumulate(array("b", outside_strings.translate(_STEPS, _NO_BRACKETS))), default=0) > max_depth
