"""Calls as HTTP requests: from path and body to a frame, and from the answering frame to a status and a body. No I/O.

Rules: the body is the call's `input` as it stands, or empty; a path is split before it is decoded, so an id may hold a
slash; what is no call is an `InvalidFrame` or None, never a frame.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Final, NamedTuple
from urllib.parse import unquote

import msgspec

from zocket.errors import InvalidFrame
from zocket.protocol import frames

PREFIX: Final = "/call/"
"""What the path of every call begins with: `/call/{actor}/{id}/{method}`."""

_CALL_ID: Final = b"1"
_EXPECTED: Final = "the body: expected the call's input as JSON, in UTF-8 without lone surrogates"

STATUS: Final = {
    "validation_failed": HTTPStatus.BAD_REQUEST,
    "unauthorized": HTTPStatus.UNAUTHORIZED,
    "forbidden": HTTPStatus.FORBIDDEN,
    "origin_refused": HTTPStatus.FORBIDDEN,
    "unknown_actor": HTTPStatus.NOT_FOUND,
    "unknown_method": HTTPStatus.NOT_FOUND,
    "not_found": HTTPStatus.NOT_FOUND,
    "conflict": HTTPStatus.CONFLICT,
    "idempotency_mismatch": HTTPStatus.CONFLICT,
    "repeated": HTTPStatus.CONFLICT,
    "too_large": HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    "rate_limited": HTTPStatus.TOO_MANY_REQUESTS,
    "too_many_calls": HTTPStatus.TOO_MANY_REQUESTS,
    "overloaded": HTTPStatus.TOO_MANY_REQUESTS,
    "internal": HTTPStatus.INTERNAL_SERVER_ERROR,
    "cycle": HTTPStatus.INTERNAL_SERVER_ERROR,
    "dead_letter": HTTPStatus.INTERNAL_SERVER_ERROR,
    "stored_state": HTTPStatus.INTERNAL_SERVER_ERROR,
    "unavailable": HTTPStatus.SERVICE_UNAVAILABLE,
    "cancelled": HTTPStatus.SERVICE_UNAVAILABLE,
    "timeout": HTTPStatus.GATEWAY_TIMEOUT,
    "handler_timeout": HTTPStatus.GATEWAY_TIMEOUT,
}
"""By error code; every other one, an actor's own as well, is 400."""


class Target(NamedTuple):
    """What a path names."""

    actor: str
    actor_id: str
    method: str


def target_of(path: str) -> Target | None:
    """The target of a call's path as it stands in the request line; None for another path.

    Raises:
        InvalidFrame: a part of it is no UTF-8.
    """
    if not path.startswith(PREFIX):
        return None
    parts = path.removeprefix(PREFIX).split("/")
    if len(parts) != len(Target._fields) or not all(parts):
        return None
    try:
        return Target(*(unquote(part, errors="strict") for part in parts))
    except UnicodeDecodeError as error:
        raise InvalidFrame("the path: expected percent-encoded UTF-8") from error


def frame_of(target: Target, body: bytes, key: str) -> bytes:
    """The `rpc` frame of a call; `key` is its idempotency key, "" for none.

    Raises:
        InvalidFrame: the body is no JSON.
    """
    value = body.strip() or None
    if value is not None:
        try:
            value.decode()
            value = bytes(_json.decode(value))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise InvalidFrame(_EXPECTED) from error
    return frames.call(_CALL_ID, *target, value, key)


_json: Final = msgspec.json.Decoder(msgspec.Raw)


def answer_of(frame: bytes) -> tuple[int, bytes] | None:
    """Status and body of the frame that answers the call; None for any other frame."""
    answer = frames.decode_server_frame(frame)
    if answer is None or answer.type != "rpc:result":
        return None
    if answer.error is None:
        return HTTPStatus.OK, b'{"result":%b}' % (b"null" if answer.result is None else answer.result)
    more = b"" if answer.data is None else b',"data":%b' % answer.data
    body = b'{"error":%b,"code":%b%b,"requestId":%b}' % (
        msgspec.json.encode(answer.error),
        msgspec.json.encode(answer.code or "error"),
        more,
        msgspec.json.encode(answer.request_id or ""),
    )
    return status_of(answer.code or ""), body


def failure(code: str, message: str) -> bytes:
    """The body of a request that no frame answers."""
    return msgspec.json.encode({"error": message, "code": code})


def status_of(code: str) -> int:
    """The HTTP status that fits an error code."""
    return STATUS.get(code, HTTPStatus.BAD_REQUEST)
