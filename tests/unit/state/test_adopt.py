# mypy: disable-error-code="func-returns-value, prop-decorator"
"""Moving, copying and wrapping when a turn is committed."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import BaseModel

from zocket.errors import StateValueError
from zocket.state import Document

Turn = Callable[..., list[dict[str, Any]]]


class Item(BaseModel):
    n: int = 0
    tags: list[str] = []


class Room(BaseModel):
    items: list[Item] = []
    by: dict[str, Item] = {}
    best: Any = None
    free: Any = None


def room() -> Document[Room]:
    return Document(Room(items=[Item(n=i) for i in range(3)], by={"a": Item(n=7)}))


MOVES: dict[str, Callable[[Room], object]] = {
    "rotate": lambda s: s.items.insert(0, s.items.pop()),
    "swap in a list": lambda s: s.items.__setitem__(slice(0, 2), [s.items[1], s.items[0]]),
    "sort": lambda s: s.items.sort(key=lambda item: -item.n),
    "from list to field": lambda s: setattr(s, "best", s.items.pop(0)),
    "from dict to list": lambda s: s.items.append(s.by.pop("a")),
    "rename a key": lambda s: s.by.__setitem__("b", s.by.pop("a")),
    "filter": lambda s: setattr(s, "items", [item for item in s.items if item.n != 1]),
    "whole list elsewhere": lambda s: (setattr(s, "free", s.items), setattr(s, "items", [])),
    "list into a new list": lambda s: (setattr(s, "free", [s.items]), setattr(s, "items", [])),
    "swap two fields": lambda s: (setattr(s, "best", s.items[0]), s.items.__setitem__(0, s.by.pop("a"))),
}


@pytest.mark.parametrize("name", MOVES)
def test_what_was_taken_out_may_be_put_in_again_and_stays_itself(
    name: str, turn: Turn, undone: Callable[..., None]
) -> None:
    document = room()
    kept = {id(item): item for item in (*document.state.items, *document.state.by.values())}
    undone(document, MOVES[name])
    turn(document, MOVES[name])
    state = document.state
    now = [*state.items, *state.by.values()]
    now += [state.best] if state.best else []
    now += (state.free[0] if isinstance(state.free[0], list) else state.free) if state.free else []
    assert all(id(item) in kept for item in now), "no copies"
    for item in now:
        turn(document, lambda _state, item=item: item.tags.append("x"))


def test_moved_parts_take_their_changes_along(turn: Turn) -> None:
    document = room()

    def change(state: Room) -> None:
        item = state.items.pop()
        item.tags.append("before")
        state.best = item
        item.n = 99

    turn(document, change)
    assert document.state.best == Item(n=99, tags=["before"])


def test_a_change_inside_a_part_that_keeps_its_place_in_a_new_list_is_told(turn: Turn) -> None:
    document = room()

    def change(state: Room) -> None:
        state.items[1].n = 50
        state.items = list(state.items)

    assert turn(document, change) == [{"op": "replace", "path": "/items/1/n", "value": 50}]


def test_a_part_that_moves_to_where_its_like_was_is_not_told_to_change_there(turn: Turn) -> None:
    document: Document[Any] = Document([{}, {}, {"a": []}])

    def change(state: Any) -> None:
        state.pop(0)
        del state[1]["a"]

    assert turn(document, change) == [{"op": "remove", "path": "/2"}]
    inside: Document[Any] = Document({"x": {"l": [1], "n": 0}, "y": {"l": [1], "n": 1}})

    def swap(state: Any) -> None:
        state["x"], state["y"] = state["y"], state["x"]
        state["x"]["n"] = 0
        state["y"]["n"] = 1
        state["x"]["l"].append(2)

    turn(inside, swap)


def test_the_same_object_at_two_places_becomes_two(turn: Turn) -> None:
    document, item = room(), Item(n=5)

    def change(state: Room) -> None:
        state.items.extend([item, item])
        state.best = item
        state.free = {"first": state.items[0], "again": state.items[0]}
        item.n = 6

    turn(document, change)
    state = document.state
    assert state.items[3] == state.items[4] == state.best == Item(n=6)
    assert len({id(part) for part in (state.items[3], state.items[4], state.best, item)}) == 4
    assert state.free == {"first": Item(n=0), "again": Item(n=0)}
    assert turn(document, lambda state: setattr(state.items[0], "n", 8)) == [
        {"op": "replace", "path": "/items/0/n", "value": 8}
    ]
    assert turn(document, lambda state: setattr(state.free["again"], "n", 9))[0]["path"] == "/free/again/n"
    assert state.free["first"].n == 0


def test_a_part_of_another_document_is_copied(turn: Turn) -> None:
    one, other = room(), room()
    turn(other, lambda state: state.items.append(one.state.items[0]))
    turn(other, lambda state: setattr(state.items[-1], "n", 5))
    assert one.state.items[0].n == 0
    assert Document(one.state).state == one.state
    assert Document(one.state).state.items[0] is not one.state.items[0]


def test_a_part_whose_inside_was_taken_away_is_copied(turn: Turn) -> None:
    document = room()

    def change(state: Room) -> None:
        old = state.items
        state.items = [old[0]]
        state.free = old

    turn(document, change)
    state = document.state
    assert state.free == [Item(n=0), Item(n=1), Item(n=2)]
    assert state.free[0] is not state.items[0]
    turn(document, lambda state: setattr(state.free[0], "n", 5))
    turn(document, lambda state: setattr(state.items[0], "n", 6))
    assert (state.free[0].n, state.items[0].n) == (5, 6)


def test_a_part_may_come_out_of_what_was_taken_out(turn: Turn) -> None:
    document: Document[Any] = Document({"a": {"b": {"c": [1]}}})

    def turn_inside_out(state: Any) -> None:
        outer = state["a"]
        inner = outer.pop("b")
        state["a"] = inner
        inner["outer"] = outer
        inner["c"].append(2)

    turn(document, turn_inside_out)
    assert document.state == {"a": {"c": [1, 2], "outer": {}}}
    turn(document, lambda state: state["a"]["outer"].update(x=1))


@pytest.mark.parametrize(
    "change",
    [
        lambda s: s["a"].__setitem__("b", s["a"]),
        lambda s: s["a"].__setitem__("b", [[s["a"]]]),
        lambda s: s.__setitem__("self", s),
        lambda s: (s.__setitem__("a", s["a"]["b"]), s["a"].__setitem__("up", s["a"])),
    ],
)
def test_a_part_inside_itself_is_copied_or_refused(change: Callable[[Any], object]) -> None:
    document: Document[Any] = Document({"a": {"b": {"n": 1}}})
    before = document.snapshot()
    document.begin()
    try:
        change(document.state)
        document.commit()
    except StateValueError:
        document.rollback()
        document._snapshot = None
        assert document.snapshot() == before
    else:
        json.loads(document.snapshot())


def test_plain_cycles_and_endless_nesting_are_refused_at_the_mutation() -> None:
    document: Document[Any] = Document({})
    cycle: list[Any] = [[]]
    cycle[0].append({"again": cycle})
    deep: list[Any] = []
    for _ in range(500):
        deep = [deep]
    document.begin()
    for value in (cycle, deep):
        with pytest.raises(StateValueError):
            document.state["x"] = value
    late: list[Any] = []
    document.state["x"] = late
    late.append(late)
    with pytest.raises(StateValueError, match="/x/0"):
        document.commit()
    document.rollback()
    assert document.state == {}
    with pytest.raises(StateValueError):
        Document({"x": cycle})


def test_a_state_that_is_nested_deeper_every_turn_is_refused_in_time() -> None:
    document: Document[Any] = Document({"x": [0]})
    for _ in range(200):
        before = document.snapshot()
        document.begin()
        document.state["x"] = {"inside": document.state["x"]}
        try:
            document.commit()
        except StateValueError:
            document.rollback()
            break
    else:
        pytest.fail("nested without end")
    assert document.snapshot() == before
    part = document.state["x"]
    while isinstance(part, dict):
        part = part["inside"]
    document.begin()
    part.append(1)
    assert document.commit() is not None


def test_a_shared_plain_value_without_a_cycle_is_fine(turn: Turn) -> None:
    document: Document[Any] = Document({})
    shared = [1]
    turn(document, lambda state: state.update(a=[shared, shared], b={"c": shared}))
    turn(document, lambda state: state["a"][0].append(2))
    assert document.state == {"a": [[1, 2], [1]], "b": {"c": [1]}}


def test_values_are_checked_again_when_the_turn_ends(turn: Turn) -> None:
    for spoilt in ("\ud800", object(), {1: 1, "1": 2}, {"__proto__": 1}, {1.5: 1}):
        document: Document[Any] = Document({"l": [0]})
        late: list[Any] = []
        document.begin()
        document.state["l"].append({"x": late})
        late.append(spoilt)
        with pytest.raises(StateValueError, match="/l/1/x"):
            document.commit()
        document.rollback()
        assert document.state == {"l": [0]}
        turn(document, lambda state: state["l"].append(1))


def test_orphans_are_not_told(turn: Turn) -> None:
    document = room()

    def change(state: Room) -> None:
        item = state.items.pop()
        item.tags.append("nobody sees it")
        lost = state.by
        state.by = {}
        lost["b"] = copy.deepcopy(item)

    assert turn(document, change) == [
        {"op": "replace", "path": "/by", "value": {}},
        {"op": "remove", "path": "/items/2"},
    ]
