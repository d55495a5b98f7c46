"""`zocket dev` as real processes with real sockets."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.dev.conftest import APP
from zocket import connect

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.integration.dev.conftest import Start

pytestmark = pytest.mark.nats

DEV = ("dev", "counting", "--port", "0", "--json-status", "status.json")


def fetch(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as answer:
        text: str = answer.read().decode()
        return text


async def wait_answer(actor: Any, beginning: str) -> None:
    """Calls until the version answers that `beginning` names."""
    async with asyncio.timeout(40):
        while not (await actor.add()).startswith(beginning):
            pass


async def test_an_edit_or_a_killed_runtime_leaves_sockets_open_and_a_broken_edit_changes_nothing(
    start: Start, write_app: Callable[[str], None]
) -> None:
    command = start(*DEV, "--gen", "ts=web/zocket.d.ts")
    url = command.wait_serving()
    declared = command.directory / "web" / "zocket.d.ts"
    assert "add(): string;" in declared.read_text()
    contract = json.loads(fetch(f"{command.status()['gateway']['url'].replace('ws:', 'http:')}/schema"))
    assert list(contract["actors"]["counter"]["methods"]) == ["add"]
    async with connect(url, rpc_timeout=40) as client:
        actor = client.dynamic("counter", "a")
        assert await actor.add() == "one 1"
        session = client.id

        write_app("two")
        await wait_answer(actor, "two")

        (command.directory / "counting.py").write_text("import a_module_that_is_missing\n")
        command.wait_until(lambda: "version 3 cannot start; version 2 goes on serving" in command.text())
        assert "No module named 'a_module_that_is_missing' (counting.py, line 1)" in command.text()
        assert (await actor.add()).startswith("two")

        four = APP.replace("VERSION", "four").replace("add(self)", "add(self, by: int = 1)")
        (command.directory / "counting.py").write_text(four)
        await wait_answer(actor, "four")
        command.wait_until(lambda: "version 4 serves" in command.text())
        command.wait_until(lambda: "by?: number;" in declared.read_text())

        killed = command.status()["runtime"]["pid"]
        os.kill(killed, signal.SIGKILL)
        assert (await actor.add()).startswith("four")
        assert command.wait_until(lambda: command.status()["runtime"]["pid"] != killed)
        assert client.id == session
    assert f"runtime (process {killed}) was ended by SIGKILL; starting it again" in command.text()

    assert command.stop(signal.SIGINT) == 0
    assert command.left_over() == []
    assert not (command.directory / "status.json").exists()
    assert sorted(path.suffix for path in command.directory.iterdir() if path.is_file()) == [".py", ".txt"]


def test_nothing_outlives_a_platform_that_is_killed(start: Start) -> None:
    command = start(*DEV)
    command.wait_serving()
    roles = {" ".join(process.cmdline()) for process in command.seen}
    for role in ("zocket control", "zocket gateway", "zocket runtime", "nats-server"):
        assert any(role in line for line in roles), role
    command.process.kill()
    assert command.left_over() == []


def test_a_port_that_was_asked_for_and_is_taken_is_an_error(start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        command = start("dev", "counting", "--port", str(port))
        assert command.wait_exit() == 1
    assert command.text().startswith(f"zocket dev: port {port} is taken by another program")
    assert command.text().count("\n") == 1


def test_an_app_that_is_not_there_ends_it_before_anything_starts(start: Start) -> None:
    command = start("dev", "missing:app")
    assert command.wait_exit() == 1
    assert command.text().startswith("zocket dev: no Python source of the module missing in ")


async def test_an_app_that_cannot_start_waits_for_its_repair_and_its_page_is_on_the_gateways_port(
    start: Start, write_app: Callable[[str], None], tmp_path: Path
) -> None:
    (tmp_path / "counting.py").write_text("app = 1\n")
    command = start(*DEV)
    url = command.wait_serving()
    assert "none: the app cannot start, see above" in command.text()
    write_app("two")
    command.wait_until(lambda: "version 2 serves" in command.text())
    async with connect(url) as client:
        assert await client.dynamic("counter", "a").add() == "two 1"

    page = url.replace("ws:", "http:")
    assert '{"actors": ["counter"]}' in fetch(page)
    assert "function createClient" in fetch(f"{page}/zocket.js")
    assert command.stop(signal.SIGTERM) == 0
    assert command.left_over() == []
