from __future__ import annotations

import types
from datetime import date, datetime
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
import pytest
from pydantic import BaseModel, ConfigDict, Field

from tests.unit.contract.samples import chat, everything
from zocket import Actor, App, Event, method
from zocket.contract import Contract, contract_of
from zocket.contract.changes import compare_contracts
from zocket.contract.comparing import SchemaComparison
from zocket.contract.form import ActorContract, MethodContract


def contract(cls: type[Actor[Any, Any]], name: str = "it") -> Contract:
    return contract_of(App(actors={name: cls}).definition)


def told(old: type[Actor[Any, Any]], new: type[Actor[Any, Any]]) -> list[str]:
    """The changes, with `!` in front of those that break."""
    changes = compare_contracts(contract(old), contract(new))
    return [f"{'!' if breaking else ''}{where}: {what}" for where, what, breaking in changes]


def taking(annotation: Any, **defaults: Any) -> type[Actor[Any, Any]]:
    """An actor with a method `do(x: annotation)`."""

    async def do(self: Any, x: Any) -> None: ...

    do.__annotations__ = {"x": annotation, "return": None}
    do.__defaults__ = tuple(defaults.values()) or None
    return types.new_class("It", (Actor[dict[str, Any]],), exec_body=lambda names: names.update(do=method(do)))


def giving(annotation: Any) -> type[Actor[Any, Any]]:
    """An actor with a method `do() -> annotation`."""

    async def do(self: Any) -> Any: ...

    do.__annotations__ = {"return": annotation}
    return types.new_class("It", (Actor[dict[str, Any]],), exec_body=lambda names: names.update(do=method(do)))


class Old(BaseModel):
    name: str
    size: int = 0


class WithNote(Old):
    note: str = ""


class WithNeed(Old):
    need: str


class Renamed(BaseModel):
    title: str
    size: int = 0


class Closed(Old):
    model_config = ConfigDict(extra="forbid")


class ClosedWithNote(WithNote):
    model_config = ConfigDict(extra="forbid")


class Cat(msgspec.Struct, tag="cat"):
    lives: int


class Dog(msgspec.Struct, tag="dog"):
    good: bool


class Place(NamedTuple):
    x: int


class Place3(NamedTuple):
    x: int
    y: int = 0


Short = Annotated[str, Field(max_length=5)]
Long = Annotated[str, Field(max_length=50)]


@pytest.mark.parametrize("app", [chat, everything])
def test_a_contract_compared_with_itself_has_no_change(app: App) -> None:
    assert compare_contracts(contract_of(app.definition), contract_of(app.definition)) == []


@pytest.mark.parametrize(
    ("old", "new", "changes"),
    [
        (int, float, ["it.do.input.x: was integer, is number"]),
        (float, int, ["!it.do.input.x: was number, is integer"]),
        (int, str, ["!it.do.input.x: was integer, is string"]),
        (datetime, date, ['!it.do.input.x: format was "date-time", is "date"']),
        (str, int | str, ["it.do.input.x: may be integer"]),
        (int | str, str, ["!it.do.input.x: is no longer integer"]),
        (int | None, int, ["!it.do.input.x: is no longer null"]),
        (int, int | None, ["it.do.input.x: may be null"]),
        (Literal["a", "b"], Literal["b", "c"], ['!it.do.input.x: is no longer "a"', 'it.do.input.x: may be "c"']),
        (Literal["a"], str, ['it.do.input.x: was "a", is string']),
        (str, Literal["a"], ['!it.do.input.x: was string, is "a"']),
        (Short, Long, ["it.do.input.x: maxLength was 5, is 50"]),
        (Long, Short, ["!it.do.input.x: maxLength was 50, is 5"]),
        (str, Short, ["!it.do.input.x: has maxLength 5"]),
        (Short, str, ["it.do.input.x: has no maxLength any more"]),
        (Any, str, ["!it.do.input.x: was any, is string"]),
        (str, Any, ["it.do.input.x: was string, is any"]),
        (list[int], list[str], ["!it.do.input.x[]: was integer, is string"]),
        (dict[str, int], dict[str, float], ["it.do.input.x.*: was integer, is number"]),
        (Old, WithNote, ["it.do.input.x.note: is new"]),
        (Old, WithNeed, ["!it.do.input.x.need: is new and required"]),
        (WithNote, Old, ["!it.do.input.x.note: is gone"]),
        (Old, Renamed, ["!it.do.input.x.name: is gone", "!it.do.input.x.title: is new and required"]),
        (Old, Closed, ["!it.do.input.x.*: was any, is nothing"]),
        (Closed, ClosedWithNote, ["it.do.input.x.note: is new"]),
        (dict[str, Any], Old, ["!it.do.input.x.name: is new and required", "!it.do.input.x.size: was any, is integer"]),
        (Cat, Cat | Dog, ["it.do.input.x: may be Dog"]),
        (Cat | Dog, Dog, ["!it.do.input.x: is no longer Cat"]),
        (Place, Place3, ["it.do.input.x: maxItems was 1, is 2", "it.do.input.x[1]: may be integer"]),
        (Place3, Place, ["!it.do.input.x: maxItems was 2, is 1", "!it.do.input.x[1]: is no longer integer"]),
    ],
)
def test_an_input_breaks_its_callers_where_it_takes_less(old: Any, new: Any, changes: list[str]) -> None:
    assert told(taking(old), taking(new)) == changes


@pytest.mark.parametrize(
    ("old", "new", "changes"),
    [
        (int, float, ["!it.do.result: was integer, is number"]),
        (float, int, ["it.do.result: was number, is integer"]),
        (int | None, int, ["it.do.result: is no longer null"]),
        (int, int | None, ["!it.do.result: may be null"]),
        (Literal["a", "b"], Literal["b", "c"], ['!it.do.result: may be "c"', 'it.do.result: is no longer "a"']),
        (Short, Long, ["!it.do.result: maxLength was 5, is 50"]),
        (Long, Short, ["it.do.result: maxLength was 50, is 5"]),
        (Any, str, ["it.do.result: was any, is string"]),
        (str, Any, ["!it.do.result: was string, is any"]),
        (Old, WithNote, ["it.do.result.note: is new"]),
        (Closed, ClosedWithNote, ["!it.do.result.note: is new"]),
        (WithNote, Old, ["!it.do.result.note: is gone"]),
        (Cat, Cat | Dog, ["!it.do.result: may be Dog"]),
        (Place, Place3, ["!it.do.result: maxItems was 1, is 2", "!it.do.result[1]: may be integer"]),
        (None, int, ["it.do: the method has a result"]),
        (int, None, ["!it.do: the method has no result any more"]),
    ],
)
def test_a_result_breaks_its_readers_where_it_gives_more(old: Any, new: Any, changes: list[str]) -> None:
    found = told(giving(old), giving(new))
    assert [item for item in found if "minItems" not in item] == changes


def test_a_parameter_that_is_required_from_now_on_breaks_and_one_that_is_not_does_not() -> None:
    assert told(taking(int, x=1), taking(int)) == ["!it.do.input.x: is required"]
    assert told(taking(int), taking(int, x=1)) == ["it.do.input.x: may be missing"]
    assert told(taking(int, x=1), taking(int, x=2)) == ["it.do.input.x: its default was 1, is 2"]


def test_names_that_are_gone_break_and_new_ones_do_not() -> None:
    class Before(Actor[Old]):
        posted = Event(Old)
        gone = Event[int]()

        @classmethod
        def initial_state(cls) -> Any:
            return Old(name="")

        @method
        async def post(self, text: str) -> None: ...

        @method
        async def stop(self) -> None: ...

    class After(Actor[WithNote]):
        sent = Event(Old)

        @classmethod
        def initial_state(cls) -> Any:
            return WithNote(name="")

        @method
        async def say(self, text: str) -> None: ...

        @method
        async def start(self, at: int) -> None: ...

    assert told(Before, After) == [
        "!it.post: the method is called say",
        "!it.stop: the method is gone",
        "!it.posted: the event is called sent",
        "!it.gone: the event is gone",
        "it.state.note: is new",
        "it.start: the method is new",
    ]


def test_a_renamed_actor_is_said_to_be_renamed() -> None:
    changes = compare_contracts(contract(taking(int), "one"), contract(taking(int), "two"))
    assert changes == [("one", "the actor is called two", True)]
    changes = compare_contracts(contract(taking(int), "one"), contract(taking(str), "two"))
    assert changes == [("one", "the actor is gone", True), ("two", "the actor is new", False)]


def test_a_method_that_becomes_a_stream_breaks() -> None:
    def of(**more: Any) -> Contract:
        call = MethodContract(input={"type": "object", "properties": {}}, input_required=False, **more)
        return Contract(actors={"it": ActorContract(state={}, methods={"do": call}, events={})})

    assert compare_contracts(of(result={}), of(result={}, stream=True)) == [("it.do", "the method is a stream", True)]
    assert compare_contracts(of(query=True), of()) == [("it.do", "the method is no query any more", True)]
    assert compare_contracts(of(), of(query=True)) == [("it.do", "the method is a query", False)]


def test_schemas_that_refer_to_themselves_are_compared_once() -> None:
    old = {"Tree": {"type": "object", "properties": {"down": {"$ref": "#/$defs/Tree"}, "value": {"type": "integer"}}}}
    new = {"Tree": {"type": "object", "properties": {"down": {"$ref": "#/$defs/Tree"}, "value": {"type": "string"}}}}
    comparison = SchemaComparison(old, new, "input")
    comparison.compare({"$ref": "#/$defs/Tree"}, {"$ref": "#/$defs/Tree"}, "tree")
    assert comparison.changes == [("tree.value", "was integer, is string", True)]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({"not": {"$ref": "#/$defs/X"}}, {"not": {"$ref": "#/$defs/X"}}),
        ({"if": {"$ref": "#/$defs/X"}, "then": False}, {"if": {"$ref": "#/$defs/X"}, "then": False}),
        ({"type": "string", "pattern": "a"}, {"type": "string", "pattern": "b"}),
        ({"allOf": [{"minLength": 1}, {"maxLength": 2}]}, {"allOf": [{"minLength": 1}, {"maxLength": 3}]}),
        ({"$ref": "#/$defs/X", "minLength": 2}, {"$ref": "#/$defs/X", "minLength": 1}),
    ],
)
@pytest.mark.parametrize("mode", ["input", "output"])
def test_what_cannot_be_decided_breaks(old: Any, new: Any, mode: Any) -> None:
    definitions = {"X": {"type": "string", "minLength": 3}}, {"X": {"type": "string", "minLength": 4}}
    comparison = SchemaComparison(*definitions, mode)
    comparison.compare(old, new, "it")
    assert any(change.breaking for change in comparison.changes)


def test_alternatives_are_found_again_by_their_name() -> None:
    def record(*names: str) -> Any:
        return {"type": "object", "properties": {name: {"type": "integer"} for name in names}, "required": [names[0]]}

    old, new = {"A": record("a"), "B": record("b")}, {"A": record("a", "more"), "B": record("b", "further")}
    either = [{"$ref": "#/$defs/A"}, {"$ref": "#/$defs/B"}]
    comparison = SchemaComparison(old, new, "input")
    comparison.compare({"anyOf": either}, {"anyOf": either[::-1]}, "it")
    assert comparison.changes == [("it.more", "is new", False), ("it.further", "is new", False)]
