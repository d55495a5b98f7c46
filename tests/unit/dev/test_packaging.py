from __future__ import annotations

import io
import json
import subprocess
import sys
import zipfile
from typing import TYPE_CHECKING

import pytest

from zocket.dev.packaging import pack
from zocket.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

APP = """
from zocket.app import App
from zocket.core import Actor

class A(Actor[dict]):
    pass

app = App(actors={"a": A})
"""
LOAD = """
import pathlib, sys
from zocket.runtime.bundle import load
print(list(load(pathlib.Path(sys.argv[1])).actors))
"""


def project(directory: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return directory


def files(content: bytes) -> list[str]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return [name for name in archive.namelist() if not name.endswith("/")]


def test_a_module_comes_with_the_modules_of_its_project_that_it_imports(tmp_path: Path) -> None:
    project(
        tmp_path,
        {
            "chat.py": "import json, httpx\nfrom models import Message\ndef late():\n    import rooms.lobby\n" + APP,
            "models.py": "import words\n",
            "words.py": "",
            "rooms/__init__.py": "",
            "rooms/lobby.py": "",
            "rooms/names.txt": "a",
            "rooms/__pycache__/lobby.pyc": "x",
            "rooms/.hidden": "x",
            "unrelated.py": "",
            "json5.py": "",
        },
    )
    packed = pack("chat:app", [tmp_path])
    wanted = ["chat.py", "models.py", "rooms/__init__.py", "rooms/lobby.py", "rooms/names.txt", "words.py"]
    assert list(packed.members) == wanted
    assert files(packed.content) == [*wanted, "zocket.json"]
    with zipfile.ZipFile(io.BytesIO(packed.content)) as archive:
        assert json.loads(archive.read("zocket.json")) == {"entry": "chat:app"}


def test_a_package_comes_whole_with_relative_imports_and_neighbours(tmp_path: Path) -> None:
    project(
        tmp_path,
        {
            "shop/__init__.py": "",
            "shop/api/app.py": "from ..db import x\nfrom . import views\n" + APP,
            "shop/api/__init__.py": "",
            "shop/api/views.py": "from common.money import Money\n",
            "shop/db.py": "x = 1",
            "common/money.py": "from . import currency\nclass Money: pass\n",
            "common/currency.py": "",
            "common/other.py": "",
        },
    )
    members = pack("shop.api.app:app", [tmp_path]).members
    assert members == (
        "common/currency.py",
        "common/money.py",
        "shop/__init__.py",
        "shop/api/__init__.py",
        "shop/api/app.py",
        "shop/api/views.py",
        "shop/db.py",
    )


def test_the_same_sources_give_the_same_bytes(tmp_path: Path) -> None:
    first = pack("chat:app", [project(tmp_path / "one", {"chat.py": APP, "models.py": ""})])
    (tmp_path / "two").mkdir()
    second = pack("chat:app", [project(tmp_path / "two", {"models.py": "", "chat.py": APP})])
    assert first.content == second.content
    assert first.sha256 == second.sha256
    changed = pack("chat:app", [project(tmp_path / "two", {"chat.py": APP + "\n"})])
    assert changed.sha256 != first.sha256


def test_the_first_directory_that_has_the_module_counts(tmp_path: Path) -> None:
    one = project(tmp_path / "one", {"chat.py": APP, "models.py": ""})
    two = project(tmp_path / "two", {"chat.py": "import models\n" + APP, "models.py": ""})
    assert pack("chat:app", [tmp_path / "none", one, two]).members == ("chat.py",)
    assert pack("chat:app", [two, one]).sources == (two / "chat.py", two / "models.py")


def test_by_default_the_working_directory_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project(tmp_path, {"chat_of_this_test.py": APP}))
    assert pack("chat_of_this_test").members == ("chat_of_this_test.py",)


def test_an_installed_package_brings_none_of_its_neighbours() -> None:
    members = pack("structlog.dev").members
    assert "structlog/dev.py" in members
    assert {name.partition("/")[0] for name in members} == {"structlog"}


def test_a_syntax_error_is_left_to_the_import(tmp_path: Path) -> None:
    assert pack("chat:app", [project(tmp_path, {"chat.py": "def broken(:"})]).members == ("chat.py",)


@pytest.mark.parametrize("target", ["", "chat:", "chat app", "../chat:app", "chat.py:app:x", ":app", "chat:app.b"])
def test_a_target_of_another_form_is_refused(tmp_path: Path, target: str) -> None:
    with pytest.raises(UsageError, match="module:attribute"):
        pack(target, [project(tmp_path, {"chat.py": APP})])


def test_a_module_that_is_not_there_is_an_error_that_says_where_was_looked(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"no module|no Python source of the module nothing in {tmp_path}"):
        pack("nothing:app", [tmp_path])


@pytest.mark.parametrize("target", ["shop.app:app", "examples.chat.app:app", "single:app"])
def test_what_was_packed_is_what_the_runtime_loads(tmp_path: Path, target: str) -> None:
    root = project(
        tmp_path / "project",
        {
            "shop/__init__.py": "",
            "shop/app.py": "from shop import models\n" + APP,
            "shop/models.py": "",
            "examples/chat/app.py": "from examples.chat import names\n" + APP,
            "examples/chat/names.py": "",
            "single.py": APP,
        },
    )
    bundle = tmp_path / "bundle.pyz"
    bundle.write_bytes(pack(target, [root]).content)
    done = subprocess.run(
        [sys.executable, "-c", LOAD, str(bundle)], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.stdout == "['a']\n", done.stderr
