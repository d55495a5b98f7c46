# ruff: noqa: SLF001 - the marks of a node (`_z…`) belong to this package
"""Turns the changes of a settled turn into RFC 6902 operations, in the final coordinates of the document.

Every list of operations means the same under RFC 6902 and to a client that takes `add` and `replace` at an array
index for an assignment: arrays only grow and shrink at their ends, and what moved inside is replaced where it is now.
A part that is emitted as a whole silences the changes inside it. Where the operations of one container would be
longer than the container, the container is emitted instead; the root never is, since old clients do not know the
empty path.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from zocket.state.builtin import DictKind, ListKind, SetKind
from zocket.state.comparison import differences, same_elements
from zocket.state.encoding import encode_checked
from zocket.state.growth import Grown, grown, has_grown, operations_of
from zocket.state.journal import MISSING, TRACKED, climb, depth_of
from zocket.state.kinds import KINDS, Kind, Untracker
from zocket.state.pointer import escape
from zocket.state.positions import HIDDEN, OPAQUE, Position

if TYPE_CHECKING:
    from zocket.state.adopt import Settlement
    from zocket.state.growth import Operations

_text = msgspec.json.Encoder().encode

OVERHEAD: Final = len('{"op":"replace","path":"","value":},')
"""Bytes of an operation besides its path and its value."""

SILENT: Final[Any] = object()
"""Instead of a place: the part is emitted with something around it, or never."""

Operation = tuple[str, str, "bytes | Grown | None"]
"""Its name, its path, and its encoded value: a `Grown` for `replace` of a text that has grown, None for `remove`."""


class Emission:
    """The operations of one commit."""

    def __init__(self, root: Any, position: Position, settlement: Settlement) -> None:
        self.emitted: set[tuple[int, Any]] = set()
        """Places, by the id of the node around and the key, whose value was emitted."""
        self.plain = settlement.journal.plain
        self.ops: list[Operation] = []
        self.places: dict[int, Any] = {id(root): ("", position.at(root))}
        self.wholes: set[str] = set()
        self.equal: set[int] = set()
        """Nodes that are, changes included, what another node was at their place: their own changes are not told."""

    def run(self, settled: list[tuple[Any, Kind, list[tuple[Any, Any, Any]]]]) -> None:
        """Emit the changes of every settled node, outermost first."""
        if len(settled) > 1:
            settled.sort(key=lambda entry: depth_of(entry[0]))
        for node, kind, changed in settled:
            if id(node) in self.equal:
                continue
            differing = differences(changed, self.equal)
            if isinstance(kind, SetKind):
                if not same_elements(set(node._zc), node) and (place := self.place(node)) is not SILENT:
                    self.whole(node, *place)
            elif differing and (place := self.place(node)) is not SILENT:
                self.emit(node, kind, differing, *place)

    def is_attached(self, node: Any) -> bool:
        """Tell whether a node lies in the committed tree."""
        return climb(node) is node._zj

    def place(self, node: Any) -> Any:
        """Return path and position of a node, or that it is silent."""
        place = self.places.get(id(node))
        if place is None:
            place = self.places[id(node)] = self.find(node)
        return place

    def find(self, node: Any) -> Any:
        """Find the place of a node by those of the nodes around it."""
        above = node._zp
        place = self.place(above)
        if place is SILENT:
            return SILENT
        path, position = place
        kind = TRACKED[type(above)]
        key = kind.locate(above, node)
        inside = key is MISSING
        if inside:
            key, value = _holder(kind, above, node)
        if (id(above), key) in self.emitted:
            return SILENT
        step = position.step(above, key)
        if step is OPAQUE:
            self.whole(above, path, position)
            return SILENT
        if step is HIDDEN:
            return SILENT
        if inside:
            self.replace(path + step[0], step[1], value)
            return SILENT
        return path + step[0], step[1].at(node)

    def whole(self, node: Any, path: str, position: Position) -> None:
        """Emit a node as a whole."""
        self.places[id(node)] = SILENT
        self.replace(path, position, node)

    def replace(self, path: str, position: Position, value: Any) -> None:
        """Emit the whole value at a path, once."""
        if path not in self.wholes:
            self.wholes.add(path)
            self.ops.append(("replace", path, self.bytes_of(position, value)))

    def bytes_of(self, position: Position, value: Any) -> bytes:
        """Encode a value; raises StateValueError if JSON cannot hold it."""
        return encode_checked(position.bytes_of, Untracker()(value) if self.plain else value)

    def emit(self, node: Any, kind: Kind, changed: list[tuple[Any, Any, Any]], path: str, position: Position) -> None:
        """Emit the changed parts of a node, or the node where that is shorter."""
        is_list = isinstance(kind, ListKind)
        if is_list and path and len(changed) > 1 and self.shorter_list(node, changed, path):
            self.whole(node, path, position)
            return
        ops: list[tuple[str, str, Position, Any, Any]] = []
        removed = kept = 0
        for key, old, new in changed:
            step = position.step(node, key)
            if step is OPAQUE:
                self.whole(node, path, position)
                return
            if step is HIDDEN:
                continue
            part, below = step[:2]
            if new is MISSING:
                ops.append(("remove", path + part, below, None, None))
                removed += 1
            elif below.scalars and has_grown(old, new):
                ops.append(("replace", path + part, below, new, old))
                kept += len(old)
            else:
                ops.append(("add" if old is MISSING else "replace", path + part, below, new, None))
        if is_list and removed:
            ops[-removed:] = ops[: -removed - 1 : -1]
        if len(ops) > 1 and path and not is_list and self.shorter_whole(node, kind, ops, changed, path, kept):
            self.whole(node, path, position)
            return
        self.emitted.update([(id(node), key) for key, _, _ in changed])
        for op, place, below, new, old in ops:
            if op == "remove":
                self.ops.append((op, place, None))
            elif old is None:
                self.ops.append((op, place, self.bytes_of(below, new)))
            else:
                self.ops.append((op, place, grown(place, old, new)))

    def shorter_list(self, node: Any, changed: list[tuple[Any, Any, Any]], path: str) -> bool:
        """Tell whether a list is shorter than the operations on its elements."""
        gone = sum([change[2] is MISSING for change in changed])
        digits = sum([len(str(change[0])) for change in changed])
        kept = sum([len(old) for _, old, new in changed if has_grown(old, new)])
        room = (OVERHEAD + len(path) + 1) * (len(changed) - 1) + digits - 10 * gone - kept
        if len(changed) - gone == len(node):
            return room > 0
        keys = {change[0] for change in changed}
        if (len(node) - len(keys)) * 2 > room:
            return False
        return _fits([(0, part) for key, part in enumerate(node) if key not in keys], room)

    def shorter_whole(self, node: Any, kind: Kind, ops: Any, changed: Any, path: str, kept: int) -> bool:
        """Tell whether a dictionary or a model is shorter than the operations on its parts.

        `kept` counts characters of grown texts that the operations leave out.
        """
        room = -OVERHEAD - len(path) - 1 - kept
        for op, place, *_ in ops:
            room += OVERHEAD + len(place) - (10 if op == "remove" else len(place) - len(path) + 4)
        keys = {key for key, _, _ in changed}
        if isinstance(kind, DictKind) and (len(node) - len(keys)) * 5 > room:
            return False
        return _fits([(len(str(key)) + 3, part) for key, part in kind.items(node) if key not in keys], room)


def _fits(parts: list[tuple[int, Any]], room: int) -> bool:
    """Tell whether parts, each with the bytes that it takes besides its value, are shorter than some room."""
    for extra, part in parts:
        room -= 1 + extra
        if room > 0:
            room -= size_up_to(part, room)
        if room <= 0:
            return False
    return room > 0


def _holder(kind: Kind, above: Any, child: Any) -> tuple[Any, Any]:
    """Find the tuple that holds a child, and its key."""
    if isinstance(kind, ListKind):
        return next((key, part) for key, part in kind.items(above) if _holds(part, child))
    key = child._zk
    return key, kind.get(above, key)


def _holds(value: Any, child: Any) -> bool:
    return isinstance(value, tuple) and any(part is child or _holds(part, child) for part in value)


def encoded(ops: list[Operation]) -> Operations | None:
    """Return operations as JSON, None if there are none."""
    if not ops:
        return None
    parts: list[bytes | Grown] = []
    for op, path, value in ops:
        if value is None:
            parts.append(b'{"op":"remove","path":%b}' % _text(path))
        elif isinstance(value, Grown):
            parts.append(value)
        else:
            parts.append(b'{"op":"%b","path":%b,"value":%b}' % (op.encode(), _text(path), value))
    return operations_of(parts)


def whole_difference(old: bytes, new: bytes) -> list[Operation]:
    """Return the operations between two encoded documents of which only the whole can be encoded."""
    before, after = (msgspec.json.decode(data, type=dict[str, msgspec.Raw] | list[msgspec.Raw]) for data in (old, new))
    ops: list[Operation] = []
    if isinstance(before, dict) and isinstance(after, dict):
        ops.extend(("remove", "/" + escape(key), None) for key in before.keys() - after.keys())
        for key, value in after.items():
            if key not in before or bytes(before[key]) != bytes(value):
                ops.append(("replace" if key in before else "add", "/" + escape(key), bytes(value)))
    elif isinstance(before, list) and isinstance(after, list):
        for index, value in enumerate(after):
            if index >= len(before) or bytes(before[index]) != bytes(value):
                ops.append(("replace" if index < len(before) else "add", f"/{index}", bytes(value)))
        ops.extend(("remove", f"/{index}", None) for index in range(len(before) - 1, len(after) - 1, -1))
    else:
        ops.append(("replace", "", new))
    return ops


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
