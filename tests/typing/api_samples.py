"""The public API as a type checker sees it; checked by mypy and pyright, never run."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, assert_type

from pydantic import BaseModel, Field

from zocket import (
    Actor,
    ActorError,
    App,
    Call,
    CallNext,
    Due,
    Event,
    Private,
    Reminder,
    Session,
    Timer,
    connect,
    connect_sync,
    cron,
    method,
    query,
    view,
)
from zocket.client import Client, Status
from zocket.testing import TestApp


class Message(BaseModel):
    author: str
    text: str = Field(min_length=1, max_length=2000)


class RoomState(BaseModel):
    messages: list[Message] = []
    online: dict[str, str] = {}


@dataclass
class Ctx:
    user: str


class ChatRoom(Actor[RoomState]):
    posted = Event(Message)
    counted = Event[int | None]()

    async def on_connect(self) -> None:
        self.state.online[self.session.id] = self.session.user_id or "guest"

    @method
    async def post(self, text: str) -> Message:
        message = Message(author=self.session.user_id or "guest", text=text)
        self.state.messages.append(message)
        self.posted.emit(message, exclude=self.session.id)
        self.counted.emit(None)
        assert_type(self.state, RoomState)
        assert_type(self.id, str)
        assert_type(self.clients, tuple[str, ...])
        return message

    @method
    async def oust(self, user_id: str) -> bool:
        assert_type(self.presence, dict[str, Session])
        found = [session.id for session in self.presence.values() if session.user_id == user_id]
        assert_type(self.session.metadata, Mapping[str, Any])
        return any(self.kick(session_id, "be nice", close=True) for session_id in found)

    @method(timeout_s=2.0)
    async def clear(self) -> None:
        self.state.messages.clear()

    @method
    async def words(self, text: str) -> AsyncIterator[str]:
        for word in text.split():
            yield word

    @method(publish_every=0.1)
    async def think(self) -> str:
        await self.flush()
        return "done"

    @query
    async def count(self) -> int:
        return len(self.state.messages)

    @method(beside=True)
    async def stop(self) -> bool:
        assert_type(self.cancel_running(), bool)
        return True

    @method
    async def forward(self, to: str, text: str) -> Message:
        other = self.actors.get(ChatRoom, to)
        assert_type(other, ChatRoom)
        self.actors.tell(other.post, text=text)
        self.actors.tell(other.clear)
        assert_type(self.caller.chain, tuple[tuple[str, str], ...])
        return assert_type(await other.post(text=text), Message)


class Guarded(Actor[RoomState, Ctx]):
    @method
    async def who(self) -> str:
        assert_type(self.ctx, Ctx)
        return self.ctx.user


class Timed(Actor[RoomState]):
    @method
    async def begin(self) -> None:
        assert_type(self.timers.after(5, self.say, "hello", times=2), Timer)
        timer = self.timers.every(0.5, self.say, text="hello")
        timer.cancel()
        assert_type(self.reminders.set("a", Due(after=60), self.say, "hello"), None)
        self.reminders.set("b", Due(every=3600, missed="all"), self.say, text="hello", times=1)
        assert_type(self.reminders.cancel("a"), bool)
        assert_type(self.reminders.list(), tuple[Reminder, ...])

    async def say(self, text: str, times: int = 1) -> str:
        assert_type(self.caller.due, datetime | None)
        return text * times

    @cron("0 4 * * *", tz="Europe/Rome")
    @method
    async def clean(self, thoroughly: bool = False) -> int:
        return int(thoroughly)


async def authenticate(call: Call[Ctx], call_next: CallNext) -> Any:
    if call.session.user_id is None:
        raise ActorError("sign in first", code="unauthorized")
    call.ctx = Ctx(user=call.session.user_id)
    return await call_next(call)


app = App(actors={"chat": ChatRoom, "guarded": Guarded}, middleware=[authenticate])


async def use(client: Client) -> None:
    room = client.actor(ChatRoom, "general")
    assert_type(room, ChatRoom)
    assert_type(await room.post(text="hello"), Message)
    assert_type(await room.post("hello"), Message)
    async for state in client.state(room):
        assert_type(state, RoomState)
    async for message in client.events(room, ChatRoom.posted):
        assert_type(message, Message)
    async for count in client.events(room, ChatRoom.counted):
        assert_type(count, int | None)
    assert_type(await room.count(), int)
    assert_type(await room.think(), str)
    async for word in room.words(text="hello world"):
        assert_type(word, str)
    client.options(cancel_on_close=True).actor(ChatRoom, "general")
    once = client.options(timeout=5, idempotency_key="order-17").actor(ChatRoom, "general")
    assert_type(await once.post(text="hello"), Message)
    assert_type(client.options(idempotency_key=True).actor(ChatRoom, "general"), ChatRoom)
    anything = client.dynamic("chat", "general")
    assert_type(await anything.post(text="hi"), Any)


async def connected() -> None:
    async with connect("ws://localhost:3000", token="jwt", rpc_timeout=5) as client:
        await use(client)


def use_synchronously() -> None:
    with connect_sync("ws://localhost:3000", token="jwt", rpc_timeout=5) as client:
        room = client.actor(ChatRoom, "general")
        assert_type(room, ChatRoom)
        assert_type(client.call(room.post, text="hello"), Message)
        assert_type(client.call(room.post, "hello"), Message)
        assert_type(client.call(room.count), int)
        assert_type(client.call(room.clear), None)
        for state in client.state(room):
            assert_type(state, RoomState)
        with client.events(room, ChatRoom.posted) as messages:
            for message in messages:
                assert_type(message, Message)
        for count in client.events(room, ChatRoom.counted):
            assert_type(count, int | None)
        for word in client.stream(room.words, text="hello world"):
            assert_type(word, str)
        once = client.options(timeout=5, idempotency_key="order-17").actor(ChatRoom, "general")
        assert_type(client.call(once.post, text="hello"), Message)
        anything = client.dynamic("chat", "general")
        assert_type(anything.post(text="hi"), Any)
        for raw in client.state(anything):
            assert_type(raw, Any)
        assert_type(next(client.statuses()), Status)


async def from_a_route() -> None:
    assert_type(await app.actor(ChatRoom, "general").post(text="from an HTTP route"), Message)


async def from_a_script() -> None:
    async with app.connected("ws://localhost:3000", token="jwt"):
        assert_type(await app.actor(ChatRoom, "general").post(text="from a script"), Message)


async def tested() -> None:
    async with TestApp(app) as t:
        alice = await t.connect(user_id="alice", metadata={"name": "Alice"})
        assert_type(alice, Client)
        await alice.actor(ChatRoom, "general").post(text="hi")
        await t.crash()
        await t.clock.advance(600)


def hidden(states: AsyncIterator[RoomState]) -> None:
    """Keeps the import of a checked name in use."""


class GameState(BaseModel):
    deck: Private[list[str]] = []
    round: int = 0


class Game(Actor[GameState]):
    @view(key=lambda session: session.user_id)
    def seen_by(self, user_id: str | None) -> Message:
        assert_type(self.state.deck, list[str])
        return Message(author=user_id or "guest", text=self.state.deck[0])


def role_of(session: Session) -> str:
    return str(session.claims["role"])


class ByRole(Actor[GameState]):
    @view(key=role_of)
    def for_role(self, role: str) -> dict[str, int]:
        return {role: self.state.round}


class ForAll(Actor[GameState]):
    @view
    def public(self) -> list[int]:
        return [self.state.round]


async def watches_views(client: Client) -> None:
    async for message in client.state(client.actor(Game, "a"), Game.seen_by):
        assert_type(message, Message)
    async for counts in client.state(client.actor(ByRole, "a"), ByRole.for_role):
        assert_type(counts, dict[str, int])
    async for numbers in client.state(client.actor(ForAll, "a"), view=ForAll.public):
        assert_type(numbers, list[int])
    async for state in client.state(client.actor(ChatRoom, "a")):
        assert_type(state, RoomState)
