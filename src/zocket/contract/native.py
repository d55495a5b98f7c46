"""JSON Schemas of what msgspec reads and writes: Structs, dataclasses, TypedDicts, named tuples, enums, plain types.

Rules: input and output are two schemas, since a field with a default may be absent in the one and never is in the
other; dates keep their format also without a rule about time zones; a type that has no schema is the open schema.
"""

from __future__ import annotations

import inspect
import re
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import inspect as mi

if TYPE_CHECKING:
    from zocket.contract.walking import Document, Mode

_NUMBERS: Final = {
    "ge": "minimum",
    "gt": "exclusiveMinimum",
    "le": "maximum",
    "lt": "exclusiveMaximum",
    "multiple_of": "multipleOf",
}
_TEXTS: Final = {"min_length": "minLength", "max_length": "maxLength", "pattern": "pattern"}
_ITEMS: Final = {"min_length": "minItems", "max_length": "maxItems"}
_ENTRIES: Final = {"min_length": "minProperties", "max_length": "maxProperties"}
_FORMATS: Final[dict[type, dict[str, Any]]] = {
    mi.NoneType: {"type": "null"},
    mi.BoolType: {"type": "boolean"},
    mi.DateTimeType: {"type": "string", "format": "date-time"},
    mi.TimeType: {"type": "string", "format": "time"},
    mi.DateType: {"type": "string", "format": "date"},
    mi.TimeDeltaType: {"type": "string", "format": "duration"},
    mi.UUIDType: {"type": "string", "format": "uuid"},
    mi.DecimalType: {"type": "string", "format": "decimal"},
}
_BYTES: Final = (mi.BytesType, mi.ByteArrayType, mi.MemoryViewType)
_RECORDS: Final = (mi.StructType, mi.DataclassType, mi.TypedDictType, mi.NamedTupleType)
_SAFE_FACTORIES: Final = (list, dict, set, frozenset, tuple, bytearray)


def native_schemas(annotations: list[Any], mode: Mode) -> tuple[list[Document], dict[str, Document]]:
    """The schemas of annotations, and the named ones that they refer to as `#/$defs/NAME`."""
    translator = _Translator(mode)
    return [translator.schema(kind) for kind in mi.multi_type_info(annotations)], translator.definitions


class _Translator:
    def __init__(self, mode: Mode) -> None:
        self.definitions: dict[str, Document] = {}
        self._mode = mode
        self._names: dict[Any, str] = {}

    def schema(self, kind: mi.Type) -> Document:
        if isinstance(kind, mi.Metadata):
            return {**self.schema(kind.type), **(kind.extra_json_schema or {})}
        if isinstance(kind, (*_RECORDS, mi.EnumType)):
            return {"$ref": f"#/$defs/{self._named(kind)}"}
        return self._anonymous(kind)

    def _named(self, kind: Any) -> str:
        if kind.cls in self._names:
            return self._names[kind.cls]
        name = base = re.sub(r"\W", "_", _title(kind.cls))
        count = 1
        while name in self.definitions:
            count += 1
            name = f"{base}{count}"
        self._names[kind.cls] = name
        self.definitions[name] = {}  # keeps the name while what it refers to is looked at
        about = {"title": _title(kind.cls), **({"description": doc} if (doc := _doc(kind.cls)) else {})}
        if isinstance(kind, mi.EnumType):
            body: Document = {"enum": [item.value for item in kind.cls]}
        elif isinstance(kind, mi.NamedTupleType) or (isinstance(kind, mi.StructType) and kind.array_like):
            body = self._array(kind)
        else:
            body = self._object(kind)
        self.definitions[name] = {**about, **body}
        return name

    def _object(self, kind: Any) -> Document:
        properties: dict[str, Any] = {}
        required = []
        if getattr(kind, "tag_field", None) is not None:
            properties[kind.tag_field] = {"const": kind.tag}
            required.append(kind.tag_field)
        for field in kind.fields:
            properties[field.encode_name] = self._field(field)
            if field.required or (self._mode == "output" and _is_always_written(kind, field)):
                required.append(field.encode_name)
        body: Document = {"type": "object", "properties": properties}
        if required:
            body["required"] = required
        if getattr(kind, "forbid_unknown_fields", False):
            body["additionalProperties"] = False
        return body

    def _array(self, kind: Any) -> Document:
        fields = [self._field(field) for field in kind.fields]
        if getattr(kind, "tag_field", None) is not None:
            fields.insert(0, {"const": kind.tag})
        optional = 0 if self._mode == "output" else sum(not field.required for field in kind.fields)
        body: Document = {"type": "array", "prefixItems": fields, "minItems": len(fields) - optional}
        if isinstance(kind, mi.NamedTupleType) or kind.forbid_unknown_fields or self._mode == "output":
            body["maxItems"] = len(fields)
        return body

    def _field(self, field: mi.Field) -> Document:
        schema = self.schema(field.type)
        if field.default_factory in _SAFE_FACTORIES:
            return {**schema, "default": msgspec.to_builtins(field.default_factory(), str_keys=True)}
        if field.default is not msgspec.NODEFAULT and field.default is not msgspec.UNSET:
            return {**schema, "default": msgspec.to_builtins(field.default, str_keys=True)}
        return schema

    def _anonymous(self, kind: mi.Type) -> Document:
        if type(kind) in _FORMATS:
            return dict(_FORMATS[type(kind)])
        match kind:
            case mi.IntType() | mi.FloatType():
                return {"type": "integer" if isinstance(kind, mi.IntType) else "number", **_limits(kind, _NUMBERS)}
            case mi.StrType():
                return {"type": "string", **_limits(kind, _TEXTS)}
            case mi.CollectionType():
                unique = {"uniqueItems": True} if isinstance(kind, mi.SetType | mi.FrozenSetType) else {}
                return {"type": "array", "items": self.schema(kind.item_type), **_limits(kind, _ITEMS), **unique}
            case mi.TupleType():
                items = [self.schema(item) for item in kind.item_types]
                prefix = {"prefixItems": items} if items else {}
                return {"type": "array", **prefix, "minItems": len(items), "maxItems": len(items)}
            case mi.DictType():
                return self._dictionary(kind)
            case mi.UnionType():
                return {"anyOf": [self.schema(item) for item in kind.types]}
            case mi.LiteralType():
                return {"enum": list(kind.values)}
        if isinstance(kind, _BYTES):
            return {"type": "string", "contentEncoding": "base64"}
        return {}

    def _dictionary(self, kind: mi.DictType) -> Document:
        names = self.schema(kind.key_type)
        names.pop("type", None)
        body: Document = {"type": "object", "additionalProperties": self.schema(kind.value_type)}
        is_text = isinstance(_bare(kind.key_type), mi.StrType | mi.LiteralType | mi.EnumType | mi.UUIDType)
        if names and is_text:
            body["propertyNames"] = names
        return {**body, **_limits(kind, _ENTRIES)}


def _is_always_written(kind: Any, field: mi.Field) -> bool:
    if isinstance(kind, mi.TypedDictType) or field.default is msgspec.UNSET:
        return False
    return not (isinstance(kind, mi.StructType) and _origin(kind.cls).__struct_config__.omit_defaults)


def _limits(kind: mi.Type, words: dict[str, str]) -> dict[str, Any]:
    found = {word: getattr(kind, name, None) for name, word in words.items()}
    return {word: value for word, value in found.items() if value is not None}


def _bare(kind: mi.Type) -> mi.Type:
    return _bare(kind.type) if isinstance(kind, mi.Metadata) else kind


def _origin(cls: Any) -> Any:
    return getattr(cls, "__origin__", cls)


def _title(cls: Any) -> str:
    arguments = ", ".join(_title(item) for item in getattr(cls, "__args__", ()))
    name = getattr(_origin(cls), "__name__", str(cls))
    return f"{name}[{arguments}]" if arguments else str(name)


def _doc(cls: Any) -> str:
    """The class's own docstring; the signature that a dataclass or a named tuple gets for one is none."""
    cls = _origin(cls)
    doc = inspect.cleandoc(vars(cls).get("__doc__") or "")
    return "" if doc.startswith(f"{cls.__name__}(") or doc == "An enumeration." else doc
