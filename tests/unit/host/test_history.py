"""Versions of a state, and resuming from one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from zocket import Actor, method
from zocket.host.history import MAX_BYTES, MAX_PATCHES, SLACK, History
from zocket.protocol.frames import Since, StateSub

if TYPE_CHECKING:
    from collections.abc import Callable


def filled(count: int, size: int = 2) -> History:
    history = History()
    for number in range(count):
        history.add(b"%d" % number + b"x" * size)
    return history


def test_a_version_counts_patches_within_an_epoch() -> None:
    history = History()
    assert history.version() == b',"epoch":"%b","seq":0' % history.epoch.encode()
    assert history.add(b"[]").endswith(b'"seq":1')


def test_what_is_missing_comes_in_order_with_its_versions() -> None:
    history = filled(5, 0)
    missing = history.missing(Since(history.epoch, 3))
    assert missing is not None
    assert [operations for operations, _ in missing] == [b"3", b"4"]
    assert [version[-1:] for _, version in missing] == [b"4", b"5"]
    assert history.missing(Since(history.epoch, 5)) == []


def test_another_epoch_or_an_impossible_number_needs_a_snapshot() -> None:
    history = filled(5)
    for since in (None, Since("other", 3), Since(history.epoch, 6), Since(history.epoch, -1)):
        assert history.missing(since) is None


def test_the_ring_is_bounded_in_patches_and_in_bytes() -> None:
    many = filled(3 * MAX_PATCHES)
    assert many.missing(Since(many.epoch, 2 * MAX_PATCHES - SLACK)) is None
    assert len(many.missing(Since(many.epoch, 2 * MAX_PATCHES)) or ()) == MAX_PATCHES
    exactly = filled(MAX_PATCHES + SLACK)
    assert exactly.missing(Since(exactly.epoch, SLACK - 1)) is None
    assert len(exactly.missing(Since(exactly.epoch, SLACK)) or ()) == MAX_PATCHES
    large = filled(10, MAX_BYTES // 4)
    assert large.missing(Since(large.epoch, 5)) is None
    assert len(large.missing(Since(large.epoch, 7)) or ()) == 3
    huge = filled(1, MAX_BYTES + 1)
    assert huge.missing(Since(huge.epoch, 0)) is None
    assert huge.missing(Since(huge.epoch, 1)) == []


class Count(BaseModel):
    n: int = 0


class Counter(Actor[Count]):
    @method
    async def add(self) -> int:
        self.state.n += 1
        return self.state.n


async def test_a_client_that_comes_back_gets_only_what_it_missed(bench: Callable[..., Any]) -> None:
    b = bench(Counter)
    first, back, writer = b.session("a"), b.session("b"), b.session("w")
    first.watch()
    writer.call("add")
    await b.quiet()
    version = {"epoch": first.frames[1]["epoch"], "seq": first.frames[1]["seq"]}
    assert version["seq"] == first.frames[0]["seq"] + 1
    b.host.sessions.disconnect("a")
    writer.call("add")
    writer.call("add")
    await b.quiet()
    b.host.submit(back, StateSub("it", "x", version), "r")
    writer.call("add")
    await b.quiet()
    assert [(frame["type"], frame["seq"], frame["patches"][0]["value"]) for frame in back.frames] == [
        ("state:patch", version["seq"] + 1, 2),
        ("state:patch", version["seq"] + 2, 3),
        ("state:patch", version["seq"] + 3, 4),
    ]


async def test_a_client_that_missed_nothing_is_told_so(bench: Callable[..., Any]) -> None:
    b = bench(Counter)
    s = b.session()
    s.watch()
    await b.quiet()
    version = {"epoch": s.frames[0]["epoch"], "seq": s.frames[0]["seq"]}
    b.host.submit(s, StateSub("it", "x", version), "r")
    await b.quiet()
    assert s.frames[1] == {
        "type": "state:patch", "actor": "it", "actorId": "x", "patches": [], **version,
    }  # fmt: skip


async def test_a_version_that_cannot_be_read_counts_as_none(bench: Callable[..., Any]) -> None:
    b = bench(Counter)
    for number, since in enumerate((5, "x", {}, {"epoch": 3, "seq": "x"}, {"epoch": "e", "seq": 0}, [])):
        s = b.session(f"s{number}")
        b.host.submit(s, StateSub("it", "x", since), "r")
        await b.quiet()
        assert s.kinds() == ["state:snapshot"]
