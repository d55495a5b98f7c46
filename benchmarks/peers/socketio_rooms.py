"""What a Python team takes from the shelf instead: python-socketio with rooms, as an ASGI application.

    uvicorn socketio_rooms:app

Calls are events with an acknowledgement, whose value is the result; who watches a room gets what is emitted there.
State is a dictionary of rooms with a lock each, inputs are validated by Pydantic, as in `fastapi_rooms.py`. There are
no patches: each message of a room is emitted by itself.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import Any

import socketio
from pydantic import BaseModel, Field, ValidationError


class Message(BaseModel):
    from_: str = Field(alias="from")
    text: str


class Room:
    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.count = 0
        self.messages: list[Message] = []


server = socketio.AsyncServer(async_mode="asgi", cors_allowed_origins="*")
app = socketio.ASGIApp(server)
rooms: defaultdict[str, Room] = defaultdict(Room)


@server.event
async def increment(sid: str, name: str) -> int:
    room = rooms[name]
    async with room.lock:
        room.count += 1
        return room.count


@server.event
async def watch(sid: str, name: str) -> bool:
    await server.enter_room(sid, name)
    return True


@server.event
async def send(sid: str, name: str, value: dict[str, Any]) -> Any:
    try:
        message = Message.model_validate(value)
    except ValidationError as error:
        return {"error": error.json()}
    room = rooms[name]
    async with room.lock:
        room.messages.append(message)
        await server.emit("newMessage", message.model_dump(by_alias=True), room=name)
    return len(room.messages)
