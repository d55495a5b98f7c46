"""A text that grows: its increment for who announced `append`, the whole of it for everybody else."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import BaseModel

from tests.unit.host.conftest import Recorder, Shelf
from zocket import Actor, ActorError, Private, method, view
from zocket.core import AppDefinition
from zocket.host import Host
from zocket.protocol.frames import StateSub
from zocket.settings import Limits
from zocket.state import Growth
from zocket.testing import VirtualClock, finalizers

if TYPE_CHECKING:
    from zocket.host.link import Audience

OLD = "x" * 1_000


class Draft(BaseModel):
    text: str = OLD
    note: Private[str] = OLD
    n: int = 0


class It(Actor[Draft]):
    @method
    async def say(self, text: str) -> None:
        self.state.text += text

    @method
    async def count(self) -> None:
        self.state.n += 1

    @method
    async def whisper(self, text: str) -> None:
        self.state.note += text
        self.state.text += "."

    @method
    async def flushed(self, words: str) -> None:
        for word in words:
            self.state.text += word
            await self.flush()

    @method(publish_every=1)
    async def regularly(self, words: str) -> None:
        for word in words:
            self.state.text += word
            await asyncio.sleep(0.6)

    @method
    async def fail(self) -> None:
        self.state.text += "never"
        raise ActorError("no")


class Kept(It):
    durability = "file"


class Viewed(It):
    @view(key=lambda session: session.user_id)
    def seen_by(self, user_id: str | None) -> Draft:
        return Draft(text=self.state.text if user_id == "alice" else "hidden", n=self.state.n)


class Counting:
    """An outlet that counts."""

    def __init__(self) -> None:
        self.sent: list[int] = []

    def broadcast(self, audience: Audience, frame: bytes) -> None:
        self.sent.append(len(audience.links))
        for link in audience.links.values():
            link.send(frame)


class Reader(Recorder):
    """A session that may announce `append`."""

    __slots__ = ()

    def asks(self, append: Any = None, since: Any = None) -> None:
        self.host.submit(self, StateSub("it", "x", since, append), "rs")

    @property
    def operations(self) -> list[list[dict[str, Any]]]:
        return [frame["patches"] for frame in self.frames if frame["type"] == "state:patch"]

    @property
    def version(self) -> dict[str, Any]:
        return {name: self.frames[-1][name] for name in ("epoch", "seq")}


class Bench:
    def __init__(self, cls: type[Actor[Any, Any]] = It) -> None:
        self.clock = VirtualClock()
        self.outlet = Counting()
        definition = AppDefinition({"it": cls})
        self.host = Host(definition, clock=self.clock, limits=Limits(), store=Shelf(self.clock), outlet=self.outlet)
        finalizers.get().push_async_callback(self.host.abort)

    def reader(self, session_id: str, user_id: str | None = None, *, append: Any = None) -> Reader:
        reader = Reader(self.host, session_id, user_id)
        reader.asks(append)
        return reader


def appended(text: str) -> dict[str, Any]:
    return {"op": "append", "path": "/text", "value": text}


def replaced(text: str) -> dict[str, Any]:
    return {"op": "replace", "path": "/text", "value": OLD + text}


@pytest.mark.parametrize("cls", [It, Kept])
async def test_each_subscriber_gets_the_form_that_it_takes_with_the_same_version(cls: type[It]) -> None:
    b = Bench(cls)
    new, old = b.reader("new", append=True), b.reader("old")
    new.call("say", text="more")
    await b.clock.advance(1)
    new.call("fail")
    new.call("say", text="!")
    await b.clock.advance(1)
    assert new.operations == [[appended("more")], [appended("!")]]
    assert old.operations == [[replaced("more")], [replaced("more!")]]
    assert [(f["epoch"], f["seq"]) for f in new.frames if "epoch" in f] == [(f["epoch"], f["seq"]) for f in old.frames]


@pytest.mark.parametrize("word", [None, False, 1, "true", [], {"append": True}])
async def test_only_true_announces_it(word: Any) -> None:
    b = Bench()
    reader = b.reader("s", append=word)
    reader.call("say", text="more")
    await b.clock.advance(1)
    assert reader.kinds() == ["state:snapshot", "state:patch", "rpc:result"]
    assert reader.operations == [[replaced("more")]]


async def test_what_a_session_said_last_counts() -> None:
    b = Bench()
    reader, other = b.reader("s"), b.reader("o", append=True)
    reader.asks(append=True)
    reader.call("say", text="a")
    await b.clock.advance(1)
    reader.asks()
    other.unwatch()
    reader.call("say", text="b")
    await b.clock.advance(1)
    other.asks()
    reader.call("say", text="c")
    await b.clock.advance(1)
    assert reader.operations == [[appended("a")], [replaced("ab")], [replaced("abc")]]
    assert other.operations == [[appended("a")], [replaced("abc")]]


async def test_who_leaves_gets_neither_form() -> None:
    b = Bench()
    readers = [b.reader(f"s{number}", append=number < 3) for number in range(6)]
    readers[1].call("say", text="a")
    await b.clock.advance(1)
    for reader in (readers[0], readers[5]):
        reader.unwatch()
    readers[1].call("say", text="b")
    await b.clock.advance(1)
    assert [len(reader.operations) for reader in readers] == [1, 2, 2, 2, 2, 1]
    assert [reader.operations[1:] for reader in readers[2:4]] == [[[appended("b")]], [[replaced("ab")]]]


async def test_a_form_that_nobody_takes_is_not_made_and_each_is_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    whole = Growth.whole

    def counted(growth: Growth) -> bytes:
        made.append("whole")
        return whole(growth)

    monkeypatch.setattr(Growth, "whole", counted)
    b = Bench()
    readers = [b.reader(f"n{number}", append=True) for number in range(3)]
    readers[0].call("say", text="a")
    await b.clock.advance(1)
    assert (made, b.outlet.sent) == ([], [3])
    for number in range(2):
        b.reader(f"o{number}")
    readers[0].call("say", text="b")
    await b.clock.advance(1)
    assert (made, b.outlet.sent) == (["whole"], [3, 3, 2])
    for reader in readers:
        reader.unwatch()
    readers[0].call("say", text="c")
    readers[0].call("count")
    await b.clock.advance(1)
    assert (made, b.outlet.sent) == (["whole", "whole"], [3, 3, 2, 2, 2])


@pytest.mark.parametrize("cls", [It, Kept])
async def test_a_flush_tells_what_came_since_the_last_one(cls: type[It]) -> None:
    b = Bench(cls)
    new, old = b.reader("new", append=True), b.reader("old")
    new.call("flushed", words="abc")
    await b.clock.advance(1)
    assert new.operations == [[appended("a")], [appended("b")], [appended("c")]]
    assert old.operations == [[replaced("a")], [replaced("ab")], [replaced("abc")]]
    new.call("regularly", words="1234")
    await b.clock.advance(5)
    assert [operations[0]["value"] for operations in new.operations[3:]] == ["12", "34"]
    assert old.operations[-1] == [replaced("abc1234")]


@pytest.mark.parametrize("cls", [It, Kept])
async def test_who_comes_back_gets_increments_only_if_it_takes_them(cls: type[It]) -> None:
    b = Bench(cls)
    reader = b.reader("s", append=True)
    await b.clock.advance(1)
    before = reader.version
    reader.call("say", text="a")
    reader.call("say", text="b")
    await b.clock.advance(1)
    after = {**before, "seq": before["seq"] + 2}
    reader.call("count")
    await b.clock.advance(1)
    new, old, late = (Reader(b.host, name) for name in ("new", "old", "late"))
    new.asks(append=True, since=before)
    old.asks(since=before)
    late.asks(since=after)
    await b.clock.advance(1)
    assert new.operations[:2] == [[appended("a")], [appended("b")]]
    assert new.operations[2] == late.operations[0] == [{"op": "replace", "path": "/n", "value": 1}]
    assert old.kinds() == ["state:snapshot"]
    assert late.kinds() == ["state:patch"]
    assert (old.frames[0]["state"]["text"], old.frames[0]["seq"]) == (OLD + "ab", after["seq"] + 1)


async def test_the_ring_counts_what_was_added() -> None:
    b = Bench()
    reader = b.reader("s", append=True)
    await b.clock.advance(1)
    before = reader.version
    reader.call("say", text="y" * 10_000)
    for _ in range(200):
        reader.call("say", text="z" * 10)
    await b.clock.advance(1)
    late = Reader(b.host, "late")
    late.asks(append=True, since=before)
    await b.clock.advance(1)
    assert [operations[0]["value"] for operations in late.operations[1:]] == ["z" * 10] * 200


async def test_a_private_text_grows_unseen() -> None:
    b = Bench(Kept)
    new, old = b.reader("new", append=True), b.reader("old")
    new.call("whisper", text="SECRET")
    await b.clock.advance(1)
    assert "SECRET" not in json.dumps(new.frames + old.frames)
    assert new.operations == [[appended(".")]]
    assert old.operations == [[replaced(".")]]


async def test_a_view_that_grows_is_told_alike() -> None:
    b = Bench(Viewed)
    new, old = b.reader("new", "alice", append=True), b.reader("old", "alice")
    other = b.reader("other", "bob", append=True)
    await b.clock.advance(1)
    before = new.version
    new.call("say", text='"\\ü')
    await b.clock.advance(1)
    assert new.operations == [[appended('"\\ü')]]
    assert old.operations == [[replaced('"\\ü')]]
    assert other.operations == []
    again, stranger = (Reader(b.host, name, "alice") for name in ("again", "stranger"))
    again.asks(append=True, since=before)
    stranger.asks(since=before)
    await b.clock.advance(1)
    assert again.operations == [[appended('"\\ü')]]
    assert stranger.kinds() == ["state:snapshot"]
