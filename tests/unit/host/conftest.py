"""A host with links that remember their frames, and a store that can fail."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from zocket.core import AppDefinition, Session
from zocket.errors import Conflict, Overloaded, TooLarge, Unavailable
from zocket.host import Host, Link
from zocket.host.store import Stored
from zocket.protocol.frames import NO_INPUT, EventSub, EventUnsub, Rpc, StateSub, StateUnsub
from zocket.settings import Limits
from zocket.testing import VirtualClock, finalizers

if TYPE_CHECKING:
    from collections.abc import Callable

    from zocket import Actor
    from zocket.errors import ZocketError


class Recorder(Link):
    """A session of which every frame is kept."""

    __slots__ = ("frames", "host", "number")

    credits: bool | None

    def __init__(self, host: Host, session_id: str, user_id: str | None = None) -> None:
        super().__init__(Session(session_id, user_id))
        self.host = host
        self.credits = True
        self.frames: list[dict[str, Any]] = []
        self.number = 0

    def send(self, frame: bytes) -> None:
        self.frames.append(json.loads(frame))

    def send_chunk(self, call_id: msgspec.Raw | bytes, number: int, frame: bytes) -> None:
        self.send(frame)

    def call(
        self,
        method: str,
        actor_id: str = "x",
        *,
        actor: str = "it",
        done: Callable[[], None] | None = None,
        **given: Any,
    ) -> int:
        self.number += 1
        body = msgspec.Raw(msgspec.json.encode(given)) if given else NO_INPUT
        request = Rpc(msgspec.Raw(b"%d" % self.number), actor, actor_id, method, body)
        self.host.submit(self, request, f"r{self.number}", done)
        return self.number

    def watch(self, actor_id: str = "x") -> None:
        self.host.submit(self, StateSub("it", actor_id), "rs")

    def unwatch(self, actor_id: str = "x") -> None:
        self.host.submit(self, StateUnsub("it", actor_id), "rs")

    def listen(self, actor_id: str = "x") -> None:
        self.host.submit(self, EventSub("it", actor_id), "rs")

    def unlisten(self, actor_id: str = "x") -> None:
        self.host.submit(self, EventUnsub("it", actor_id), "rs")

    def kinds(self) -> list[str]:
        return [frame["type"] for frame in self.frames]

    def answers(self) -> list[dict[str, Any]]:
        """The answers in the order of the calls: instances answer in no order among themselves."""
        return sorted((frame for frame in self.frames if frame["type"] == "rpc:result"), key=lambda frame: frame["id"])

    def results(self) -> list[Any]:
        return [frame.get("result", frame.get("error", "void")) for frame in self.answers()]


class Shelf:
    """A store on virtual time that can be slow, away, full or lying."""

    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock
        self.records: dict[tuple[str, str], Stored] = {}
        self.saves = 0
        self.delay_s = 0.01
        self.away = False
        self.full = False
        self.lose_answers = 0
        self.max_bytes = 1_000_000
        self.shared = False

    async def load(self, actor: str, actor_id: str) -> Stored | None:
        await self.clock.sleep(self.delay_s)
        if self.away:
            raise Unavailable("away")
        return self.records.get((actor, actor_id))

    def save(
        self, actor: str, actor_id: str, record: bytes, expected: int, done: Callable[[int | ZocketError], None]
    ) -> None:
        self.clock.call_later(self.delay_s, lambda: done(self._save((actor, actor_id), record, expected)))

    def _save(self, key: tuple[str, str], record: bytes, expected: int) -> int | ZocketError:
        if self.away:
            return Unavailable("away")
        if self.full:
            return Overloaded("full")
        if len(record) > self.max_bytes:
            return TooLarge("a large record")
        known = self.records.get(key)
        if (known.revision if known else 0) != expected:
            return Conflict("another revision")
        self.saves += 1
        self.records[key] = Stored(record, self.saves)
        if self.lose_answers:
            self.lose_answers -= 1
            return Unavailable("the answer got lost")
        return self.saves

    def state(self, actor_id: str = "x") -> Any:
        return json.loads(self.records["it", actor_id].record)["state"]


class Bench:
    """A host on virtual time, with any number of sessions."""

    def __init__(self, host: Host, clock: VirtualClock) -> None:
        self.host = host
        self.clock = clock

    def session(self, session_id: str = "s1", user_id: str | None = None) -> Recorder:
        return Recorder(self.host, session_id, user_id)

    async def quiet(self, seconds: float = 0.001) -> None:
        await self.clock.sleep(seconds)


@pytest.fixture
def bench() -> Callable[..., Bench]:
    def make(
        cls: type[Actor[Any, Any]],
        *,
        middleware: Any = (),
        guards: Any = (),
        window: int | None = None,
        dev_mode: bool = False,
        **limits: Any,
    ) -> Bench:
        clock = VirtualClock()
        definition = AppDefinition({"it": cls}, middleware=middleware, guards=guards)
        host = Host(definition, clock=clock, limits=Limits(**limits), window=window, dev_mode=dev_mode)
        finalizers.get().push_async_callback(host.abort)
        return Bench(host, clock)

    return make
