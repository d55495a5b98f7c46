"""A chat: rooms, who is online, messages with their time, and a sign that somebody is typing."""

import time
from typing import Annotated

from pydantic import BaseModel, Field, StringConstraints

from zocket import Actor, ActorError, App, Event, method

KEPT_MESSAGES = 200
"""What a newcomer sees of a room's past."""

TRIM_AT = 300
"""Then old messages go in one step: dropping one at every post would shift the whole list, and send it, each time."""

MAX_ROOMS = 50

Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=24)]
RoomId = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,23}$")]
Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=2000)]


class Person(BaseModel):
    name: str


class Message(BaseModel):
    id: int
    session: str
    author: str
    text: str
    sent_at_ms: int


class Typing(BaseModel):
    session: str
    name: str


class RoomState(BaseModel):
    messages: list[Message] = []
    online: dict[str, Person] = Field(default={}, description="by session")
    last_id: int = 0


class ChatRoom(Actor[RoomState]):
    """One room; its id is its name in the address bar."""

    posted = Event(Message)
    typing = Event(Typing)

    async def on_connect(self) -> None:
        self.state.online[self.session.id] = Person(name=self.session.user_id or "Guest")

    async def on_disconnect(self) -> None:
        self.state.online.pop(self.session.id, None)

    @method
    async def join(self, name: Name) -> None:
        """Takes a name, or another one; also after `leave`."""
        self.state.online[self.session.id] = Person(name=name)

    @method
    async def leave(self) -> None:
        """The page shows another room, but its connection stays."""
        self.state.online.pop(self.session.id, None)

    @method
    async def post(self, text: Text) -> Message:
        person = self._person()
        self.state.last_id += 1
        message = Message(
            id=self.state.last_id,
            session=self.session.id,
            author=person.name,
            text=text,
            sent_at_ms=int(time.time() * 1000),
        )
        self.state.messages.append(message)
        if len(self.state.messages) >= TRIM_AT:
            del self.state.messages[:-KEPT_MESSAGES]
        self.posted.emit(message, exclude=self.session.id)
        return message

    @method
    async def keystroke(self) -> None:
        """Tells the others that this person is typing; nothing of it is kept."""
        self.typing.emit(Typing(session=self.session.id, name=self._person().name), exclude=self.session.id)

    def _person(self) -> Person:
        person = self.state.online.get(self.session.id)
        if person is None:
            raise ActorError("join the room first", code="not_joined")
        return person


class LobbyState(BaseModel):
    rooms: list[str] = ["general", "ideas", "random"]


class Activity(BaseModel):
    room: str


class Lobby(Actor[LobbyState]):
    """The list of rooms, one for all: `lobby/main`."""

    activity = Event(Activity)

    @method
    async def open(self, room: RoomId) -> None:
        """Puts a room on the list; one that is there already stays where it is."""
        if room in self.state.rooms:
            return
        if len(self.state.rooms) >= MAX_ROOMS:
            raise ActorError("there are too many rooms already", code="too_many_rooms")
        self.state.rooms.append(room)

    @method
    async def announce(self, room: RoomId) -> None:
        """Somebody wrote in `room`: pages that show another one mark it."""
        self.activity.emit(Activity(room=room), exclude=self.session.id)


app = App(actors={"chat": ChatRoom, "lobby": Lobby})
