from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zocket.broker.matching import check_subject, is_pattern, matches, overlaps
from zocket.errors import UsageError

TOKENS = st.lists(st.sampled_from(["a", "b", "*", "$x"]), min_size=1, max_size=4)
PATTERNS = st.builds(
    lambda tokens, tail: ".".join([*tokens, ">"] if tail else tokens),
    TOKENS,
    st.booleans(),
)
SUBJECTS = st.lists(st.sampled_from(["a", "b", "$x"]), min_size=1, max_size=5).map(".".join)


@pytest.mark.parametrize(
    ("pattern", "subject", "expected"),
    [
        ("a.b", "a.b", True),
        ("a.b", "a.c", False),
        ("a.b", "a", False),
        ("a", "a.b", False),
        ("a.*", "a.b", True),
        ("a.*", "a", False),
        ("a.*", "a.b.c", False),
        ("*.b", "a.b", True),
        ("*", "a", True),
        ("a.>", "a.b", True),
        ("a.>", "a.b.c", True),
        ("a.>", "a", False),
        (">", "a", True),
        (">", "a.b", True),
        ("a*", "a*", True),
        ("a*", "ab", False),
        ("a>", "a>", True),
    ],
)
def test_a_pattern_matches_as_nats_reads_it(pattern: str, subject: str, expected: bool) -> None:
    assert matches(pattern, subject) is expected


@pytest.mark.parametrize("subject", ["", " ", "a b", "a\tb", "a\r\n", "a\x00", "a\x7f"])
def test_what_is_no_subject_is_refused(subject: str) -> None:
    with pytest.raises(UsageError, match="no subject"):
        check_subject(subject)


@pytest.mark.parametrize("subject", ["a", "a.b", '$"|~', "%24x", "ä", "a.>", "*"])
def test_what_is_a_subject_passes(subject: str) -> None:
    check_subject(subject)


def test_a_pattern_has_a_wildcard_token() -> None:
    assert [is_pattern(text) for text in ("a.*", "a.>", ">", "*")] == [True] * 4
    assert [is_pattern(text) for text in ("a.b", "a*", "a>.b", "**")] == [False] * 4


@given(PATTERNS, PATTERNS, SUBJECTS)
def test_patterns_that_share_a_subject_overlap(one: str, other: str, subject: str) -> None:
    assert overlaps(one, other) == overlaps(other, one)
    if matches(one, subject) and matches(other, subject):
        assert overlaps(one, other)


@given(PATTERNS, PATTERNS)
def test_patterns_that_overlap_share_a_subject(one: str, other: str) -> None:
    left, right = one.split("."), other.split(".")
    width = max(len(left), len(right))
    joined = []
    for position in range(width):
        given_tokens = [tokens[position] for tokens in (left, right) if position < len(tokens)]
        joined.append(next((token for token in given_tokens if token not in ("*", ">")), "z"))
    both = matches(one, ".".join(joined)) and matches(other, ".".join(joined))
    assert overlaps(one, other) == both
