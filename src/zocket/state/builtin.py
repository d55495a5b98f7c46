# ruff: noqa: D102, SLF001 - methods are described in `kinds.Kind`; the marks of a node (`_z…`) belong to this package
"""Kinds of the built-in containers.

`list`, `dict`, `defaultdict` and `set` become tracked containers. `tuple`, named tuples and `frozenset` stay what they
are; mutable parts of a tuple are tracked as parts of the node that holds the tuple, and a change in them emits the
tuple as a whole.
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from typing import TYPE_CHECKING, Any

from zocket.state.containers import ListChanges, TrackedDefaultDict, TrackedDict, TrackedList, TrackedSet
from zocket.state.journal import MISSING
from zocket.state.kinds import (
    DISCOVERERS,
    FORBIDDEN_KEYS,
    KINDS,
    PLAIN,
    Kind,
    Refusal,
    all_plain,
    is_immutable,
    json_names,
    register,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from zocket.state.adopt import Settlement
    from zocket.state.journal import Journal


class _Container:
    """What the kinds of tracked containers share."""

    name: str
    tracked: Any
    new: Any
    """Makes an empty node."""
    fill: Any
    """Puts everything that a plain value holds into a node."""
    frozen = False
    ambiguous = False
    computed = False

    def flat(self, value: Any) -> bool:
        return all_plain(value)

    def adopt_flat(self, value: Any, parent: Any, key: Any, journal: Journal) -> Any:
        if not self.flat(value):
            return None
        node = self.empty(value, parent, key, journal)
        self.fill(node, value)
        return node

    def empty(self, value: Any, parent: Any, key: Any, journal: Journal) -> Any:
        """Make an empty node for a plain value at a place."""
        node: Any = self.new(self.tracked)
        node._zj, node._zp, node._zk, node._zc = journal, parent, key, None
        return node

    def check(self, value: Any) -> None:
        """Every list and every set will do."""

    def store(self, node: Any) -> Any:
        """No mapping."""

    def link(self, node: Any, parent: Any, key: Any) -> None:
        node._zp = parent
        node._zk = key

    def set_changes(self, node: Any, changes: Any, /) -> None:
        node._zc = changes


class ListKind(_Container):
    """Lists."""

    name = "list"
    tracked: Any = TrackedList
    new = staticmethod(list.__new__)
    fill = staticmethod(list.extend)

    def items(self, value: Any) -> Iterable[tuple[Any, Any]]:
        return enumerate(value)

    def adopt(self, value: Any, parent: Any, key: Any, settlement: Settlement) -> Any:
        node = self.empty(value, parent, key, settlement.journal)
        if value:
            adopt = settlement.adopt
            list.extend(node, [p if type(p) in PLAIN else adopt(p, node, i) for i, p in enumerate(value)])
        return node

    def plain(self, value: Any, convert: Callable[[Any], Any]) -> Any:
        return [convert(part) for part in value]

    def restore(self, node: Any, changes: ListChanges) -> None:
        list.__setitem__(node, slice(changes.start, None), changes.tail[::-1])
        for index, old in changes.changed.items():
            list.__setitem__(node, index, old)

    def changed(self, node: Any, changes: ListChanges) -> list[tuple[Any, Any, Any]]:
        found = [(index, old, node[index]) for index, old in changes.changed.items()]
        start = changes.start
        old_tail, new_tail = changes.tail[::-1], list.__getitem__(node, slice(start, None))
        longest = max(len(old_tail), len(new_tail))
        old_tail.extend([MISSING] * (longest - len(old_tail)))
        new_tail.extend([MISSING] * (longest - len(new_tail)))
        found.extend(
            [
                (start + i, old, new)
                for i, (old, new) in enumerate(zip(old_tail, new_tail, strict=True))
                if old is not new
            ]
        )
        return found

    def written(self, node: Any, changes: ListChanges) -> list[tuple[Any, Any, Any]] | None:
        length = changes.length
        if changes.start != length:
            return None
        found = [(key, old, node[key]) for key, old in changes.changed.items()] if changes.changed else []
        for place in range(length, len(node)):
            found.append((place, MISSING, node[place]))  # noqa: PERF401 - one element nearly always
        return found

    def get(self, node: Any, key: Any) -> Any:
        return list.__getitem__(node, key)

    def put(self, node: Any, key: Any, value: Any) -> None:
        list.__setitem__(node, key, value)

    def committed(self, node: Any, changes: ListChanges | None) -> Any:
        copy = list(node)
        if changes is not None:
            copy[changes.start :] = changes.tail[::-1]
            for index, old in changes.changed.items():
                copy[index] = old
        return copy

    def locate(self, node: Any, child: Any) -> Any:
        place, length = child._zk, len(node)
        if type(place) is not int:
            place = 0
        if place < length and node[place] is child:
            return place
        for distance in range(1, max(place, length - place) + 1):
            for found in (place - distance, place + distance):
                if 0 <= found < length and list.__getitem__(node, found) is child:
                    child._zk = found
                    return found
        return MISSING


class DictKind(_Container):
    """Dictionaries."""

    name = "dict"
    tracked: Any = TrackedDict
    new = staticmethod(dict.__new__)
    fill = staticmethod(dict.update)

    def items(self, value: Any) -> Iterable[tuple[Any, Any]]:
        return dict.items(value)

    def flat(self, value: Any) -> bool:
        if not all_plain(dict.values(value)):
            return False
        return all(type(key) is str and key.isascii() and key not in FORBIDDEN_KEYS for key in value)

    def empty(self, value: Any, parent: Any, key: Any, journal: Journal) -> Any:
        node = super().empty(value, parent, key, journal)
        node._zn = node._zr = None
        return node

    def check(self, value: Any) -> None:
        json_names(value)

    def adopt(self, value: Any, parent: Any, key: Any, settlement: Settlement) -> Any:
        node = self.empty(value, parent, key, settlement.journal)
        if value:
            node._zn = json_names(value)
            adopt = settlement.adopt
            dict.update(node, {k: p if type(p) in PLAIN else adopt(p, node, k) for k, p in value.items()})
        return node

    def plain(self, value: Any, convert: Callable[[Any], Any]) -> Any:
        return {key: convert(part) for key, part in value.items()}

    def restore(self, node: Any, changes: dict[Any, Any]) -> None:
        for key, old in changes.items():
            if old is not MISSING:
                dict.__setitem__(node, key, old)
            else:
                dict.pop(node, key, None)
        order = node._zj.orders.get(id(node))
        if node._zr is not None:
            for key, old in changes.items():
                if old is MISSING:
                    node._zr.pop(key, None)
        if order is not None:
            if type(order) is dict:
                node._zr.update((key, rank) for key, rank in order.items() if key in node)
                order = sorted(node, key=node._zr.__getitem__)
            values = [(key, dict.__getitem__(node, key)) for key in order if key in node]
            dict.clear(node)
            dict.update(node, values)
        if node._zn is not None:
            node._zn = json_names(node)

    def changed(self, node: Any, changes: dict[Any, Any]) -> list[tuple[Any, Any, Any]]:
        get = dict.get
        return [(key, old, get(node, key, MISSING)) for key, old in changes.items()]

    written = changed

    def store(self, node: Any) -> Any:
        return node

    def get(self, node: Any, key: Any) -> Any:
        return dict.get(node, key, MISSING)

    def put(self, node: Any, key: Any, value: Any) -> None:
        dict.__setitem__(node, key, value)

    def committed(self, node: Any, changes: dict[Any, Any] | None) -> Any:
        copy = dict(node)
        for key, old in (changes or {}).items():
            if old is MISSING:
                copy.pop(key, None)
            else:
                copy[key] = old
        order = node._zj.orders.get(id(node))
        if order is None:
            return copy
        if type(order) is dict:
            order = sorted(copy, key={**node._zr, **order}.__getitem__)
        return {key: copy[key] for key in order if key in copy}

    def locate(self, node: Any, child: Any) -> Any:
        key = child._zk
        return key if dict.get(node, key, MISSING) is child else MISSING


class DefaultDictKind(DictKind):
    """Dictionaries that make missing values."""

    name = "defaultdict"
    tracked: Any = TrackedDefaultDict

    def empty(self, value: Any, parent: Any, key: Any, journal: Journal) -> Any:
        node = super().empty(value, parent, key, journal)
        node.default_factory = value.default_factory
        return node

    def plain(self, value: Any, convert: Callable[[Any], Any]) -> Any:
        return defaultdict(value.default_factory, super().plain(value, convert))


class SetKind(_Container):
    """Sets."""

    name = "set"
    tracked: Any = TrackedSet
    new = staticmethod(set.__new__)
    fill = staticmethod(set.update)

    def items(self, value: Any) -> Iterable[tuple[Any, Any]]:
        return [(part, part) for part in value]

    def check(self, value: Any) -> None:
        for part in value:
            if not is_immutable(part):
                raise Refusal(f"a {type(part).__qualname__} in a set could be changed unnoticed")

    def adopt(self, value: Any, parent: Any, key: Any, settlement: Settlement) -> Any:
        node = self.empty(value, parent, key, settlement.journal)
        set.update(node, value)
        return node

    def plain(self, value: Any, convert: Callable[[Any], Any]) -> Any:
        return set(value)

    def restore(self, node: Any, changes: list[Any]) -> None:
        set.clear(node)
        set.update(node, changes)

    def changed(self, node: Any, changes: list[Any]) -> list[tuple[Any, Any, Any]]:
        return []

    def written(self, node: Any, changes: list[Any]) -> None:
        """A set is emitted as a whole."""

    def get(self, node: Any, key: Any) -> Any:
        return MISSING

    def put(self, node: Any, key: Any, value: Any) -> None:
        raise AssertionError("elements of a set are never replaced")

    def committed(self, node: Any, changes: list[Any] | None) -> Any:
        return set(node) if changes is None else set(changes)

    def locate(self, node: Any, child: Any) -> Any:
        return MISSING


class FrozenSetKind:
    """Frozen sets: kept as they are."""

    name = "frozenset"
    tracked = None
    frozen = True
    ambiguous = False

    def items(self, value: Any) -> Iterable[tuple[Any, Any]]:
        return [(part, part) for part in value]

    def flat(self, value: Any) -> bool:
        return False

    def check(self, value: Any) -> None:
        for part in value:
            if not is_immutable(part):
                raise Refusal(f"a {type(part).__qualname__} in a frozenset could be changed unnoticed")

    def adopt_flat(self, value: Any, parent: Any, key: Any, journal: Journal) -> None:
        """No node is made of it."""

    def adopt(self, value: Any, parent: Any, key: Any, settlement: Settlement) -> Any:
        return value

    def plain(self, value: Any, convert: Callable[[Any], Any]) -> Any:
        return value


class TupleKind:
    """Tuples and named tuples: kept as they are unless a part has to be tracked."""

    tracked = None
    frozen = True
    ambiguous = False

    def __init__(self, cls: type = tuple) -> None:
        self.cls = cls
        self.name = cls.__name__

    def items(self, value: Any) -> Iterable[tuple[Any, Any]]:
        return enumerate(value)

    def flat(self, value: Any) -> bool:
        return False

    def check(self, value: Any) -> None:
        """Every tuple will do."""

    def adopt_flat(self, value: Any, parent: Any, key: Any, journal: Journal) -> None:
        """No node is made of it."""

    def rebuild(self, value: Any, parts: list[Any]) -> Any:
        """Make a tuple of the same class, the same one if no part differs."""
        if all(map(_same, value, parts)):
            return value
        return tuple.__new__(self.cls, parts)

    def adopt(self, value: Any, parent: Any, key: Any, settlement: Settlement) -> Any:
        raise AssertionError("a tuple is adopted by its holder")

    def plain(self, value: Any, convert: Callable[[Any], Any]) -> Any:
        return self.rebuild(value, [convert(part) for part in value])


def _same(left: Any, right: Any) -> bool:
    return left is right


def _discover(cls: type) -> Kind | None:
    if issubclass(cls, tuple) and hasattr(cls, "_fields"):
        return TupleKind(cls)  # type: ignore[return-value]
    if issubclass(cls, (list, dict, set, frozenset, tuple, bytearray, memoryview)):
        raise Refusal(f"a {cls.__qualname__} cannot be in the state: use a plain list, dict, set or tuple")
    return None


def install() -> None:
    """Make the built-in kinds known."""
    register(list, ListKind())
    register(dict, DictKind())
    register(defaultdict, DefaultDictKind())
    register(set, SetKind())
    ordered = DictKind()
    KINDS[OrderedDict] = ordered
    KINDS[frozenset] = FrozenSetKind()  # type: ignore[assignment]
    KINDS[tuple] = TupleKind()  # type: ignore[assignment]
    DISCOVERERS.append(_discover)


install()
