"""The command line: helps, exit codes, and errors as a person reads them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

from zocket import __version__
from zocket.cli import main
from zocket.cli.commands import zocket
from zocket.cli.processes import limits_over
from zocket.settings import Limits

PROCESSES = ["dev", "serve", "runtime", "gateway", "control"]


def every_command(command: click.Command = zocket, *names: str) -> list[list[str]]:
    """The words of every command, groups included."""
    below = getattr(command, "commands", {})
    return [list(names)] * bool(names) + [
        words for name, part in below.items() for words in every_command(part, *names, name)
    ]


def test_the_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"zocket {__version__}\n"


def test_the_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    listed = text[text.index("On your machine:") : text.index("Examples:")].split("\n")
    named = [line.split()[0] for line in listed if line.startswith("  ")]
    assert sorted(named) == sorted(zocket.commands)


@pytest.mark.parametrize("words", every_command(), ids=" ".join)
def test_every_command_has_a_help_with_an_example(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*words, "--help"]) == 0
    text = capsys.readouterr().out
    assert text.startswith(f"Usage: zocket {' '.join(words)}")
    examples = text[text.index("Examples:") :].split("\n")[1:]
    assert any(f"zocket {' '.join(words)}" in line for line in examples)
    assert ("--log-format" in text) == (words[0] in PROCESSES and len(words) == 1)


@pytest.mark.parametrize(
    "words",
    [
        words
        for words in every_command()
        if words[-1] in ("list", "show", "create", "deploy", "status", "check", "logs")
    ],
    ids=" ".join,
)
def test_what_prints_data_can_print_json(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    main([*words, "--help"])
    assert "--json" in capsys.readouterr().out


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completions_are_what_the_shell_reads(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completions", shell]) == 0
    text = capsys.readouterr().out
    assert f"_ZOCKET_COMPLETE={shell}_complete" in text
    assert "zocket" in text


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("zocket dep", "plain,deploy"),
        ("zocket env s", "plain,set"),
        ("zocket deploy --mes", "plain,--message"),
        ("zocket control create", "plain,create-admin"),
    ],
)
def test_completions_complete_commands_and_options(
    words: str, expected: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("_ZOCKET_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(words.count(" ")))
    with pytest.raises(SystemExit):
        main([])
    assert expected in capsys.readouterr().out.splitlines()


def test_a_reader_that_has_had_enough_ends_a_command_without_a_traceback() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as nobody_reads:
        ended = subprocess.run(
            [sys.executable, "-m", "zocket", "completions", "zsh"],
            stdout=nobody_reads,
            stderr=subprocess.PIPE,
            timeout=60,
            check=False,
        )
    assert (ended.returncode, ended.stderr) == (1, b"")


@pytest.mark.parametrize(
    "arguments",
    [["serve"], ["nothing"], ["serve", "chat:app", "--port", "70000"], ["dev", "chat:app", "--nothing"]],
)
def test_a_command_line_that_cannot_be_understood_ends_with_2(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    assert "Usage: zocket" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "variables", "message"),
    [
        (["gateway"], {"PORT": "80a"}, 'zocket gateway: PORT: expected an integer 0–65535, got "80a"'),
        (["control"], {"ZOCKET_DEV": "perhaps"}, 'zocket control: ZOCKET_DEV: expected true or false, got "perhaps"'),
        (["runtime"], {"DEPLOYMENT_ID": ""}, "zocket runtime: DEPLOYMENT_ID: is not set; name the deployment to load"),
        (["serve", "no_such_module"], {}, "zocket serve: no module no_such_module in "),
        (["dev", "no/such.py"], {}, 'zocket dev: "no/such.py" is a path; give the module: no.such:app'),
    ],
)
def test_a_known_error_is_one_line_and_ends_with_1(
    arguments: list[str],
    variables: dict[str, str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert main(arguments) == 1
    error = capsys.readouterr().err
    assert error.startswith(message)
    assert error.count("\n") == 1


def test_an_error_in_the_users_module_is_shown_with_its_own_lines_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "broken_app.py").write_text("1 / 0\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    assert main(["serve", "broken_app"]) == 1
    assert capsys.readouterr().err.replace(str(tmp_path), "") == (
        "Traceback (most recent call last):\n"
        '  File "/broken_app.py", line 1, in <module>\n'
        "    1 / 0\n"
        "    ~~^~~\n"
        "ZeroDivisionError: division by zero\n"
        "zocket serve: broken_app cannot be imported: ZeroDivisionError: division by zero\n"
    )


@pytest.mark.parametrize(
    ("arguments", "missing", "extra"),
    [
        (["serve", "chat"], "picows", "serve"),
        (["control"], "fastapi", "control"),
        (["dev", "chat"], "watchfiles", "dev"),
        (["--help"], "click", "serve"),
    ],
)
def test_a_package_that_is_missing_is_answered_with_its_extra(arguments: list[str], missing: str, extra: str) -> None:
    program = f"import sys; sys.modules[{missing!r}] = None; from zocket.cli import main; sys.exit(main({arguments}))"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 1
    assert ended.stderr.startswith("zocket")
    assert ended.stderr.endswith(f'pip install "zocket[{extra}]"\n')
    assert ended.stderr.count("\n") == 1


def test_limits_of_an_app_hold_unless_the_environment_says_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAX_PENDING_CALLS", "7")
    limits = limits_over(Limits(max_pending_calls=3, max_subscriptions=5))
    assert (limits.max_pending_calls, limits.max_subscriptions) == (7, 5)
