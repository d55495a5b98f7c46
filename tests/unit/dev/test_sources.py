"""The sources of an app: found, packed, watched."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest
from watchfiles import Change

from zocket.dev.sources import Sources, module_directory
from zocket.errors import UsageError

pytestmark = pytest.mark.realtime

LIMIT_S = 20.0


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "shop" / "parts").mkdir(parents=True)
    (tmp_path / "shop" / "__init__.py").write_text("")
    (tmp_path / "shop" / "rooms.py").write_text("import pricing\n")
    (tmp_path / "pricing.py").write_text("")
    (tmp_path / "unrelated.py").write_text("")
    (tmp_path / "single.py").write_text("import pricing\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


async def test_the_bundle_has_what_the_app_imports_and_the_page_is_beside_the_module(project: Path) -> None:
    packed = await Sources("shop.rooms:app").pack()
    assert "shop/rooms.py" in packed.members
    assert "pricing.py" in packed.members
    assert "unrelated.py" not in packed.members
    assert module_directory(packed) == project / "shop"
    assert module_directory(await Sources("single:app").pack()) == project


async def test_a_module_that_is_not_there_is_an_error_that_does_not_list_the_standard_library(project: Path) -> None:
    with pytest.raises(UsageError, match=str(project)) as caught:
        await Sources("nowhere:app").pack()
    assert os.path.dirname(os.__file__) + "," not in caught.value.message + ","
    assert str(Path(sys.executable).parent) + "," not in caught.value.message + ","


async def test_a_change_of_a_source_is_seen(project: Path) -> None:
    sources = Sources("single:app")
    before = (await sources.pack()).sha256
    changes = sources.changes()
    seen = asyncio.ensure_future(anext(changes))
    async with asyncio.timeout(LIMIT_S):
        while not seen.done():  # the watch begins at a moment of its own
            (project / "pricing.py").write_text("PRICE = 1\n")
            await asyncio.wait((seen,), timeout=0.2)
    assert (await sources.pack()).sha256 != before
    await changes.aclose()  # type: ignore[attr-defined]


async def test_python_files_sources_and_new_directories_matter_and_nothing_else(project: Path) -> None:
    sources = Sources("shop.rooms:app")
    (project / "shop" / "prices.csv").write_text("1")
    await sources.pack()
    for kind, name, matters in [
        (Change.modified, "pricing.py", True),
        (Change.added, "new.py", True),
        (Change.modified, "shop/prices.csv", True),  # data of a package is part of the bundle
        (Change.added, "shop/parts", True),
        (Change.modified, "shop/parts", False),
        (Change.added, "notes.txt", False),
        (Change.modified, "index.html", False),
    ]:
        assert sources._matters(kind, str(project / name)) is matters, name
