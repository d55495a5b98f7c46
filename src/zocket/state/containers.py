# ruff: noqa: D102 - the constructors give the plain built-in
"""Tracked lists, dictionaries and sets: the whole API of the built-in classes, with the first old values remembered.

Reading is inherited and native. Every mutation first checks what it is about to place (a refused value leaves the
container unchanged), then remembers what it is about to overwrite, then acts. Calling a class here as a constructor
gives the plain built-in, so that code which copies by `type(x)(…)` gets untracked data.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final

from zocket.state.journal import MISSING, touch
from zocket.state.kinds import (
    PLAIN,
    Refusal,
    Untracker,
    check_value,
    is_immutable,
    json_key,
    json_names,
    refused,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from zocket.state.journal import Journal

_list_get = list.__getitem__
_list_set = list.__setitem__
_dict_get = dict.get
_dict_set = dict.__setitem__


class ListChanges:
    """How to get the old list back from the current one.

    Positions below `start` hold what they held, except for those in `changed`. The old elements from `start` on are in
    `tail`, in reverse, so that popping from the end of a list costs the same however often it is done.
    """

    __slots__ = ("changed", "length", "start", "tail")

    def __init__(self, length: int) -> None:
        self.length = length
        self.start = length
        self.tail: list[Any] = []
        self.changed: dict[int, Any] = {}


class TrackedList(list[Any]):
    """A list that is a part of a document."""

    __slots__ = ("_zc", "_zj", "_zk", "_zp")

    _zc: ListChanges | None
    _zj: Journal | None
    _zk: Any
    _zp: Any

    def __new__(cls, *values: Any) -> Any:
        return list(*values)

    def _changes(self) -> ListChanges:
        changes = self._zc
        if changes is None:
            touch(self)
            changes = self._zc = ListChanges(len(self))
        return changes

    def _hold(self, start: int) -> None:
        """Remember everything from a position on, before elements there move."""
        changes = self._changes()
        end = changes.start
        if start >= end:
            return
        segment = _list_get(self, slice(start, end))
        changed = changes.changed
        if changed:
            within = range(start, end) if end - start < len(changed) else [i for i in changed if i >= start]
            for index in within:
                old = changed.pop(index, MISSING)
                if old is not MISSING:
                    segment[index - start] = old
        segment.reverse()
        changes.tail.extend(segment)
        changes.start = start

    def _check_all(self, values: list[Any], start: int) -> None:
        for index, value in enumerate(values):
            kind = type(value)
            if kind not in PLAIN and not (kind is str and value.isascii()):
                check_value(self, start + index, value)

    def __setitem__(self, index: Any, value: Any) -> None:
        if isinstance(index, slice):
            self._set_slice(index, list(value))
            return
        old = _list_get(self, index)
        changes = self._zc or self._changes()
        kind = type(value)
        if kind not in PLAIN and not (kind is str and value.isascii()):
            check_value(self, index, value)
        place = index.__index__()
        if place < 0:
            place += len(self)
        if place < changes.start and place not in changes.changed:
            changes.changed[place] = old
        _list_set(self, place, value)

    def _set_slice(self, where: slice, values: list[Any]) -> None:
        start, stop, step = where.indices(len(self))
        self._changes()
        self._check_all(values, start)
        places = range(start, stop, step)
        if step == 1 and len(places) != len(values):
            self._hold(start)
            _list_set(self, where, values)
        elif len(places) != len(values):
            _list_set(self, where, values)  # raises the built-in's own ValueError
        else:
            for place, value in zip(places, values, strict=True):
                TrackedList.__setitem__(self, place, value)

    def __delitem__(self, index: Any) -> None:
        if isinstance(index, slice):
            places = range(*index.indices(len(self)))
            self._changes()
            if places:
                self._hold(min(places[0], places[-1]))
        else:
            _list_get(self, index)
            place = index.__index__()
            self._hold(place + len(self) if place < 0 else place)
        list.__delitem__(self, index)

    def append(self, value: Any) -> None:
        """Append one element."""
        if self._zc is None:
            touch(self)
            self._zc = ListChanges(len(self))
        kind = type(value)
        if kind not in PLAIN and not (kind is str and value.isascii()):
            check_value(self, len(self), value)
        list.append(self, value)

    def extend(self, values: Iterable[Any]) -> None:
        """Append every element of an iterable; none if one of them is refused."""
        fresh = list(values)
        self._changes()
        self._check_all(fresh, len(self))
        list.extend(self, fresh)

    def insert(self, index: Any, value: Any) -> None:
        """Insert before a position, as list does."""
        place = index.__index__()
        place = max(place + len(self), 0) if place < 0 else min(place, len(self))
        self._changes()
        check_value(self, place, value)
        self._hold(place)
        list.insert(self, place, value)

    def pop(self, index: Any = -1) -> Any:
        """Remove and return one element."""
        if not self:
            raise IndexError("pop from empty list")
        place = index.__index__()
        length = len(self)
        if place < 0:
            place += length
        if not 0 <= place < length:
            raise IndexError("pop index out of range")
        self._hold(place)
        return list.pop(self, place)

    def remove(self, value: Any) -> None:
        """Remove the first element that equals a value."""
        place = list.index(self, value)
        self._hold(place)
        list.__delitem__(self, place)

    def clear(self) -> None:
        """Remove all elements."""
        self._hold(0)
        list.clear(self)

    def sort(self, *, key: Callable[[Any], Any] | None = None, reverse: bool = False) -> None:
        """Sort in place and stably; a comparison that raises leaves the order as it was."""
        ordered = sorted(self, key=key, reverse=reverse)
        self._hold(0)
        _list_set(self, slice(None), ordered)

    def reverse(self) -> None:
        """Reverse in place."""
        self._hold(0)
        list.reverse(self)

    def __iadd__(self, values: Iterable[Any]) -> Any:  # type: ignore[misc]
        self.extend(values)
        return self

    def __imul__(self, times: Any) -> Any:  # type: ignore[misc]
        count = times.__index__()
        self._changes()
        if count < 1:
            self.clear()
        else:
            list.extend(self, list(self) * (count - 1))
        return self

    def __copy__(self) -> list[Any]:
        return list(self)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return Untracker(memo)(self)

    def __reduce_ex__(self, _protocol: Any) -> Any:
        return list, (list(self),)


SMALL_DICT: Final = 64
"""Up to this size the order of a dictionary is remembered by copying its keys; above, keys get ranks, once."""

_ranks = itertools.count()


class TrackedDict(dict[Any, Any]):
    """A dictionary that is a part of a document.

    `_zn` maps JSON keys to keys once one of them is not plain text. `_zr` ranks the keys of a large dictionary by their
    order once one was removed, so that a rollback can put it back where it was.
    """

    __slots__ = ("_zc", "_zj", "_zk", "_zn", "_zp", "_zr")

    _zc: dict[Any, Any] | None
    _zj: Any
    _zk: Any
    _zn: dict[str, Any] | None
    _zr: dict[Any, int] | None
    _zp: Any

    def __new__(cls, *values: Any, **named: Any) -> Any:
        return dict(*values, **named)

    def _changes(self) -> dict[Any, Any]:
        changes = self._zc
        if changes is None:
            touch(self)
            changes = self._zc = {}
        return changes

    def _enter(self, key: Any) -> None:
        """Check a key that is about to be added; note its name in JSON and its rank."""
        try:
            name = json_key(key)
            if self._zr is not None:
                self._zr[key] = next(_ranks)
            if self._zn is None:
                if type(key) is str:
                    return
                self._zn = {json_key(known): known for known in self}
            other = self._zn.setdefault(name, key)
            if other is not key and other != key:
                raise Refusal(f"the keys {other!r} and {key!r} are the same in JSON")
        except Refusal as refusal:
            raise refused(refusal, self, key) from None

    def _leave(self, key: Any) -> None:
        """Remember a key that is about to be removed, with the order of all keys."""
        changes = self._changes()
        orders = self._zj.writable_orders()
        order = orders.get(id(self))
        if order is None:
            order = orders[id(self)] = list(self) if len(self) <= SMALL_DICT and self._zr is None else {}
        if type(order) is dict:
            if self._zr is None:
                self._zr = dict(zip(self, _ranks, strict=False))
            order.setdefault(key, self._zr.pop(key))
        if key not in changes:
            changes[key] = self[key]
        if self._zn is not None:
            self._zn.pop(json_key(key), None)

    def __setitem__(self, key: Any, value: Any) -> None:
        changes = self._zc
        if changes is None:
            changes = self._changes()
        kind = type(value)
        if kind not in PLAIN and not (kind is str and value.isascii()):
            check_value(self, key, value)
        old = _dict_get(self, key, MISSING)
        if old is MISSING:
            self._enter(key)
        if key not in changes:
            changes[key] = old
        _dict_set(self, key, value)

    def __delitem__(self, key: Any) -> None:
        if key in self:
            self._leave(key)
        dict.__delitem__(self, key)

    def pop(self, key: Any, *default: Any) -> Any:
        """Remove a key and return its value."""
        if key in self:
            self._leave(key)
        return dict.pop(self, key, *default)

    def popitem(self) -> tuple[Any, Any]:
        """Remove and return the newest item."""
        for key in reversed(self):
            self._leave(key)
            break
        return dict.popitem(self)

    def clear(self) -> None:
        """Remove all items."""
        self._changes()
        for key in self:
            self._leave(key)
        dict.clear(self)

    def setdefault(self, key: Any, default: Any = None) -> Any:
        """Return the value of a key, setting it if there is none."""
        if key not in self:
            self[key] = default
        return self[key]

    def update(self, *values: Any, **named: Any) -> None:
        """Set several items; none if one of them is refused."""
        fresh = dict(*values, **named)
        if not fresh:
            return
        self._changes()
        for key, value in fresh.items():
            check_value(self, key, value)
        new_keys = [key for key in fresh if key not in self]
        try:
            if new_keys and (self._zn is not None or any(type(key) is not str for key in new_keys)):
                json_names((*self, *new_keys))
        except Refusal as refusal:
            raise refused(refusal, self) from None
        for key in new_keys:
            try:
                json_key(key)
            except Refusal as refusal:
                raise refused(refusal, self, key) from None
        for key, value in fresh.items():
            TrackedDict.__setitem__(self, key, value)

    def __ior__(self, values: Any) -> Any:  # type: ignore[misc]
        self.update(values)
        return self

    def __copy__(self) -> dict[Any, Any]:
        return dict(self)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return Untracker(memo)(self)

    def __reduce_ex__(self, _protocol: Any) -> Any:
        return dict, (dict(self),)


class TrackedDefaultDict(TrackedDict):
    """A defaultdict that is a part of a document: a missing key that is read is set, which needs an open turn."""

    __slots__ = ("default_factory",)

    default_factory: Callable[[], Any] | None

    def __missing__(self, key: Any) -> Any:
        if self.default_factory is None:
            raise KeyError(key)
        self[key] = value = self.default_factory()
        return value

    def copy(self) -> Any:
        """Return a shallow, untracked copy."""
        return defaultdict(self.default_factory, self)

    def __copy__(self) -> Any:
        return defaultdict(self.default_factory, self)

    def __reduce_ex__(self, _protocol: Any) -> Any:
        return defaultdict, (self.default_factory, dict(self))


def _holding(name: str) -> Any:
    """Wrap a mutator of set: remember the old elements, act, put them back if a new one is refused."""
    act = getattr(set, name)

    def method(self: TrackedSet, *values: Any) -> Any:
        if name.startswith("__") and not isinstance(values[0], (set, frozenset)):
            return NotImplemented
        values = tuple(value if name in _ONE_ELEMENT else list(value) for value in values)
        self._begin()
        for value in values:
            self._check([value] if name in _ONE_ELEMENT else value)
        if name.startswith("__"):
            act(self, set(values[0]))
            return self
        return act(self, *values)

    method.__name__ = name
    method.__doc__ = act.__doc__
    return method


_ONE_ELEMENT: Final = frozenset({"add", "discard", "remove"})


class TrackedSet(set[Any]):
    """A set that is a part of a document; JSON has it as an array in no particular order, and a patch as a whole."""

    __slots__ = ("_zc", "_zj", "_zk", "_zp")

    _zc: list[Any] | None
    _zj: Journal | None
    _zk: Any
    _zp: Any

    def __new__(cls, *values: Any) -> Any:
        return set(*values)

    def _begin(self) -> None:
        if self._zc is None:
            touch(self)
            self._zc = list(self)

    def _check(self, values: Iterable[Any]) -> None:
        for value in values:
            check_value(self, value, value)
            if not is_immutable(value):
                refusal = Refusal(f"a {type(value).__qualname__} in a set could be changed unnoticed")
                raise refused(refusal, self)

    add = _holding("add")
    discard = _holding("discard")
    remove = _holding("remove")
    pop = _holding("pop")
    clear = _holding("clear")
    update = _holding("update")
    difference_update = _holding("difference_update")
    intersection_update = _holding("intersection_update")
    symmetric_difference_update = _holding("symmetric_difference_update")
    __ior__ = _holding("__ior__")
    __iand__ = _holding("__iand__")
    __isub__ = _holding("__isub__")
    __ixor__ = _holding("__ixor__")

    def __repr__(self) -> str:
        return repr(set(self))

    def __copy__(self) -> set[Any]:
        return set(self)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return Untracker(memo)(self)

    def __reduce_ex__(self, _protocol: Any) -> Any:
        return set, (list(self),)
