"""From an HTTP request to a frame and back."""

from __future__ import annotations

import json

import msgspec
import pytest

from zocket.errors import ActorError, InvalidFrame, Overloaded
from zocket.protocol import frames
from zocket.protocol.http_calls import STATUS, Target, answer_of, frame_of, status_of, target_of

ROOM = Target("room", "a", "post")


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("/call/room/a/post", ROOM),
        ("/call/room/a%2Fb%20%C3%A9/post", Target("room", "a/b é", "post")),
        ("/call/room/a/post/", None),
        ("/call/room/a", None),
        ("/call/room//post", None),
        ("/called/room/a/post", None),
        ("/", None),
    ],
)
def test_a_path_names_actor_id_and_method(path: str, target: Target | None) -> None:
    assert target_of(path) == target


def test_a_path_that_is_no_utf_8_is_no_call() -> None:
    with pytest.raises(InvalidFrame):
        target_of("/call/room/%FF/post")


@pytest.mark.parametrize(
    ("body", "value"), [(b"", None), (b" \r\n", None), (b' {"a": 1}\n', {"a": 1}), (b"null", None)]
)
def test_the_body_is_the_input(body: bytes, value: object) -> None:
    frame = json.loads(frame_of(ROOM, body, ""))
    assert frame.pop("input", None) == value
    assert frame == {"type": "rpc", "id": 1, "actor": "room", "actorId": "a", "method": "post"}


def test_a_key_goes_along() -> None:
    assert json.loads(frame_of(ROOM, b"", "order-17"))["idempotencyKey"] == "order-17"


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b'1,"actor":"other"',
        b'1},"actor":"other",{',
        b"{} {}",
        b'{"a": NaN}',
        b'"\xff"',
        b"[" * 20_000,
        b"a=1&b=2",
    ],
)
def test_a_body_that_is_no_json_makes_no_frame(body: bytes) -> None:
    with pytest.raises(InvalidFrame):
        frame_of(ROOM, body, "")


def test_a_result_is_the_answer() -> None:
    assert answer_of(frames.result(b"1", b'{"text":"a"}')) == (200, b'{"result":{"text":"a"}}')
    assert answer_of(frames.result(b"1", None)) == (200, b'{"result":null}')
    assert answer_of(b'{"type":"welcome","clientId":"s"}') is None
    assert answer_of(b"no frame") is None


def test_an_error_has_its_code_its_data_and_its_request_id() -> None:
    error = ActorError("sold out", code="sold_out", data={"left": 0}, request_id="r1")
    status, body = answer_of(frames.failure(b"1", error)) or (0, b"")
    assert status == 400
    assert msgspec.json.decode(body) == {
        "error": "sold out",
        "code": "sold_out",
        "data": {"left": 0},
        "requestId": "r1",
    }
    assert (answer_of(frames.failure(b"1", Overloaded("later"))) or (0, b""))[0] == 429


def test_every_code_has_a_status() -> None:
    assert all(400 <= status < 600 for status in STATUS.values())
    assert status_of("of the actor's own") == 400
