"""No contract names what no client sees."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from pydantic import BaseModel

from zocket import Actor, App, Event, Private, method, view
from zocket.contract import contract_of
from zocket.contract.form import with_definitions
from zocket.errors import DefinitionError


class Card(msgspec.Struct):
    face: str = ""


class PlayerStruct(msgspec.Struct):
    name: str = ""
    hand: Private[list[Card]] = []


class Player(BaseModel):
    name: str = ""
    hand: Private[list[str]] = ["SECRET"]


class TableStruct(msgspec.Struct):
    deck: Private[list[Card]] = []
    players: list[PlayerStruct] = []


class Dealer(msgspec.Struct, tag=True):
    hand: str = "public"


class Guest(msgspec.Struct, tag=True):
    hand: Private[str] = "SECRET"


class Table(BaseModel):
    players: dict[str, Player] = {"a": Player(name="ann", hand=["SECRET"])}
    anything: Any = Player(hand=["SECRET"])
    deck: Private[list[str]] = ["SECRET"]


def contract(cls: type[Actor[Any, Any]]) -> tuple[Any, str]:
    text = contract_of(App(actors={"it": cls}).definition).encode().decode()
    return json.loads(text), text


def test_schemas_of_what_is_written_have_neither_private_fields_nor_what_only_they_refer_to() -> None:
    class Structs(Actor[TableStruct]):
        joined = Event[PlayerStruct]()

        @method
        async def seat(self) -> PlayerStruct:
            raise NotImplementedError

    class Models(Actor[Table]):
        joined = Event[Player]()

        @method
        async def seat(self) -> dict[str, Player | None]:
            raise NotImplementedError

        @method
        async def watch(self) -> AsyncIterator[Player]:
            yield Player()

    for cls in (Structs, Models):
        document, text = contract(cls)
        for word in ("hand", "deck", "Card", "SECRET"):
            assert f'"{word}"' not in text, (cls, word)
        assert (
            "players" in document["$defs"][document["actors"]["it"]["state"]["$ref"].rpartition("/")[2]]["properties"]
        )
    players = contract(Models)[0]["$defs"]["Table"]["properties"]
    assert players["players"]["default"] == {"a": {"name": "ann"}}
    assert players["anything"]["default"] == {"name": ""}


def test_an_input_has_private_fields_and_no_default_has_them() -> None:
    class Takes(Actor[dict[str, int]]):
        @method
        async def model(self, player: Player, table: Table = Table()) -> None: ...  # noqa: B008

        @method
        async def struct(self, anything: Any = PlayerStruct("ann", [Card("SECRET")])) -> None: ...  # noqa: B008

    document, text = contract(Takes)
    assert "SECRET" not in text
    assert list(document["$defs"]["Player"]["properties"]) == ["name", "hand"]
    methods = document["actors"]["it"]["methods"]
    assert methods["struct"]["input"]["properties"]["anything"]["default"] == {"name": "ann"}
    assert methods["model"]["input"]["properties"]["table"]["default"]["players"] == {"a": {"name": "ann"}}


def test_what_is_hidden_in_one_place_is_described_where_it_is_seen() -> None:
    class Mixed(Actor[dict[str, int]]):
        @method
        async def either(self) -> Dealer | Guest:
            raise NotImplementedError

        @method
        async def dealer(self) -> Dealer:
            raise NotImplementedError

    document, text = contract(Mixed)
    assert "SECRET" not in text
    methods = document["actors"]["it"]["methods"]
    either = with_definitions(methods["either"]["result"], document["$defs"])
    assert '"hand"' not in json.dumps(either)
    dealer = with_definitions(methods["dealer"]["result"], document["$defs"])
    assert '"hand"' in json.dumps(dealer)


def test_the_state_of_a_class_with_a_view_is_the_view() -> None:
    class Seen(BaseModel):
        count: int = 0

    class Viewed(Actor[Table]):
        @view
        def seen(self) -> Seen:
            return Seen(count=len(self.state.players))

    document, text = contract(Viewed)
    assert document["actors"]["it"]["state"] == {"$ref": "#/$defs/Seen"}
    for word in ("Table", "players", "deck", "hand", "SECRET"):
        assert word not in text


def test_a_parameter_cannot_be_private() -> None:
    class Takes(Actor[dict[str, int]]):
        @method
        async def take(self, secret: Private[str] = "SECRET") -> None: ...

    with pytest.raises(DefinitionError, match="Private marks a field"):
        contract(Takes)
