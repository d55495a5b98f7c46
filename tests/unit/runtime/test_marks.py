"""The record of begun messages: who wrote what, and who may take it back."""

from __future__ import annotations

import json
from typing import Any

from zocket.broker.memory import MemoryServer
from zocket.host.trials import RUNS_KEPT
from zocket.ids import Scope
from zocket.protocol import subjects
from zocket.runtime.marks import STOOD_DOWN_KEPT, Marks
from zocket.testing.clock import VirtualClock

SCOPE = Scope("ws", "proj")
KEY = "ws.proj.begun"


def server() -> MemoryServer:
    return MemoryServer(VirtualClock())


async def marks_of(on: MemoryServer, epoch: str, source: str = "INBOUND:1") -> Marks:
    marks = Marks(on.connect(), SCOPE, epoch)
    await marks.read()
    marks.use(source)
    return marks


def stored(on: MemoryServer) -> Any:
    entry = on.buckets.get(subjects.owner_bucket(SCOPE), {}).get(KEY)
    return None if entry is None else json.loads(entry.value)


async def test_a_begun_message_counts_for_others_until_it_is_finished() -> None:
    on = server()
    first = await marks_of(on, "e1")
    await first.begin(7)
    await first.begin(7)
    await first.begin(9)
    assert first.deaths(7) == 0
    assert stored(on) == {"source": "INBOUND:1", "begun": {"7": ["e1"], "9": ["e1"]}}
    second = await marks_of(on, "e2")
    assert second.deaths(7) == 1
    await second.begin(7)
    assert (await marks_of(on, "e3")).deaths(7) == 2
    second.finish(7)
    await second.sweep()
    assert stored(on)["begun"] == {"9": ["e1"]}


async def test_a_finished_message_loses_its_mark_with_the_next_one() -> None:
    on = server()
    marks = await marks_of(on, "e1")
    await marks.begin(7)
    marks.finish(7)
    assert list(stored(on)["begun"]) == ["7"]
    await marks.begin(8)
    assert list(stored(on)["begun"]) == ["8"]


async def test_marks_are_taken_back_also_after_the_successor_has_written() -> None:
    on = server()
    first = await marks_of(on, "e1")
    await first.begin(7)
    second = await marks_of(on, "e2")
    await second.begin(7)
    await first.stand_down()
    assert stored(on) == {"source": "INBOUND:1", "begun": {"7": ["e2"]}, "stoodDown": ["e1"]}
    await second.begin(8)
    assert second.has_stood_down("e1")
    await second.take_back([])
    assert "begun" not in stored(on)


async def test_without_marks_nothing_is_written() -> None:
    on = server()
    marks = await marks_of(on, "e1")
    await marks.take_back([])
    await marks.sweep()
    await marks.clear()
    assert stored(on) is None


async def test_marks_of_another_life_of_the_stream_are_void() -> None:
    on = server()
    await (await marks_of(on, "e1")).begin(7)
    other = await marks_of(on, "e2", "INBOUND:2")
    assert (other.deaths(7), set(other.sequences)) == (0, set())
    await other.begin(8)
    assert stored(on) == {"source": "INBOUND:2", "begun": {"8": ["e2"]}}


async def test_the_list_of_those_that_stood_down_is_bounded() -> None:
    on = server()
    for number in range(STOOD_DOWN_KEPT + 3):
        await (await marks_of(on, f"e{number}")).stand_down()
    assert stored(on)["stoodDown"] == [f"e{number}" for number in range(3, STOOD_DOWN_KEPT + 3)]


async def test_a_record_that_nobody_can_read_is_written_anew() -> None:
    on = server()
    await on.connect().put(subjects.owner_bucket(SCOPE), KEY, b"odd", None)
    marks = await marks_of(on, "e1")
    await marks.begin(7)
    assert stored(on)["begun"] == {"7": ["e1"]}


async def test_runs_have_marks_of_their_own_which_are_bounded_and_of_no_stream() -> None:
    on = server()
    first = await marks_of(on, "e1")
    await first.begin("it/a/one/1.000", "it/a/two/2.000", 7)
    assert stored(on)["runs"] == {"it/a/one/1.000": ["e1"], "it/a/two/2.000": ["e1"]}
    second = await marks_of(on, "e2", "INBOUND:2")
    assert (second.deaths("it/a/one/1.000"), second.deaths(7), second.has_runs) == (1, 0, True)
    await second.clear()
    second.finish("it/a/two/2.000")
    second.finish("it/a/unmarked/3.000")
    await second.sweep()
    assert stored(on)["runs"] == {"it/a/one/1.000": ["e1"]}
    await second.begin(*(f"it/a/n{number}/4.000" for number in range(RUNS_KEPT)))
    assert len(stored(on)["runs"]) == RUNS_KEPT
    assert second.deaths("it/a/one/1.000") == 0, "the oldest goes"
    await second.stand_down()
    assert "runs" not in stored(on)
