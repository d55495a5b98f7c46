"""Where in the runtime the crash points lie: what has happened when each of them is reached, and what has not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from zocket.core import Actor, method
from zocket.crashpoints import PLACES, CrashPoints

if TYPE_CHECKING:
    from tests.unit.runtime.conftest import Bench
    from zocket.broker.memory import MemoryBroker


class Ledger(Actor[dict[str, int]]):
    durability = "file"

    @method
    async def add(self) -> int:
        self.state["count"] = self.state.get("count", 0) + 1
        return self.state["count"]


class Trace(CrashPoints):
    """Reaches every place and lives on, and writes down between which steps of the broker that was."""

    def __init__(self, broker: MemoryBroker, monkeypatch: pytest.MonkeyPatch, **chances: float) -> None:
        super().__init__(chances, die=lambda: self.steps.append("died"))
        self.steps: list[str] = []
        for name in ("put", "put_pipelined", "send", "ack", "take_over"):
            monkeypatch.setattr(broker, name, self._noted(name, getattr(broker, name)))

    def _noted(self, name: str, function: Any) -> Any:
        def noted(*arguments: Any) -> Any:
            self.steps.append(name)
            return function(*arguments)

        return noted

    def strikes(self, place: str) -> bool:
        struck = super().strikes(place)
        if struck:
            self.steps.append(place)
        return struck

    def since(self, first: str) -> list[str]:
        """The steps from the last `first` on, without what the stand-in death adds."""
        start = len(self.steps) - 1 - self.steps[::-1].index(first)
        return [step for step in self.steps[start:] if step != "died"]


async def open_ledger(world: Bench, trace: Trace, broker: MemoryBroker) -> Trace:
    wire = await world.wire()
    async with world.runtime(broker=broker, actors={"ledger": Ledger}, crashpoints=trace, storage="file"):
        wire.call("add", actor="ledger")
        await world.settle()
        await world.clock.advance(1.0)
    return trace


async def test_places_of_a_commit_are_reached_in_order(bench: type[Bench], monkeypatch: pytest.MonkeyPatch) -> None:
    world = bench()
    broker = world.server.connect()
    names = ("before_commit", "after_commit", "before_publish", "in_takeover", "after_takeover", "in_drain")
    trace = await open_ledger(world, Trace(broker, monkeypatch, **dict.fromkeys(names, 1.0)), broker)
    steps = [step for step in trace.steps if step != "died"]
    assert steps[:4] == ["put", "in_takeover", "take_over", "after_takeover"]
    commit = trace.since("before_commit")
    assert commit[:6] == ["before_commit", "put_pipelined", "after_commit", "before_publish", "send", "ack"]
    assert trace.since("in_drain")[0] == "in_drain"
    assert set(PLACES) - set(names) == {"before_ack"}


async def test_before_ack_the_frames_leave_and_nothing_is_acknowledged(
    bench: type[Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    world = bench()
    broker = world.server.connect()
    trace = Trace(broker, monkeypatch, before_ack=1.0)
    wire = await world.wire()
    async with world.runtime(broker=broker, actors={"ledger": Ledger}, crashpoints=trace, storage="file"):
        wire.call("add", actor="ledger")
        await world.settle()
        assert wire.frames() == [{"type": "rpc:result", "id": 1, "result": 1}]
        assert trace.since("before_ack") == ["before_ack", "send"]
        assert "died" not in trace.steps, "the frames get time to leave"
        await world.clock.advance(1.0)
    assert "died" in trace.steps
    assert "ack" not in trace.steps
