from __future__ import annotations

import asyncio
import json
import sys
import zipfile
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from zocket.broker.memory import MemoryBroker, MemoryServer
from zocket.broker.port import Message
from zocket.core import Actor, AppDefinition, Event, method
from zocket.errors import ActorError
from zocket.ids import Scope
from zocket.protocol import subjects
from zocket.runtime.runtime import Runtime
from zocket.settings import Limits
from zocket.testing.clock import VirtualClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from zocket.broker.port import Broker

SCOPE = Scope("ws", "proj")


class WriteArchive(Protocol):
    """Writes a zip archive; gives its path."""

    def __call__(self, members: dict[str, str]) -> Path: ...


@pytest.fixture(autouse=True)
def fresh_imports() -> Iterator[None]:
    """What a bundle imports is gone after the test."""
    path, modules = list(sys.path), set(sys.modules)
    yield
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        del sys.modules[name]


@pytest.fixture
def write_archive(tmp_path: Path) -> WriteArchive:
    def write(members: dict[str, str]) -> Path:
        path = tmp_path / "bundle.pyz"
        with zipfile.ZipFile(path, "w") as archive:
            for name, text in members.items():
                archive.writestr(name, text)
        return path

    return write


class Room(Actor[dict[str, Any]]):
    """What the tests call."""

    said = Event[str]()
    runs: list[str] = []
    hooks: list[str] = []
    gate: asyncio.Event | None = None

    @method
    async def say(self, text: str) -> int:
        self.runs.append(text)
        if self.gate is not None:
            await self.gate.wait()
        lines = self.state.setdefault("lines", [])
        lines.append(text)
        self.said.emit(text)
        return len(lines)

    @method
    async def who(self) -> list[Any]:
        return [self.session.id, self.session.user_id, dict(self.session.claims)]

    @method
    async def echo(self, text: str) -> str:
        return text

    @method
    async def fail(self) -> None:
        raise ActorError("no", code="nope")

    @method
    async def here(self) -> list[str]:
        return sorted(self.clients)

    async def on_disconnect(self) -> None:
        self.hooks.append(f"{self.id} lost {self.session.id}")

    async def on_deactivate(self) -> None:
        self.hooks.append(f"{self.id} deactivated")


class Other(Actor[dict[str, Any]]):
    """A second type."""

    @method
    async def ping(self) -> str:
        return "pong"


class Wire:
    """A gateway made by hand: publishes envelopes and records what comes out."""

    def __init__(self, broker: Broker, scope: Scope) -> None:
        self.broker = broker
        self.scope = scope
        self.outbound: list[dict[str, Any]] = []
        self.batches: list[dict[str, Any]] = []
        self.announced: list[dict[str, Any]] = []
        self._number = 0

    async def listen(self) -> Wire:
        def into(records: list[dict[str, Any]]) -> Callable[[list[Message]], None]:
            return lambda messages: records.extend(json.loads(message.payload) for message in messages)

        await self.broker.subscribe(subjects.ANY_SESSION, into(self.outbound))
        await self.broker.subscribe(subjects.gateway(self.scope, "*"), into(self.batches))
        await self.broker.subscribe(subjects.announcement(self.scope), into(self.announced))
        return self

    def publish(
        self,
        frame: dict[str, Any],
        *,
        session: str = "s1",
        gateway: str | None = None,
        subject: str | None = None,
        **more: Any,
    ) -> None:
        envelope = self.envelope(frame, session=session, **({"gateway": gateway} if gateway else {}), **more)
        target = subject or subjects.inbound(self.scope, frame["actor"], frame["actorId"])
        self.publish_raw(target, json.dumps(envelope).encode())

    def envelope(self, frame: dict[str, Any], *, session: str = "s1", **more: Any) -> dict[str, Any]:
        scope = {"workspaceId": self.scope.workspace_id, "projectId": self.scope.project_id}
        return {"scope": scope, "sessionId": session, "userId": None, "claims": None, "message": frame, **more}

    def publish_raw(self, subject: str, payload: bytes) -> None:
        self._number += 1

        def done(error: Exception | None) -> None:
            if error is not None:
                raise error

        self.broker.publish(subject, payload, f"{id(self)}:{self._number}", done)

    def call(self, method: str, actor_id: str = "a", *, actor: str = "room", call_id: Any = 1, **more: Any) -> None:
        frame = {"type": "rpc", "id": call_id, "actor": actor, "actorId": actor_id, "method": method}
        if "input" in more:
            frame["input"] = more.pop("input")
        self.publish(frame, **more)

    def disconnect(self, session: str) -> None:
        scope = {"workspaceId": self.scope.workspace_id, "projectId": self.scope.project_id}
        payload = json.dumps({"scope": scope, "sessionId": session, "disconnectedAt": 1}).encode()
        self.broker.send([Message(subjects.disconnected(self.scope), payload)])

    def alive(self, gateway: str) -> None:
        self.broker.send([Message(subjects.alive(gateway), b"{}")])

    def frames(self, session: str = "s1") -> list[dict[str, Any]]:
        """Frames for a session that came on its own subject, `welcome` left out."""
        found = [item["message"] for item in self.outbound if item["sessionId"] == session]
        return [frame for frame in found if frame["type"] != "welcome"]


async def settle() -> None:
    """Lets everything that is ready run, without moving the time noticeably."""
    for _ in range(50):
        await asyncio.sleep(0)


class Bench:
    """A memory server with a hand-made gateway, and runtimes on it."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.server = MemoryServer(self.clock)
        self.scope = SCOPE
        self.room: type[Room] = type("Room", (Room,), {"runs": [], "hooks": []})
        self.actors: dict[str, Any] = {"room": self.room, "other": Other}

    async def wire(self) -> Wire:
        return await Wire(self.server.connect(), self.scope).listen()

    @asynccontextmanager
    async def runtime(
        self, *, broker: MemoryBroker | None = None, actors: dict[str, Any] | None = None, **more: Any
    ) -> AsyncIterator[Runtime]:
        options = {"limits": Limits(), "process_name": "test", **more}
        connection = broker or self.server.connect()
        async with Runtime.open(
            AppDefinition(actors or self.actors), self.scope, connection, clock=self.clock, **options
        ) as runtime:
            yield runtime

    settle = staticmethod(settle)


@pytest.fixture
def bench() -> type[Bench]:
    """Made inside the test: it needs the running loop."""
    return Bench
