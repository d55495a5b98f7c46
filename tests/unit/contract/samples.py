"""Apps whose contracts the tests look at: every kind of annotation once, in every place where it may stand."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Annotated, Any, Generic, Literal, NotRequired, TypedDict, TypeVar
from uuid import UUID

import msgspec
from msgspec import Meta
from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from zocket import Actor, App, Event, method

T = TypeVar("T")


class Colour(enum.Enum):
    """What a thing is painted with."""

    RED = "red"
    GREEN = "green"


class Message(BaseModel):
    """One line of the talk."""

    author: str
    text: str = Field(min_length=1, max_length=2000, description="What was said.")
    colour: Colour = Colour.RED
    tags: list[str] = Field(default_factory=list)


class RoomState(BaseModel):
    messages: list[Message] = []
    online: dict[str, str] = {}
    topic: str | None = None


class Node(BaseModel):
    value: int = 0
    children: list[Node] = []


class Page(BaseModel, Generic[T]):
    items: list[T]
    next: str | None = None


class Wire(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)

    display_name: str = "nobody"
    seen_at: datetime | None = None


class Cat(msgspec.Struct, tag="cat"):
    lives: Annotated[int, Meta(ge=1, le=9)] = 9


class Dog(msgspec.Struct, tag="dog", rename="camel"):
    good_boy: bool = True


class Sparse(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True):
    note: str = ""


@dataclass
class Point:
    """A place."""

    x: float
    y: float = 0.0
    labels: list[str] = field(default_factory=list)


class Options(TypedDict):
    size: int
    shade: NotRequired[Literal["light", "dark"]]


class Filter(BaseModel):
    since: datetime | None = None
    limit: Annotated[int, Field(ge=1, le=100)] = 20


class Everything(Actor[dict[str, Any]]):
    @method
    async def times(self, at: datetime, on: date, clock: time, span: timedelta) -> datetime:
        return at

    @method
    async def scalars(self, data: bytes, key: UUID, price: Decimal, flag: bool = False) -> Decimal:
        return price

    @method
    async def models(self, message: Message, point: Point, wire: Wire, options: Options) -> Wire:
        return wire

    @method
    async def pets(self, pet: Cat | Dog, sparse: Sparse) -> Cat | Dog:
        return pet

    @method
    async def trees(self, root: Node) -> Page[Message]:
        raise NotImplementedError

    @method
    async def shapes(self, pair: tuple[int, str], many: set[int], colour: Colour = Colour.GREEN) -> list[Point]:
        return []

    @method
    async def search(self, input: Filter) -> Page[int]:
        raise NotImplementedError

    @method
    async def anything(self, value: Any) -> Any:
        return value


class ChatRoom(Actor[RoomState]):
    """A room to talk in."""

    posted = Event(Message)
    counted = Event[int | None]()

    @method
    async def post(self, text: Annotated[str, Field(min_length=1, max_length=2000)]) -> Message:
        """Say something.

        Everybody in the room sees it.
        """
        return Message(author="ada", text=text)

    @method
    async def all(self, limit: int = 50) -> list[Message]:
        return self.state.messages

    @method
    async def clear(self) -> None:
        self.state.messages.clear()


chat = App(actors={"chat": ChatRoom})
everything = App(actors={"every_thing": Everything, "chat": ChatRoom}, rename="camel")
