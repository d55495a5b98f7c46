"""How a command ends that cannot do its work: what a person reads, and the exit code.

Rules: an error of ours is its message, without a traceback; an error in the user's module is the traceback of the
user's code alone; what we did not foresee stays a traceback, since somebody must be able to report it.
"""

from __future__ import annotations

import importlib
import os
from contextlib import contextmanager
from pathlib import Path
from traceback import TracebackException
from typing import TYPE_CHECKING, Final

import click

from zocket.errors import BootError, UsageError, ZocketError

if TYPE_CHECKING:
    from collections.abc import Iterator

FAILED: Final = 1
"""Exit code of a command that could not start."""
INTERRUPTED: Final = 130
"""Exit code after Ctrl-C before there was anything to stop cleanly (shells: 128 + SIGINT)."""

_OURS: Final = str(Path(__file__).parent.parent) + os.sep
_IMPORTLIB: Final = Path(importlib.__file__).parent


class ModuleFailed(UsageError):
    """The user's module raised while it was imported.

    Attributes:
        traceback: of the user's code, as text.
    """

    def __init__(self, module: str, error: BaseException) -> None:
        super().__init__(f"{module} cannot be imported: {_summary(error)}")
        self.traceback = user_traceback(error)


@contextmanager
def needs(extra: str) -> Iterator[None]:
    """Around imports of a part of Zocket: a package that is not installed becomes the command that installs it.

    Raises:
        BootError: it is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] == "zocket":
            raise
        raise BootError(f'the package {error.name} is not installed: pip install "zocket[{extra}]"') from error


def report(command: str, error: ZocketError) -> int:
    """Writes what went wrong to standard error; the exit code."""
    if isinstance(error, ModuleFailed):
        click.echo(error.traceback.rstrip("\n"), err=True)
    request = f" (request {error.request_id})" if error.request_id else ""
    click.echo(f"{click.style(f'zocket {command}:', fg='red', bold=True)} {error.message}{request}", err=True)
    return FAILED


def user_traceback(error: BaseException) -> str:
    """A traceback without the frames of the import system and of Zocket."""
    trace = TracebackException.from_exception(error)
    seen: set[int] = set()
    waiting: list[TracebackException | None] = [trace]
    while waiting:
        part = waiting.pop()
        if part is None or id(part) in seen:
            continue
        seen.add(id(part))
        part.stack[:] = [frame for frame in part.stack if _is_users(frame.filename)]
        waiting += [part.__cause__, part.__context__]
    return "".join(trace.format())


def _is_users(filename: str) -> bool:
    return not (filename.startswith(("<frozen importlib", _OURS)) or Path(filename).parent == _IMPORTLIB)


def _summary(error: BaseException) -> str:
    text = error.message if isinstance(error, ZocketError) else f"{type(error).__name__}: {error}"
    return text.partition("\n")[0]
