"""What the examples share by copy stays one thing."""

from __future__ import annotations

from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent.parent / "examples"


@pytest.mark.parametrize("name", ["theme.css", "ui.js"])
def test_every_example_has_the_same_copy(name: str) -> None:
    copies = {path.parent.name: path.read_text() for path in EXAMPLES.glob(f"*/{name}")}
    assert sorted(copies) == ["agent", "chat", "counter", "draw"]
    assert len(set(copies.values())) == 1


def test_the_pages_load_nothing_from_elsewhere() -> None:
    pages = [path for kind in ("html", "css", "js") for path in EXAMPLES.glob(f"*/*.{kind}")]
    pages += [path for part in ("chat", "draw", "shared") for path in (EXAMPLES / "react" / part).iterdir()]
    assert pages != []
    for path in pages:
        text = path.read_text().replace("http://www.w3.org/2000/svg", "").replace("http://www.w3.org/2000/svg", "")
        assert "http://" not in text, path
        assert "https://" not in text, path
