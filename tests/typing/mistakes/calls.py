"""Mistakes that a type checker must find: each line with a `# mistake` is one, every other line is fine."""

from __future__ import annotations

from tests.typing.api_samples import ByRole, ChatRoom, Game, Guarded, Message, Timed, app, role_of
from zocket import Actor, Due, cron, view
from zocket.client import Client, SyncClient


class Other(ChatRoom):
    pass


async def mistakes(client: Client) -> None:
    room = client.actor(ChatRoom, "general")
    await room.post(txt="hello")  # mistake: wrong keyword
    await room.post(text=5)  # mistake: wrong type
    await room.post()  # mistake: missing argument
    await room.publish(text="hello")  # mistake: unknown method
    _sent: int = await room.post(text="hello")  # mistake: wrong result type
    async for state in client.state(room):
        state.message.clear()  # mistake: unknown state field
    async for message in client.events(room, ChatRoom.posted):
        message.body.upper()  # mistake: unknown field of the payload
    async for word in room.words(text="hello"):
        word.append("x")  # mistake: not of the type of the chunks
    await room.words(text="hello")  # mistake: to be iterated over
    guarded = client.actor(Guarded, "x")
    client.events(guarded, ChatRoom.posted)  # mistake: another actor's event
    await app.actor(ChatRoom, "general").post(text=b"no")  # mistake: wrong type from a route
    client.actor(Message, "general")  # mistake: no actor
    client.options(idempotency_key=False)  # mistake: neither a key nor True
    async for seen in client.state(client.actor(Game, "a"), Game.seen_by):
        seen.round.bit_length()  # mistake: a field of the state, not of the view
    client.state(client.actor(Game, "a"), ByRole.for_role)  # mistake: the view of another actor


def synchronous_mistakes(client: SyncClient) -> None:
    room = client.actor(ChatRoom, "general")
    client.call(room.post, txt="hello")  # mistake: wrong keyword of a synchronous call
    client.call(room.post, text=5)  # mistake: wrong type of a synchronous call
    client.call(room.post)  # mistake: missing argument of a synchronous call
    client.call(room.publish, text="hello")  # mistake: unknown method of a synchronous call
    _sent: int = client.call(room.post, text="hello")  # mistake: wrong result type of a synchronous call
    _message: Message = room.post(text="hello")  # mistake: a handle names its methods, it does not call them
    client.call(room.words, text="hello")  # mistake: to be iterated over
    for _word in client.stream(room.post, text="hello"):  # mistake: nothing to iterate over
        pass
    for state in client.state(room):
        state.message.clear()  # mistake: unknown field of a synchronous state
    for message in client.events(room, ChatRoom.posted):
        message.body.upper()  # mistake: unknown field of a synchronous payload
    client.events(client.actor(Guarded, "x"), ChatRoom.posted)  # mistake: another actor's event, synchronously


class Emitting(ChatRoom):
    async def wrong(self) -> None:
        self.posted.emit("text")  # mistake: wrong payload
        self.counted.emit("one")  # mistake: wrong payload of a generic event
        self.state.online[1] = "x"  # mistake: wrong key type
        self.kick(self.session)  # mistake: a session instead of its id
        self.presence["a"].name.upper()  # mistake: unknown field of a session

    async def calls(self) -> None:
        room = self.actors.get(ChatRoom, "other")
        await room.post(txt="hello")  # mistake: wrong keyword between actors
        self.actors.get(Message, "other")  # mistake: no actor between actors
        self.actors.tell(room.post)  # mistake: missing argument of a one-way call
        self.actors.tell(room.post, text=5)  # mistake: wrong type in a one-way call
        self.actors.tell(room.publish)  # mistake: unknown method of a one-way call
        _sent: int = await room.post(text="hello")  # mistake: wrong result type between actors


class Viewing(Actor[dict[str, int]]):
    @view(key=role_of)  # mistake: the key is a str
    def by_number(self, number: int) -> int:
        return number


class Late(Timed):
    async def wrong_timers(self) -> None:
        self.timers.after(5, self.say)  # mistake: missing argument
        self.timers.after(5, self.say, text=5)  # mistake: wrong type
        self.timers.every(5, self.say, "hello", loud=True)  # mistake: unknown argument
        self.timers.after("5", self.say, "hello")  # mistake: seconds are no text
        self.timers.after(5, self.shout)  # mistake: unknown method
        self.reminders.set("a", Due(after=60), self.say, times=2)  # mistake: missing argument of a reminder
        self.reminders.set("a", 60, self.say, "hello")  # mistake: no Due
        Due(after=60, missed="some")  # mistake: unknown rule
        self.timers.after(5, self.plain)  # mistake: not async

    def plain(self) -> None:
        pass

    @cron("0 4 * * *")  # mistake: the method needs an argument
    async def needy(self, text: str) -> None:
        pass
