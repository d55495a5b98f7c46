"""`zocket init`: what it writes runs as it is."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from typing import TYPE_CHECKING

import pytest

from zocket.cli import main
from zocket.cli.starter import FILES, write_project
from zocket.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path


def test_a_new_project_passes_its_own_test_and_its_check(tmp_path: Path) -> None:
    assert write_project(tmp_path / "my game", "my game") == list(FILES)
    directory = tmp_path / "my game"
    tests = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "zocket.testing.plugin"],
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert tests.returncode == 0, tests.stdout + tests.stderr
    assert "2 passed" in tests.stdout
    checked = subprocess.run(
        [sys.executable, "-m", "zocket", "check"],
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "ZOCKET_HOME": str(tmp_path / "home")},
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "add(amount:" in checked.stdout


def test_names_fit_where_they_are_written(tmp_path: Path) -> None:
    write_project(tmp_path, 'a "fine" <game> \\{{name}}')
    project = tomllib.loads((tmp_path / "pyproject.toml").read_text())
    assert project["project"]["name"] == "a-fine-game-name"
    assert project["tool"]["zocket"]["app"] == "app:app"
    for file in FILES:
        text = (tmp_path / file).read_text()
        assert "{{" not in text
    compile((tmp_path / "app.py").read_text(), "app.py", "exec")


def test_the_page_uses_the_client_that_the_server_brings(tmp_path: Path) -> None:
    write_project(tmp_path, "game")
    assert 'from "/zocket.js"' in (tmp_path / "index.html").read_text()


@pytest.mark.parametrize("file", FILES)
def test_nothing_is_overwritten_and_nothing_is_written_by_half(tmp_path: Path, file: str) -> None:
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text("mine")
    with pytest.raises(UsageError, match="already; nothing was written"):
        write_project(tmp_path, "game")
    assert [path.read_text() for path in tmp_path.rglob("*") if path.is_file()] == ["mine"]


def test_a_link_is_not_written_through(tmp_path: Path) -> None:
    (tmp_path / "app.py").symlink_to(tmp_path / "elsewhere.py")
    with pytest.raises(UsageError, match=r"has app\.py already"):
        write_project(tmp_path, "game")


def test_the_command_says_what_is_next(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", str(tmp_path / "game")]) == 0
    captured = capsys.readouterr()
    assert captured.out.split() == list(FILES)
    assert "zocket dev app:app" in captured.err
    assert main(["init", str(tmp_path / "game")]) == 1
