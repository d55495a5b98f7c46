# ruff: noqa: SLF001 - the marks of a node (`_z…`) belong to this package
"""What the tracked classes of user-defined classes share.

A tracked class is a subclass that adds four marks and intercepts writes; reading attributes stays native, the C
encoders take it for the user's class, and `__class__`, `repr`, `==`, copies and pickles behave as that class does. It
is made without running the user's metaclass hooks: no schema is built, no subclass is registered anywhere. An
instance that a user's code makes of it (`type(self)(…)`) is untracked.
"""

from __future__ import annotations

import operator
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from zocket.state.journal import MISSING, TRACKED, touch
from zocket.state.kinds import Untracker, check_key, check_value

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from zocket.state.journal import Journal

MARKS: Final = ("_zc", "_zj", "_zk", "_zp")
"""The attributes of every node (see `journal`)."""

set_raw = object.__setattr__

UNGUARDED: Final = MappingProxyType(
    {
        "__slots__": (),
        "__setattr__": object.__setattr__,
        "__delattr__": object.__delattr__,
        "__class__": object.__dict__["__class__"],
    }
)
"""Namespace of a subclass of a tracked class whose writes are not intercepted. A node begins as one and is given its
class when it is complete: CPython sets an attribute of it in a fraction of the time that `set_raw` takes."""


class Shield:
    """Stands between a tracked class and the user's: no subclass hooks run, and copies are made of the user's class."""

    __slots__ = ()

    def __init_subclass__(cls, **_options: Any) -> None:
        """Do not run the hooks of the user's class."""

    def __copy__(self) -> Any:
        return kind_of_node(self).plain(self, as_it_is)

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Any:
        return Untracker({} if memo is None else memo)(self)

    def __reduce_ex__(self, protocol: Any) -> Any:
        return Untracker({})(self).__reduce_ex__(protocol)


def kind_of_node(node: Any) -> Any:
    """Return the kind of a node of a user's class."""
    return type(node)._zkind


def as_it_is(value: Any) -> Any:
    """Convert a part for a shallow copy."""
    return value


def namespace(cls: type, kind: Any) -> dict[str, Any]:
    """Return what every tracked class defines."""
    return {
        "__module__": cls.__module__,
        "__qualname__": cls.__qualname__,
        "__doc__": cls.__doc__,
        "__class__": property(lambda _self: cls),
        "_zkind": kind,
    }


def plain_constructor(cls: type) -> Callable[..., Any]:
    """Return a `__new__` for a tracked class: called by user code, it makes an instance of the user's class."""

    def __new__(_cls: type, *values: Any, **named: Any) -> Any:  # noqa: N807 - becomes the method of a class
        return cls(*values, **named)

    return __new__


class InstanceKind:
    """What the kinds of user classes share. `fields` are the names whose values JSON or Python code can reach."""

    cls: Any
    name: str
    tracked: Any
    frozen = False
    ambiguous = False
    computed = False
    fields: tuple[str, ...]
    field_set: frozenset[str]

    def flat(self, value: Any) -> bool:
        """Not known quickly."""
        return False

    def adopt_flat(self, value: Any, parent: Any, key: Any, journal: Journal) -> Any:
        """Not known quickly."""

    def check(self, value: Any) -> None:
        """Classes are judged when their kind is made."""

    def mark(self, node: Any, mark: str, value: Any) -> None:
        """Set one of the marks."""
        set_raw(node, mark, value)

    def bind(self, node: Any, journal: Journal | None) -> Any:
        """Give a fresh node its marks."""
        self.mark(node, "_zj", journal)
        self.mark(node, "_zp", None)
        self.mark(node, "_zk", None)
        self.mark(node, "_zc", None)
        return node

    def link(self, node: Any, parent: Any, key: Any) -> None:
        """Say where the node lies."""
        self.mark(node, "_zp", parent)
        self.mark(node, "_zk", key)

    def set_changes(self, node: Any, changes: Any, /) -> None:
        """Set the changes of the turn, None to forget them."""
        self.mark(node, "_zc", changes)

    def begin(self, node: Any) -> dict[str, Any]:
        """Return the changes of the turn, listing the node at its first change."""
        changes: dict[str, Any] | None = node._zc
        if changes is None:
            touch(node)
            changes = {}
            self.set_changes(node, changes)
        return changes

    def get(self, node: Any, key: str) -> Any:
        """Return the value of a field, MISSING if it has none."""
        return getattr(node, key, MISSING)

    def put(self, node: Any, key: str, value: Any) -> None:
        """Replace one value without recording it."""
        set_raw(node, key, value)

    def drop(self, node: Any, key: str) -> None:
        """Remove one value without recording it."""
        object.__delattr__(node, key)

    def items(self, value: Any) -> Iterable[tuple[Any, Any]]:
        """Every field that has a value."""
        get = self.get
        return [(name, part) for name in self.fields if (part := get(value, name)) is not MISSING]

    def locate(self, node: Any, child: Any) -> Any:
        """Find the name of a child; MISSING if it lies deeper, inside a tuple."""
        key = child._zk
        return key if self.get(node, key) is child else MISSING

    def changed(self, node: Any, changes: dict[str, Any]) -> list[tuple[Any, Any, Any]]:
        """Name, old value, current value of whatever may differ."""
        get = self.get
        return [(key, old, get(node, key)) for key, old in changes.items()]

    def store(self, node: Any) -> Any:
        """No mapping."""

    def written(self, node: Any, changes: dict[str, Any]) -> list[tuple[Any, Any, Any]] | None:
        """As `changed`, None where the whole has to be emitted."""
        return self.changed(node, changes)

    def restore(self, node: Any, changes: dict[str, Any]) -> None:
        """Put the old values back."""
        for key, old in changes.items():
            if old is not MISSING:
                self.put(node, key, old)
            elif self.get(node, key) is not MISSING:
                self.drop(node, key)

    def copy(self, node: Any) -> Any:
        """Make a shallow copy of the tracked class that belongs to no journal."""
        raise NotImplementedError

    def committed(self, node: Any, changes: dict[str, Any] | None) -> Any:
        """Copy the node as it was when the turn began, for an encoder."""
        copy = self.copy(node)
        if changes:
            self.restore(copy, changes)
        return copy

    def write_slowly(self, node: Any, write: Callable[[], Any]) -> None:
        """Let the user's class write in its own way, then find out what that changed; all or nothing."""
        changes = self.begin(node)
        before = dict(self.items(node))
        try:
            write()
            after = dict(self.items(node))
            for key in {**before, **after}:
                old, new = before.get(key, MISSING), after.get(key, MISSING)
                if old is new:
                    continue
                if _same_parts(old, new):
                    self.put(node, key, old)
                    continue
                if new is not MISSING:
                    if key not in self.field_set:
                        check_key(node, key)
                    check_value(node, key, new)
                changes.setdefault(key, old)
        except BaseException:
            self.restore(node, {**dict.fromkeys(dict(self.items(node)), MISSING), **before})
            raise


def _same_parts(old: Any, new: Any) -> bool:
    """Tell whether a validator only copied a tracked list or dictionary, which then may stay where it is."""
    if type(old) not in TRACKED or type(new) not in (list, dict) or len(old) != len(new):
        return False
    if type(new) is list:
        return isinstance(old, list) and all(map(operator.is_, old, new))
    return isinstance(old, dict) and all(new.get(key, MISSING) is part for key, part in old.items())
