"""A runtime's output as a person reads it."""

from __future__ import annotations

import json

import click
import pytest

from zocket.cli.loglines import readable


def test_a_line_of_ours_becomes_level_event_and_fields() -> None:
    line = json.dumps({"event": "runtime serves", "level": "info", "logger": "x", "workspace": "w", "actors": ["a b"]})
    assert click.unstyle(readable(line)) == 'info    runtime serves actors="[\\"a b\\"]"'


@pytest.mark.parametrize("line", ["plain", "{broken", "[1]", '{"event": 1, "level": "info"}', '{"level": "info"}', ""])
def test_every_other_line_stays_as_it_is(line: str) -> None:
    assert readable(line) == line


def test_nothing_in_a_line_steers_the_terminal() -> None:
    hostile = "\x1b]0;owned\x07"
    fields = {"event": hostile, "level": hostile, hostile: hostile, "exception": f"a\n{hostile}"}
    for line in (hostile, json.dumps(fields), json.dumps({"event": "e", "level": "info", "x": {hostile: hostile}})):
        assert "\x1b]" not in readable(line)
        assert "\x07" not in readable(line)


def test_a_traceback_shows_the_apps_own_frames() -> None:
    traceback = (
        "Traceback (most recent call last):\n"
        '  File "/x/zocket/runtime/bundle.py", line 209, in _import\n'
        "    return importlib.import_module(name)\n"
        "           ^^^^^^\n"
        '  File "<frozen importlib._bootstrap>", line 1204, in _gcd_import\n'
        '  File "/b/app.py", line 37, in <module>\n'
        "    1/0\n"
        "    ~^~\n"
        "ZeroDivisionError: division by zero"
    )
    text = click.unstyle(readable(json.dumps({"event": "e", "level": "error", "exception": traceback})))
    assert text.split("\n") == [
        "error   e",
        "Traceback (most recent call last):",
        '  File "/b/app.py", line 37, in <module>',
        "    1/0",
        "    ~^~",
        "ZeroDivisionError: division by zero",
    ]
