"""What a client says of itself, as it writes it: a small JSON object.

Rules: the limits are those that the server checks (`sockets/metadata.py`); what is over them fails where it is written.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from zocket.errors import UsageError
from zocket.protocol.frames import too_deep

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_METADATA_BYTES: Final = 2_048
"""Of its JSON. It travels with every request of the session: a name, a colour, the address of a picture."""
MAX_METADATA_DEPTH: Final = 8
"""Nesting of arrays and objects in it."""


def encode_metadata(metadata: Mapping[str, Any] | None) -> bytes:
    """Its JSON, b"" for none.

    Raises:
        UsageError: JSON cannot hold it, or it is too large.
    """
    if not metadata:
        return b""
    try:
        encoded = msgspec.json.encode(dict(metadata))
    except (TypeError, ValueError, RecursionError, msgspec.MsgspecError) as error:
        raise UsageError(f"metadata: expected an object that JSON can hold ({error})") from error
    if len(encoded) > MAX_METADATA_BYTES:
        raise UsageError(f"metadata: {len(encoded)} bytes of JSON, the limit is {MAX_METADATA_BYTES}")
    if too_deep(encoded, MAX_METADATA_DEPTH):
        raise UsageError(f"metadata: nested deeper than {MAX_METADATA_DEPTH} levels")
    return encoded
