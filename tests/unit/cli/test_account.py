"""`zocket auth`: signing in, out, and who is signed in."""

from __future__ import annotations

import json
import stat
from typing import TYPE_CHECKING

import httpx
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from .conftest import Cli, FakeControl

URL = "https://control.example"


def test_a_login_shows_where_to_go_waits_and_stores_a_token_that_only_its_owner_reads(cli: Cli) -> None:
    cli.control.approvals = 3
    ended = cli("auth", "login", URL + "/")
    assert ended.code == 0
    assert f"{URL}/device?code=ABCD-EFGH" in ended.err
    assert "ABCD-EFGH" in ended.err
    assert ended.out == f"Signed in to {URL} as ada@example.com.\n"
    assert cli.paused == [5.0] * 4
    assert stat.S_IMODE(cli.config.stat().st_mode) == 0o600
    assert stat.S_IMODE(cli.config.parent.stat().st_mode) == 0o700
    stored = json.loads(cli.config.read_text())
    assert stored["controlUrl"] == URL
    assert stored["controlPlanes"][URL]["token"] == "zkc_person"
    assert "zkc_person" not in ended.out + ended.err


def test_a_page_is_opened_only_where_somebody_sits_in_front_of_a_screen(cli: Cli) -> None:
    cli("auth", "login", URL)
    assert cli.opened == []
    cli.interactive, cli.control.approvals = True, 0
    cli("auth", "login", URL, "--no-browser")
    assert cli.opened == []
    cli("auth", "login", URL)
    assert cli.opened == [f"{URL}/device?code=ABCD-EFGH"]
    cli.control.url = "file:///etc/passwd#"
    cli("auth", "login", URL)
    assert len(cli.opened) == 1


def test_a_control_plane_that_restarts_does_not_end_a_login(cli: Cli, control: FakeControl) -> None:
    control.failures["GET", "/api/auth/device/dev_1"] = [httpx.ConnectError("refused")]
    assert cli("auth", "login", URL).code == 0


def test_a_code_that_expired_says_how_to_begin_again(cli: Cli, control: FakeControl) -> None:
    control.approvals = 1_000_000
    ended = cli("auth", "login", URL)
    assert ended.code == 1
    assert ended.err.endswith("begin again: zocket auth login\n")
    assert not cli.config.exists()
    assert sum(cli.paused) == pytest.approx(600)


def test_tokens_of_several_control_planes_are_kept_apart(cli: Cli) -> None:
    cli("auth", "login", URL)
    cli.control.approvals = 0
    cli("auth", "login", "http://localhost:3000")
    stored = json.loads(cli.config.read_text())
    assert set(stored["controlPlanes"]) == {URL, "http://localhost:3000"}
    assert stored["controlUrl"] == "http://localhost:3000"
    ended = cli("projects", "list", "--control-url", "https://elsewhere.example")
    assert ended.code == 1
    assert "you are not signed in to https://elsewhere.example: zocket auth login" in ended.err


def test_a_logout_revokes_and_forgets(cli: Cli, control: FakeControl) -> None:
    cli.sign_in()
    assert cli("auth", "logout").out == f"Signed out of {URL}.\n"
    assert "zkc_person" not in control.tokens
    assert "zkc_person" not in cli.config.read_text()
    assert cli("auth", "logout").out == f"You were not signed in to {URL}.\n"


def test_a_logout_forgets_even_if_the_control_plane_is_away(cli: Cli, control: FakeControl) -> None:
    cli.sign_in()
    control.failures["POST", "/api/auth/logout"] = [httpx.ConnectError("refused")]
    ended = cli("auth", "logout")
    assert ended.code == 0
    assert "not revoked there" in ended.err
    assert "zkc_person" not in cli.config.read_text()


def test_status_says_who_where_and_until_when(cli: Cli) -> None:
    cli("auth", "login", URL)
    ended = cli("auth", "status")
    assert ended.code == 0
    assert "ada@example.com" in ended.out
    assert "in 30 days" in ended.out
    assert cli("auth", "status", "--json").json["user"]["email"] == "ada@example.com"


def test_status_of_nobody_fails_with_what_to_do(cli: Cli) -> None:
    ended = cli("auth", "status", "--control-url", URL)
    assert (ended.code, ended.err) == (
        1,
        f"zocket auth status: you are not signed in to {URL}: zocket auth login\n",
    )


def test_a_token_that_others_could_read_is_closed_again(cli: Cli) -> None:
    cli.sign_in()
    cli.config.chmod(0o644)
    cli("auth", "status")
    assert stat.S_IMODE(cli.config.stat().st_mode) == 0o600


def test_a_damaged_file_says_what_to_do(cli: Cli) -> None:
    cli.sign_in()
    cli.config.write_text("{")
    ended = cli("auth", "status")
    assert ended.code == 1
    assert "is damaged; delete it and sign in again: zocket auth login" in ended.err


def test_a_sign_in_that_is_over_and_a_wrong_variable_say_different_things(cli: Cli, control: FakeControl) -> None:
    cli.sign_in()
    control.tokens.clear()
    assert "has expired or was revoked: zocket auth login" in cli("projects", "list").err
    ended = cli("projects", "list", ZOCKET_TOKEN="zkd_wrong")
    assert "does not accept the token in ZOCKET_TOKEN" in ended.err
    assert "(request req_7)" in ended.err


def test_a_role_that_does_not_suffice_says_whom_to_ask(
    cli: Cli, control: FakeControl, failing: Callable[..., httpx.Response]
) -> None:
    cli.sign_in()
    control.failures["POST", "/api/projects"] = [failing(403, "this needs the role developer", "forbidden")]
    ended = cli("projects", "create", "Chat")
    assert ended.code == 1
    assert "this needs the role developer; ask an owner" in ended.err


def test_a_server_that_asks_to_slow_down_is_obeyed_for_a_while(
    cli: Cli, control: FakeControl, failing: Callable[..., httpx.Response]
) -> None:
    cli.sign_in()
    slow = failing(429, "slow down", "rate_limited", **{"retry-after": "2"})
    control.failures["GET", "/api/projects"] = [slow, slow]
    assert cli("projects", "list").code == 0
    assert cli.paused == [2.0, 2.0]
    control.failures["GET", "/api/projects"] = [failing(429, "slow down", "x", **{"retry-after": "90"})]
    ended = cli("projects", "list")
    assert ended.code == 1
    assert "try again in 90 s" in ended.err


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (httpx.ConnectError("[Errno 111] Connection refused"), "does not answer ([Errno 111] Connection refused)"),
        (httpx.ReadTimeout("slow"), "does not answer (it took too long)"),
        (httpx.Response(200, text="<html>"), "is it a Zocket control plane?"),
        (httpx.Response(302, headers={"location": "https://evil.example"}), "is it a Zocket control plane?"),
        (httpx.Response(502, text="bad gateway", headers={"x-request-id": "r1"}), "answered 502"),
    ],
)
def test_what_answers_wrongly_or_not_at_all_is_one_line(
    cli: Cli, control: FakeControl, answer: httpx.Response, message: str
) -> None:
    cli.sign_in()
    control.failures["GET", "/api/projects"] = [answer]
    ended = cli("projects", "list")
    assert ended.code == 1
    assert message in ended.err
    assert ended.err.count("\n") == 1


@pytest.mark.parametrize("url", ["control.example", "ftp://x", "https://", "https://user@x", "https://x:99999"])
def test_an_address_that_is_none_is_refused(cli: Cli, url: str) -> None:
    ended = cli("auth", "login", url)
    assert ended.code == 1
    assert "must be an address such as https://control.example.com" in ended.err


def test_a_file_that_cannot_be_written_keeps_what_it_had(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    cli.sign_in()
    before = cli.config.read_text()

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("zocket.cli.config.os.replace", refuse)
    ended = cli("auth", "login", URL)
    assert ended.code == 1
    assert "cannot be written: No space left on device" in ended.err
    assert cli.config.read_text() == before
    assert [path.name for path in cli.config.parent.iterdir()] == ["config.json"]


def test_a_variable_wins_over_a_link_and_a_link_over_the_last_sign_in(cli: Cli, control: FakeControl) -> None:
    cli.sign_in()
    assert cli("auth", "status", "--json").json["controlUrl"] == URL
    cli.write(__zocket__json=json.dumps({"controlUrl": "http://linked.example", "projectId": "p", "slug": "s"}))
    assert "not signed in to http://linked.example" in cli("auth", "status").err
    status = cli("auth", "status", "--json", ZOCKET_CONTROL_URL=URL + "/")
    assert status.json["controlUrl"] == URL
    assert "signed in to http://option" in cli("auth", "status", "--control-url", "http://option").err
