"""Ends a child process when its parent has died, however it died.

Rules: a shell waits at a pipe whose other end only the parent holds, so nothing depends on the thread that started the
child, and no code of ours runs between fork and exec; whoever ends the child itself releases the lifeline afterwards.
"""

from __future__ import annotations

import os
import subprocess
from typing import Final

_WATCH: Final = 'read -r released || kill -KILL "$1"'
"""A line lets the child go on; the end of the pipe without one is the parent's death."""


class Lifeline:
    """Holds a child from its start until `release`. Does nothing where there is no POSIX shell.

    A process that was forked from the parent without an exec holds the pipe, too, and delays the end.

    Args:
        pid: the child; one that the parent has not waited for yet, so that the number is its own.
    """

    def __init__(self, pid: int) -> None:
        self._watcher: subprocess.Popen[bytes] | None = None
        if os.name == "posix":
            # A session of its own: what ends the parent's group must not end the watcher with it.
            self._watcher = subprocess.Popen(  # noqa: S603 — the shell of the system, a text of our own
                ["/bin/sh", "-c", _WATCH, "lifeline", str(pid)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )

    def release(self) -> None:
        """The child is left alone from here on; can be repeated."""
        if self._watcher is not None:
            self._watcher.communicate(b"\n")
            self._watcher = None
