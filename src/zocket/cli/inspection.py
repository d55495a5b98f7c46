"""Imports a bundle as a runtime would, in a process of its own, and says what is in it; started by `zocket check`.

Rules: the bundle is all that the app gets besides what the runtime's image has, so what is installed only here cannot
be imported; the answer is the last line of standard output, whatever the app prints.
"""

from __future__ import annotations

import asyncio
import json
import sys
import typing
from importlib.abc import MetaPathFinder
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from zocket.errors import ZocketError

if TYPE_CHECKING:
    import inspect
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType

    from zocket.core import AppDefinition

MARK: Final = "zocket-inspection:"
"""Begins the line of the answer."""


class _OnlyHere(MetaPathFinder):
    """Refuses modules that are installed here and will not be where the bundle runs."""

    def __init__(self, names: set[str]) -> None:
        self._names = names

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """See `MetaPathFinder`."""
        if path is None and fullname in self._names:
            reason = "it is installed here, but neither the bundle nor the runtime's image has it"
            raise ModuleNotFoundError(f"No module named {fullname!r} ({reason})", name=fullname)
        return None


def describe(definition: AppDefinition) -> dict[str, Any]:
    """What an app offers: actors with their methods, events, state and durability."""
    return {
        "actors": [
            {
                "name": name,
                "class": f"{actor.cls.__module__}.{actor.cls.__qualname__}",
                "state": _name(actor.state.annotation),
                "durability": actor.cls.durability,
                "version": actor.version,
                "methods": [
                    {"name": method.name, "signature": _signature(method.signature)}
                    for method in actor.methods.values()
                ],
                "events": [
                    {"name": event.name, "payload": _name(event.schema.annotation)} for event in actor.events.values()
                ],
            }
            for name, actor in definition.actors.items()
        ],
        "smoke": definition.smoke is not None,
    }


def _name(annotation: Any) -> str:
    """A type as one writes it, without its constraints."""
    if isinstance(annotation, str):
        return annotation
    if typing.get_origin(annotation) is typing.Annotated:
        return _name(typing.get_args(annotation)[0])
    if isinstance(annotation, type) and not typing.get_args(annotation):
        return "None" if annotation is type(None) else annotation.__name__
    return "None" if annotation is None else str(annotation).replace("typing.", "")


def _signature(signature: inspect.Signature) -> str:
    parameters = []
    for item in list(signature.parameters.values())[1:]:
        default = "" if item.default is item.empty else f" = {item.default!r}"
        parameters.append(f"{item.name}: {_name(item.annotation)}{default}")
    result = "" if signature.return_annotation is signature.empty else f" -> {_name(signature.return_annotation)}"
    return f"({', '.join(parameters)}){result}"


def examine(bundle: Path, *, smoke: bool) -> dict[str, Any]:
    """Imports the bundle, and runs its smoke call; gives `app`, and its `contract` as text.

    Raises:
        ZocketError: it cannot be imported, has no app, or the smoke call fails.
    """
    from zocket.clock import SystemClock
    from zocket.contract import contract_of
    from zocket.runtime.bundle import load
    from zocket.runtime.standby import run_smoke
    from zocket.settings import Limits

    definition = load(bundle)
    if smoke:
        asyncio.run(run_smoke(definition, clock=SystemClock(), limits=Limits()))
    return {"app": describe(definition), "contract": contract_of(definition).encode().decode()}


def main(arguments: list[str]) -> int:
    """`python -m zocket.cli.inspection BUNDLE SMOKE`, with the modules to refuse on standard input."""
    sys.meta_path.insert(0, _OnlyHere(set(json.load(sys.stdin))))
    try:
        answer = examine(Path(arguments[0]), smoke=arguments[1] == "smoke")
    except ZocketError as error:
        answer = {"error": error.message, "code": error.code}
    sys.stdout.flush()
    print(f"\n{MARK}{json.dumps(answer)}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
