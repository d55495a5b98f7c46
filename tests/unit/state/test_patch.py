"""Applying RFC 6902 operations to plain JSON, sharing what they do not touch."""

from __future__ import annotations

import copy
from typing import Any

import jsonpatch
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zocket.errors import PatchError
from zocket.state import apply

DOCUMENT = {"a": {"b": [1, {"c": 2}], "~/": 0}, "l": [1, 2, 3], "n": None, "t": True}

GOOD: list[tuple[list[dict[str, Any]], Any]] = [
    ([{"op": "add", "path": "/x", "value": 1}], {**DOCUMENT, "x": 1}),
    ([{"op": "add", "path": "/l/1", "value": 9}], {**DOCUMENT, "l": [1, 9, 2, 3]}),
    ([{"op": "add", "path": "/l/3", "value": 9}], {**DOCUMENT, "l": [1, 2, 3, 9]}),
    ([{"op": "add", "path": "/l/-", "value": 9}], {**DOCUMENT, "l": [1, 2, 3, 9]}),
    ([{"op": "add", "path": "", "value": 9}], 9),
    ([{"op": "replace", "path": "", "value": 9}], 9),
    ([{"op": "replace", "path": "/a/~0~1", "value": 9}], {**DOCUMENT, "a": {"b": [1, {"c": 2}], "~/": 9}}),
    ([{"op": "remove", "path": "/l/0"}, {"op": "remove", "path": "/l/0"}], {**DOCUMENT, "l": [3]}),
    ([{"op": "move", "from": "/l/0", "path": "/l/2"}], {**DOCUMENT, "l": [2, 3, 1]}),
    ([{"op": "move", "from": "/l", "path": "/l"}], DOCUMENT),
    ([{"op": "copy", "from": "/l", "path": "/m"}, {"op": "remove", "path": "/m/0"}], {**DOCUMENT, "m": [2, 3]}),
    ([{"op": "test", "path": "/l", "value": [1, 2.0, 3]}], DOCUMENT),
    ([], DOCUMENT),
]  # fmt: skip

BAD: list[dict[str, Any]] = [
    {"op": "add", "path": "/x/y", "value": 1},
    {"op": "add", "path": "/l/4", "value": 1},
    {"op": "add", "path": "/l/01", "value": 1},
    {"op": "add", "path": "/l/a", "value": 1},
    {"op": "add", "path": "/n/a", "value": 1},
    {"op": "add", "path": "/x"},
    {"op": "add", "value": 1},
    {"op": "add", "path": 3, "value": 1},
    {"op": "replace", "path": "/x", "value": 1},
    {"op": "replace", "path": "/l/3", "value": 1},
    {"op": "replace", "path": "/l/-", "value": 1},
    {"op": "remove", "path": "/x"},
    {"op": "remove", "path": ""},
    {"op": "remove", "path": "/l/3"},
    {"op": "move", "from": "/a", "path": "/a/b/0"},
    {"op": "move", "from": "/x", "path": "/y"},
    {"op": "move", "path": "/y"},
    {"op": "copy", "from": "/x", "path": "/y"},
    {"op": "test", "path": "/t", "value": 1},
    {"op": "test", "path": "/l", "value": [1, 2]},
    {"op": "test", "path": "/a", "value": {"b": 1}},
    {"op": "nothing", "path": "/l"},
    {"path": "/l"},
    [],  # type: ignore[list-item]
]


@pytest.mark.parametrize(("operations", "expected"), GOOD)
def test_operations_do_what_the_rfc_says(operations: list[dict[str, Any]], expected: Any) -> None:
    before = copy.deepcopy(DOCUMENT)
    assert apply(DOCUMENT, operations) == expected
    assert before == DOCUMENT, "the document handed in stays"


@pytest.mark.parametrize("operation", BAD, ids=str)
def test_what_does_not_fit_is_refused_as_a_whole(operation: dict[str, Any]) -> None:
    before = copy.deepcopy(DOCUMENT)
    with pytest.raises(PatchError):
        apply(DOCUMENT, [{"op": "add", "path": "/z", "value": 1}, operation])
    assert before == DOCUMENT


def test_unchanged_parts_keep_their_identity() -> None:
    after = apply(
        DOCUMENT, [{"op": "replace", "path": "/a/b/0", "value": 5}, {"op": "add", "path": "/a/b/2", "value": 6}]
    )
    assert after["l"] is DOCUMENT["l"]
    assert after["a"]["b"][1] is DOCUMENT["a"]["b"][1]  # type: ignore[index, call-overload]
    assert after["a"] is not DOCUMENT["a"]


def test_a_value_is_not_changed_by_later_operations_inside_it() -> None:
    value: dict[str, Any] = {"x": []}
    operations: list[dict[str, Any]] = [{"op": "add", "path": "/v", "value": value}]
    operations.append({"op": "add", "path": "/v/x/0", "value": 1})
    assert apply({}, operations) == {"v": {"x": [1]}}
    assert value == {"x": []}


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-2, 2), st.sampled_from(["", "a", "/~"])),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(["a", "", "/", "0"]), inner)),
    max_leaves=12,
)


@given(JSON, JSON)
def test_operations_by_another_library_are_applied_as_it_does(before: Any, after: Any) -> None:
    if isinstance(before, (list, dict)) and isinstance(after, type(before)):
        operations: Any = jsonpatch.make_patch(before, after).patch
        # Its differences with moves are not always valid, not even to itself.
        if any(operation["op"] == "move" for operation in operations):
            return
        assert apply(before, operations) == jsonpatch.apply_patch(before, operations)
