# mypy: disable-error-code="func-returns-value, prop-decorator"
"""Pydantic models: a write is what the class says, and patches say what snapshots say."""

from __future__ import annotations

import copy
import enum
import json
import pickle
import uuid
import warnings
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import cached_property
from ipaddress import IPv4Address
from pathlib import PurePosixPath
from typing import Annotated, Any, ClassVar, Generic, Literal, NamedTuple, TypeVar

import pytest
from pydantic import (
    AnyUrl,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    PlainSerializer,
    PrivateAttr,
    RootModel,
    SecretStr,
    SerializeAsAny,
    TypeAdapter,
    ValidationError,
    computed_field,
    field_serializer,
    field_validator,
    model_serializer,
    model_validator,
)
from typing_extensions import TypedDict

from zocket.errors import StaleReferenceError, StateValueError
from zocket.state import Document, encode

Turn = Callable[..., list[dict[str, Any]]]
T = TypeVar("T")


class Item(BaseModel):
    n: int = 0
    tags: list[str] = []


class Room(BaseModel):
    title: str = ""
    items: list[Item] = []
    by: dict[str, Item] = {}
    best: Item | None = None
    anything: Any = None


class Validated(BaseModel):
    model_config = ConfigDict(validate_assignment=True)
    n: int = Field(default=0, ge=0)
    tags: list[str] = []
    item: Item = Item()

    @model_validator(mode="after")
    def no_thirteen(self) -> Validated:
        if self.n == 13:
            raise ValueError("unlucky")
        return self

    @field_validator("tags")
    @classmethod
    def short(cls, tags: list[str]) -> list[str]:
        if len(tags) > 3:
            raise ValueError("too many")
        return tags


class Aliased(BaseModel):
    model_config = ConfigDict(populate_by_name=True)
    first: int = Field(default=0, alias="firstOne")
    second: list[int] = Field(default=[], serialization_alias="second/two")
    secret: int = Field(default=0, exclude=True)
    inner: Item = Field(default=Item(), alias="~in")


class Loose(BaseModel):
    model_config = ConfigDict(extra="allow")
    known: int = 0


class Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)
    n: int = 0
    tags: list[str] = []


class Private(BaseModel):
    n: int = 0
    _cache: int = PrivateAttr(default=0)
    _list: list[int] = PrivateAttr(default_factory=list)


class Total(BaseModel):
    items: list[Item] = []
    hidden: int = Field(default=0, exclude=True)

    @computed_field(alias="theSum")
    @property
    def total(self) -> int:
        return sum(item.n for item in self.items) + self.hidden


class Serialized(BaseModel):
    when: list[int] = []
    one: Annotated[list[int], PlainSerializer(lambda value: len(value))] = []

    @field_serializer("when")
    def write_when(self, value: list[int]) -> str:
        return ",".join(map(str, value))


class Whole(BaseModel):
    a: list[int] = []

    @model_serializer
    def write(self) -> dict[str, Any]:
        return {"sum": sum(self.a), "count": len(self.a)}


class Base(BaseModel):
    x: int = 0


class Derived(Base):
    y: list[int] = []


class Cat(BaseModel):
    kind: Literal["cat"] = "cat"
    lives: list[int] = []


class Dog(BaseModel):
    kind: Literal["dog"] = "dog"
    bones: list[int] = []


class Numbers(RootModel[list[int]]):
    pass


class Point(NamedTuple):
    x: int
    tags: list[str]


class Shape(TypedDict, total=False):
    sides: list[int]


class Box(BaseModel, Generic[T]):
    content: list[T] = []


class Everything(BaseModel):
    base: Base = Base()
    bases: list[Base] = []
    as_any: SerializeAsAny[Base] = Base()
    ambiguous: Base | Derived = Base()
    ambiguous_list: list[Derived | Base] = []
    pet: Annotated[Cat | Dog, Field(discriminator="kind")] = Cat()
    either: Cat | Dog | None = None
    listing: list[int] | dict[str, int] = []
    numbers: Numbers = Numbers([])
    point: Point = Point(0, [])
    shape: Shape = {}
    box: Box[Item] = Box[Item]()
    whole: Whole = Whole()
    wholes: list[Whole] = []
    serialized: Serialized = Serialized()
    loose: Loose = Loose()
    aliased: Aliased = Aliased()
    total: Total = Total()
    free: JsonValue = None


class Kind(enum.Enum):
    A = "a"


def test_fields_are_written_in_place_and_told(turn: Turn, undone: Callable[..., None]) -> None:
    document = Document(Room(items=[Item(n=1)]))

    def change(state: Room) -> None:
        state.title = "t"
        state.items[0].n = 2
        state.items.append(Item(n=3))
        state.by["a"] = Item(n=4)
        state.best = Item(n=5)
        state.best.tags.append("late")
        state.anything = {"x": [Item(n=6)]}

    undone(document, change)
    turn(document, change)
    assert turn(document, lambda state: state.anything["x"][0].tags.append("t")) == [
        {"op": "add", "path": "/anything/x/0/tags/0", "value": "t"}
    ]
    assert turn(document, lambda state: setattr(state, "best", None)) == [
        {"op": "replace", "path": "/best", "value": None}
    ]


def test_ten_writes_of_a_field_are_one_operation_and_back_again_is_none(turn: Turn) -> None:
    document = Document(Room())
    assert turn(document, lambda state: [setattr(state, "title", str(i)) for i in range(10)]) == [
        {"op": "replace", "path": "/title", "value": "9"}
    ]
    assert turn(document, lambda state: (setattr(state, "title", "x"), setattr(state, "title", "9"))) == []


def test_a_placed_model_counts_through_its_own_name_until_the_turn_ends(turn: Turn) -> None:
    document, item, tags = Document(Room()), Item(n=1), ["a"]

    def change(state: Room) -> None:
        state.items.append(item)
        item.n = 2
        item.tags = tags
        tags.append("b")

    assert turn(document, change) == [{"op": "add", "path": "/items/0", "value": {"n": 2, "tags": ["a", "b"]}}]
    item.n = 3
    tags.append("c")
    assert document.state.items == [Item(n=2, tags=["a", "b"])]
    assert type(item) is Item


def test_a_tracked_model_behaves_as_its_class() -> None:
    document = Document(Room(items=[Item(n=1, tags=["a"])]))
    item, plain = document.state.items[0], Item(n=1, tags=["a"])
    assert isinstance(item, Item)
    assert item.__class__ is Item
    assert type(item).__name__ == "Item"
    assert repr(item) == repr(plain)
    assert str(item) == str(plain)
    assert item == plain
    assert plain == item
    assert plain in document.state.items
    assert item in [plain]
    assert item.model_dump() == plain.model_dump()
    assert item.model_dump_json() == plain.model_dump_json()
    assert Item.model_validate(item) is item
    assert TypeAdapter(Room).validate_python(document.state) is document.state
    assert type(item)(n=4) == Item(n=4)
    assert type(type(item)(n=4)) is Item
    assert type(type(item).model_validate({"n": 1})) is Item
    assert Item.__subclasses__() == [type(item)]
    assert dict(item) == {"n": 1, "tags": ["a"]}


def test_copies_of_a_model_are_plain_and_independent() -> None:
    document = Document(Room(items=[Item(n=1, tags=["a"])]))
    item = document.state.items[0]
    for plain in (
        copy.deepcopy(item),
        pickle.loads(pickle.dumps(item)),
        item.model_copy(deep=True),
        item.model_copy(update={"n": 1, "tags": ["a"]}),
    ):
        assert type(plain) is Item
        assert type(plain.tags) is list
        plain.n = 2
        plain.tags.append("b")
    assert type(copy.copy(item)) is Item
    assert type(copy.deepcopy(document.state).items[0]) is Item
    assert item == Item(n=1, tags=["a"])


def test_subclass_hooks_of_the_user_do_not_run() -> None:
    class Registered(BaseModel):
        registry: ClassVar[list[str]] = []
        n: int = 0

        def __init_subclass__(cls, **options: Any) -> None:
            Registered.registry.append(cls.__name__)

        @classmethod
        def __pydantic_init_subclass__(cls, **options: Any) -> None:
            Registered.registry.append(cls.__name__)

    document = Document(Registered())
    assert document.state.n == 0
    assert Registered.registry == []


def test_writes_are_validated_where_the_class_says_so(turn: Turn, undone: Callable[..., None]) -> None:
    document = Document(Validated())
    undone(document, lambda state: setattr(state, "n", "7"))
    assert turn(document, lambda state: setattr(state, "n", "7")) == [{"op": "replace", "path": "/n", "value": 7}]
    document.begin()
    for name, value in (("n", -1), ("n", "x"), ("n", 13), ("tags", [1]), ("tags", ["a"] * 4), ("absent", 1)):
        with pytest.raises(ValidationError):
            setattr(document.state, name, value)
    assert document.state == Validated(n=7)
    assert document.commit() is None
    assert turn(document, lambda state: setattr(state, "item", Item(n=1)))[0]["value"] == {"n": 1, "tags": []}
    assert turn(document, lambda state: state.item.tags.append("a"))[0]["path"] == "/item/tags/0"


def test_adding_to_a_validated_list_in_place_stays_one_small_operation(turn: Turn) -> None:
    document = Document(Validated(tags=["a", "b"]))

    def change(state: Validated) -> None:
        state.tags += ["c"]

    assert turn(document, change) == [{"op": "add", "path": "/tags/2", "value": "c"}]


def test_types_are_not_checked_otherwise_but_patches_still_agree(turn: Turn) -> None:
    document = Document(Room(items=[Item()]))

    def change(state: Any) -> None:
        state.title = 5
        state.items[0] = {"n": 1}
        state.best = [1]
        state.by = {"a": {"tags": []}}

    turn(document, change)
    turn(document, lambda state: state.by["a"]["tags"].append(1))
    turn(document, lambda state: state.items[0].update(n=2))
    turn(document, lambda state: state.best.append(2))


def test_aliases_name_the_paths_and_excluded_fields_are_silent(turn: Turn) -> None:
    document = Document(Aliased())
    assert json.loads(document.snapshot()) == {"firstOne": 0, "second/two": [], "~in": {"n": 0, "tags": []}}
    assert turn(document, lambda state: setattr(state, "first", 1)) == [
        {"op": "replace", "path": "/firstOne", "value": 1}
    ]
    assert turn(document, lambda state: state.second.append(1))[0]["path"] == "/second~1two/0"
    assert turn(document, lambda state: setattr(state.inner, "n", 1))[0]["path"] == "/~0in/n"
    assert turn(document, lambda state: setattr(state, "secret", 1)) == []
    assert document.state.secret == 1


def test_extra_fields_are_fields(turn: Turn, undone: Callable[..., None]) -> None:
    document = Document(Loose(a=[1]))  # type: ignore[call-arg]
    undone(document, lambda state: (setattr(state, "b", 1), state.a.append(2), delattr(state, "a")))
    assert turn(document, lambda state: setattr(state, "b", {"x": 1})) == [
        {"op": "add", "path": "/b", "value": {"x": 1}}
    ]
    assert turn(document, lambda state: state.b.update(x=2)) == [{"op": "replace", "path": "/b/x", "value": 2}]
    assert turn(document, lambda state: delattr(state, "b")) == [{"op": "remove", "path": "/b"}]
    assert turn(document, lambda state: setattr(state, "known", 3))[0]["path"] == "/known"
    document.begin()
    with pytest.raises(StateValueError):
        document.state.c = float("nan")  # type: ignore[attr-defined]
    assert not hasattr(document.state, "c")
    with pytest.raises(StateValueError, match="prototype"):
        document.state.constructor = 1  # type: ignore[attr-defined]
    document.rollback()


def test_a_frozen_model_refuses_writes_but_its_parts_do_not(turn: Turn) -> None:
    document: Document[Any] = Document({"f": Frozen(), "s": {Base.__name__}})
    document.begin()
    with pytest.raises(ValidationError):
        document.state["f"].n = 1
    assert document.commit() is None
    assert turn(document, lambda state: state["f"].tags.append("a"))[0]["path"] == "/f/tags/0"
    assert turn(document, lambda state: state.update(f=Frozen(n=5)))[0]["path"].startswith("/f")


def test_private_attributes_are_rolled_back_and_never_told(turn: Turn) -> None:
    document = Document(Private())
    document.state._cache = 1
    document.begin()
    document.state._cache = 2
    document.state.n = 1
    document.rollback()
    assert document.state._cache == 1
    assert turn(document, lambda state: setattr(state, "_cache", 3)) == []
    plain = copy.deepcopy(document.state)
    plain._list.append(1)
    assert (plain._cache, document.state._list) == (3, [])


def test_computed_fields_are_told_when_they_differ(turn: Turn, undone: Callable[..., None]) -> None:
    document = Document(Total(items=[Item(n=1)]))
    assert json.loads(document.snapshot())["theSum"] == 1
    undone(document, lambda state: setattr(state.items[0], "n", 5))
    assert turn(document, lambda state: setattr(state.items[0], "n", 2)) == [
        {"op": "replace", "path": "/items/0/n", "value": 2},
        {"op": "replace", "path": "/theSum", "value": 2},
    ]
    assert turn(document, lambda state: state.items[0].tags.append("x"))[-1]["path"] == "/items/0/tags/0"
    assert turn(document, lambda state: setattr(state, "hidden", 1)) == [
        {"op": "replace", "path": "/theSum", "value": 3}
    ]
    document.begin()
    document.state.hidden = 9
    document.rollback()
    assert turn(document, lambda state: state.items.append(Item(n=1)))[-1] == {
        "op": "replace",
        "path": "/theSum",
        "value": 4,
    }


def test_a_cached_computed_property_is_computed_again_for_the_state() -> None:
    class Cached(BaseModel):
        n: int = 1

        @computed_field
        @cached_property
        def double(self) -> int:
            return self.n * 2

    value = Cached()
    assert value.double == 2
    value.n = 2
    document = Document(value)
    assert document.state.double == 4
    document.begin()
    document.state.n = 3
    document.rollback()
    document.begin()
    document.state.n = 4
    assert document.state.double == 8
    document._snapshot = None
    assert json.loads(document.snapshot()) == {"n": 2, "double": 4}
    document.rollback()
    assert document.state.double == 4


def test_custom_serializers_are_told_as_a_whole(turn: Turn) -> None:
    document = Document(Serialized())
    assert turn(document, lambda state: state.when.append(1)) == [{"op": "replace", "path": "/when", "value": "1"}]
    assert turn(document, lambda state: state.one.append(1)) == [{"op": "replace", "path": "/one", "value": 1}]


def test_a_root_with_its_own_serializer_is_compared_key_by_key(turn: Turn, undone: Callable[..., None]) -> None:
    document = Document(Whole())
    undone(document, lambda state: state.a.append(0))
    assert turn(document, lambda state: state.a.append(0)) == [{"op": "replace", "path": "/count", "value": 1}]
    assert turn(document, lambda state: setattr(state, "a", [0])) == []
    numbers = Document(Numbers([1, 2]))
    assert turn(numbers, lambda state: state.root.insert(0, 5))[-1] == {"op": "add", "path": "/2", "value": 2}
    assert turn(numbers, lambda state: setattr(state, "root", [])) == [
        {"op": "remove", "path": "/2"},
        {"op": "remove", "path": "/1"},
        {"op": "remove", "path": "/0"},
    ]


EVERYTHING: dict[str, Callable[[Any], object]] = {
    "derived in base": lambda s: (setattr(s, "base", Derived(x=1, y=[1])), s.bases.append(Derived(x=2))),
    "derived in base, its own field": lambda s: (s.base.y.append(2), s.bases[0].y.append(1)),
    "derived in base, the base's field": lambda s: (setattr(s.base, "x", 9), setattr(s.bases[0], "x", 9)),
    "serialized as any": lambda s: setattr(s, "as_any", Derived(x=1)),
    "serialized as any, inside": lambda s: s.as_any.y.append(1),
    "ambiguous": lambda s: (setattr(s, "ambiguous", Derived(y=[1])), s.ambiguous_list.extend([Derived(), Base()])),
    "ambiguous, inside": lambda s: (s.ambiguous.y.append(2), s.ambiguous_list[0].y.append(3)),
    "ambiguous, scalar": lambda s: (setattr(s.ambiguous, "x", 2), setattr(s.ambiguous_list[1], "x", 3)),
    "tagged": lambda s: s.pet.lives.append(1),
    "tagged, other": lambda s: setattr(s, "pet", Dog(bones=[1])),
    "tagged, other, inside": lambda s: s.pet.bones.append(1),
    "either": lambda s: setattr(s, "either", Dog()),
    "either, inside": lambda s: s.either.bones.append(1),
    "list or dict": lambda s: s.listing.append(1),
    "list or dict, other": lambda s: setattr(s, "listing", {"a": 1}),
    "list or dict, other, inside": lambda s: s.listing.update(b=2),
    "root model": lambda s: s.numbers.root.append(1),
    "root model, root": lambda s: setattr(s.numbers, "root", [1, 2, 3]),
    "named tuple": lambda s: s.point.tags.append("a"),
    "typed dict": lambda s: s.shape.update(sides=[1]),
    "typed dict, inside": lambda s: s.shape["sides"].append(1),
    "generic": lambda s: s.box.content.append(Item()),
    "generic, inside": lambda s: s.box.content[0].tags.append("a"),
    "own serializer": lambda s: (s.whole.a.append(1), s.wholes.append(Whole(a=[1]))),
    "own serializer, inside": lambda s: s.wholes[0].a.append(2),
    "serializers": lambda s: (s.serialized.when.append(1), s.serialized.one.append(2)),
    "extra": lambda s: setattr(s.loose, "more", [1]),
    "extra, inside": lambda s: s.loose.more.append(2),
    "aliases": lambda s: (setattr(s.aliased, "first", 3), s.aliased.second.append(1), setattr(s.aliased, "secret", 2)),
    "computed": lambda s: s.total.items.append(Item(n=3)),
    "computed, hidden": lambda s: setattr(s.total, "hidden", 3),
    "free": lambda s: setattr(s, "free", {"a": [1]}),
    "free, inside": lambda s: s.free["a"].append({"b": None}),
}


def test_patches_and_snapshots_agree_with_the_plain_model_whatever_the_schema(turn: Turn) -> None:
    document, plain = Document(Everything()), Everything()
    assert document.snapshot() == encode(plain)
    for name, change in EVERYTHING.items():
        operations = turn(document, change)
        change(plain)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert json.loads(document.snapshot()) == json.loads(plain.model_dump_json(by_alias=True)), name
        assert operations or "its own field" in name, name
        assert all(operation["path"] for operation in operations)


def test_models_with_computed_fields_or_ambiguous_unions_may_come_late(turn: Turn) -> None:
    class Pair(BaseModel):
        one: Base | Derived = Base()

    document: Document[Any] = Document({"n": 0})
    operations = turn(document, lambda state: state.update(p=Pair(one=Derived(y=[1])), t=Total(items=[Item(n=1)])))
    assert [operation["value"] for operation in operations] == [
        {"one": {"x": 0, "y": [1]}},
        {"items": [{"n": 1, "tags": []}], "theSum": 1},
    ]
    turn(document, lambda state: state["p"].one.y.append(2))
    assert len(turn(document, lambda state: state["t"].items.pop())) == 2


def test_values_that_pydantic_writes_as_text_can_be_anywhere(turn: Turn) -> None:
    class Values(BaseModel):
        at: datetime = datetime(2026, 1, 1, tzinfo=UTC)
        day: date = date(2026, 1, 1)
        lasts: timedelta = timedelta(seconds=1)
        id: uuid.UUID = uuid.UUID(int=1)
        price: Decimal = Decimal("1.50")
        raw: bytes = b"abc"
        kind: Kind = Kind.A
        url: AnyUrl = AnyUrl("http://a.b/")
        path: PurePosixPath = PurePosixPath("/a")
        ip: IPv4Address = IPv4Address("1.2.3.4")
        secret: SecretStr = SecretStr("s")
        number: float = 1.0
        whole: float = 1.0
        pair: tuple[int, str] = (1, "a")
        frozen: frozenset[int] = frozenset({1})
        days: dict[date, int] = {}
        kinds: dict[Kind, list[int]] = {}

    document = Document(Values())
    turn(document, lambda state: setattr(state, "at", datetime(2027, 1, 1, tzinfo=UTC)))
    turn(document, lambda state: setattr(state, "price", Decimal("2.50")))
    turn(document, lambda state: setattr(state, "whole", 2))
    turn(document, lambda state: setattr(state, "pair", (2, "b")))
    turn(document, lambda state: setattr(state, "frozen", frozenset({3})))
    turn(document, lambda state: setattr(state, "raw", b"x"))
    turn(document, lambda state: state.days.update({date(2026, 1, 2): 1}))
    turn(document, lambda state: state.kinds.update({Kind.A: [1]}))
    assert turn(document, lambda state: state.kinds[Kind.A].append(2))[0]["path"] == "/kinds/a/1"
    document.begin()
    for name, value in (("price", Decimal("NaN")), ("number", float("inf")), ("kind", {1, (2, float("nan"))})):
        with pytest.raises(StateValueError, match=name):
            setattr(document.state, name, value)
    assert document.commit() is None


def test_methods_and_properties_of_the_class_work_on_the_state(turn: Turn) -> None:
    class Account(BaseModel):
        balance: int = 0
        log: list[str] = []

        @property
        def euros(self) -> int:
            return self.balance // 100

        @euros.setter
        def euros(self, value: int) -> None:
            self.balance = value * 100

        def pay(self, amount: int) -> None:
            self.balance -= amount
            self.log.append(f"paid {amount}")

    document = Document(Account(balance=500))
    assert turn(document, lambda state: state.pay(100)) == [
        {"op": "replace", "path": "/balance", "value": 400},
        {"op": "add", "path": "/log/0", "value": "paid 100"},
    ]
    assert turn(document, lambda state: setattr(state, "euros", 2))[0]["value"] == 200


def test_a_class_with_its_own_setattr_is_asked(turn: Turn, undone: Callable[..., None]) -> None:
    class Shouting(BaseModel):
        text: str = ""
        writes: int = 0

        def __setattr__(self, name: str, value: Any) -> None:
            super().__setattr__(name, value.upper() if name == "text" else value)
            if name == "text":
                super().__setattr__("writes", self.writes + 1)
            if value == "bad":
                raise RuntimeError("after the write")

    document = Document(Shouting())
    undone(document, lambda state: setattr(state, "text", "a"))
    assert turn(document, lambda state: setattr(state, "text", "a")) == [
        {"op": "replace", "path": "/text", "value": "A"},
        {"op": "replace", "path": "/writes", "value": 1},
    ]
    document.begin()
    with pytest.raises(RuntimeError):
        document.state.text = "bad"
    assert document.state == Shouting.model_construct(text="A", writes=1)
    assert document.commit() is None


def test_unknown_fields_and_deleted_ones_are_as_pydantic_has_them(turn: Turn, undone: Callable[..., None]) -> None:
    document = Document(Room(title="t"))
    document.begin()
    with pytest.raises(ValueError, match="no field"):
        document.state.absent = 1  # type: ignore[attr-defined]
    assert document.commit() is None
    undone(document, lambda state: delattr(state, "title"))
    with pytest.raises(StaleReferenceError):
        del document.state.title


def test_which_fields_were_set_is_rolled_back() -> None:
    document = Document(Room())
    document.begin()
    document.state.title = "t"
    assert document.state.model_fields_set == {"title"}
    document.rollback()
    assert document.state.model_fields_set == set()


def test_a_value_is_refused_with_its_pointer_and_leaves_the_field() -> None:
    document = Document(Room(items=[Item()]))
    document.begin()
    with pytest.raises(StateValueError, match="/items/0/tags/1"):
        document.state.items[0].tags = ["a", "\ud800"]
    with pytest.raises(StateValueError, match="/anything/x/by/a"):
        document.state.anything = {"x": Room.model_construct(by={"a": object()})}
    assert document.state == Room(items=[Item()])
    assert document.commit() is None
