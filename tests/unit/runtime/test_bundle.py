"""R3 and R4: how a bundle becomes an app."""

from __future__ import annotations

import pickle
import sys
from typing import TYPE_CHECKING

import pytest

from zocket.errors import BundleError
from zocket.runtime.bundle import Entry, find_entry, load

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.runtime.conftest import WriteArchive

ACTOR = """
from __future__ import annotations
from zocket.app import App
from zocket.core import Actor, method

class Counter(Actor[dict[str, int]]):
    @method
    async def add(self, by: int) -> int:
        return by

def make(name):
    return App(actors={name: Counter})
"""


def write(directory: Path, text: str) -> Path:
    path = directory / "bundle-1.py"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("lines", "actor"),
    [
        ("registry = make('r'); app = make('a'); other = make('o')", "r"),
        ("app = make('a'); other = make('o')", "a"),
        ("anything = make('x')", "x"),
        ("one = make('x'); alias = one", "x"),
        ("registry = {'not': 'an app'}; app = make('a')", "a"),
    ],
)
def test_r4_the_app_is_registry_else_app_else_the_only_one(tmp_path: Path, lines: str, actor: str) -> None:
    assert list(load(write(tmp_path, f"{ACTOR}\n{lines}\n")).actors) == [actor]


@pytest.mark.parametrize(
    ("lines", "listed"),
    [
        ("", r"has no App; found: .*Counter \(type\), make \(function\)"),
        ("one = make('x'); two = make('y')", r"several apps \(one, two\)"),
        ("app = Counter", r"has no App; found: .*app \(type\)"),
    ],
)
def test_r4_none_or_several_is_an_error_that_lists_what_was_found(tmp_path: Path, lines: str, listed: str) -> None:
    with pytest.raises(BundleError, match=listed):
        load(write(tmp_path, f"{ACTOR}\n{lines}\n"))


def test_an_object_that_fails_when_looked_at_is_no_app(tmp_path: Path) -> None:
    odd = (
        "class Odd:\n    @property\n    def definition(self): raise RuntimeError('no')\nodd = Odd()\napp = make('a')\n"
    )
    assert list(load(write(tmp_path, f"{ACTOR}\n{odd}")).actors) == ["a"]


MODELS = """
from __future__ import annotations
import dataclasses
from pydantic import BaseModel
from zocket.app import App
from zocket.core import Actor, method

class State(BaseModel):
    children: list[Child] = []

class Child(BaseModel):
    name: str

@dataclasses.dataclass
class Point:
    x: int
    parent: Point | None = None

class Tree(Actor[State]):
    @method
    async def add(self, child: Child) -> list[Child]:
        return [child]

app = App(actors={"tree": Tree})
"""


def test_forward_references_dataclasses_and_pickle_work_in_a_file(tmp_path: Path) -> None:
    definition = load(write(tmp_path, MODELS))
    module = sys.modules[definition.actors["tree"].cls.__module__]
    assert module.State.model_validate({"children": [{"name": "a"}]}).children[0].name == "a"
    assert pickle.loads(pickle.dumps(module.Point(1, module.Point(2)))).parent.x == 2


def test_absolute_and_relative_imports_and_data_files_work_in_an_archive(write_archive: WriteArchive) -> None:
    path = write_archive(
        {
            "shop/__init__.py": "",
            "shop/models.py": MODELS,
            "shop/text.txt": "hello",
            "shop/entry.py": (
                "import pkgutil\nfrom shop.models import app as made\nfrom . import models\n"
                "text = pkgutil.get_data('shop', 'text.txt')\napp = made\n"
            ),
            "zocket.json": '{"entry": "shop.entry:app"}',
        }
    )
    assert list(load(path).actors) == ["tree"]
    assert sys.modules["shop.entry"].text == b"hello"
    point = sys.modules["shop.models"].Point(3)
    assert pickle.loads(pickle.dumps(point)) == point


@pytest.mark.parametrize(
    ("members", "module"),
    [
        (["chat.py"], "chat"),
        (["chat/__init__.py", "chat/rooms.py", "chat/data.txt"], "chat"),
        (["app.py", "other.py"], "app"),
        (["main.py", "other/__init__.py"], "main"),
        (["app/__init__.py", "main.py"], "app"),
        (["chat.py", "__main__.py", "README.md", "chat-1.0.dist-info/METADATA"], "chat"),
    ],
)
def test_the_entry_of_an_archive_without_a_manifest(
    write_archive: WriteArchive, members: list[str], module: str
) -> None:
    assert find_entry(write_archive(dict.fromkeys(members, "")), members) == Entry(module)


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ({"one.py": "", "two.py": ""}, "modules one, two, and nothing says"),
        ({"README.md": "", "pkg/data.txt": ""}, "no Python module"),
        ({"zocket/__init__.py": "", "app.py": ""}, "its own zocket package"),
        ({"app.py": "", "zocket.json": "{"}, "must be"),
        ({"app.py": "", "zocket.json": "[]"}, "must be"),
        ({"app.py": "", "zocket.json": '{"entry": 1}'}, "must be"),
        ({"app.py": "", "zocket.json": '{"entry": "os; import x"}'}, "must be"),
        ({"app.py": "", "zocket.json": '{"entry": "app:nothing"}'}, "app:nothing is no App"),
        ({"app.py": "", "zocket.json": '{"entry": "missing_module"}'}, "No module named 'missing_module'"),
        ({"app.py": "def broken(:"}, "SyntaxError"),
        ({"app.py": "import no_such_library"}, r"No module named 'no_such_library' \(app.py, line 1\)"),
        ({"app.py": "\n\nraise SystemExit('bye')"}, r"SystemExit: bye \(app.py, line 3\)"),
    ],
)
def test_what_is_wrong_with_an_archive_is_said(
    write_archive: WriteArchive, members: dict[str, str], reason: str
) -> None:
    with pytest.raises(BundleError, match=reason):
        load(write_archive(members))


def test_a_definition_error_reaches_the_report_with_its_line(tmp_path: Path) -> None:
    text = ACTOR + "\napp = make('not a name')\n"
    with pytest.raises(BundleError, match=r"actor type: .*\(bundle-1.py, line \d+\)|actors\['not a name'\]"):
        load(write(tmp_path, text))


def test_a_failed_import_leaves_no_module_behind(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="ZeroDivisionError"):
        load(write(tmp_path, "1 / 0"))
    assert "bundle" not in sys.modules
