"""Sessions that go on at another socket, as a runtime hears of them: in any order, late, twice, or not at all."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from tests.unit.runtime.test_presence import ENDED_S
from zocket.broker.port import Message
from zocket.core import Actor, Event, method
from zocket.protocol import subjects

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.unit.runtime.conftest import Bench, Wire

SUBSCRIPTION = {"type": "state:sub", "actor": "game", "actorId": "x"}


class Game(Actor[dict[str, Any]]):
    grace = 10.0
    told = Event[str]()

    async def on_connect(self) -> None:
        self.note("+")

    async def on_drop(self) -> None:
        self.note("?")

    async def on_resume(self) -> None:
        self.note("!")

    async def on_disconnect(self) -> None:
        self.note("-")

    def note(self, what: str) -> None:
        self.state.setdefault("log", []).append(f"{what}{self.session.id}")

    @method
    async def log(self) -> list[str]:
        return list(self.state.get("log", ()))

    @method
    async def add(self) -> int:
        self.state["count"] = self.state.get("count", 0) + 1
        self.told.emit("added")
        return int(self.state["count"])

    @method
    async def who(self) -> list[Any]:
        return [self.session.id, self.session.user_id, dict(self.session.claims), dict(self.session.metadata)]

    @method
    async def oust(self, who: str) -> bool:
        return self.kick(who, close=True)


class World:
    """A runtime, and gateways made by hand."""

    def __init__(self, bench: Bench, wire: Wire) -> None:
        self.bench = bench
        self.wire = wire
        self.clock = bench.clock
        self._calls = 0

    def ask(self, name: str, socket: str, number: int = 0, *, gateway: str = "g1", **more: Any) -> int:
        """A call of the session `a` at one of its sockets."""
        self._calls += 1
        resumed = {"resumes": "a", "socket": number} if number else {}
        self.wire.call(name, "x", actor="game", call_id=self._calls, session=socket, gateway=gateway, **resumed, **more)
        return self._calls

    async def passes(self, seconds: int) -> None:
        """Time, in which every gateway says that it is there."""
        for _ in range(seconds):
            for gateway in ("g1", "g2", "g3", "g9"):
                self.wire.alive(gateway)
            await self.clock.advance(1)

    def subscribe(self, socket: str, number: int, gateway: str, kind: str = "state:sub") -> None:
        resumed: dict[str, Any] = {"resumes": "a", "socket": number} if number else {}
        self.wire.publish(SUBSCRIPTION | {"type": kind}, session=socket, gateway=gateway, **resumed)

    def gone(self, socket: str, number: int = 0, *, dropped: bool = True, following: Any = None) -> None:
        """What a gateway says of a socket's end."""
        scope = {"workspaceId": self.bench.scope.workspace_id, "projectId": self.bench.scope.project_id}
        payload: dict[str, Any] = {"scope": scope, "sessionId": socket, "disconnectedAt": 1}
        if dropped:
            payload["dropped"] = True
        if number:
            payload |= {"resumes": "a", "socket": number}
        if following:
            payload["next"] = following
        self.wire.broker.send([Message(subjects.disconnected(self.bench.scope), json.dumps(payload).encode())])

    def goes_on(self, socket: str, number: int, following: str, following_number: int, gateway: str = "g1") -> None:
        following_socket = {"sessionId": following, "socket": following_number, "gateway": gateway, "userId": "ada"}
        self.gone(socket, number, following=following_socket)

    def deliveries(self, gateway: str | None = None) -> list[tuple[str, dict[str, Any], dict[str, Any]]]:
        """Session, frame and the whole delivery, of those to one socket."""
        return [
            (delivery["sessions"][0], delivery["message"], delivery)
            for batch in self.wire.batches
            for delivery in batch["deliveries"]
        ]

    def closed(self) -> list[str]:
        """The sockets that the runtime has had closed since their session goes on elsewhere."""
        return [
            socket
            for socket, frame, delivery in self.deliveries()
            if delivery.get("close") and frame["code"] == "replaced"
        ]

    async def answer(self, call_id: int) -> Any:
        await self.bench.settle()
        for _, frame, _ in self.deliveries():
            if frame["type"] == "rpc:result" and frame["id"] == call_id:
                return frame["result"]
        raise AssertionError(f"no answer to {call_id}")

    async def log(self) -> Any:
        self._calls += 1
        self.wire.call("log", "x", actor="game", call_id=self._calls, session="looker", gateway="g9")
        return [line for line in await self.answer(self._calls) if not line.endswith("looker")]


@asynccontextmanager
async def opened(bench: type[Bench]) -> AsyncIterator[World]:
    made = bench()
    wire = await made.wire()
    async with made.runtime(actors={"game": Game}):
        yield World(made, wire)


async def test_a_runtime_with_a_grace_says_so(bench: type[Bench]) -> None:
    async with opened(bench) as w:
        await w.bench.settle()
        assert w.wire.announced[-1]["grace"] is True
    plain = bench()
    wire = await plain.wire()
    async with plain.runtime():
        await plain.settle()
        assert "grace" not in wire.announced[-1]


async def test_a_session_goes_on_at_the_next_socket(bench: type[Bench]) -> None:
    async with opened(bench) as w:
        w.ask("add", "a")
        await w.bench.settle()
        w.gone("a")
        await w.clock.advance(1)
        w.goes_on("a", 0, "b", 5)
        assert await w.log() == ["+a", "?a", "!a"]
        found = w.ask("who", "b", 5, userId="ada", claims={"role": "x"}, metadata={"name": "Ada"})
        session_id, user_id, *_ = await w.answer(found)
        assert (session_id, user_id) == ("a", "ada")
        assert w.deliveries()[-1][0] == "b"
        await w.passes(30)
        assert await w.log() == ["+a", "?a", "!a"]


async def test_the_next_socket_has_its_claims_and_metadata_from_the_notice_or_the_request(bench: type[Bench]) -> None:
    async with opened(bench) as w:
        w.ask("add", "a")
        await w.bench.settle()
        w.gone("a")
        found = w.ask("who", "b", 5, userId="ada", claims={"role": "x"}, metadata={"name": "Ada"})
        assert await w.answer(found) == ["a", "ada", {"role": "x"}, {"name": "Ada"}]
        assert await w.log() == ["+a", "?a", "!a"]


async def test_a_request_says_it_also_where_no_notice_has_come(bench: type[Bench]) -> None:
    """Notices are lost while a gateway is cut off; the older socket may live, too, at a gateway that knows nothing."""
    async with opened(bench) as w:
        w.ask("add", "a", gateway="g1")
        await w.bench.settle()
        w.ask("add", "b", 5, gateway="g2")
        assert await w.log() == ["+a", "?a", "!a"]
        assert w.closed() == ["a"]


async def test_an_older_socket_that_is_heard_later_changes_nothing_and_is_closed(bench: type[Bench]) -> None:
    async with opened(bench) as w:
        w.ask("add", "c", 7, gateway="g3")
        await w.bench.settle()
        late = [w.ask("add", "a", gateway="g1"), w.ask("add", "b", 5, gateway="g2")]
        w.subscribe("b", 5, "g2")
        assert [await w.answer(call_id) for call_id in late] == [2, 3]
        assert await w.log() == ["+a"]
        assert sorted(w.closed()) == ["a", "b"]
        w.gone("b", 5)
        w.gone("a", dropped=False)
        await w.passes(30)
        assert await w.log() == ["+a"]


async def test_the_late_end_of_an_outdone_socket_ends_nothing(bench: type[Bench]) -> None:
    """A gateway finds a half-open socket dead long after its client went on elsewhere."""
    async with opened(bench) as w:
        w.ask("add", "a", gateway="g1")
        await w.bench.settle()
        w.goes_on("a", 0, "b", 5, "g2")
        w.ask("add", "b", 5, gateway="g2")
        await w.passes(50)
        w.gone("a")
        await w.passes(30)
        assert await w.log() == ["+a", "?a", "!a"]
        w.gone("b", 5)
        assert await w.log() == ["+a", "?a", "!a", "?a"]


async def test_late_requests_of_a_lost_socket_run_once_and_do_not_speak_for_the_session(bench: type[Bench]) -> None:
    async with opened(bench) as w:
        w.ask("add", "a")
        await w.bench.settle()
        w.gone("a")
        late = w.ask("add", "a")
        w.subscribe("a", 0, "g1")
        assert await w.answer(late) == 2
        assert await w.log() == ["+a", "?a"]
        w.goes_on("a", 0, "b", 5)
        w.subscribe("b", 5, "g1")
        w.subscribe("b", 5, "g1", "event:sub")
        await w.bench.settle()
        w.subscribe("a", 0, "g1", "state:unsub")
        w.subscribe("a", 0, "g1", "event:unsub")
        w.subscribe("a", 0, "g1")
        later = w.ask("add", "a")
        assert await w.answer(later) == 3
        assert await w.log() == ["+a", "?a", "!a"]
        fresh = [(to, frame["type"]) for to, frame, _ in w.deliveries() if frame["type"].startswith(("state", "event"))]
        assert fresh[0] == ("b", "state:snapshot")
        assert {to for to, _ in fresh} == {"b"}
        assert ("b", "event") in fresh
        await w.passes(30)
        assert await w.log() == ["+a", "?a", "!a"]


async def test_a_gateway_that_dies_drops_its_sessions_and_one_that_returns_resumes_them(bench: type[Bench]) -> None:
    async with opened(bench) as w:
        w.ask("add", "a")
        await w.clock.advance(ENDED_S)
        assert await w.log() == ["+a", "?a"]
        w.wire.alive("g1")
        w.ask("add", "a")
        assert await w.log() == ["+a", "?a", "!a"]
        await w.clock.advance(ENDED_S + 20)
        assert await w.log() == ["+a", "?a", "!a", "?a", "-a"]


async def test_the_death_of_a_gateway_ends_no_session_that_went_on_elsewhere(bench: type[Bench]) -> None:
    async with opened(bench) as w:
        w.ask("add", "a", gateway="g1")
        await w.bench.settle()
        w.goes_on("a", 0, "b", 5, "g2")
        for _ in range(20):
            w.wire.alive("g2")
            await w.clock.advance(1)
        assert await w.log() == ["+a", "?a", "!a"]


async def test_the_end_that_an_existing_gateway_tells_is_the_end(bench: type[Bench]) -> None:
    async with opened(bench) as w:
        w.ask("add", "a")
        await w.bench.settle()
        w.wire.disconnect("a")
        assert await w.log() == ["+a", "-a"]


async def test_a_goodbye_at_the_next_socket_is_the_end(bench: type[Bench]) -> None:
    async with opened(bench) as w:
        w.ask("add", "a")
        await w.bench.settle()
        w.goes_on("a", 0, "b", 5)
        w.gone("b", 5, dropped=False)
        assert await w.log() == ["+a", "?a", "!a", "-a"]


async def test_a_kick_reaches_the_present_socket(bench: type[Bench]) -> None:
    async with opened(bench) as w:
        w.ask("add", "a")
        await w.bench.settle()
        w.goes_on("a", 0, "b", 5)
        w.ask("add", "b", 5)
        await w.bench.settle()
        w.ask("oust", "looker", input={"who": "a"})
        await w.bench.settle()
        kicked = [(to, frame["code"]) for to, frame, delivery in w.deliveries() if delivery.get("close")]
        assert kicked[-1] == ("b", "kicked")


async def test_a_notice_that_cannot_be_read_changes_nothing(bench: type[Bench]) -> None:
    async with opened(bench) as w:
        w.ask("add", "a")
        await w.bench.settle()
        good: dict[str, Any] = {"sessionId": "b", "socket": 5, "gateway": "g1"}
        for following in (
            "b",
            {"sessionId": "b"},
            good | {"socket": "5"},
            good | {"gateway": "g.*"},
            good | {"sessionId": ">"},
        ):
            w.gone("a", following=following)
        assert await w.log() == ["+a"]
        assert w.closed() == []
