"""A JSON Schema as a tree: which parts of it are schemas themselves, and which definitions it refers to.

Rules: only the keywords of JSON Schema that hold schemas are entered, so a property called `default` or `$ref` is a
property, and the value of an `enum` is a value.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

Document = dict[str, Any]
"""A JSON Schema, or another JSON object."""

Mode = Literal["input", "output"]
"""What is read and may leave fields with a default out, or what is written and never does."""

REFERENCE: Final = "#/$defs/"

_ONE: Final = frozenset(
    """
    additionalItems additionalProperties contains contentSchema else if items not propertyNames then unevaluatedItems
    unevaluatedProperties
    """.split()  # noqa: SIM905 — a table of words
)
_LISTS: Final = frozenset({"anyOf", "oneOf", "allOf", "prefixItems"})
_MAPS: Final = frozenset({"properties", "patternProperties", "dependentSchemas", "$defs"})


def mapped(schema: Any, change: Callable[[Any], Any]) -> Any:
    """The schema with each schema directly inside of it changed."""
    if not isinstance(schema, dict):
        return schema
    return {word: _changed(word, value, change) for word, value in schema.items()}


def _changed(word: str, value: Any, change: Callable[[Any], Any]) -> Any:
    if word in _ONE and isinstance(value, dict):
        return change(value)
    if isinstance(value, list) and (word in _LISTS or word == "items"):
        return [change(item) for item in value]
    if word in _MAPS:
        return {name: change(item) for name, item in value.items()}
    return value


def parts(schema: Any) -> Iterator[Any]:
    """The schemas directly inside of a schema."""
    found: list[Any] = []
    mapped(schema, found.append)
    yield from found


def target_of(schema: Any) -> str | None:
    """The name of the definition that a schema is a reference to."""
    target = schema.get("$ref") if isinstance(schema, dict) else None
    return target.removeprefix(REFERENCE) if isinstance(target, str) and target.startswith(REFERENCE) else None


def references(schema: Any) -> set[str]:
    """The names of the definitions that a schema refers to directly."""
    found = {name for part in parts(schema) for name in references(part)}
    target = target_of(schema)
    return found if target is None else found | {target}


def reachable(schema: Any, definitions: Mapping[str, Any]) -> set[str]:
    """The names of the definitions that a schema refers to, through others too."""
    found: set[str] = set()
    waiting = references(schema)
    while waiting:
        name = waiting.pop()
        found.add(name)
        waiting |= references(definitions.get(name, {})) - found
    return found


def renamed(schema: Any, rename: Callable[[str], str], prefix: str = REFERENCE) -> Any:
    """The schema with every reference to a definition going to another name, below `prefix`."""
    target = target_of(schema)
    changed = mapped(schema, lambda part: renamed(part, rename, prefix))
    return changed if target is None else {**changed, "$ref": prefix + rename(target)}


def resolved(schema: Any, definitions: Mapping[str, Any]) -> Any:
    """The schema itself, or what it refers to, with the words beside the reference kept."""
    seen: set[str] = set()
    while (target := target_of(schema)) is not None and target not in seen:
        seen.add(target)
        beside = {word: value for word, value in schema.items() if word != "$ref"}
        found = definitions.get(target, {})
        schema = {**found, **beside} if isinstance(found, dict) else found
    return schema
