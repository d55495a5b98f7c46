"""The operations that make one JSON document of another, when nothing is known but the two.

Rules: as for every list of operations (see `emission`): arrays change in place and grow and shrink at their ends, a
container is told as a whole where that is shorter, and the document itself never is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from zocket.state.emission import OVERHEAD, encoded
from zocket.state.growth import Grown, grown_json
from zocket.state.pointer import escape

if TYPE_CHECKING:
    from zocket.state.emission import Operation
    from zocket.state.growth import Operations

_members: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_elements: Final = msgspec.json.Decoder(list[msgspec.Raw]).decode


def difference(old: bytes, new: bytes) -> Operations | None:
    """Return a JSON array of RFC 6902 operations, `[]` if the documents are equal; a `Growth` where a text has grown.

    None if only another whole document could tell it: an array became an object, or one of them is neither.
    """
    if old[:1] != new[:1] or new[:1] not in (b"{", b"["):
        return b"[]" if old == new else None
    return encoded(_inside(old, new, "")) or b"[]"


def _between(old: bytes, new: bytes, path: str) -> list[Operation]:
    """The operations on what lies at a path, which is not the root."""
    whole: list[Operation] = [("replace", path, new)]
    text = grown_json(path, old, new)
    if text is not None:
        return [("replace", path, text)]
    if old[:1] != new[:1] or new[:1] not in (b"{", b"["):
        return whole
    parts = _inside(old, new, path)
    return whole if _size(parts) > _size(whole) else parts


def _inside(old: bytes, new: bytes, path: str) -> list[Operation]:
    """The operations on the parts of two objects, or of two arrays."""
    return _in_object(old, new, path) if new[:1] == b"{" else _in_array(old, new, path)


def _in_object(old: bytes, new: bytes, path: str) -> list[Operation]:
    before, after = _members(old), _members(new)
    ops: list[Operation] = [("remove", f"{path}/{escape(key)}", None) for key in before if key not in after]
    for key, value in after.items():
        known = before.get(key)
        if known is None:
            ops.append(("add", f"{path}/{escape(key)}", bytes(value)))
        elif known != value:
            ops += _between(bytes(known), bytes(value), f"{path}/{escape(key)}")
    return ops


def _in_array(old: bytes, new: bytes, path: str) -> list[Operation]:
    before, after = _elements(old), _elements(new)
    ops: list[Operation] = []
    for index, (known, value) in enumerate(zip(before, after, strict=False)):
        if known != value:
            ops += _between(bytes(known), bytes(value), f"{path}/{index}")
    ops.extend(("add", f"{path}/{index}", bytes(after[index])) for index in range(len(before), len(after)))
    ops.extend(("remove", f"{path}/{index}", None) for index in range(len(before) - 1, len(after) - 1, -1))
    return ops


def _size(ops: list[Operation]) -> int:
    return sum(
        len(value.append) if isinstance(value, Grown) else OVERHEAD + len(path) + len(value or b"")
        for _, path, value in ops
    )
