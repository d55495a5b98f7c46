"""Names of projects and origins; the operations are in tests/integration/control/test_projects.py."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zocket.control.projects import normal_origin, slug_of
from zocket.errors import InvalidFrame


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("Chat", "chat"),
        ("My Chat App!", "my-chat-app"),
        ("  Über  Café ", "uber-cafe"),
        ("--a--", "a"),
        ("日本", "project"),
        ("x" * 100, "x" * 40),
        ("a" * 39 + " b", "a" * 39),
    ],
)
def test_a_slug_is_what_the_name_suggests(name: str, slug: str) -> None:
    assert slug_of(name) == slug


@given(st.text(max_size=100))
def test_every_name_has_a_slug_that_is_a_host_label(name: str) -> None:
    assert re.fullmatch(r"[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?", slug_of(name))


@pytest.mark.parametrize(
    ("text", "origin"),
    [
        ("https://App.Example.com", "https://app.example.com"),
        ("https://app.example.com/", "https://app.example.com"),
        ("https://app.example.com:443", "https://app.example.com"),
        ("http://localhost:80", "http://localhost"),
        ("http://localhost:5173", "http://localhost:5173"),
        ("http://[::1]:3000", "http://[::1]:3000"),
    ],
)
def test_an_origin_is_kept_as_browsers_send_it(text: str, origin: str) -> None:
    assert normal_origin(text) == origin


@pytest.mark.parametrize(
    "text",
    [
        "",
        "*",
        "null",
        "app.example.com",
        "https://",
        "https://a/b",
        "https://u@a",
        "ws://a",
        "https://a:0x1",
        "https://a:99999",
        "https://a b",
    ],
)
def test_what_no_browser_sends_is_refused(text: str) -> None:
    with pytest.raises(InvalidFrame, match="origins"):
        normal_origin(text)
