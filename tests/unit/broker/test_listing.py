"""All entries of a bucket, against answers as servers give them: in batches, or key by key where there are none."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING

import pytest

from zocket.broker.jetstream import JetStream
from zocket.broker.listing import BATCH
from zocket.broker.port import Entry
from zocket.broker.replies import Replies, Reply
from zocket.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterable


class Bucket:
    """A bucket of which the leader has `last` messages, and whoever answers direct gets has `copied` of them."""

    def __init__(self, last: int, copied: int | None = None, *, deleted: Iterable[int] = (), batches: bool = True):
        self.last = last
        self.copied = last if copied is None else copied
        self.deleted = set(deleted)
        self.batches = batches
        self.asked: list[str] = []

    async def ask(self, subject: str, payload: bytes, headers: dict[str, str] | None = None) -> Reply:
        verb = subject.removeprefix("$JS.API.").removesuffix(".KV_b")
        self.asked.append(verb)
        request = json.loads(payload)
        if verb == "STREAM.MSG.GET":
            number = int(request["last_by_subj"].rpartition(".")[2])
            marker = b"NATS/1.0\r\nKV-Operation: DEL\r\n\r\n" if number in self.deleted else b""
            message = {
                "seq": number,
                "data": base64.b64encode(b"v").decode(),
                "hdrs": base64.b64encode(marker).decode(),
            }
            return Reply(json.dumps({"message": message}).encode())
        keys = {f"$KV.b.k.{number}": 1 for number in range(1, self.last + 1)}
        state = {"last_seq": self.last, "subjects": keys}
        return Reply(json.dumps({"total": len(keys), "state": state}).encode())

    async def ask_many(self, subject: str, payload: bytes) -> list[Reply]:
        assert subject == "$JS.API.DIRECT.GET.KV_b"
        self.asked.append("DIRECT.GET")
        request = json.loads(payload)
        replies = Replies()
        for number in range(request["seq"], min(self.copied, request["seq"] + request["batch"] - 1) + 1):
            operation = "KV-Operation: DEL\r\n" if number in self.deleted else ""
            pending = f"Nats-Num-Pending: {self.copied - number}\r\n" if self.batches else ""
            lines = f"{operation}Nats-Subject: $KV.b.k.{number}\r\nNats-Sequence: {number}\r\n{pending}"
            replies.set_result(Reply(b"v", f"NATS/1.0\r\n{lines}\r\n".encode()))
            if not self.batches:
                break
        else:
            found = self.copied >= request["seq"]
            end = "204 EOB\r\nNats-Num-Pending: 0" if found else "404 Message Not Found"
            replies.set_result(Reply(b"", f"NATS/1.0 {end}\r\n\r\n".encode()))
        return await replies.all

    async def read(self) -> dict[str, Entry]:
        jetstream = JetStream(self.ask, self.ask_many)
        return dict([entry async for page in jetstream.entries("b") for entry in page])


def entries(numbers: Iterable[int]) -> dict[str, Entry]:
    return {f"k.{number}": Entry(b"v", number) for number in numbers}


@pytest.mark.parametrize("last", [1, BATCH, BATCH + 1, 3 * BATCH])
async def test_batches_give_every_entry_with_one_request_a_batch(last: int) -> None:
    bucket = Bucket(last, deleted=[1, last])
    assert await bucket.read() == entries(range(2, last))
    assert bucket.asked == ["STREAM.INFO", *["DIRECT.GET"] * (-(-last // BATCH))]


async def test_an_empty_bucket_is_not_asked_for_more() -> None:
    bucket = Bucket(0)
    assert await bucket.read() == {}
    assert bucket.asked == ["STREAM.INFO"]


@pytest.mark.parametrize("copied", [0, 3, 4])
async def test_what_a_copy_lacks_that_lags_behind_is_read_from_the_leader(copied: int) -> None:
    bucket = Bucket(5, copied, deleted=[2])
    assert await bucket.read() == entries([1, 3, 4, 5])
    assert bucket.asked.count("STREAM.MSG.GET") == 5


async def test_a_server_without_batches_is_asked_key_by_key() -> None:
    bucket = Bucket(3, batches=False)
    assert await bucket.read() == entries([1, 2, 3])
    assert bucket.asked == ["STREAM.INFO", "DIRECT.GET", "STREAM.INFO", *["STREAM.MSG.GET"] * 3]


async def test_where_direct_gets_are_not_permitted_it_is_asked_key_by_key() -> None:
    bucket = Bucket(3)

    async def refuse(subject: str, payload: bytes) -> list[Reply]:
        raise Unavailable("not permitted")

    jetstream = JetStream(bucket.ask, refuse)
    assert dict([entry async for page in jetstream.entries("b") for entry in page]) == entries([1, 2, 3])
