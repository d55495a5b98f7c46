"""Any two tenants behind one gateway: what one of them sends never reaches a subject of the other."""

from __future__ import annotations

import asyncio
import json

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from zocket.broker.matching import matches
from zocket.broker.memory import MemoryServer
from zocket.broker.port import Message
from zocket.gateway.gateway import Gateway
from zocket.gateway.session import Identity
from zocket.ids import Scope
from zocket.protocol import subjects
from zocket.settings import Limits
from zocket.testing.clock import VirtualClock
from zocket.testing.loop import VirtualLoop

VICTIM, ATTACKER = Scope("acme", "chat"), Scope("rival", "chat")
ADDRESSES = ["room", "a", "a.b", ">", "*", "acme.chat.room", "..", "\r\nPUB x", "$JS.API", "chat.>", "é", "\ud800"]
texts = st.sampled_from(ADDRESSES) | st.text(max_size=12)
requests = st.fixed_dictionaries(
    {
        "type": st.sampled_from(["rpc", "state:sub", "event:sub", "state:unsub", "inbound"]) | texts,
        "id": st.integers() | texts,
        "actor": texts,
        "actorId": texts,
    },
    optional={
        "method": texts,
        "input": st.dictionaries(texts, texts, max_size=2),
        "scope": st.just({"workspaceId": "acme", "projectId": "chat"}),
        "sessionId": texts,
        "message": st.dictionaries(texts, texts, max_size=2),
    },
).map(lambda frame: json.dumps(frame).encode())
breakouts = st.sampled_from(
    [
        b'{"type":"rpc","id":1,"actor":"room","actorId":"a"}},"scope":{"workspaceId":"acme","projectId":"chat"}',
        b'{"type":"rpc","id":1,"actor":"room","actorId":"a"},"sessionId":"s_victim","x":{}',
        b'{"type":"rpc","id":1,"actor":"room","actorId":"a"}\x00{}',
    ]
)


class Sink:
    def send(self, frame: bytes) -> None:
        json.loads(frame)

    def close(self, code: int, reason: str = "") -> None:
        raise AssertionError("a malformed frame never closes a socket")

    def unsent_bytes(self) -> int:
        return 0

    def pause(self) -> None:
        """Reads on."""


async def attack(frames: list[bytes]) -> tuple[list[Message], list[Message]]:
    clock = VirtualClock()
    server = MemoryServer(clock)
    spy, broker = server.connect(), server.connect()
    seen: list[Message] = []
    everything: list[Message] = []
    for verb in ("inbound", "outbound", "session.*", "gateway", "runtime.*"):
        await spy.subscribe(f"{verb}.acme.chat.>", seen.extend)
    await spy.subscribe(">", everything.extend)
    async with Gateway.open(broker, clock=clock, limits=Limits()) as gateway:
        session = gateway.open_session(Sink(), Identity(ATTACKER, "mallory"))
        for frame in frames + breakouts_of(frames):
            session.received(frame)
        for _ in range(20):
            await asyncio.sleep(0)
        session.closed()
        for _ in range(5):
            await asyncio.sleep(0)
    return seen, everything


def breakouts_of(frames: list[bytes]) -> list[bytes]:
    return [frame + b"}" for frame in frames] + [frame[:-1] for frame in frames]


@settings(max_examples=settings().max_examples * 3 // 5, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(requests | breakouts | st.binary(max_size=60), max_size=8))
def test_a_victim_that_listens_to_everything_of_its_own_hears_nothing(frames: list[bytes]) -> None:
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        seen, everything = runner.run(attack(frames))
    assert seen == []
    for message in everything:
        if matches(subjects.ANY_ALIVE, message.subject):
            continue
        verb, *rest = message.subject.split(".")
        assert verb in ("inbound", "session", "runtime")
        scope = rest[:2] if verb == "inbound" else rest[1:3]
        assert scope == ["rival", "chat"]
        if verb == "inbound":
            envelope = json.loads(message.payload)
            assert envelope["scope"] == {"workspaceId": "rival", "projectId": "chat"}
            assert envelope["userId"] == "mallory"
            assert len(rest) == 4
