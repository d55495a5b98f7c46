from __future__ import annotations

from typing import Any

import pytest
from jsonschema import Draft7Validator, Draft202012Validator

from tests.unit.contract.samples import chat, everything
from zocket.contract import Contract, contract_of
from zocket.contract.asyncapi import asyncapi, json_schemas
from zocket.contract.form import ActorContract, EventContract


@pytest.fixture(scope="module")
def document() -> Any:
    return asyncapi(contract_of(everything.definition), "Everything")


def validator(document: Any, message: str) -> Draft7Validator:
    return Draft7Validator(
        {**document["components"]["messages"][message]["payload"], "components": document["components"]}
    )


def test_a_call_is_received_and_answered(document: Any) -> None:
    post = document["operations"]["chat_post"]
    assert post["action"] == "receive"
    assert [item["$ref"].rpartition("/")[2] for item in post["reply"]["messages"]] == ["chat_post_result", "failure"]
    assert post["description"].startswith("Say something.")


def frame(kind: str, **more: Any) -> dict[str, Any]:
    return {"type": kind, "actor": "chat", "actorId": "a", **more}


@pytest.mark.parametrize(
    ("message", "frame", "bad"),
    [
        ("chat_post", frame("rpc", id=1, method="post", input={"text": "hi"}), {"input": {"text": ""}}),
        ("chat_all", frame("rpc", id=1, method="all"), {"method": "post"}),
        ("chat_counted", frame("event", event="counted", payload=None), {"payload": ""}),
        ("chat_clear_result", {"type": "rpc:result", "id": "x"}, {"type": "rpc"}),
        ("chat_state", frame("state:snapshot", state={"messages": [], "online": {}, "topic": None}), {"state": 1}),
        ("chat_patch", frame("state:patch", patches=[{"op": "remove", "path": "/x"}]), {"patches": [{}]}),
        ("subscribe", frame("state:sub"), {"actor": "lobby"}),
        ("failure", {"type": "rpc:result", "id": 1, "error": "no"}, {"error": 1}),
        (
            "everyThing_shapes",
            frame("rpc", id=1, method="shapes", input={"pair": [1, "a"], "many": []}) | {"actor": "everyThing"},
            {"input": {"pair": ["a", 1], "many": []}},
        ),
    ],
)
def test_the_frames_of_the_wire_fit_their_messages(document: Any, message: str, frame: Any, bad: Any) -> None:
    validator(document, message).validate(frame)
    assert not validator(document, message).is_valid({**frame, **bad})


def test_every_schema_is_a_file_that_stands_by_itself() -> None:
    files = json_schemas(contract_of(everything.definition))
    for schema in files.values():
        Draft202012Validator.check_schema(schema)
        list(Draft202012Validator(schema).iter_errors({}))
    assert "chat.post.input.json" in files
    assert "chat.clear.result.json" not in files
    assert set(json_schemas(contract_of(chat.definition))["chat.state.json"]["$defs"]) == {
        "Colour",
        "Message",
        "RoomState",
    }


def test_names_that_meet_stay_apart() -> None:
    event = EventContract({"type": "string"})
    actor = ActorContract(state={}, methods={}, events={"state": event, "patch": event, "a/b": event, "a b": event})
    document = asyncapi(Contract(actors={"it": actor}, definitions={"x y": {}, "x/y": {}}), "It")
    assert {"it_state", "it_state2", "it_patch2", "it_a_b", "it_a_b2"} <= set(document["operations"]) | {"it_patch2"}
    assert len(document["components"]["schemas"]) == 2
