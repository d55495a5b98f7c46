"""Whatever comes in on the stream: every message is settled exactly once, and nothing leaves the project's subjects."""

from __future__ import annotations

import asyncio
import json
import re
from typing import TYPE_CHECKING, Any

from hypothesis import given, settings
from hypothesis import strategies as st

from zocket.broker.port import Delivered, Message
from zocket.clock import SystemClock
from zocket.core import Actor, AppDefinition, method
from zocket.host import Host
from zocket.ids import Scope
from zocket.protocol import subjects
from zocket.runtime.controls import Controls
from zocket.runtime.intake import Intake
from zocket.runtime.outbox import Outbox
from zocket.runtime.presence import Presence
from zocket.settings import Limits

if TYPE_CHECKING:
    from collections.abc import Sequence

SCOPE = Scope("ws", "proj")
OWN_SUBJECTS = re.compile(r"(outbound|gateway)\.ws\.proj\.[^.*>\s]+\Z")


class Echo(Actor[dict[str, Any]]):
    @method
    async def echo(self, value: int) -> int:
        return value


class Recorder:
    """A broker that only writes down."""

    def __init__(self) -> None:
        self.settled: list[int] = []
        self.sent: list[Message] = []

    def send(self, messages: Sequence[Message]) -> None:
        self.sent += messages

    def ack(self, delivered: Sequence[Delivered]) -> None:
        self.settled += [item.sequence for item in delivered]

    term = ack


texts = st.one_of(
    st.sampled_from(["", "a", "s1", "*", ">", "a.b", "a b", "x.>", "$SYS", "\u2028", "\ud800", "ü", "%41"]),
    st.text(max_size=8),
)
odd = st.one_of(st.none(), st.integers(), st.booleans(), st.lists(st.integers(), max_size=2))
values = st.one_of(texts, texts, odd)
messages = st.fixed_dictionaries(
    {"type": st.sampled_from(["rpc", "event:sub", "state:sub", "state:unsub", "event:unsub", "odd"])},
    optional={
        "id": st.one_of(st.integers(), texts),
        "actor": st.one_of(st.just("echo"), values),
        "actorId": values,
        "method": st.one_of(st.just("echo"), values),
        "input": st.one_of(st.just({"value": 1}), odd),
    },
)
envelopes = st.fixed_dictionaries(
    {"message": st.one_of(messages, messages, odd)},
    optional={
        "scope": st.one_of(st.just({"workspaceId": "ws", "projectId": "proj"}), values),
        "sessionId": values,
        "userId": values,
        "claims": odd,
        "gateway": values,
        "requestId": values,
    },
)
singles = st.one_of(
    envelopes.map(
        lambda envelope: json.dumps({"scope": {"workspaceId": "ws", "projectId": "proj"}} | envelope).encode()
    ),
    st.binary(max_size=20),
)
payloads = st.one_of(
    singles, st.lists(singles, max_size=4).map(lambda parts: b"[" + b",".join(parts) + b"]"), st.binary(max_size=9)
)


def agreeing_subject(payload: bytes) -> str:
    """The subject that a gateway would have used, where there is one."""
    try:
        content = json.loads(payload)
        message = (content[0] if isinstance(content, list) else content)["message"]
        return subjects.inbound(SCOPE, message["actor"], message["actorId"])
    except (ValueError, TypeError, LookupError, AttributeError):
        return "inbound.ws.proj.echo.a"


@settings(max_examples=300, deadline=None)
@given(st.lists(payloads, max_size=8))
def test_every_message_is_settled_once_and_nothing_leaves_the_project(batch: list[bytes]) -> None:
    asyncio.run(_check(batch))


async def _check(batch: list[bytes]) -> None:
    recorder: Any = Recorder()
    outbox = Outbox(recorder, SCOPE)
    host = Host(AppDefinition({"echo": Echo}), clock=SystemClock(), limits=Limits(), outlet=outbox, window=256)
    controls = Controls(SCOPE, host, SystemClock())
    intake = Intake(recorder, SCOPE, host, outbox, Presence(SystemClock()), controls)
    delivered = [
        Delivered(agreeing_subject(payload), payload, number, 1, None) for number, payload in enumerate(batch, 1)
    ]
    intake.received(delivered, "INBOUND:1")
    assert await host.drain(5.0)
    await host.aclose()
    outbox.flush()
    assert sorted(recorder.settled) == [item.sequence for item in delivered]
    assert intake.held == 0
    for message in recorder.sent:
        assert OWN_SUBJECTS.match(message.subject), message.subject
        json.loads(message.payload)
