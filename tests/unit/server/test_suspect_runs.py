"""Reminders that end a standalone server's process; what a killed process leaves is a copy of its state file."""

from __future__ import annotations

import asyncio
import shutil
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest

from zocket import Actor, Due, method
from zocket.core import AppDefinition
from zocket.host.store import Key
from zocket.server.local import LocalServer
from zocket.server.sqlite_store import LIVES, SqliteStore
from zocket.settings import Limits
from zocket.testing.clock import ShiftedClock

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

pytestmark = pytest.mark.realtime  # the state file has a thread
LIMIT_S = 20.0


class Lobby(Actor[dict[str, Any]]):
    """Its reminders note that they run; `hang` waits until its process ends."""

    ran: list[str] = []

    @method
    async def begin(self, every: float) -> None:
        self.reminders.set("poison", Due(after=10, every=every), self.hang)
        self.reminders.set("good", Due(after=11), self.note)

    async def note(self) -> None:
        self.ran.append("good")

    async def hang(self) -> None:
        self.ran.append("poison")
        await asyncio.Event().wait()


class Ledger(Lobby):
    durability = "file"


class Lives:
    """Servers one after the other on what their predecessor left."""

    def __init__(self, directory: Path) -> None:
        self.clock = ShiftedClock()
        self._numbers = count()
        self._root = directory
        self.directory = directory / "0"

    def open(self) -> AbstractAsyncContextManager[LocalServer]:
        return LocalServer.open(
            AppDefinition({"lobby": Lobby, "ledger": Ledger}),
            limits=Limits(),
            clock=self.clock,
            state_file=str(self.directory / "state.db"),
            drain_timeout_s=0.01,
        )

    async def one_that_dies(self, actor: str = "") -> None:
        """Ends in the poison's run; the first one sets it for this actor."""
        begun = Lobby.ran.count("poison")
        async with self.open() as server:
            if actor:
                await server.host.call(actor, "x", "begin", b'{"every": 3600}', LIMIT_S)
                await self.clock.advance(20)
            await runs(begun + 1)
            left = self._root / str(next(self._numbers) + 1)
            shutil.copytree(self.directory, left)
            await server.host.abort()
        self.directory = left

    async def life(self) -> bytes:
        async with SqliteStore.open(self.directory / "state.db") as store:
            stored = await store.read(LIVES, *Key("", ""))
        assert stored is not None
        return stored.record


@pytest.fixture(autouse=True)
def nothing_ran(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Lobby, "ran", [])


async def runs(number: int) -> None:
    """The poison has begun so often, in all lives."""
    await until(lambda: Lobby.ran.count("poison") == number)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(LIMIT_S):
        while not condition():  # noqa: ASYNC110 — nothing tells when it becomes true
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("actor", ["lobby", "ledger"])
async def test_a_run_is_given_up_after_three_deaths_and_the_others_go_on(
    tmp_path: Path, actor: str, caplog: pytest.LogCaptureFixture
) -> None:
    lives = Lives(tmp_path)
    await lives.one_that_dies(actor)
    for _ in range(2):
        await lives.one_that_dies()
    async with lives.open() as server:
        await until(lambda: "good" in Lobby.ran)
        assert Lobby.ran == ["poison"] * 3 + ["good"]
        samples = {sample.name: sample.value for sample in server.samples()}
        assert (samples["reminder_runs_given_up"], samples["alarms"]) == (1, 1)
        (record,) = [record for record in caplog.records if "given up" in record.getMessage()]
        assert (record.levelname, record.__dict__["actor"], record.__dict__["actor_id"]) == ("ERROR", actor, "x")
        await lives.clock.advance(3600)
        await runs(4)
    assert await lives.life() == b"{}"


async def test_servers_that_stop_cleanly_give_nothing_up_and_mark_nothing(tmp_path: Path) -> None:
    lives = Lives(tmp_path)
    async with lives.open() as server:
        await server.host.call("ledger", "x", "begin", b'{"every": 3600}', LIMIT_S)
    await lives.clock.advance(20)
    for number in range(4):
        async with lives.open() as server:
            await runs(number + 1)
            assert server.host.timing.trials is None
        assert await lives.life() == b"{}"


async def test_a_clean_stop_takes_the_mark_of_a_suspect_back(tmp_path: Path) -> None:
    lives = Lives(tmp_path)
    await lives.one_that_dies("ledger")
    for number in range(4):
        async with lives.open():
            await runs(number + 2)
        assert await lives.life() == b"{}"
