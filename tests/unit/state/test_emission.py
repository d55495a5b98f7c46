"""The exact operations: minimal, and the same to an existing client as under RFC 6902."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from pydantic import BaseModel

from zocket.state import Document

Turn = Callable[..., list[dict[str, Any]]]
WORD = "a text that is long enough to make replacing the whole list the longer way"


def of(values: list[Any]) -> Document[Any]:
    return Document({"l": values})


EXACT: dict[str, tuple[Callable[[Any], object], list[dict[str, Any]]]] = {
    "append": (lambda x: x.append(1), [{"op": "add", "path": "/l/3", "value": 1}]),
    "append two": (
        lambda x: x.extend([1, 2]),
        [{"op": "add", "path": "/l/3", "value": 1}, {"op": "add", "path": "/l/4", "value": 2}],
    ),
    "pop": (lambda x: x.pop(), [{"op": "remove", "path": "/l/2"}]),
    "pop two": (lambda x: (x.pop(), x.pop()), [{"op": "remove", "path": "/l/2"}, {"op": "remove", "path": "/l/1"}]),
    "set": (lambda x: x.__setitem__(1, 0), [{"op": "replace", "path": "/l/1", "value": 0}]),
    "insert before the last": (
        lambda x: x.insert(2, 0),
        [{"op": "replace", "path": "/l/2", "value": 0}, {"op": "add", "path": "/l/3", "value": WORD + "2"}],
    ),
    "insert and pop": (lambda x: (x.insert(0, 5), x.pop(0)), []),
    "append and pop": (lambda x: (x.append(5), x.pop()), []),
    "reverse twice": (lambda x: (x.reverse(), x.reverse()), []),
    "set equal": (lambda x: x.__setitem__(0, WORD + "0"), []),
    "true is not one": (
        lambda x: (x.__setitem__(0, 1), x.__setitem__(0, True)),
        [{"op": "replace", "path": "/l/0", "value": True}],
    ),
}


@pytest.mark.parametrize("name", EXACT)
def test_changes_of_a_list_are_told_at_its_end_or_in_place(name: str, turn: Turn) -> None:
    change, expected = EXACT[name]
    assert turn(of([WORD + str(i) for i in range(3)]), lambda state: change(state["l"])) == expected


def test_the_shorter_of_script_and_whole_is_told(turn: Turn) -> None:
    assert turn(of([1, 2, 3]), lambda state: state["l"].insert(0, 0)) == [
        {"op": "replace", "path": "/l", "value": [0, 1, 2, 3]}
    ]
    assert turn(of(list(range(5))), lambda state: state["l"].clear()) == [{"op": "replace", "path": "/l", "value": []}]
    document: Document[Any] = Document({"d": {"a": 1, "b": 2, "c": WORD}})
    assert turn(document, lambda state: state["d"].update(a=2, b=3))[0]["path"] == "/d/a"
    assert turn(document, lambda state: state["d"].update(a=3, b=4, c=""))[0]["path"] == "/d"
    assert turn(document, lambda state: state["d"].clear()) == [{"op": "replace", "path": "/d", "value": {}}]


@pytest.mark.parametrize("size", [0, 1, 2, 3, 5, 8, 13])
def test_neither_way_is_longer_than_the_other_by_much(size: int, turn: Turn) -> None:
    for change in (
        lambda values: values.insert(size // 2, "new"),
        lambda values: values.sort(reverse=True),
        lambda values: (values.clear(), values.extend("xy")),
    ):
        document = of(["v" * (i * 7 % 20) for i in range(size)])
        operations = turn(document, lambda state, change=change: change(state["l"]))
        whole = [{"op": "replace", "path": "/l", "value": json.loads(document.snapshot())["l"]}]
        assert len(_text(operations)) <= len(_text(whole)) + 3


def _text(operations: Any) -> str:
    return json.dumps(operations, separators=(",", ":"))


def test_the_root_is_never_replaced_as_a_whole(turn: Turn) -> None:
    document: Document[Any] = Document([1, 2, 3])
    assert turn(document, lambda state: state.clear()) == [{"op": "remove", "path": f"/{i}"} for i in (2, 1, 0)]
    assert turn(document, lambda state: state.extend([1, 2])) == [
        {"op": "add", "path": "/0", "value": 1},
        {"op": "add", "path": "/1", "value": 2},
    ]
    assert turn(document, lambda state: state.insert(0, 0))[0] == {"op": "replace", "path": "/0", "value": 0}


def test_a_whole_value_silences_the_changes_inside_it(turn: Turn) -> None:
    document: Document[Any] = Document({"a": {"b": [1]}, "x": 0})

    def change(state: Any) -> None:
        inner = state["a"]["b"]
        inner.append(2)
        state["a"] = {"b": state["a"].pop("b"), "new": True}
        inner.append(3)

    assert turn(document, change) == [{"op": "replace", "path": "/a", "value": {"b": [1, 2, 3], "new": True}}]


def test_changes_of_several_parts_are_told_once_each(turn: Turn) -> None:
    document: Document[Any] = Document({"a": {"b": {"c": 1}}, "n": 0})

    def change(state: Any) -> None:
        state["a"]["b"]["c"] = 2
        state["a"]["new"] = 1
        state["n"] = 1

    assert sorted(operation["path"] for operation in turn(document, change)) == ["/a/b/c", "/a/new", "/n"]


def test_keys_are_escaped_and_indexes_are_numbers(turn: Turn) -> None:
    document: Document[Any] = Document({"/": {"~": [{"": {}}]}})
    assert turn(document, lambda state: state["/"]["~"][0][""].update({"~1/": 1})) == [
        {"op": "add", "path": "/~1/~0/0//~01~1", "value": 1}
    ]


def test_an_equal_value_that_was_written_anew_is_no_change(turn: Turn) -> None:
    document: Document[Any] = Document({"a": {"x": [1, {"y": 2.0}], "s": {1}, "t": (1, [2])}, "f": 1.5})
    assert turn(document, lambda state: state.update(a={"t": (1, [2]), "s": {1}, "x": [1, {"y": 2.0}]}, f=1.5)) == []
    for different in ({"x": [1, {"y": 2}]}, {"x": [True, {"y": 2.0}]}, {"x": [1]}):
        fresh: Document[Any] = Document({"a": {"x": [1, {"y": 2.0}]}})
        assert len(turn(fresh, lambda state, different=different: state.update(a=different))) == 1


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (datetime(2026, 1, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, 2, tzinfo=timezone(timedelta(hours=1)))),
        (Decimal("1.0"), Decimal("1.00")),
        ((1, True), (True, 1)),
        (frozenset({1}), frozenset({True})),
        (1, 1.0),
        ("", None),
    ],
)
def test_values_that_are_equal_in_python_but_not_in_json_are_a_change(before: Any, after: Any, turn: Turn) -> None:
    document: Document[Any] = Document({"v": before, "l": [before], "s": {before}})
    assert len(turn(document, lambda state: state.update(v=after))) == 1
    assert len(turn(document, lambda state: state["l"].__setitem__(0, after))) == 1
    assert len(turn(document, lambda state: (state["s"].clear(), state["s"].add(after)))) == 1


def test_a_long_list_stays_cheap_to_append_to_and_costly_to_shift(turn: Turn) -> None:
    class Item(BaseModel):
        n: int

    document: Document[Any] = Document({"l": [Item(n=i) for i in range(500)]})
    assert len(turn(document, lambda state: state["l"].append(Item(n=1)))) == 1
    assert len(turn(document, lambda state: setattr(state["l"][250], "n", -1))) == 1
    assert [operation["path"] for operation in turn(document, lambda state: state["l"].insert(0, Item(n=5)))] == ["/l"]
    assert len(turn(document, lambda state: state["l"].insert(498, Item(n=5)))) == 5
