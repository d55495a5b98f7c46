from __future__ import annotations

from typing import Any

from tests.unit.contract.samples import chat
from zocket.contract import Contract, contract_of
from zocket.contract.form import ActorContract, EventContract, MethodContract
from zocket.contract.typescript import typescript

NOTHING: Any = {"type": "object", "properties": {}}


def of(definitions: dict[str, Any], **actors: ActorContract) -> str:
    return typescript(Contract(actors=actors, definitions=definitions))


def actor(**more: Any) -> ActorContract:
    return ActorContract(**{"title": "It", "state": {}, "methods": {}, "events": {}, **more})


def call(given: Any = NOTHING, *, required: bool = False, **more: Any) -> MethodContract:
    return MethodContract(input=given, input_required=required, **more)


def test_the_declarations_of_the_chat() -> None:
    assert (
        typescript(contract_of(chat.definition))
        == """\
// Made by `zocket gen ts`; changes here are lost.

/** The actors of the app, by their name on the wire. */
export interface Actors {
  chat: ChatRoom;
}

/** A room to talk in. */
export interface ChatRoom {
  state: RoomState;
  methods: {
    /**
     * Say something.
     *
     * Everybody in the room sees it.
     */
    post(input: {
      /**
       * @minLength 1
       * @maxLength 2000
       */
      text: string;
    }): Message;
    all(input?: {
      /** @default 50 */
      limit?: number;
    }): Message[];
    clear(): void;
  };
  events: {
    posted: Message;
    counted: number | null;
  };
  streams: {};
}

/** What a thing is painted with. */
export type Colour = "red" | "green";

/** One line of the talk. */
export interface Message {
  author: string;
  /**
   * What was said.
   * @minLength 1
   * @maxLength 2000
   */
  text: string;
  /** @default red */
  colour: Colour;
  /** @default [] */
  tags: string[];
}

export interface RoomState {
  /** @default [] */
  messages: Message[];
  /** @default {} */
  online: { [key: string]: string };
  /** @default null */
  topic: string | null;
}
"""
    )


def test_a_stream_stands_among_the_streams_only() -> None:
    text = of({}, it=actor(methods={"tell": call(result={"type": "string"}, stream=True), "ask": call(result={})}))
    assert "  methods: {\n    ask(): unknown;\n  };\n" in text
    assert "  streams: {\n    tell(): string;\n  };\n" in text


def test_an_input_that_is_a_model_is_named() -> None:
    given = {"$ref": "#/$defs/Filter"}
    text = of({"Filter": {"type": "object", "properties": {}}}, it=actor(methods={"find": call(given)}))
    assert "find(input?: Filter): void;" in text


def test_names_that_mean_something_else_are_avoided() -> None:
    model = {"type": "object", "properties": {"class": {"type": "string"}, "with-dash": {"$ref": "#/$defs/Actors"}}}
    text = of(
        {"Actors": model, "string": {"type": "string"}, "It": {"$ref": "#/$defs/string"}},
        it=actor(state={"$ref": "#/$defs/It"}, events={"a-b": EventContract({"type": "null"})}),
    )
    assert "export interface ActorsModel {\n  class?: string;\n" in text
    assert '"with-dash"?: ActorsModel;' in text
    assert "export type It = stringModel;" in text
    assert "export interface ItActor {\n  state: It;" in text
    assert '"a-b": null;' in text


def test_one_class_under_two_names_is_declared_once() -> None:
    text = of({}, one=actor(), two=actor(), three=actor(state={"type": "string"}))
    assert "  one: It;\n  two: It;\n  three: ItActor;\n" in text
    assert text.count("export interface It {") == 1


def test_tuples_unions_and_open_arrays() -> None:
    text_or_number = {"anyOf": [{"type": "string"}, {"type": "integer"}]}
    events = {
        "pair": EventContract({"type": "array", "prefixItems": [{"type": "string"}], "minItems": 1, "maxItems": 1}),
        "open": EventContract({"type": "array", "prefixItems": [{"type": "string"}, text_or_number], "minItems": 1}),
        "list": EventContract({"type": "array", "items": text_or_number}),
        "kinds": EventContract({"type": ["string", "null"]}),
        "never": EventContract(False),
        "values": EventContract({"enum": ['a"b', 1, None, True]}),
    }
    text = of({}, it=actor(events=events))
    assert "pair: [string];" in text
    assert "open: [string, (string | number)?, ...unknown[]];" in text
    assert "list: (string | number)[];" in text
    assert "kinds: string | null;" in text
    assert "never: never;" in text
    assert 'values: "a\\"b" | 1 | null | true;' in text


def test_a_docstring_cannot_end_its_comment() -> None:
    text = of({}, it=actor(description="All */ of it", methods={"a": call(description="x */ y\nz")}))
    assert "/** All *\\/ of it */\n" in text
    assert " * x *\\/ y\n" in text
