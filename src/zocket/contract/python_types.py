"""Schemas as annotations of Python, and the models that they need.

Rules: what JSON writes as text is its Python type where the schema says so (dates, UUIDs, decimals, bytes); `pattern`,
whose dialect is not the one of Python, is left to the server; an object without a name gets one.
"""

from __future__ import annotations

import builtins
import json
import keyword
import re
from typing import TYPE_CHECKING, Any, Final

from pydantic import BaseModel

from zocket.contract.walking import target_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from zocket.contract.form import Schema
    from zocket.contract.naming import Names
    from zocket.contract.walking import Document

INDENT: Final = "    "
RESERVED: Final = frozenset(
    """
    Absent Actor Annotated Any App Base64 BaseModel BeforeValidator ClassVar ConfigDict DEFAULT Decimal Event Field
    Literal Model PartialModel PlainSerializer SerializerFunctionWrapHandler UUID WrapSerializer annotations app
    b64decode b64encode date datetime method model_serializer time timedelta
    """.split()  # noqa: SIM905 — a table of words
) | {*dir(builtins), *keyword.kwlist}
"""Names that a generated module uses itself."""

_FORMATS: Final = {
    "date-time": "datetime",
    "date": "date",
    "time": "time",
    "duration": "timedelta",
    "uuid": "UUID",
    "decimal": "Decimal",
}
_PLAIN: Final = {"integer": "int", "number": "float", "boolean": "bool", "null": "None"}
_CONSTRAINTS: Final = {
    "string": {"minLength": "min_length", "maxLength": "max_length"},
    "array": {"minItems": "min_length", "maxItems": "max_length"},
    "integer": {
        "minimum": "ge",
        "exclusiveMinimum": "gt",
        "maximum": "le",
        "exclusiveMaximum": "lt",
        "multipleOf": "multiple_of",
    },
}
_UNKNOWN: Final = "Field(default=DEFAULT)"
_NO_FIELDS: Final = frozenset(dir(BaseModel))


def is_record(schema: Any) -> bool:
    """Whether a schema becomes a model."""
    return isinstance(schema, dict) and bool(schema.get("properties")) and schema.get("type", "object") == "object"


def is_usable(name: str) -> bool:
    """Whether a name of the wire can be one in Python as it is."""
    return name.isidentifier() and not keyword.iskeyword(name) and not name.startswith("_")


class Annotations:
    """Writes annotations, and collects the models that have no name of their own.

    Args:
        names: gives names to them.
        definitions: names in the module by those in the contract.
    """

    def __init__(self, names: Names, definitions: Mapping[str, str]) -> None:
        self.models: list[str] = []
        self._names = names
        self._definitions = definitions

    def of(self, schema: Schema, hint: str) -> str:
        """The annotation of a schema; `hint` begins the name of a model that it may need."""
        if isinstance(schema, bool):
            return "Any"
        target = target_of(schema)
        if target is not None:
            return self._definitions.get(target, "Any")
        if "const" in schema or "enum" in schema:
            return _literal(schema["enum"] if "enum" in schema else [schema["const"]])
        for word in ("anyOf", "oneOf"):
            if word in schema:
                return _union(self.of(item, hint) for item in schema[word])
        if len(schema.get("allOf", ())) == 1:
            return self.of(schema["allOf"][0], hint)
        kinds = schema.get("type")
        if isinstance(kinds, list):
            return _union(self.of({**schema, "type": kind}, hint) for kind in kinds)
        return self._of_kind(schema, str(kinds), hint)

    def _of_kind(self, schema: Document, kind: str, hint: str) -> str:
        if kind == "array":
            return _constrained(self._array(schema, hint), schema, "array")
        if is_record(schema):
            name = self._names.take(hint)
            self.models.append(self.model(name, schema))
            return name
        if kind == "object":
            others = schema.get("additionalProperties", True)
            return f"dict[str, {self.of(others, f'{hint}Value')}]"
        if kind == "string":
            if schema.get("contentEncoding") == "base64":
                return "Base64"
            written = _FORMATS.get(schema.get("format", ""))
            return written or _constrained("str", schema, "string")
        plain = _PLAIN.get(kind, "Any")
        return _constrained(plain, schema, "integer") if plain in ("int", "float") else plain

    def _array(self, schema: Document, hint: str) -> str:
        first = schema.get("prefixItems")
        if first is None:
            return f"list[{self.of(schema.get('items', True), f'{hint}Item')}]"
        if schema.get("minItems") == schema.get("maxItems") == len(first):
            return f"tuple[{', '.join(self.of(item, f'{hint}Item') for item in first)}]"
        return "list[Any]"

    def model(self, name: str, schema: Document) -> str:
        """The class of an object with properties."""
        required, optional = set(schema.get("required", ())), []
        fields = []
        taken: set[str] = set()
        for wire, item in schema["properties"].items():
            attribute = _attribute(wire, taken)
            kind = self.of(item, f"{name}{wire[:1].upper()}{wire[1:]}")
            alias = [] if attribute == wire else [f"alias={json.dumps(wire)}"]
            default = _model_default(item, kind, required=wire in required)
            if wire not in required:
                optional.append(attribute)
            if default == _UNKNOWN:
                kind = f"Annotated[{kind}, Absent]"
            fields.append(f"{INDENT}{attribute}: {kind}{_assigned(default, alias)}")
        if optional:
            members = ", ".join(json.dumps(item) for item in optional)
            fields.append(f"\n{INDENT}may_be_absent: ClassVar[frozenset[str]] = frozenset({{{members}}})")
        head = f"class {name}({'PartialModel' if optional else 'Model'}):"
        return "\n".join((head, *docstring(schema.get("description")), *fields)) + "\n"


def _attribute(wire: str, taken: set[str]) -> str:
    name = wire
    if not is_usable(wire) or wire in _NO_FIELDS or wire == "may_be_absent":
        name = re.sub(r"\W", "_", wire, flags=re.ASCII).strip("_") or "field"
        name = f"field_{name}" if name[0].isdigit() else f"{name}_"
    while name in taken:
        name += "_"
    taken.add(name)
    return name


def _model_default(schema: Any, kind: str, *, required: bool) -> str | None:
    """The text of a field's default: the one value of a tag, what the schema says, or None for what is not sent."""
    if isinstance(schema, dict) and ("const" in schema or len(schema.get("enum", ())) == 1):
        return literal(schema["const"] if "const" in schema else schema["enum"][0])
    return None if required else default_text(schema, kind) or _UNKNOWN


def default_text(schema: Any, kind: str) -> str | None:
    """A default as Python writes it; None if the schema has none, or one that is not written as it is in JSON."""
    if not isinstance(schema, dict) or "default" not in schema:
        return None
    value = schema["default"]
    if value is None and not kind.endswith("None"):
        return None
    if isinstance(value, str) and not re.search(r"\bstr\b|Literal\[", kind):
        return None
    if isinstance(value, list | dict) and value:
        return None
    if isinstance(value, list | dict) and not kind.startswith(("list[", "dict[")):
        return None
    return literal(value)


def literal(value: Any) -> str:
    """A value of JSON as Python writes it."""
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)


def _assigned(default: str | None, alias: list[str]) -> str:
    if not alias:
        return "" if default is None else f" = {default}"
    if default is None:
        return f" = Field({alias[0]})"
    value = "DEFAULT" if default == _UNKNOWN else default
    return f" = Field(default={value}, {alias[0]})"


def _literal(values: Iterable[Any]) -> str:
    texts = [literal(value) for value in values if isinstance(value, str | int | bool | None)]
    plain = [text for text in texts if text != "None"]
    kinds = [f"Literal[{', '.join(plain)}]"] if plain else []
    return _union([*kinds, *(["None"] if "None" in texts else [])]) if texts else "Any"


def _union(kinds: Iterable[str]) -> str:
    found = list(dict.fromkeys(kinds))
    if "Any" in found or not found:
        return "Any"
    return " | ".join(sorted(found, key=lambda kind: kind == "None"))


def _constrained(kind: str, schema: Document, words: str) -> str:
    found = [f"{name}={schema[word]!r}" for word, name in _CONSTRAINTS[words].items() if word in schema]
    if not found or kind.startswith("tuple["):
        return kind
    return f"Annotated[{kind}, Field({', '.join(found)})]"


def docstring(text: str | None, indent: str = INDENT) -> list[str]:
    """The lines of a docstring; none for no text."""
    if not text:
        return []
    lines = text.replace("\\", "\\\\").replace('"""', '\\"\\"\\"').splitlines()
    if len(lines) == 1 and not lines[0].endswith('"'):
        return [f'{indent}"""{lines[0]}"""', ""]
    return [f'{indent}"""{lines[0]}', *(f"{indent}{line}".rstrip() for line in lines[1:]), f'{indent}"""', ""]
