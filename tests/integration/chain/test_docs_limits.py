"""docs/limits.md names every limit with its default; all tests that it and others name exist."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

from zocket.settings import Limits

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / "docs/limits.md").read_text()
OTHERS = "".join((ROOT / "docs" / page).read_text() for page in ("interoperation.md", "nats.md", "promises.md"))
ROWS = [[cell.strip() for cell in line.strip("|").split("|")] for line in TEXT.splitlines() if line.startswith("|")]


def test_every_setting_is_there_with_its_default() -> None:
    documented = {row[1].strip("`"): row[2] for row in ROWS if len(row) == 6 and row[1].startswith("`")}
    defaults = {item.metadata["variable"]: str(item.default) for item in dataclasses.fields(Limits)}
    assert documented == defaults


def test_every_test_that_is_named_exists() -> None:
    named = re.findall(r"`([\w/]+\.py)::(\w+)`", TEXT + OTHERS)
    assert len(named) > 50
    for file, name in named:
        assert re.search(rf"def {name}\(", (ROOT / "tests" / file).read_text()), (file, name)


def test_every_code_that_is_named_is_one_of_the_protocols() -> None:
    protocol = (ROOT / "docs/protocol.md").read_text()
    codes = {
        code for row in ROWS for cell in row[1:4] for code in re.findall(r"`([a-z]+(?:_[a-z]+)+|overloaded)`", cell)
    }
    codes -= {"zocket_inbound_refused_total", "on_disconnect"}
    assert {"too_many_calls", "rate_limited", "invalid_id", "overloaded"} <= codes
    for code in codes:
        assert f"| `{code}`" in protocol, code
