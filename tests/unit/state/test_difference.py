"""The operations between two encoded documents, as RFC 6902 and an existing client read them."""

from __future__ import annotations

import json
from typing import Any

import jsonpatch
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.property.test_state_turns import known_client, read
from zocket.state import apply, difference

LONG = 150 * "ü" + 150 * "\\"
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-2, 2)
    | st.sampled_from(["", "a", "ü/~", 0.5, LONG, LONG + '"\\', LONG + "ü"]),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["a", "b/c", "d~e", ""]), inner, max_size=3)
    ),
    max_leaves=12,
)


def written(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()


@settings(max_examples=200, deadline=None)
@given(VALUES, VALUES)
def test_the_operations_lead_from_the_one_to_the_other_for_every_reader(old: Any, new: Any) -> None:
    found = difference(written(old), written(new))
    if found is None:
        assert type(old) is not type(new) or not isinstance(new, (dict, list))
        return
    operations, appending = read(found), read(found, append=True)
    found_by = (jsonpatch.apply_patch(old, operations), known_client(old, operations), apply(old, appending), new)
    assert len({json.dumps(value, sort_keys=True) for value in found_by}) == 1


def between(old: Any, new: Any) -> Any:
    found = difference(written(old), written(new))
    return None if found is None else read(found)


def test_only_what_differs_is_told() -> None:
    cells = {f"c{number}": number for number in range(100)}
    board = {"cells": cells, "n": 1}
    assert between(board, board) == []
    assert between(board, {"cells": cells | {"c7": -1}, "n": 1}) == [
        {"op": "replace", "path": "/cells/c7", "value": -1}
    ]
    assert between({"a": [1, 2]}, {"a": [1, 2, 3]}) == [{"op": "add", "path": "/a/2", "value": 3}]
    assert between({"a": ["long text", 2, 3], "b": 1}, {"a": ["long text", 2]}) == [
        {"op": "remove", "path": "/b"},
        {"op": "remove", "path": "/a/2"},
    ]


def test_a_container_is_told_as_a_whole_where_that_is_shorter() -> None:
    assert between({"a": [1, 2, 3]}, {"a": [4, 5, 6]}) == [{"op": "replace", "path": "/a", "value": [4, 5, 6]}]
    assert between([1, 2], [3, 4]) == [
        {"op": "replace", "path": "/0", "value": 3},
        {"op": "replace", "path": "/1", "value": 4},
    ]


@pytest.mark.parametrize(("old", "new"), [([], {}), (1, 2), ({}, None), ("a", [])])
def test_the_document_itself_is_never_replaced(old: Any, new: Any) -> None:
    assert between(old, new) is None


def test_equal_documents_of_another_spelling_have_no_operations() -> None:
    assert between({"a": 1, "b": {"c": 1}}, {"b": {"c": 1}, "a": 1}) == []
    assert between(1, 1) == []
    assert between({"a": True}, {"a": 1}) == [{"op": "replace", "path": "/a", "value": 1}]
