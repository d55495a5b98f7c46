"""Turns the changes of a settled turn into RFC 6902 operations, in the final coordinates of the document.

Every list of operations means the same under RFC 6902 and to a client that takes `add` and `replace` at an array index
for an assignment: arrays only grow and shrink at their ends, and what moved inside is replaced where it is now. A part that is
emitted as a whole silences the changes inside it. Where the operations of one container would be longer than the
container, the container is emitted instead; the root never is, since old clients do not know the empty path.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from zocket.state.builtin import DictKind, ListKind, SetKind
from zocket.state.encoding import guarded
from zocket.state.journal import MISSING, TRACKED
from zocket.state.kinds import KINDS, PLAIN, Kind, json_key, kind_of
from zocket.state.positions import HIDDEN, OPAQUE, Position

if TYPE_CHECKING:
    from zocket.state.adopt import Settlement

_text = msgspec.json.Encoder().encode

OVERHEAD: Final = len('{"op":"replace","path":"","value":},')
"""Bytes of an operation besides its path and its value."""

_SILENT: Final[Any] = object()


class Emission:
    """The operations of one commit. `ops` are (operation, path, encoded value or None)."""

    def __init__(self, root: Any, position: Position, settlement: Settlement) -> None:
        self.root = root
        self.placed = settlement.placed
        self.ops: list[tuple[str, str, bytes | None]] = []
        self.places: dict[int, Any] = {id(root): ("", position)}
        self.wholes: set[str] = set()

    def run(self, settled: list[tuple[Any, Kind, list[tuple[Any, Any, Any]]]]) -> None:
        """Emit the changes of every settled node, outermost first."""
        if len(settled) > 1:
            settled.sort(key=lambda entry: _depth(entry[0]))
        for node, kind, changed in settled:
            place = self.place(node)
            if place is _SILENT:
                continue
            if isinstance(kind, SetKind):
                self.whole(node, place)
            elif changed:
                self.emit(node, kind, changed, *place)

    def place(self, node: Any) -> Any:
        """Return path and position of a node, or that it is silent."""
        place = self.places.get(id(node))
        if place is None:
            place = self.places[id(node)] = self.find(node)
        return place

    def find(self, node: Any) -> Any:
        if id(node) in self.placed:
            return _SILENT
        above = node._zp
        place = self.place(above)
        if place is _SILENT:
            return _SILENT
        path, position = place
        key = TRACKED[type(above)].locate(above, node)
        step = OPAQUE if key is MISSING else position.step(above, key)
        if step is OPAQUE:
            self.whole(above, place)
            return _SILENT
        if step is HIDDEN:
            return _SILENT
        return path + step[0], step[1]

    def whole(self, node: Any, place: Any) -> None:
        """Emit a node as a whole."""
        path, position = place
        self.places[id(node)] = _SILENT
        if path not in self.wholes:
            self.wholes.add(path)
            self.ops.append(("replace", path, guarded(position.encode, node)))

    def emit(self, node: Any, kind: Kind, changed: list[tuple[Any, Any, Any]], path: str, position: Position) -> None:
        """Emit the changed parts of a node, or the node where that is shorter."""
        is_list = isinstance(kind, ListKind)
        ops: list[tuple[str, str, Position, Any]] = []
        removed = 0
        for key, old, new in changed:
            if old is new:
                continue
            step = position.step(node, key)
            if step is OPAQUE:
                self.whole(node, (path, position))
                return
            if step is HIDDEN or (old is not MISSING and new is not MISSING and same(old, new)):
                continue
            part, below = step
            if new is MISSING:
                ops.append(("remove", path + part, below, None))
                removed += 1
            else:
                ops.append(("add" if old is MISSING else "replace", path + part, below, new))
        if is_list and removed:
            ops[-removed:] = ops[: -removed - 1 : -1]
        if len(ops) > 1 and path and self.shorter_whole(node, kind, ops, changed, path):
            self.whole(node, (path, position))
            return
        for op, place, below, new in ops:
            self.ops.append((op, place, None if op == "remove" else guarded(below.bytes_of, new)))

    def shorter_whole(self, node: Any, kind: Kind, ops: Any, changed: Any, path: str) -> bool:
        """Tell whether a node is shorter than the operations on its parts."""
        room = -OVERHEAD - len(path) - 1
        for op, place, _, _ in ops:
            room += OVERHEAD + len(place) - (10 if op == "remove" else 0)
            if op != "remove" and not isinstance(kind, ListKind):
                room -= len(place) - len(path) + 4
        touched = {place for _, place, _, _ in ops}
        total = len(node) if isinstance(kind, (ListKind, DictKind)) else 0
        if total and (total - len(touched)) * 2 > room:
            return False
        keys = {key for key, old, new in changed if not (old is not MISSING and new is not MISSING and same(old, new))}
        for key, part in kind.items(node):
            if key not in keys:
                room -= 1 if isinstance(kind, ListKind) else len(str(key)) + 4
                room -= size_up_to(part, room)
                if room <= 0:
                    return False
        return room > 0

    def encoded(self) -> bytes | None:
        """Return the operations as a JSON array, None if there are none."""
        if not self.ops:
            return None
        parts = []
        for op, path, value in self.ops:
            if value is None:
                parts.append(b'{"op":"remove","path":%b}' % _text(path))
            else:
                parts.append(b'{"op":"%b","path":%b,"value":%b}' % (op.encode(), _text(path), value))
        return b"[%b]" % b",".join(parts)


def _depth(node: Any) -> int:
    depth, journal = 0, node._zj
    while node is not journal:
        node, depth = node._zp, depth + 1
    return depth


def same(old: Any, new: Any) -> bool:
    """Tell whether two values are the same JSON, so that no operation is needed; a part changed in this turn is not."""
    if old is new:
        return True
    left, right = type(old), type(new)
    kind = TRACKED.get(left)
    if kind is None:
        if left is not right:
            return False
        if left in PLAIN or left is str or left is float:
            return bool(old == new)
        found = KINDS.get(left) or kind_of(left)
        if found is None:
            return bool(old == new)
        return _same_parts(found, old, new)
    if TRACKED.get(right) is not kind or old._zc is not None or new._zc is not None:
        return False
    return _same_parts(kind, old, new)


def _same_parts(kind: Kind, old: Any, new: Any) -> bool:
    if kind.name in ("set", "frozenset"):
        return bool(set(old) == set(new))
    if isinstance(kind, DictKind):
        return len(old) == len(new) and all(
            type(key) in (str, int) and key in new and same(part, dict.__getitem__(new, key)) for key, part in kind.items(old)
        )
    left, right = list(kind.items(old)), list(kind.items(new))
    return len(left) == len(right) and all(a[0] == b[0] and same(a[1], b[1]) for a, b in zip(left, right, strict=True))


def size_up_to(value: Any, limit: int) -> int:
    """Estimate the encoded size of a value, without looking further once it is above a limit."""
    cls = type(value)
    kind = TRACKED.get(cls) or KINDS.get(cls)
    if kind is None:
        if isinstance(value, str):
            return len(value) + 2
        return len(str(value))
    size = 2
    for key, part in kind.items(value):
        size += 1 if isinstance(kind, ListKind) else len(str(key)) + 4
        size += size_up_to(part, limit - size)
        if size > limit:
            break
    return size


__all__ = ["Emission", "json_key", "same", "size_up_to"]
