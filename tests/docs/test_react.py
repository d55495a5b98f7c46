"""docs/react.md goes the whole way: its types are those of its class. That its page works is in tests/browser."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.docs.pages import files_of
from zocket.contract import contract_of
from zocket.contract.typescript import typescript

PAGE = Path(__file__).parents[2] / "docs" / "react.md"


def test_the_types_are_those_of_the_class(monkeypatch: pytest.MonkeyPatch) -> None:
    files = files_of(PAGE)
    module = ModuleType("page")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(compile(files["app.py"], "app.py", "exec", dont_inherit=True), module.__dict__)
    app: Any = module.__dict__["app"]
    assert files["web/actors.ts"] == typescript(contract_of(app.definition))
