"""What a client says of itself, as it writes it."""

from __future__ import annotations

from typing import Any

import pytest

from zocket.errors import UsageError
from zocket.protocol.metadata import encode_metadata


def test_metadata_are_a_json_object_or_nothing() -> None:
    assert encode_metadata({"name": "Ada"}) == b'{"name":"Ada"}'
    assert encode_metadata({}) == encode_metadata(None) == b""


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"a": object()}, "JSON can hold"),
        ({"a": "\ud800"}, "JSON can hold"),
        ({"a": "x" * 2_048}, "limit is 2048"),
        ({"a": [[[[[[[[1]]]]]]]]}, "nested"),
    ],
)
def test_what_cannot_be_said_is_refused_where_it_is_written(metadata: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        encode_metadata(metadata)
