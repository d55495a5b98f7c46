from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Annotated, Any, NamedTuple

import msgspec
import pytest
from jsonschema import Draft202012Validator
from pydantic import BaseModel, Field, computed_field
from pydantic_core import core_schema

from tests.unit.contract.samples import ChatRoom, chat, everything
from zocket import Actor, App, Event, method, query
from zocket.contract import NoContract, contract_of, decode_contract
from zocket.contract.form import with_definitions
from zocket.contract.typescript import typescript
from zocket.core import AppDefinition


class Chunk(msgspec.Struct):
    text: str


def contract(cls: type[Actor[Any, Any]]) -> Any:
    return json.loads(contract_of(App(actors={"it": cls}).definition).encode())


def schemas_of(document: Any) -> list[Any]:
    found = []
    for actor in document["actors"].values():
        found.append(actor["state"])
        found += [event["payload"] for event in actor["events"].values()]
        for item in actor["methods"].values():
            found += [item[word] for word in ("input", "result") if word in item]
    return found


def test_a_contract_names_everything_that_a_client_can_name() -> None:
    room = json.loads(contract_of(chat.definition).encode())["actors"]["chat"]
    assert (room["title"], room["description"]) == ("ChatRoom", "A room to talk in.")
    assert room["state"] == {"$ref": "#/$defs/RoomState"}
    assert list(room["methods"]) == ["post", "all", "clear"]
    assert room["methods"]["post"] == {
        "description": "Say something.\n\nEverybody in the room sees it.",
        "input": {
            "type": "object",
            "properties": {"text": {"type": "string", "minLength": 1, "maxLength": 2000}},
            "required": ["text"],
        },
        "inputRequired": True,
        "result": {"$ref": "#/$defs/Message"},
    }
    assert room["methods"]["all"]["input"]["properties"] == {"limit": {"type": "integer", "default": 50}}
    assert not room["methods"]["all"]["inputRequired"]
    assert "result" not in room["methods"]["clear"]
    assert room["events"]["counted"] == {"payload": {"anyOf": [{"type": "integer"}, {"type": "null"}]}}


def test_what_has_a_default_may_be_absent_in_an_input_and_never_is_in_an_output() -> None:
    definitions = contract_of(everything.definition).definitions
    for name, required in {
        "Message": ["author", "text", "colour", "tags"],
        "MessageInput": ["author", "text"],
        "Point": ["x", "y", "labels"],
        "PointInput": ["x"],
        "Dog": ["type", "goodBoy"],
        "DogInput": ["type"],
    }.items():
        assert definitions[name]["required"] == required, name  # type: ignore[index]
    assert "required" not in definitions["Sparse"]  # type: ignore[operator]  # its defaults are not written


def test_names_are_those_of_the_wire() -> None:
    document = contract_of(everything.definition)
    assert list(document.actors) == ["everyThing", "chat"]
    assert list(document.definitions["Wire"]["properties"]) == ["displayName", "seenAt"]  # type: ignore[index]


def test_every_schema_is_one_of_json_schema_2020_12_and_stands_by_itself() -> None:
    document = contract_of(everything.definition)
    for schema in schemas_of(json.loads(document.encode())):
        whole = with_definitions(schema, document.definitions)
        Draft202012Validator.check_schema(whole)
        list(Draft202012Validator(whole).iter_errors({}))  # raises for a reference that leads nowhere


@pytest.mark.parametrize(
    ("call", "good", "bad"),
    [
        ("times", {"at": "2026-01-01T00:00:00Z", "on": "2026-01-01", "clock": "10:00:00", "span": "PT1S"}, {"at": 1}),
        ("pets", {"pet": {"type": "dog"}, "sparse": {}}, {"pet": {"type": "cow"}, "sparse": {}}),
        ("shapes", {"pair": [1, "a"], "many": [1], "colour": "red"}, {"pair": [1], "many": []}),
        ("trees", {"root": {"children": [{"value": 2}]}}, {"root": {"children": [{"value": "x"}]}}),
        ("search", {"limit": 5}, {"limit": 500}),
        (
            "models",
            {"message": {"author": "a", "text": "b"}, "point": {"x": 1}, "wire": {}, "options": {"size": 1}},
            {},
        ),
    ],
)
def test_an_input_fits_its_schema_if_the_method_takes_it(call: str, good: Any, bad: Any) -> None:
    document = contract_of(everything.definition)
    definition = everything.definition.actors["everyThing"].methods[call]
    validator = Draft202012Validator(
        with_definitions(document.actors["everyThing"].methods[call].input, document.definitions)
    )
    definition.decode_input(json.dumps(good).encode())
    validator.validate(good)
    assert not validator.is_valid(bad)


def test_results_that_the_method_writes_fit_their_schema() -> None:
    from tests.unit.contract.samples import Cat, Message, Page, Point, Wire

    document, methods = contract_of(everything.definition), everything.definition.actors["everyThing"].methods
    results = {
        "trees": Page[Message](items=[Message(author="a", text="b")]),
        "pets": Cat(),
        "shapes": [Point(1.0)],
        "models": Wire(seen_at=datetime(2026, 1, 1)),
    }
    for name, value in results.items():
        written = methods[name].encode_result(value)
        assert written is not None
        result = document.actors["everyThing"].methods[name].result
        assert result is not msgspec.UNSET
        Draft202012Validator(with_definitions(result, document.definitions)).validate(json.loads(written))


def test_two_classes_of_one_name_have_two_names() -> None:
    class Outer(BaseModel):
        class Item(BaseModel):
            a: int

        item: Item

    class Item(msgspec.Struct):
        b: str

    class Two(Actor[dict[str, Any]]):
        @method
        async def first(self) -> Outer:
            raise NotImplementedError

        @method
        async def second(self) -> Item:
            raise NotImplementedError

    definitions = contract(Two)["$defs"]
    assert {tuple(definitions[name]["properties"]) for name in ("Item", "Item2")} == {("a",), ("b",)}
    assert definitions["Outer"]["properties"]["item"] == {"$ref": "#/$defs/Item2"}


def test_properties_that_are_called_like_keywords_are_properties() -> None:
    class Odd(BaseModel):
        default: Outcome
        enum: list[Outcome] = []
        properties: dict[str, Outcome] = {}
        ref: Outcome | None = Field(default=None, alias="$ref")

    class It(Actor[dict[str, Any]]):
        @method
        async def odd(self) -> Odd:
            raise NotImplementedError

    document = contract(It)
    assert set(document["$defs"]) == {"Odd", "Outcome"}
    assert document["$defs"]["Odd"]["properties"]["default"] == {"$ref": "#/$defs/Outcome"}


class Outcome(BaseModel):
    good: bool


def test_what_is_computed_is_written() -> None:
    class Square(BaseModel):
        side: int

        @computed_field  # type: ignore[prop-decorator]
        @property
        def area(self) -> int:
            return self.side**2

    class It(Actor[dict[str, Any]]):
        @method
        async def grow(self, square: Square) -> Square:
            return square

    definitions = contract(It)["$defs"]
    assert list(definitions["Square"]["properties"]) == ["side", "area"]
    assert list(definitions["SquareInput"]["properties"]) == ["side"]


def test_what_no_schema_can_say_may_be_anything() -> None:
    class Pair(NamedTuple):
        left: int
        right: int = 0

    class It(Actor[dict[str, Any]]):
        @method
        async def pair(self, pair: Pair, raw: msgspec.Raw, anything: object) -> Pair:
            return pair

    methods = contract(It)
    assert methods["actors"]["it"]["methods"]["pair"]["input"]["properties"]["raw"] == {}
    assert methods["$defs"]["PairInput"]["minItems"] == 1
    assert methods["$defs"]["Pair"]["minItems"] == 2


def test_a_default_that_json_cannot_hold_is_left_out() -> None:
    class It(Actor[dict[str, Any]]):
        @method
        async def wait(
            self, seconds: float = float("inf"), text: Annotated[str, Field(max_length=9)] = "a"
        ) -> None: ...

    properties = contract(It)["actors"]["it"]["methods"]["wait"]["input"]["properties"]
    assert properties == {"seconds": {"type": "number"}, "text": {"type": "string", "maxLength": 9, "default": "a"}}


def test_a_type_whose_code_raises_may_be_anything_and_spoils_no_other() -> None:
    class Stubborn:
        @classmethod
        def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
            return core_schema.any_schema()

        @classmethod
        def __get_pydantic_json_schema__(cls, schema: Any, handler: Any) -> Any:
            raise RuntimeError("no")

    class It(Actor[dict[str, Any]]):
        @method
        async def take(self, stubborn: Stubborn, outcome: Outcome) -> list[Stubborn]:
            return []

    take = contract(It)["actors"]["it"]["methods"]["take"]
    assert take["input"]["properties"] == {"stubborn": {}, "outcome": {"$ref": "#/$defs/Outcome"}}
    assert take["result"] == {}


def test_the_same_definition_gives_the_same_bytes() -> None:
    again = AppDefinition({"chat": ChatRoom})
    assert contract_of(again).encode() == contract_of(chat.definition).encode()


def test_a_contract_survives_its_way_and_fields_that_a_later_version_adds() -> None:
    document = contract_of(everything.definition)
    assert decode_contract(document.text().encode()) == document
    later = json.loads(document.encode())
    later["further"] = later["actors"]["chat"]["further"] = 1
    assert decode_contract(json.dumps(later).encode()) == document


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"zocketContract": 1}', b"\xff", b"[" * 100_000])
def test_what_is_no_contract_is_refused(content: bytes) -> None:
    with pytest.raises(NoContract):
        decode_contract(content)


def test_another_form_is_refused_by_its_number() -> None:
    with pytest.raises(NoContract, match="its form is 2"):
        decode_contract(b'{"zocketContract": 2, "actors": 7}')


def test_an_event_of_a_subclass_is_in_its_contract() -> None:
    class Loud(ChatRoom):
        shouted = Event[str]()

    assert list(contract(Loud)["actors"]["it"]["events"]) == ["posted", "counted", "shouted"]


def test_a_stream_is_described_by_its_chunks_and_a_query_by_its_mark() -> None:
    class Agent(Actor[dict[str, Any]]):
        @method
        async def words(self, text: str) -> AsyncIterator[Chunk]:
            """One after the other."""
            yield Chunk(text)

        @method
        async def anything(self):  # type: ignore[no-untyped-def]
            yield 1

        @query
        async def count(self) -> int:
            return 1

    document = contract(Agent)
    methods = document["actors"]["it"]["methods"]
    assert (methods["words"]["stream"], methods["words"]["description"]) == (True, "One after the other.")
    assert methods["words"]["result"] == {"$ref": "#/$defs/Chunk"}
    assert document["$defs"]["Chunk"]["required"] == ["text"]
    assert methods["anything"]["result"] == {}
    assert methods["count"]["query"] is True
    assert "words(input: { text: string }): Chunk;" in typescript(decode_contract(json.dumps(document).encode()))
