"""A hostile NATS peer beside a victim: no byte of the victim's project changes, whatever another project publishes.

The peer may publish what the permissions of its own project allow (docs/protocol.md), with any envelope in it: foreign
scopes, sessions, gateways, epochs, or no envelope at all. The victim's project plays a fixed story with clients behind
the same gateway, and a subscriber records everything of its scope. Random ids aside, the record is that of the same
story without a peer.
"""

from __future__ import annotations

import asyncio
import json
import re
from contextlib import AsyncExitStack
from functools import cache
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from zocket.broker.memory import MemoryBroker, MemoryServer
from zocket.broker.port import Message
from zocket.core import Actor, AppDefinition, Event, method
from zocket.gateway.gateway import Gateway
from zocket.gateway.session import GatewaySession, Identity
from zocket.ids import Scope
from zocket.runtime.runtime import Runtime
from zocket.settings import Limits
from zocket.testing.clock import VirtualClock
from zocket.testing.loop import VirtualLoop

VICTIM, RIVAL = Scope("acme", "chat"), Scope("rival", "chat")
SESSION, GATEWAY, EPOCH = "THE_VICTIMS_SESSION", "THE_GATEWAY", "THE_VICTIMS_EPOCH"
"""Stand for the real ones, which exist only while the story is played."""
RANDOM_ID = re.compile(rb"\b[a-z]_[0-9a-f]{8,}|\b[0-9a-f]{10}(?=\.\d)")


class Room(Actor[dict[str, Any]]):
    said = Event[str]()

    async def on_disconnect(self) -> None:
        self.state["gone"] = self.state.get("gone", 0) + 1

    @method
    async def say(self, text: str) -> int:
        self.state.setdefault("lines", []).append(text)
        self.said.emit(text)
        return len(self.state["lines"])


class Ledger(Actor[dict[str, Any]]):
    durability = "file"

    @method
    async def say(self, text: str) -> int:
        self.state.setdefault("lines", []).append(text)
        return len(self.state["lines"])


texts = st.sampled_from(["room", "ledger", "a", "say", SESSION, GATEWAY, EPOCH, "*", ">", "a.b", "acme", "\x00", "é"])
wire_scopes = st.sampled_from(
    [{"workspaceId": scope.workspace_id, "projectId": scope.project_id} for scope in (VICTIM, RIVAL)]
)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 10**15) | texts,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(texts, inner, max_size=2),
    max_leaves=4,
)
frames = st.fixed_dictionaries(
    {
        "type": st.sampled_from(
            ["rpc", "state:sub", "event:sub", "state:unsub", "event:unsub", "state:snapshot", "state:patch", "event"]
        ),
        "actor": st.sampled_from(["room", "ledger"]) | texts,
        "actorId": st.just("a") | texts,
    },
    optional={
        "id": st.just("mine") | values,
        "method": st.just("say") | texts,
        "input": st.just({"text": "forged"}) | values,
        "state": values,
        "patches": values,
        "seq": st.integers(0, 5),
        "epoch": st.just(EPOCH) | texts,
        "result": values,
    },
)
sessions = st.just(SESSION) | texts
fields: dict[str, st.SearchStrategy[Any]] = {
    "scope": wire_scopes | values,
    "sessionId": sessions,
    "userId": st.none() | texts,
    "claims": values,
    "message": frames | values,
    "gateway": st.just(GATEWAY) | texts,
    "requestId": texts,
    "deliveries": st.lists(
        st.fixed_dictionaries(
            {"sessions": st.lists(sessions, min_size=1, max_size=2), "message": frames},
            optional={"kept": st.booleans()},
        ),
        min_size=1,
        max_size=2,
    ),
    "epoch": st.just(EPOCH) | texts,
    "actorTypes": st.lists(texts, max_size=2),
    "process": texts,
    "inbound": texts,
    "disconnectedAt": st.integers(0, 10**13),
    "leaving": st.booleans(),
}


def proper(*names: str) -> st.SearchStrategy[bytes]:
    """Envelopes with all of these fields, which decode more often than not."""
    required = {name: fields[name] for name in names}
    return st.fixed_dictionaries({"scope": wire_scopes, **required}).map(lambda body: json.dumps(body).encode())


broken = st.one_of(
    st.fixed_dictionaries({}, optional=fields).map(lambda body: json.dumps(body).encode()),
    st.binary(max_size=40),
    st.sampled_from([b"", b"[" * 5_000, b'{"scope":' * 2_000, b"null", b'"\\ud800"']),
)
inbound = proper("sessionId", "userId", "claims", "message", "gateway", "requestId")
FORGED = {
    "inbound.rival.chat.room.a": inbound,
    "inbound.rival.chat.ledger.a": inbound,
    "inbound.rival.chat.nobody.a": inbound,
    "inbound.rival.chat.room.%2E": inbound,
    f"outbound.rival.chat.{SESSION}": proper("sessionId", "message"),
    f"gateway.rival.chat.{GATEWAY}": proper("deliveries", "epoch"),
    "session.connected.rival.chat": proper("sessionId", "userId"),
    "session.disconnected.rival.chat": proper("sessionId", "disconnectedAt"),
    "runtime.announce.rival.chat": proper("epoch", "actorTypes", "process", "inbound", "leaving"),
    "runtime.discover.rival.chat": broken,
}
"""By subject that the peer may use, the envelopes that belong there."""
one_forgery = st.sampled_from(list(FORGED)).flatmap(
    lambda subject: st.tuples(st.just(subject), FORGED[subject] | FORGED[subject] | broken)
)
forgeries = st.lists(one_forgery, min_size=1, max_size=6)


class Client:
    """A socket of the victim."""

    def __init__(self, record: list[bytes], name: bytes, gateway: Gateway) -> None:
        self._record = record
        self._name = name
        self.session: GatewaySession = gateway.open_session(self, Identity(VICTIM, "ada"))

    def send(self, frame: bytes) -> None:
        self._record.append(self._name + b" " + frame)

    def close(self, code: int, reason: str = "") -> None:
        self._record.append(b"%s closed %d" % (self._name, code))

    def unsent_bytes(self) -> int:
        return 0

    def pause(self) -> None:
        """Reads on."""

    def write(self, kind: str, **more: Any) -> None:
        self.session.received(json.dumps({"type": kind, "actor": "room", "actorId": "a"} | more).encode())


async def settle() -> None:
    for _ in range(40):
        await asyncio.sleep(0)
    await asyncio.sleep(0.05)


async def story(attacks: list[list[tuple[str, bytes]]]) -> list[bytes]:
    """Everything of the victim's project, while the peer publishes between the steps."""
    record: list[bytes] = []
    clock = VirtualClock()
    server = MemoryServer(clock)
    async with AsyncExitStack() as stack:
        spy = server.connect()
        await spy.subscribe(">", lambda messages: record.extend(map(written_down, filter(is_victims, messages))))
        gateway = await stack.enter_async_context(
            Gateway.open(server.connect(), clock=clock, limits=Limits(), stream_storage="file")
        )
        runtimes = [await stack.enter_async_context(serve(server, clock, scope)) for scope in (VICTIM, RIVAL)]
        gateway.open_session(Client([], b"rival", gateway), Identity(RIVAL, "mallory"))
        peer, first = server.connect(), Client(record, b"first", gateway)
        real = {SESSION: first.session.edge.session_id, GATEWAY: gateway.gateway_id, EPOCH: runtimes[0].epoch}

        async def next_step() -> None:
            await settle()
            if attacks:
                publish(peer, attacks.pop(0), real)
            await settle()

        await next_step()
        first.write("state:sub")
        first.write("event:sub")
        first.write("state:sub", actor="ledger")
        await next_step()
        first.write("rpc", id="one", method="say", input={"text": "1"})
        first.write("rpc", id="stored", actor="ledger", method="say", input={"text": "1"})
        await next_step()
        second = Client(record, b"second", gateway)
        second.write("state:sub")
        second.write("rpc", id="two", method="say", input={"text": "2"})
        await next_step()
        second.session.closed()
        await next_step()
        await clock.sleep(6.0)  # an announcement on time
        first.write("rpc", id="last", method="say", input={"text": "3"})
        first.write("rpc", id="stored too", actor="ledger", method="say", input={"text": "2"})
        await settle()
        end = len(record)
    return numbered(record[:end])


def serve(server: MemoryServer, clock: VirtualClock, scope: Scope) -> Any:
    return Runtime.open(
        AppDefinition({"room": Room, "ledger": Ledger}),
        scope,
        server.connect(),
        clock=clock,
        limits=Limits(),
        process_name="here/1",
        storage="file",
    )


def is_victims(message: Message) -> bool:
    return f"{VICTIM.workspace_id}.{VICTIM.project_id}" in message.subject


def written_down(message: Message) -> bytes:
    return message.subject.encode() + b" " + message.payload


def publish(peer: MemoryBroker, attack: list[tuple[str, bytes]], real: dict[str, str]) -> None:
    for number, (subject, body) in enumerate(attack):
        for placeholder, value in real.items():
            subject, body = subject.replace(placeholder, value), body.replace(placeholder.encode(), value.encode())
        if subject.startswith("inbound."):
            peer.publish(subject, body, f"forged:{number}:{id(attack)}", lambda _: None)
        else:
            peer.send([Message(subject, body)])


def numbered(record: list[bytes]) -> list[bytes]:
    """The record with its random ids numbered in the order in which they appear."""
    names: dict[bytes, bytes] = {}
    return [RANDOM_ID.sub(lambda found: names.setdefault(found[0], b"id%d" % len(names)), line) for line in record]


def play(attacks: list[list[tuple[str, bytes]]]) -> list[bytes]:
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(story(attacks))


@cache
def undisturbed() -> list[bytes]:
    return play([])


def test_the_undisturbed_story_is_worth_comparing() -> None:
    assert undisturbed() == play([])
    whole = b"\n".join(undisturbed())
    for part in (b'"result":3', b'"lines"', b"event", b"session.disconnected.acme.chat", b"runtime.announce.acme.chat"):
        assert part in whole, part
    assert b'first {"type":"rpc:result","id":"stored too","result":2}' in undisturbed()


@settings(
    max_examples=settings().max_examples // 4,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(st.lists(forgeries, min_size=1, max_size=5))
def test_no_byte_of_the_victims_project_changes_because_of_another_projects_peer(
    attacks: list[list[tuple[str, bytes]]],
) -> None:
    assert play(list(attacks)) == undisturbed()
