"""One socket's side of the protocol: what is let through, what is answered at once, what stays pending."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from zocket.errors import Unavailable, UnknownActor
from zocket.protocol import frames
from zocket.protocol.edge import MAX_CALL_ID_BYTES, EdgeSession
from zocket.settings import Limits

LIMITS = Limits()


def edge(**limits: Any) -> EdgeSession:
    return EdgeSession("s_0123456789abcdef01234567", replace(LIMITS, **limits))


def call(call_id: str = "1", actor: str = "chat", actor_id: str = "general", **more: Any) -> bytes:
    head = f'{{"type":"rpc","id":{call_id},"actor":{json.dumps(actor)},"actorId":{json.dumps(actor_id)}'
    return (head + "".join(f",{json.dumps(key)}:{json.dumps(value)}" for key, value in more.items()) + "}").encode()


def sub(kind: str = "state:sub", actor: str = "chat", actor_id: str = "general") -> bytes:
    return frames.request(kind, actor, actor_id)


def answers(session: EdgeSession) -> list[Any]:
    taken, session.outgoing[:] = [json.loads(frame) for frame in session.outgoing], []
    return taken


def test_a_call_is_let_through_and_pending_until_it_is_settled_once() -> None:
    session = edge()
    request = session.receive(call('"a-1"', method="post", input={"text": "hi"}), 1.0)
    assert isinstance(request, frames.Rpc)
    assert (request.actor, request.actor_id, request.method) == ("chat", "general", "post")
    assert session.pending == {b'"a-1"': (1.0, 1, "chat", "general")}
    assert session.settle(b'"a-1"')
    assert not session.settle(b'"a-1"')
    assert not session.settle(b'"never"')
    assert session.outgoing == []


def test_take_tells_when_the_call_came_and_its_number() -> None:
    session = edge()
    session.receive(call("1"), 5.0)
    session.receive(call("2"), 6.5)
    assert session.take(b"2") == (6.5, 2, "chat", "general")
    assert session.take(b"2") is None


def test_a_call_that_is_taken_back_stays_pending_until_it_is_answered() -> None:
    session = edge()
    session.receive(call("1"), 5.0)
    for call_id in (b"1", b"2", b'{"a":1}'):
        assert session.receive(b'{"type":"rpc:cancel","id":%b}' % call_id, 6.0) is None
    assert session.withdrawn == [(5.0, 1, "chat", "general")]
    assert session.outgoing == []
    assert session.settle(b"1")
    session.withdrawn.clear()
    assert session.receive(b'{"type":"rpc:cancel","id":1}', 6.0) is None
    assert session.withdrawn == []


def test_whether_a_call_ends_with_its_session_is_a_boolean() -> None:
    session = edge()
    request = session.receive(b'{"type":"rpc","id":1,"actor":"a","actorId":"b","method":"m","cancelOnClose":true}', 0.0)
    assert isinstance(request, frames.Rpc)
    assert request.cancel_on_close
    assert (
        session.receive(b'{"type":"rpc","id":2,"actor":"a","actorId":"b","method":"m","cancelOnClose":1}', 0.0) is None
    )
    [answer] = answers(session)
    assert (answer["id"], answer["code"]) == (2, "invalid_frame")


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"nonsense",
        b"[1]",
        b'{"type":"hello"}',
        b'{"no":"type"}',
        b'{"type":"state:sub","actor":"chat"}',
        b'{"type":"rpc","actor":"chat","actorId":"general","method":"m"}',
        b'{"type":"rpc","id":1,"actor":"chat","actorId":"general","method":"m","input":{"a":',
        b'{"type":"rpc","id":1,"actor":"chat","actorId":"general","method":"m","input":"\xff"}',
        b'{"type":"rpc","id":1,"actor":"chat","actorId":"general","method":"m","input":NaN}',
        b'\xef\xbb\xbf{"type":"state:sub","actor":"chat","actorId":"general"}',
    ],
)
def test_broken_and_unknown_frames_are_ignored_and_the_session_stays_usable(frame: bytes) -> None:
    session = edge()
    assert session.receive(frame, 0.0) is None
    assert session.outgoing == []
    assert session.receive(call(), 0.0) is not None


def test_text_that_is_not_ascii_passes() -> None:
    session = edge()
    frame = '{"type":"rpc","id":"é","actor":"chat","actorId":"größe","method":"m","input":"日本"}'.encode()
    assert session.receive(frame, 0.0) is not None
    assert session.settle('"é"'.encode())


@pytest.mark.parametrize("call_id", ['"x"', "1", "-7", "1.5e3", '""'])
def test_a_string_or_a_number_is_an_id_and_comes_back_as_it_was_sent(call_id: str) -> None:
    session = edge()
    session.receive(call(call_id), 0.0)
    session.fail(call_id.encode(), Unavailable("away"))
    assert b'"id":' + call_id.encode() + b"," in session.outgoing[0]


@pytest.mark.parametrize("call_id", ["null", "true", "{}", "[1]", '"' + "x" * MAX_CALL_ID_BYTES + '"', "1" * 300])
def test_any_other_id_is_refused_with_an_error_frame(call_id: str) -> None:
    session = edge()
    assert session.receive(call(call_id), 0.0) is None
    [answer] = answers(session)
    assert (answer["type"], answer["code"], answer["actor"]) == ("error", "invalid_frame", "chat")
    assert answer["requestId"]
    assert not session.pending


def test_an_rpc_with_wrong_fields_is_answered_by_its_id() -> None:
    session = edge()
    assert session.receive(b'{"type":"rpc","id":7,"actor":3,"actorId":"general"}', 0.0) is None
    [answer] = answers(session)
    assert (answer["type"], answer["id"], answer["code"]) == ("rpc:result", 7, "invalid_frame")
    assert "data" not in answer
    assert answer["requestId"] == session.request_id


def test_a_lone_surrogate_is_answered_and_not_met_with_silence() -> None:
    session = edge()
    frame = b'{"type":"rpc","id":"q","actor":"chat","actorId":"general","method":"m","input":"\\ud800"}'
    assert session.receive(frame, 0.0) is None
    [answer] = answers(session)
    assert (answer["id"], answer["code"]) == ("q", "invalid_frame")


@pytest.mark.parametrize("depth", [65, 2_000, 100_000])
def test_a_call_nested_too_deep_is_answered_at_any_depth(depth: int) -> None:
    session = edge()
    frame = b'{"type":"rpc","id":"d","actor":"chat","actorId":"general","method":"m","input":%b}' % (
        b"[" * depth + b"]" * depth
    )
    assert session.receive(frame, 0.0) is None
    [answer] = answers(session)
    assert (answer["type"], answer["id"], answer["code"]) == ("rpc:result", "d", "invalid_frame")


def test_a_deep_frame_that_is_no_call_is_answered_with_an_error_frame() -> None:
    session = edge()
    session.receive(b'{"type":"x","y":' + b"[" * 70 + b"]" * 70 + b"}", 0.0)
    [answer] = answers(session)
    assert (answer["type"], answer["code"]) == ("error", "invalid_frame")


@pytest.mark.parametrize("actor", ["", "a.b", "a*", ">", "9x", "x" * 65, "größe", "a b", "$JS"])
def test_a_call_to_an_odd_actor_type_is_refused(actor: str) -> None:
    session = edge()
    assert session.receive(call("1", actor=actor), 0.0) is None
    [answer] = answers(session)
    assert (answer["id"], answer["code"]) == (1, "invalid_id")
    assert not session.pending


@pytest.mark.parametrize("actor_id", ["", "x" * 257, "é" * 257, "日" * 171])
def test_a_call_to_an_odd_actor_id_is_refused(actor_id: str) -> None:
    session = edge()
    assert session.receive(call("1", actor_id=actor_id), 0.0) is None
    [answer] = answers(session)
    assert (answer["id"], answer["code"]) == (1, "invalid_id")


def test_a_subscription_to_an_odd_id_is_refused_with_an_error_frame_and_not_remembered() -> None:
    session = edge()
    assert session.receive(sub(actor_id=""), 0.0) is None
    [answer] = answers(session)
    assert (answer["type"], answer["code"], answer["actor"], answer["actorId"]) == ("error", "invalid_id", "chat", "")
    assert not session.subscriptions


def test_a_call_with_an_id_that_is_pending_is_refused_and_the_first_one_stays() -> None:
    session = edge()
    session.receive(call("1"), 0.0)
    assert session.receive(call("1"), 0.0) is None
    [answer] = answers(session)
    assert (answer["id"], answer["code"]) == (1, "duplicate_id")
    assert session.settle(b"1")
    assert session.receive(call("1"), 0.0) is not None


def test_calls_beyond_the_bound_are_refused_until_one_is_answered() -> None:
    session = edge(max_pending_calls=2)
    assert session.receive(call("1"), 0.0)
    assert session.receive(call("2"), 0.0)
    assert session.receive(call("3"), 0.0) is None
    [answer] = answers(session)
    assert (answer["id"], answer["code"]) == (3, "too_many_calls")
    assert session.has_excess
    session.settle(b"1")
    assert session.receive(call("3"), 0.0)


def test_subscriptions_are_kept_in_order_and_each_once() -> None:
    session = edge()
    for frame in (sub("event:sub"), sub("state:sub"), sub("state:sub", actor_id="b"), sub("state:sub")):
        assert session.receive(frame, 0.0) is not None
    assert list(session.subscriptions) == [
        frames.EventSub("chat", "general"),
        frames.StateSub("chat", "general"),
        frames.StateSub("chat", "b"),
    ]
    assert session.receive(sub("state:unsub"), 0.0) is not None
    assert session.receive(sub("event:unsub"), 0.0) is not None
    assert list(session.subscriptions) == [frames.StateSub("chat", "b")]


def test_what_a_state_subscription_said_last_is_what_is_sent_again() -> None:
    session = edge()
    known = frames.StateSub("chat", "general")
    for append, since, again in ((True, None, True), (True, frames.Since("e", 1), True), (False, None, None)):
        frame = frames.request("state:sub", "chat", "general", since, append=append)
        assert session.receive(frame, 0.0) is not None
        assert session.subscriptions == {known: frames.StateSub("chat", "general", append=again)}
    assert session.receive(sub("state:unsub"), 0.0) is not None
    assert session.subscriptions == {}


def test_an_unsubscription_of_nothing_passes() -> None:
    session = edge()
    assert session.receive(sub("event:unsub"), 0.0) is not None
    assert session.outgoing == []


def test_subscriptions_beyond_the_bound_are_refused_but_repeated_ones_pass() -> None:
    session = edge(max_subscriptions=1)
    assert session.receive(sub(actor_id="a"), 0.0)
    assert session.receive(sub(actor_id="b"), 0.0) is None
    [answer] = answers(session)
    assert (answer["type"], answer["code"], answer["actorId"]) == ("error", "too_many_subscriptions", "b")
    assert session.has_excess
    assert session.receive(sub(actor_id="a"), 0.0)


def test_frames_beyond_the_rate_are_answered_and_time_lets_more_pass() -> None:
    session = edge(rate_per_s=8.0, rate_burst=2)
    assert session.receive(call("1"), 100.0)
    assert session.receive(call("2"), 100.0)
    assert not session.has_excess
    assert session.receive(call("3"), 100.0) is None
    assert session.receive(sub(), 100.0) is None
    assert session.has_excess
    first, second = answers(session)
    assert (first["type"], first["id"], first["code"]) == ("rpc:result", 3, "rate_limited")
    assert (second["type"], second["code"]) == ("error", "rate_limited")
    assert session.receive(call("4"), 100.125)
    assert session.receive(call("5"), 100.125) is None


def test_old_calls_are_answered_with_timeout_and_a_late_result_is_dropped() -> None:
    session = edge(call_timeout_s=60.0)
    session.receive(call("1"), 0.0)
    session.receive(call("2"), 1.0)
    assert session.expire(59.9) == []
    assert session.expire(60.0) == [b"1"]
    [answer] = answers(session)
    assert (answer["id"], answer["code"]) == (1, "timeout")
    assert answer["requestId"].endswith(".1")
    assert not session.settle(b"1")
    assert session.settle(b"2")


def test_a_pending_call_fails_once_with_the_request_id_it_had() -> None:
    session = edge()
    session.receive(call("1"), 0.0)
    expected = session.request_id
    session.receive(call("2"), 0.0)
    assert session.fail(b"1", Unavailable("away"))
    assert not session.fail(b"1", Unavailable("away"))
    [answer] = answers(session)
    assert (answer["requestId"], answer["error"], answer["code"]) == (expected, "away", "unavailable")


def test_what_was_let_through_but_cannot_be_served_is_refused_afterwards() -> None:
    session = edge()
    request = session.receive(call("1", actor="nobody"), 0.0)
    assert request is not None
    session.refuse(request, UnknownActor("nobody"))
    subscription = session.receive(sub(actor="nobody"), 0.0)
    assert subscription is not None
    session.refuse(subscription, UnknownActor("nobody"))
    first, second = answers(session)
    assert first == {
        "type": "rpc:result",
        "id": 1,
        "error": "Unknown actor: nobody",
        "code": "unknown_actor",
        "requestId": "ef01234567.1",
    }
    assert second["type"] == "error"
    assert second["message"] == "Unknown actor: nobody"
    assert not session.subscriptions
    assert not session.pending


@pytest.mark.parametrize(("sent", "answered"), [("1.0", b"1"), ('"\\u00e9"', '"é"'.encode()), ("1e2", b"100")])
def test_an_id_that_a_runtime_spells_otherwise_is_the_same_id(sent: str, answered: bytes) -> None:
    session = edge()
    session.receive(call(sent), 0.0)
    assert session.settle(answered)


def test_an_id_beyond_any_number_type_disturbs_no_other() -> None:
    session = edge()
    for call_id in ("1e999", "1" * 250, "2.0"):
        assert session.receive(call(call_id), 0.0)
    assert session.settle(b"2")
    assert session.settle(b"1e999")
    assert not session.settle(b"1e998")
    assert session.settle(b"1" * 250)


@pytest.mark.parametrize("answered", [b"true", b'"1"', b"null", b"", b"[1]", b"\xff"])
def test_another_value_is_another_id(answered: bytes) -> None:
    session = edge()
    session.receive(call("1"), 0.0)
    assert not session.settle(answered)


def test_a_closed_session_has_nothing_left() -> None:
    session = edge()
    session.receive(call("1"), 0.0)
    session.receive(sub(), 0.0)
    session.receive(call("1"), 0.0)
    session.close()
    assert (session.pending, session.subscriptions, session.outgoing) == ({}, {}, [])
    assert not session.fail(b"1", Unavailable("away"))
