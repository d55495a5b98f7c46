# mypy: disable-error-code="func-returns-value, prop-decorator"
"""msgspec Structs and dataclasses as state."""

from __future__ import annotations

import copy
import dataclasses
import gc
import json
import pickle
import weakref
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationError, computed_field
from pydantic.dataclasses import dataclass as pydantic_dataclass

from zocket.errors import StaleReferenceError, StateValueError
from zocket.state import Document, encode

Turn = Callable[..., list[dict[str, Any]]]


class Item(msgspec.Struct, order=True):
    n: int = 0
    tags: list[str] = []


class Room(msgspec.Struct, rename="camel", tag="room"):
    room_title: str = ""
    all_items: list[Item] = []
    best_item: Item | msgspec.UnsetType = msgspec.UNSET
    anything: Any = None


class Scalars(msgspec.Struct, gc=False):
    a: int = 0
    b: int = 0


class Cold(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    a: int
    tags: list[int] = []


class Point(msgspec.Struct, frozen=True):
    x: int


class Sparse(msgspec.Struct, omit_defaults=True):
    a: int = 0
    b: list[int] = []


class Row(msgspec.Struct, array_like=True):
    a: int = 0
    b: list[int] = []


class Empty(msgspec.Struct, frozen=True):
    pass


class Checked(msgspec.Struct):
    low: int = 0
    high: int = 0

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise ValueError("low above high")


@dataclasses.dataclass(order=True)
class Data:
    n: int = 0
    tags: list[str] = dataclasses.field(default_factory=list)
    inner: Any = None

    def __post_init__(self) -> None:
        self.extra = [1]

    @property
    def double(self) -> int:
        return self.n * 2

    @double.setter
    def double(self, value: int) -> None:
        self.n = value // 2


@dataclasses.dataclass(slots=True)
class Slotted:
    n: int = 0
    tags: list[str] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True)
class Still:
    n: int = 0
    tags: list[str] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True, eq=False)
class Hashable:
    tags: list[str] = dataclasses.field(default_factory=list)


@pydantic_dataclass(config=ConfigDict(validate_assignment=True))
class Strict:
    n: int = Field(default=0, serialization_alias="number", ge=0)
    tags: list[str] = Field(default_factory=list)

    @computed_field
    def size(self) -> int:
        return len(self.tags)


def test_structs_tell_their_encoded_names(turn: Turn, undone: Callable[..., None]) -> None:
    document = Document(Room(all_items=[Item(1)]))

    def change(state: Room) -> None:
        state.room_title = "t"
        state.all_items[0].n = 2
        state.all_items.append(Item(3))
        state.best_item = Item(4)
        state.anything = {"a": Item(5)}

    undone(document, change)
    assert {operation["path"] for operation in turn(document, change)} == {
        "/roomTitle", "/allItems/0/n", "/allItems/1", "/bestItem", "/anything",
    }  # fmt: skip
    assert turn(document, lambda state: setattr(state, "best_item", msgspec.UNSET)) == [
        {"op": "remove", "path": "/bestItem"}
    ]
    assert json.loads(document.snapshot())["type"] == "room"


@pytest.mark.parametrize("value", [Sparse(), Row()], ids=repr)
def test_structs_whose_fields_have_no_place_are_told_as_a_whole(value: Any, turn: Turn) -> None:
    document: Document[Any] = Document({"v": value})
    for change in (
        lambda state: setattr(state["v"], "a", 1),
        lambda state: state["v"].b.append(1),
        lambda state: setattr(state["v"], "a", 0),
    ):
        assert turn(document, change)[0]["path"] == "/v"


def test_a_root_that_omits_defaults_is_compared_key_by_key(turn: Turn) -> None:
    document = Document(Sparse())
    assert turn(document, lambda state: setattr(state, "a", 1)) == [{"op": "add", "path": "/a", "value": 1}]
    assert turn(document, lambda state: setattr(state, "a", 0)) == [{"op": "remove", "path": "/a"}]


@pytest.mark.parametrize("plain", [Item(1, ["a"]), Data(1, ["a"]), Slotted(1, ["a"])], ids=repr)
def test_tracked_records_behave_as_their_class(plain: Any) -> None:
    document: Document[Any] = Document({"v": copy.deepcopy(plain)})
    tracked, cls = document.state["v"], type(plain)
    assert isinstance(tracked, cls)
    assert tracked.__class__ is cls
    assert type(tracked).__name__ == cls.__name__
    assert repr(tracked) == repr(plain)
    assert tracked == plain
    assert plain == tracked
    assert plain in [tracked]
    assert tracked != cls(2)
    for made in (copy.deepcopy(tracked), pickle.loads(pickle.dumps(tracked))):
        assert type(made) is cls
        assert type(made.tags) is list
        made.n = 7
        made.tags.append("b")
    assert type(copy.copy(tracked)) is cls
    assert tracked == plain
    if cls is Item:
        assert msgspec.to_builtins(tracked) == msgspec.to_builtins(plain)
        assert msgspec.structs.asdict(tracked) == {"n": 1, "tags": ["a"]}
        changed = msgspec.structs.replace(tracked, n=3)
        changed.n = 4
        assert (changed.n, tracked.n) == (4, 1)
    else:
        assert dataclasses.asdict(tracked) == dataclasses.asdict(plain)
        assert type(dataclasses.asdict(tracked)["tags"]) is list
        assert type(dataclasses.replace(tracked, n=3)) is cls
    type(tracked)(5).n = 6


def test_ordered_records_are_compared_with_plain_ones() -> None:
    for cls in (Item, Data):
        document: Document[Any] = Document([cls(2), cls(1)])
        assert [value.n for value in sorted([*document.state, cls(0)])] == [0, 1, 2]
        assert document.state[0] > cls(1)
        assert cls(1) <= document.state[1]
        with pytest.raises(TypeError):
            document.state[0] < 1  # noqa: B015


def test_frozen_records_refuse_writes_but_their_parts_do_not(turn: Turn) -> None:
    document: Document[Any] = Document({"s": Cold(a=1), "d": Still()})
    document.begin()
    with pytest.raises(AttributeError):
        document.state["s"].a = 2
    with pytest.raises(dataclasses.FrozenInstanceError):
        document.state["d"].n = 2
    assert document.commit() is None
    assert turn(document, lambda state: state["s"].tags.append(1))[0]["path"] == "/s/tags/0"
    assert turn(document, lambda state: state["d"].tags.append("a"))[0]["path"] == "/d/tags/0"
    assert Document([Point(1)]).state[0] in {Point(1)}
    assert hash(Document([Point(1)]).state[0]) == hash(Point(1))


def test_frozen_values_can_be_elements_of_sets(turn: Turn) -> None:
    @dataclasses.dataclass(frozen=True)
    class Cell:
        x: int
        y: int

    document: Document[Any] = Document({"cells": {Cell(1, 2)}})
    assert turn(document, lambda state: state["cells"].add(Cell(3, 4)))[0]["path"] == "/cells"
    document.begin()
    with pytest.raises(StateValueError, match="unnoticed"):
        document.state["cells"].add(Hashable())
    document.rollback()


def test_what_a_dataclass_holds_besides_its_fields_is_kept_and_not_told(turn: Turn) -> None:
    document = Document(Data())
    assert document.state.extra == [1]
    assert turn(document, lambda state: setattr(state, "extra", 5)) == []
    assert document.state.extra == 5  # type: ignore[comparison-overlap]
    assert turn(document, lambda state: setattr(state, "double", 8)) == [{"op": "replace", "path": "/n", "value": 4}]


def test_a_field_of_a_dataclass_can_be_deleted(turn: Turn, undone: Callable[..., None]) -> None:
    document = Document(Data(inner=[1]))
    undone(document, lambda state: delattr(state, "inner"))
    with pytest.raises(StaleReferenceError):
        del document.state.n


def test_slotted_dataclasses_are_tracked(turn: Turn, undone: Callable[..., None]) -> None:
    document = Document(Slotted())
    undone(document, lambda state: (setattr(state, "n", 1), state.tags.append("a")))
    assert len(turn(document, lambda state: (setattr(state, "n", 1), state.tags.append("a")))) == 2


def test_a_field_that_a_base_class_keeps_in_a_slot_is_told(turn: Turn, undone: Callable[..., None]) -> None:
    @dataclasses.dataclass
    class Wider(Slotted):
        more: int = 0

    document = Document[Any]([Wider()])
    undone(document, lambda state: setattr(state[0], "n", 1))
    assert turn(document, lambda state: setattr(state[0], "n", 1)) == [{"op": "replace", "path": "/0/n", "value": 1}]


def test_pydantic_dataclasses_are_encoded_by_their_schema(turn: Turn) -> None:
    document = Document(Strict())
    assert turn(document, lambda state: setattr(state, "n", "5")) == [{"op": "replace", "path": "/number", "value": 5}]
    assert turn(document, lambda state: state.tags.append("a"))[-1] == {"op": "replace", "path": "/size", "value": 1}
    document.begin()
    with pytest.raises(ValidationError):
        document.state.n = -1
    assert document.commit() is None
    assert document.snapshot() == encode(copy.deepcopy(document.state))


def test_a_struct_without_fields_is_a_value(turn: Turn) -> None:
    document: Document[Any] = Document({})
    assert turn(document, lambda state: state.update(e=Empty())) == [{"op": "add", "path": "/e", "value": {}}]


def test_a_post_init_check_does_not_disturb_tracking(turn: Turn) -> None:
    document = Document(Checked(1, 2))
    assert turn(document, lambda state: setattr(state, "low", 5)) == [{"op": "replace", "path": "/low", "value": 5}]
    document.begin()
    document.state.low = 1
    document.rollback()
    assert document.state.low == 5


@pytest.mark.parametrize("value", [Scalars(), Item(), Data(), Slotted(), Cold(a=1)], ids=repr)
def test_a_state_that_is_let_go_is_collected(value: Any) -> None:
    gc.collect()
    document: Document[Any] = Document({"inside": [value, {"deeper": [value]}]})
    journal = _Marker()
    document.begin()
    document.state["inside"].append(copy.deepcopy(value))
    document.commit()
    document.state["inside"][0]._zj.undo = journal
    gone = weakref.ref(journal)
    del document, journal
    gc.collect()
    assert gone() is None


class _Marker(list[Any]):
    """A list that can be referred to weakly, in the place of the journal's."""


class Loose(msgspec.Struct, omit_defaults=True):
    name: str = ""
    tags: Any = msgspec.field(default_factory=list)


class Note(BaseModel):
    name: str = ""
    tags: Any = None


@pytest.mark.parametrize("kind", [Loose, Note, Item], ids=lambda kind: kind.__name__)
def test_models_that_are_appended_turn_after_turn_become_parts_of_the_state(kind: Any, turn: Turn) -> None:
    def made(value: Any) -> Any:
        return kind(n=value) if kind is Item else kind(name=str(value))

    document = Document[Any]({"items": []})
    for value in (made(0), made(1), made(2)):
        turn(document, lambda state, value=value: state["items"].append(value))
    kept = made(3)
    turn(document, lambda state: state["items"].append(kept))
    kept.tags = ["not in the state"]
    turn(document, lambda state: state["items"].extend([made(4), made(5)]))
    turn(document, lambda state: (state["items"].append(made(6)), state["items"].pop(0)))
    turn(document, lambda state: (state["items"].append(made(7)), setattr(state["items"][0], "tags", ["one"])))
    turn(document, lambda state: setattr(state["items"][-1], "tags", []))
    items = [made(number) for number in range(1, 8)]
    items[0].tags, items[-1].tags = ["one"], []
    assert json.loads(document.snapshot()) == json.loads(encode({"items": items}))


def test_an_empty_default_of_an_appended_struct_stays_omitted(turn: Turn) -> None:
    document = Document[Any]({"items": []})
    for number in (1, 2):
        turn(document, lambda state, number=number: state["items"].append(Loose(tags=number)))
    turn(document, lambda state: setattr(state["items"][1], "tags", []))
    assert json.loads(document.snapshot()) == {"items": [{"tags": 1}, {}]}
