"""The wire diff is sound: where it finds nothing that breaks, nothing does.

Schemas are compared with edited ones; then values of the one are put before a validator of the other.
"""

from __future__ import annotations

import copy
from typing import Any, Final

from hypothesis import assume, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from zocket.contract.comparing import SchemaComparison
from zocket.contract.walking import Mode

MODES: Final[tuple[Mode, Mode]] = ("input", "output")
NAMES: Final = ("a", "b", "c", "d")
WORDS: Final = ("", "x", "yy", "red", "green", "a longer text")
BOUNDS: Final = ("minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems")
REFERENCE: Final = {"$ref": "#/$defs/Node"}

SCALARS: Final = st.one_of(
    st.sampled_from([{"type": "null"}, {"type": "boolean"}, {"type": "string"}, {"type": "number"}, {}]),
    st.fixed_dictionaries(
        {"type": st.sampled_from(["integer", "number"])},
        optional={
            "minimum": st.integers(-2, 2),
            "maximum": st.integers(1, 4),
            "exclusiveMaximum": st.integers(3, 5),
            "multipleOf": st.sampled_from([1, 2, 4]),
        },
    ),
    st.fixed_dictionaries(
        {"type": st.just("string")}, optional={"minLength": st.integers(0, 3), "maxLength": st.integers(2, 13)}
    ),
    st.fixed_dictionaries(
        {"enum": st.lists(st.sampled_from([*WORDS, 1, 2, None, True]), min_size=1, max_size=3, unique_by=repr)}
    ),
    st.just(REFERENCE),
)


def containers(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(
        st.fixed_dictionaries(
            {"type": st.just("array"), "items": inner},
            optional={"minItems": st.integers(0, 2), "maxItems": st.integers(1, 3), "uniqueItems": st.booleans()},
        ),
        st.builds(
            lambda items, least, most: {
                "type": "array",
                "prefixItems": items,
                "minItems": min(least, len(items)),
                **({"maxItems": len(items)} if most else {}),
            },
            st.lists(inner, min_size=1, max_size=3),
            st.integers(0, 3),
            st.booleans(),
        ),
        st.fixed_dictionaries(
            {"type": st.just("object"), "additionalProperties": inner},
            optional={"minProperties": st.integers(0, 1), "propertyNames": st.just({"maxLength": 3})},
        ),
        st.builds(
            lambda fields, needed, closed: {
                "type": "object",
                "properties": fields,
                "required": sorted(needed & {*fields}),
                **({"additionalProperties": False} if closed else {}),
            },
            st.dictionaries(st.sampled_from(NAMES), inner, max_size=3),
            st.sets(st.sampled_from(NAMES)),
            st.booleans(),
        ),
        st.builds(lambda items: {"anyOf": items}, st.lists(inner, min_size=1, max_size=3)),
    )


SCHEMAS: Final = st.recursive(SCALARS, containers, max_leaves=5)
RECORDS: Final = st.builds(
    lambda fields, needed: {"type": "object", "properties": fields, "required": sorted(needed & {*fields})},
    st.dictionaries(st.sampled_from(NAMES), SCALARS, min_size=1, max_size=3),
    st.sets(st.sampled_from(NAMES)),
)
NODES: Final = st.builds(
    lambda fields, needed: {
        "type": "object",
        "properties": {**fields, "next": {"anyOf": [REFERENCE, {"type": "null"}]}},
        "required": sorted(needed & {*fields}),
    },
    st.dictionaries(st.sampled_from(NAMES), SCALARS.filter(lambda item: item != REFERENCE), max_size=2),
    st.sets(st.sampled_from(NAMES)),
)


@st.composite
def edited(draw: st.DrawFn, schema: Any) -> Any:
    """The schema after one to three changes anywhere inside of it."""
    schema = copy.deepcopy(schema)
    for _ in range(draw(st.integers(1, 3))):
        spots = [schema, *spots_in(schema)]
        spot = draw(st.sampled_from(spots))
        edit(draw, spot)
    return schema


def spots_in(schema: Any) -> list[Any]:
    found = [schema[word] for word in ("items", "additionalProperties") if isinstance(schema.get(word), dict)]
    for word in ("anyOf", "prefixItems"):
        found += schema.get(word, [])
    found += schema.get("properties", {}).values()
    return [*found, *(deeper for item in found for deeper in spots_in(item))]


def edit(draw: st.DrawFn, spot: Any) -> None:
    possible = ["null", "other"]
    possible += ["needed"] * (spot.get("type") == "object")
    if "properties" in spot:
        possible += ["field", "close", *(["unfield", "need", "need"] if spot["properties"] else [])]
    possible += ["bound"] * any(word in spot for word in BOUNDS)
    possible += ["value"] * ("enum" in spot) + ["item"] * ("prefixItems" in spot)
    kind = draw(st.sampled_from(possible))
    if kind == "field":
        spot["properties"][draw(st.sampled_from(NAMES))] = draw(SCALARS)
    elif kind == "needed":
        name = draw(st.sampled_from(NAMES))
        spot.setdefault("properties", {})[name] = draw(SCALARS)
        spot["required"] = sorted({*spot.get("required", ()), name})
    elif kind == "unfield":
        spot["properties"].pop(draw(st.sampled_from(sorted(spot["properties"]))))
    elif kind == "need":
        spot["required"] = draw(st.lists(st.sampled_from(sorted(spot["properties"])), unique=True))
    elif kind == "bound":
        for word in BOUNDS:
            if word in spot:
                spot[word] += draw(st.integers(-1, 1)) if spot[word] else 1
    elif kind == "value":
        spot["enum"] = draw(st.lists(st.sampled_from([*spot["enum"], *WORDS]), min_size=1, unique_by=repr))
    elif kind == "close":
        spot["additionalProperties"] = draw(st.sampled_from([True, False, {"type": "integer"}]))
    elif kind == "item":
        spot["prefixItems"].append(draw(SCALARS))
    else:
        was = dict(spot)
        spot.clear()
        spot.update({"anyOf": [was, {"type": "null"}]} if kind == "null" else draw(SCALARS))


@st.composite
def values(draw: st.DrawFn, schema: Any, definitions: dict[str, Any], depth: int = 0) -> Any:
    """A value that fits a schema, with no fields but those that it names."""
    assume(depth < 6)
    if "$ref" in schema:
        return draw(values(definitions["Node"], definitions, depth + 1))
    if "enum" in schema:
        return draw(st.sampled_from(schema["enum"]))
    if "anyOf" in schema:
        options = schema["anyOf"]
        chosen = options[-1] if depth > 3 else draw(st.sampled_from(options))
        return draw(values(chosen, definitions, depth + 1))
    match schema.get("type"):
        case "null":
            return None
        case "boolean":
            return draw(st.booleans())
        case "integer":
            return draw(st.integers(-4, 6))
        case "number":
            return draw(st.integers(-4, 6) | st.sampled_from([0.5, 2.5]))
        case "string":
            return draw(st.sampled_from(WORDS))
        case "array":
            first = schema.get("prefixItems", [])
            count = draw(st.integers(schema.get("minItems", 0), max(schema.get("minItems", 0), 3)))
            rest = schema.get("items", {})
            return [
                draw(values(first[index] if index < len(first) else rest, definitions, depth + 1))
                for index in range(count)
            ]
        case "object":
            return draw(objects(schema, definitions, depth))
    return draw(st.sampled_from([None, 1, "x", [], {}]))


@st.composite
def objects(draw: st.DrawFn, schema: Any, definitions: dict[str, Any], depth: int) -> Any:
    if "properties" not in schema:
        others = schema.get("additionalProperties", True)
        names = draw(st.sets(st.sampled_from(NAMES), max_size=2))
        return {name: draw(values({} if others is True else others, definitions, depth + 1)) for name in names}
    named = [
        name
        for name in schema["properties"]
        if name in schema.get("required", ()) or (depth < 4 and draw(st.booleans()))
    ]
    return {name: draw(values(schema["properties"][name], definitions, depth + 1)) for name in named}


def whole(schema: Any, definitions: dict[str, Any]) -> Draft202012Validator:
    return Draft202012Validator({**schema, "$defs": definitions})


@settings(max_examples=40)
@given(SCHEMAS, NODES)
def test_a_schema_compared_with_itself_has_no_change(schema: Any, node: Any) -> None:
    for mode in MODES:
        comparison = SchemaComparison({"Node": node}, {"Node": node}, mode)
        comparison.compare(schema, copy.deepcopy(schema), "it")
        assert comparison.changes == []


@settings(max_examples=200)
@given(st.data())
def test_what_breaks_nobody_breaks_nobody(data: st.DataObject) -> None:
    schema, node = data.draw(st.one_of(RECORDS, SCHEMAS)), data.draw(NODES)
    other, other_node = data.draw(edited(schema)), data.draw(st.one_of(st.just(node), edited(node)))
    if data.draw(st.booleans()):
        schema, node, other, other_node = other, other_node, schema, node
    mode = data.draw(st.sampled_from(MODES))
    comparison = SchemaComparison({"Node": node}, {"Node": other_node}, mode)
    comparison.compare(schema, other, "it")
    if any(change.breaking for change in comparison.changes):
        return
    sent, read = ((schema, node), (other, other_node)) if mode == "input" else ((other, other_node), (schema, node))
    value = data.draw(values(sent[0], {"Node": sent[1]}))
    assume(whole(sent[0], {"Node": sent[1]}).is_valid(value))
    whole(read[0], {"Node": read[1]}).validate(value)


@settings(max_examples=40)
@given(SCHEMAS, st.dictionaries(st.sampled_from(NAMES), SCHEMAS, max_size=3), NODES)
def test_an_optional_field_more_breaks_no_caller(added: Any, fields: dict[str, Any], node: Any) -> None:
    old = {"type": "object", "properties": fields, "required": sorted(fields)}
    new = {**old, "properties": {**fields, "added": added}}
    comparison = SchemaComparison({"Node": node}, {"Node": node}, "input")
    comparison.compare(old, new, "it")
    assert comparison.changes == [("it.added", "is new", False)]


@settings(max_examples=40)
@given(SCHEMAS, st.dictionaries(st.sampled_from(NAMES), SCHEMAS, max_size=3), NODES)
def test_a_required_parameter_more_breaks_callers_and_a_field_less_breaks_readers(
    added: Any, fields: dict[str, Any], node: Any
) -> None:
    old = {"type": "object", "properties": fields, "required": sorted(fields)}
    new = {**old, "properties": {**fields, "added": added}, "required": [*sorted(fields), "added"]}
    comparison = SchemaComparison({"Node": node}, {"Node": node}, "input")
    comparison.compare(old, new, "it")
    assert comparison.changes == [("it.added", "is new and required", True)]
    comparison = SchemaComparison({"Node": node}, {"Node": node}, "output")
    comparison.compare(new, old, "it")
    assert comparison.changes == [("it.added", "is gone", True)]


@settings(max_examples=40)
@given(st.data())
def test_a_value_that_is_gone_breaks_callers_and_one_more_breaks_readers(data: st.DataObject) -> None:
    known = data.draw(st.lists(st.sampled_from(WORDS), min_size=2, unique=True))
    fewer = known[1:]
    for mode, old, new in zip(MODES, (known, fewer), (fewer, known), strict=True):
        comparison = SchemaComparison({}, {}, mode)
        comparison.compare({"enum": old}, {"enum": new}, "it")
        assert [change.breaking for change in comparison.changes] == [True]
