"""`zocket dead-letters` on a real NATS server."""

from __future__ import annotations

import asyncio
import json
import secrets
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from zocket.broker.nats import NatsBroker
from zocket.broker.port import StoredMessage
from zocket.broker.streams import inbound_stream
from zocket.cli import main
from zocket.ids import Scope
from zocket.protocol import subjects
from zocket.runtime.dead_letters import DeadLetter, DeadLetters

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

pytestmark = pytest.mark.nats


def letter(scope: Scope, number: int, **changes: Any) -> DeadLetter:
    envelope = {"sessionId": "s1", "message": {"type": "rpc", "id": number}, "claims": {"sub": "\x1b[31mada"}}
    return DeadLetter(
        **{
            "actor": "room",
            "actor_id": f"id {number}",
            "method": "boom",
            "cause": "its process ended 3 times while it was in progress",
            "attempts": 3,
            "at": 1_700_000_000_000 + number,
            "sequence": 100 + number,
            "subject": subjects.inbound(scope, "room", f"id {number}"),
            "deployment": "dpl_1",
            "process": "host/1",
            "envelope": msgspec.Raw(json.dumps(envelope).encode()),
            **changes,
        }
    )


class Commands:
    """The command on one project, which no other test has letters of."""

    def __init__(self, url: str, capsys: pytest.CaptureFixture[str]) -> None:
        self.url = url
        self.scope = Scope("ws_" + secrets.token_hex(4), "prj")
        self._capsys = capsys

    def run(self, *words: str, scope: Scope | None = None) -> tuple[int, str, str]:
        of = scope or self.scope
        where = ["--nats-url", self.url, "--workspace", of.workspace_id, "--project", of.project_id]
        code = main(["dead-letters", *words, *where])
        out, err = self._capsys.readouterr()
        return code, out, err

    def json(self, *words: str) -> Any:
        code, out, err = self.run(*words, "--json")
        assert code == 0, err
        return json.loads(out)

    def on_broker(self, work: Callable[[NatsBroker], Awaitable[Any]]) -> Any:
        async def connected() -> Any:
            broker = await NatsBroker.open(self.url, name="test")
            try:
                return await work(broker)
            finally:
                await broker.aclose()

        return asyncio.run(connected())

    def bury(self, *letters: DeadLetter, scope: Scope | None = None) -> None:
        async def add(broker: NatsBroker) -> None:
            for item in letters:
                await DeadLetters(broker, scope or self.scope).add(item, secrets.token_hex(8))

        self.on_broker(add)

    def inbound(self) -> list[StoredMessage]:
        """What was published for the project, removed so that no other test sees it."""

        async def read(broker: NatsBroker) -> list[StoredMessage]:
            found: list[StoredMessage] = []
            subject = subjects.inbound_prefix(self.scope) + ">"
            while (stored := await broker.next_message(subjects.INBOUND_STREAM, subject, 1)) is not None:
                found.append(stored)
                await broker.delete_message(subjects.INBOUND_STREAM, stored.sequence)
            return found

        result: list[StoredMessage] = self.on_broker(read)
        return result


@pytest.fixture
def commands(nats_url: str, capsys: pytest.CaptureFixture[str]) -> Commands:
    made = Commands(nats_url, capsys)
    made.on_broker(lambda broker: broker.ensure_stream(inbound_stream()))
    return made


def test_a_project_without_dead_letters_says_so(commands: Commands) -> None:
    assert commands.run("list") == (0, "", "There is none.\n")
    assert commands.json("list") == {"items": [], "next": None}
    assert commands.json("replay", "--all") == {"replayed": []}


def test_the_list_has_pages_with_the_newest_first_and_only_this_project(commands: Commands) -> None:
    commands.bury(*(letter(commands.scope, number) for number in range(5)))
    other = Scope(commands.scope.workspace_id, "other")
    commands.bury(letter(other, 9), scope=other)
    code, out, err = commands.run("list", "--limit", "2")
    lines = out.splitlines()
    assert code == 0
    assert lines[0].split() == ["ID", "WHEN", "ACTOR", "INSTANCE", "METHOD", "ATTEMPTS", "CAUSE"]
    assert [("id 4" in line, "id 3" in line) for line in lines[1:]] == [(True, False), (False, True)]
    assert "2023-11-14T22:13:20+00:00" in lines[1]
    page = commands.json("list", "--limit", "2")
    assert f"--before {page['next']}" in err
    ids = [item["actorId"] for item in page["items"]]
    while page["next"] is not None:
        page = commands.json("list", "--limit", "2", "--before", str(page["next"]))
        ids += [item["actorId"] for item in page["items"]]
    assert ids == ["id 4", "id 3", "id 2", "id 1", "id 0"]


def test_one_is_shown_whole_and_steers_no_terminal(commands: Commands) -> None:
    commands.bury(letter(commands.scope, 1))
    (item,) = commands.json("list")["items"]
    shown = commands.json("show", str(item["id"]))
    assert shown == item
    assert (shown["attempts"], shown["sequence"], shown["deployment"], shown["process"]) == (3, 101, "dpl_1", "host/1")
    assert shown["envelope"]["message"]["id"] == 1
    code, out, _ = commands.run("show", str(item["id"]))
    assert code == 0
    assert "dpl_1" in out
    assert '"sessionId": "s1"' in out
    assert "\x1b[31m" not in out


def test_a_replay_publishes_the_message_again_and_removes_the_letter(commands: Commands) -> None:
    commands.bury(*(letter(commands.scope, number) for number in range(3)))
    newest, *_ = commands.json("list")["items"]
    assert commands.run("replay", str(newest["id"]))[0] == 0
    (message,) = commands.inbound()
    assert message.subject == subjects.inbound(commands.scope, "room", "id 2")
    assert json.loads(message.payload) == newest["envelope"]
    assert [item["actorId"] for item in commands.json("list")["items"]] == ["id 1", "id 0"]
    replayed = commands.json("replay", "--all")["replayed"]
    assert replayed == sorted(replayed)
    assert len(replayed) == 2
    assert [message.subject[-4:] for message in commands.inbound()] == ["%200", "%201"]
    assert commands.json("list")["items"] == []


def test_a_wrong_id_is_an_error_that_names_it(commands: Commands) -> None:
    commands.bury(letter(commands.scope, 1))
    (item,) = commands.json("list")["items"]
    other = Scope(commands.scope.workspace_id, "other")
    for words in (["show"], ["replay"]):
        code, _, err = commands.run(*words, str(item["id"]), scope=other)
        assert code == 1
        assert f"there is no dead letter {item['id']} of {other.workspace_id}/other" in err
        assert commands.run(*words, str(item["id"] + 1))[0] == 1
    assert commands.inbound() == []


def test_a_letter_for_another_project_is_not_replayed(commands: Commands) -> None:
    commands.bury(letter(commands.scope, 1, subject="inbound.ws_victim.prj.room.a"))
    (item,) = commands.json("list")["items"]
    code, _, err = commands.run("replay", str(item["id"]))
    assert (code, "of another project" in err) == (1, True)
    assert len(commands.json("list")["items"]) == 1


@pytest.mark.parametrize(
    "words", [["replay"], ["replay", "1", "--all"], ["show"], ["show", "x"], ["list", "--limit", "0"]]
)
def test_a_command_line_that_names_no_letter_ends_with_2(commands: Commands, words: list[str]) -> None:
    assert commands.run(*words)[0] == 2


def test_without_a_server_it_says_where_none_was_found(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NATS_BOOT_TIMEOUT_S", "0.1")
    assert main(["dead-letters", "list", "--nats-url", "nats://127.0.0.1:1"]) == 1
    assert "nats://127.0.0.1:1" in capsys.readouterr().err
