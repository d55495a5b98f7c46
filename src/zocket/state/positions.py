"""Positions: how the value at one place of a document becomes JSON, so that patches and snapshots always agree.

A Pydantic document is encoded by its declared schema: aliases, excluded fields, field serializers, a base class that hides
the fields of a derived one. Whoever encodes only a part of it must use the schema of that part's place. A position is such a
place: it encodes a value there, and it says how a patch path goes on to a part of it. Where a path cannot go on
(custom serializers, unions that cannot be told apart, tuples), the position is opaque: it is emitted as a whole.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Any, Final

import msgspec
from pydantic import BaseModel
from pydantic_core import SchemaSerializer

from zocket.state.builtin import DictKind, ListKind
from zocket.state.encoding import ENCODER, _fallback
from zocket.state.journal import MISSING, TRACKED
from zocket.state.kinds import json_key
from zocket.state.models import PydanticKind
from zocket.state.pointer import escape

if TYPE_CHECKING:
    from collections.abc import Callable

_SCALARS: Final = frozenset({type(None), bool, int, str})
"""Classes whose values every serializer writes alike."""

_encode_scalar = msgspec.json.Encoder().encode


class Step(enum.Enum):
    """Where no path leads on."""

    OPAQUE = "the part can only be emitted with the whole that it belongs to"
    HIDDEN = "the part is never emitted"


OPAQUE: Final = Step.OPAQUE
HIDDEN: Final = Step.HIDDEN


class Position:
    """A place; this class is the opaque one."""

    __slots__ = ("computed", "encode", "scalars")

    def __init__(self, encode: Callable[[Any], bytes], *, scalars: bool = False) -> None:
        self.encode = encode
        self.scalars = scalars
        """Whether plain scalars here are written as any encoder writes them."""
        self.computed: tuple[str, ...] = ()

    def bytes_of(self, value: Any) -> bytes:
        """Encode a value at this place."""
        if self.scalars and type(value) in _SCALARS:
            return _encode_scalar(value)
        return self.encode(value)

    def step(self, node: Any, key: Any) -> Any:
        """Return the escaped path part and the position of a part of the node that lies here, or why there is none."""
        return OPAQUE


class Dynamic(Position):
    """A place whose values are encoded by what they are; `models` gives the position of a Pydantic model there."""

    __slots__ = ()

    def step(self, node: Any, key: Any) -> Any:
        kind = TRACKED[type(node)]
        if isinstance(kind, ListKind):
            return f"/{key}", self
        if isinstance(kind, DictKind):
            return "/" + escape(key if type(key) is str else json_key(key)), self
        if isinstance(kind, PydanticKind):
            return model_position(kind.cls).step(node, key)
        return kind.step(self, key)  # type: ignore[attr-defined]


class Items(Position):
    """A list by its schema."""

    __slots__ = ("item",)

    def __init__(self, encode: Callable[[Any], bytes], item: Position) -> None:
        super().__init__(encode)
        self.item = item

    def step(self, node: Any, key: Any) -> Any:
        if not isinstance(TRACKED[type(node)], ListKind):
            return OPAQUE
        return f"/{key}", self.item


class Values(Position):
    """A dictionary by its schema; keys of an unusual type are named by their serializer."""

    __slots__ = ("key", "value")

    def __init__(self, encode: Callable[[Any], bytes], key: Position, value: Position) -> None:
        super().__init__(encode)
        self.key = key
        self.value = value

    def step(self, node: Any, key: Any) -> Any:
        if not isinstance(TRACKED[type(node)], DictKind):
            return OPAQUE
        if type(key) is str:
            return "/" + escape(key), self.value
        if not self.key.scalars and not isinstance(key, (enum.Enum, int)):
            return OPAQUE
        return "/" + escape(json_key(key)), self.value


class Fields(Position):
    """A model by its schema. `names` maps a field to its path part and its schema, None if it is never emitted."""

    __slots__ = ("build", "cls", "extra", "known", "names")

    def __init__(self, encode: Callable[[Any], bytes], cls: Any, names: Any, build: Any, extra: Any) -> None:
        super().__init__(encode)
        self.cls = cls
        self.names = names
        self.build = build
        self.extra = extra
        self.known: dict[str, Any] = {}

    def step(self, node: Any, key: Any) -> Any:
        found = self.known.get(key)
        if found is not None and node.__class__ is self.cls:
            return found
        kind = TRACKED[type(node)]
        if not isinstance(kind, PydanticKind) or not issubclass(kind.cls, self.cls):
            return OPAQUE
        if key not in self.names:
            if self.extra is None or kind.cls is not self.cls:
                return OPAQUE if self.extra is not None else HIDDEN
            return "/" + escape(key), self.build(self.extra)
        if found is None:
            entry = self.names[key]
            found = HIDDEN if entry is None else ("/" + escape(entry[0]), self.build(entry[1]))
            self.known[key] = found
        return found


class Choice(Position):
    """A union: the path goes on where only one member can have written the value."""

    __slots__ = ("members",)

    def __init__(self, encode: Callable[[Any], bytes], members: list[Position]) -> None:
        super().__init__(encode)
        self.members = members
        self.scalars = all(member.scalars for member in members)

    def step(self, node: Any, key: Any) -> Any:
        kind = TRACKED[type(node)]
        if isinstance(kind, PydanticKind):
            fitting = [m for m in self.members if isinstance(m, Fields) and kind.cls is m.cls]
        elif isinstance(kind, ListKind):
            fitting = [m for m in self.members if isinstance(m, Items)]
        elif isinstance(kind, DictKind):
            fitting = [m for m in self.members if isinstance(m, Values)]
        else:
            fitting = []
        if len(fitting) != 1 or any(type(m) in (Dynamic, Choice) for m in self.members):
            return OPAQUE
        return fitting[0].step(node, key)


class Later(Position):
    """A place in a recursive schema, built when a path first leads there."""

    __slots__ = ("make",)

    def __init__(self, make: Callable[[], Position]) -> None:
        self.make = make
        self.computed = ()
        self.scalars = False
        self.encode = lambda value: make().encode(value)

    def step(self, node: Any, key: Any) -> Any:
        return self.make().step(node, key)


DYNAMIC: Final = Dynamic(ENCODER.encode, scalars=True)
"""Every place below a document that msgspec encodes."""

_positions: dict[type, Position] = {}


def root_position(cls: type) -> Position:
    """Return the position of a document's root, by the user's class."""
    return model_position(cls) if issubclass(cls, BaseModel) else DYNAMIC


def model_position(cls: Any) -> Position:
    """Return the position of a model that is encoded by its own class."""
    position = _positions.get(cls)
    if position is None:
        schema = cls.__pydantic_core_schema__
        serializer = cls.__pydantic_serializer__
        _positions[cls] = position = _Builder(schema).model(_inner(schema), _encoder(serializer))
    return position


def _encoder(serializer: Any) -> Callable[[Any], bytes]:
    to_json = serializer.to_json

    def encode(value: Any) -> bytes:
        data: bytes = to_json(value, by_alias=True, warnings=False, fallback=_fallback)
        return data

    return encode


def _inner(schema: Any) -> Any:
    while schema["type"] == "definitions":
        schema = schema["schema"]
    return schema


_THROUGH: Final = {"default", "nullable", "function-before", "function-after", "function-wrap", "model-field"}
_SCALAR_TYPES: Final = {"int", "str", "bool", "none", "any", "literal", "enum"}


class _Builder:
    """Makes positions from the core schema of one class, sharing its definitions and its configuration."""

    def __init__(self, schema: Any, config: Any = None) -> None:
        self.definitions: list[Any] = []
        while schema["type"] == "definitions":
            self.definitions.extend(schema["definitions"])
            schema = schema["schema"]
        self.references = {item["ref"]: item for item in self.definitions if "ref" in item}
        self.config = config
        self.building: dict[str, Position | None] = {}

    def serializer(self, schema: Any) -> Callable[[Any], bytes]:
        """Make the serializer of a part of the schema, on first use."""
        made: list[Any] = []

        def encode(value: Any) -> bytes:
            if not made:
                whole = schema
                if self.definitions:
                    whole = {"type": "definitions", "schema": schema, "definitions": self.definitions}
                made.append(_encoder(SchemaSerializer(whole, self.config)))
            data: bytes = made[0](value)
            return data

        return encode

    def build(self, schema: Any) -> Position:
        """Make the position of a part of the schema."""
        encode = self.serializer(schema)
        kind = schema["type"]
        if "serialization" in schema:
            return Position(encode)
        if kind == "definition-ref":
            return self.reference(schema["schema_ref"])
        if kind in _THROUGH and "schema" in schema:
            return self.build(schema["schema"])
        if kind == "any":
            return Dynamic(encode, scalars=True)
        if kind == "model":
            return self.model(schema, encode)
        if kind == "list":
            return Items(encode, self.build(schema["items_schema"]) if "items_schema" in schema else self.any())
        if kind == "dict":
            return Values(
                encode,
                self.build(schema["keys_schema"]) if "keys_schema" in schema else self.any(),
                self.build(schema["values_schema"]) if "values_schema" in schema else self.any(),
            )
        if kind == "union":
            choices = [choice[0] if isinstance(choice, tuple) else choice for choice in schema["choices"]]
            return Choice(encode, [self.build(choice) for choice in choices])
        if kind == "tagged-union":
            return Choice(encode, [self.build(choice) for choice in schema["choices"].values()])
        return Position(encode, scalars=kind in _SCALAR_TYPES)

    def any(self) -> Position:
        """Make the position of a part without a schema."""
        return self.build({"type": "any"})

    def reference(self, ref: str) -> Position:
        """Follow a reference; a recursive one is followed when a path leads there."""
        known = self.building.get(ref, MISSING)
        if known is None:
            return Later(lambda: self.building[ref])  # type: ignore[arg-type,return-value]
        if known is not MISSING:
            return known  # type: ignore[no-any-return]
        self.building[ref] = None
        position = self.building[ref] = self.build(self.references[ref])
        return position

    def model(self, schema: Any, encode: Callable[[Any], bytes]) -> Position:
        """Make the position of a model."""
        while schema["type"] == "definition-ref" or (schema["type"] in _THROUGH and "serialization" not in schema):
            schema = self.references[schema["schema_ref"]] if "schema_ref" in schema else schema["schema"]
        if schema["type"] != "model" or "serialization" in schema or schema.get("root_model"):
            return Position(encode)
        cls, inner, config = schema["cls"], schema["schema"], schema.get("config", {})
        while inner["type"] in _THROUGH and "serialization" not in inner:
            inner = inner["schema"]
        if inner["type"] != "model-fields" or "serialization" in inner:
            return Position(encode)
        names: dict[str, Any] = {}
        for name, field in inner["fields"].items():
            if "serialization_exclude_if" in field:
                return Position(encode)
            hidden = field.get("serialization_exclude", False)
            names[name] = None if hidden else (field.get("serialization_alias", name), field["schema"])
        builder = _Builder({"type": "definitions", "schema": schema, "definitions": self.definitions}, config)
        builder.building = {}
        extra = None
        if config.get("extra_fields_behavior") == "allow" or inner.get("extra_behavior") == "allow":
            extra = inner.get("extras_schema", {"type": "any"})
        position = Fields(encode, cls, names, builder.build, extra)
        position.computed = tuple(item["property_name"] for item in inner.get("computed_fields", ()))
        return position
