"""The actors that `loadgen.py` calls, on plain settings: what a user would write."""

from __future__ import annotations

import asyncio
import os

from pydantic import BaseModel, Field

from zocket import Actor, App, Event, method

CELLS = int(os.environ.get("BOARD_CELLS", "1000"))


class Count(BaseModel):
    count: int = 0


class Counter(Actor[Count]):
    @method
    async def increment(self) -> int:
        self.state.count += 1
        return self.state.count

    @method
    async def sleep(self, ms: int) -> int:
        await asyncio.sleep(ms / 1000)
        return self.state.count


class Sleeper(Actor[Count]):
    @method
    async def sleep(self, ms: int) -> int:
        await asyncio.sleep(ms / 1000)
        return self.state.count


class Message(BaseModel):
    from_: str = Field(alias="from")
    text: str


class Room(BaseModel):
    messages: list[Message] = []


class Chat(Actor[Room]):
    newMessage = Event(Message)  # noqa: N815 — the load generator's name for it

    @method
    async def send(self, input: Message) -> None:  # noqa: A002 — the whole input
        self.state.messages.append(input)
        self.newMessage.emit(input)


class Cells(BaseModel):
    cells: dict[str, int] = Field(default_factory=lambda: {f"c{index}": 0 for index in range(CELLS)})


class Board(Actor[Cells]):
    @method
    async def set(self, key: str, value: int) -> int:
        self.state.cells[key] = value
        return value


app = App(actors={"counter": Counter, "sleeper": Sleeper, "chat": Chat, "board": Board})
