"""Finds the app that `module:attribute` names, as Python would: working directory, PYTHONPATH, installed packages.

Rules: the working directory comes first, so the app that is at hand wins; whatever keeps the app from being found says
where was looked and what was there.
"""

from __future__ import annotations

import importlib
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from zocket.cli.failures import ModuleFailed
from zocket.errors import UsageError

if TYPE_CHECKING:
    from types import ModuleType

    from zocket.app import App

DEFAULT_ATTRIBUTE: Final = "app"
"""What `zocket serve chat` takes of the module `chat`."""


@dataclass(frozen=True, slots=True)
class Target:
    """What a command line names.

    Attributes:
        module: dotted name.
        attribute: dotted path inside the module.
    """

    module: str
    attribute: str = DEFAULT_ATTRIBUTE

    @classmethod
    def parse(cls, text: str) -> Target:
        """Reads `module:attribute` or `module`.

        Raises:
            UsageError: it is neither; a path of a file is answered with the module's name.
        """
        module, colon, attribute = text.partition(":")
        if module.endswith(".py") or "/" in module or os.sep in module:
            dotted = ".".join(Path(module).with_suffix("").parts).lstrip(".")
            raise UsageError(f'"{text}" is a path; give the module: {dotted}:{attribute or DEFAULT_ATTRIBUTE}')
        if colon and not attribute:
            raise UsageError(f'"{text}" names no attribute behind the colon; try {module}:{DEFAULT_ATTRIBUTE}')
        attribute = attribute or DEFAULT_ATTRIBUTE
        if not all(part.isidentifier() for name in (module, attribute) for part in name.split(".")):
            raise UsageError(f'expected module:attribute, such as chat:app, got "{text}"')
        return cls(module, attribute)

    def __str__(self) -> str:
        return f"{self.module}:{self.attribute}"


def load_app(target: Target) -> tuple[App, Path | None]:
    """The app, imported into this process, and the directory of its module (None for one without a file).

    Raises:
        UsageError: there is no such module or attribute, or it is no App.
        ModuleFailed: the module raised.
    """
    module = _import(target.module)
    found: object = module
    for name in target.attribute.split("."):
        try:
            found = getattr(found, name)
        except AttributeError:
            raise UsageError(f'{target.module} has no "{target.attribute}"; {_apps(module)}') from None
    return _checked(target, module, found), _directory(module)


def use_working_directory() -> None:
    """Puts the working directory in front of the import path."""
    here = os.getcwd()
    if sys.path[:1] != [here]:
        sys.path.insert(0, here)


def _import(name: str) -> ModuleType:
    use_working_directory()
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(error.name + ".")):
            raise UsageError(_not_found(name, error.name)) from error
        raise ModuleFailed(name, error) from error
    except (Exception, SystemExit) as error:  # border: the user's module, at its top level
        raise ModuleFailed(name, error) from error


def _not_found(name: str, missing: str) -> str:
    modules = sorted(path.stem for path in Path().glob("*.py") if path.stem.isidentifier())[:8]
    here = f"there: {', '.join(modules)}" if modules else "which has no Python module"
    of = "" if name == missing else f" (of {name})"
    return f"no module {missing}{of} in {os.getcwd()} ({here}), on PYTHONPATH or installed"


def _checked(target: Target, module: ModuleType, found: object) -> App:
    from zocket.app import App

    if isinstance(found, App):
        return found
    kind = found.__name__ if isinstance(found, type) else type(found).__name__
    asgi = (
        "; if it mounts a Zocket app, run it with an ASGI server such as uvicorn"
        if callable(found) and not isinstance(found, type)
        else ""
    )
    raise UsageError(f"{target} is no zocket.App but {kind}{asgi}; {_apps(module)}")


def _apps(module: ModuleType) -> str:
    from zocket.app import App

    names = [f"{module.__name__}:{name}" for name, value in vars(module).items() if isinstance(value, App)]
    return f"found there: {', '.join(names)}" if names else "the module has no App"


def _directory(module: ModuleType) -> Path | None:
    return Path(module.__file__).resolve().parent if module.__file__ else None
