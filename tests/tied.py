"""Processes that tests start end with the test run, however that ends.

Rules: on Linux the kernel kills such a process when the thread that started it has ended; elsewhere nothing is done.
"""

from __future__ import annotations

import shutil
from typing import Final

_SETPRIV: Final = shutil.which("setpriv")


def tied(*command: str) -> list[str]:
    """The command that runs this one, tied to our life."""
    return [*((_SETPRIV, "--pdeathsig", "KILL") if _SETPRIV else ()), *command]
