# ruff: noqa: D102, SLF001 - methods are described in `kinds.Kind`; the marks of a node (`_z…`) belong to this package
"""Pydantic models as parts of a document.

A write is what the class says it is: plain where it has no say, validated with `validate_assignment`, refused where
frozen, through the user's own `__setattr__` or property. Private attributes are no JSON: they may be written at any
time and are only rolled back.
"""

from __future__ import annotations

import copy
from abc import ABCMeta
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, SecretBytes, SecretStr
from pydantic_core import MultiHostUrl, Url

from zocket.state.instances import (
    MARKS,
    UNGUARDED,
    InstanceKind,
    Shield,
    kind_of_node,
    namespace,
    plain_constructor,
    set_raw,
)
from zocket.state.journal import MISSING, touch
from zocket.state.kinds import DISCOVERERS, LEAVES, PLAIN, Kind, Untracker, all_plain, check_value, is_plain, json_key
from zocket.state.schema import is_ambiguous

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from zocket.state.adopt import Settlement
    from zocket.state.journal import Journal

_new = object.__new__


class PydanticKind(InstanceKind):
    """Pydantic models."""

    def __init__(self, cls: Any) -> None:
        if not cls.__pydantic_complete__:
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
        self.computed = bool(cls.__pydantic_decorators__.computed_fields)
        self.ambiguous = is_ambiguous(cls.__pydantic_core_schema__)
        self.special = self.computed or self.ambiguous
        if config.get("extra") != "allow":
            self.store = attrgetter("__dict__")  # type: ignore[method-assign, assignment]
        space = namespace(cls, self)
        space["__slots__"] = (*MARKS, "_zv") if self.computed else MARKS
        space["__new__"] = plain_constructor(cls)
        space["__setattr__"] = _setattr_of(self)
        space["__delattr__"] = _delattr
        self.tracked = ABCMeta.__new__(type(cls), cls.__name__, (Shield, cls), space)
        self.set_changes = self.tracked._zc.__set__  # type: ignore[method-assign]
        self.unguarded = ABCMeta.__new__(type(cls), cls.__name__, (self.tracked,), dict(UNGUARDED))

    def bare(self, cls: Any, fields: dict[str, Any], extra: Any, private: Any, fields_set: Any) -> Any:
        """Make an instance without validation."""
        made = _new(cls)
        set_raw(made, "__dict__", fields)
        set_raw(made, "__pydantic_fields_set__", fields_set)
        set_raw(made, "__pydantic_extra__", extra)
        set_raw(made, "__pydantic_private__", private)
        return made

    def items(self, value: Any) -> Iterable[tuple[Any, Any]]:
        fields = value.__dict__
        if fields.keys() == self.field_set:
            found: Any = fields.items()
        else:
            found = [(name, fields[name]) for name in self.fields if name in fields]
        extra = value.__pydantic_extra__
        return (*found, *extra.items()) if extra else found

    def adopt(self, value: Any, parent: Any, key: Any, settlement: Settlement) -> Any:
        fields: dict[str, Any] = {}
        node = self.placed(value, fields, parent, key, settlement.journal)
        adopt = settlement.adopt
        names = self.field_set
        for name, part in value.__dict__.items():
            if name in names:
                cls = type(part)
                plain = cls in PLAIN or (cls is str and part.isascii())
                fields[name] = part if plain else adopt(part, node, name)
        extra = value.__pydantic_extra__
        if extra:
            node.__pydantic_extra__.update({name: adopt(part, node, name) for name, part in extra.items()})
        return node

    def adopt_flat(self, value: Any, parent: Any, key: Any, journal: Journal) -> Any:
        if self.special or value.__pydantic_extra__:
            return None
        fields = value.__dict__.copy()
        names = self.field_set
        for name, part in fields.items():
            cls = type(part)
            if (cls is not str or not part.isascii()) and cls not in PLAIN and not is_plain(part):
                return None
            if name not in names:
                return None
        return self.placed(value, fields, parent, key, journal)

    def placed(self, value: Any, fields: dict[str, Any], parent: Any, key: Any, journal: Journal) -> Any:
        """Make a node for a place: with these fields, no extra ones, and else what a plain value has."""
        extra, private = value.__pydantic_extra__, value.__pydantic_private__
        node = _new(self.unguarded)
        node.__dict__ = fields
        node.__pydantic_fields_set__ = set(value.__pydantic_fields_set__)
        node.__pydantic_extra__ = None if extra is None else {}
        node.__pydantic_private__ = None if private is None else dict(private)
        node._zj = journal
        node._zp = parent
        node._zk = key
        node._zc = None
        node.__class__ = self.tracked
        return node

    def plain(self, value: Any, convert: Callable[[Any], Any]) -> Any:
        fields = {name: convert(part) for name, part in value.__dict__.items() if name in self.field_set}
        extra, private = value.__pydantic_extra__, value.__pydantic_private__
        if private is not None:
            memo = convert.memo if isinstance(convert, Untracker) and convert.deep else None
            private = dict(private) if memo is None else copy.deepcopy(private, memo)
        return self.bare(
            self.cls,
            fields,
            extra if extra is None else {name: convert(part) for name, part in extra.items()},
            private,
            set(value.__pydantic_fields_set__),
        )

    def flat(self, value: Any) -> bool:
        return not (self.special or value.__pydantic_extra__) and all_plain(value.__dict__.values())

    def check(self, value: Any) -> None:
        for key in value.__pydantic_extra__ or ():
            json_key(key)

    def copy(self, node: Any) -> Any:
        extra = node.__pydantic_extra__
        made = self.bare(
            self.tracked,
            {name: part for name, part in node.__dict__.items() if name in self.field_set},
            extra if extra is None else dict(extra),
            node.__pydantic_private__,
            node.__pydantic_fields_set__,
        )
        return self.bind(made, None)

    def store(self, node: Any) -> Any:
        return None if node.__pydantic_extra__ else node.__dict__

    def store_of(self, node: Any, key: str) -> Any:
        """Return the dictionary that holds a field or an extra value."""
        extra = node.__pydantic_extra__
        return node.__dict__ if extra is None or key in self.field_set else extra

    def get(self, node: Any, key: str) -> Any:
        return self.store_of(node, key).get(key, MISSING)

    def locate(self, node: Any, child: Any) -> Any:
        key = child._zk
        if node.__dict__.get(key) is child:
            return key
        extra = node.__pydantic_extra__
        return key if extra and extra.get(key) is child else MISSING

    def put(self, node: Any, key: str, value: Any) -> None:
        self.store_of(node, key)[key] = value

    def drop(self, node: Any, key: str) -> None:
        self.store_of(node, key).pop(key, None)

    def restore(self, node: Any, changes: dict[str, Any]) -> None:
        super().restore(node, changes)
        for cached in node.__dict__.keys() - self.field_set:
            del node.__dict__[cached]
        order = node._zj.orders.get(id(node)) if node._zj is not None else None
        if order is not None:
            fields = node.__dict__
            set_raw(node, "__dict__", {key: fields[key] for key in order if key in fields})


def _setattr_of(kind: PydanticKind) -> Any:
    direct = kind.direct

    def __setattr__(self: Any, name: str, value: Any) -> None:  # noqa: N807 - becomes the method of a class
        if name not in direct:
            _write(self, name, lambda: super(kind.tracked, self).__setattr__(name, value))
            return
        changes = self._zc
        if changes is None:
            journal = self._zj
            if journal is not None and journal.open and self._zp is journal:
                journal.touched.append(self)
            else:
                touch(self)
            changes = {}
            kind.set_changes(self, changes)
        cls = type(value)
        if cls not in PLAIN and not (cls is str and value.isascii()):
            check_value(self, name, value)
        fields = self.__dict__
        if name not in changes:
            changes[name] = fields.get(name, MISSING)
            if name not in self.__pydantic_fields_set__:
                self.__pydantic_fields_set__.add(name)
                self._zj.remember(self.__pydantic_fields_set__.discard, name)
        fields[name] = value

    return __setattr__


def _delattr(self: Any, name: str) -> None:
    kind = kind_of_node(self)
    journal = self._zj
    if journal.open:
        journal.writable_orders().setdefault(id(self), list(self.__dict__))
    _write(self, name, lambda: super(kind.tracked, self).__delattr__(name))


def _write(node: Any, name: str, write: Callable[[], Any]) -> None:
    """Let the class write in its own way, all or nothing; the set of explicitly set fields follows."""
    if name.startswith("_"):
        private = node.__pydantic_private__
        if node._zj.open and private is not None:
            node._zj.remember(lambda old: set_raw(node, "__pydantic_private__", old), dict(private))
        write()
        return
    names = set(node.__pydantic_fields_set__)
    try:
        kind_of_node(node).write_slowly(node, write)
    except BaseException:
        set_raw(node, "__pydantic_fields_set__", names)
        raise
    if node.__pydantic_fields_set__ != names:
        node._zj.remember(lambda old: set_raw(node, "__pydantic_fields_set__", old), names)


def _discover(cls: type) -> Kind | None:
    if issubclass(cls, (Url, MultiHostUrl, SecretStr, SecretBytes)):
        LEAVES.add(cls)
        return None
    if issubclass(cls, BaseModel):
        return PydanticKind(cls)
    return None


DISCOVERERS.insert(0, _discover)
