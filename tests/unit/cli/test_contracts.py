"""`zocket gen`, `zocket check --against`, and the gate of `zocket deploy`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.unit.contract.samples import chat
from zocket.cli.generating import refresh, wanted_files
from zocket.cli.project import ProjectConfig
from zocket.contract import Contract, contract_of, decode_contract
from zocket.contract.typescript import typescript
from zocket.errors import UsageError

from .conftest import APP, failure

if TYPE_CHECKING:
    from .conftest import Cli, FakeControl

CONTRACT = contract_of(chat.definition)
SERVING = ("GET", "/api/projects/prj_1/schema")
SERVING_SLUG = ("GET", "/api/projects/chat/schema")
GOOD = [("starting", None), ("active", "v1 took over")]


def contract_of_app() -> Contract:
    """The contract of `app.py` as it is at the beginning."""
    names: dict[str, Any] = {}
    exec(compile(APP, "app.py", "exec", dont_inherit=True), names)
    return contract_of(names["app"].definition)


def serves(control: FakeControl) -> None:
    """The app as it is at the beginning serves."""
    answers = [httpx.Response(200, content=contract_of_app().encode()) for _ in range(9)]
    control.failures |= {SERVING: [*answers[:4]], SERVING_SLUG: [*answers[4:]]}


@pytest.fixture
def contract_file(cli: Cli) -> str:
    file = cli.directory / "contract.json"
    file.write_text(CONTRACT.text())
    return str(file)


def test_gen_ts_writes_a_file_when_it_changes(cli: Cli, contract_file: str) -> None:
    target = cli.directory / "web" / "zocket.d.ts"
    assert cli("gen", "ts", contract_file, "-o", str(target)).err == f"{target} was written\n"
    assert target.read_text() == typescript(CONTRACT)
    before = target.stat().st_mtime_ns
    assert cli("gen", "ts", contract_file, "-o", str(target)).err == f"{target} is up to date\n"
    assert target.stat().st_mtime_ns == before


def test_without_a_file_it_goes_to_standard_output(cli: Cli, contract_file: str) -> None:
    assert cli("gen", "ts", contract_file).out == typescript(CONTRACT)
    assert "class ChatRoom(Actor[RoomState]):" in cli("gen", "python", contract_file).out
    assert decode_contract(cli("gen", "contract", contract_file).out.encode()) == CONTRACT


def test_gen_asyncapi_writes_the_schemas_too(cli: Cli, contract_file: str) -> None:
    schemas = cli.directory / "schemas"
    ended = cli("gen", "asyncapi", contract_file, "--json-schema", str(schemas))
    assert json.loads(ended.out)["asyncapi"] == "3.0.0"
    assert (schemas / "chat.post.input.json").is_file()


def test_gen_reads_an_app(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    cli.write(some_app__py=APP)
    monkeypatch.chdir(cli.directory)
    monkeypatch.setattr(sys, "path", [*sys.path])
    assert "add(input?: {" in cli("gen", "ts", "some_app:app").out
    cli.write(pyproject__toml='[tool.zocket]\napp = "some_app:app"\n')
    assert "add(input?: {" in cli("gen", "ts").out


def test_gen_reads_the_address_of_a_contract(cli: Cli, control: FakeControl) -> None:
    control.failures["GET", "/schema"] = [
        httpx.Response(200, content=CONTRACT.encode()),
        httpx.Response(401, json={"error": "the token is missing", "code": "unauthorized"}),
        httpx.Response(200, content=b"<html>"),
    ]
    assert cli("gen", "ts", "https://chat.example/schema").out == typescript(CONTRACT)
    refused = cli("gen", "ts", "https://chat.example/schema?token=secret")
    assert (refused.code, refused.err) == (
        1,
        "zocket gen ts: https://chat.example/schema answers 401: the token is missing\n",
    )
    assert "https://chat.example/schema is no contract of an app" in cli("gen", "ts", "https://chat.example/schema").err


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("missing.json", "cannot be read"),
        ("no_such_module:app", "no module no_such_module"),
        ("", "nothing says which"),
    ],
)
def test_gen_says_what_it_cannot_read(cli: Cli, source: str, words: str) -> None:
    ended = cli("gen", "ts", *([source] if source else []))
    assert ended.code == 1
    assert words in ended.err


def test_check_against_what_serves_names_what_breaks(linked: Cli, control: FakeControl) -> None:
    serves(control)
    same = linked("check", "--against", "production")
    assert same.code == 0
    assert "Clients see no difference to production." in same.err
    linked.write(app__py=APP.replace("amount: int = 1", "amount: int").replace("-> int", "-> str"))
    ended = linked("check", "--against", "production")
    assert ended.code == 1
    assert "breaks   counter.add.input.amount: is required" in ended.err
    assert "breaks   counter.add.result: was integer, is string" in ended.err
    found = linked("check", "--against", "chat", "--json").json
    assert not found["ok"]
    assert {"where": "counter.add.input.amount", "what": "is required", "breaking": True} in found["changes"]


def test_check_against_a_file_tells_what_only_differs(linked: Cli) -> None:
    old = linked.directory / "old.json"
    old.write_text(contract_of_app().text())
    linked.write(app__py=APP.replace("amount: int = 1", "amount: int = 2, by: str = ''"))
    ended = linked("check", "--against", str(old))
    assert ended.code == 0, ended.err
    assert "differs  counter.add.input.by: is new" in ended.err
    assert "differs  counter.add.input.amount: its default was 1, is 2" in ended.err


def test_check_against_nothing_says_so(linked: Cli, control: FakeControl) -> None:
    control.failures[SERVING] = [failure(404, "none", "no_contract")]
    ended = linked("check", "--against", "production")
    assert ended.code == 1
    assert "nothing to compare with" in ended.err


def test_deploy_refuses_what_breaks_clients_unless_it_is_allowed(linked: Cli, control: FakeControl) -> None:
    serves(control)
    linked.write(app__py=APP.replace("async def add", "async def increase"))
    ended = linked("deploy")
    assert ended.code == 1
    assert "counter.add: the method is called increase" in ended.err
    assert "--allow-breaking" in ended.err
    assert control.deployments == {}
    control.plan = [list(GOOD)]
    assert linked("deploy", "--allow-breaking").code == 0
    assert len(control.deployments) == 1


def test_deploy_sends_what_breaks_nobody_and_what_cannot_be_told(linked: Cli, control: FakeControl) -> None:
    serves(control)
    control.plan = [list(GOOD), list(GOOD)]
    assert linked("deploy").code == 0
    linked.write(app__py="import os\n" + APP + "\nos.environ['ONLY_THERE']\n")
    ended = linked("deploy")
    assert ended.code == 0
    assert "whether it breaks clients cannot be told" in ended.err


def test_dev_keeps_the_files_of_the_command_line_and_of_the_project_fresh(tmp_path: Path) -> None:
    config = ProjectConfig(tmp_path, gen={"python": "client.py"})
    files = wanted_files([f"ts={tmp_path / 'zocket.d.ts'}"], config)
    assert refresh(files, CONTRACT.encode(), "chat:app") == [tmp_path / "client.py", tmp_path / "zocket.d.ts"]
    assert refresh(files, CONTRACT.encode(), "chat:app") == []
    assert (tmp_path / "zocket.d.ts").read_text() == typescript(CONTRACT)


@pytest.mark.parametrize("given", ["ts", "ts=", "rust=x.rs"])
def test_dev_says_what_it_cannot_keep(tmp_path: Path, given: str) -> None:
    with pytest.raises(UsageError):
        wanted_files([given], ProjectConfig(tmp_path))
