"""Tokens by which sessions are resumed: whose they are, how long they count, and what is none."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zocket.sockets.resumption import VALID_S, ResumeTokens, Socket, first_socket, resume_of

SECRET = b"a secret of at least 32 characters"
OWNER = ("ws", "proj", "ada")
NOW = 1_800_000_000.0


class Time:
    def __init__(self) -> None:
        self.at = NOW

    def __call__(self) -> float:
        return self.at


def tokens(secret: bytes = SECRET, wall: Time | None = None) -> ResumeTokens:
    return ResumeTokens(secret, wall or Time())


def test_the_next_socket_has_the_session_a_name_of_its_own_and_a_higher_number() -> None:
    issuer = tokens()
    first = first_socket()
    assert first == Socket(first.session_id, first.session_id, 0)
    found = issuer.successor(issuer.issue(first, OWNER), OWNER)
    assert found is not None
    previous, following = found
    assert previous == first
    assert following.session_id == first.session_id
    assert following.name != first.name
    assert following.number == NOW * 1000
    again = issuer.successor(issuer.issue(following, OWNER), OWNER)
    assert again is not None
    assert again[0] == following
    assert again[1].number == following.number + 1  # in the same millisecond
    assert (issuer.taken, issuer.refused) == (2, 0)


def test_it_counts_at_every_server_with_the_secret_and_at_no_other() -> None:
    token = tokens().issue(first_socket(), OWNER)
    assert tokens().successor(token, OWNER) is not None
    assert tokens(b"another secret of 32 characters!").successor(token, OWNER) is None


@pytest.mark.parametrize(
    "owner",
    [("ws", "proj", "bob"), ("ws", "proj", None), ("ws", "other", "ada"), ("other", "proj", "ada"), ("ada",), ()],
)
def test_it_is_its_owners_alone(owner: tuple[str | None, ...]) -> None:
    issuer = tokens()
    assert issuer.successor(issuer.issue(first_socket(), OWNER), owner) is None
    assert issuer.successor(issuer.issue(first_socket(), owner), OWNER) is None
    assert (issuer.taken, issuer.refused) == (0, 2)


def test_somebody_unknown_is_not_the_user_whose_name_is_empty_or_null() -> None:
    issuer = tokens()
    token = issuer.issue(first_socket(), ("ws", "proj", None))
    assert issuer.successor(token, ("ws", "proj", "")) is None
    assert issuer.successor(token, ("ws", "proj", "null")) is None
    assert issuer.successor(token, ("ws", "proj", None)) is not None


def test_it_counts_for_a_limited_time() -> None:
    wall = Time()
    issuer = tokens(wall=wall)
    token = issuer.issue(first_socket(), OWNER)
    wall.at += VALID_S - 1
    assert issuer.successor(token, OWNER) is not None
    wall.at += 1
    assert issuer.successor(token, OWNER) is None


def test_what_it_says_cannot_be_changed() -> None:
    issuer = tokens()
    content, _, signature = issuer.issue(first_socket(), OWNER).partition(".")
    (session_id, name, number), until = json.loads(base64.urlsafe_b64decode(content))
    assert (number, until) == (0, NOW + VALID_S)
    for changed in ([["s_victim", name, number], until], [[session_id, name, number], until + 1e6]):
        forged = base64.urlsafe_b64encode(json.dumps(changed).encode()).decode()
        assert issuer.successor(f"{forged}.{signature}", OWNER) is None


@given(st.one_of(st.text(max_size=80), st.sampled_from(["", ".", "a.b", "é.é", "." * 5_000, "A" * 5_000])))
def test_what_is_no_token_is_refused(text: str) -> None:
    issuer = tokens()
    assert issuer.successor(text, OWNER) is None
    assert issuer.refused == 1


def test_a_signed_content_of_another_form_is_refused() -> None:
    issuer = tokens()
    content = b'{"another":"version"}'
    signature = issuer._sign(content, OWNER)
    token = f"{base64.urlsafe_b64encode(content).decode()}.{base64.urlsafe_b64encode(signature).decode()}"
    assert issuer.successor(token, OWNER) is None


def test_an_upgrade_has_it_in_its_query_or_in_a_header() -> None:
    assert resume_of({"resume": ["q"]}, {"x-zocket-resume": "h"}) == "q"
    assert resume_of({}, {"x-zocket-resume": "h"}) == "h"
    assert resume_of({}, {}) == ""
