"""What is in a bundle, what is not, and what is said about it."""

from __future__ import annotations

import io
import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from zocket.cli.bundling import Bundle, build
from zocket.cli.project import find_directory, read_config
from zocket.errors import UsageError
from zocket.runtime.archive import check_archive

if TYPE_CHECKING:
    from .conftest import Cli

APP = "from zocket import App\napp = App(actors={})\n"
KEY = "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----\n"

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """`write({"app.py": "…"})` writes a project and gives its directory."""

    def written(files: dict[str, str]) -> Path:
        for name, text in files.items():
            path = tmp_path / "project" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return tmp_path / "project"

    return written


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """`install("name", "1.0", {"name.py": ""}, requires=["other"])` installs a distribution for the test."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(str(site))

    def installed(name: str, version: str, files: dict[str, str], requires: tuple[str, ...] = ()) -> None:
        meta = f"{name.replace('-', '_')}-{version}.dist-info"
        needs = "".join(f"Requires-Dist: {item}\n" for item in requires)
        everything = {
            **files,
            f"{meta}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}",
            f"{meta}/entry_points.txt": "",
        }
        everything[f"{meta}/RECORD"] = "".join(f"{file},,\n" for file in [*everything, f"{meta}/RECORD"])
        for file, text in everything.items():
            path = site / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    return installed


def names(bundle: Bundle) -> list[str]:
    with zipfile.ZipFile(io.BytesIO(bundle.content)) as content:
        return sorted(name for name in content.namelist() if not name.endswith("/"))


def manifest(bundle: Bundle) -> dict[str, object]:
    with zipfile.ZipFile(io.BytesIO(bundle.content)) as content:
        loaded: dict[str, object] = json.loads(content.read("zocket.json"))
        return loaded


def reasons(bundle: Bundle) -> dict[str, str]:
    return {item.name: item.reason for item in bundle.left_out}


def test_the_apps_modules_come_and_their_neighbours_do_not(write: Write) -> None:
    project = write({"app.py": "import rooms\n" + APP, "rooms.py": "", "notes.py": "", "README.md": ""})
    bundle = build(read_config(project))
    assert names(bundle) == ["app.py", "rooms.py", "zocket.json"]
    assert bundle.problems == []
    assert manifest(bundle) == {"entry": "app:app", "dependencies": {}}


def test_the_same_project_gives_the_same_bytes(write: Write) -> None:
    project = write({"app.py": APP, "data/a.json": "{}", "pyproject.toml": '[tool.zocket]\ninclude = ["data/*"]\n'})
    first = build(read_config(project))
    os.utime(project / "app.py", (0, 0))
    assert build(read_config(project)).content == first.content


def test_a_src_layout_is_found_and_names_its_modules_as_python_does(write: Write) -> None:
    project = write(
        {
            "src/shop/__init__.py": "",
            "src/shop/app.py": APP,
            "src/shop/words.txt": "",
            "tests/test_shop.py": "",
            "pyproject.toml": '[tool.zocket]\napp = "shop.app:app"\n',
        }
    )
    assert names(build(read_config(project))) == ["shop/__init__.py", "shop/app.py", "shop/words.txt", "zocket.json"]


def test_include_and_exclude_say_what_else_and_what_not(write: Write) -> None:
    tool = '[tool.zocket]\napp = "shop:app"\ninclude = ["data", "nothing/*"]\n'
    tool += 'exclude = ["shop/drafts/**", "data/*.csv"]\n'
    project = write(
        {
            "shop/__init__.py": APP,
            "shop/drafts/one.txt": "",
            "data/deep/a.json": "",
            "data/b.csv": "",
            "data/__pycache__/x.pyc": "",
            "pyproject.toml": tool,
        }
    )
    bundle = build(read_config(project))
    assert names(bundle) == ["data/deep/a.json", "shop/__init__.py", "zocket.json"]
    assert reasons(bundle) == {
        "shop/drafts/one.txt": "excluded by [tool.zocket] exclude",
        "data/b.csv": "excluded by [tool.zocket] exclude",
        "nothing/*": "no file of the project matches this `include`",
    }


SECRETS = [".env", ".env.local", "prod.env", "server.pem", "tls.key", "id_rsa", "id_ed25519.pub", ".netrc"]


@pytest.mark.parametrize("name", [*SECRETS, "secrets.toml", "Service-Account-1.JSON", "CREDENTIALS"])
def test_a_secret_is_never_packed_whatever_names_it(write: Write, name: str) -> None:
    tool = '[tool.zocket]\napp = "shop:app"\ninclude = ["**/*", "**/.*"]\n'
    project = write({"shop/__init__.py": APP, f"shop/{name}": "x", name: "x", "pyproject.toml": tool})
    bundle = build(read_config(project))
    assert not [member for member in names(bundle) if Path(member).name == name]
    assert {key for key, reason in reasons(bundle).items() if "zocket env set" in reason} == {f"shop/{name}", name}


def test_secrets_beside_the_app_are_named_even_if_nothing_asks_for_them(write: Write) -> None:
    project = write({"app.py": APP, ".env": "TOKEN=x", "server.key": "x", "notes.txt": KEY, ".gitignore": ""})
    assert set(reasons(build(read_config(project)))) == {".env", "server.key", "notes.txt"}


def test_a_private_key_is_known_by_its_content(write: Write) -> None:
    bundle = build(read_config(write({"shop/__init__.py": APP, "shop/fixture.txt": KEY})), "shop:app")
    assert names(bundle) == ["shop/__init__.py", "zocket.json"]
    assert reasons(bundle)["shop/fixture.txt"].startswith("holds a private key")


def test_links_are_never_followed(write: Write, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "passwd").write_text("root")
    (outside / "stolen.py").write_text("")
    project = write(
        {
            "shop/__init__.py": "import stolen, linked.stolen\n" + APP,
            "data/a.json": "{}",
            "pyproject.toml": '[tool.zocket]\napp = "shop"\ninclude = ["data/**/*"]\n',
        }
    )
    (project / "shop" / "passwd").symlink_to(outside / "passwd")
    (project / "shop" / "deep").symlink_to(outside)
    (project / "stolen.py").symlink_to(outside / "stolen.py")
    (project / "linked").symlink_to(outside)
    (project / "data" / "passwd").symlink_to(outside / "passwd")
    (project / "data" / "all").symlink_to(outside)
    (project / "data" / "loop").symlink_to(project / "data")
    bundle = build(read_config(project))
    assert names(bundle) == ["data/a.json", "shop/__init__.py", "zocket.json"]
    assert {name for name, reason in reasons(bundle).items() if reason == "a symbolic link"} >= {
        "shop/passwd",
        "shop/deep",
        "stolen.py",
        "data/passwd",
    }


def test_an_app_that_is_a_link_is_refused(write: Write, tmp_path: Path) -> None:
    (tmp_path / "other.py").write_text(APP)
    project = write({"pyproject.toml": ""})
    (project / "app.py").symlink_to(tmp_path / "other.py")
    with pytest.raises(UsageError, match=r"the module app cannot be packed .*a symbolic link"):
        build(read_config(project))


@pytest.mark.parametrize("pattern", ["../*", "/etc/*", "a/../../b", "..\\\\x", "."])
def test_a_pattern_never_leads_out_of_the_project(write: Write, pattern: str) -> None:
    project = write({"app.py": APP, "pyproject.toml": f'[tool.zocket]\ninclude = ["{pattern}"]\n'})
    with pytest.raises(UsageError, match="must name something inside of the project"):
        read_config(project)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[tool.zocket]\ninclud = []\n", "has no includ; it knows app, exclude, gen, image, include"),
        ("[tool.zocket]\napp = 1\n", 'app must be "module:attribute"'),
        ('[tool.zocket]\ninclude = "x"\n', "include must be a list of texts"),
        ('[tool.zocket]\napp = "a b"\n', "expected module:attribute"),
        ("[tool", "cannot be read"),
    ],
)
def test_a_configuration_that_cannot_be_meant_is_an_error(write: Write, text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read_config(write({"app.py": APP, "pyproject.toml": text}))


def test_nothing_that_says_which_app_is_answered_with_what_to_write(write: Write) -> None:
    with pytest.raises(UsageError, match=r"\[tool\.zocket\]"):
        build(read_config(write({"chat.py": APP})))


def test_the_project_is_the_nearest_directory_that_says_so(write: Write, tmp_path: Path) -> None:
    project = write({"pyproject.toml": "[tool.zocket]", "shop/deep/app.py": "", "shop/pyproject.toml": "[project]"})
    assert find_directory(project / "shop" / "deep") == project
    (project / "shop" / ".zocket.json").write_text("{}")
    assert find_directory(project / "shop" / "deep") == project / "shop"
    assert find_directory(tmp_path) == tmp_path


def test_what_is_hidden_comes_only_if_a_pattern_says_so_and_our_own_directory_never(write: Write) -> None:
    files = {"app.py": APP, ".cache/a.txt": "", ".well-known/b.txt": "", ".zocket/secret.key": "", ".zocket/c.txt": ""}
    for include, expected in (('"**/*"', []), ('"**/*", ".well-known", ".zocket"', [".well-known/b.txt"])):
        project = write({**files, "pyproject.toml": f"[tool.zocket]\ninclude = [{include}]\n"})
        hidden = [name for name in names(build(read_config(project))) if name.startswith(".")]
        assert hidden == expected


def test_a_module_that_is_only_linked_here_is_said_to_be(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "linked_module.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path / "elsewhere"))
    bundle = build(read_config(write({"app.py": "import linked_module\n" + APP})))
    assert [item.name for item in bundle.problems] == ["linked_module"]
    assert "installed here as a link to its sources" in bundle.problems[0].reason


def test_pure_dependencies_come_in_the_version_that_is_installed(write: Write, install: Callable[..., None]) -> None:
    install("Deep-Words", "2.1", {"deep_words/__init__.py": "", "deep_words/data.txt": ""}, ("tiny ; extra == 'x'",))
    install("lotteries", "0.3", {"lottery.py": ""}, ("Deep.Words>=2", "pydantic", "absent; python_version < '3'"))
    project = write({"app.py": "import lottery\n" + APP})
    bundle = build(read_config(project))
    assert [(item.name, item.version) for item in bundle.dependencies] == [("deep-words", "2.1"), ("lotteries", "0.3")]
    assert manifest(bundle)["dependencies"] == {"deep-words": "2.1", "lotteries": "0.3"}
    assert {"deep_words/data.txt", "lottery.py", "lotteries-0.3.dist-info/METADATA"} <= set(names(bundle))
    assert not [name for name in names(bundle) if name.endswith("RECORD")]
    assert bundle.problems == []


def test_what_is_declared_comes_even_if_nothing_imports_it(write: Write, install: Callable[..., None]) -> None:
    install("plugin", "1.0", {"plugin.py": ""})
    install("other", "1.0", {"other.py": ""})
    project = write(
        {
            "app.py": APP,
            "pyproject.toml": '[project]\nname = "x"\ndependencies = ["plugin>=1", "zocket[dev]"]\n',
            "requirements.txt": "# pinned\nother==1.0 --hash=sha256:abc\n-r more.txt\nnot here at all !!\n",
        }
    )
    bundle = build(read_config(project))
    assert [item.name for item in bundle.dependencies] == ["other", "plugin"]
    assert reasons(bundle) == {"zocket": "the runtime's image has it"}


def test_a_version_that_is_not_the_declared_one_is_a_problem(write: Write, install: Callable[..., None]) -> None:
    install("plugin", "1.0", {"plugin.py": ""})
    project = write({"app.py": "import plugin\n" + APP, "requirements.txt": "plugin==2.0\nabsent-one\n"})
    bundle = build(read_config(project))
    assert {item.name: item.reason for item in bundle.problems} == {
        "plugin": "declared as plugin==2.0, but 1.0 is installed here",
        "absent-one": "declared, but not installed here",
    }


def test_compiled_code_stays_out_and_is_a_problem_unless_the_image_has_it(
    write: Write, install: Callable[..., None]
) -> None:
    install("fastmath", "1.0", {"fastmath/__init__.py": "", "fastmath/_core.cpython-311-x86_64-linux-gnu.so": ""})
    project = write({"app.py": "import fastmath\n" + APP})
    bundle = build(read_config(project))
    assert [item.name for item in bundle.problems] == ["fastmath"]
    assert "compiled code" in bundle.problems[0].reason
    assert "fastmath" in bundle.blocked
    (project / "pyproject.toml").write_text('[tool.zocket]\nimage = ["fastmath"]\n')
    bundle = build(read_config(project))
    assert bundle.problems == []
    assert "fastmath" not in bundle.blocked


def test_an_import_that_nothing_gives_is_a_problem_and_an_optional_one_is_not(write: Write) -> None:
    code = (
        "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    import only_types\n"
        "try:\n    import perhaps\nexcept ImportError:\n    perhaps = None\n"
        "def late():\n    import missing.part\n"
    )
    bundle = build(read_config(write({"app.py": code + APP})))
    assert [item.name for item in bundle.problems] == ["missing"]


def test_a_file_of_a_distribution_that_leads_out_is_not_packed(write: Write, install: Callable[..., None]) -> None:
    install("plugin", "1.0", {"plugin.py": "", "../bin/plugin": "", "plugin.pth": "import os"})
    bundle = build(read_config(write({"app.py": "import plugin\n" + APP})))
    assert not [name for name in names(bundle) if "bin" in name or name.endswith(".pth")]


def test_a_module_that_is_called_like_a_dependency_is_a_problem(write: Write, install: Callable[..., None]) -> None:
    install("plugin", "1.0", {"plugin.py": "", "rooms.py": ""})
    bundle = build(read_config(write({"app.py": "import plugin, rooms\n" + APP, "rooms.py": ""})))
    assert [item.reason for item in bundle.problems] == ["a module of the project is called rooms too"]


def test_what_the_runtime_would_refuse_is_refused_before_it_is_sent(write: Write) -> None:
    tool = '[tool.zocket]\ninclude = ["*.bin"]\n'
    project = write({"app.py": APP, "zeros.bin": "0" * 2_000_000, "pyproject.toml": tool})
    with pytest.raises(UsageError, match=r"'zeros.bin' unpacks to more than 200 times"):
        build(read_config(project))


def test_a_bundle_is_what_the_runtime_accepts(write: Write, install: Callable[..., None], tmp_path: Path) -> None:
    install("lotteries", "0.3", {"lottery.py": ""})
    bundle = build(read_config(write({"app.py": "import lottery\n" + APP})))
    path = tmp_path / "bundle.pyz"
    path.write_bytes(bundle.content)
    assert "app.py" in check_archive(path)


def test_the_check_imports_only_what_the_bundle_and_the_image_have(cli: Cli) -> None:
    app = "__import__('pytest')\nfrom rooms import Counter\nfrom zocket import App\napp = App(actors={'a': Counter})\n"
    cli.write(app__py=app)
    cli.write(rooms__py="from zocket import Actor, method\nclass Counter(Actor[dict[str, int]]): ...\n")
    cli.write(pyproject__toml='[tool.zocket]\nimage = ["pytest"]\n')
    environ = {"PATH": os.environ["PATH"], "ZOCKET_TOKEN": "zkd_secret"}
    good = cli("check", "--json", **environ)
    assert (good.code, good.err) == (0, "")
    assert good.json["ok"] is True
    assert good.json["app"]["actors"][0]["class"] == "rooms.Counter"
    assert good.json["size"] > 0
    cli.write(pyproject__toml="")
    refused = cli("check", "--json", **environ)
    assert refused.code == 1
    assert "No module named 'pytest' (it is installed here, but neither the bundle" in refused.json["error"]


def test_the_check_says_what_is_wrong_and_fails(cli: Cli) -> None:
    cli.write(app__py="import os\nprint('noise')\nos.environ['ZOCKET_TOKEN']\n")
    cli.write(pyproject__toml='[project]\ndependencies = ["absent-one"]\n')
    ended = cli("check", "--json", PATH=os.environ["PATH"], ZOCKET_TOKEN="zkd_secret")
    assert ended.code == 1
    assert "absent-one" in [item["name"] for item in ended.json["leftOut"] if item["problem"]]
    assert "KeyError: 'ZOCKET_TOKEN'" in ended.json["error"]


def test_the_check_survives_an_app_that_ends_the_process(cli: Cli) -> None:
    cli.write(app__py="import os, sys\nsys.stderr.write('dying\\n')\nsys.stderr.flush()\nos._exit(7)\n")
    ended = cli("check", PATH=os.environ["PATH"])
    assert ended.code == 1
    assert "exit code 7" in ended.err
    assert "dying" in ended.err
