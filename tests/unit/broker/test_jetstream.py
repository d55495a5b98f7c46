"""The JSON API of JetStream, against answers as a server gives them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from zocket.broker.jetstream import CREATE_ATTEMPTS, JetStream, NoAnswer
from zocket.broker.port import ConsumerSpec
from zocket.broker.replies import Reply
from zocket.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterable

PAGE = 100
"""Subjects in one answer; a real server gives 100,000."""


async def nobody(subject: str, payload: bytes) -> list[Reply]:
    """Answers no request for many messages."""
    raise NoAnswer(subject)


class Listing:
    """Answers `STREAM.INFO` of a bucket page by page, in the order of the subjects.

    Attributes:
        between: keys that somebody writes after the first page was given.
    """

    def __init__(self, keys: list[str], between: list[str]) -> None:
        self.keys = keys
        self.between = between
        self.asked: list[int] = []

    async def __call__(self, subject: str, payload: bytes, headers: dict[str, str] | None = None) -> Reply:
        request = json.loads(payload)
        assert (subject, request["subjects_filter"]) == ("$JS.API.STREAM.INFO.KV_b", "$KV.b.room.>")
        offset = request["offset"]
        self.asked.append(offset)
        subjects = sorted(f"$KV.b.{key}" for key in self.keys)
        page = dict.fromkeys(subjects[offset : offset + PAGE], 1)
        answer = {"total": len(subjects), "offset": offset, "limit": PAGE, "state": {"subjects": page}}
        self.keys, self.between = self.keys + self.between, []
        return Reply(json.dumps(answer).encode())


async def test_a_bucket_of_many_pages_is_listed_whole_and_each_key_once() -> None:
    keys = [f"room.{number:04}" for number in range(1, 251)]
    listing = Listing(keys, between=["room.0000"])
    assert await JetStream(listing, nobody).keys("b", "room") == keys
    assert listing.asked == [0, 100, 200]


async def test_a_bucket_of_exactly_one_page_is_asked_for_once() -> None:
    listing = Listing([f"room.{number:04}" for number in range(PAGE)], between=[])
    assert len(await JetStream(listing, nobody).keys("b", "room")) == PAGE
    assert listing.asked == [0]


SPEC = ConsumerSpec(stream="INBOUND", name="rt-a", subjects="inbound.w.p.a.>", max_ack_pending=8, ack_wait_s=5.0)
DONE: dict[str, Any] = {}
SILENT: dict[str, Any] = {"silent": True}
NOT_THERE: dict[str, Any] = {"error": {"code": 404, "err_code": 10014, "description": "consumer not found"}}
OTHER_THERE: dict[str, Any] = {"error": {"code": 400, "err_code": 10148, "description": "consumer already exists"}}
NOBODY: dict[str, Any] = {"status": 503}


class Script:
    """Gives one answer after the other, and keeps what was asked as `VERB inbox`."""

    def __init__(self, answers: Iterable[dict[str, Any]]) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    async def __call__(self, subject: str, payload: bytes, headers: dict[str, str] | None = None) -> Reply:
        asked = subject.removeprefix("$JS.API.").split(".INBOUND", 1)[0]
        if asked == "CONSUMER.CREATE":
            asked += " " + json.loads(payload)["config"]["deliver_subject"]
        self.asked.append(asked)
        answer = self.answers.pop(0)
        if answer is SILENT:
            raise NoAnswer("no answer")
        if answer is NOBODY:
            return Reply(b"", b"NATS/1.0 503\r\n\r\n")
        return Reply(json.dumps(answer).encode())


async def test_a_consumer_whose_creation_is_not_answered_is_asked_for_again_and_not_deleted() -> None:
    script = Script([DONE, SILENT, SILENT, DONE])
    await JetStream(script, nobody).replace_consumer(SPEC, "inbox", 1.0)
    assert script.asked == ["CONSUMER.DELETE", *["CONSUMER.CREATE inbox"] * 3]


async def test_a_consumer_that_another_made_while_nobody_answered_is_left_alone() -> None:
    script = Script([NOT_THERE, SILENT, OTHER_THERE])
    with pytest.raises(Unavailable, match="taken over"):
        await JetStream(script, nobody).replace_consumer(SPEC, "inbox", 1.0)
    assert script.asked == ["CONSUMER.DELETE", *["CONSUMER.CREATE inbox"] * 2]


async def test_a_consumer_that_another_made_in_the_same_moment_is_replaced() -> None:
    script = Script([NOT_THERE, OTHER_THERE, DONE, DONE])
    await JetStream(script, nobody).replace_consumer(SPEC, "inbox", 1.0)
    assert script.asked == ["CONSUMER.DELETE", "CONSUMER.CREATE inbox"] * 2


async def test_a_creation_that_is_never_answered_ends_as_one() -> None:
    script = Script([DONE, *[SILENT] * CREATE_ATTEMPTS])
    with pytest.raises(NoAnswer, match="rt-a"):
        await JetStream(script, nobody).replace_consumer(SPEC, "inbox", 1.0)


async def test_a_write_waits_for_the_leader_of_a_bucket_that_was_made_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zocket.broker.jetstream.BUCKET_WAITS_S", (0.0, 0.0, 0.0))
    script = Script([DONE, NOBODY, DONE, NOBODY, NOBODY, {"seq": 7}])
    assert await JetStream(script, nobody).put("b", "key", b"value", None) == 7
    assert script.asked == ["STREAM.INFO.KV_b", "$KV.b.key", "STREAM.INFO.KV_b", *["$KV.b.key"] * 3]


async def test_a_bucket_is_looked_for_before_its_first_new_key_alone() -> None:
    script = Script([{"seq": 1}, DONE, {"seq": 2}, {"seq": 3}])
    jetstream = JetStream(script, nobody)
    await jetstream.put("b", "old", b"value", 7)
    await jetstream.put("b", "new", b"value", None)
    await jetstream.put("b", "newer", b"value", None)
    assert script.asked == ["$KV.b.old", "STREAM.INFO.KV_b", "$KV.b.new", "$KV.b.newer"]


async def test_a_bucket_that_nobody_serves_ends_a_write_after_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zocket.broker.jetstream.BUCKET_WAITS_S", (0.0,))
    script = Script([DONE, NOBODY, DONE, NOBODY, NOBODY])
    with pytest.raises(Unavailable, match="does not answer"):
        await JetStream(script, nobody).put("b", "key", b"value", None)
