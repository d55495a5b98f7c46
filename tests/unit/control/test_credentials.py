from __future__ import annotations

import re

import pytest

from zocket.control.credentials import (
    CLI,
    DEPLOY,
    INTERNAL,
    SHOWN_CHARS,
    USER_CODE_ALPHABET,
    csrf_of,
    digest,
    mint,
    new_user_code,
    normal_user_code,
)


@pytest.mark.parametrize("kind", [CLI, DEPLOY, INTERNAL])
def test_a_token_names_its_kind_and_is_stored_as_its_hash(kind: str) -> None:
    minted = mint(kind)
    assert re.fullmatch(kind + r"[A-Za-z0-9_-]{43}", minted.token)
    assert minted.token_hash == digest(minted.token)
    assert minted.token not in minted.token_hash
    assert minted.prefix == minted.token[:SHOWN_CHARS]


def test_no_two_tokens_are_alike() -> None:
    assert len({mint(CLI).token for _ in range(1_000)}) == 1_000


def test_the_csrf_value_is_of_one_session_and_not_how_it_is_stored() -> None:
    first, second = mint("zks_"), mint("zks_")
    assert csrf_of(first.token) != csrf_of(second.token)
    assert csrf_of(first.token) != first.token_hash


def test_a_user_code_is_easy_to_read_and_spells_nothing() -> None:
    for _ in range(100):
        assert re.fullmatch(f"[{USER_CODE_ALPHABET}]{{4}}-[{USER_CODE_ALPHABET}]{{4}}", new_user_code())


@pytest.mark.parametrize("typed", ["bcdf-ghjk", " BCDFGHJK ", "bcdf ghjk", "B-C-D-F-G-H-J-K", "BCDF–GHJK"])
def test_a_user_code_is_found_however_it_is_typed(typed: str) -> None:
    assert normal_user_code(typed) == "BCDF-GHJK"
