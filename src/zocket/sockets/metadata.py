"""What a client says of itself when it connects: a small JSON object in the query (`?metadata=`).

Rules: it is checked before the upgrade, and travels as JSON; nobody vouches for what it says.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from zocket.protocol.frames import too_deep
from zocket.protocol.metadata import MAX_METADATA_BYTES, MAX_METADATA_DEPTH
from zocket.sockets.port import Refused

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_decode: Final = msgspec.json.Decoder(dict[str, Any]).decode


def metadata_of(query: Mapping[str, Sequence[str]]) -> bytes:
    """The JSON in the fields of a query, b"" if there is none.

    Raises:
        Refused: with 400, it is no JSON object or over its limit.
    """
    given = query.get("metadata")
    if not given:
        return b""
    try:
        metadata = msgspec.json.encode(_decode(given[0].encode()))
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        raise Refused(400, "invalid_metadata", "metadata: expected a JSON object") from None
    if len(metadata) > MAX_METADATA_BYTES or too_deep(metadata, MAX_METADATA_DEPTH):
        message = f"metadata: at most {MAX_METADATA_BYTES} bytes of JSON, nested at most {MAX_METADATA_DEPTH} levels"
        raise Refused(400, "invalid_metadata", message)
    return metadata
