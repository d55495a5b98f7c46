"""Random changes of texts, read by clients that take `append` and by ones that do not: all see what the actor has."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from tests.property.test_state_turns import known_client
from tests.unit.host.conftest import Shelf
from zocket import Actor, ActorError, Private, Session, method, view
from zocket.core import AppDefinition
from zocket.host import Host, Link
from zocket.protocol import frames
from zocket.protocol.client_session import ClientSession, Instance
from zocket.settings import Limits
from zocket.testing import VirtualClock
from zocket.testing.loop import VirtualLoop

WORDS = st.sampled_from(["a", " the next", "ü", "\U0001f600", "e\u0301", '"\\\n', "long " * 60])
PLACES = st.sampled_from(["text", "secret", "part", "key", "element"])
STEPS = st.tuples(st.sampled_from(["grow", "grow", "grow", "cut", "set", "flush", "new"]), PLACES, WORDS)
TURNS = st.lists(
    st.tuples(st.lists(STEPS, max_size=6), st.sampled_from(["commit", "commit", "commit", "fail", "regret"])),
    max_size=6,
)
READERS = st.lists(st.sampled_from(["append", "whole"]), min_size=1, max_size=4)


class Part(BaseModel):
    text: str = ""
    n: int = 0


class Page(BaseModel):
    text: str = ""
    secret: Private[str] = ""
    parts: list[Part] = []
    named: dict[str, str] = {}
    lines: list[str] = []


def change(page: Page, how: str, place: str, word: str) -> None:
    """One step; `new` puts something in front of lists, so that everything behind it moves."""
    if how == "new":
        page.parts.insert(0, Part(text=word))
        page.lines.insert(0, word)
        page.named[word] = word
        return

    def write(old: str) -> str:
        return {"grow": old + word, "cut": old[: len(old) // 2]}.get(how, word)

    match place:
        case "part" if page.parts:
            page.parts[-1].text = write(page.parts[-1].text)
            page.parts[-1].n += 1
        case "key":
            page.named["k/~"] = write(page.named.get("k/~", ""))
        case "element" if page.lines:
            page.lines[-1] = write(page.lines[-1])
        case "secret":
            page.secret = write(page.secret)
        case _:
            page.text = write(page.text)


class It(Actor[Page]):
    steps: list[Any] = []

    @method
    async def turn(self, end: str) -> None:
        for how, place, word in self.steps:
            if how == "flush":
                await self.flush()
            else:
                change(self.state, how, place, word)
        if end == "fail":
            raise ActorError("no")
        if end == "regret":
            self.state.text = ""
            self.state.text = "".join(step[2] for step in self.steps)


class Kept(It):
    durability = "file"


class Viewed(It):
    @view(key=lambda session: None)
    def seen_by(self, _: None) -> Page:
        return self.state


class Wire(Link):
    """One connection of a client."""

    __slots__ = ("client",)

    def __init__(self, client: Client, name: str) -> None:
        super().__init__(Session(name, None))
        self.client = client

    def send(self, frame: bytes) -> None:
        self.client.receive(frame)


class Client:
    """The Python client as it is, or an existing one that knows `since`; connected to a host."""

    def __init__(self, host: Host, name: str, kind: str) -> None:
        self.host = host
        self.kind = kind
        self.wire = Wire(self, name)
        self.session = ClientSession()
        self.session.opened()
        self.replica = self.session.watch(Instance("it", "x"))
        self.shown: Any = None
        self.since: Any = None
        self.ask()

    def ask(self) -> None:
        if self.kind == "whole":
            self.session.outgoing = [frames.request("state:sub", "it", "x", self.since)]
        for frame in self.session.outgoing:
            request = frames.decode_request(frame)
            assert isinstance(request, frames.StateSub)
            self.host.submit(self.wire, request, "r")
        self.session.outgoing.clear()

    def receive(self, frame: bytes) -> None:
        message = json.loads(frame)
        if self.kind == "append":
            self.session.receive(frame)
            assert self.session.outgoing == [], "a patch did not fit"
        elif message["type"] == "state:snapshot":
            self.shown = message["state"]
        elif message["type"] == "state:patch":
            self.shown = known_client(self.shown, message["patches"])
        if "epoch" in message:
            self.since = frames.Since(message["epoch"], message["seq"])

    def leave(self) -> None:
        assert self.wire.session is not None
        self.host.sessions.disconnect(self.wire.session.id)

    def come_back(self, name: str) -> None:
        """A new connection, with what the client has."""
        self.wire = Wire(self, name)
        self.session.lost()
        self.session.opened()
        self.ask()

    @property
    def state(self) -> Any:
        return self.replica.plain() if self.kind == "append" else self.shown


@pytest.mark.parametrize("cls", [It, Kept, Viewed])
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(turns=TURNS, kinds=READERS, absences=st.sets(st.integers(0, 5)))
def test_every_client_has_the_state_of_the_actor(
    cls: type[It], turns: list[Any], kinds: list[str], absences: set[int]
) -> None:
    async def run() -> None:
        clock = VirtualClock()
        host = Host(AppDefinition({"it": cls}), clock=clock, limits=Limits(), store=Shelf(clock))
        clients = [Client(host, f"s{number}", kind) for number, kind in enumerate(kinds)]
        await clock.sleep(1)
        for number, (steps, end) in enumerate(turns):
            away = clients[number % len(clients)] if number in absences else None
            if away is not None:
                away.leave()
            cls.steps = steps
            call = asyncio.create_task(host.call("it", "x", "turn", json.dumps({"end": end}).encode(), 5.0))
            await clock.sleep(1)
            assert (await call).error == ("no" if end == "fail" else None)
            if away is not None:
                away.come_back(f"back{number}")
            late = Client(host, f"late{number}", "whole")
            await clock.sleep(1)
            for client in clients:
                assert client.state == late.state
            assert "secret" not in late.state
            late.leave()
        await host.abort()

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(run())
