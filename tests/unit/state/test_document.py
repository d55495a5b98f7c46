"""Turns of a document: what commits, rollbacks and snapshots promise."""

from __future__ import annotations

import gc
import json
import random
import sys
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import BaseModel, Field

from tests.property.test_state_turns import read
from zocket.errors import StaleReferenceError, StateValueError, TooLarge, UsageError
from zocket.state import Document, encode
from zocket.state.document import SLACK_BYTES

Turn = Callable[..., list[dict[str, Any]]]


class Item(BaseModel):
    n: int = 0
    tags: list[str] = []


class Secretive(BaseModel):
    hidden: int = Field(default=0, exclude=True)


class Room(BaseModel):
    title: str = ""
    items: list[Item] = []
    best: Item | None = None


def test_a_turn_is_opened_and_ended_once() -> None:
    document = Document(Room())
    assert not document.in_turn
    for end in (document.commit, document.rollback):
        with pytest.raises(UsageError):
            end()
    document.begin()
    assert document.in_turn
    for misuse in (document.begin, lambda: document.replace(Room())):
        with pytest.raises(UsageError):
            misuse()
    assert document.commit() is None
    assert not document.in_turn


def test_the_initial_value_is_copied() -> None:
    items = [Item(n=1)]
    room = Room(items=items)
    document = Document(room)
    document.begin()
    document.state.items[0].n = 2
    document.commit()
    assert (items[0].n, room.items[0].n, type(room.items)) == (1, 1, list)
    other = Document(room)
    assert other.state.items[0].n == 1


@pytest.mark.parametrize("value", [None, 1, "a", {1}, (1,), object(), float("nan")])
def test_a_state_is_a_model_a_record_a_dictionary_or_a_list(value: Any) -> None:
    with pytest.raises(StateValueError):
        Document(value)


def test_a_refused_initial_value_is_named() -> None:
    with pytest.raises(StateValueError, match="/items/0/n") as caught:
        Document(Room.model_construct(items=[Item.model_construct(n=float("inf"))]))
    assert caught.value.data == {"pointer": "/items/0/n"}


def test_a_write_outside_a_turn_is_refused_with_its_pointer() -> None:
    document = Document(Room(items=[Item()]))
    for write in (
        lambda: setattr(document.state, "title", "x"),
        lambda: document.state.items.append(Item()),
        lambda: document.state.items.clear(),
        lambda: document.state.items.pop(),
        lambda: document.state.items.reverse(),
        lambda: document.state.items[0].tags.extend([]),
        lambda: delattr(document.state, "title"),
    ):
        with pytest.raises(StaleReferenceError):
            write()
    with pytest.raises(StaleReferenceError, match="Item at '/items/0'") as caught:
        document.state.items[0].n = 1
    assert caught.value.data == {"pointer": "/items/0", "type": "Item", "owner": ""}
    owned = Document(Room(items=[Item()]), owner="chat/general")
    with pytest.raises(
        StaleReferenceError, match=r"A Item at '/items/0' of chat/general was written to outside a turn"
    ):
        owned.state.items[0].n = 1
    assert document.state == Room(items=[Item()])


def test_a_part_removed_in_an_earlier_turn_is_stale_in_later_ones() -> None:
    document = Document(Room(items=[Item(tags=["a"])], best=Item()))
    item, tags, best = document.state.items[0], document.state.items[0].tags, document.state.best
    assert best is not None
    document.begin()
    document.state.items.clear()
    document.state.best = None
    item.n = 1
    document.commit()
    document.begin()
    writes: list[Callable[[], object]] = [lambda: setattr(item, "n", 2), lambda: tags.append("b")]
    writes.append(lambda: setattr(best, "n", 2))
    for write in writes:
        with pytest.raises(StaleReferenceError, match="no longer"):
            write()
    document.state.items.append(item)
    document.commit()
    assert document.state.items == [Item(n=1, tags=["a"])]
    assert document.state.items[0] is not item


def test_parts_of_a_replaced_state_are_stale() -> None:
    document = Document(Room(items=[Item()]))
    item = document.state.items[0]
    document.replace(Room(title="new"))
    assert json.loads(document.snapshot())["title"] == "new"
    document.begin()
    with pytest.raises(StaleReferenceError):
        item.n = 1
    document.rollback()


def test_a_rollback_keeps_identity() -> None:
    document = Document(Room(items=[Item(n=1), Item(n=2)]))
    items, first = document.state.items, document.state.items[0]
    document.begin()
    document.state.items = []
    items.reverse()
    items.pop()
    first.n = 9
    document.rollback()
    assert document.state.items is items
    assert items[0] is first
    assert items == [Item(n=1), Item(n=2)]
    document.begin()
    first.n = 5
    assert read(document.commit()) == [{"op": "replace", "path": "/items/0/n", "value": 5}]


def test_a_failing_commit_can_be_rolled_back_to_exactly_the_old_state() -> None:
    document: Document[Any] = Document({"a": {"x": [1]}, "b": [{}], "c": None})
    before = document.snapshot()
    late: list[Any] = []
    document.begin()
    state = document.state
    moved = state["a"]
    state["b"].insert(0, moved)
    del state["a"]
    state["c"] = {"l": [late]}
    moved["x"].append(2)
    late.append(float("nan"))
    with pytest.raises(StateValueError, match="/c/l/0/0"):
        document.commit()
    assert document.in_turn
    document.rollback()
    document._snapshot = None
    assert document.snapshot() == before
    assert list(state) == ["a", "b", "c"]
    document.begin()
    moved["x"].append(3)
    assert read(document.commit()) == [{"op": "add", "path": "/a/x/1", "value": 3}]


def test_a_snapshot_in_an_open_turn_is_the_committed_state_and_disturbs_nothing() -> None:
    document: Document[Any] = Document({"d": {"a": 1, "b": [1, 2]}, "t": ([1],)})
    before = document.snapshot()
    document.begin()
    state = document.state
    state["d"]["x"] = 1
    state["d"]["y"] = 2
    del state["d"]["a"]
    state["d"]["b"].append({"deep": []})
    state["t"][0].append(2)
    document._snapshot = None
    seen = []
    for key in state["d"]:
        assert document.snapshot() == before
        seen.append(key)
    assert seen == ["b", "x", "y"]
    document.commit()
    assert json.loads(document.snapshot()) == {"d": {"b": [1, 2, {"deep": []}], "x": 1, "y": 2}, "t": [[1, 2]]}


def test_the_committed_state_is_copied_once_for_each_and_nothing_can_write_to_it() -> None:
    document: Document[Any] = Document({"d": {"a": 1}, "l": [[1]]}, owner="chat/a")
    committed = document.committed()
    document.begin()
    document.state["d"]["a"] = 2
    document.state["l"].append([2])
    assert document.committed() is committed
    assert committed.state == {"d": {"a": 1}, "l": [[1]]}
    with pytest.raises(StaleReferenceError, match=r"A dict at '/d' of chat/a \(only to be read here\) was written to"):
        committed.state["d"]["a"] = 3
    document.commit()
    assert document.committed().state == {"d": {"a": 2}, "l": [[1], [2]]}
    assert committed.state == {"d": {"a": 1}, "l": [[1]]}
    document.begin()
    newest = document.committed()
    document.commit()
    assert document.committed() is newest


def test_what_json_does_not_show_is_in_the_committed_state() -> None:
    document = Document(Secretive())
    known = document.committed()
    document.begin()
    document.state.hidden = 1
    assert document.commit() is None
    assert (document.committed().state.hidden, known.state.hidden) == (1, 0)


def test_a_snapshot_is_cached_until_a_commit_changes_something() -> None:
    document = Document(Room())
    first = document.snapshot()
    document.begin()
    assert document.snapshot() is first
    document.state.title = "x"
    assert document.snapshot() is first
    document.rollback()
    assert document.snapshot() is first
    document.begin()
    document.state.title = ""
    assert document.commit() is None
    assert document.snapshot() is first
    document.begin()
    document.state.title = "x"
    document.commit()
    assert document.snapshot() != first


def test_a_state_may_not_grow_above_its_limit() -> None:
    document: Document[Any] = Document({"t": "", "l": []}, max_bytes=1000)
    document.begin()
    document.state["t"] = "x" * 2000
    with pytest.raises(TooLarge):
        document.commit()
    document.rollback()
    for _ in range(20):
        document.begin()
        document.state["t"] = "x" * 600
        document.commit()
        document.begin()
        document.state["t"] = ""
        document.commit()
    document.begin()
    document.state["l"].extend(["y" * 100] * 9)
    document.commit()
    document.begin()
    document.state["l"].append("y" * 100)
    with pytest.raises(TooLarge):
        document.commit()
    document.rollback()
    assert len(document.state["l"]) == 9


@pytest.mark.parametrize("make", [lambda: {"t": "", "n": 0, "l": []}, lambda: Room(title="")])
def test_the_estimated_size_is_between_the_true_one_and_twice_the_largest(make: Callable[[], Any]) -> None:
    document: Document[Any] = Document(make(), max_bytes=1_000_000)
    rng = random.Random(7)
    refused = largest = 0
    for turn in range(2_000):
        document.begin()
        text = "x" * rng.choice((1, 10, 3_000))
        if isinstance(document.state, Room):
            document.state.title = text
        else:
            document.state["t"], document.state["n"] = text, turn
            document.state["l"] = document.state["l"][-20:]
            document.state["l"].append(text)
        if rng.random() < 0.2:
            document.rollback()
            refused += 1
        else:
            document.commit()
        true = len(encode(document.state))
        largest = max(largest, true)
        assert true <= document.size <= 2 * largest + SLACK_BYTES
    assert refused
    estimated = document.size
    assert estimated > len(document.snapshot()) == document.size, "a snapshot measures it"


def test_a_state_without_a_limit_is_never_measured() -> None:
    document: Document[Any] = Document({"t": "x"})
    document.begin()
    document.state["t"] = "y"
    document.commit()
    assert document.size == 0


def test_a_restored_state_is_measured_anew() -> None:
    document: Document[Any] = Document({}, max_bytes=100)
    document.replace({"t": "x" * 90})
    document.begin()
    document.state["u"] = "y" * 20
    with pytest.raises(TooLarge):
        document.commit()
    document.rollback()


def test_a_small_instance_stays_small() -> None:
    documents = [Document(Room(title="warm"))]
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.take_snapshot()
    documents.extend(Document(Room(title="a", items=[Item()])) for _ in range(100))
    after = tracemalloc.take_snapshot()
    tracemalloc.stop()
    grown = sum(difference.size_diff for difference in after.compare_to(before, "filename"))
    assert grown / 100 < 3 * 1024


def test_a_long_chain_of_turns_does_not_grow_the_journal() -> None:
    document = Document(Room())
    document.begin()
    document.state.title = "0"
    document.commit()
    size = sys.getsizeof(document._journal.touched)
    for number in range(100):
        document.begin()
        document.state.title = str(number)
        document.commit() if number % 2 else document.rollback()
    assert sys.getsizeof(document._journal.touched) == size
    assert not document._journal.undo
    assert not document._journal.orders
