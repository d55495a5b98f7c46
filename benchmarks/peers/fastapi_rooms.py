"""What a Python team writes by hand instead: FastAPI, Pydantic, a dictionary of rooms, a lock for each.

    uvicorn fastapi_rooms:app

It speaks the same frames as Zocket, so the same load generator drives it: calls, events, snapshots and patches, one
handler at a time in each room. It is written as one would to be fast and short: a frame is validated by pydantic-core
straight from its JSON, a broadcast is encoded once, patches are written by hand beside the mutation. It has no limits
on what a client sends or fails to read, no rollback, no time limit, no metrics, and runs in one process only.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Literal

from fastapi import FastAPI, WebSocket, WebSocketDisconnect
from pydantic import BaseModel, Field, TypeAdapter, ValidationError

CELLS = int(os.environ.get("BOARD_CELLS", "1000"))


class Rpc(BaseModel):
    type: Literal["rpc"]
    id: str | int | float
    actor: str
    actor_id: str = Field(alias="actorId")
    method: str
    input: dict[str, Any] = {}


class Subscription(BaseModel):
    type: Literal["event:sub", "event:unsub", "state:sub", "state:unsub"]
    actor: str
    actor_id: str = Field(alias="actorId")


Frame = Annotated[Rpc | Subscription, Field(discriminator="type")]
frames: TypeAdapter[Rpc | Subscription] = TypeAdapter(Frame)


class Count(BaseModel):
    count: int = 0


class Message(BaseModel):
    from_: str = Field(alias="from")
    text: str


class Messages(BaseModel):
    messages: list[Message] = []


class Cells(BaseModel):
    cells: dict[str, int] = Field(default_factory=lambda: {f"c{index}": 0 for index in range(CELLS)})


class Sleep(BaseModel):
    ms: int


class Cell(BaseModel):
    key: str
    value: int


class Room:
    def __init__(self, actor: str, actor_id: str, state: BaseModel) -> None:
        self.address = {"actor": actor, "actorId": actor_id}
        self.state: Any = state
        self.lock = asyncio.Lock()
        self.watchers: set[WebSocket] = set()
        self.listeners: set[WebSocket] = set()

    async def patch(self, *operations: dict[str, Any]) -> None:
        if self.watchers:
            await broadcast(self.watchers, {"type": "state:patch", **self.address, "patches": operations})

    async def emit(self, event: str, payload: Any) -> None:
        if self.listeners:
            await broadcast(self.listeners, {"type": "event", **self.address, "event": event, "payload": payload})


async def broadcast(sockets: set[WebSocket], message: dict[str, Any]) -> None:
    text = json.dumps(message, separators=(",", ":"))
    for socket in list(sockets):
        try:
            await socket.send_text(text)
        except (WebSocketDisconnect, RuntimeError):  # it has closed meanwhile
            sockets.discard(socket)


async def increment(room: Room, _: dict[str, Any]) -> int:
    room.state.count += 1
    count: int = room.state.count
    await room.patch({"op": "replace", "path": "/count", "value": count})
    return count


async def sleep(room: Room, value: dict[str, Any]) -> int:
    await asyncio.sleep(Sleep.model_validate(value).ms / 1000)
    count: int = room.state.count
    return count


async def send(room: Room, value: dict[str, Any]) -> None:
    message = Message.model_validate(value)
    room.state.messages.append(message)
    payload = message.model_dump(by_alias=True)
    await room.patch({"op": "add", "path": f"/messages/{len(room.state.messages) - 1}", "value": payload})
    await room.emit("newMessage", payload)


async def set_cell(room: Room, value: dict[str, Any]) -> int:
    cell = Cell.model_validate(value)
    room.state.cells[cell.key] = cell.value
    path = "/cells/" + cell.key.replace("~", "~0").replace("/", "~1")
    await room.patch({"op": "replace", "path": path, "value": cell.value})
    return cell.value


Method = Callable[[Room, dict[str, Any]], Awaitable[Any]]
ACTORS: dict[str, tuple[type[BaseModel], dict[str, Method]]] = {
    "counter": (Count, {"increment": increment, "sleep": sleep}),
    "sleeper": (Count, {"sleep": sleep}),
    "chat": (Messages, {"send": send}),
    "board": (Cells, {"set": set_cell}),
}

rooms: dict[tuple[str, str], Room] = {}
app = FastAPI()


def room_of(actor: str, actor_id: str) -> Room:
    room = rooms.get((actor, actor_id))
    if room is None:
        room = rooms[actor, actor_id] = Room(actor, actor_id, ACTORS[actor][0]())
    return room


@app.get("/health")
async def health() -> dict[str, bool]:
    return {"ok": True}


@app.websocket("/")
async def session(socket: WebSocket) -> None:
    await socket.accept()
    await socket.send_json({"type": "welcome", "clientId": secrets.token_hex(8)})
    joined: set[Room] = set()
    try:
        while True:
            text = await socket.receive_text()
            try:
                frame = frames.validate_json(text)
            except ValidationError:
                continue
            if isinstance(frame, Rpc):
                await answer(socket, frame)
            elif frame.actor in ACTORS:
                joined.add(await subscribe(socket, frame))
    except WebSocketDisconnect:
        pass
    finally:
        for room in joined:
            room.watchers.discard(socket)
            room.listeners.discard(socket)


async def answer(socket: WebSocket, call: Rpc) -> None:
    reply: dict[str, Any] = {"type": "rpc:result", "id": call.id}
    if call.actor not in ACTORS:
        reply["error"] = f"Unknown actor: {call.actor}"
    elif (method := ACTORS[call.actor][1].get(call.method)) is None:
        reply["error"] = f"Unknown method: {call.method}"
    else:
        room = room_of(call.actor, call.actor_id)
        try:
            async with room.lock:
                result = await method(room, call.input)
            if result is not None:
                reply["result"] = result
        except ValidationError as error:
            reply["error"] = f"Validation failed for {call.method}: {error.json()}"
    await socket.send_json(reply)


async def subscribe(socket: WebSocket, frame: Subscription) -> Room:
    room = room_of(frame.actor, frame.actor_id)
    match frame.type:
        case "event:sub":
            room.listeners.add(socket)
        case "event:unsub":
            room.listeners.discard(socket)
        case "state:unsub":
            room.watchers.discard(socket)
        case "state:sub":
            async with room.lock:
                room.watchers.add(socket)
                state = room.state.model_dump(mode="json", by_alias=True)
                await socket.send_json({"type": "state:snapshot", **room.address, "state": state})
    return room
