"""Reminders of a standalone server: in its state file, over restarts."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from zocket import Actor, Due, method
from zocket.core import AppDefinition
from zocket.server.local import LocalServer
from zocket.settings import Limits
from zocket.testing.clock import ShiftedClock

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from zocket.clock import Clock

pytestmark = pytest.mark.realtime  # the state file has a thread
LIMIT_S = 20.0


class Lobby(Actor[dict[str, Any]]):
    """In memory."""

    rang: list[str] = []

    @method
    async def remind(self, after: float) -> None:
        self.reminders.set("ring", Due(after=after), self.ring, "hello")

    async def ring(self, text: str) -> None:
        self.rang.append(f"{type(self).__name__} {self.id}: {text}")


class Ledger(Lobby):
    durability = "file"


def make(directory: Path, clock: Clock, actors: dict[str, Any]) -> Any:
    state_file = str(directory / "state.db")
    return LocalServer.open(AppDefinition(actors), limits=Limits(), clock=clock, state_file=state_file)


@pytest.fixture(autouse=True)
def nothing_rang(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Lobby, "rang", [])


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(LIMIT_S):
        while not condition():  # noqa: ASYNC110 — nothing tells when it becomes true
            await asyncio.sleep(0.005)


async def test_reminders_of_every_actor_survive_a_restart_where_there_is_a_state_file(tmp_path: Path) -> None:
    clock, actors = ShiftedClock(), {"lobby": Lobby, "ledger": Ledger}
    async with make(tmp_path, clock, actors) as server:
        for actor in actors:
            await server.host.call(actor, "x", "remind", b'{"after": 100}', LIMIT_S)
    await clock.advance(200)
    async with make(tmp_path, clock, actors) as server:
        await until(lambda: len(Lobby.rang) == 2)
        assert sorted(Lobby.rang) == ["Ledger x: hello", "Lobby x: hello"]
        await until(lambda: server.host.timing.wheel.alarms == 0)
    async with make(tmp_path, clock, actors) as server:
        assert server.host.timing.wheel.alarms == 0
        assert len(Lobby.rang) == 2


async def test_without_a_state_file_they_end_with_the_process(tmp_path: Path) -> None:
    clock = ShiftedClock()
    async with make(tmp_path, clock, {"lobby": Lobby}) as server:
        await server.host.call("lobby", "x", "remind", b'{"after": 100}', LIMIT_S)
        await server.host.call("lobby", "y", "remind", b'{"after": 5}', LIMIT_S)
        await clock.advance(10)
        await until(lambda: Lobby.rang == ["Lobby y: hello"])
    async with make(tmp_path, clock, {"lobby": Lobby}) as server:
        assert server.host.timing.wheel.alarms == 0
