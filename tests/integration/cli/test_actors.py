"""`zocket actors` as a person uses it: the same bodies on the file of a standalone server and on a real NATS server."""

from __future__ import annotations

import asyncio
import gzip
import json
import secrets
import sqlite3
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from zocket.broker.nats import NatsBroker
from zocket.cli.commands import run
from zocket.cli.surroundings import Surroundings
from zocket.host.alarms import encode_alarm
from zocket.host.store import Key, StateAdministration
from zocket.ids import Scope
from zocket.runtime.state_store import BrokerStateStore
from zocket.server.sqlite_store import SqliteStore

from .conftest import Ended

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

ODD = "a/b.c*>%é \n\x1b[31m"
STATE = '{"lines":["é\x9b1m"],"big":12345678901234567890123,"small":1.50}'


class Desk:
    """Runs `zocket actors` in a directory, on a store of one kind."""

    def __init__(self, directory: Path, capsys: pytest.CaptureFixture[str], nats_url: str) -> None:
        self.directory = directory
        self.interactive = False
        self.scope = Scope("ws_" + secrets.token_hex(4), "prj")
        self.nats_url = nats_url
        self.environ = {"NATS_BOOT_TIMEOUT_S": "1"}
        if nats_url:
            user_url = nats_url.replace("nats://", "nats://somebody:secret@")
            self.environ |= {"NATS_URL": user_url, "WORKSPACE_ID": self.scope.workspace_id, "PROJECT_ID": "prj"}
        self._capsys = capsys

    def __call__(self, *arguments: str, **environ: str) -> Ended:
        around = Surroundings(
            environ={**self.environ, **environ},
            directory=self.directory,
            wall=lambda: 0.0,
            interactive=self.interactive,
        )
        self._capsys.readouterr()
        code = run(["actors", *arguments], around)
        captured = self._capsys.readouterr()
        return Ended(code, captured.out, captured.err)

    @property
    def state_file(self) -> Path:
        return self.directory / ".zocket" / "state.db"

    @asynccontextmanager
    async def store(self) -> AsyncIterator[StateAdministration]:
        if not self.nats_url:
            async with SqliteStore.open(self.state_file) as file:
                yield file
            return
        broker = await NatsBroker.open(self.nats_url, name="test")
        yield BrokerStateStore(broker, self.scope)
        await broker.aclose()

    def put(self, *keys: tuple[str, str], record: bytes | None = None) -> None:
        async def write() -> None:
            async with self.store() as store:
                for key in keys:
                    await store.write(Key(*key), record or RECORD, 0)

        asyncio.run(write())


def encoded(state: str) -> bytes:
    fields = {"version": 2, "state": 0, "watermarks": {"INBOUND:1": 7}, "answers": {}, "epoch": "e_1", "seq": 5}
    return json.dumps(fields | {"writer": "w", "commit": 1}).replace('"state": 0', f'"state":{state}').encode()


RECORD = encoded(STATE)


@pytest.fixture(params=["file", pytest.param("nats", marks=pytest.mark.nats)])
def desk(request: pytest.FixtureRequest, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Desk:
    made = Desk(tmp_path, capsys, request.getfixturevalue("nats_url") if request.param == "nats" else "")
    made.put(("room", "general"), ("room", ODD), ("ledger", "x"))
    return made


@pytest.fixture
def file_desk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Desk:
    return Desk(tmp_path, capsys, "")


def test_instances_are_listed_exactly_and_the_store_is_named(desk: Desk) -> None:
    listed = desk("list", "--json")
    assert [(item["actor"], item["actorId"]) for item in listed.json["items"]] == [
        ("ledger", "x"),
        ("room", ODD),
        ("room", "general"),
    ]
    assert listed.json["items"][0] == {
        "actor": "ledger",
        "actorId": "x",
        "version": 2,
        "seq": 5,
        "bytes": len(RECORD),
    }
    where = f"{desk.scope.workspace_id}/prj on {desk.nats_url}" if desk.nats_url else str(desk.state_file)
    assert listed.err == f"store: {where}\n"
    table = desk("list", "room")
    assert table.out.split("\n")[0].split() == ["TYPE", "ID", "VERSION", "SEQ", "BYTES"]
    assert r'"a/b.c*>%\u00e9 \n\u001b[31m"' in table.out
    assert "ledger" not in table.out
    limited = desk("list", "--limit", "1", "--json")
    assert len(limited.json["items"]) == 1
    assert "More are stored" in limited.err
    assert "Nothing is stored here." in desk("list", "nobody").err


def test_one_instance_is_shown_and_exported_as_it_is_stored(desk: Desk) -> None:
    shown = desk("show", "room", ODD)
    assert shown.code == 0
    for part in ('room/"a/b', "version", "e_1", "read of INBOUND:1", "up to 7", '"small": 1.50'):
        assert part in shown.out
    assert "\x1b[31m" not in shown.out
    assert "\x9b" not in shown.out
    whole = desk("show", "room", "general", "--json").json
    assert (whole["actorId"], whole["seq"], whole["bytes"]) == ("general", 5, len(RECORD))
    assert whole["state"] == json.loads(STATE)
    assert desk("export", "room", "general").out == STATE + "\n"
    target = desk.directory / "out.json"
    assert desk("export", "room", "general", "-o", str(target)).code == 0
    assert target.read_text() == STATE + "\n"
    assert "cannot be written: Is a directory" in desk("export", "room", "general", "-o", str(desk.directory)).err


def test_what_is_deleted_was_asked_for(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "Nobody can be asked here; say --yes" in desk("delete", "room", "general").err
    desk.interactive = True
    asked: list[str] = []

    def answer(question: str, **_: Any) -> bool:
        asked.append(question)
        return len(asked) > 1

    monkeypatch.setattr("click.confirm", answer)
    assert "nothing was done" in desk("delete", "room", "general").err
    deleted = desk("delete", "room", "general")
    assert (deleted.code, deleted.out) == (0, "room/general is deleted.\n")
    assert ("A runtime that has it in memory stores its initial state anew" in deleted.err) == bool(desk.nats_url)
    assert asked == [f"Delete room/general ({len(RECORD)} B)?"] * 2
    again = desk("delete", "room", "general", "--yes")
    assert (again.code, again.out) == (1, "")
    assert "room/general: is not stored here; `zocket actors list room` shows what is" in again.err


def test_reminders_of_an_actor_in_memory_can_be_deleted(desk: Desk) -> None:
    async def remind() -> None:
        async with desk.store() as store:
            await store.alarms.put(Key("lobby", "x"), encode_alarm(5.0), 0)

    asyncio.run(remind())
    deleted = desk("delete", "lobby", "x", "--yes")
    assert (deleted.code, deleted.out) == (0, "The reminders of lobby/x are deleted.\n")
    assert "lobby/x: is not stored here" in desk("delete", "lobby", "x", "--yes").err


def test_what_changes_while_one_is_asked_is_not_deleted(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    async def conflicting(self: Any, key: Key, expected: int) -> None:
        await kept(self, key, expected + 1)

    kind = BrokerStateStore if desk.nats_url else SqliteStore
    kept: Any = kind.delete
    monkeypatch.setattr(kind, "delete", conflicting)
    assert "room/general: was changed meanwhile, and is not deleted" in desk("delete", "room", "general", "-y").err
    assert desk("show", "room", "general").code == 0


@pytest.mark.parametrize("command", ["show", "export", "delete"])
def test_a_wrong_type_or_id_is_named(desk: Desk, command: str) -> None:
    for actor, actor_id, expected in (
        ("1room", "x", "actor type: expected a letter"),
        ("room", "", "actor id: may not be empty"),
        ("room", "x" * 257, "actor id: 257 characters, the limit is 256"),
        ("room", "nobody", "room/nobody: is not stored here"),
    ):
        ended = desk(command, actor, actor_id)
        assert (ended.code, ended.out) == (1, "")
        assert f"zocket actors {command}: {expected}" in ended.err


def test_a_backup_is_restored_into_what_lacks_it_and_replaces_only_when_told(desk: Desk) -> None:
    file = str(desk.directory / "state.jsonl.gz")
    made = desk("backup", file)
    assert (made.code, made.out) == (0, "")
    assert "3 instances in " in made.err
    assert b"secret" not in gzip.decompress(Path(file).read_bytes())
    assert "exists already" in desk("backup", file).err
    refused = desk("restore", file)
    assert refused.code == 1
    assert "stored already: ledger/x, room/" in refused.err
    desk("delete", "ledger", "x", "--yes")
    assert "Replace 2 instances of" in desk("restore", file, "--replace").err
    restored = desk("restore", file, "--replace", "--yes")
    assert (restored.code, restored.out) == (0, "")
    assert "3 instances restored: 1 new, 2 replaced." in restored.err
    assert [item["seq"] for item in desk("list", "--json").json["items"]] == [5, 5, 5]
    new = str(desk.directory / "new.db")
    assert "3 new, 0 replaced" in desk("restore", file, "--state-file", new).err
    assert desk("export", "room", ODD, "--state-file", new).out == STATE + "\n"


def test_a_damaged_backup_changes_nothing(desk: Desk) -> None:
    file, new = desk.directory / "state.jsonl", desk.directory / "new.db"
    assert desk("backup", str(file)).code == 0
    file.write_bytes(file.read_bytes()[:-200])
    refused = desk("restore", str(file), "--replace", "--yes", "--state-file", str(new))
    assert refused.code == 1
    assert "is damaged, nothing of it can be restored: " in refused.err
    assert not new.exists()


def test_a_record_that_cannot_be_read_is_listed_and_not_backed_up(desk: Desk) -> None:
    desk.put(("room", "broken"), record=b'{"version":')
    listed = desk("list", "--json")
    assert {"actor": "room", "actorId": "broken", "version": None, "seq": None, "bytes": 11} in listed.json["items"]
    assert "warning: room/broken: the stored record cannot be read" in listed.err
    refused = desk("backup", str(desk.directory / "b"))
    assert (refused.code, (desk.directory / "b").exists()) == (1, False)
    assert desk("delete", "room", "broken", "--yes").code == 0
    assert desk("backup", str(desk.directory / "b")).code == 0


class TestWhichStore:
    """An option wins over the environment, that over the file of this directory."""

    def test_none_is_named(self, file_desk: Desk) -> None:
        ended = file_desk("list")
        assert ended.code == 1
        assert "there is no .zocket/state.db here: name the file of a standalone server with --state-file" in ended.err
        assert not file_desk.state_file.exists()

    def test_both_kinds_are_named(self, file_desk: Desk) -> None:
        assert file_desk("list", "--state-file", "a", "--project", "b").code == 2
        ended = file_desk("list", STATE_FILE="a", NATS_URL="nats://127.0.0.1:1")
        assert (ended.code, "STATE_FILE and NATS_URL name a store each" in ended.err) == (1, True)
        ended = file_desk("list", "--state-file", str(file_desk.directory / "a"), NATS_URL="nats://127.0.0.1:1")
        assert "a: there is no such file" in ended.err

    def test_a_file_is_named_by_its_variable(self, file_desk: Desk) -> None:
        file_desk.put(("room", "x"))
        moved = file_desk.state_file.rename(file_desk.directory / "moved.db")
        assert len(file_desk("list", "--json", STATE_FILE=str(moved)).json["items"]) == 1

    def test_nats_is_away(self, file_desk: Desk) -> None:
        file_desk.put(("room", "x"))
        ended = file_desk("list", "--nats-url", "nats://127.0.0.1:1", NATS_BOOT_TIMEOUT_S="0.1")
        assert (ended.code, "cannot be reached" in ended.err) == (1, True)
        assert "expected 1-64 letters" in file_desk("list", "--project", "a.b", "--nats-url", "nats://127.0.0.1:1").err

    def test_a_server_has_the_file(self, file_desk: Desk) -> None:
        async def while_it_serves() -> Ended:
            async with SqliteStore.open(file_desk.state_file):
                return await asyncio.to_thread(file_desk, "list")

        file_desk.put(("room", "x"))
        ended = asyncio.run(while_it_serves())
        assert (ended.code, ended.out) == (1, "")
        assert "another process serves the actors stored here; stop it" in ended.err

    def test_the_file_is_a_database_of_something_else(self, file_desk: Desk) -> None:
        path = file_desk.directory / "other.db"
        with sqlite3.connect(path) as connection:
            connection.execute("CREATE TABLE users (id TEXT)")
        connection.close()
        before = path.read_bytes()
        ended = file_desk("list", "--state-file", str(path))
        assert (ended.code, "is a database of something else, not of durable actors" in ended.err) == (1, True)
        assert path.read_bytes() == before
        path.write_text("no database at all, a text" * 100)
        assert "cannot be opened" in file_desk("list", "--state-file", str(path)).err
