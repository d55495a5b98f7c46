"""What a developer reads of several processes' logs."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import zocket
from zocket.dev.console import Console

PACKAGE = Path(zocket.__file__).parent


def said(role: str, line: str, *, style: str = "text", colours: bool = False) -> str:
    stream = io.StringIO()
    Console(style, colours=colours, stream=stream, wall=lambda: 0.0).hear(role, line)
    return re.sub(r"^\d\d:\d\d:\d\d ", "", stream.getvalue(), flags=re.MULTILINE)


def record(event: str, level: str = "info", **fields: object) -> str:
    return json.dumps({"event": event, "level": level, "timestamp": "t", "logger": "l", "process": "p", **fields})


def test_a_log_line_is_its_text_and_its_fields_behind_who_said_it() -> None:
    line = record("session opened", workspace="local-workspace", session="s_1", actors=["chat", "lobby"])
    assert said("gateway", line) == "gateway session opened  session=s_1  actors=chat,lobby\n"


def test_only_what_is_wrong_shows_its_level() -> None:
    assert said("control", record("odd", "warning")) == "control warning odd\n"


def test_what_is_no_log_line_is_shown_as_it_is_and_an_empty_line_not_at_all() -> None:
    assert said("runtime", 'print said {"event": 1}') == 'runtime print said {"event": 1}\n'
    assert said("runtime", "{broken") == "runtime {broken\n"
    assert said("runtime", '{"event": "without a level"}') == 'runtime {"event": "without a level"}\n'
    assert said("runtime", "  ") == ""


def test_nothing_of_a_client_moves_the_cursor() -> None:
    line = record("call failed", actor_id="\033[2J", exception="ValueError: \033]0;title\007")
    assert "\033" not in said("runtime", line)
    assert r"actor_id=\x1b[2J" in said("runtime", line)


def test_a_traceback_is_the_developers_part_with_the_files_as_they_are_named() -> None:
    trace = (
        "Traceback (most recent call last):\n"
        f'  File "{PACKAGE}/host/host.py", line 1, in _answer\n'
        "    effects = await instance.call()\n"
        "              ^^^^^^^^^^^^^^^^^^^^^\n"
        '  File "/somewhere/loaded/bundle-17.pyz/chat/rooms.py", line 13, in boom\n'
        '    raise ValueError("oops")\n'
        "ValueError: oops"
    )
    assert said("runtime", record("call failed", "error", exception=trace, method="boom")) == (
        "runtime error call failed  method=boom\n"
        "runtime Traceback (most recent call last):\n"
        'runtime   File "chat/rooms.py", line 13, in boom\n'
        'runtime     raise ValueError("oops")\n'
        "runtime ValueError: oops\n"
    )


def test_a_traceback_that_is_all_ours_stays_whole() -> None:
    trace = f'Traceback (most recent call last):\n  File "{PACKAGE}/host/host.py", line 1, in f\n    x\nKeyError: 1'
    assert "host.py" in said("runtime", record("worker failed", "critical", exception=trace))


def test_the_web_server_below_the_control_plane_is_not_heard_unless_it_warns() -> None:
    assert said("control", json.dumps({"event": "Started", "level": "info", "logger": "uvicorn.error"})) == ""
    assert said("control", json.dumps({"event": "Bad", "level": "warning", "logger": "uvicorn.error"})) != ""


def test_colours_only_where_they_are_wanted() -> None:
    assert "\033[" not in said("runtime", record("x", "error"))
    assert "\033[32mruntime\033[0m" in said("runtime", record("x", "error"), colours=True)


def test_json_stays_json_and_says_which_process() -> None:
    assert json.loads(said("runtime", record("x", port=1), style="json"))["port"] == 1
    assert json.loads(said("nats", "plain", style="json")) == {
        "event": "plain",
        "level": "info",
        "process": "nats",
        "timestamp": "1970-01-01T00:00:00Z",
    }
