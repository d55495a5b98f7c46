"""The JSON API of JetStream, against answers as a server gives them."""

from __future__ import annotations

import json

from zocket.broker.jetstream import JetStream, Reply

PAGE = 100
"""Subjects in one answer; a real server gives 100,000."""


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
    assert await JetStream(listing).keys("b", "room") == keys
    assert listing.asked == [0, 100, 200]


async def test_a_bucket_of_exactly_one_page_is_asked_for_once() -> None:
    listing = Listing([f"room.{number:04}" for number in range(PAGE)], between=[])
    assert len(await JetStream(listing).keys("b", "room")) == PAGE
    assert listing.asked == [0]
