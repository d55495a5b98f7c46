"""Hostile clients and forged messages against the whole chain: nobody is silent or disturbed, nothing breaks."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

import jsonpatch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from zocket import Actor, App, method
from zocket.broker.port import Message
from zocket.gateway.session import Identity
from zocket.testing import TestApp, VirtualLoop
from zocket.testing.app import SCOPE


class Box(Actor[dict[str, Any]]):
    async def on_connect(self) -> None:
        self.state[self.session.id] = 0

    async def on_disconnect(self) -> None:
        del self.state[self.session.id]

    @method
    async def put(self, key: str, value: Any) -> Any:
        self.state[key] = value
        return value

    @method
    async def wait(self, seconds: float) -> float:
        await asyncio.sleep(seconds)
        return seconds

    @method
    async def whole(self) -> Any:
        return json.loads(json.dumps(dict(self.state), default=dict))


app = App(actors={"box": Box})

OWN = {"workspaceId": SCOPE.workspace_id, "projectId": SCOPE.project_id}
ODD = [
    "",
    "a.b",
    ">",
    "*",
    "$JS.API",
    "\r\nPUB x 0",
    "\x00",
    "é",
    "\ud800",
    "__proto__",
    "constructor",
    "x" * 300,
    "%2E",
]
texts = st.sampled_from(["box", "a", "b", "put", "wait", "whole", "key", "value", "seconds", *ODD]) | st.text(
    max_size=8
)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=10,
)
calls = st.fixed_dictionaries(
    {
        "type": st.just("rpc"),
        "id": st.integers(0, 10**6) | st.text("abc", min_size=1, max_size=6),
        "actor": st.sampled_from(["box"] * 6 + ["nobody"]) | texts,
        "actorId": st.sampled_from(["a", "b", "home"]) | texts,
        "method": st.sampled_from(["put", "whole", "wait", "on_connect"]) | texts,
    },
    optional={
        "input": st.fixed_dictionaries({}, optional={"key": texts, "value": values, "seconds": st.floats(0, 3)})
        | values
    },
)
subscriptions = st.fixed_dictionaries(
    {
        "type": st.sampled_from(["state:sub", "state:unsub", "event:sub", "event:unsub"]),
        "actor": st.just("box") | texts,
        "actorId": st.sampled_from(["a", "b", "home"]) | texts,
    }
)
written = (calls | subscriptions).map(lambda frame: json.dumps(frame).encode())
broken = st.tuples(written, st.integers(0, 400), st.binary(max_size=3)).map(
    lambda parts: parts[0][: parts[1] % len(parts[0])] + parts[2] + parts[0][parts[1] % len(parts[0]) + 1 :]
)
frames = st.one_of(written, written, broken, st.binary(max_size=40))

bodies = st.fixed_dictionaries(
    {},
    optional={
        "scope": st.just(OWN) | values,
        "sessionId": st.just("s_forged") | texts,
        "userId": texts,
        "claims": values,
        "message": calls | subscriptions | values,
        "gateway": st.just("g_forged") | texts,
        "deliveries": st.lists(
            st.fixed_dictionaries({"sessions": st.lists(texts, max_size=2), "message": values}), max_size=2
        )
        | values,
        "epoch": st.just("e_forged") | texts,
        "actorTypes": st.lists(texts, max_size=2),
    },
).map(lambda body: json.dumps(body).encode())
OWN_SUBJECT = f"{SCOPE.workspace_id}.{SCOPE.project_id}"
forged = st.tuples(
    st.sampled_from(
        [
            f"inbound.{OWN_SUBJECT}.box.a",
            f"inbound.{OWN_SUBJECT}.box.a.b",
            f"session.disconnected.{OWN_SUBJECT}",
            "inbound.rival.prj.box.a",
            "outbound.rival.prj.SESSION",
            f"outbound.{OWN_SUBJECT}.nobody",
            "gateway.rival.prj.GATEWAY",
            f"gateway.{OWN_SUBJECT}.GATEWAY",
            "gateway.alive.GATEWAY",
            "gateway.alive.g_unknown",
            "runtime.announce.rival.prj",
            f"runtime.discover.{OWN_SUBJECT}",
        ]
    ),
    bodies | st.binary(max_size=60),
)


class Client:
    def __init__(self, t: TestApp, user: str) -> None:
        self.received: list[dict[str, Any]] = []
        self.closed_with: int | None = None
        assert t.gateway is not None
        self.session = t.gateway.open_session(self, Identity(SCOPE, user))

    def send(self, frame: bytes) -> None:
        self.received.append(json.loads(frame))

    def close(self, code: int, reason: str = "") -> None:
        self.closed_with = code

    def unsent_bytes(self) -> int:
        return 0

    def pause(self) -> None:
        """Reads on."""

    def write(self, frame: dict[str, Any] | bytes) -> None:
        self.session.received(frame if isinstance(frame, bytes) else json.dumps(frame).encode())

    def answers(self) -> list[Any]:
        return [json.dumps(frame["id"]) for frame in self.received if frame["type"] == "rpc:result"]

    def replica(self) -> Any:
        state: Any = None
        for frame in self.received:
            if frame["type"] == "state:snapshot":
                state = frame["state"]
            elif frame["type"] == "state:patch":
                state = jsonpatch.apply_patch(state, frame["patches"])
        return state


class Faults(logging.Handler):
    """Lines that no input may cause: a callback that failed, a worker that died."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if not record.getMessage().startswith(("call failed: internal", "on_connect raised", "on_disconnect raised")):
            self.lines.append(record.getMessage())


async def attack(sent: list[tuple[int, bytes]], forgeries: list[tuple[str, bytes]], drop: bool) -> None:
    faults = Faults()
    logging.getLogger("zocket").addHandler(faults)
    try:
        async with TestApp(app) as t:
            victim, hostile = Client(t, "victim"), [Client(t, "mallory"), Client(t, "trudy")]
            wire = await t._connect_broker("wire", t._stack)
            victim.write({"type": "state:sub", "actor": "box", "actorId": "home"})
            await t.settle()
            told = {id(client): set[str]() for client in hostile}
            for number, frame in sent:
                client = hostile[number]
                client.write(frame)
                told[id(client)] |= {call_id.decode() for call_id in client.session.edge.pending}
            assert t.gateway is not None
            for subject, body in forgeries:
                named = subject.replace("SESSION", victim.session.edge.session_id)
                wire.send([Message(named.replace("GATEWAY", t.gateway.gateway_id), body)])
            if drop:
                hostile[1].session.closed()
            await t.settle()
            await t.clock.advance(4)
            await t.settle()
            await check(victim, hostile[: 1 if drop else 2], told)
            t.failures.clear()
    finally:
        logging.getLogger("zocket").removeHandler(faults)
    assert faults.lines == []


async def check(victim: Client, hostile: list[Client], told: dict[int, set[str]]) -> None:
    for client in hostile:
        assert not client.session.edge.pending, "a call hangs"
        assert client.closed_with is None
        answered = [json.dumps(json.loads(call_id)) for call_id in told[id(client)]]
        assert set(answered) <= set(client.answers())
    victim.received = [frame for frame in victim.received if frame["type"] != "welcome"]
    victim.write({"type": "rpc", "id": "last", "actor": "box", "actorId": "home", "method": "whole"})
    while not victim.answers():  # noqa: ASYNC110 — virtual time; an answer that never comes ends the loop
        await asyncio.sleep(0.01)
    assert victim.answers() == ['"last"']
    assert victim.received[-1]["result"] == victim.replica()
    assert {frame["type"] for frame in victim.received} <= {"state:snapshot", "state:patch", "rpc:result"}
    assert all(frame["actorId"] == "home" for frame in victim.received if frame["type"].startswith("state:"))
    assert victim.closed_with is None


@settings(
    max_examples=settings().max_examples * 3 // 5,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(st.lists(st.tuples(st.integers(0, 1), frames), max_size=25), st.lists(forged, max_size=8), st.booleans())
def test_nothing_that_anybody_sends_silences_or_disturbs_anybody(
    sent: list[tuple[int, bytes]], forgeries: list[tuple[str, bytes]], drop: bool
) -> None:
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(attack(sent, forgeries, drop))
