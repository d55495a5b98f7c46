"""What a page of the docs has a reader write."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

_BLOCK: Final = re.compile(r"^```(\w+) (\S+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_COMMAND: Final = re.compile(r"^npx (.*)$", re.MULTILINE)


def files_of(page: Path) -> dict[str, str]:
    """The files by their names, which stand in their fences; runnable Python is `app.py`."""
    blocks = _BLOCK.findall(page.read_text())
    return {"app.py" if (language, name) == ("python", "runnable") else name: code for language, name, code in blocks}


def npx_commands_of(page: Path) -> list[list[str]]:
    """What is to be run with `npx`, in its order."""
    return [command.split() for command in _COMMAND.findall(page.read_text())]
