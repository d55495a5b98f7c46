from __future__ import annotations

import json
import sys
from types import ModuleType
from typing import Any

import pytest

from tests.unit.contract.samples import chat, everything
from zocket.contract import Contract, contract_of
from zocket.contract.changes import compare_contracts
from zocket.contract.form import ActorContract, EventContract, MethodContract
from zocket.contract.python import python


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The generated module of a contract, imported."""

    def load(contract: Contract) -> Any:
        module = ModuleType("generated_client")
        monkeypatch.setitem(sys.modules, module.__name__, module)  # annotations are looked up there
        exec(compile(python(contract), "generated_client.py", "exec", dont_inherit=True), module.__dict__)
        return module

    return load


def of(definitions: dict[str, Any], **more: Any) -> Contract:
    entry = {"title": "It", "state": {}, "methods": {}, "events": {}, **more}
    return Contract(actors={"it": ActorContract(**entry)}, definitions=definitions)


def call(given: Any, **more: Any) -> MethodContract:
    return MethodContract(input=given, input_required=True, **more)


def test_the_module_of_the_chat() -> None:
    text = python(contract_of(chat.definition))
    assert (
        '''\
class Message(Model):
    """One line of the talk."""

    author: str
    text: Annotated[str, Field(min_length=1, max_length=2000)]
    colour: Colour
    tags: list[str]


class RoomState(Model):
    messages: list[Message]
    online: dict[str, str]
    topic: str | None


Colour = Literal["red", "green"]


class ChatRoom(Actor[RoomState]):
    """A room to talk in."""

    posted = Event(Message)
    counted = Event[int | None]()

    @classmethod
    def initial_state(cls) -> RoomState:
        return RoomState.model_construct()

    @method
    async def post(self, *, text: Annotated[str, Field(min_length=1, max_length=2000)]) -> Message:
        """Say something.

        Everybody in the room sees it.
        """
        raise NotImplementedError

    @method
    async def all(self, *, limit: int = 50) -> list[Message]:
        raise NotImplementedError

    @method
    async def clear(self) -> None:
        raise NotImplementedError


app = App(actors={"chat": ChatRoom})
'''
        in text
    )
    assert "from uuid" not in text


def test_the_classes_of_the_module_have_the_contract_that_they_were_made_of(load: Any) -> None:
    made = contract_of(everything.definition)
    again = contract_of(load(made).app.definition)
    assert [change for change in compare_contracts(made, again) if ".input" not in change.where] == []
    assert [*again.actors["everyThing"].methods] == [*made.actors["everyThing"].methods]


def test_what_is_not_set_is_not_sent(load: Any) -> None:
    module = load(contract_of(everything.definition))
    models = module.app.definition.actors["everyThing"].methods["models"]
    message = module.MessageInput(author="ada", text="hi")
    changed = module.MessageInput(author="ada", text="hi")
    changed.tags.append("late")
    values = {"point": module.PointInput(x=1), "wire": module.WireInput(), "options": module.Options(size=1)}
    for sent, written in (
        (message, {"author": "ada", "text": "hi"}),
        (changed, {"author": "ada", "text": "hi", "tags": ["late"]}),
        (module.MessageInput(author="ada", text="hi", tags=[]), {"author": "ada", "text": "hi", "tags": []}),
    ):
        encoded = json.loads(models.encode_arguments((), {**values, "message": sent}))
        assert encoded == {"message": written, "point": {"x": 1.0}, "wire": {}, "options": {"size": 1}}


def test_what_the_module_sends_the_server_takes_and_the_other_way_round(load: Any) -> None:
    module = load(contract_of(everything.definition))
    ours = module.app.definition.actors["everyThing"].methods
    theirs = everything.definition.actors["everyThing"].methods
    from datetime import UTC, date, datetime, time, timedelta
    from decimal import Decimal
    from uuid import UUID

    sent: dict[str, dict[str, Any]] = {
        "times": {
            "at": datetime(2026, 1, 2, tzinfo=UTC),
            "on": date(2026, 1, 2),
            "clock": time(1, 2),
            "span": timedelta(hours=1),
        },
        "scalars": {"data": b"\xff\xfe?>", "key": UUID(int=5), "price": Decimal("1.50")},
        "shapes": {"pair": (1, "a"), "many": [1, 2]},
    }
    for name, arguments in sent.items():
        received = theirs[name].decode_input(ours[name].encode_arguments((), arguments))
        assert {word: received[word] for word in arguments} == {
            **arguments,
            **({"many": {1, 2}} if name == "shapes" else {}),
        }
    written = theirs["pets"].encode_result(theirs["pets"].decode_input(b'{"pet":{"type":"dog"},"sparse":{}}')["pet"])
    assert ours["pets"].decode_result(written) == module.Dog(goodBoy=True)


def test_names_that_python_has_other_uses_for(load: Any) -> None:
    text, any_ref = {"type": "string"}, {"$ref": "#/$defs/Any"}
    given = {"type": "object", "properties": {"from": text, "ok": any_ref}, "required": ["from"]}
    model = {
        "type": "object",
        "properties": {"class": text, "copy": text, "_private": text, "1st": text, "nested": {**given}},
        "required": ["class"],
    }
    contract = of(
        {"Any": model, "list": {"enum": ["a", None, 1]}},
        state=any_ref,
        methods={"move": call(given, result={"$ref": "#/$defs/list"}), "state": call(given), "import": call(given)},
        events={"happened": EventContract(any_ref), "a-b": EventContract({}), "id": EventContract({})},
    )
    module = load(contract)
    it = module.app.definition.actors["it"]
    assert [*it.methods] == ["move"]
    assert [*it.events] == ["happened"]
    value = module.AnyModel.model_validate({"class": "x", "copy": "y", "1st": "z", "nested": {"from": "a"}})
    assert value.model_dump(by_alias=True) == {"class": "x", "copy": "y", "1st": "z", "nested": {"from": "a"}}
    moved = it.methods["move"].encode_arguments((), {"input": module.ItMoveInput.model_validate({"from": "here"})})
    assert json.loads(moved) == {"from": "here"}


def test_aliases_stand_behind_what_they_name_and_those_of_themselves_are_open(load: Any) -> None:
    definitions = {
        "A": {"anyOf": [{"$ref": "#/$defs/B"}, {"type": "null"}]},
        "B": {"type": "array", "items": {"$ref": "#/$defs/C"}},
        "C": {"type": "object", "additionalProperties": {"$ref": "#/$defs/B"}},
    }
    module = load(of(definitions, events={"told": EventContract({"$ref": "#/$defs/A"})}))
    assert module.app.definition.actors["it"].events["told"].decode(b'[{"x": [1]}]') == [{"x": [1]}]


def test_a_docstring_cannot_end_early(load: Any) -> None:
    module = load(
        of({}, description='Ends """ here\\', methods={"say": call({"type": "object"}, description='"quoted"')})
    )
    assert module.It.__doc__ == 'Ends """ here\\'
    assert module.It.say.__doc__.strip() == '"quoted"'


def test_a_stream_is_left_to_dynamic_handles() -> None:
    text = python(of({}, methods={"tell": call({"type": "object"}, result={}, stream=True)}))
    assert '    # "tell" is a stream: client.dynamic(…) has it' in text


def test_any_contract_gives_a_module(load: Any) -> None:
    odd = {
        "Closed": False,
        "Tuple": {"type": "array", "prefixItems": [{"type": "string"}], "minItems": 0},
        "Both": {"allOf": [{"$ref": "#/$defs/Tuple"}]},
        "Kinds": {"type": ["string", "null", "integer"], "minLength": 2},
        "Numbers": {"type": "number", "minimum": 1, "multipleOf": 2, "default": 4},
    }
    load(of(odd, events={name.lower(): EventContract({"$ref": f"#/$defs/{name}"}) for name in odd}))
