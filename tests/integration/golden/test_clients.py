"""Golden conversations from the client's side: the Python client toward an existing server.

`golden.test.js` of the JavaScript client does the same with the same files.
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import jsonpatch
import pytest

from tests.integration.golden.contract import Contract, read_additions
from tests.integration.golden.conversation import Conversation, Line, stripped_frame
from zocket.client import Client
from zocket.errors import ActorError
from zocket.protocol.client_session import Instance
from zocket.testing import VirtualClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from zocket.client.transport import Receiver

CONTRACT = Contract(read_additions())
EVENT = "newMessage"
CONVERSATIONS = ("calls", "disconnect", "events", "state", "two-actors", "unknown-actor")
"""Those whose frames clients of ours say, too: one at a time, and none that is broken."""


class Wire:
    """Transport and connection of one client; the test is its server."""

    def __init__(self) -> None:
        self.receiver: Receiver
        self.said: list[Any] = []

    async def connect(self, receiver: Receiver) -> Wire:
        self.receiver = receiver
        return self

    def send(self, frame: bytes) -> None:
        self.said.append(json.loads(frame))

    async def close(self) -> None:
        self.receiver.on_closed(1000, "")


class Player:
    """One client of ours, which does what makes it say the recorded frames.

    Attributes:
        ids: its own id of each recorded one.
    """

    def __init__(self) -> None:
        self.wire = Wire()
        self.client = Client(self.wire, clock=VirtualClock())
        self.ids: dict[Any, Any] = {}
        self.calls: dict[Any, asyncio.Task[bytes | None]] = {}
        self.streams: dict[tuple[str, str, str], AsyncIterator[Any]] = {}
        self.replicas: dict[tuple[str, str], Any] = {}

    async def says(self, frame: dict[str, Any]) -> None:
        """Does it, and compares what was said."""
        kind, place = frame["type"], (frame["actor"], frame["actorId"])
        if kind.endswith(":sub") and (kind, *place) in self.streams:
            return  # what is shared is asked for once
        await self._does(kind, place, frame)
        await asyncio.sleep(0)
        [raw] = self.wire.said
        self.wire.said.clear()
        assert CONTRACT.refusal_of_frame(raw, to="server") is None
        said = stripped_frame(CONTRACT, raw)
        if kind == "rpc":
            self.ids[frame["id"]] = said["id"]
        assert said == {**frame, "id": said["id"]} if kind == "rpc" else said == frame

    async def _does(self, kind: str, place: tuple[str, str], frame: dict[str, Any]) -> None:
        handle = self.client.dynamic(*place)
        match kind:
            case "rpc":
                given = json.dumps(frame["input"]).encode() if "input" in frame else None
                call = self.client.invoke(Instance(*place), frame["method"], given)
                self.calls[frame["id"]] = asyncio.create_task(call)
            case "state:sub":
                self.streams[kind, *place] = self.client.state(handle)
            case "event:sub":
                self.streams[kind, *place] = self.client.events(handle, EVENT)
            case _:
                await self.streams.pop((kind.replace("unsub", "sub"), *place)).aclose()  # type: ignore[attr-defined]

    async def hears(self, frame: dict[str, Any]) -> None:
        """The server says it; what the client makes of it is looked at."""
        told = {**frame, "id": self.ids[frame["id"]]} if "id" in frame else frame
        self.wire.receiver.on_frame(json.dumps(told).encode())
        place = (frame.get("actor", ""), frame.get("actorId", ""))
        match frame["type"]:
            case "welcome":
                assert self.client.id == frame["clientId"]
            case "rpc:result":
                await self._is_answered(self.calls.pop(frame["id"]), frame)
            case "state:snapshot":
                self.replicas[place] = frame["state"]
            case "state:patch":
                self.replicas[place] = jsonpatch.apply_patch(self.replicas[place], frame["patches"])
            case "event":
                assert await anext(self.streams["event:sub", *place]) == frame["payload"]
        if frame["type"].startswith("state:"):
            assert await anext(self.streams["state:sub", *place]) == self.replicas[place]

    @staticmethod
    async def _is_answered(call: asyncio.Task[bytes | None], frame: dict[str, Any]) -> None:
        if "error" in frame:
            with pytest.raises(ActorError) as raised:
                await call
            assert raised.value.message == frame["error"]
        else:
            value = await call
            assert (None if value is None else json.loads(value)) == frame.get("result")
            assert (value is None) == ("result" not in frame)


@pytest.mark.parametrize("name", CONVERSATIONS)
async def test_the_python_client_with_an_existing_server(name: str) -> None:
    players: dict[str, Player] = {}

    async def plays(line: Line) -> None:
        player = players.setdefault(line["socket"], Player())
        if "open" in line:
            await player.client.open()
        elif "close" in line:
            assert player.calls == {}
            await player.client.aclose()
        elif line["from"] == "client":
            await player.says(line["frame"])
        else:
            await player.hears(line["frame"])
        assert player.wire.said == []

    for line in Conversation.read(name).seen_by("client", "server").lines:
        async with asyncio.timeout(10):
            await plays(line)


async def test_the_python_client_needs_no_welcome() -> None:
    """An existing gateway sends none."""
    player = Player()
    await player.client.open()
    await player.says({"type": "rpc", "id": 1, "actor": "counter", "actorId": "one", "method": "increment"})
    await player.hears({"type": "rpc:result", "id": 1, "result": 1})
    await player.client.aclose()
