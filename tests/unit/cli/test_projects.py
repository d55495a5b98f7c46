"""`zocket projects`, `link`, `tokens` and `env`."""

from __future__ import annotations

import io
import json
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from .conftest import Cli, FakeControl


def test_lists_hold_every_page_and_json_has_the_names_of_the_api(cli: Cli, control: FakeControl) -> None:
    cli.sign_in()
    for number in range(5):
        control.add_project(f"chat-{number}")
    text = cli("projects", "list").out
    assert [line.split()[0] for line in text.splitlines()] == ["SLUG", *(f"chat-{number}" for number in range(5))]
    listed = cli("projects", "list", "--json").json
    assert [item["slug"] for item in listed["items"]] == [f"chat-{number}" for number in range(5)]
    assert listed["items"][0]["workspaceId"] == "wsp_1"


def test_an_empty_list_says_the_next_command(cli: Cli) -> None:
    cli.sign_in()
    ended = cli("projects", "list")
    assert ended.out == ""
    assert "zocket projects create NAME" in ended.err


def test_texts_of_a_server_do_not_steer_the_terminal(cli: Cli, control: FakeControl) -> None:
    cli.sign_in()
    control.add_project("chat", "\x1b]0;owned\x07Chat\x9b31m\r")
    text = cli("projects", "list").out
    assert "\x1b]" not in text
    assert not {"\x07", "\x9b", "\r"} & set(text)


def test_a_project_is_created_with_a_token_that_is_shown_once(cli: Cli) -> None:
    cli.sign_in()
    ended = cli("projects", "create", "My Chat")
    assert ended.code == 0
    assert "zkd_deploy" in ended.out
    assert cli("projects", "create", "Other", "--slug", "other", "--json").json["slug"] == "other"


def test_a_project_is_deleted_only_if_somebody_says_so(
    linked: Cli, control: FakeControl, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = linked("projects", "delete", "chat")
    assert ended.code == 1
    assert "say --yes" in ended.err
    assert control.projects
    linked.interactive = True
    monkeypatch.setattr(sys, "stdin", io.StringIO("n\n"))
    ended = linked("projects", "delete", "chat")
    assert ended.code == 1
    assert ended.err.endswith("zocket projects delete: nothing was done\n")
    assert control.projects
    assert linked("projects", "delete", "chat", "--yes").out == "Deleted chat.\n"
    assert not control.projects


def test_a_link_names_the_project_and_holds_no_secret(cli: Cli, control: FakeControl) -> None:
    cli.sign_in()
    control.add_project("chat")
    assert cli("link", "chat").code == 0
    link = json.loads((cli.directory / ".zocket.json").read_text())
    assert link == {
        "controlUrl": "https://control.example",
        "workspaceId": "wsp_1",
        "projectId": "prj_1",
        "slug": "chat",
    }
    assert cli("projects", "show").out.split("\n")[1].split()[1] == "chat"


def test_a_link_can_create_its_project(cli: Cli, control: FakeControl) -> None:
    cli.sign_in()
    shown = cli("link", "--create", "My Game", "--json").json
    assert shown["slug"] == "my-game"
    assert "deployToken" not in shown
    assert list(control.projects) == ["prj_1"]


def test_where_nobody_can_be_asked_a_link_says_what_there_is(cli: Cli, control: FakeControl) -> None:
    cli.sign_in()
    control.add_project("chat")
    ended = cli("link")
    assert ended.code == 1
    assert "yours: chat" in ended.err
    assert "zocket link --create NAME" in ended.err


def test_a_link_asks_which_one(cli: Cli, control: FakeControl, monkeypatch: pytest.MonkeyPatch) -> None:
    cli.sign_in()
    cli.interactive = True
    control.add_project("chat")
    control.add_project("draw")
    monkeypatch.setattr(sys, "stdin", io.StringIO("2\n"))
    assert cli("link").code == 0
    assert json.loads((cli.directory / ".zocket.json").read_text())["slug"] == "draw"
    monkeypatch.setattr(sys, "stdin", io.StringIO("3\nNew one\n"))
    assert cli("link").code == 0
    assert json.loads((cli.directory / ".zocket.json").read_text())["slug"] == "new-one"


def test_a_directory_without_a_link_says_how_to_link_it(cli: Cli) -> None:
    cli.sign_in()
    ended = cli("deployments")
    assert ended.code == 1
    assert "`zocket link` chooses or creates one" in ended.err


def test_a_link_of_another_control_plane_is_not_used(linked: Cli) -> None:
    ended = linked("deployments", "--control-url", "http://localhost:3000")
    assert ended.code == 1
    assert "linked to a project of https://control.example, not of http://localhost:3000" in ended.err


@pytest.mark.parametrize("text", ["{", "[]", '{"controlUrl": "https://x"}', '{"controlUrl": 1, "projectId": "a"}'])
def test_a_damaged_link_says_what_to_do(cli: Cli, text: str) -> None:
    cli.sign_in()
    cli.write(__zocket__json=text)
    ended = cli("deployments")
    assert ended.code == 1
    assert "is damaged; delete it and link the project again: zocket link" in ended.err


def test_a_path_in_a_name_stays_one_part_of_the_address(cli: Cli, control: FakeControl) -> None:
    cli.sign_in()
    cli("projects", "show", "../auth/session?x=1")
    assert control.requests[-1][1].startswith("/api/projects/")


def test_tokens_are_listed_created_and_revoked(linked: Cli, control: FakeControl) -> None:
    assert "zocket tokens create NAME" in linked("tokens", "list").err
    assert linked("tokens", "create", "ci").out == "zkd_abcdef\n"
    assert linked("tokens", "create", "twin", "--json").json["token"] == "zkd_abcdef"
    linked("tokens", "create", "twin")
    assert "zkd_abc…" in linked("tokens", "list").out
    assert "several tokens have this name" in linked("tokens", "revoke", "twin", "--yes").err
    assert linked("tokens", "revoke", "ci", "--yes").out == "Revoked ci.\n"
    assert "there is no such token" in linked("tokens", "revoke", "ci", "--yes").err
    assert linked("tokens", "revoke", "dpt_3", "--yes").code == 0
    assert [item["revokedAt"] for item in control.deploy_tokens] == [1, None, 1]


def test_variables_are_set_listed_and_unset_and_their_values_never_shown(linked: Cli, control: FakeControl) -> None:
    ended = linked("env", "set", "REGION=eu", "URL=a=b", "EMPTY=")
    assert (ended.code, ended.out) == (0, "REGION, URL, EMPTY set; the next deployment has it.\n")
    assert control.variables == {"REGION": "eu", "URL": "a=b", "EMPTY": ""}
    listed = linked("env", "list", "--json").json
    assert [item["name"] for item in listed["items"]] == ["REGION", "URL", "EMPTY"]
    assert "a=b" not in linked("env", "list").out
    assert linked("env", "unset", "URL", "EMPTY").code == 0
    assert control.variables == {"REGION": "eu"}


def test_a_secret_is_read_from_standard_input(
    linked: Cli, control: FakeControl, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("line 1\nline 2\n"))
    assert linked("env", "set", "SECRET").code == 0
    assert control.variables == {"SECRET": "line 1\nline 2"}
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    assert "there is no value on standard input" in linked("env", "set", "SECRET").err
    assert linked("env", "set", "A", "B").code == 2


def test_a_name_that_cannot_be_a_variable_is_a_usage_error(linked: Cli) -> None:
    ended = linked("env", "set", "1A=x")
    assert ended.code == 2
    assert '"1A" cannot be a variable' in ended.err


def test_a_change_of_the_environment_is_followed_like_a_deployment(linked: Cli, control: FakeControl) -> None:
    control.plan = [[("starting", None), ("failed", "REGION: unknown")]]
    ended = linked("env", "set", "REGION=moon")
    assert ended.code == 1
    assert "REGION: unknown" in ended.err


def test_a_deploy_token_needs_no_file_in_the_home(cli: Cli, control: FakeControl, tmp_path: Path) -> None:
    control.add_project("chat")
    variables = {"ZOCKET_TOKEN": "zkd_deploy", "ZOCKET_PROJECT": "chat", "ZOCKET_CONTROL_URL": control.url}
    assert cli("deployments", **variables).code == 0
    shown = cli("auth", "status", "--json", **variables).json
    assert (shown["project"]["slug"], shown["source"]) == ("chat", "ZOCKET_TOKEN")
    assert not (tmp_path / "home").exists()
