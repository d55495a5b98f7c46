"""An app that uses every feature that the contract does not know, each in a way that a client of old may meet."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from pydantic import BaseModel

from zocket import Access, Actor, ActorError, App, Due, Event, Private, method, query, view


class Card(BaseModel):
    name: str = ""
    hand: Private[list[int]] = []


class State(BaseModel):
    items: list[int] = []
    text: str = ""
    topics: dict[str, Any] = {}
    cards: list[Card] = []
    secret: Private[int] = 0
    shut: list[str] = []
    broken: bool = False


class Box(Actor[State]):
    changed = Event[int]()

    @method
    async def change(self, how: str, at: int, value: int) -> None:
        """One of many kinds of change."""
        state, items = self.state, self.state.items
        match how:
            case "append":
                items.append(value)
            case "many":  # so that one change is told as one, and not as the whole list
                items.extend(range(100_000, 100_040))
            case "insert":
                items.insert(len(items) - at, value)
            case "pop" if items:
                items.pop(-1 - at % len(items))
            case "set" if items:
                items[at % len(items)] = value
            case "sort":
                items.sort()
            case "reverse":
                items.reverse()
            case "slice":
                items[at : at + 2] = [value, value + 1, value + 2]
            case "clear":
                items.clear()
            case "grow":
                state.text += f"{value} ünï\u2028 "
            case "cut":
                state.text = state.text[at:]
            case "topic":
                state.topics[f"a/b~{at}"] = [value, {"deep": [value]}]
            case "deep" if state.topics:
                state.topics[next(iter(state.topics))][1]["deep"].insert(0, value)
            case "drop" if state.topics:
                del state.topics[next(iter(state.topics))]
            case "card":
                state.cards.insert(0, Card(name=str(value), hand=[value]))
            case "hide":
                state.secret = value
            case "deal" if state.cards:
                state.cards[at % len(state.cards)].hand.append(value)
        self.changed.emit(value)

    @query
    async def whole(self) -> State:
        return self.state

    @method
    async def stream(self, to: int, fails: bool = False) -> AsyncIterator[int]:
        for number in range(to):
            self.state.items.append(number)
            yield number
        if fails:
            raise ActorError("on purpose", code="stopped", data=[to])

    @method
    async def in_parts(self, parts: int) -> None:
        for number in range(parts):
            self.state.text += str(number)
            await self.flush()

    @method(publish_every=0.05)
    async def slowly(self, seconds: float) -> None:
        for _ in range(int(seconds / 0.02)):
            self.state.text += "."
            await asyncio.sleep(0.02)

    @method
    async def wait(self, seconds: float) -> None:
        self.state.items.append(-1)
        await asyncio.sleep(seconds)

    @method
    async def fail(self) -> None:
        self.state.items.clear()
        raise ActorError("no", code="no", data={"why": [1]})

    @method
    async def part_with(self, session_id: str, close: bool = False) -> bool:
        return self.kick(session_id, "parted", close=close)

    @method
    async def later(self) -> None:
        self.timers.after(0.5, self.change, how="append", at=0, value=7)
        self.reminders.set("r", Due(after=0.7), self.change, how="insert", at=0, value=8)

    @method
    async def elsewhere(self) -> int:
        self.actors.tell(self.actors.get(Box, "told").change, how="append", at=0, value=1)
        await self.actors.get(Box, "asked").change(how="append", at=0, value=1)
        return 1

    @method
    async def shut(self, user_id: str) -> None:
        self.state.shut.append(user_id)

    @method
    async def breaks(self, broken: bool) -> None:
        self.state.broken = broken


class Kept(Box):
    durability = "file"


class Shown(Box):
    @view(key=lambda session: session.user_id)
    def seen_by(self, user_id: str | None) -> dict[str, Any]:
        if self.state.broken:
            raise ActorError("no view today", code="closed")
        return {"items": [item for item in self.state.items if item % 2], "for": user_id, "cards": self.state.cards}


def not_shut(access: Access[State]) -> None:
    if access.caller.session is not None and access.session.user_id in access.state.shut:
        raise ActorError("shut out", code="forbidden")


class Guarded(Box):
    guards = [not_shut]


app = App(actors={"box": Box, "kept": Kept, "shown": Shown, "guarded": Guarded})
ACTORS = ("box", "kept", "shown", "guarded")
