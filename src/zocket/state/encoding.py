"""JSON bytes of any supported value, by serialization aliases.

msgspec encodes; a Pydantic model in between is encoded by its own serializer and spliced in. What both would write as
`null` or as no JSON at all (NaN, infinities) is refused, and found without walking values that cannot hold it.
"""

from __future__ import annotations

import json
import math
from decimal import Decimal
from typing import Any

import msgspec
from pydantic_core import PydanticSerializationError, to_json

from zocket.errors import StateValueError
from zocket.state.kinds import Refusal, descend, refused

_encode_text = msgspec.json.Encoder().encode

_N, _I = ord("N"), ord("I")


def _hook(value: Any) -> Any:
    """Encode what msgspec does not know."""
    serializer = getattr(type(value), "__pydantic_serializer__", None)
    if serializer is not None:
        return msgspec.Raw(serializer.to_json(value, by_alias=True, fallback=fallback))
    return msgspec.Raw(to_json(value, by_alias=True, fallback=fallback))


def fallback(value: Any) -> Any:
    """Encode what Pydantic does not know."""
    return msgspec.to_builtins(value, enc_hook=_python_hook)


def _python_hook(value: Any) -> Any:
    return json.loads(_hook(value))


ENCODER = msgspec.json.Encoder(enc_hook=_hook)

_ERRORS = (
    msgspec.EncodeError,
    PydanticSerializationError,
    TypeError,
    ValueError,
    OverflowError,
    RecursionError,
    NotImplementedError,
)


def encode(value: Any) -> bytes:
    """Return the JSON of a value: plain data, Pydantic models, msgspec Structs, dataclasses, in any mixture.

    Raises:
        StateValueError: the value holds something that JSON cannot, with the pointer to it where it is known.
    """
    cls = type(value)
    if cls is int or cls is str or cls is bool or value is None:
        try:
            return _encode_text(value)
        except _ERRORS as error:
            raise StateValueError(f"cannot be JSON: {error}") from None
    try:
        data = _encode_any(value)
    except _ERRORS as error:
        check_numbers(value)
        raise StateValueError(f"cannot be JSON: {error}") from None
    if data.find(b"null") >= 0 or mentions_nan(data):
        check_numbers(value)
    return data


def _encode_any(value: Any) -> bytes:
    serializer = getattr(type(value), "__pydantic_serializer__", None)
    if serializer is not None:
        data: bytes = serializer.to_json(value, by_alias=True, fallback=fallback)
        return data
    return ENCODER.encode(value)


def encode_checked(encoder: Any, value: Any) -> bytes:
    """Run an encoder over a value whose numbers were checked when it entered the state.

    Raises:
        StateValueError: the encoder refuses the value, or a serializer of the user made a number of it that is no JSON.
    """
    try:
        data: bytes = encoder(value)
        if mentions_nan(data):
            msgspec.json.decode(data)
    except _ERRORS as error:
        raise StateValueError(f"cannot be JSON: {error}") from None
    return data


def mentions_nan(data: bytes) -> bool:
    """Tell whether `NaN` or `Infinity` occurs in JSON, as a value or in a text. A single byte is found fastest."""
    return (_N in data and data.find(b"NaN") >= 0) or (_I in data and data.find(b"Infinity") >= 0)


def check_numbers(value: Any) -> None:
    """Raise StateValueError if a value holds a NaN or an infinity anywhere."""
    try:
        _search(value, 0)
    except Refusal as refusal:
        raise refused(refusal, None) from None


def _search(value: Any, depth: int) -> None:
    if isinstance(value, (float, Decimal)):
        if not math.isfinite(value):
            raise Refusal(f"{value!r} cannot be JSON")
        return
    if depth > 200:
        return
    try:
        parts = descend(value)
    except Refusal:
        return
    for key, part in parts:
        if isinstance(part, (str, int, type(None))):
            continue
        try:
            _search(part, depth + 1)
        except Refusal as refusal:
            refusal.path.append(key)
            raise
