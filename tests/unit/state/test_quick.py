"""The commit of an ordinary turn: values of nothing but scalars become parts of the state in one pass."""

from __future__ import annotations

import copy
import dataclasses
import enum
import json
from collections import defaultdict
from collections.abc import Callable
from functools import cached_property
from typing import Any, Literal

import msgspec
import pytest
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    computed_field,
    create_model,
    field_serializer,
    model_serializer,
)

from zocket.errors import StateValueError
from zocket.state import Document, encode

Turn = Callable[..., list[dict[str, Any]]]


class Note(BaseModel):
    text: str = ""
    n: Any = 0


class NoteStruct(msgspec.Struct, rename={"n": "number"}):
    text: str = ""
    n: Any = 0


class Named(msgspec.Struct, kw_only=True):
    text: str = ""
    n: Any = 0


@dataclasses.dataclass
class NoteData:
    text: str = ""
    n: Any = 0


@dataclasses.dataclass(slots=True)
class Slotted:
    text: str = ""


@dataclasses.dataclass
class HalfSlotted(Slotted):
    n: Any = 0


INSTANCES: list[Any] = [Note, NoteStruct, Named, NoteData, HalfSlotted]
VALUES: list[Any] = [
    *(cls(text=text, n=n) for cls in INSTANCES for text, n in [("a/b", 1), ("ü\U0001f600\"\n", 0.5), ("NaN", None)]),
    {"text": "ü", "n": 2**70}, ["ü", 1, None], {1.5, 2}, defaultdict(int, {"a": 1}), (1, "ü"), frozenset({1}),
    ({"inside": 1},), {"ü": 1}, {2: "b"}, [[1]],
]  # fmt: skip


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_a_value_that_is_added_is_told_and_becomes_a_part(value: Any, turn: Turn) -> None:
    document, expected = Document[Any]({"items": []}), json.loads(encode(value))
    for count in range(3):
        added = copy.deepcopy(value)
        assert turn(document, lambda state, added=added: state["items"].append(added)) == [
            {"op": "add", "path": f"/items/{count}", "value": expected}
        ]
        assert document.state["items"][count] == value
        if hasattr(added, "text"):
            added.text = "the original is its maker's again"
        assert document.state["items"][count] == value
    document.begin()
    document.state["items"].append(value)
    document.rollback()
    assert document.state["items"] == [value] * 3
    assert turn(document, lambda state: state.update(a=value, b=value)) == [
        {"op": "add", "path": f"/{key}", "value": expected} for key in "ab"
    ]


@pytest.mark.parametrize("cls", INSTANCES)
def test_a_model_that_was_added_is_tracked(cls: Any, turn: Turn, undone: Callable[..., None]) -> None:
    document = Document[Any]([cls()])
    for place in (1, 2):
        turn(document, lambda state: state.append(cls(text="a")))
        undone(document, lambda state: setattr(state[-1], "text", "b"))
        assert turn(document, lambda state: setattr(state[-1], "text", "b")) == [
            {"op": "replace", "path": f"/{place}/text", "value": "b"}
        ]
        moved = document.state[place]
        turn(document, lambda state: state.insert(0, state.pop()))
        assert document.state[0] is moved


@pytest.mark.parametrize("spoilt", ["\ud800", float("nan"), object()], ids=["surrogate", "nan", "object"])
@pytest.mark.parametrize("cls", INSTANCES)
def test_a_model_is_checked_when_it_is_added_and_when_the_turn_ends(cls: Any, spoilt: Any, turn: Turn) -> None:
    document = Document[Any]([cls()])
    turn(document, lambda state: state.append(cls()))
    document.begin()
    with pytest.raises(StateValueError, match="/2/n"):
        document.state.append(cls(n=spoilt))
    assert document.commit() is None
    late = cls()
    document.begin()
    document.state.append(late)
    late.n = spoilt
    with pytest.raises(StateValueError, match="/2/n"):
        document.commit()
    document.rollback()
    assert document.state == [cls(), cls()]
    assert len(turn(document, lambda state: state.append(cls()))) == 1


def test_one_model_that_is_added_twice_becomes_two(turn: Turn) -> None:
    document, note = Document[Any]([]), Note()
    for _ in range(2):
        turn(document, lambda state: state.append(note))
    turn(document, lambda state: state.append(state[0]))
    for place in range(3):
        turn(document, lambda state, place=place: setattr(state[place], "n", place))
    assert document.state == [Note(n=0), Note(n=1), Note(n=2)]
    assert note == Note()


class Base(BaseModel):
    x: Any = 1


class Derived(Base):
    y: int = 2


class Aliased(BaseModel):
    x: int = Field(default=1, serialization_alias="the/x")


class Excluded(BaseModel):
    x: int = 1
    secret: str = Field(default="secret", exclude=True)


class FieldSerialized(BaseModel):
    x: int = 1

    @field_serializer("x")
    def twice(self, value: int) -> int:
        return 2 * value


class Serialized(BaseModel):
    x: int = 1

    @model_serializer
    def whole(self) -> dict[str, Any]:
        return {"whole": self.x}


class Computed(BaseModel):
    x: int = 1

    @computed_field
    def double(self) -> int:
        return 2 * self.x


class Extra(BaseModel):
    model_config = ConfigDict(extra="allow")
    x: int = 1


class Color(enum.StrEnum):
    RED = "red"


class Scalars(BaseModel):
    maybe: int | None = None
    either: int | str = 1
    one: Literal["a", 1] = "a"
    color: Color = Color.RED
    free: Any = None
    number: float = 1
    truth: bool = True


class Cached(BaseModel):
    x: int = 1
    _seen: list[int] = PrivateAttr(default_factory=lambda: [1])

    @cached_property
    def double(self) -> int:
        return 2 * self.x


def cached() -> Cached:
    made = Cached()
    assert made.double == 2
    return made


MODELS: list[Callable[[], BaseModel]] = [
    Base, Derived, Aliased, Excluded, FieldSerialized, Serialized, Computed, Extra, Scalars, Cached, cached,
    lambda: Extra.model_validate({"y": "ü"}), lambda: Scalars.model_construct(either=1.5, number=1, color="red"),
    lambda: Base.model_construct(), lambda: Base(x=1e300), lambda: Excluded.model_construct(x="ü"),
]  # fmt: skip


@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
@pytest.mark.parametrize("item", [Base, Any])
@pytest.mark.parametrize("make", MODELS, ids=lambda make: getattr(make, "__name__", "made"))
def test_a_model_is_told_as_its_place_and_its_class_say(make: Callable[[], Any], item: Any, turn: Turn) -> None:
    declared: Any = type(make()) if item is Base and not isinstance(make(), Base) else item

    room = create_model("Room", items=(list[declared], []), by=(dict[str, declared], {}))
    document: Document[Any] = Document(room())
    expected = json.loads(room(items=[make()]).model_dump_json(by_alias=True))["items"][0]
    for count in range(3):
        [operation] = turn(document, lambda state: state.items.append(make()))
        assert repr(operation) == repr({"op": "add", "path": f"/items/{count}", "value": expected})
    for key in "ab":
        [operation] = turn(document, lambda state, key=key: state.by.update({key: make()}))
        assert repr(operation) == repr({"op": "add", "path": f"/by/{key}", "value": expected})
    assert document.state.items[2] == make()


def test_what_a_model_holds_besides_its_fields_comes_along(turn: Turn) -> None:
    document, note = Document[Any]([]), cached()
    for _ in range(2):
        turn(document, lambda state: state.append(note))
    for part in document.state:
        assert (part._seen, part.model_fields_set, "double" in vars(part)) == ([1], set(), False)
    document.begin()
    document.state[1].x = 5
    assert (note.x, note.model_fields_set, document.state[1].double) == (1, set(), 10)
    document.rollback()
    data = NoteData()
    data.remark = "kept"  # type: ignore[attr-defined]
    for _ in range(2):
        turn(document, lambda state: state.append(data))
    assert [part.remark for part in document.state[2:]] == ["kept", "kept"]
    loose = Extra.model_validate({"y": 1})
    turn(document, lambda state: state.append(loose))
    loose.y = 2  # type: ignore[attr-defined]
    assert document.state[-1].y == 1


def test_a_field_that_only_the_class_of_a_dataclass_has_is_added_as_one_of_its_own(turn: Turn) -> None:
    document, data = Document[Any]([]), NoteData("a")
    del data.n
    for _ in range(2):
        turn(document, lambda state: state.append(data))
    assert [vars(part) for part in document.state] == [{"text": "a", "n": 0}] * 2
