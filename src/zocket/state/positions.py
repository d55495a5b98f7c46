# ruff: noqa: D102 - `at` and `step` are described in `Position`
"""Positions: how the value at one place of a document becomes JSON, so that patches and snapshots always agree.

A Pydantic document is encoded by its declared schema: aliases, excluded fields, field serializers, a base class that
hides the fields of a derived one. Whoever encodes only a part of it must use the schema of that part's place. A
position is such a place: it encodes a value there, and it says how a patch path goes on to a part of it. Where a path
cannot go on (custom serializers, unions that cannot be told apart, tuples), the position is opaque: it is emitted as
a whole.
"""

from __future__ import annotations

import enum
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import msgspec
from pydantic_core import SchemaSerializer

from zocket.state.builtin import DictKind, ListKind
from zocket.state.encoding import ENCODER, fallback
from zocket.state.journal import TRACKED
from zocket.state.kinds import json_key
from zocket.state.models import PydanticKind
from zocket.state.pointer import escape
from zocket.state.records import DataclassKind, StructKind
from zocket.state.schema import THROUGH, definitions, unwrap

if TYPE_CHECKING:
    from collections.abc import Callable

_SCALARS: Final = frozenset({type(None), bool, int, str})
"""Classes whose values every serializer writes alike."""

REPLACE: Final = b'{"op":"replace","path":'
VALUE: Final = b',"value":'
"""What stands around the path of an operation."""

_encode_scalar = msgspec.json.Encoder().encode


class Step(enum.Enum):
    """Where no path leads on."""

    OPAQUE = "the part can only be emitted with the whole that it belongs to"
    HIDDEN = "the part is never emitted"


OPAQUE: Final = Step.OPAQUE
HIDDEN: Final = Step.HIDDEN


class Position:
    """A place; this class is the opaque one."""

    __slots__ = ("computed", "encode", "flat_class", "item", "known", "scalars", "tracked")

    computed: Callable[[Any], bytes] | None
    """Encodes only the computed fields of a model; None if there are none."""
    flat_class: Any
    """The model whose instances every encoder writes alike here, as their `__dict__`, while they hold plain scalars
    only and nothing extra; None if there is none."""
    item: Position | None
    """The position of every element of a list that lies here; None if no path leads to one."""

    def __init__(self, encode: Callable[[Any], bytes], *, scalars: bool = False) -> None:
        self.encode = encode
        self.scalars = scalars
        """Whether plain scalars here are written as any encoder writes them."""
        self.computed = self.flat_class = self.item = None
        self.known: dict[str, Any] = {}
        """Steps that were taken before, for nodes of the class `tracked`."""
        self.tracked: type | None = None

    def bytes_of(self, value: Any) -> bytes:
        """Encode a value at this place."""
        if self.scalars and type(value) in _SCALARS:
            return _encode_scalar(value)
        return self.encode(value)

    def at(self, node: Any) -> Position:
        """Return the position that decides for a node that lies here."""
        return self

    def step(self, node: Any, key: Any) -> Any:
        """Return the escaped path part and the position of a part of the node that lies here, or why there is none.

        A third item, if any, is the beginning of an operation that replaces the part, for a node at the root.
        """
        return OPAQUE


class Dynamic(Position):
    """A place whose values msgspec encodes by what they are; a Pydantic model there by its own schema."""

    __slots__ = ()

    def __init__(self, encode: Callable[[Any], bytes], *, scalars: bool = False) -> None:
        super().__init__(encode, scalars=scalars)
        self.item = self

    def at(self, node: Any) -> Position:
        kind = TRACKED[type(node)]
        return class_position(kind.cls) if isinstance(kind, PydanticKind) else self

    def step(self, node: Any, key: Any) -> Any:
        kind = TRACKED[type(node)]
        if isinstance(kind, ListKind):
            return f"/{key}", self
        if isinstance(kind, DictKind):
            return "/" + escape(key if type(key) is str else json_key(key)), self
        if isinstance(kind, DataclassKind):
            return "/" + escape(key), self
        if isinstance(kind, StructKind) and not kind.opaque:
            return "/" + escape(kind.names[key]), self
        return OPAQUE


class Inferred(Dynamic):
    """A place whose values Pydantic encodes by what they are."""

    __slots__ = ()

    def at(self, node: Any) -> Position:
        kind = TRACKED[type(node)]
        if isinstance(kind, (PydanticKind, DataclassKind)) and hasattr(kind.cls, "__pydantic_serializer__"):
            return class_position(kind.cls)
        return self

    def step(self, node: Any, key: Any) -> Any:
        return OPAQUE if isinstance(TRACKED[type(node)], StructKind) else super().step(node, key)


class Items(Position):
    """A list by its schema."""

    __slots__ = ()

    item: Position

    def __init__(self, encode: Callable[[Any], bytes], item: Position) -> None:
        super().__init__(encode)
        self.item = item

    def step(self, node: Any, key: Any) -> Any:
        if not isinstance(TRACKED[type(node)], ListKind):
            return OPAQUE
        return f"/{key}", self.item


class Values(Position):
    """A dictionary by its schema; `plain_keys` are those that every serializer writes alike."""

    __slots__ = ("plain_keys", "value")

    def __init__(self, encode: Callable[[Any], bytes], value: Position, *, plain_keys: bool) -> None:
        super().__init__(encode)
        self.value = value
        self.plain_keys = plain_keys

    def step(self, node: Any, key: Any) -> Any:
        if not self.plain_keys or not isinstance(TRACKED[type(node)], DictKind):
            return OPAQUE
        return "/" + escape(key if type(key) is str else json_key(key)), self.value


class Fields(Position):
    """A model by its schema.

    `names` maps a field to its path part and its schema; to None if it is never emitted. A schema of None means that
    the field has a serializer of its own, which may ask for the model around it.
    """

    __slots__ = ("build", "cls", "extra", "names", "only")

    def __init__(self, encode: Callable[[Any], bytes], cls: Any, names: Any, build: Any, extra: Any) -> None:
        super().__init__(encode)
        self.only: Any = encode
        """The encoder, taking `include`."""
        self.cls = cls
        self.names = names
        self.build = build
        self.extra = extra
        """Schema of fields that the class does not declare, None if it has none."""

    def step(self, node: Any, key: Any) -> Any:
        found = self.known.get(key)
        exact = type(node) is self.tracked
        if exact and found is not None:
            return found
        if not exact:
            cls = node.__class__
            if cls is self.cls:
                self.tracked = type(node)
                exact = True
            elif not issubclass(cls, self.cls):
                return OPAQUE
        if key not in self.names:
            if self.extra is None:
                return HIDDEN
            return ("/" + escape(key), self.build(self.extra)) if exact else OPAQUE
        if found is None:
            entry = self.names[key]
            if entry is not None and entry[1] is None:
                return "/" + escape(entry[0]), self.bound(node, key)
            if entry is None:
                found = HIDDEN
            else:
                part = "/" + escape(entry[0])
                found = part, self.build(entry[1]), REPLACE + _encode_scalar(part) + VALUE
            self.known[key] = found
        return found

    def bound(self, node: Any, key: str) -> Position:
        """Return the position of a field that only its model can encode."""

        def encode(_value: Any) -> bytes:
            fields = _decode_fields(self.only(node, include={key}))
            return next((bytes(data) for data in fields.values()), b"null")

        return Position(encode)


class Choice(Position):
    """A union: the path goes on where only one member can have written the value."""

    __slots__ = ("members", "opaque")

    def __init__(self, encode: Callable[[Any], bytes], members: list[Position]) -> None:
        super().__init__(encode, scalars=all(member.scalars for member in members if type(member) is Position))
        self.members = members
        self.opaque = Position(encode)

    def at(self, node: Any) -> Position:
        kind = TRACKED[type(node)]
        fitting: list[Any] = []
        for member in self.members:
            if isinstance(member, Fields):
                if node.__class__ is member.cls:
                    fitting.append(member)
            elif isinstance(member, Items):
                if isinstance(kind, ListKind):
                    fitting.append(member)
            elif isinstance(member, Values):
                if isinstance(kind, DictKind):
                    fitting.append(member)
            elif not member.scalars or type(member) is not Position:
                return self.opaque
        return fitting[0] if len(fitting) == 1 else self.opaque


class Later(Position):
    """A place in a recursive schema, built when a path first leads there."""

    __slots__ = ("find",)

    def __init__(self, encode: Callable[[Any], bytes], find: Callable[[], Position]) -> None:
        super().__init__(encode)
        self.find = find

    def at(self, node: Any) -> Position:
        return self.find().at(node)


DYNAMIC: Final = Dynamic(ENCODER.encode, scalars=True)
"""Every place in a document that msgspec encodes."""

_decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode

_positions: dict[type, Position] = {}


def root_position(cls: type) -> Position:
    """Return the position of a document's root, by the user's class."""
    return class_position(cls) if hasattr(cls, "__pydantic_serializer__") else DYNAMIC


def class_position(cls: Any) -> Position:
    """Return the position of a model, or a Pydantic dataclass, that is encoded by its own class."""
    position = _positions.get(cls)
    if position is None:
        schema, found = definitions(cls.__pydantic_core_schema__)
        builder = _Builder(found, {}, None)
        _positions[cls] = position = builder.instance(unwrap(schema, builder.references), cls)
    return position


def _encoder(serializer: Any, include: Any = None) -> Callable[[Any], bytes]:
    options = {} if include is None else {"include": include}
    return partial(serializer.to_json, by_alias=True, warnings=False, fallback=fallback, **options)


def _lazily(make: Callable[[], Callable[..., bytes]]) -> Callable[..., bytes]:
    """Return an encoder that is made when it is first needed."""
    made: Callable[..., bytes] | None = None

    def encode(value: Any, **options: Any) -> bytes:
        nonlocal made
        if made is None:
            made = make()
        return made(value, **options)

    return encode


_SCALAR_TYPES: Final = frozenset({"int", "str", "bool", "none", "literal", "enum"})
"""Schemas that write plain scalars as any encoder does."""


class _Builder:
    """Makes positions from the core schema of one class, with its definitions; `config` is that of the model around."""

    def __init__(self, found: list[Any], models: dict[str, Position], config: Any) -> None:
        self.definitions = found
        self.references = {item["ref"]: item for item in found if "ref" in item}
        self.models = models
        self.config = config
        self.pending: dict[str, Position | None] = {}

    def encoder(self, schema: Any, include: Any = None) -> Callable[[Any], bytes]:
        """Return the encoder of a part of the schema."""
        whole = (
            {"type": "definitions", "schema": schema, "definitions": self.definitions} if self.definitions else schema
        )
        return _lazily(lambda: _encoder(SchemaSerializer(whole, self.config), include))

    def build(self, schema: Any) -> Position:
        """Make the position of a part of the schema."""
        outer = schema
        while "serialization" not in schema:
            if schema["type"] == "definition-ref":
                return self.reference(schema["schema_ref"])
            if schema["type"] not in THROUGH or "schema" not in schema:
                break
            schema = schema["schema"]
        encode = self.encoder(outer)
        kind = schema["type"]
        if "serialization" in schema:
            return Position(encode)
        if kind == "any":
            return Inferred(encode, scalars=True)
        if kind in ("model", "dataclass"):
            return self.instance(schema)
        if kind == "list":
            return Items(encode, self.part(schema, "items_schema"))
        if kind == "dict":
            keys = unwrap(schema["keys_schema"], self.references)["type"] if "keys_schema" in schema else "any"
            return Values(encode, self.part(schema, "values_schema"), plain_keys=keys in _SCALAR_TYPES or keys == "any")
        if kind in ("union", "tagged-union"):
            choices = schema["choices"]
            members = choices.values() if isinstance(choices, dict) else choices
            return Choice(encode, [self.build(item[0] if isinstance(item, tuple) else item) for item in members])
        return Position(encode, scalars=kind in _SCALAR_TYPES)

    def part(self, schema: Any, name: str) -> Position:
        """Make the position of a part that may have no schema."""
        return self.build(schema.get(name) or {"type": "any"})

    def is_flat(self, names: dict[str, Any]) -> bool:
        """Tell whether every field (see `Fields`) is written by its name, and a plain scalar in it as it is."""
        for name, entry in names.items():
            if entry is None or entry[0] != name or entry[1] is None:
                return False
            kind = unwrap(entry[1], self.references)["type"]
            if kind not in _SCALAR_TYPES and kind != "any":
                return False
        return True

    def reference(self, ref: str) -> Position:
        """Follow a reference; one that leads back to itself is followed when a path leads there."""
        known = self.models.get(ref) or self.pending.get(ref)
        if known is not None:
            return known
        if ref in self.pending:
            encode = self.encoder({"type": "definition-ref", "schema_ref": ref})
            return Later(encode, lambda: self.reference(ref))
        self.pending[ref] = None
        position = self.pending[ref] = self.build(self.references[ref])
        return position

    def instance(self, schema: Any, cls: Any = None) -> Position:
        """Make the position of a model or a dataclass, which its own class encodes where it can."""
        if cls is None and schema["type"] == "model" and schema["cls"].__pydantic_complete__:
            cls = schema["cls"]
        serializer = None if cls is None else cls.__pydantic_serializer__
        encode = self.encoder(schema) if serializer is None else _encoder(serializer)
        opaque = Position(encode)
        if schema["type"] not in ("model", "dataclass") or "serialization" in schema or schema.get("root_model"):
            return opaque
        if schema.get("ref") in self.models:
            return self.models[schema["ref"]]
        config = schema.get("config") or {}
        inner = unwrap(schema["schema"], self.references)
        if inner["type"] not in ("model-fields", "dataclass-args") or "serialization" in inner:
            return opaque
        fields = inner["fields"]
        if not isinstance(fields, dict):
            fields = {field["name"]: field for field in fields}
        parts = [*fields.values(), *inner.get("computed_fields", ())]
        if config.get("polymorphic_serialization") or any("serialization_exclude_if" in part for part in parts):
            return opaque
        names: dict[str, Any] = {}
        for name, field in fields.items():
            own = "serialization" in unwrap(field["schema"], self.references)
            entry = (field.get("serialization_alias", name), None if own else field["schema"])
            names[name] = None if field.get("serialization_exclude") else entry
        extra = None
        if "allow" in (config.get("extra_fields_behavior"), inner.get("extra_behavior")):
            extra = inner.get("extras_schema") or {"type": "any"}
        builder = _Builder(self.definitions, self.models, config)
        position = Fields(encode, schema["cls"], names, builder.build, extra)
        if schema["type"] == "model" and self.is_flat(names):
            position.flat_class = cls
        computed = {item["property_name"] for item in inner.get("computed_fields", ())}
        if computed:
            position.computed = self.encoder(schema, computed) if serializer is None else _encoder(serializer, computed)
        if "ref" in schema:
            self.models[schema["ref"]] = position
        return position
