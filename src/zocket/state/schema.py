"""Questions to the core schemas of Pydantic that do not need a serializer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

THROUGH: Final = frozenset(
    {"default", "nullable", "function-before", "function-after", "function-wrap", "model-field", "dataclass-field"}
)
"""Schemas that are serialized as the schema inside them."""


def unwrap(schema: Any, references: dict[str, Any]) -> Any:
    """Return the first schema inside that decides on the serialization."""
    while "serialization" not in schema:
        kind = schema["type"]
        if kind == "definition-ref":
            schema = references[schema["schema_ref"]]
        elif kind in THROUGH and "schema" in schema:
            schema = schema["schema"]
        else:
            break
    return schema


def definitions(schema: Any) -> tuple[Any, list[Any]]:
    """Split a schema from the definitions around it."""
    found: list[Any] = []
    while schema["type"] == "definitions":
        found.extend(schema["definitions"])
        schema = schema["schema"]
    return schema, found


def is_ambiguous(schema: Any) -> bool:
    """Tell whether a class's schema has a union in which one member is a base class of another.

    Pydantic tells such members apart by the exact class, which a tracked value does not have; values below such a
    schema are copied into plain ones before they are encoded.
    """
    schema, found = definitions(schema)
    references = {item["ref"]: item for item in found if "ref" in item}
    for part in _parts([schema, *found]):
        kind = part.get("type")
        if kind in ("model", "dataclass") and part.get("config", {}).get("polymorphic_serialization"):
            return True
        if kind not in ("union", "tagged-union"):
            continue
        choices = part["choices"]
        members = [
            unwrap(choice[0] if isinstance(choice, tuple) else choice, references)
            for choice in (choices.values() if isinstance(choices, dict) else choices)
        ]
        classes = [member["cls"] for member in members if "cls" in member and isinstance(member["cls"], type)]
        if any(a is not b and issubclass(a, b) for a in classes for b in classes):
            return True
    return False


def _parts(schemas: list[Any]) -> Iterator[dict[str, Any]]:
    """Iterate over all schemas inside; a schema has no cycles, it refers by name."""
    waiting = list(schemas)
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            if isinstance(part.get("type"), str):
                yield part
            waiting.extend(value for key, value in part.items() if key not in ("metadata", "default", "cls"))
        elif isinstance(part, (list, tuple)):
            waiting.extend(part)
