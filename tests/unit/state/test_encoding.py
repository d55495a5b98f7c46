"""JSON bytes of any mixture of plain data, models, Structs and dataclasses."""

from __future__ import annotations

import dataclasses
import enum
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec
import pytest
from pydantic import BaseModel, ConfigDict, Field
from pydantic.dataclasses import dataclass as pydantic_dataclass

from zocket.errors import StateValueError
from zocket.state import Document, encode

NAN, INFINITY = float("nan"), float("inf")


class Model(BaseModel):
    n: Any = Field(default=1, serialization_alias="number")


class Strings(BaseModel):
    model_config = ConfigDict(ser_json_inf_nan="strings")
    n: float = 0


class Struct(msgspec.Struct, rename="camel"):
    some_value: Any = None


@dataclasses.dataclass
class Data:
    n: Any = 1


@pydantic_dataclass
class PydanticData:
    n: Any = Field(default=1, serialization_alias="number")


class Name(enum.StrEnum):
    A = "a"


GOOD: list[tuple[Any, Any]] = [
    (None, None), (True, True), (-5, -5), (2**80, 2**80), (1.5, 1.5), ('ü"\n', 'ü"\n'), (Name.A, "a"), (b"a", "YQ=="),
    ([1, (2, {3})], [1, [2, [3]]]), ({"a": 1, 2: 3}, {"a": 1, "2": 3}), (Model(), {"number": 1}),
    (Struct(1), {"someValue": 1}), (Data(), {"n": 1}),
    ([Model(n=Struct(Data()))], [{"number": {"someValue": {"n": 1}}}]),
    (Struct(Model(n=[Model()])), {"someValue": {"number": [{"number": 1}]}}), (PydanticData(), {"number": 1}),
    (datetime(2026, 1, 1, tzinfo=UTC), "2026-01-01T00:00:00Z"), (UUID(int=0), "00000000-0000-0000-0000-000000000000"),
    (Decimal("1.50"), "1.50"), (Model(n=None), {"number": None}), ("NaN", "NaN"),
    ([None, "Infinity"], [None, "Infinity"]),
]  # fmt: skip


@pytest.mark.parametrize(("value", "expected"), GOOD, ids=repr)
def test_supported_values_become_json_by_their_aliases(value: Any, expected: Any) -> None:
    assert json.loads(encode(value)) == expected


BAD = [
    NAN, INFINITY, -INFINITY, Decimal("NaN"), "\ud800", object(), [NAN], {"a": [INFINITY]}, Model(n=NAN), Struct([NAN]),
    Data(NAN), Model(n={"a": "\udfff"}), [Model(n=Struct(NAN))], Struct(Model(n=INFINITY)), {"\ud800": 1},
    {1.5: object()},
    {None: 1}, Model(n=object()), [Strings(n=NAN)], Strings(n=INFINITY), (1, {NAN}), PydanticData(n=NAN),
]  # fmt: skip


@pytest.mark.parametrize("value", BAD, ids=lambda value: ascii(value).partition(" at 0x")[0])
def test_what_json_cannot_hold_is_refused(value: Any) -> None:
    with pytest.raises(StateValueError):
        encode(value)


def test_a_refused_number_is_named() -> None:
    with pytest.raises(StateValueError, match="/a/1/n"):
        encode({"a": [0, Model(n=NAN)]})


def test_cycles_and_endless_nesting_are_refused() -> None:
    cycle: list[Any] = []
    cycle.append(cycle)
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    for value in (cycle, deep, Model(n=cycle)):
        with pytest.raises(StateValueError):
            encode(value)
    while deep:
        deep = deep.pop()


def test_parts_of_a_state_are_encoded_as_they_are_read() -> None:
    document: Document[Any] = Document({"m": Model(n=[1]), "s": Struct(1), "d": Data()})
    assert encode(document.state) == document.snapshot()
    assert encode([document.state["m"], document.state["s"]]) == b'[{"number":[1]},{"someValue":1}]'


def test_a_snapshot_is_the_json_of_the_plain_value() -> None:
    for value in (Model(n=[Data()]), Struct(Model()), Data(Struct(1)), {"a": [Model()]}, [Struct(PydanticData())]):
        assert Document(value).snapshot() == encode(value)


def test_a_custom_mapping_is_refused() -> None:
    class Custom(Mapping[str, int]):
        def __getitem__(self, key: str) -> int:
            return 1

        def __iter__(self) -> Any:
            return iter("a")

        def __len__(self) -> int:
            return 1

    with pytest.raises(StateValueError):
        encode(Custom())
