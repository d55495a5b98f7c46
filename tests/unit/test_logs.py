"""`zocket.logs`: what a line holds, and what it never holds."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING

import pytest

from zocket import logs

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def _root_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def fail(token: str) -> None:
    raise ValueError("the handler failed")


@pytest.mark.parametrize("style", ["text", "json"])
def test_a_traceback_shows_the_way_and_never_the_values(style: str, capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(style=style)
    try:
        fail("".join(["se", "cret"]))
    except ValueError as error:
        logging.getLogger("zocket.host").error("call failed", exc_info=error)
    written = capsys.readouterr().err
    assert "ValueError: the handler failed" in written
    assert "in fail" in written
    assert "secret" not in written


def test_what_a_client_has_named_cannot_steer_a_terminal_or_forge_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(style="text")
    odd = "a\x1b[2J\x9b2Jb\r\nforged\u202e\x00\u2028\ud800"
    logging.getLogger("zocket.host").error("call failed\n\tin two lines", extra={"actor_id": odd, "method": "é🦊"})
    written = capsys.readouterr().err
    assert len(written.splitlines()) == 2
    assert written.count("\n\tin two lines") == 1
    assert r"actor_id=a\x1b[2J\x9b2Jb\r\nforged\u202e\x00\u2028\ud800" in written
    assert "method=é🦊" in written


def test_a_line_of_json_has_the_fields_of_its_process_and_of_its_place(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(style="json", process="gateway")
    logs.bound("zocket.gateway", workspace="ws").warning("full: %d", 3, extra={"session": "s_1"})
    line = json.loads(capsys.readouterr().err)
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "full: 3",
        "level": "warning",
        "logger": "zocket.gateway",
        "process": "gateway",
        "session": "s_1",
        "workspace": "ws",
    }


def test_a_line_of_json_takes_whatever_it_is_given(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(style="json", worker="0")
    try:
        fail("")
    except ValueError:
        logging.getLogger("zocket.host").exception(
            "odd: \ud800", stack_info=True, extra={"actor_id": "a\nb\udcff", "worker": "own", "what": {1}}
        )
    [text] = capsys.readouterr().err.splitlines()
    line = json.loads(text)
    assert text.isascii()
    assert list(line) == sorted(line)
    assert line["event"] == "odd: \ud800"
    assert (line["level"], line["actor_id"], line["worker"], line["what"]) == ("error", "a\nb\udcff", "own", "{1}")
    assert line["exception"].startswith("Traceback (most recent call last):\n")
    assert line["exception"].endswith("ValueError: the handler failed")
    assert line["stack_info"].startswith("Stack (most recent call last):\n")
    assert line["timestamp"][:2] == "20"
    assert len(line["timestamp"]) == len("2026-11-24T12:00:00.000000Z")
