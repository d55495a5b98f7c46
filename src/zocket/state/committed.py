# ruff: noqa: SLF001 - the marks of a node (`_z…`) belong to this package
"""The state as it was before the open turn, for whoever looks while the turn is open.

Changed parts and what lies above them are copied, one level each; everything else is shared. Nothing that a suspended
handler may be iterating over is touched.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from zocket.state.emission import SILENT
from zocket.state.encoding import encode_checked
from zocket.state.journal import TRACKED
from zocket.state.pointer import escape
from zocket.state.positions import class_position

if TYPE_CHECKING:
    from zocket.state.emission import Emission
    from zocket.state.journal import Journal
    from zocket.state.kinds import Kind

_decode = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class Committed:
    """The state as it was before the open turn."""

    def __init__(self, journal: Journal) -> None:
        self.affected: dict[int, Any] = {}
        self.children: dict[int, list[Any]] = {}
        for node in journal.touched:
            while node is not journal and id(node) not in self.affected:
                self.affected[id(node)] = node
                self.children.setdefault(id(node._zp), []).append(node)
                node = node._zp

    def copy(self, node: Any) -> Any:
        """Return the node as it was; itself if nothing in it has changed."""
        if id(node) not in self.affected:
            return node
        kind: Kind = TRACKED[type(node)]
        copy = kind.committed(node, node._zc)
        inner = {id(child): self.copy(child) for child in self.children.get(id(node), ())}
        if inner:
            _exchange(kind, copy, inner)
        return copy


def _exchange(kind: Any, copy: Any, inner: dict[int, Any]) -> None:
    """Put the copies of parts in the place of the parts, in a copy of what holds them."""
    for key, part in list(kind.items(copy)):
        if id(part) in inner:
            kind.put(copy, key, inner[id(part)])
        elif isinstance(part, tuple):
            kind.put(copy, key, _exchange_in_tuple(part, inner))


def _exchange_in_tuple(value: tuple[Any, ...], inner: dict[int, Any]) -> Any:
    parts = [
        inner.get(id(part), _exchange_in_tuple(part, inner) if isinstance(part, tuple) else part) for part in value
    ]
    return tuple.__new__(type(value), parts)


class ComputedFields:
    """The computed fields around the changes of a turn: what they were, and operations for those that differ.

    A computed field may depend on anything inside its model, so all of a model's are computed again when anything in
    it changes. What they depend on besides (a clock, a global) is not noticed.
    """

    def __init__(self, journal: Journal) -> None:
        committed = Committed(journal)
        self.owners: list[tuple[Any, dict[str, bytes]]] = []
        self.fresh: list[tuple[Any, dict[str, bytes]]] = []
        for node in committed.affected.values():
            if TRACKED[type(node)].computed:
                known = getattr(node, "_zv", None)
                self.owners.append((node, known or _computed(committed.copy(node), node)))

    def emit(self, emission: Emission) -> None:
        """Add the operations for computed fields that differ."""
        for node, old in self.owners:
            if emission.is_attached(node):
                place = emission.place(node)
                new = _computed(node, node)
                self.fresh.append((node, new))
                if place is SILENT or place[1].computed is None:
                    continue
                visible = _decode(place[1].computed(node))
                for name in visible:
                    if name in new and new[name] != old.get(name):
                        op = "replace" if name in old else "add"
                        emission.ops.append((op, f"{place[0]}/{escape(name)}", new[name]))

    def keep(self) -> None:
        """Remember the values, now that they are committed."""
        for node, values in self.fresh:
            if hasattr(type(node), "_zv"):
                object.__setattr__(node, "_zv", values)


def _computed(value: Any, node: Any) -> dict[str, bytes]:
    position = class_position(TRACKED[type(node)].cls)  # type: ignore[attr-defined]
    if position.computed is None:
        return {}
    return {name: bytes(data) for name, data in _decode(encode_checked(position.computed, value)).items()}
