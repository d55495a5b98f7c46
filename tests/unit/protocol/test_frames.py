"""Frames as bytes: what is decoded, what is spliced, and how deep is too deep."""

from __future__ import annotations

import json
import time
from typing import Any

import msgspec
import pytest

from zocket.errors import ActorError, InvalidFrame, Unavailable
from zocket.protocol import frames


@pytest.mark.parametrize(
    ("kind", "record"),
    [
        ("event:sub", frames.EventSub("chat", "a")),
        ("event:unsub", frames.EventUnsub("chat", "a")),
        ("state:sub", frames.StateSub("chat", "a")),
        ("state:unsub", frames.StateUnsub("chat", "a")),
    ],
)
def test_a_subscription_is_told_by_its_type_and_written_as_it_is_read(kind: str, record: frames.Subscription) -> None:
    assert frames.decode_request(frames.request(kind, "chat", "a")) == record
    assert frames.subscription(record) == frames.request(kind, "chat", "a")


@pytest.mark.parametrize("append", [b"false", b"null", b"1", b'"true"', b"{}", b"[true]"])
def test_only_true_announces_that_a_client_takes_append(append: bytes) -> None:
    read = frames.decode_request(b'{"type":"state:sub","actor":"chat","actorId":"a","append":%b}' % append)
    assert isinstance(read, frames.StateSub)
    assert not read.appends
    assert read.lasting() == read.plain() == frames.StateSub("chat", "a")
    assert frames.subscription(read) == frames.request("state:sub", "chat", "a")


def test_a_subscription_that_is_sent_again_announces_append_again_and_names_no_version() -> None:
    frame = frames.request("state:sub", "chat", "a", frames.Since("e", 7), append=True)
    read = frames.decode_request(frame)
    assert isinstance(read, frames.StateSub)
    assert (read.appends, read.version()) == (True, frames.Since("e", 7))
    assert frames.subscription(read.lasting()) == frames.request("state:sub", "chat", "a", append=True)


def test_id_and_input_of_a_call_stay_the_clients_bytes() -> None:
    call = frames.decode_request(
        b'{ "id" : 1.50 , "input":{"b" : 1, "a":[ ]}, "type":"rpc","actor":"chat","actorId":"a","method":"m"}'
    )
    assert isinstance(call, frames.Rpc)
    assert (bytes(call.id), bytes(call.input)) == (b"1.50", b'{"b" : 1, "a":[ ]}')


def test_a_call_without_a_method_has_the_empty_name_and_one_without_input_has_none() -> None:
    call = frames.decode_request(b'{"type":"rpc","id":1,"actor":"chat","actorId":"a"}')
    assert isinstance(call, frames.Rpc)
    assert (call.method, bytes(call.input)) == ("", b"")


@pytest.mark.parametrize("field", ["actor", "actorId", "method"])
def test_a_call_with_a_field_of_the_wrong_type_tells_its_id(field: str) -> None:
    frame = {"type": "rpc", "id": "é", "actor": "chat", "actorId": "a", "method": "m", field: 5}
    with pytest.raises(InvalidFrame) as caught:
        frames.decode_request(json.dumps(frame, ensure_ascii=False).encode())
    assert caught.value.data == '"é"'


@pytest.mark.parametrize("key", ["", "x" * 129, "é", "a\nb", "a\x7f", 5, True, None, ["k"]])
def test_an_idempotency_key_that_is_none_is_told(key: Any) -> None:
    frame = {"type": "rpc", "id": 7, "actor": "chat", "actorId": "a", "method": "m", "idempotencyKey": key}
    with pytest.raises(InvalidFrame, match="idempotencyKey of 1-128 printable ASCII") as caught:
        frames.decode_request(json.dumps(frame).encode())
    assert caught.value.data == "7"


@pytest.mark.parametrize("key", ["x", "x" * 128, "order 17/é".replace("é", "~"), '"\\'])
def test_a_call_with_an_idempotency_key_is_written_as_it_is_read(key: str) -> None:
    call = frames.decode_request(frames.call(b"1", "chat", "a", "m", b"[]", key))
    assert isinstance(call, frames.Rpc)
    assert (call.idempotency_key, bytes(call.input)) == (key, b"[]")


@pytest.mark.parametrize("other", [b'"longer id"', b"1"])
@pytest.mark.parametrize("value", [None, b"null", b'{"a":1}'])
def test_an_answer_is_said_again_to_another_call(value: bytes | None, other: bytes) -> None:
    outcome = frames.outcome_of(b'"7"', frames.result(b'"7"', value))
    assert frames.answer_again(other, outcome) == frames.result(other, value)
    assert isinstance(json.loads(outcome), dict)


def test_a_failure_is_said_again_with_all_it_holds() -> None:
    error = ActorError("no", code="c", data=[1], request_id="r")
    outcome = frames.outcome_of(b"1", frames.failure(b"1", error))
    assert frames.answer_again(b"22", outcome) == frames.failure(b"22", error)


def test_an_escaped_backslash_before_u_is_no_surrogate() -> None:
    call = frames.decode_request(b'{"type":"rpc","id":1,"actor":"chat","actorId":"a","method":"m","input":"\\\\ud800"}')
    assert isinstance(call, frames.Rpc)


@pytest.mark.parametrize("frame", [b'{"type":"rpc","id":"\xff","actor":1}', b'{"type":"rpc"}', b'{"id":1}', b"{", b""])
def test_nothing_is_salvaged_where_there_is_no_call(frame: bytes) -> None:
    assert frames.salvage_id(frame) is None


@pytest.mark.parametrize(
    ("front", "expected"),
    [
        (b'{"type":"rpc","id":7,', b"7"),
        (b' { "id" : "a\\"[b" , "x":null,"type" : "rpc" , "method":"{",', b'"a\\"[b"'),
        (b'{"type":"state:sub","id":7,', None),
        (b'{"type":"rpc",', None),
        (b"[", None),
        (b'{"type":"rpc","id":[7],', None),
    ],
)
def test_the_id_of_a_deep_call_stands_in_front_of_the_first_nested_value(front: bytes, expected: bytes | None) -> None:
    assert frames.salvage_id_of_deep(front + b'"input":' + b"[" * 5_000) == expected


def test_salvaging_takes_linear_time() -> None:
    hostile = b'{"a":1' + b" " * 200_000 + b"[" * 100
    assert frames.salvage_id_of_deep(hostile) is None
    assert frames.salvage_id_of_deep(b'{"' + b"\\" * 200_001) is None
    assert frames.salvage_id_of_deep(b'{"a":"' * 40_000) is None


@pytest.mark.parametrize(
    ("frame", "depth"),
    [
        (b"[[]]", 2),
        (b'{"a":[{}]}', 3),
        (b'["[[[[","\\"[[[["]', 1),
        (b"[[],[],[[]]]", 3),
        (b"1", 0),
        (b'{"a":"\\\\"}', 1),
    ],
)
def test_depth_counts_nesting_outside_of_strings(frame: bytes, depth: int) -> None:
    assert not frames.too_deep(frame, depth)
    assert depth == 0 or frames.too_deep(frame, depth - 1)


def test_a_wide_frame_is_not_deep() -> None:
    assert not frames.too_deep(b"[" + b"[]," * 10_000 + b"[]]", 2)


@pytest.mark.parametrize("frame", [b"[" * 128_000 + b"]" * 128_000, b"[" * 500 + b"]" * 500], ids=["deep", "saw"])
def test_the_depth_of_a_hostile_frame_is_found_in_linear_time(frame: bytes) -> None:
    started = time.process_time()
    for _ in range(5):
        assert frames.too_deep(frame * (256_000 // len(frame)), 512) is (len(frame) > 1_000)
    assert time.process_time() - started < 5 * 0.1, "a tenth of a second for each would let one client stop a gateway"


def test_of_what_is_no_json_everything_counts_that_a_parser_takes() -> None:
    assert frames.too_deep(b"[" * 100, 64)
    assert frames.too_deep(b"[" * 100 + b"]" * 300, 64)
    assert frames.decode_request(b"]" * 10_000 + b"[" * 10_000) is None


def test_an_answer_holds_the_value_only_if_there_is_one() -> None:
    assert frames.result(b'"a"', None) == b'{"type":"rpc:result","id":"a"}'
    assert frames.result(msgspec.Raw(b"1.0"), b"null") == b'{"type":"rpc:result","id":1.0,"result":null}'


def test_a_failure_holds_text_code_data_and_request_id() -> None:
    error = ActorError('no "x"', code="mine", data={"a": [1]}, request_id="r.1")
    assert json.loads(frames.failure(b"1", error)) == {
        "type": "rpc:result",
        "id": 1,
        "error": 'no "x"',
        "code": "mine",
        "data": {"a": [1]},
        "requestId": "r.1",
    }
    assert json.loads(frames.failure(b"1", Unavailable("away"))).keys() == {"type", "id", "error", "code"}


def test_a_problem_always_has_a_request_id_and_an_address_if_there_is_one() -> None:
    assert json.loads(frames.problem(Unavailable("away", request_id="r.1"), "chat", "a")) == {
        "type": "error",
        "code": "unavailable",
        "message": "away",
        "actor": "chat",
        "actorId": "a",
        "requestId": "r.1",
    }
    assert json.loads(frames.problem(Unavailable("away"))) == {
        "type": "error",
        "code": "unavailable",
        "message": "away",
        "requestId": "",
    }


def test_frames_of_an_instance_are_spliced_around_its_address() -> None:
    instance = frames.address("chat", 'a"b')
    spliced: list[tuple[bytes, dict[str, Any]]] = [
        (frames.snapshot(instance, b'{"n":1}'), {"type": "state:snapshot", "state": {"n": 1}}),
        (frames.patch(instance, b"[]"), {"type": "state:patch", "patches": []}),
        (frames.event(instance, b'"posted"', b"null"), {"type": "event", "event": "posted", "payload": None}),
    ]
    for frame, expected in spliced:
        assert json.loads(frame) == {**expected, "actor": "chat", "actorId": 'a"b'}


def test_a_call_is_written_as_it_is_read() -> None:
    call = frames.decode_request(frames.call(b"5", "chat", "a", "post", b'{"text":"hi"}'))
    assert isinstance(call, frames.Rpc)
    assert (bytes(call.id), call.actor, call.actor_id, call.method) == (b"5", "chat", "a", "post")
    assert bytes(call.input) == b'{"text":"hi"}'
    assert frames.decode_request(frames.call(b"5", "chat", "a", "post", None)) is not None


@pytest.mark.parametrize(
    ("frame", "outcome"),
    [
        (b'{"type":"rpc:result","id":1}', "ok"),
        (b'{"type":"rpc:result","id":1,"result":{"error":1}}', "ok"),
        (b'{"type":"rpc:result","id":1,"error":null}', "ok"),
        (b'{"type":"rpc:result","id":1,"error":"x"}', "error"),
        (b'{"type":"rpc:result","id":1,"error":"x","code":"mine"}', "mine"),
    ],
)
def test_the_head_of_an_answer_tells_its_outcome(frame: bytes, outcome: str) -> None:
    head = frames.decode_head(frame)
    assert head is not None
    assert head.id is not None
    assert (head.type, bytes(head.id), head.outcome) == ("rpc:result", b"1", outcome)


@pytest.mark.parametrize("frame", [b"", b"[]", b'{"id":1}', b'{"type":1}', b"\xff", b"[" * 5_000])
def test_what_is_no_frame_has_no_head(frame: bytes) -> None:
    assert frames.decode_head(frame) is None
    assert frames.decode_server_frame(frame) is None


def test_parts_of_a_servers_frame_stay_json() -> None:
    frame = frames.decode_server_frame(b'{"type":"rpc:result","id":"a","result":null}')
    assert frame is not None
    assert frame.id is not None
    assert frame.result is not None
    assert (bytes(frame.id), bytes(frame.result), frame.error) == (b'"a"', b"null", None)
