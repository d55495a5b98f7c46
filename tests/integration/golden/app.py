"""The app of the golden conversations: what an existing app does, and nothing that the contract does not know."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

from zocket import Actor, ActorError, App, Event, Identity, method


class Message(BaseModel):
    sender: str = Field(alias="from")
    text: str


class RoomState(BaseModel):
    messages: list[Message] = []
    topics: dict[str, int] = {}


class Room(Actor[RoomState]):
    newMessage = Event(Message)

    @method
    async def send(self, input: Message) -> None:
        self.state.messages.append(input)
        self.newMessage.emit(input)

    @method
    async def insert(self, at: int, text: str) -> int:
        self.state.messages.insert(at, Message.model_validate({"from": "insert", "text": text}))
        return len(self.state.messages)

    @method
    async def remove(self, at: int) -> Message:
        return self.state.messages.pop(at)

    @method
    async def count(self, topic: str) -> int:
        self.state.topics[topic] = self.state.topics.get(topic, 0) + 1
        return self.state.topics[topic]

    @method
    async def drop(self, topic: str) -> None:
        del self.state.topics[topic]

    @method
    async def find(self, text: str) -> Message | None:
        return next((message for message in self.state.messages if message.text == text), None)


class Counter(Actor[dict[str, int]]):
    @method
    async def increment(self, by: int = 1) -> int:
        self.state["count"] = self.state.get("count", 0) + by
        return self.state["count"]

    @method
    async def refuse(self, reason: str) -> None:
        self.state["refused"] = 1
        raise ActorError(reason)

    @method
    async def who(self) -> list[Any]:
        return [self.session.id, self.session.user_id, dict(self.session.claims)]

    async def on_disconnect(self) -> None:
        self.state["gone"] = self.state.get("gone", 0) + 1


async def authorize(token: str | None) -> Identity | None:
    return Identity() if token is None else Identity(token, {"sub": token})


app = App(actors={"room": Room, "counter": Counter}, authorize=authorize)
