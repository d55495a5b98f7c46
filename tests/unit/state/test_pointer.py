"""JSON Pointers as RFC 6901 has them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zocket.errors import PatchError
from zocket.state import pointer

RFC_EXAMPLES = {
    "": [], "/foo": ["foo"], "/foo/0": ["foo", "0"], "/": [""], "/a~1b": ["a/b"], "/c%d": ["c%d"], "/m~0n": ["m~n"],
    "/~01": ["~1"], "/ ": [" "], "//": ["", ""],
}  # fmt: skip


@pytest.mark.parametrize("text", RFC_EXAMPLES)
def test_the_examples_of_the_rfc_are_read_and_written(text: str) -> None:
    assert pointer.parse(text) == RFC_EXAMPLES[text]
    assert pointer.join(RFC_EXAMPLES[text]) == text


@given(st.lists(st.text()))
def test_any_keys_survive_writing_and_reading(keys: list[str]) -> None:
    assert pointer.parse(pointer.join(keys)) == keys


@pytest.mark.parametrize("text", ["a", "/~", "/~2", "/a~", "0"])
def test_what_is_no_pointer_is_refused(text: str) -> None:
    with pytest.raises(PatchError):
        pointer.parse(text)


@pytest.mark.parametrize("token", ["", "-1", "01", "1.0", "a", "３", "9" * 30, "3", "-", "+1", " 1"])
def test_what_is_no_index_below_the_length_is_refused(token: str) -> None:
    with pytest.raises(PatchError):
        pointer.index(token, 3)


def test_indexes_are_decimal() -> None:
    assert [pointer.index(token, 11) for token in ("0", "1", "10")] == [0, 1, 10]
