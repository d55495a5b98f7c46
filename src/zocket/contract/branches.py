"""A schema as its alternatives: each of one JSON type, so that two schemas can be compared type by type.

Rules: references are followed, unions are flattened, values of an `enum` belong to the alternative of their type; what
has no type is the alternative `any`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from zocket.contract.walking import reachable, target_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from zocket.contract.form import Schema
    from zocket.contract.walking import Document

ANNOTATIONS: Final = frozenset(
    {
        "$comment",
        "$defs",
        "$id",
        "$schema",
        "default",
        "deprecated",
        "description",
        "discriminator",
        "examples",
        "readOnly",
        "title",
        "writeOnly",
    }
)
"""Words that decide about no value."""
_UNIONS: Final = ("anyOf", "oneOf")


@dataclass(slots=True)
class Branch:
    """One alternative.

    Attributes:
        kind: a JSON type, or `any`.
        name: of the definition that it is, or empty.
        words: what restricts it, without its type and its values.
        values: JSON texts of the only values, or None for all.
    """

    kind: str
    name: str = ""
    words: Document = field(default_factory=dict)
    values: tuple[str, ...] | None = None

    @property
    def tag(self) -> dict[str, str]:
        """The properties with one value: what tells an object of a tagged union from the others."""
        return {
            name: json.dumps(item.get("const", item.get("enum")))
            for name, item in self.words.get("properties", {}).items()
            if isinstance(item, dict) and ("const" in item or len(item.get("enum", ())) == 1)
        }

    def text(self) -> str:
        """The same for alternatives that restrict alike, within one contract."""
        return json.dumps([self.kind, self.words, self.values], sort_keys=True)

    def shown(self) -> str:
        """It in a few words."""
        if self.values is not None:
            return " | ".join(self.values)
        what = self.name or self.kind
        form = self.words.get("format", self.words.get("contentEncoding"))
        return f"{what} ({form})" if form else what


def branches_of(schema: Schema, definitions: Mapping[str, Schema]) -> list[Branch]:
    """The alternatives of a schema; none for the schema that nothing fits."""
    found: list[Branch] = []
    for branch in _split(schema, definitions, frozenset(), ""):
        same = next((item for item in found if _is_same_set(item, branch)), None)
        if same is None:
            found.append(branch)
        else:
            same.values = tuple(dict.fromkeys((*(same.values or ()), *(branch.values or ()))))
    return found


def _is_same_set(one: Branch, other: Branch) -> bool:
    """Whether both are values of one type, which are one alternative."""
    return one.kind == other.kind and None not in (one.values, other.values) and one.words == other.words


def _split(schema: Schema, definitions: Mapping[str, Schema], seen: frozenset[str], name: str) -> Iterator[Branch]:
    if isinstance(schema, bool):
        if schema:
            yield Branch("any")
        return
    words = {word: value for word, value in schema.items() if word not in ANNOTATIONS}
    target = target_of(words)
    if target is not None and target in definitions and target not in seen:
        yield from _split(_both(definitions[target], words, "$ref"), definitions, seen | {target}, name or target)
        return
    inner = words.get("allOf")
    if isinstance(inner, list) and len(inner) == 1:
        yield from _split(_both(inner[0], words, "allOf"), definitions, seen, name)
        return
    for word in _UNIONS:
        if word in words:
            for item in words[word]:
                yield from _split(_both(item, words, word), definitions, seen, "")
            return
    yield from _of_types(words, name)


def _both(one: Schema, words: Document, without: str) -> Schema:
    """What fits a schema and the words beside it; an `allOf` where both speak of the same."""
    beside = {word: value for word, value in words.items() if word != without}
    if not beside or one is False:
        return one
    if isinstance(one, bool):
        return beside
    if any(word in one and one[word] != value for word, value in beside.items()):
        return {"allOf": [one, beside]}
    return {**one, **beside}


def _of_types(words: Document, name: str) -> Iterator[Branch]:
    rest = {word: value for word, value in words.items() if word not in ("type", "enum", "const")}
    if "enum" in words or "const" in words:
        values = words["enum"] if "enum" in words else [words["const"]]
        kinds: dict[str, list[str]] = {}
        for value in values:
            kinds.setdefault(kind_of(value), []).append(json.dumps(value, ensure_ascii=False, sort_keys=True))
        for kind, texts in kinds.items():
            yield Branch(kind, name, rest, None if kind == "null" else tuple(texts))
        return
    kinds_given = words.get("type", "any")
    for kind in [kinds_given] if isinstance(kinds_given, str) else kinds_given:
        yield Branch(kind, name, rest)


def kind_of(value: Any) -> str:
    """The JSON type of a value."""
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int():
            return "integer"
        case float():
            return "number"
        case str():
            return "string"
        case list():
            return "array"
    return "object"


def paired(old: list[Branch], new: list[Branch]) -> tuple[list[tuple[Branch, Branch]], list[Branch], list[Branch]]:
    """Which alternative became which; and those that are gone, and those that are new."""
    pairs: list[tuple[Branch, Branch]] = []
    left, right = list(old), list(new)
    for alike in (_is_equal, _has_name, _has_tag, _has_kind, _is_number):
        for one in list(left):
            other = next((item for item in right if alike(one, item)), None)
            if other is not None:
                pairs.append((one, other))
                left.remove(one)
                right = [item for item in right if item is not other]
    return pairs, left, right


def _is_equal(one: Branch, other: Branch) -> bool:
    return one == other


def _has_name(one: Branch, other: Branch) -> bool:
    return one.kind == other.kind and one.name == other.name != ""


def _has_tag(one: Branch, other: Branch) -> bool:
    common = one.tag.keys() & other.tag.keys()
    return one.kind == other.kind and bool(common) and all(one.tag[name] == other.tag[name] for name in common)


def _has_kind(one: Branch, other: Branch) -> bool:
    """Of one type, and not told apart by their tags."""
    common = one.tag.keys() & other.tag.keys()
    return one.kind == other.kind and all(one.tag[name] == other.tag[name] for name in common)


def _is_number(one: Branch, other: Branch) -> bool:
    return {one.kind, other.kind} == {"integer", "number"}


def is_same(
    one: Any, one_definitions: Mapping[str, Schema], other: Any, other_definitions: Mapping[str, Schema]
) -> bool:
    """Whether two schemas are the same text, with everything that they refer to."""
    names = reachable(one, one_definitions)
    return bool(
        one == other
        and names == reachable(other, other_definitions)
        and all(one_definitions.get(name) == other_definitions.get(name) for name in names)
    )
