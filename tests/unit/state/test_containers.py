"""Lists, dictionaries and sets: their whole API is tracked, and a refused value changes nothing."""

from __future__ import annotations

import copy
import enum
import json
import pickle
import uuid
from collections import Counter, OrderedDict, UserList, defaultdict, deque
from collections.abc import Callable
from datetime import date
from typing import Any

import msgspec
import pytest

from zocket.errors import StaleReferenceError, StateValueError
from zocket.state import Document

Turn = Callable[..., list[dict[str, Any]]]
NAN = float("nan")


class Color(enum.Enum):
    RED = "red"
    ONE = 1


class Level(enum.IntEnum):
    LOW = 1


def lists(values: list[Any]) -> Document[Any]:
    return Document({"l": values})


LIST_CHANGES: dict[str, Callable[[Any], object]] = {
    "append": lambda x: x.append(9),
    "extend": lambda x: x.extend(iter([8, 9])),
    "extend itself": lambda x: x.extend(x),
    "insert front": lambda x: x.insert(0, 9),
    "insert negative": lambda x: x.insert(-1, 9),
    "insert far": lambda x: x.insert(99, 9),
    "insert far before": lambda x: x.insert(-99, 9),
    "pop": lambda x: x.pop(),
    "pop first": lambda x: x.pop(0),
    "pop negative": lambda x: x.pop(-2),
    "pop twice": lambda x: (x.pop(), x.pop()),
    "remove": lambda x: x.remove(3),
    "clear": lambda x: x.clear(),
    "sort": lambda x: x.sort(),
    "sort by key": lambda x: x.sort(key=lambda v: -v, reverse=True),
    "reverse": lambda x: x.reverse(),
    "set": lambda x: x.__setitem__(1, 9),
    "set negative": lambda x: x.__setitem__(-1, 9),
    "set slice": lambda x: x.__setitem__(slice(1, 3), [7, 8, 9]),
    "set slice same size": lambda x: x.__setitem__(slice(1, 3), [7, 8]),
    "set slice backwards": lambda x: x.__setitem__(slice(3, 1), [7]),
    "set to itself": lambda x: x.__setitem__(slice(None), x),
    "set step": lambda x: x.__setitem__(slice(None, None, 2), [7, 8, 9]),
    "set step backwards": lambda x: x.__setitem__(slice(None, None, -2), [7, 8, 9]),
    "del": lambda x: x.__delitem__(1),
    "del slice": lambda x: x.__delitem__(slice(1, 3)),
    "del step": lambda x: x.__delitem__(slice(None, None, 2)),
    "del step backwards": lambda x: x.__delitem__(slice(None, None, -2)),
    "del nothing": lambda x: x.__delitem__(slice(2, 2)),
    "iadd": lambda x: x.__iadd__((8, 9)),
    "imul": lambda x: x.__imul__(2),
    "imul none": lambda x: x.__imul__(0),
    "rotate": lambda x: x.insert(0, x.pop()),
    "pop and set": lambda x: (x.pop(), x.__setitem__(0, 5), x.pop(), x.append(0)),
    "grow and shrink": lambda x: (x.append(1), x.append(2), x.pop(), x.pop(), x.pop()),
}


@pytest.mark.parametrize("name", LIST_CHANGES)
def test_a_list_does_what_list_does_and_tells_it(name: str, turn: Turn) -> None:
    change, plain = LIST_CHANGES[name], [3, 1, 2, 5, 4]
    document = lists(plain)
    turn(document, lambda state: change(state["l"]))
    expected = [3, 1, 2, 5, 4]
    change(expected)
    assert document.state["l"] == expected
    assert plain == [3, 1, 2, 5, 4], "the object handed in is left alone"


@pytest.mark.parametrize("name", LIST_CHANGES)
def test_every_change_of_a_list_is_undone(name: str, undone: Callable[..., None]) -> None:
    undone(lists([3, 1, 2, 5, 4]), lambda state: LIST_CHANGES[name](state["l"]))


LIST_MISTAKES: dict[str, tuple[type[Exception], Callable[[Any], object]]] = {
    "pop empty": (IndexError, lambda x: (x.clear(), x.pop())),
    "pop far": (IndexError, lambda x: x.pop(7)),
    "set far": (IndexError, lambda x: x.__setitem__(7, 1)),
    "del far": (IndexError, lambda x: x.__delitem__(-7)),
    "remove absent": (ValueError, lambda x: x.remove(99)),
    "step size": (ValueError, lambda x: x.__setitem__(slice(None, None, 2), [1])),
    "text index": (TypeError, lambda x: x.__setitem__("a", 1)),
    "sort mixed": (TypeError, lambda x: (x.append("a"), x.sort())),
    "append nan": (StateValueError, lambda x: x.append(NAN)),
    "insert nan": (StateValueError, lambda x: x.insert(0, NAN)),
    "extend nan": (StateValueError, lambda x: x.extend([1, NAN])),
    "slice nan": (StateValueError, lambda x: x.__setitem__(slice(0, 1), [1, NAN])),
    "set nan": (StateValueError, lambda x: x.__setitem__(0, [[NAN]])),
}


@pytest.mark.parametrize("name", LIST_MISTAKES)
def test_a_mistake_leaves_the_list_as_it_was(name: str) -> None:
    error, change = LIST_MISTAKES[name]
    document = lists([3, 1, 2])
    document.begin()
    with pytest.raises(error):
        change(document.state["l"])
    if name not in ("pop empty", "sort mixed"):
        assert document.state["l"] == [3, 1, 2]
        assert document.commit() is None
    else:
        document.rollback()
        assert document.state["l"] == [3, 1, 2]


def test_a_comparison_that_raises_while_sorting_leaves_the_order() -> None:
    document = lists([3, 1, 2])
    document.begin()
    with pytest.raises(ZeroDivisionError):
        document.state["l"].sort(key=lambda value: 1 // (value - 1))
    assert document.state["l"] == [3, 1, 2]
    assert document.commit() is None


DICT_CHANGES: dict[str, Callable[[Any], object]] = {
    "set": lambda x: x.__setitem__("a", 9),
    "add": lambda x: x.__setitem__("z", 9),
    "del": lambda x: x.__delitem__("a"),
    "pop": lambda x: x.pop("b"),
    "pop absent": lambda x: x.pop("y", None),
    "popitem": lambda x: x.popitem(),
    "clear": lambda x: x.clear(),
    "setdefault": lambda x: (x.setdefault("a", 5), x.setdefault("n", 5), x.setdefault("none")),
    "update": lambda x: x.update({"a": 5, "n": 6}, m=7),
    "update pairs": lambda x: x.update([("a", 5)]),
    "update nothing": lambda x: x.update(),
    "ior": lambda x: x.__ior__({"n": 6}),
    "readd": lambda x: x.__setitem__("a", x.pop("a")),
    "readd differently": lambda x: (x.pop("a"), x.__setitem__("a", 7)),
    "odd keys": lambda x: x.update({"": 1, "~": 2, "/": 3, "~1": 4, '"': 5, "\\": 6, "ü": 7, "\n": 8, " ": 9, "0": 10}),
}


@pytest.mark.parametrize("name", DICT_CHANGES)
def test_a_dictionary_does_what_dict_does_and_tells_it(name: str, turn: Turn) -> None:
    expected = {"a": 1, "b": 2, "c": 3}
    document: Document[Any] = Document({"d": dict(expected)})
    turn(document, lambda state: DICT_CHANGES[name](state["d"]))
    DICT_CHANGES[name](expected)
    assert document.state["d"] == expected
    assert list(document.state["d"]) == list(expected)


@pytest.mark.parametrize("name", DICT_CHANGES)
def test_every_change_of_a_dictionary_is_undone_with_its_order(name: str, undone: Callable[..., None]) -> None:
    undone(Document({"d": {"a": 1, "b": 2, "c": 3}}), lambda state: DICT_CHANGES[name](state["d"]))


def test_a_key_that_is_removed_and_added_again_is_no_change(turn: Turn) -> None:
    document: Document[Any] = Document({"d": {"a": [1], "b": 2}})
    assert turn(document, lambda state: state["d"].update(a=state["d"].pop("a"))) == []
    assert turn(document, lambda state: (state["d"].pop("a"), state["d"].update(a=[1]))) == []


@pytest.mark.parametrize(
    ("key", "text"),
    [
        (1, "1"),
        (-7, "-7"),
        (Color.RED, "red"),
        (Color.ONE, "1"),
        (Level.LOW, "1"),
        (uuid.UUID(int=5), str(uuid.UUID(int=5))),
        (date(2026, 1, 2), "2026-01-02"),
    ],
)
def test_a_key_is_written_as_json_has_it(key: Any, text: str, turn: Turn) -> None:
    document: Document[Any] = Document({})
    assert turn(document, lambda state: state.update({key: 1})) == [{"op": "add", "path": "/" + text, "value": 1}]
    assert turn(document, lambda state: state.pop(key)) == [{"op": "remove", "path": "/" + text}]


@pytest.mark.parametrize(
    "key", [True, None, 1.5, b"x", (1,), frozenset(), "\ud800", "__proto__", "constructor", "prototype"]
)
def test_a_key_that_json_must_not_have_is_refused(key: Any) -> None:
    document: Document[Any] = Document({"d": {}})
    document.begin()
    changes: list[Callable[[Any], object]] = [
        lambda d: d.__setitem__(key, 1),
        lambda d: d.setdefault(key, 1),
        lambda d: d.update({"ok": 1, key: 1}),
        lambda d: d.__ior__({key: 1}),
        lambda d: d.update(inner={key: 1}),
    ]
    for change in changes:
        with pytest.raises(StateValueError):
            change(document.state["d"])
        assert document.state["d"] == {}
    assert document.commit() is None
    with pytest.raises(StateValueError):
        Document({"d": {key: 1}})


@pytest.mark.parametrize(
    ("first", "second"), [(1, "1"), ("1", 1), (Color.RED, "red"), ("red", Color.RED), (Color.ONE, 1)]
)
def test_keys_that_are_the_same_in_json_are_refused(first: Any, second: Any, turn: Turn) -> None:
    document: Document[Any] = Document({"d": {first: 1}})
    document.begin()
    with pytest.raises(StateValueError, match="same in JSON"):
        document.state["d"][second] = 2
    with pytest.raises(StateValueError, match="same in JSON"):
        document.state["d"].update({second: 2})
    assert document.state["d"] == {first: 1}
    assert document.commit() is None
    with pytest.raises(StateValueError, match="same in JSON"):
        Document({"d": {first: 1, second: 2}})
    turn(document, lambda state: (state["d"].pop(first), state["d"].update({second: 2})))
    assert document.state["d"] == {second: 2}


def test_a_rolled_back_key_does_not_block_its_name(turn: Turn) -> None:
    document: Document[Any] = Document({"d": {}})
    document.begin()
    document.state["d"][1] = 1
    document.rollback()
    turn(document, lambda state: state["d"].update({"1": 1}))
    document.begin()
    with pytest.raises(StateValueError):
        document.state["d"][1] = 1
    document.rollback()


SET_CHANGES: dict[str, Callable[[Any], object]] = {
    "add": lambda x: x.add(9),
    "discard": lambda x: x.discard(1),
    "remove": lambda x: x.remove(1),
    "pop": lambda x: x.pop(),
    "clear": lambda x: x.clear(),
    "update": lambda x: x.update([7, 8], {9}),
    "difference_update": lambda x: x.difference_update([1], [2]),
    "intersection_update": lambda x: x.intersection_update([1]),
    "symmetric_difference_update": lambda x: x.symmetric_difference_update([1, 9]),
    "ior": lambda x: x.__ior__({9}),
    "iand": lambda x: x.__iand__({1}),
    "isub": lambda x: x.__isub__({1}),
    "ixor": lambda x: x.__ixor__({1, 9}),
}


@pytest.mark.parametrize("name", SET_CHANGES)
def test_a_set_does_what_set_does_and_is_told_as_a_whole(name: str, turn: Turn, undone: Callable[..., None]) -> None:
    expected = {1, 2, 3}
    document: Document[Any] = Document({"s": set(expected)})
    undone(document, lambda state: SET_CHANGES[name](state["s"]))
    operations = turn(document, lambda state: SET_CHANGES[name](state["s"]))
    SET_CHANGES[name](expected)
    assert document.state["s"] == expected if name != "pop" else len(document.state["s"]) == 2
    assert [operation["path"] for operation in operations] == ["/s"]


def test_a_set_that_is_the_same_again_is_no_change(turn: Turn) -> None:
    document: Document[Any] = Document({"s": {1}})
    assert turn(document, lambda state: (state["s"].add(2), state["s"].remove(2))) == []


@pytest.mark.parametrize("value", [NAN, "\ud800", (1, [2])])
def test_a_set_refuses_what_could_change_or_cannot_be_json(value: Any) -> None:
    document: Document[Any] = Document({"s": {1}})
    document.begin()
    with pytest.raises((StateValueError, TypeError)):
        document.state["s"].add(value)
    assert document.state["s"] == {1}
    assert document.commit() is None


def test_the_operators_of_set_take_only_sets() -> None:
    document: Document[Any] = Document({"s": {1}})
    document.begin()
    with pytest.raises(TypeError):
        document.state["s"] |= [2]
    document.rollback()


def test_parts_of_tuples_are_tracked(turn: Turn, undone: Callable[..., None]) -> None:
    document: Document[Any] = Document({"t": (1, [2], ({"a": 1},)), "l": [([0],)]})
    undone(document, lambda state: state["t"][1].append(3))
    assert turn(document, lambda state: state["t"][1].append(3)) == [
        {"op": "replace", "path": "/t", "value": [1, [2, 3], [{"a": 1}]]}
    ]
    assert turn(document, lambda state: state["t"][2][0].update(a=2))[0]["path"] == "/t"
    assert turn(document, lambda state: state["l"][0][0].append(1))[0]["path"] == "/l/0"


def test_a_defaultdict_stays_one(turn: Turn) -> None:
    document: Document[Any] = Document({"d": defaultdict(list)})
    assert turn(document, lambda state: state["d"]["a"].append(1)) == [{"op": "add", "path": "/d/a", "value": [1]}]
    plain = copy.deepcopy(document.state["d"])
    assert (type(plain), plain, plain.default_factory) == (defaultdict, {"a": [1]}, list)
    with pytest.raises(StaleReferenceError):
        document.state["d"]["absent"]
    assert pickle.loads(pickle.dumps(document.state["d"])) == {"a": [1]}


@pytest.mark.parametrize(
    "value", [deque([1]), Counter("a"), UserList([1]), bytearray(b"a"), object(), lambda: 1, iter([])]
)
def test_what_could_change_unnoticed_is_refused_with_its_pointer(value: Any) -> None:
    document: Document[Any] = Document({"a": [{}]})
    document.begin()
    with pytest.raises(StateValueError, match="/a/0/k/0") as caught:
        document.state["a"][0]["k"] = [value]
    assert caught.value.data == {"pointer": "/a/0/k/0"}
    assert document.commit() is None
    with pytest.raises(StateValueError, match="/a/0"):
        Document({"a": [value]})


def test_an_ordered_dictionary_becomes_a_dictionary() -> None:
    assert Document({"o": OrderedDict(a=1)}).state["o"] == {"a": 1}


def test_copies_are_plain_and_independent() -> None:
    document: Document[Any] = Document({"l": [{"a": {1}}], "t": ([],)})
    for plain in (copy.deepcopy(document.state), pickle.loads(pickle.dumps(document.state))):
        assert plain == document.state
        plain["l"][0]["a"].add(2)
        plain["l"].append(1)
        plain["t"][0].append(1)
        assert [type(plain), type(plain["l"]), type(plain["l"][0]), type(plain["l"][0]["a"])] == [dict, list, dict, set]
    assert document.state == {"l": [{"a": {1}}], "t": ([],)}
    state = document.state
    for shallow in (
        copy.copy(state["l"]),
        state["l"].copy(),
        state["l"][:],
        state["l"] + [],
        type(state["l"])(state["l"]),
    ):
        assert type(shallow) is list
    for shallow in (copy.copy(state), state.copy(), state | {}, type(state)(state), state.fromkeys(state)):
        assert type(shallow) is dict


def test_other_encoders_take_tracked_parts_as_plain_ones() -> None:
    document: Document[Any] = Document({"l": [1, {"a": 2}]})
    plain = {"l": [1, {"a": 2}]}
    assert json.loads(json.dumps(document.state)) == plain
    assert msgspec.json.decode(msgspec.json.encode(document.state)) == plain
    assert msgspec.to_builtins(document.state) == plain
    assert repr(document.state) == repr(plain)
    assert repr(Document({"s": {1}}).state) == "{'s': {1}}"


def test_equality_goes_both_ways() -> None:
    document: Document[Any] = Document({"l": [1, {"a": 2}], "s": {1}})
    plain = {"l": [1, {"a": 2}], "s": {1}}
    assert document.state == plain
    assert plain == document.state
    assert {"a": 2} in document.state["l"]
    assert document.state["l"][1] in [{"a": 2}]
    assert document.state["l"].index({"a": 2}) == 1
    assert document.state["l"].count({"a": 2}) == 1
