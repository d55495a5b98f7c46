"""Poison messages and reminders on the memory broker and on NATS, one body.

A runtime dies by `Runtime.abort` here; `tests/faults/test_poison.py` kills real processes.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from zocket.broker.memory import MemoryServer
from zocket.broker.nats import NatsBroker
from zocket.broker.server import NatsServer
from zocket.clock import SystemClock
from zocket.core import Actor, AppDefinition, Due, method
from zocket.errors import Unavailable
from zocket.ids import Scope
from zocket.protocol import subjects
from zocket.runtime.dead_letters import DeadLetters
from zocket.runtime.runtime import Runtime
from zocket.settings import Limits

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from zocket.broker.port import Broker, Message

    Connect = Callable[[], Awaitable[Broker]]

INNOCENTS = [f"{name}{number}" for number in range(10) for name in "ab"]


class Ledger(Actor[dict[str, Any]]):
    """Notes lines; `kill` ends its process."""

    entered: ClassVar[list[str]] = []
    kills: ClassVar[Callable[[], object]]

    @method
    async def note(self, text: str) -> str:
        type(self).entered.append(text)
        self.state.setdefault("lines", []).append(text)
        return text

    @method
    async def lines(self) -> list[str]:
        return list(self.state.get("lines", []))

    @method
    async def kill(self) -> None:
        type(self).entered.append("kill")
        self.state["lines"] = ["the poison took effect"]
        type(self).kills()
        await asyncio.Event().wait()

    @method
    async def light(self) -> None:
        self.reminders.set("bomb", Due(after=0.05, every=3600, missed="skip"), self.bang)

    async def bang(self) -> None:
        type(self).entered.append(self.message_id)
        if type(self).entered.count(self.message_id) <= 3:
            await self.kill()


class Project:
    """A project on a broker of its own, with a gateway made by hand."""

    def __init__(self, ledger: type[Ledger], connect: Connect) -> None:
        self.clock = SystemClock()
        self.scope = Scope("ws", "prj")
        self.answers: list[dict[str, Any]] = []
        self.ledger = ledger
        self.connect = connect
        self._sent = 0
        self._dying: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def broker(self) -> AsyncIterator[Broker]:
        broker = await self.connect()
        try:
            yield broker
        finally:
            await broker.aclose()

    @asynccontextmanager
    async def life(self) -> AsyncIterator[Runtime]:
        """One runtime, which a poison message ends."""
        definition = AppDefinition({"book": self.ledger})
        async with (
            self.broker() as broker,
            Runtime.open(
                definition,
                self.scope,
                broker,
                clock=self.clock,
                limits=Limits(),
                process_name="test",
                storage="file",
            ) as runtime,
        ):
            self.ledger.kills = lambda: self._dying.add(asyncio.create_task(runtime.abort()))
            yield runtime

    async def listen(self, broker: Broker) -> None:
        def received(messages: list[Message]) -> None:
            frames = [json.loads(message.payload)["message"] for message in messages]
            self.answers += [frame for frame in frames if frame["type"] != "welcome"]

        await broker.subscribe(subjects.outbound(self.scope, "*"), received)

    def call(self, broker: Broker, name: str, actor_id: str, call_id: str, **values: Any) -> None:
        scope = {"workspaceId": self.scope.workspace_id, "projectId": self.scope.project_id}
        frame = {"type": "rpc", "id": call_id, "actor": "book", "actorId": actor_id, "method": name, "input": values}
        envelope = {"scope": scope, "sessionId": "s1", "userId": None, "claims": {"sub": "ada"}, "message": frame}
        self._sent += 1
        broker.publish(
            subjects.inbound(self.scope, "book", actor_id),
            json.dumps(envelope).encode(),
            f"s1:{self._sent}",
            lambda error: None,
        )

    def answer(self, call_id: str) -> Any:
        found = [frame for frame in self.answers if frame["id"] == call_id]
        assert len(found) <= 1, found
        return found[0].get("code", found[0].get("result")) if found else None


@asynccontextmanager
async def connecting(kind: str) -> AsyncIterator[Connect]:
    """Opens connections to one server of this kind."""
    if kind == "memory":
        memory = MemoryServer(SystemClock())

        async def connect() -> Broker:
            return memory.connect()

        yield connect
        return
    async with NatsServer() as server:
        yield lambda: NatsBroker.open(server.url, name="test")


async def until(condition: Callable[[], object], what: str) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 — answers of several runtimes
            await asyncio.sleep(0.01)


@pytest.mark.realtime
@pytest.mark.parametrize("kind", ["memory", pytest.param("nats", marks=pytest.mark.nats)])
@pytest.mark.parametrize("durability", ["memory", "file"])
async def test_a_poison_message_is_stored_its_caller_told_and_every_innocent_answered_once_in_order(
    kind: str, durability: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zocket.runtime.suspects.GRACE_S", 0.3)
    ledger: type[Ledger] = type("Book", (Ledger,), {"entered": [], "durability": durability})
    async with connecting(kind) as connect:
        await live_through(Project(ledger, connect), durability)


async def live_through(project: Project, durability: str) -> None:
    async with project.broker() as gateway:
        await project.listen(gateway)
        async with project.life() as runtime:
            for text in INNOCENTS[:10]:
                project.call(gateway, "note", text[0], text, text=text)
            project.call(gateway, "kill", "a", "poison")
            for text in INNOCENTS[10:]:
                project.call(gateway, "note", text[0], text, text=text)
            await died(runtime)
        for _ in range(2):
            async with project.life() as runtime:
                await died(runtime)
        assert project.answer("poison") is None
        async with project.life():
            project.call(gateway, "lines", "a", "lines")
            await until(lambda: all(map(project.answer, ("poison", "lines", *INNOCENTS))), "every answer")
        assert project.ledger.entered.count("kill") == 3
        assert project.answer("poison") == "dead_letter"
        assert [project.answer(text) for text in INNOCENTS] == INNOCENTS
        for name in "ab":
            entered = [text for text in project.ledger.entered if text[0] == name]
            assert entered[-5:] == [text for text in INNOCENTS[10:] if text[0] == name]
        if durability == "file":
            assert project.answer("lines") == [text for text in INNOCENTS if text[0] == "a"]
        ((_, letter),) = await DeadLetters(gateway, project.scope).newest(10)
        assert (letter.actor, letter.actor_id, letter.method, letter.attempts) == ("book", "a", "kill", 3)
        assert json.loads(bytes(letter.envelope))["message"]["id"] == "poison"
        entry = await gateway.get(subjects.owner_bucket(project.scope), subjects.marks_key(project.scope))
        assert entry is not None
        assert "begun" not in json.loads(entry.value), "the marks are gone"


@pytest.mark.realtime
@pytest.mark.parametrize("kind", ["memory", pytest.param("nats", marks=pytest.mark.nats)])
@pytest.mark.parametrize("durability", ["memory", "file"])
async def test_a_run_of_a_reminder_that_kills_is_stored_and_a_replay_runs_it_once(
    kind: str, durability: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zocket.runtime.suspects.GRACE_S", 0.3)
    ledger: type[Ledger] = type("Book", (Ledger,), {"entered": [], "durability": durability})
    async with connecting(kind) as connect:
        project = Project(ledger, connect)
        async with project.broker() as gateway:
            async with project.life() as runtime:
                project.call(gateway, "light", "a", "light")
                await died(runtime)
            for _ in range(2):
                async with project.life() as runtime:
                    await died(runtime)
            async with project.life():
                letters = DeadLetters(gateway, project.scope)
                while not (found := await letters.newest(10)):  # noqa: ASYNC110 — it appears in another connection
                    await asyncio.sleep(0.01)
                ((number, letter),) = found
                assert (letter.actor_id, letter.method, letter.reminder, letter.attempts) == ("a", "bang", "bomb", 3)
                (run,) = set(ledger.entered) - {"kill"}
                assert ledger.entered.count(run) == 3
                await letters.replay(number)
                await until(lambda: ledger.entered.count(run) == 4, "the replay")
                assert await letters.newest(10) == []


async def died(runtime: Runtime) -> None:
    async with asyncio.timeout(30):
        with pytest.raises(Unavailable, match="aborted"):
            await runtime.wait_stopped()
