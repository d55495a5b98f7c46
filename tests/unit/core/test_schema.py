"""Annotations as schemas: Pydantic, msgspec, dataclasses, TypedDict and plain types in every place."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import uuid
from typing import Annotated, Any, Literal, NamedTuple, TypedDict

import msgspec
import pytest
from pydantic import BaseModel, ConfigDict, Field, PlainSerializer
from pydantic.alias_generators import to_camel

from zocket.core.schema import InputSchema, Parameter, Schema, SchemaMismatch, is_model, is_native
from zocket.errors import StateValueError


class Model(BaseModel):
    author: str
    text: str = Field(min_length=1)


class Aliased(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)
    sent_at: int = 0


class Struct(msgspec.Struct):
    x: int
    y: int = 0


@dataclasses.dataclass
class Data:
    name: str
    when: datetime.datetime | None = None


@dataclasses.dataclass
class Mixed:
    model: Model


class Typed(TypedDict):
    a: int


class Pair(NamedTuple):
    left: int
    right: str


class Colour(enum.Enum):
    RED = "red"


def issues(schema: Schema[Any], raw: bytes) -> list[dict[str, Any]]:
    with pytest.raises(SchemaMismatch) as caught:
        schema.decode(raw)
    return caught.value.issues


@pytest.mark.parametrize(
    ("annotation", "native"),
    [
        (int, True),
        (str | None, True),
        (list[dict[str, int]], True),
        (Struct, True),
        (Data, True),
        (Typed, True),
        (Pair, True),
        (Colour, True),
        (Literal["a", "b"], True),
        (datetime.datetime, True),
        (uuid.UUID, True),
        (Any, True),
        (Annotated[str, msgspec.Meta(min_length=2)], True),
        (Annotated[str, Field(min_length=2)], False),
        (Model, False),
        (list[Model], False),
        (Mixed, False),
        (Model | Struct, False),
    ],
)
def test_msgspec_decides_only_where_no_pydantic_is_involved(annotation: Any, native: bool) -> None:
    assert is_native(annotation) is native


@pytest.mark.parametrize(
    ("annotation", "raw", "value"),
    [
        (int, b"5", 5),
        (float, b"5", 5.0),
        (str | None, b"null", None),
        (Model, b'{"author":"a","text":"t"}', Model(author="a", text="t")),
        (list[Model], b'[{"author":"a","text":"t"}]', [Model(author="a", text="t")]),
        (Struct, b'{"x":1}', Struct(1)),
        (Data, b'{"name":"n"}', Data("n")),
        (Mixed, b'{"model":{"author":"a","text":"t"}}', Mixed(Model(author="a", text="t"))),
        (Typed, b'{"a":1}', {"a": 1}),
        (Pair, b'[1,"x"]', Pair(1, "x")),
        (Colour, b'"red"', Colour.RED),
        (Any, b'{"x":[1]}', {"x": [1]}),
    ],
)
def test_every_kind_of_type_decodes_and_encodes_back(annotation: Any, raw: bytes, value: Any) -> None:
    schema: Schema[Any] = Schema(annotation)
    assert schema.decode(raw) == value
    assert schema.decode(schema.encode(value)) == value
    assert schema.check(value)


def test_plain_types_are_strict_in_both_worlds() -> None:
    assert issues(Schema(int), b'"5"')[0]["path"] == []
    assert issues(Schema(list[int]), b'[1,"2"]')[0]["path"] == [1]


def test_issues_name_the_path_and_never_the_value() -> None:
    found = issues(Schema(list[Model]), b'[{"author":"secret-author","text":""}]')
    assert found[0]["path"] == [0, "text"]
    assert found[0]["code"] == "string_too_short"
    assert "secret" not in repr(found)
    assert issues(Schema(dict[str, Struct]), b'{"k":{"x":"secret"}}')[0]["path"] == ["...", "x"]


@pytest.mark.parametrize("annotation", [int, Model, Struct])
@pytest.mark.parametrize("raw", [b"", b"{", b'{"a":}', b"[" * 100_000, b'"\xff"'])
def test_what_is_no_json_is_a_mismatch(annotation: Any, raw: bytes) -> None:
    assert issues(Schema(annotation), raw)


def test_values_leave_by_serialization_aliases() -> None:
    assert Schema[Any](Aliased).encode(Aliased(sent_at=3)) == b'{"sentAt":3}'
    assert Schema[Any](list[Aliased]).encode([Aliased(sent_at=3)]) == b'[{"sentAt":3}]'
    assert Schema[Any](Aliased).decode(b'{"sentAt":4}') == Aliased(sent_at=4)


def test_an_annotated_serializer_is_honoured() -> None:
    shout = Annotated[str, PlainSerializer(lambda text: text.upper())]
    assert Schema[Any](shout).encode("hey") == b'"HEY"'


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "\ud800", {1, 2, object()}])
def test_what_json_cannot_hold_is_refused(value: Any) -> None:
    with pytest.raises(StateValueError):
        Schema[Any](Any).encode(value)


@pytest.mark.parametrize(
    ("annotation", "value"), [(Model, float("nan")), (list[Model], [1]), (dict[str, Model], {"k": "no"})]
)
def test_a_value_of_another_type_than_annotated_is_refused(annotation: Any, value: Any) -> None:
    with pytest.raises(StateValueError):
        Schema[Any](annotation).encode(value)


@pytest.mark.parametrize(
    ("annotation", "good", "bad"),
    [
        (Model, Model(author="a", text="b"), {"author": "a", "text": "b"}),
        (int, 1, True),
        (float, 1, "1"),
        (int | None, None, "x"),
        (list[int], [1], ["1"]),
        (Typed, {"a": 1}, {"a": "1"}),
        (list[Model], [Model(author="a", text="b")], [3]),
    ],
)
def test_check_converts_nothing(annotation: Any, good: Any, bad: Any) -> None:
    schema: Schema[Any] = Schema(annotation)
    assert schema.check(good)
    assert not schema.check(bad)


@pytest.mark.parametrize(
    ("annotation", "model"),
    [
        (Model, True),
        (Struct, True),
        (Data, True),
        (Typed, True),
        (Model | Struct, True),
        (int, False),
        (dict[str, int], False),
    ],
)
def test_a_model_is_a_record(annotation: Any, model: bool) -> None:
    assert is_model(annotation) is model


class TestInput:
    def test_parameters_are_the_fields_of_input(self) -> None:
        schema = InputSchema([Parameter("a", int, True), Parameter("b", Model, True), Parameter("c", str, False)])
        raw = b'{"a":1,"b":{"author":"x","text":"y"},"unknown":true}'
        assert schema.decode(raw) == {"a": 1, "b": Model(author="x", text="y")}

    def test_one_model_named_input_is_the_whole_input(self) -> None:
        schema = InputSchema([Parameter("input", Model, True)])
        assert schema.decode(b'{"author":"x","text":"y"}') == {"input": Model(author="x", text="y")}
        assert schema.encode({"input": Model(author="x", text="y")}) == b'{"author":"x","text":"y"}'

    def test_an_input_that_is_no_model_is_a_field(self) -> None:
        assert InputSchema([Parameter("input", int, True)]).decode(b'{"input":3}') == {"input": 3}

    @pytest.mark.parametrize("raw", [None, b"", b"null", b"{}"])
    def test_no_input_is_the_empty_object(self, raw: bytes | None) -> None:
        assert InputSchema([Parameter("a", int, False)]).decode(raw) == {}
        with pytest.raises(SchemaMismatch):
            InputSchema([Parameter("a", int, True)]).decode(raw)

    @pytest.mark.parametrize("raw", [None, b"5", b"{", b'{"x":1}'])
    def test_a_method_without_parameters_takes_any_input(self, raw: bytes | None) -> None:
        assert InputSchema([]).decode(raw) == {}

    def test_the_path_of_an_issue_begins_with_the_parameter(self) -> None:
        schema = InputSchema([Parameter("number", int, True), Parameter("message", Model, True)])
        with pytest.raises(SchemaMismatch) as caught:
            schema.decode(b'{"number":1,"message":{"author":"a","text":""}}')
        assert caught.value.issues[0]["path"] == ["message", "text"]
        with pytest.raises(SchemaMismatch) as caught:
            schema.decode(b'{"number":"1","message":{"author":"a","text":"b"}}')
        assert caught.value.issues[0]["path"] == ["number"]

    @pytest.mark.parametrize("annotation", [int, Model, msgspec.Raw])
    def test_a_parameter_without_default_must_be_there(self, annotation: Any) -> None:
        schema = InputSchema([Parameter("a", int, False), Parameter("b", annotation, True)])
        with pytest.raises(SchemaMismatch) as caught:
            schema.decode(b'{"a":1}')
        message = "Object missing required field `b`"
        assert caught.value.issues == [{"path": [], "message": message, "code": "invalid"}]

    def test_a_raw_parameter_is_the_json(self) -> None:
        schema = InputSchema([Parameter("a", msgspec.Raw, True)])
        assert schema.decode(b'{"a":[1]}') == {"a": msgspec.Raw(b"[1]")}

    def test_parameters_may_have_names_that_a_struct_may_not(self) -> None:
        schema = InputSchema([Parameter("__class__", int, True), Parameter("from_", int, True)])
        assert schema.decode(b'{"__class__":1,"from_":2}') == {"__class__": 1, "from_": 2}

    def test_arguments_encode_to_what_decodes_to_them(self) -> None:
        schema = InputSchema([Parameter("a", int, True), Parameter("b", list[Model], True), Parameter("c", str, False)])
        arguments = {"a": 1, "b": [Model(author="x", text="y")]}
        assert schema.decode(schema.encode(arguments)) == arguments
