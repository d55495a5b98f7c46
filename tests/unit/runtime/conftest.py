from __future__ import annotations

import sys
import zipfile
from typing import TYPE_CHECKING, Protocol

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class WriteArchive(Protocol):
    """Writes a zip archive; gives its path."""

    def __call__(self, members: dict[str, str]) -> Path: ...


@pytest.fixture(autouse=True)
def fresh_imports() -> Iterator[None]:
    """What a bundle imports is gone after the test."""
    path, modules = list(sys.path), set(sys.modules)
    yield
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        del sys.modules[name]


@pytest.fixture
def write_archive(tmp_path: Path) -> WriteArchive:
    def write(members: dict[str, str]) -> Path:
        path = tmp_path / "bundle.pyz"
        with zipfile.ZipFile(path, "w") as archive:
            for name, text in members.items():
                archive.writestr(name, text)
        return path

    return write
