"""The types of the pages are those of their apps; the pages themselves are tested in tests/browser."""

import json
from pathlib import Path
from typing import Any

import pytest

from examples.chat.app import app as chat
from examples.draw.app import app as draw
from zocket import App
from zocket.contract import contract_of
from zocket.contract.typescript import typescript

HERE = Path(__file__).parent
CLIENT = HERE.parents[1] / "clients" / "js"


@pytest.mark.parametrize(("page", "app"), [("chat", chat), ("draw", draw)])
def test_the_types_are_those_that_zocket_gen_ts_makes(page: str, app: App) -> None:
    assert (HERE / page / "actors.ts").read_text() == typescript(contract_of(app.definition))


def versions(file: Path) -> dict[str, str]:
    package: dict[str, Any] = json.loads(file.read_text())
    return {**package.get("dependencies", {}), **package["devDependencies"]}


def test_the_packages_are_those_that_the_pages_are_tested_with() -> None:
    used, tested = versions(HERE / "package.json"), versions(CLIENT / "package.json")
    assert used.pop("zocket") == "file:../../clients/js"
    assert used == {name: tested[name] for name in used}
    locked = json.loads((HERE / "package-lock.json").read_text())["packages"]
    assert {name: locked[f"node_modules/{name}"]["version"] for name in used} == used
