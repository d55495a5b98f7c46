# ruff: noqa: D102, SLF001 - methods are described in `kinds.Kind`; the marks of a node (`_z…`) belong to this package
"""Dataclasses and msgspec Structs as parts of a document.

A Struct has no room for marks besides its `__dict__`, which the tracked class adds; it is made so that the garbage
collector follows it, because msgspec leaves Structs of scalars out and the link to the parent would then keep both
alive for ever.
"""

from __future__ import annotations

import dataclasses
from types import MemberDescriptorType
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec.structs import astuple, force_setattr

from zocket.state.instances import (
    MARKS,
    UNGUARDED,
    InstanceKind,
    Shield,
    as_it_is,
    kind_of_node,
    namespace,
    plain_constructor,
    set_raw,
)
from zocket.state.journal import MISSING
from zocket.state.kinds import DISCOVERERS, LEAVES, PLAIN, Kind, Refusal, all_plain, check_value
from zocket.state.schema import is_ambiguous

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from zocket.state.adopt import Settlement
    from zocket.state.journal import Journal

_new = object.__new__
UNSET = msgspec.UNSET


class DataclassKind(InstanceKind):
    """Dataclasses, those of Pydantic too. What an instance holds besides its fields is kept, but is no state."""

    def __init__(self, cls: Any) -> None:
        self.cls = cls
        self.name = cls.__name__
        self.fields = tuple(field.name for field in dataclasses.fields(cls))
        self.field_set = frozenset(self.fields)
        self.frozen = cls.__dataclass_params__.frozen
        if "__pydantic_core_schema__" in cls.__dict__:
            self.ambiguous = is_ambiguous(cls.__pydantic_core_schema__)
            self.computed = bool(cls.__pydantic_decorators__.computed_fields)
            if cls.__pydantic_config__.get("extra") == "allow":
                raise Refusal(f"{cls.__qualname__} keeps extra fields, which only a model can have in the state")
        self.slotted = not hasattr(cls, "__dict__") or cls.__dictoffset__ == 0
        in_slots = [name for name in self.fields if isinstance(getattr(cls, name, None), MemberDescriptorType)]
        self.by_dict = not (self.slotted or in_slots)
        """Whether `__dict__` holds all fields; a base class may have slots for some."""
        space = namespace(cls, self)
        space["__slots__"] = MARKS
        space["__new__"] = plain_constructor(cls)
        space["__setattr__"] = _setattr_of(self, direct=cls.__setattr__ is object.__setattr__)
        space["__delattr__"] = _delattr
        self.tracked = type.__new__(type(cls), cls.__name__, (Shield, cls), space)
        self.unguarded = type.__new__(type(cls), cls.__name__, (self.tracked,), dict(UNGUARDED))
        self.never_flat = self.slotted or self.computed or self.ambiguous

    def fill(self, made: Any, value: Any, convert: Callable[[str, Any], Any]) -> Any:
        """Give a bare instance everything that another one has."""
        if not self.slotted:
            for name, part in value.__dict__.items():
                if name not in self.field_set:
                    set_raw(made, name, part)
        for name in self.fields:
            part = getattr(value, name, MISSING)
            if part is not MISSING:
                set_raw(made, name, convert(name, part))
        return made

    def store(self, node: Any) -> Any:
        return node.__dict__ if self.by_dict else None

    def adopt(self, value: Any, parent: Any, key: Any, settlement: Settlement) -> Any:
        node = self.bind(_new(self.tracked), settlement.journal)
        self.link(node, parent, key)
        adopt = settlement.adopt
        return self.fill(node, value, lambda name, part: part if type(part) in PLAIN else adopt(part, node, name))

    def flat(self, value: Any) -> bool:
        return not self.never_flat and value.__dict__.keys() == self.field_set and all_plain(value.__dict__.values())

    def adopt_flat(self, value: Any, parent: Any, key: Any, journal: Journal) -> Any:
        if not self.flat(value):
            return None
        node = _new(self.unguarded)
        node.__dict__ = value.__dict__.copy()
        node._zj = journal
        node._zp = parent
        node._zk = key
        node._zc = None
        node.__class__ = self.tracked
        return node

    def plain(self, value: Any, convert: Callable[[Any], Any]) -> Any:
        return self.fill(_new(self.cls), value, lambda _name, part: convert(part))

    def copy(self, node: Any) -> Any:
        return self.fill(self.bind(_new(self.tracked), None), node, lambda _name, part: part)


class StructKind(InstanceKind):
    """msgspec Structs."""

    def __init__(self, cls: Any) -> None:
        config = cls.__struct_config__
        self.cls = cls
        self.name = cls.__name__
        self.fields = cls.__struct_fields__
        self.field_set = frozenset(self.fields)
        self.frozen = config.frozen
        self.names = dict(zip(cls.__struct_fields__, cls.__struct_encode_fields__, strict=True))
        self.opaque = config.omit_defaults or config.array_like
        """Whether single fields have no place of their own in the JSON."""
        self.ambiguous = config.omit_defaults
        """An empty default is only recognized by the exact class of the empty container."""
        space = namespace(cls, self)
        space.update(dict.fromkeys(MARKS), __post_init__=lambda _self: None)
        if config.eq:
            space["__eq__"] = _eq_of(self)
            space["__hash__"] = cls.__hash__ and (lambda node: hash(self.plain(node, as_it_is)))
        if config.order:
            space.update({name: _order_of(self, name) for name in ("__lt__", "__le__", "__gt__", "__ge__")})
        options = {"dict": True, "gc": True, "tag": config.tag, "tag_field": config.tag_field}
        self.tracked = type(cls)(cls.__name__, (Shield, cls), space, **options)
        self.positional = self.tracked.__match_args__ == self.fields
        if not self.frozen:
            self.tracked.__setattr__ = _setattr_of(self, direct=cls.__setattr__ is msgspec.Struct.__setattr__)
            self.tracked.__delattr__ = _delattr

    def mark(self, node: Any, mark: str, value: Any) -> None:
        node.__dict__[mark] = value

    def bind(self, node: Any, journal: Journal | None) -> Any:
        node.__dict__.update(_zj=journal, _zp=None, _zk=None, _zc=None)
        return node

    def bare(self, values: tuple[Any, ...]) -> Any:
        """Make an instance of the tracked class that the garbage collector follows."""
        if self.positional:
            node = self.tracked([], *values[1:])
        else:
            node = self.tracked(**dict(zip(self.fields, ([], *values[1:]), strict=True)))
        force_setattr(node, self.fields[0], values[0])
        return node

    def put(self, node: Any, key: str, value: Any) -> None:
        force_setattr(node, key, value)

    def drop(self, node: Any, key: str) -> None:
        raise AssertionError("a field of a Struct is never removed")

    def adopt(self, value: Any, parent: Any, key: Any, settlement: Settlement) -> Any:
        values = astuple(value)
        node = self.placed(values, parent, key, settlement.journal)
        adopt = settlement.adopt
        for name, part in zip(self.fields, values, strict=True):
            if type(part) not in PLAIN:
                adopted = adopt(part, node, name)
                if adopted is not part:
                    force_setattr(node, name, adopted)
        return node

    def placed(self, values: tuple[Any, ...], parent: Any, key: Any, journal: Journal) -> Any:
        """Make a node for a place."""
        node = self.bare(values)
        marks = node.__dict__
        marks["_zj"] = journal
        marks["_zp"] = parent
        marks["_zk"] = key
        marks["_zc"] = None
        return node

    def flat(self, value: Any) -> bool:
        return not self.ambiguous and all_plain(astuple(value))

    def adopt_flat(self, value: Any, parent: Any, key: Any, journal: Journal) -> Any:
        values = astuple(value)
        return None if self.ambiguous or not all_plain(values) else self.placed(values, parent, key, journal)

    def plain(self, value: Any, convert: Callable[[Any], Any]) -> Any:
        return self.cls(**{name: convert(getattr(value, name)) for name in self.fields})

    def copy(self, node: Any) -> Any:
        return self.bind(self.bare(astuple(node)), None)

    def changed(self, node: Any, changes: dict[str, Any]) -> list[tuple[Any, Any, Any]]:
        def seen(value: Any) -> Any:
            return MISSING if value is UNSET else value

        return [(key, seen(old), seen(getattr(node, key))) for key, old in changes.items()]

    def written(self, node: Any, changes: dict[str, Any]) -> list[tuple[Any, Any, Any]] | None:
        return None if self.opaque else self.changed(node, changes)

    def items(self, value: Any) -> Iterable[tuple[Any, Any]]:
        return [(name, getattr(value, name)) for name in self.fields]


def _setattr_of(kind: Any, *, direct: bool) -> Any:
    fields = kind.field_set

    def __setattr__(self: Any, name: str, value: Any) -> None:  # noqa: N807 - becomes the method of a class
        if self._zj is None or name not in fields:
            super(kind.tracked, self).__setattr__(name, value)
            return
        if not direct:
            kind.write_slowly(self, lambda: super(kind.tracked, self).__setattr__(name, value))
            return
        changes = self._zc
        if changes is None:
            changes = kind.begin(self)
        cls = type(value)
        if cls not in PLAIN and not (cls is str and value.isascii()):
            check_value(self, name, value)
        if name not in changes:
            changes[name] = kind.get(self, name)
        super(kind.tracked, self).__setattr__(name, value)

    return __setattr__


def _delattr(self: Any, name: str) -> None:
    kind = kind_of_node(self)
    if self._zj is None or name not in kind.field_set:
        super(kind.tracked, self).__delattr__(name)
    else:
        kind.write_slowly(self, lambda: super(kind.tracked, self).__delattr__(name))


def _eq_of(kind: StructKind) -> Any:
    def __eq__(self: Any, other: Any) -> Any:  # noqa: N807 - becomes the method of a class
        if other.__class__ is not kind.cls:
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in kind.fields)

    return __eq__


def _order_of(kind: StructKind, name: str) -> Any:
    def compare(self: Any, other: Any) -> Any:
        if other.__class__ is not kind.cls:
            return NotImplemented
        left = tuple(getattr(self, field) for field in kind.fields)
        return getattr(left, name)(tuple(getattr(other, field) for field in kind.fields))

    return compare


def _discover(cls: type) -> Kind | None:
    if issubclass(cls, msgspec.Struct):
        if not cls.__struct_fields__:
            LEAVES.add(cls)
            return None
        return StructKind(cls)
    if dataclasses.is_dataclass(cls):
        return DataclassKind(cls)
    return None


LEAVES.add(msgspec.UnsetType)
DISCOVERERS.insert(0, _discover)
