"""The JSON Schemas of a contract: from annotations, each named one kept once and found by its name.

Rules: the library that validates an annotation describes it; two classes of one name get two names, and so do the
input and the output form of a class that differ (`Message`, `MessageInput`); names are identifiers.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, NoDefault

from zocket.contract.native import native_schemas
from zocket.contract.walking import REFERENCE, Document, Mode, mapped, reachable, renamed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pydantic_core import core_schema

    from zocket.core.schema import Schema

    Describe = Callable[[list[Any], Mode], tuple[list[Document], dict[str, Document]]]
    """Gives the schemas of annotations, and the named ones that they refer to as `#/$defs/NAME`."""

_MODES: Final[dict[Mode, Any]] = {"input": "validation", "output": "serialization"}
_FIRST: Final = {word: place for place, word in enumerate(("title", "description", "$ref", "type", "properties"))}
"""Keywords that stand at the beginning; the others follow by name."""
_EMPTY_MAKERS: Final = (list, dict, set, frozenset, tuple)


class _Described(GenerateJsonSchema):
    """Pydantic's schemas, with defaults required in output, defaults of plain factories, and no invented titles."""

    def field_is_required(self, field: Any, total: bool) -> bool:
        """See `GenerateJsonSchema`: what has a default is always written."""
        if self.mode == "serialization" and field["type"] != "typed-dict-field":
            return field.get("serialization_exclude_if") is None
        return super().field_is_required(field, total)

    def field_title_should_be_set(self, schema: Any) -> bool:
        """See `GenerateJsonSchema`: a title that only repeats the name of its field says nothing."""
        return False

    def get_default_value(self, schema: core_schema.WithDefaultSchema) -> Any:
        """See `GenerateJsonSchema`: also of factories that are known to make something empty."""
        factory = schema.get("default_factory")
        if factory in _EMPTY_MAKERS:
            return factory()
        return schema.get("default", NoDefault)

    def handle_invalid_for_json_schema(self, schema: Any, error_info: str) -> Document:
        """See `GenerateJsonSchema`: what cannot be described may be anything."""
        return {}

    def emit_warning(self, kind: Any, detail: str) -> None:
        """See `GenerateJsonSchema`: a default that JSON cannot hold is left out, and that is all."""


class Schemas:
    """The schemas of one contract.

    Attributes:
        definitions: those that have a name, to be put under `$defs`.
    """

    def __init__(self, outputs: Iterable[Schema[Any]], inputs: Iterable[Schema[Any]]) -> None:
        self.definitions: dict[str, Document] = {}
        self._names: dict[str, str] = {}
        self._taken: set[str] = set()
        self._found: dict[tuple[int, Mode], Document] = {}
        self._describe(list(outputs), "output")  # first, so that an output has the plain name of its class
        self._describe(list(inputs), "input")

    def of(self, schema: Schema[Any], mode: Mode) -> Document:
        """The schema of an annotation that was given to the constructor."""
        return self._found[id(schema), mode]

    def _describe(self, schemas: list[Schema[Any]], mode: Mode) -> None:
        self._describe_group([schema for schema in schemas if schema.native], native_schemas, mode)
        self._describe_group([schema for schema in schemas if not schema.native], _pydantic_schemas, mode)

    def _describe_group(self, group: list[Schema[Any]], describe: Describe, mode: Mode) -> None:
        """All at once, since they have much in common; one by one if the code of one of them raises."""
        try:
            bodies, local = describe([schema.annotation for schema in group], mode)
        except Exception:  # noqa: BLE001 — border: a developer's own types; what they cannot describe may be anything
            if len(group) == 1:
                bodies, local = [{}], {}
            else:
                for schema in group:
                    self._describe_group([schema], describe, mode)
                return
        self._add(group, bodies, local, mode)

    def _add(self, group: list[Schema[Any]], bodies: list[Document], local: dict[str, Document], mode: Mode) -> None:
        local = {name: _plain(item) for name, item in local.items()}
        names = {name: self._name(name, mode, local) for name in local}
        for name, item in local.items():
            self.definitions.setdefault(names[name], renamed(item, names.__getitem__))
        for schema, body in zip(group, bodies, strict=True):
            self._found[id(schema), mode] = renamed(_plain(body), names.__getitem__)

    def _name(self, name: str, mode: Mode, local: dict[str, Document]) -> str:
        """The name here of what is called `name` there: the same for the same content, whoever brings it."""
        content = {item: local[item] for item in sorted(reachable(local[name], local) | {name})}
        key = json.dumps([name, content], sort_keys=True)
        if key not in self._names:
            self._names[key] = _free(_identifier(name), mode, self._taken)
            self._taken.add(self._names[key])
        return self._names[key]


def _free(name: str, mode: Mode, taken: set[str]) -> str:
    if name in taken and mode == "input":
        name += "Input"
    candidate, count = name, 1
    while candidate in taken:
        count += 1
        candidate = f"{name}{count}"
    return candidate


def _pydantic_schemas(annotations: list[Any], mode: Mode) -> tuple[list[Document], dict[str, Document]]:
    as_known = _MODES[mode]
    found, definitions = TypeAdapter.json_schemas(
        [(index, as_known, TypeAdapter(annotation)) for index, annotation in enumerate(annotations)],
        ref_template=REFERENCE + "{model}",
        schema_generator=_Described,
    )
    return [found[index, as_known] for index in range(len(annotations))], definitions.get("$defs", {})


def _identifier(name: str) -> str:
    """`Page_Message_`, as a generic class is called, as `PageMessage`; other names as they are."""
    if name.endswith("_"):
        name = "".join(part[:1].upper() + part[1:] for part in name.split("_"))
    name = re.sub(r"\W", "_", name)
    return f"_{name}" if name[:1].isdigit() else name


def _plain(schema: Any) -> Any:
    """In one form, whichever library made it: no `type` beside the values of an enum, no `discriminator` of OpenAPI."""
    if not isinstance(schema, dict):
        return schema
    kept = dict(mapped(schema, _plain))
    if isinstance(kept.get("discriminator"), dict):
        del kept["discriminator"]
    if "enum" in kept or "const" in kept:
        kept.pop("type", None)
    return {word: kept[word] for word in sorted(kept, key=lambda word: (_FIRST.get(word, len(_FIRST)), word))}
