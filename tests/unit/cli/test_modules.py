"""Which app `module:attribute` names, and what a person reads when it names none."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from zocket.cli.failures import ModuleFailed
from zocket.cli.modules import Target, load_app
from zocket.errors import UsageError

APP = """
from pydantic import BaseModel
from zocket import Actor, App, method

class State(BaseModel):
    count: int = 0

class Counter(Actor[State]):
    @method
    async def add(self) -> int:
        return 1

app = App(actors={"NAME": Counter})
"""


@pytest.fixture(autouse=True)
def clean_imports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> object:
    """A working directory and an import path of this test's own."""
    before = set(sys.modules)
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield
    for name in set(sys.modules) - before:
        if not name.startswith("zocket"):
            del sys.modules[name]
    sys.path_importer_cache.clear()


def write(path: str, text: str = APP, name: str = "counter") -> None:
    file = Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text.replace("NAME", name))


def fails(target: str) -> str:
    with pytest.raises(UsageError) as caught:
        load_app(Target.parse(target))
    return caught.value.message


@pytest.mark.parametrize(
    ("text", "module", "attribute"),
    [
        ("chat", "chat", "app"),
        ("chat:app", "chat", "app"),
        ("chat.rooms:apps.main", "chat.rooms", "apps.main"),
    ],
)
def test_a_target_is_a_module_and_an_attribute_which_is_app_by_default(text: str, module: str, attribute: str) -> None:
    assert Target.parse(text) == Target(module, attribute)


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("chat.py", "chat:app"),
        ("./chat.py:other", "chat:other"),
        ("src/chat/rooms.py", "src.chat.rooms:app"),
        ("chat:", "chat:app"),
        ("", "module:attribute"),
        (":app", "module:attribute"),
        ("chat:app()", "module:attribute"),
        ("chat:a:b", "module:attribute"),
        ("1chat", "module:attribute"),
    ],
)
def test_what_is_no_target_is_answered_with_one(text: str, hint: str) -> None:
    with pytest.raises(UsageError, match=hint.replace("(", r"\(")):
        Target.parse(text)


def test_the_working_directory_comes_before_the_import_path(tmp_path: Path) -> None:
    sys.path.insert(0, str(tmp_path / "elsewhere"))
    write(str(tmp_path / "elsewhere" / "shop_a.py"), name="elsewhere")
    write("shop_a.py", name="here")
    app, directory = load_app(Target("shop_a"))
    assert list(app.definition.actors) == ["here"]
    assert directory == Path.cwd()


def test_a_module_of_the_import_path_and_a_package_are_found(tmp_path: Path) -> None:
    sys.path.append(str(tmp_path / "elsewhere"))
    write(str(tmp_path / "elsewhere" / "shop_b.py"), name="elsewhere")
    write("shop_c/__init__.py", "")
    write("shop_c/rooms.py", name="packed")
    assert list(load_app(Target("shop_b"))[0].definition.actors) == ["elsewhere"]
    app, directory = load_app(Target.parse("shop_c.rooms"))
    assert list(app.definition.actors) == ["packed"]
    assert directory == Path.cwd() / "shop_c"


def test_a_module_that_is_not_there_says_where_was_looked_and_what_was_there() -> None:
    write("shop_d.py")
    assert fails("shopd:app") == (f"no module shopd in {Path.cwd()} (there: shop_d), on PYTHONPATH or installed")
    assert "no module nowhere (of nowhere.rooms) in" in fails("nowhere.rooms:app")


def test_an_attribute_that_is_no_app_says_which_ones_are() -> None:
    write("shop_e.py")
    assert fails("shop_e:main") == 'shop_e has no "main"; found there: shop_e:app'
    assert fails("shop_e:Counter") == "shop_e:Counter is no zocket.App but Counter; found there: shop_e:app"
    write("shop_f.py", "def app(scope, receive, send): ...\n")
    assert "run it with an ASGI server such as uvicorn; the module has no App" in fails("shop_f:app")


def test_a_module_that_imports_what_is_missing_is_not_taken_for_missing_itself() -> None:
    write("shop_g.py", "import a_missing_package\n")
    with pytest.raises(ModuleFailed, match="shop_g cannot be imported: ModuleNotFoundError") as caught:
        load_app(Target("shop_g"))
    assert "import a_missing_package" in caught.value.traceback


def test_the_traceback_of_a_failing_module_shows_only_its_own_code() -> None:
    write("shop_h.py", "import shop_i\n")
    write("shop_i.py", 'def start():\n    raise ValueError("no luck")\n\n\nstart()\n')
    with pytest.raises(ModuleFailed) as caught:
        load_app(Target("shop_h"))
    lines = [line for line in caught.value.traceback.splitlines() if line.startswith("  File")]
    assert [Path(line.split('"')[1]).name for line in lines] == ["shop_h.py", "shop_i.py", "shop_i.py"]
    assert caught.value.message == "shop_h cannot be imported: ValueError: no luck"


def test_a_definition_that_cannot_be_points_at_the_line_of_the_app() -> None:
    write("shop_j.py", APP.replace("Actor[State]", "Actor[int]"))
    with pytest.raises(ModuleFailed) as caught:
        load_app(Target("shop_j"))
    assert 'app = App(actors={"counter": Counter})' in caught.value.traceback
    assert "zocket/core" not in caught.value.traceback
    assert "Counter" in caught.value.message


def test_a_module_with_a_syntax_error_shows_the_line() -> None:
    write("shop_k.py", "def broken(:\n")
    with pytest.raises(ModuleFailed, match="SyntaxError") as caught:
        load_app(Target("shop_k"))
    assert "def broken(:" in caught.value.traceback


def test_a_module_that_exits_has_failed() -> None:
    write("shop_l.py", "raise SystemExit(3)\n")
    with pytest.raises(ModuleFailed, match="SystemExit: 3"):
        load_app(Target("shop_l"))
