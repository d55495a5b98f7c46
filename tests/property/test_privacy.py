"""Random states with private fields, and random views: nothing that is hidden is in any byte that leaves a host."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from random import Random
from typing import Any, NamedTuple

import msgspec
import pytest
import typing_extensions
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field, create_model

from tests.property.test_state_turns import known_client
from tests.unit.host.conftest import Recorder, Shelf
from zocket import Actor, Event, Private, method, view
from zocket.core import AppDefinition
from zocket.host import Host
from zocket.settings import Limits
from zocket.testing import VirtualClock
from zocket.testing.loop import VirtualLoop

SECRET = "SECRET"
NUMBER = 7_777_777_770_000
"""Texts and numbers of which every private value is made."""


class Part(NamedTuple):
    """A field: its names in Python and JSON, its shape, whether it is private."""

    name: str
    alias: str
    shape: Any
    private: bool


class Shape(NamedTuple):
    """What lies at one place: `text`, `number`, `any`, `list`, `dict`, `optional`, `union` or `object`."""

    kind: str
    inner: tuple[Any, ...] = ()
    cls: Any = None


class TreeModel(BaseModel):
    label: str = ""
    note: Private[str] = ""
    twigs: list[TreeModel] = []


class TreeStruct(msgspec.Struct):
    label: str = ""
    note: Private[str] = ""
    twigs: list[TreeStruct] = []


TEXT, INTEGER, ANY = Shape("text"), Shape("number"), Shape("any")


def tree_of(cls: Any) -> Shape:
    shape: Shape = Shape("object", (Part("label", "label", TEXT, False), Part("note", "note", TEXT, True)), cls)
    twigs = Shape("list", (shape,))  # one level of twigs is drawn, any number is there
    return Shape("object", (*shape.inner, Part("twigs", "twigs", twigs, False)), cls)


class Types:
    """Makes the classes of one example."""

    def __init__(self, draw: Any, family: str) -> None:
        self.draw = draw
        self.family = family
        self.count = 0

    def shape(self, depth: int) -> Shape:
        kinds = ["text", "number"]
        if depth:
            kinds += ["list", "dict", "optional", "object", "object"]
            kinds += ["union"] if self.family in ("pydantic", "struct") else []
            kinds += ["tree"] if self.family in ("pydantic", "struct") else []
        kind = self.draw(st.sampled_from(kinds))
        if kind in ("list", "dict", "optional"):
            return Shape(kind, (self.shape(depth - 1),))
        if kind == "union":
            return Shape("union", (self.object(depth - 1, tag=True), self.object(depth - 1, tag=True)))
        if kind == "tree":
            return tree_of(TreeModel if self.family == "pydantic" else TreeStruct)
        return self.object(depth - 1) if kind == "object" else Shape(kind)

    def object(self, depth: int, *, tag: bool = False) -> Shape:
        parts = []
        for _ in range(self.draw(st.integers(1, 4))):
            self.count += 1
            alias = f"f{self.count}/~" if self.family in ("pydantic", "struct") and self.draw(st.booleans()) else ""
            private = self.draw(st.sampled_from([False, False, True]))
            parts.append(Part(f"f{self.count}", alias or f"f{self.count}", self.shape(depth), private))
        return Shape("object", tuple(parts), self.make_class(tuple(parts), tag=tag))

    def make_class(self, parts: tuple[Part, ...], *, tag: bool) -> Any:
        self.count += 1
        name = f"Made{self.count}"
        hints = {part.name: hint_of(part.shape) for part in parts}
        private: Any = Private
        hints |= {part.name: private[hints[part.name]] for part in parts if part.private}
        defaults = {part.name: lambda shape=part.shape: default_of(shape) for part in parts}
        match self.family:
            case "pydantic":
                fields: dict[str, Any] = {
                    part.name: (
                        hints[part.name],
                        Field(default_factory=defaults[part.name], serialization_alias=part.alias, alias=part.alias),
                    )
                    for part in parts
                }
                return create_model(name, __config__={"populate_by_name": True}, **fields)
            case "struct":
                made = [
                    (
                        part.name,
                        hints[part.name],
                        msgspec.field(default_factory=defaults[part.name], name=part.alias),
                    )
                    for part in parts
                ]
                return msgspec.defstruct(name, made, tag=tag or None)
            case "dataclass":
                return dataclasses.make_dataclass(
                    name,
                    [
                        (part.name, hints[part.name], dataclasses.field(default_factory=defaults[part.name]))
                        for part in parts
                    ],
                )
            case _:
                optional = {field: typing_extensions.NotRequired[hint] for field, hint in hints.items()}
                return typing_extensions.TypedDict(name, optional)  # type: ignore[operator]


def hint_of(shape: Shape) -> Any:
    inner = [hint_of(part) for part in shape.inner] if shape.kind not in ("object",) else []
    match shape.kind:
        case "text":
            return str
        case "number":
            return int
        case "list":
            return list[inner[0]]  # type: ignore[valid-type]
        case "dict":
            return dict[str, inner[0]]  # type: ignore[valid-type]
        case "optional":
            return inner[0] | None
        case "union":
            return inner[0] | inner[1]
        case _:
            return shape.cls


def default_of(shape: Shape) -> Any:
    match shape.kind:
        case "text":
            return ""
        case "number":
            return 0
        case "list":
            return []
        case "dict":
            return {}
        case "optional":
            return None
        case "union":
            return shape.inner[0].cls()
        case _:
            return shape.cls()


class Values:
    """Makes values, and changes them; what is private is made of `SECRET` and `NUMBER`."""

    def __init__(self, choices: Random) -> None:
        self.choices = choices
        self.count = 0

    def make(self, shape: Shape, *, private: bool = False) -> Any:
        self.count += 1
        match shape.kind:
            case "text":
                return f"{SECRET if private else 'open'} {self.count}"
            case "number":
                return (NUMBER if private else 0) + self.count
            case "list":
                return [self.make(shape.inner[0], private=private) for _ in range(self.choices.randint(0, 2))]
            case "dict":
                return {self.key(private): self.make(shape.inner[0], private=private) for _ in range(2)}
            case "optional":
                return self.make(shape.inner[0], private=private) if self.choices.random() < 0.5 else None
            case "union":
                return self.make(self.choices.choice(shape.inner), private=private)
            case _:
                given = [part for part in shape.inner if self.choices.random() < 0.5]
                made = {part.name: self.make(part.shape, private=private or part.private) for part in given}
                return shape.cls(**made)

    def key(self, private: bool) -> str:
        name = self.choices.choice(["k", "a/b", "~", ""])
        return f"{SECRET}{name}" if private else name

    def change(self, shape: Shape, value: Any, private: bool = False) -> None:
        """Changes something at or below a container."""
        match shape.kind:
            case "list":
                self.change_list(shape.inner[0], value, private)
            case "dict":
                self.change_dict(shape.inner[0], value, private)
            case "object":
                part = self.choices.choice(shape.inner)
                hidden = private or part.private
                known = value.get(part.name) if isinstance(value, dict) else getattr(value, part.name)
                inside = concrete(part.shape, known)
                if inside is not None and self.choices.random() < 0.5:
                    self.change(inside, known, hidden)
                elif isinstance(value, dict):
                    value[part.name] = self.make(part.shape, private=hidden)
                else:
                    setattr(value, part.name, self.make(part.shape, private=hidden))

    def change_list(self, shape: Shape, value: list[Any], private: bool) -> None:
        at = self.choices.randint(0, len(value))
        match self.choices.choice(["append", "insert", "pop", "rotate", "reverse", "inside", "inside", "clear"]):
            case "append":
                value.append(self.make(shape, private=private))
            case "insert":
                value.insert(at, self.make(shape, private=private))
            case "pop" if value:
                value.pop(at - 1)
            case "rotate" if value:
                value.insert(0, value.pop())
            case "reverse":
                value.reverse()
            case "clear":
                value.clear()
            case "inside" if at < len(value) and (inside := concrete(shape, value[at])) is not None:
                self.change(inside, value[at], private)

    def change_dict(self, shape: Shape, value: dict[str, Any], private: bool) -> None:
        key = self.choices.choice(sorted(value)) if value and self.choices.random() < 0.5 else self.key(private)
        match self.choices.choice(["set", "pop", "inside", "inside", "update"]):
            case "set":
                value[key] = self.make(shape, private=private)
            case "pop":
                value.pop(key, None)
            case "update":
                value |= self.make(Shape("dict", (shape,)), private=private)
            case "inside" if key in value and (inside := concrete(shape, value[key])) is not None:
                self.change(inside, value[key], private)


def concrete(shape: Shape, value: Any) -> Shape | None:
    """The shape of a container that is there, None if none is."""
    match shape.kind:
        case "text" | "number":
            return None
        case "optional":
            return None if value is None else concrete(shape.inner[0], value)
        case "union":
            members: tuple[Shape, ...] = shape.inner
            return next(part for part in members if isinstance(value, part.cls))
        case "object":
            return None if value is None else shape
        case _:
            return None if value is None else shape


def public(shape: Shape, value: Any, family: str) -> Any:
    """What may be seen of a value, found without the code under test."""
    match shape.kind:
        case "list":
            return [public(shape.inner[0], part, family) for part in value]
        case "dict":
            return {key: public(shape.inner[0], part, family) for key, part in value.items()}
        case "optional":
            return None if value is None else public(shape.inner[0], value, family)
        case "union":
            inside = concrete(shape, value)
            assert inside is not None
            seen = public(inside, value, family)
            return {"type": inside.cls.__name__, **seen} if family == "struct" else seen
        case "object":
            found = {}
            for part in shape.inner:
                if part.private or (isinstance(value, dict) and part.name not in value):
                    continue
                known = value[part.name] if isinstance(value, dict) else getattr(value, part.name)
                if part.name == "twigs":
                    found["twigs"] = [{"twigs": [], **public(part.shape.inner[0], twig, family)} for twig in known]
                else:
                    found[part.alias] = public(part.shape, known, family)
            return found
        case _:
            return value


class Witness(Recorder):
    """A session that keeps every byte, and reads patches as an existing client does."""

    __slots__ = ("raw",)

    def __init__(self, host: Host, session_id: str, user_id: str | None = None) -> None:
        super().__init__(host, session_id, user_id)
        self.raw: list[bytes] = []

    def send(self, frame: bytes) -> None:
        self.raw.append(frame)
        super().send(frame)

    def replica(self) -> Any:
        state: Any = None
        for frame in self.frames:
            if frame["type"] == "state:snapshot":
                state = frame["state"]
            elif frame["type"] == "state:patch":
                state = known_client(state, frame["patches"])
        return state


def actor_of(state: Any, *, durable: bool, opened: bool) -> type[Actor[Any]]:
    """An actor that tells its whole state in every way there is; `opened` also where nothing is annotated."""

    async def whole(self: Any) -> Any:
        self.told.emit(self.state)
        self.anything.emit([self.state] if opened else None)
        return self.state

    async def untold(self):  # type: ignore[no-untyped-def]
        return {"state": self.state if opened else None}

    whole.__annotations__["return"] = state

    class It(Actor[state]):
        durability = "file" if durable else "memory"
        told = Event[state]()
        anything = Event[Any]()

        @method
        async def change(self) -> None:
            changes.pop()(self.state)

    It.whole = method(whole)  # type: ignore[attr-defined]
    It.untold = method(untold)  # type: ignore[attr-defined]
    changes: list[Any] = []
    It.changes = changes  # type: ignore[attr-defined]
    return It


@pytest.mark.parametrize("family", ["pydantic", "struct", "dataclass", "typeddict"])
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_no_private_value_leaves_and_replicas_are_the_public_part(family: str, data: st.DataObject) -> None:
    types, values = Types(data.draw, family), Values(Random(data.draw(st.integers(0, 2**32))))
    shape = types.object(3)
    durable = data.draw(st.booleans())
    cls: Any = actor_of(shape.cls, durable=durable, opened=family != "typeddict")

    async def run() -> None:
        clock = VirtualClock()
        host = Host(AppDefinition({"it": cls}), clock=clock, limits=Limits(), store=Shelf(clock))
        alice, late = Witness(host, "a"), Witness(host, "b")
        alice.watch()
        alice.listen()
        states: list[Any] = []
        for _ in range(values.choices.randint(1, 4)):

            def change(state: Any) -> None:
                for _ in range(values.choices.randint(0, 3)):
                    values.change(shape, state)
                states.append(state)

            cls.changes.append(change)
            alice.call("change")
            alice.call("whole")
            alice.call("untold")
            await clock.sleep(0.1)
            expected = public(shape, states[-1], family)
            assert alice.replica() == expected
            assert alice.results()[-2] == expected
        late.watch()
        await clock.sleep(0.1)
        assert late.replica() == expected
        told = [frame["payload"] for frame in alice.frames if frame["type"] == "event"]
        assert told[-2] == expected
        if family != "typeddict":
            assert told[-1] == [expected]
            assert alice.results()[-1] == {"state": expected}
        assert not any("error" in frame for frame in alice.frames)
        for raw in alice.raw + late.raw:
            assert SECRET.encode() not in raw
            assert b"777777777" not in raw
        await host.abort()

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(run())


OWNERS = ("alice", "bob", "nobody")
CHANGES = st.lists(st.tuples(st.sampled_from(OWNERS), st.integers(0, 5), st.integers(0, 3)), max_size=4)


class Drawers(Actor[dict[str, Any]]):
    """Everybody sees the own drawer, and how full all of them are."""

    @classmethod
    def initial_state(cls) -> dict[str, Any]:
        return {owner: {"list": [], "map": {}} for owner in OWNERS}

    @view(key=lambda session: session.user_id)
    def drawer_of(self, user_id: str | None) -> dict[str, Any]:
        return {
            "mine": self.state.get(user_id or ""),
            "full": [len(self.state[owner]["list"]) for owner in OWNERS],
        }

    @method
    async def change(self, changes: list[tuple[str, int, int]]) -> None:
        for owner, op, at in changes:
            drawer, token = self.state[owner], f"of {owner} {self.message_id} {at}"
            match op:
                case 0:
                    drawer["list"].append({"text": token, "tags": [token]})
                case 1 if drawer["list"]:
                    drawer["list"].pop(0)
                case 2:
                    drawer["map"][f"{token} / {at}"] = token
                case 3 if drawer["map"]:
                    drawer["map"].popitem()
                case 4 if drawer["list"]:
                    drawer["list"][-1]["tags"].append(token)
                case 5:
                    drawer["list"].reverse()


class KeptDrawers(Drawers):
    durability = "file"


@pytest.mark.parametrize("cls", [Drawers, KeptDrawers])
@settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
@given(rounds=st.lists(st.tuples(st.lists(CHANGES, min_size=1, max_size=3), st.booleans()), min_size=1, max_size=5))
def test_nothing_outside_a_view_leaves_and_replicas_are_the_view(cls: type[Drawers], rounds: Any) -> None:
    async def run() -> None:
        clock = VirtualClock()
        shelf = Shelf(clock)
        host = Host(AppDefinition({"it": cls}), clock=clock, limits=Limits(), store=shelf)
        witnesses = [Witness(host, f"s{number}", user) for number, user in enumerate(("alice", "bob", "alice", None))]
        for number, (calls, pause) in enumerate(rounds):
            witnesses[number % 4].watch()  # also again
            for changes in calls:
                witnesses[3].call("change", changes=changes)
            await clock.sleep(0.1 if pause else 0.005)
        await clock.sleep(1)
        for witness in witnesses[: len(rounds)]:
            instance = next(iter(host._residents.values())).instance
            state, user = instance.document.state, witness.session.user_id if witness.session else None
            assert witness.replica() == {
                "mine": json.loads(msgspec.json.encode(state[user])) if user in state else None,
                "full": [len(state[owner]["list"]) for owner in OWNERS],
            }
            for owner in OWNERS:
                if owner != user:
                    assert not any(f"of {owner} ".encode() in raw for raw in witness.raw)
        await host.abort()

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(run())
