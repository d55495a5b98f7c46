"""What docs/contracts.md shows is what the generators and the comparison say."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from zocket.contract import Contract, contract_of
from zocket.contract.changes import compare_contracts
from zocket.contract.python import python
from zocket.contract.typescript import typescript

TEXT = (Path(__file__).parents[2] / "docs" / "contracts.md").read_text()


def block(language: str) -> str:
    found = re.search(rf"^```{language}\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)
    assert found is not None
    return found[1]


@pytest.fixture
def contract(monkeypatch: pytest.MonkeyPatch) -> Contract:
    module = ModuleType("page")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(compile(block("python runnable"), "page", "exec", dont_inherit=True), module.__dict__)
    app: Any = module.__dict__["app"]
    return contract_of(app.definition)


def test_the_declarations_are_those_of_the_app(contract: Contract) -> None:
    shown, made = block("ts").split("\n\n"), typescript(contract)
    assert all(part.strip() in made for part in shown)


def test_the_classes_are_those_of_the_app(contract: Contract) -> None:
    assert "class ChatRoom(Actor[RoomState]):" in python(contract)
    assert block("python").startswith("from chat_client import ChatRoom\n")


def test_the_changes_are_written_as_they_are_told(contract: Contract) -> None:
    room = contract.actors["chat"]
    old = Contract(actors={"chat": room}, definitions=contract.definitions)
    said = {"say": room.methods["post"]}
    new = Contract(
        actors={"chat": type(room)(state=room.state, methods=said, events=room.events)}, definitions=old.definitions
    )
    [change] = compare_contracts(old, new)
    assert f"  breaks   {change.where}: {change.what}\n" in TEXT
