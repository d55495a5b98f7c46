"""`Private`: what annotations and values hide, by the names that JSON has."""

from __future__ import annotations

import abc
import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Generic, NamedTuple, NotRequired, TypedDict, TypeVar

import msgspec
import pytest
from pydantic import AliasGenerator, BaseModel, ConfigDict, Field, RootModel, computed_field
from pydantic.dataclasses import dataclass as pydantic_dataclass
from typing_extensions import TypeAliasType

from zocket import Actor, Private, method
from zocket.core import AppDefinition, Schema, to_caller
from zocket.core.privacy import find_private, masks_of_value
from zocket.core.redaction import UNSEEN, encode_public, public_schema, redact, redact_operations
from zocket.errors import ActorError, DefinitionError, StateValueError
from zocket.state import Document, encode

T = TypeVar("T")


class Player(BaseModel):
    name: str = ""
    hand: Private[list[str]] = []


class PlayerStruct(msgspec.Struct, rename="camel"):
    full_name: str = ""
    in_hand: Private[list[str]] = []


@dataclasses.dataclass
class PlayerData:
    name: str = ""
    hand: Private[list[str]] = dataclasses.field(default_factory=list)


@pydantic_dataclass
class PlayerChecked:
    name: str = ""
    hand: Private[list[str]] = dataclasses.field(default_factory=list)
    rank: Annotated[int, Field(serialization_alias="level")] = 0


class PlayerDict(TypedDict):
    name: str
    hand: NotRequired[Private[list[str]]]


class Tree(BaseModel):
    name: str = ""
    note: Private[str] = ""
    twigs: list[Tree] = []


class Box(msgspec.Struct, Generic[T]):
    value: T


class Lid(Box[Player]):
    pass


class Lined(msgspec.Struct, Generic[T]):
    value: T | None = None
    other: int = 0


class BoxModel(BaseModel, Generic[T]):
    value: T


class Roots(RootModel[list[Player]]):
    pass


class Aliased(BaseModel):
    model_config = ConfigDict(alias_generator=AliasGenerator(serialization_alias=str.upper), populate_by_name=True)
    secret: Private[int] = 0
    open: int = 0


class Computed(BaseModel):
    a: Private[int] = 1

    @computed_field
    def double(self) -> Private[int]:
        return 2 * self.a

    @computed_field
    def owner(self) -> Player:
        return Player(name="o", hand=["x"])


class Shape(msgspec.Struct):
    sides: int = 0


class Circle(Shape):
    radius: Private[float] = 0.0


class Pair(NamedTuple):
    left: int
    right: Private[int]


class Pile(msgspec.Struct, Generic[T]):
    top: T


class Piles(Pile[list[T]], Generic[T]):
    spare: T | None = None


class Deep(Piles[Player]):
    pass


class Sealed(RootModel[Private[int]]):
    root: Private[int] = 0


class Holder(BaseModel):
    sealed: Sealed = Sealed(1)
    shown: int = 0


class Loose(BaseModel):
    model_config = ConfigDict(extra="allow")
    hand: int = 0
    counts: dict[str, int] = {}
    player: Player = Player()


Alias = TypeAliasType("Alias", "list[Alias] | Player")


def left(annotation: Any, value: Any) -> Any:
    return json.loads(redact(encode(value), find_private(annotation).masks))


@pytest.mark.parametrize(
    ("annotation", "value", "shown"),
    [
        (Player, Player(name="a", hand=["x"]), {"name": "a"}),
        (PlayerStruct, PlayerStruct("a", ["x"]), {"fullName": "a"}),
        (PlayerData, PlayerData("a", ["x"]), {"name": "a"}),
        (PlayerDict, {"name": "a", "hand": ["x"]}, {"name": "a"}),
        (list[Player], [Player(hand=["x"])], [{"name": ""}]),
        (dict[str, list[Player]], {"a/b": [Player(hand=["x"])]}, {"a/b": [{"name": ""}]}),
        (Player | None, Player(hand=["x"]), {"name": ""}),
        (Player | None, None, None),
        (Sequence[Mapping[str, Player]], [{"hand": Player(hand=["x"])}], [{"hand": {"name": ""}}]),
        (tuple[int, Player], (1, Player(hand=["x"])), [1, {"name": ""}]),
        (Tree, Tree(note="x", twigs=[Tree(name="b", note="y")]), {"name": "", "twigs": [{"name": "b", "twigs": []}]}),
        (Box[Player], Box(Player(hand=["x"])), {"value": {"name": ""}}),
        (Lid, Lid(Player(hand=["x"])), {"value": {"name": ""}}),
        (Lined[Private[int]], Lined(5), {"other": 0}),
        (BoxModel[Player], BoxModel[Player](value=Player(hand=["x"])), {"value": {"name": ""}}),
        (Roots, Roots([Player(hand=["x"])]), [{"name": ""}]),
        (Aliased, Aliased(secret=1, open=2), {"OPEN": 2}),
        (Computed, Computed(), {"owner": {"name": "o"}}),
        (Shape, Circle(4, 1.5), {"sides": 4}),
        (Deep, Deep([Player(hand=["x"])], Player(hand=["y"])), {"top": [{"name": ""}], "spare": {"name": ""}}),
        (Holder, Holder(), {"shown": 0}),
        (Alias, [[Player(hand=["x"])]], [[{"name": ""}]]),
    ],
)
def test_private_fields_are_found_wherever_an_annotation_leads(annotation: Any, value: Any, shown: Any) -> None:
    assert left(annotation, value) == shown


def test_a_union_hides_what_any_of_its_members_hides() -> None:
    class Open(BaseModel):
        hand: int = 0
        other: int = 0

    assert left(Player | Open, Open(hand=1)) == {"other": 0}


def test_what_hides_nothing_has_no_masks_and_is_encoded_by_its_ordinary_schema() -> None:
    class Plain(BaseModel):
        a: int = 0
        again: list[Plain] = []

    for annotation in (int, list[str], Plain, dict[str, Plain], PlayerDict.__required_keys__.__class__, type(None)):
        assert find_private(annotation).masks == ()
    assert type(public_schema(Plain)) is Schema


def test_everything_that_is_kept_stays_the_bytes_that_it_was() -> None:
    masks = find_private(dict[str, Player]).masks
    big = b'{"a":{"n":12345678901234567890123,"f":1.00e2,"s":"\\u00e9 \\u2028","hand":[1]}}'
    assert redact(big, masks) == big.replace(b',"hand":[1]', b"")


def test_operations_on_hidden_parts_are_dropped_and_values_lose_theirs() -> None:
    masks = find_private(dict[str, dict[str, Player]]).masks
    seen = b'{"op":"replace","path":"/a/x~1y/name","value":"n"}'
    ops = [
        b'{"op":"add","path":"/a/x~1y/hand/0","value":"SECRET"}',
        b'{"op":"remove","path":"/a/x~1y/hand"}',
        seen,
        b'{"op":"add","path":"/a/z","value":{"name":"z","hand":["SECRET"]}}',
        b'{"op":"remove","path":"/a/z"}',
    ]
    kept = redact_operations(b"[%b]" % b",".join(ops), masks)
    assert kept == b"[%b]" % b",".join(
        (seen, b'{"op":"add","path":"/a/z","value":{"name":"z"}}', b'{"op":"remove","path":"/a/z"}')
    )
    assert redact_operations(b"[%b]" % ops[0], masks) == UNSEEN


def test_values_say_what_they_hide_where_no_annotation_does() -> None:
    value = {
        "players": [Player(name="a", hand=["x"]), {"hand": 1}],
        "odd": (1, {2: PlayerStruct("b", ["y"])}),
        "box": Box(PlayerData("c", ["z"])),
        "root": Roots([Player()]),
        "loose": Loose.model_validate({"more": Player(hand=["v"])}),
        "checked": PlayerChecked("d", ["w"], 3),
    }
    assert json.loads(encode_public(value)) == {
        "players": [{"name": "a"}, {"hand": 1}],
        "odd": [1, {"2": {"fullName": "b"}}],
        "box": {"value": {"name": "c"}},
        "root": [{"name": ""}],
        "loose": {"hand": 0, "counts": {}, "player": {"name": ""}, "more": {"name": ""}},
        "checked": {"name": "d", "rank": 3},
    }
    assert masks_of_value([1, "a", {"b": None}]) == ()
    document = Document(PlayersOnly(players=[Player(hand=["x"])]))
    assert json.loads(encode_public([document.state.players])) == [[{"name": ""}]]


class PlayersOnly(BaseModel):
    players: list[Player] = []


class Declares(Actor[PlayersOnly]):
    pass


AppDefinition({"declares": Declares})


def test_an_open_annotation_hides_by_its_names_and_by_the_values() -> None:
    schema = public_schema(dict[str, Any])
    assert json.loads(schema.encode({"a": Player(hand=["x"])})) == {"a": {"name": ""}}
    assert json.loads(public_schema(list[object] | Player).encode([Player(hand=["x"])])) == [{"name": ""}]


@pytest.mark.parametrize(
    ("annotation", "message"),
    [
        (list[Private[int]], "marks a field"),
        (dict[str, Private[int]], "marks a field"),
        (Private[int], "marks a field"),
        (Private[int] | None, "marks a field"),
        (Pair, "an array cannot leave out"),
    ],
)
def test_private_marks_nothing_but_fields(annotation: Any, message: str) -> None:
    with pytest.raises(DefinitionError, match=message):
        find_private(annotation)


def test_a_private_field_needs_a_default_since_a_typed_client_makes_the_object_without_it() -> None:
    class Bare(BaseModel):
        secret: Private[int]

    class BareDict(TypedDict):
        secret: Private[int]

    class Game(Actor[dict[str, Any]]):
        @method
        async def show(self) -> Bare:
            return Bare(secret=1)

        @method
        async def take(self, given: Bare) -> None:
            """An input may have any private fields: the client sends them."""

    for annotation in (Bare, list[Bare], BareDict):
        with pytest.raises(DefinitionError, match=r"secret: a private field needs a default"):
            find_private(annotation)
    with pytest.raises(DefinitionError, match=r"Bare\.secret: a private field needs a default"):
        AppDefinition({"game": Game})


def test_below_any_a_state_hides_every_name_of_its_private_fields() -> None:
    class Game(BaseModel):
        players: list[Player] = []
        free: Any = None

    masks = find_private(Game, is_state=True).masks
    value = {"players": [], "free": {"a": [{"hand": 1, "b": 2}], "players": 3}}
    assert json.loads(redact(json.dumps(value).encode(), masks)) == {
        "players": [],
        "free": {"a": [{"b": 2}], "players": 3},
    }
    assert find_private(dict[str, Any], is_state=True).masks == ()
    loose = Loose.model_validate({"counts": {"hand": 3}, "player": {"hand": ["x"]}, "more": {"hand": 1, "b": 2}})
    masks = find_private(Loose, is_state=True).masks
    shown = {"hand": 0, "counts": {"hand": 3}, "player": {"name": ""}, "more": {"b": 2}}
    assert json.loads(redact(encode(loose), masks)) == shown


@pytest.mark.parametrize("annotation", [Any, list, dict[str, object], Sequence, Loose, Box, BaseModel, abc.ABC])
def test_an_annotation_that_does_not_say_what_lies_there_is_open(annotation: Any) -> None:
    assert find_private(annotation).open
    assert not find_private(list[Player | int | str | None] | dict[str, tuple[int, ...]] | Shape).open


def test_a_state_refuses_a_class_with_private_fields_that_no_annotation_names() -> None:
    class Stranger(BaseModel):
        secret: Private[int] = 0

    document = Document[dict[str, Any]]({})
    document.begin()
    with pytest.raises(StateValueError, match=r"Stranger has private fields \(secret\).*at '/a'"):
        document.state["a"] = Stranger(secret=1)
    document.rollback()

    class Holder(BaseModel):
        strangers: Private[list[Stranger] | None] = None
        holders: Private[list[Holder]] = []

    find_private(Holder, is_state=True)
    document.begin()
    document.state["a"] = Stranger(secret=1)
    document.rollback()


def test_the_data_of_an_error_loses_what_is_private() -> None:
    data = {"player": PlayerStruct("a", ["x"]), "n": 1}
    assert to_caller(ActorError("no", data=data), "r").data == {"player": {"fullName": "a"}, "n": 1}
    assert to_caller(ActorError("no", data={"n": 1}), "r").data == {"n": 1}
