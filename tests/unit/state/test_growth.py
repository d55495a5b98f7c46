"""Text that has grown: what was added for who takes `append`, and RFC 6902 for everybody else."""

from __future__ import annotations

import json
from typing import Annotated, Any

import msgspec
import pytest
from pydantic import BaseModel, PlainSerializer

from tests.property.test_state_turns import read
from zocket.errors import PatchError, StateValueError
from zocket.state import Document, Growth, apply, difference
from zocket.state.growth import MIN_CHARS

OLD = "x" * MIN_CHARS


class Part(BaseModel):
    text: str = OLD
    n: int = 0


class Draft(BaseModel):
    text: str = OLD
    short: str = "x"
    loud: Annotated[str, PlainSerializer(lambda text: text[::-1])] = OLD
    parts: list[Part] = [Part(), Part()]
    named: dict[str, str] = {"a/b": OLD}
    lines: list[str] = ["", OLD]
    n: int = 0


class Record(msgspec.Struct):
    text: str = OLD
    n: int = 0


def change(document: Document[Any], act: Any) -> Any:
    document.begin()
    act(document.state)
    return document.commit()


def grow_text(state: Any) -> None:
    state.text += "more"


def grow_part(state: Any) -> None:
    state.parts[1].text += "more"


def grow_named(state: Any) -> None:
    state.named["a/b"] += "more"


def grow_line(state: Any) -> None:
    state.lines[1] += "more"


@pytest.mark.parametrize(
    ("grow", "path"),
    [(grow_text, "/text"), (grow_part, "/parts/1/text"), (grow_named, "/named/a~1b"), (grow_line, "/lines/1")],
)
def test_a_text_that_has_grown_is_told_by_what_was_added(grow: Any, path: str) -> None:
    operations = change(Document(Draft()), grow)
    assert isinstance(operations, Growth)
    assert read(operations, append=True) == [{"op": "append", "path": path, "value": "more"}]
    assert read(operations) == [{"op": "replace", "path": path, "value": OLD + "more"}]


@pytest.mark.parametrize("initial", [Record(), {"text": OLD, "n": 0}])
def test_records_and_dictionaries_at_the_root_are_told_alike(initial: Any) -> None:
    document = Document(initial)
    document.begin()
    if isinstance(initial, dict):
        document.state["text"] += "more"
        document.state["n"] = 1
    else:
        document.state.text += "more"
        document.state.n = 1
    operations = document.commit()
    assert read(operations, append=True) == [
        {"op": "append", "path": "/text", "value": "more"},
        {"op": "replace", "path": "/n", "value": 1},
    ]


def test_a_turn_tells_the_sum_of_what_it_added_and_the_next_one_only_its_own() -> None:
    document = Document(Draft())

    def words(state: Any) -> None:
        for word in ("one ", "two ", "three"):
            state.text += word

    assert read(change(document, words), append=True)[0]["value"] == "one two three"
    assert read(change(document, grow_text), append=True)[0]["value"] == "more"


def test_what_was_rolled_back_is_not_told() -> None:
    document = Document(Draft())
    document.begin()
    grow_text(document.state)
    document.rollback()
    assert document.state.text == OLD
    assert read(change(document, grow_text), append=True)[0]["value"] == "more"


@pytest.mark.parametrize(
    "act",
    [
        lambda state: setattr(state, "short", "x" * (MIN_CHARS + 9)),
        lambda state: setattr(state, "text", "y" + OLD),
        lambda state: setattr(state, "text", OLD[:-1]),
        lambda state: setattr(state, "text", 5),
    ],
)
def test_a_text_that_is_short_or_does_not_begin_with_the_old_one_is_told_whole(act: Any) -> None:
    operations = change(Document(Draft()), act)
    assert isinstance(operations, bytes)
    assert [operation["op"] for operation in read(operations)] == ["replace"]


def test_a_text_with_a_serializer_of_its_own_is_told_whole() -> None:
    document = Document(Draft())
    assert isinstance(change(document, lambda state: setattr(state, "loud", state.loud + "more")), bytes)


def test_a_container_with_a_grown_text_is_not_told_whole_where_its_parts_are_shorter() -> None:
    def act(state: Any) -> None:
        state.parts[0].text += "more"
        state.parts[0].n = 1

    operations = change(Document(Draft()), act)
    assert [(item["op"], item["path"]) for item in read(operations, append=True)] == [
        ("append", "/parts/0/text"), ("replace", "/parts/0/n"),
    ]  # fmt: skip

    def lines(state: Any) -> None:
        state.lines.append("new")
        state.lines[1] += "more"
        state.lines[0] = "first"

    long = Document(Draft(lines=["", 4 * OLD]))
    ops = [(item["op"], item["path"]) for item in read(change(long, lines), append=True)]
    assert sorted(ops) == [("add", "/lines/2"), ("append", "/lines/1"), ("replace", "/lines/0")]


def test_only_what_was_added_counts_towards_the_size() -> None:
    document = Document(Draft(text="x" * 100_000), max_bytes=10_000_000)
    before = document.size
    change(document, grow_text)
    assert document.size - before < 100
    assert document.size >= len(document.snapshot())


def test_a_lone_surrogate_is_refused_also_behind_a_long_text() -> None:
    document = Document(Draft())
    document.begin()
    with pytest.raises(StateValueError):
        document.state.text += "\ud800"
    document.rollback()
    assert document.state.text == OLD


def test_two_documents_differ_by_what_was_added() -> None:
    old, new = ({"a": [{"text": OLD + more}], "n": len(more)} for more in ('\\"ü', '\\"ü\\"ü\n'))
    found = difference(json.dumps(old, ensure_ascii=False).encode(), json.dumps(new, ensure_ascii=False).encode())
    assert isinstance(found, Growth)
    assert read(found, append=True)[0] == {"op": "append", "path": "/a/0/text", "value": '\\"ü\n'}
    assert apply(old, read(found, append=True)) == apply(old, read(found)) == new


@pytest.mark.parametrize("new", ["yz", "\\x", "", '"'])
def test_two_texts_that_part_at_their_end_differ_as_wholes(new: str) -> None:
    found = difference(*(json.dumps({"a": OLD + last}, ensure_ascii=False).encode() for last in ("x", new)))
    assert isinstance(found, bytes)


@pytest.mark.parametrize(
    ("path", "value"),
    [("/n", "x"), ("/a", "x"), ("/none", "x"), ("/text", 5), ("/text", None), ("/a/0", "x"), ("/text/0", "x")],
)
def test_an_append_that_does_not_fit_is_refused(path: str, value: Any) -> None:
    document = {"text": "t", "n": 1, "a": []}
    with pytest.raises(PatchError):
        apply(document, [{"op": "append", "path": path, "value": value}])
    assert document == {"text": "t", "n": 1, "a": []}


def test_an_append_leaves_the_document_that_was_given_alone() -> None:
    document = {"text": "t", "other": [1]}
    after = apply(document, [{"op": "append", "path": "/text", "value": "u"}])
    assert (document["text"], after["text"]) == ("t", "tu")
    assert after["other"] is document["other"]
