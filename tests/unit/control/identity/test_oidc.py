"""Where a person may be sent after signing in; the flow itself is in tests/integration/control/test_oidc.py."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zocket.clock import SystemClock
from zocket.control.identity.oidc import Issuer, safe_path
from zocket.errors import SettingsError


@pytest.mark.parametrize("path", ["/", "/projects/alpha", "/device?code=BCDF-GHJK", "/a//b", "/?next=//x", "/a:b@c"])
def test_a_path_of_ours_is_kept(path: str) -> None:
    assert safe_path(path) == path


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "projects",
        "https://evil.example",
        "//evil.example",
        "///evil.example",
        "/\\evil.example",
        "\\\\evil.example",
        "/\t/evil.example",
        "/\n/evil.example",
        " //evil.example",
        "/ok\r\nset-cookie: a=b",
        "javascript:alert(1)",
        "/ä",
        "/" + "a" * 3_000,
    ],
)
def test_anything_else_is_the_front_page(text: str | None) -> None:
    assert safe_path(text) == "/"


@given(st.text(alphabet="/\\.:@\t\r\n ev%a?#", max_size=12))
def test_no_text_leads_to_another_site(text: str) -> None:
    path = safe_path(text)
    assert path.startswith("/")
    assert not path.startswith(("//", "/\\"))
    assert path.isprintable()
    assert " " not in path


@pytest.mark.parametrize("url", ["http://issuer.example", "issuer.example", "ftp://127.0.0.1", "", "https://"])
def test_an_issuer_is_reached_safely_or_not_at_all(url: str) -> None:
    with pytest.raises(SettingsError, match="OIDC_ISSUER"):
        Issuer(url, "zocket", "", SystemClock())


def test_an_issuer_needs_a_client_id() -> None:
    with pytest.raises(SettingsError, match="OIDC_CLIENT_ID"):
        Issuer("https://issuer.example", "", "", SystemClock())
