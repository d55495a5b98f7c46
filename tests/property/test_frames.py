"""Whatever a client sends: the edge raises nothing, answers each call once, and no subject leaves its tenant."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from zocket.errors import InvalidId, Unavailable
from zocket.ids import Scope, actor_id_token, check_actor_id
from zocket.protocol import frames, subjects
from zocket.protocol.edge import EdgeSession
from zocket.settings import Limits

SCOPE = Scope("acme", "chat")
THOROUGH = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
LIMITS = replace(Limits(), max_pending_calls=4, max_subscriptions=3, max_json_depth=6)

texts = st.text(max_size=20) | st.sampled_from(
    ["room", "a", "a.b", ">", "*", "$JS", "%2E", "", "\ud800", "../x", "a b"]
)
ids = (
    st.integers() | texts | st.floats(allow_nan=False) | st.none() | st.booleans() | st.lists(st.integers(), max_size=2)
)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
types = (
    st.sampled_from(["rpc", "state:sub", "state:unsub", "event:sub", "event:unsub", "rpc:result", "welcome"]) | texts
)
odd_frames = st.fixed_dictionaries(
    {},
    optional={
        "type": types,
        "id": ids,
        "actor": values,
        "actorId": values,
        "method": values,
        "input": values,
        "idempotencyKey": values,
    },
).map(lambda frame: json.dumps(frame).encode())


def flipped(frame: bytes, position: int, byte: int) -> bytes:
    position %= len(frame) + 1
    return frame[:position] + bytes([byte]) + frame[position + 1 :]


anything = (
    st.binary(max_size=200)
    | odd_frames
    | st.builds(flipped, odd_frames, st.integers(0, 300), st.integers(0, 255))
    | st.integers(0, 3_000).map(lambda depth: b'{"type":"rpc","id":1,"input":' + b"[" * depth + b"]" * depth + b"}")
)


@THOROUGH
@given(st.lists(anything, max_size=12))
def test_the_edge_raises_nothing_and_says_only_valid_frames(sent: list[bytes]) -> None:
    session = EdgeSession("s_0123456789abcdef01234567", LIMITS)
    for number, frame in enumerate(sent):
        request = session.receive(frame, float(number))
        assert request is None or session.outgoing == []
        for answer in session.outgoing:
            decoded = json.loads(answer)
            assert decoded["type"] in ("rpc:result", "error")
            assert decoded["code"]
            assert decoded["requestId"]
        session.outgoing.clear()
    assert len(session.pending) <= LIMITS.max_pending_calls
    assert len(session.subscriptions) <= LIMITS.max_subscriptions


@THOROUGH
@given(anything)
def test_no_input_changes_tenant_type_or_verb_of_a_subject(frame: bytes) -> None:
    session = EdgeSession("s_0123456789abcdef01234567", LIMITS)
    request = session.receive(frame, 0.0)
    if request is None:
        return
    subject = subjects.inbound_prefix(SCOPE) + subjects.instance(request.actor, request.actor_id)
    tokens = subject.split(".")
    assert tokens[:4] == ["inbound", "acme", "chat", request.actor]
    assert len(tokens) == 5
    assert not set(subject) & set("*> \t\r\n")
    assert subject.isascii()
    assert subject.isprintable()
    assert subjects.agrees(subject, SCOPE, request.actor, request.actor_id)


@given(st.text(min_size=1, max_size=30), st.text(min_size=1, max_size=30))
def test_no_two_ids_share_a_token(one: str, other: str) -> None:
    try:
        check_actor_id(one)
        check_actor_id(other)
    except InvalidId:
        return
    assert (actor_id_token(one) == actor_id_token(other)) == (one == other)


@given(st.text(min_size=1, max_size=30).filter(lambda text: not any("\ud800" <= char <= "\udfff" for char in text)))
def test_a_token_can_be_read_back(actor_id: str) -> None:
    token = actor_id_token(actor_id)
    parts = token.split("%")
    raw = parts[0].encode() + b"".join(bytes([int(part[:2], 16)]) + part[2:].encode() for part in parts[1:])
    assert raw.decode() == actor_id
    assert not set(token) & set(".*> ")
    assert not token.startswith("$")


def reference_depth(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max(map(reference_depth, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(reference_depth, value), default=0)
    return 0


brackets = st.text('[]{}"\\,:a ', max_size=8)
nested = st.recursive(
    st.integers() | brackets,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(brackets, inner, max_size=4),
    max_leaves=25,
)


@given(nested, st.integers(0, 8), st.sampled_from([None, 1]))
def test_depth_is_that_of_the_decoded_value(value: Any, limit: int, indent: int | None) -> None:
    frame = json.dumps(value, indent=indent).encode()
    assert frames.too_deep(frame, limit) == (reference_depth(value) > limit)


@given(st.binary(max_size=300), st.integers(0, 8))
def test_any_bytes_have_an_answer_about_their_depth(frame: bytes, limit: int) -> None:
    assert frames.too_deep(frame, limit) in (True, False)
    frames.salvage_id(frame)
    frames.salvage_id_of_deep(frame)
    frames.decode_head(frame)


class OneAnswerForEachCall(RuleBasedStateMachine):
    """A client that calls, a runtime that answers never, once or twice, a broker that fails, and time that passes."""

    def __init__(self) -> None:
        super().__init__()
        self.edge = EdgeSession("s_0123456789abcdef01234567", replace(LIMITS, call_timeout_s=10.0))
        self.now = 0.0
        self.sent: Counter[str] = Counter()
        self.answered: Counter[str] = Counter()

    def collect(self) -> None:
        for frame in self.edge.outgoing:
            self.answered[json.dumps(json.loads(frame)["id"])] += 1
        self.edge.outgoing.clear()

    @rule(call_id=st.sampled_from(["1", "2", '"a"', '"b"', "3", "4"]), actor=st.sampled_from(["room", "a.b"]))
    def call(self, call_id: str, actor: str) -> None:
        self.sent[call_id] += 1
        self.edge.receive(f'{{"type":"rpc","id":{call_id},"actor":"{actor}","actorId":"x"}}'.encode(), self.now)
        self.collect()

    @rule(call_id=st.sampled_from(["1", "2", '"a"', '"b"', "3", "4"]))
    def answer(self, call_id: str) -> None:
        if self.edge.settle(call_id.encode()):
            self.answered[call_id] += 1

    @rule(call_id=st.sampled_from(["1", '"a"', "4"]))
    def publish_fails(self, call_id: str) -> None:
        self.edge.fail(call_id.encode(), Unavailable("away"))
        self.collect()

    @rule(seconds=st.floats(0.0, 12.0))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.edge.expire(self.now)
        self.collect()

    @invariant()
    def each_call_is_pending_or_answered_once(self) -> None:
        pending = Counter({call_id.decode(): 1 for call_id in self.edge.pending})
        assert self.sent == self.answered + pending

    @invariant()
    def no_call_waits_longer_than_the_limit(self) -> None:
        assert all(came > self.now - 10.0 or came == self.now for came, *_ in self.edge.pending.values())

    def teardown(self) -> None:
        self.edge.expire(self.now + 10.5)
        self.collect()
        assert self.sent == self.answered


TestOneAnswerForEachCall = OneAnswerForEachCall.TestCase
