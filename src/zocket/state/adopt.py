# ruff: noqa: SLF001 - the marks of a node (`_z…`) belong to this package
"""Settles the tree when a turn is committed: plain values become tracked, moved parts learn where they lie.

A part lies at one place. A part that was taken out in this turn may be put in elsewhere and stays itself; a part that
is still at its place, or was taken out in an earlier turn, or belongs to another document, is copied where it is put
in again. Everything done here to links is undone if settling fails, and the containers by the rollback that follows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeAlias

from zocket.errors import StateValueError
from zocket.state import builtin, models, records
from zocket.state.journal import MAX_DEPTH, MISSING, TRACKED, climb, depth_of
from zocket.state.kinds import (
    KINDS,
    LEAVES,
    PLAIN,
    Kind,
    Refusal,
    Untracker,
    check_scalar,
    check_value,
    descend,
    kind_of,
    refused,
)

if TYPE_CHECKING:
    from zocket.state.journal import Journal


_NONE: Final[Any] = frozenset()

MANY: Final = 16
"""Changes of one container from which on it pays to find out first which parts only changed their keys."""

Change: TypeAlias = tuple[Any, Any, Any]
"""Key, old value, new value."""


def adopt_root(value: Any, journal: Journal) -> Any:
    """Make a plain value the tracked root of a journal; raises StateValueError with the pointer to what may not be."""
    cls = type(value)
    if cls in TRACKED and value._zj is not None:
        value = Untracker()(value)
        cls = type(value)
    try:
        kind = KINDS.get(cls) or kind_of(cls)
    except Refusal as refusal:
        raise StateValueError(refusal.reason, data={"pointer": ""}) from None
    if kind is None or kind.tracked is None or kind.name == "set":
        raise StateValueError(f"A {cls.__qualname__} cannot be a state", data={"pointer": ""})
    try:
        root = Settlement(journal).adopt(value, None, None)
    except Refusal as refusal:
        check_value(None, None, value)
        raise refused(refusal, None) from None
    kind.link(root, journal, None)
    return root


def _crossing(changed: list[Change]) -> list[Change]:
    """Reduce many changes of one container to what came in or went out; the rest only changed its key."""
    before = set(map(id, [change[1] for change in changed]))
    now = list(map(id, [change[2] for change in changed]))
    after = set(now)
    if after == before and len(after) == len(now):
        return []
    after = set()
    crossing: list[Change] = []
    for key, _, new in changed:
        if id(new) not in before or id(new) in after:
            crossing.append((key, MISSING, new))
        after.add(id(new))
    crossing += [(key, old, MISSING) for key, old, _ in changed if id(old) not in after]
    return crossing


def _check_height(value: Any, room: int) -> None:
    """Raise Refusal if something in a moved part is now nested too deep; it is emitted whole, so this adds little."""
    if room < 0:
        raise Refusal(f"nested deeper than {MAX_DEPTH} levels")
    for _, part in descend(value):
        if type(part) in TRACKED or isinstance(part, tuple):
            _check_height(part, room - 1)


class Settlement:
    """The settling of one commit. It moves what was taken out, copies what is still in, wraps the rest."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self.active: set[int] = set()
        self.depth = 0
        self.displaced: set[int] = _NONE
        self.robbed: set[int] = _NONE
        self.relinked: list[tuple[Kind, Any, Any, Any]] = []

    def run(self) -> list[tuple[Any, Kind, list[Change]]]:
        """Settle every changed node that lies in the tree; return each with its kind and its changes."""
        self.displaced, self.robbed = set(), set()
        pending = []
        for node in self.journal.touched:
            kind = TRACKED[type(node)]
            changed = [change for change in kind.changed(node, node._zc) if change[1] is not change[2]]
            crossing = _crossing(changed) if len(changed) > MANY else changed
            pending.append((node, kind, changed, crossing))
            for _, old, _ in crossing:
                if type(old) not in PLAIN:
                    self.displace(old, node)
        settled: list[tuple[Any, Kind, list[Change]]] = []
        while True:
            attached = [entry for entry in pending if climb(entry[0]) is self.journal]
            if not attached:
                return settled
            pending = [entry for entry in pending if climb(entry[0]) is not self.journal]
            settled.extend([self.place_all(*entry) for entry in attached])

    def displace(self, old: Any, holder: Any) -> None:
        """Unlink a part, or the parts of a tuple, that are not where they were."""
        cls = type(old)
        if cls in TRACKED:
            if old._zp is holder:
                self.link(old, None, old._zk)
                self.displaced.add(id(old))
        elif isinstance(old, tuple):
            for part in old:
                self.displace(part, holder)

    def place_all(
        self, node: Any, kind: Kind, changed: list[Change], crossing: list[Change]
    ) -> tuple[Any, Kind, list[Change]]:
        """Make everything that was placed into a node a part of the tree."""
        adopted_values: dict[Any, Any] = {}
        for key, _, new in crossing:
            cls = type(new)
            if cls in PLAIN or cls is str or new is MISSING:
                continue
            try:
                adopted = self.adopt(new, node, key)
            except Refusal as refusal:
                check_value(node, key, new)
                raise refused(refusal, node, key) from None
            if adopted is not new:
                kind.put(node, key, adopted)
                adopted_values[key] = adopted
        if adopted_values:
            changed = [(key, old, adopted_values.get(key, new)) for key, old, new in changed]
        return node, kind, changed

    def adopt(self, value: Any, parent: Any, key: Any) -> Any:
        """Return what to keep at a place for a value: a leaf itself, otherwise a node."""
        cls = type(value)
        if cls in PLAIN:
            return value
        kind = TRACKED.get(cls)
        if kind is not None and value._zj is not None:
            return self.take(value, parent, key)
        kind = kind or KINDS.get(cls) or (None if cls in LEAVES else kind_of(cls))
        if kind is None:
            check_scalar(value)
            return value
        if id(value) in self.active:
            raise Refusal("a value cannot contain itself")
        if not self.active:
            self.depth = depth_of(parent)
        if len(self.active) + self.depth > MAX_DEPTH:
            raise Refusal(f"nested deeper than {MAX_DEPTH} levels")
        kind.check(value)
        self.active.add(id(value))
        if isinstance(value, tuple):
            kept = kind.rebuild(value, [self.adopt(part, parent, key) for part in value])  # type: ignore[attr-defined]
        elif kind.tracked is None:
            kept = value
        else:
            if kind.ambiguous:
                self.journal.plain = self.journal.special = True
            if kind.computed:
                self.journal.computed = self.journal.special = True
            kept = kind.adopt(value, parent, key, self)
        self.active.discard(id(value))
        return kept

    def take(self, node: Any, parent: Any, key: Any) -> Any:
        """Move a node that was taken out in this turn; copy any other."""
        if node._zj is self.journal:
            above = climb(node)
            if above is not self.journal and id(above) in self.displaced and id(node) not in self.robbed:
                holder = node._zp
                while holder is not None and holder is not self.journal:
                    self.robbed.add(id(holder))
                    holder = holder._zp
                self.link(node, parent, key)
                _check_height(node, MAX_DEPTH - depth_of(node))
                return node
        if id(node) in self.active:
            raise Refusal("a value cannot contain itself")
        self.active.add(id(node))
        copy = self.adopt(Untracker()(node), parent, key)
        self.active.discard(id(node))
        return copy

    def link(self, node: Any, parent: Any, key: Any) -> None:
        """Relink a node so that a failing commit can be undone."""
        kind = TRACKED[type(node)]
        self.relinked.append((kind, node, node._zp, node._zk))
        kind.link(node, parent, key)

    def undo(self) -> None:
        """Put every link back."""
        for kind, node, parent, key in reversed(self.relinked):
            kind.link(node, parent, key)


__all__ = ["Settlement", "adopt_root", "builtin", "models", "records"]
