"""The app that the clients of server.test.js talk to."""

import asyncio
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from zocket import Actor, ActorError, App, Event, Identity, method


class Message(BaseModel):
    author: str
    text: str


class RoomState(BaseModel):
    messages: list[Message] = []
    topic: str | None = None
    draft: str = ""


class ChatRoom(Actor[RoomState]):
    posted = Event(Message)

    @method
    async def post(self, text: str) -> Message:
        message = Message(author=self.session.user_id or "guest", text=text)
        self.state.messages.append(message)
        self.posted.emit(message)
        return message

    @method
    async def write(self, words: list[str]) -> None:
        for word in words:
            self.state.draft += word
            await self.flush()

    @method
    async def remove(self, at: int) -> None:
        del self.state.messages[at]

    @method
    async def fail(self) -> None:
        raise ActorError("too loud", code="rude", data={"limit": 3})

    @method
    async def leave(self) -> Mapping[str, Any]:
        self.kick(self.session.id, close=True)
        return self.session.metadata

    @method
    async def sleep(self) -> None:
        await asyncio.sleep(3_600)


async def authorize(token: str | None) -> Identity | None:
    """A token is a name, or a name and when it expires: `alice@1234567890`."""
    name, _, expires = (token or "").partition("@")
    return Identity(user_id=name or None, claims={"exp": float(expires)} if expires else {})


app = App(actors={"chat": ChatRoom}, authorize=authorize)
