"""Tracked classes for Pydantic models, dataclasses and msgspec Structs, made once for each class of the user.

A tracked class is a subclass that adds four slots and intercepts writes; reading attributes stays native, the C encoders
take it for the user's class, and `__class__`, `repr`, `==`, copies and pickles behave as that class does. It is made
without running the user's metaclass hooks: no schema is built, no subclass is registered anywhere.
"""

from __future__ import annotations

import copyreg
import dataclasses
from abc import ABCMeta
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec
from pydantic import BaseModel, SecretBytes, SecretStr
from pydantic_core import MultiHostUrl, Url

from zocket.state.journal import MISSING, touch
from zocket.state.kinds import DISCOVERERS, LEAVES, PLAIN, Kind, Refusal, Untracker, check_value, walk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from zocket.state.journal import Journal

_set = object.__setattr__
_MARKS = ("_zc", "_zj", "_zk", "_zp")


class Shield:
    """Stands between a tracked class and the user's: keeps the user's subclass hooks from running, copies as plain."""

    __slots__ = ()

    def __init_subclass__(cls, **_options: Any) -> None:
        """Do not run the hooks of the user's class."""

    def __copy__(self) -> Any:
        return _kind(self).plain(self, _as_is)

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Any:
        return Untracker(memo)(self)

    def __reduce_ex__(self, protocol: Any) -> Any:
        return Untracker()(self).__reduce_ex__(protocol)


def _kind(node: Any) -> Any:
    return type(node)._zkind


def _as_is(value: Any) -> Any:
    return value


def _namespace(cls: type, kind: Any) -> dict[str, Any]:
    """What every tracked class defines."""
    return {
        "__module__": cls.__module__,
        "__qualname__": cls.__qualname__,
        "__doc__": cls.__doc__,
        "__class__": property(lambda _self: cls),
        "_zkind": kind,
    }


class _Instance:
    """What the kinds of user classes share. `fields` are the names whose values JSON or Python code can reach."""

    cls: type
    name: str
    tracked: Any
    frozen = False
    fields: tuple[str, ...]

    def check(self, value: Any) -> None:
        """Classes are judged when their kind is made."""

    def link(self, node: Any, parent: Any, key: Any) -> None:
        _set(node, "_zp", parent)
        _set(node, "_zk", key)

    def clear(self, node: Any) -> None:
        _set(node, "_zc", None)

    def bind(self, node: Any, journal: Any) -> None:
        """Give a fresh node its marks."""
        _set(node, "_zj", journal)
        _set(node, "_zp", None)
        _set(node, "_zk", None)
        _set(node, "_zc", None)

    def begin(self, node: Any) -> dict[str, Any]:
        """Return the changes of the turn, listing the node at its first change."""
        changes: dict[str, Any] | None = node._zc
        if changes is None:
            touch(node)
            changes = {}
            _set(node, "_zc", changes)
        return changes

    def locate(self, node: Any, child: Any) -> Any:
        key = child._zk
        return key if self.get(node, key) is child else MISSING

    def get(self, node: Any, key: str) -> Any:
        return getattr(node, key, MISSING)

    def put(self, node: Any, key: str, value: Any) -> None:
        raise NotImplementedError

    def drop(self, node: Any, key: str) -> None:
        raise NotImplementedError

    def items(self, value: Any) -> Iterable[tuple[Any, Any]]:
        raise NotImplementedError

    def changed(self, node: Any, changes: dict[str, Any]) -> list[tuple[Any, Any, Any]]:
        get = self.get
        return [(key, old, get(node, key)) for key, old in changes.items()]

    def restore(self, node: Any, changes: dict[str, Any]) -> None:
        for key, old in changes.items():
            if old is MISSING:
                self.drop(node, key)
            else:
                self.put(node, key, old)

    def copy(self, node: Any) -> Any:
        """Make a shallow copy of the tracked class that belongs to no journal."""
        raise NotImplementedError

    def committed(self, node: Any, changes: dict[str, Any] | None) -> Any:
        copy = self.copy(node)
        if changes:
            self.restore(copy, changes)
        return copy


class PydanticKind(_Instance):
    """Pydantic models."""

    def __init__(self, cls: Any) -> None:
        if not getattr(cls, "__pydantic_complete__", True):
            cls.model_rebuild()
        self.cls = cls
        self.name = cls.__name__
        self.fields = tuple(cls.__pydantic_fields__)
        self.field_set = frozenset(self.fields)
        config = cls.model_config
        self.frozen = bool(config.get("frozen"))
        plain_writes = (
            cls.__setattr__ is BaseModel.__setattr__ and not config.get("validate_assignment") and not self.frozen
        )
        self.direct = frozenset(
            name
            for name, field in cls.__pydantic_fields__.items()
            if plain_writes and not field.frozen and not isinstance(getattr(cls, name, None), property)
        )
        space = _namespace(cls, self)
        space["__slots__"] = _MARKS
        space["__setattr__"] = _direct_setattr(self)
        space["__delattr__"] = _slow_delattr
        self.tracked = ABCMeta.__new__(type(cls), cls.__name__, (Shield, cls), space)

    def bare(self, cls: Any, fields: dict[str, Any], extra: Any, private: Any, fields_set: Any) -> Any:
        """Make an instance without validation."""
        made = cls.__new__(cls)
        _set(made, "__dict__", fields)
        _set(made, "__pydantic_fields_set__", fields_set)
        _set(made, "__pydantic_extra__", extra)
        _set(made, "__pydantic_private__", private)
        return made

    def items(self, value: Any) -> Iterable[tuple[Any, Any]]:
        fields = value.__dict__
        if fields.keys() == self.field_set:
            found: Any = fields.items()
        else:
            found = [(name, fields[name]) for name in self.fields if name in fields]
        extra = value.__pydantic_extra__
        return (*found, *extra.items()) if extra else found

    def adopt(self, value: Any, journal: Journal, adopt: Callable[[Any, Any, Any], Any]) -> Any:
        private, extra = value.__pydantic_private__, value.__pydantic_extra__
        source = value.__dict__
        node = self.bare(
            self.tracked,
            {},
            extra if extra is None else {},
            private if private is None else dict(private),
            set(value.__pydantic_fields_set__),
        )
        self.bind(node, journal)
        fields = node.__dict__
        for name in self.fields:
            part = source.get(name, MISSING)
            if part is not MISSING:
                fields[name] = part if type(part) in PLAIN else adopt(part, node, name)
        if extra:
            node.__pydantic_extra__.update({name: adopt(part, node, name) for name, part in extra.items()})
        return node

    def plain(self, value: Any, convert: Callable[[Any], Any]) -> Any:
        fields = {name: convert(part) for name, part in value.__dict__.items() if name in self.field_set}
        extra, private = value.__pydantic_extra__, value.__pydantic_private__
        return self.bare(
            self.cls,
            fields,
            extra if extra is None else {name: convert(part) for name, part in extra.items()},
            private if private is None else dict(private),
            set(value.__pydantic_fields_set__),
        )

    def copy(self, node: Any) -> Any:
        extra = node.__pydantic_extra__
        copy = self.bare(
            self.tracked,
            dict(node.__dict__),
            extra if extra is None else dict(extra),
            node.__pydantic_private__,
            node.__pydantic_fields_set__,
        )
        self.bind(copy, None)
        return copy

    def store(self, node: Any, key: str) -> Any:
        """Return the dictionary that holds a field or an extra value."""
        extra = node.__pydantic_extra__
        return node.__dict__ if extra is None or key in self.field_set else extra

    def get(self, node: Any, key: str) -> Any:
        return self.store(node, key).get(key, MISSING)

    def put(self, node: Any, key: str, value: Any) -> None:
        self.store(node, key)[key] = value

    def drop(self, node: Any, key: str) -> None:
        self.store(node, key).pop(key, None)

    def restore(self, node: Any, changes: dict[str, Any]) -> None:
        super().restore(node, changes)
        order = node._zj.orders.get(id(node)) if node._zj is not None else None
        if order is not None:
            fields = dict(node.__dict__)
            _set(node, "__dict__", {key: fields[key] for key in order if key in fields})


def _direct_setattr(kind: PydanticKind) -> Any:
    direct = kind.direct

    def __setattr__(self: Any, name: str, value: Any) -> None:  # noqa: N807 - becomes the method of a class
        if name not in direct:
            _write_slowly(self, name, lambda: super(kind.tracked, self).__setattr__(name, value))
            return
        changes = self._zc
        if changes is None:
            changes = kind.begin(self)
        cls = type(value)
        if cls not in PLAIN and not (cls is str and value.isascii()):
            check_value(self, name, value)
        fields = self.__dict__
        if name not in changes:
            changes[name] = fields.get(name, MISSING)
            if name not in self.__pydantic_fields_set__:
                self.__pydantic_fields_set__.add(name)
                self._zj.undo.append((self.__pydantic_fields_set__.discard, name))
        fields[name] = value

    return __setattr__


def _slow_delattr(self: Any, name: str) -> None:
    kind = _kind(self)
    self_orders = self._zj.orders
    if self._zj.open:
        self_orders.setdefault(id(self), list(self.__dict__))
    _write_slowly(self, name, lambda: super(kind.tracked, self).__delattr__(name))


def _write_slowly(node: Any, name: str, write: Callable[[], Any]) -> None:
    """Let the user's class write (validation, properties, its own hooks), then find out what that changed."""
    kind: PydanticKind = _kind(node)
    if name.startswith("_"):
        _write_private(node, name, write)
        return
    changes = kind.begin(node)
    fields, extra, names = dict(node.__dict__), node.__pydantic_extra__, set(node.__pydantic_fields_set__)
    extra = extra if extra is None else dict(extra)
    try:
        write()
        _note(kind, node, changes, fields, node.__dict__)
        if extra is not None:
            _note(kind, node, changes, extra, node.__pydantic_extra__)
    except BaseException:
        _set(node, "__dict__", fields)
        _set(node, "__pydantic_extra__", extra)
        _set(node, "__pydantic_fields_set__", names)
        raise
    if node.__pydantic_fields_set__ != names:
        node._zj.undo.append((lambda old: _set(node, "__pydantic_fields_set__", old), names))


def _write_private(node: Any, name: str, write: Callable[[], Any]) -> None:
    """Private attributes are no part of the JSON; they may be written at any time, and a rollback restores them."""
    private = node.__pydantic_private__
    if node._zj.open and private is not None:
        node._zj.undo.append((lambda old: _set(node, "__pydantic_private__", old), dict(private)))
    write()


def _note(kind: PydanticKind, node: Any, changes: dict[str, Any], before: dict[str, Any], after: dict[str, Any]) -> None:
    """Record what differs between two states of a model's values."""
    for key in {**before, **after}:
        old, new = before.get(key, MISSING), after.get(key, MISSING)
        if old is new or (after is node.__dict__ and key not in kind.field_set):
            continue
        if new is not MISSING:
            check_value(node, key, new)
        changes.setdefault(key, old)


def _discover(cls: type) -> Kind | None:
    if issubclass(cls, (Url, MultiHostUrl, SecretStr, SecretBytes)):
        LEAVES.add(cls)
        return None
    if issubclass(cls, BaseModel):
        return PydanticKind(cls)
    return None


DISCOVERERS.insert(0, _discover)
__all__ = ["ClassVar", "Refusal", "copyreg", "dataclasses", "msgspec", "walk"]
