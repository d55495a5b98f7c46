"""Actors that may leave memory, and a host with a store for them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec
from pydantic import BaseModel

from tests.unit.host.conftest import Recorder, Shelf
from zocket import Actor, Event, method
from zocket.core import AppDefinition
from zocket.host import Host
from zocket.host.store import Stored
from zocket.settings import Limits
from zocket.testing import VirtualClock, finalizers

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

IDLE_S = 10.0
"""Of the host's durable instances."""
NAP_S = 1.0
"""How long `on_deactivate` of a `Slow` takes."""


class State(BaseModel):
    count: int = 0
    left: int = 0
    lines: list[str] = []


class It(Actor[State]):
    told = Event[str]()

    @method
    async def add(self, line: str = "") -> int:
        self.state.count += 1
        if line:
            self.state.lines.append(line)
        return self.state.count

    @method
    async def nap(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    @method
    async def known(self) -> list[str]:
        return list(self.clients)

    @method
    async def look(self) -> list[int]:
        return [self.state.count, self.state.left]


class Brief(It):
    idle_after = 5.0


class Kept(It):
    durability = "file"


class Slow(Kept):
    """Takes its time to leave, and leaves a trace of it."""

    log: ClassVar[list[str]]

    async def on_activate(self) -> None:
        self.log.append(f"activate {self.state.count} {self.state.left}")

    async def on_deactivate(self) -> None:
        self.log.append("deactivate")
        await asyncio.sleep(NAP_S)
        self.state.left += 1

    @method
    async def add(self, line: str = "") -> int:
        self.log.append(f"add {line}")
        return await super().add(line)


class World:
    """A host with a store and sessions."""

    def __init__(
        self, cls: type[Actor[Any]] = Kept, owns: Callable[[], Awaitable[bool]] | None = None, **limits: Any
    ) -> None:
        Slow.log = []
        self.clock = VirtualClock()
        self.shelf = Shelf(self.clock)
        self.host = Host(
            AppDefinition({"it": cls, "brief": Brief}),
            clock=self.clock,
            limits=Limits(**{"idle_after_s": IDLE_S, **limits}),
            store=self.shelf,
            owns=owns,
        )
        finalizers.get().push_async_callback(self.host.abort)
        self.s = Recorder(self.host, "s")

    async def ask(self, name: str, actor_id: str = "x", actor: str = "it", **given: Any) -> Any:
        """The result, or the code, of a call that no session makes."""
        answer = await self.host.call(actor, actor_id, name, msgspec.json.encode(given) if given else None, 60.0)
        return answer.code or (None if answer.result is None else msgspec.json.decode(answer.result))

    def write_as_other(self, **changes: int) -> None:
        """Another writer saves the instance `x`."""
        record = msgspec.json.decode(self.shelf.records["it", "x"].record)
        record["writer"] = "other"
        record["state"].update(changes)
        self.shelf.saves += 1
        self.shelf.records["it", "x"] = Stored(msgspec.json.encode(record), self.shelf.saves)

    def count(self, name: str, reason: str = "") -> Any:
        """A counter of the host."""
        return next(
            sample.value
            for sample in self.host.samples()
            if sample.name == name and (sample.labels or {}).get("reason", "") == reason
        )
