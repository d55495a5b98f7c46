"""States, results and payloads are plain: they compare, copy and pickle, whatever they were declared as."""

from __future__ import annotations

import copy
import pickle
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from pydantic import BaseModel

from zocket import Actor, App, Event, method
from zocket.testing import TestApp

if TYPE_CHECKING:
    from collections.abc import Callable

WHEN = datetime(2026, 1, 2, tzinfo=UTC)


class ModelLine(BaseModel):
    text: str
    at: datetime = WHEN


class ModelState(BaseModel):
    lines: list[ModelLine] = []
    by_name: dict[str, ModelLine] = {}


class StructLine(msgspec.Struct):
    text: str
    at: datetime = WHEN


class StructState(msgspec.Struct):
    lines: list[StructLine] = []
    by_name: dict[str, StructLine] = {}


@dataclass
class ClassLine:
    text: str
    at: datetime = WHEN


@dataclass
class ClassState:
    lines: list[ClassLine] = field(default_factory=list)
    by_name: dict[str, ClassLine] = field(default_factory=dict)


class Models(Actor[ModelState]):
    added = Event(ModelLine)

    @method
    async def add(self, text: str) -> ModelLine:
        line = ModelLine(text=text)
        self.state.lines.append(line)
        self.state.by_name[text] = line
        self.added.emit(line)
        return line


class Structs(Actor[StructState]):
    added = Event(StructLine)

    @method
    async def add(self, text: str) -> StructLine:
        line = StructLine(text=text)
        self.state.lines.append(line)
        self.state.by_name[text] = line
        self.added.emit(line)
        return line


class Classes(Actor[ClassState]):
    added = Event(ClassLine)

    @method
    async def add(self, text: str) -> ClassLine:
        line = ClassLine(text=text)
        self.state.lines.append(line)
        self.state.by_name[text] = line
        self.added.emit(line)
        return line


APP = App(actors={"models": Models, "structs": Structs, "classes": Classes})
KINDS: list[tuple[Any, type[Any], type[Any]]] = [
    (Models, ModelState, ModelLine),
    (Structs, StructState, StructLine),
    (Classes, ClassState, ClassLine),
]
COPIES: list[Callable[[Any], Any]] = [lambda value: pickle.loads(pickle.dumps(value)), copy.copy, copy.deepcopy]


@pytest.mark.parametrize(("actor", "state_type", "line_type"), KINDS)
async def test_states_results_and_payloads_are_of_the_declared_types(
    actor: Any, state_type: type[Any], line_type: type[Any]
) -> None:
    async with TestApp(APP) as t:
        alice, bob = await t.connect(), await t.connect()
        handle = alice.actor(actor, "a")
        states, payloads = alice.state(handle), alice.events(handle, actor.added)
        first = await anext(states)
        result = await handle.add(text="one")
        patched, payload = await anext(states), await anext(payloads)
        snapshot = await anext(bob.state(bob.actor(actor, "a")))
        line = line_type(text="one")
        assert first == state_type()
        assert patched == snapshot == state_type(lines=[line], by_name={"one": line})
        assert patched != first
        assert result == payload == line
        for value in (patched, result, payload):
            for copied in (make(value) for make in COPIES):
                assert type(copied) is type(value)
                assert copied == value


async def test_raw_states_are_plain_json_values() -> None:
    async with TestApp(APP) as t:
        client = await t.connect()
        handle = client.actor(Models, "a")
        states = client.state(handle, raw=True)
        await anext(states)
        await handle.add(text="one")
        state = await anext(states)
        line = {"text": "one", "at": "2026-01-02T00:00:00Z"}
        assert state == {"lines": [line], "by_name": {"one": line}}
        assert {type(value) for value in (state, *state.values(), state["lines"][0])} == {dict, list}
        assert all(make(state) == state for make in COPIES)
