"""Reminders of a standalone server: in its state file, over restarts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from zocket import Actor, Due, method
from zocket.core import AppDefinition
from zocket.server.local import LocalServer
from zocket.settings import Limits
from zocket.testing import VirtualClock

if TYPE_CHECKING:
    from pathlib import Path

    from zocket.clock import Clock


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


async def test_reminders_of_every_actor_survive_a_restart_where_there_is_a_state_file(tmp_path: Path) -> None:
    clock, actors = VirtualClock(), {"lobby": Lobby, "ledger": Ledger}
    async with make(tmp_path, clock, actors) as server:
        for actor in actors:
            await server.host.call(actor, "x", "remind", b'{"after": 100}', 5.0)
        await clock.advance(10)
    await clock.advance(200)
    async with make(tmp_path, clock, actors) as server:
        await clock.advance(10)
        assert sorted(Lobby.rang) == ["Ledger x: hello", "Lobby x: hello"]
    async with make(tmp_path, clock, actors) as server:
        await clock.advance(1000)
        assert len(Lobby.rang) == 2


async def test_without_a_state_file_they_end_with_the_process(tmp_path: Path) -> None:
    clock = VirtualClock()
    async with make(tmp_path, clock, {"lobby": Lobby}) as server:
        await server.host.call("lobby", "x", "remind", b'{"after": 100}', 5.0)
        await server.host.call("lobby", "y", "remind", b'{"after": 5}', 5.0)
        await clock.advance(10)
        assert Lobby.rang == ["Lobby y: hello"]
    async with make(tmp_path, clock, {"lobby": Lobby}):
        await clock.advance(1000)
        assert len(Lobby.rang) == 1
