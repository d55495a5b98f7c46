"""Names of types in generated code."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from zocket.contract.form import ActorContract, Contract


def identifier(text: str) -> str:
    """A text as the name of a class in any language."""
    name = re.sub(r"[^0-9A-Za-z_]+", "_", text).strip("_") or "Type"
    return f"_{name}" if name[0].isdigit() else name


class Names:
    """Hands out names, none of them twice.

    Args:
        reserved: names that mean something else in the language.
    """

    def __init__(self, reserved: Iterable[str]) -> None:
        self._taken = set(reserved)

    def take(self, *wanted: str) -> str:
        """The first of the wanted names that is free, else the last one with a number."""
        names = [identifier(item) for item in wanted]
        count, candidate = 1, names[0]
        while candidate in self._taken:
            count += 1
            candidate = names[count - 1] if count <= len(names) else f"{names[-1]}{count}"
        self._taken.add(candidate)
        return candidate


def name_definitions(contract: Contract, names: Names) -> dict[str, str]:
    """A name of the language for each definition."""
    return {name: names.take(name, f"{name}Model") for name in contract.definitions}


def name_actors(contract: Contract, names: Names) -> dict[str, str]:
    """A name of the language for each actor; actors that are the same class have the same one."""
    known: list[tuple[ActorContract, str]] = []
    found = {}
    for wire, actor in contract.actors.items():
        name = next((name for other, name in known if other == actor), None)
        if name is None:
            title = actor.title or wire
            name = names.take(title, f"{title}Actor")
            known.append((actor, name))
        found[wire] = name
    return found
