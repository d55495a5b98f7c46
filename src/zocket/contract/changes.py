"""What became of a contract: the differences of two, each named by what a client would miss.

Rules: a name that is gone breaks its clients, a new one does not; what was only renamed is said to be.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from msgspec import UNSET

from zocket.contract.branches import is_same
from zocket.contract.comparing import Change, SchemaComparison

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from zocket.contract.form import ActorContract, Contract, EventContract, MethodContract, Schema
    from zocket.contract.walking import Mode

T = TypeVar("T")


def compare_contracts(old: Contract, new: Contract) -> list[Change]:
    """Everything that became different, what breaks clients of the old contract first."""
    found = _Comparison(old, new).run()
    return sorted(found, key=lambda change: not change.breaking)


class _Comparison:
    def __init__(self, old: Contract, new: Contract) -> None:
        self._old = old
        self._new = new
        self._changes: list[Change] = []

    def run(self) -> list[Change]:
        self._compare_names("actor", "", self._old.actors, self._new.actors, self._is_same_actor)
        for name, actor in self._old.actors.items():
            if name in self._new.actors:
                self._compare_actors(name, actor, self._new.actors[name])
        return self._changes

    def _compare_names(
        self, what: str, prefix: str, old: Mapping[str, T], new: Mapping[str, T], same: Callable[[T, T], bool]
    ) -> None:
        added = {name: item for name, item in new.items() if name not in old}
        for name, item in old.items():
            if name in new:
                continue
            other = next((other for other, candidate in added.items() if same(item, candidate)), None)
            became = "is gone" if other is None else f"is called {other}"
            self._changes.append(Change(prefix + name, f"the {what} {became}", breaking=True))
            if other is not None:
                del added[other]
        self._changes += [Change(prefix + name, f"the {what} is new", breaking=False) for name in added]

    def _compare_actors(self, name: str, old: ActorContract, new: ActorContract) -> None:
        prefix = f"{name}."
        self._compare_schemas(old.state, new.state, f"{prefix}state", "output")
        self._compare_names("method", prefix, old.methods, new.methods, self._is_same_method)
        for wire, method in old.methods.items():
            if wire in new.methods:
                self._compare_methods(prefix + wire, method, new.methods[wire])
        self._compare_names("event", prefix, old.events, new.events, self._is_same_event)
        for wire, event in old.events.items():
            if wire in new.events:
                self._compare_schemas(event.payload, new.events[wire].payload, f"{prefix}{wire}.payload", "output")

    def _compare_methods(self, where: str, old: MethodContract, new: MethodContract) -> None:
        if old.stream != new.stream:
            what = "is a stream" if new.stream else "is no stream any more"
            self._changes.append(Change(where, f"the method {what}", breaking=True))
            return
        if old.query != new.query:
            what = "is a query" if new.query else "is no query any more"
            self._changes.append(Change(where, f"the method {what}", breaking=old.query))
        self._compare_schemas(old.input, new.input, f"{where}.input", "input")
        if old.result is UNSET or new.result is UNSET:
            if old.result is not new.result:
                what = "has a result" if old.result is UNSET else "has no result any more"
                self._changes.append(Change(where, f"the method {what}", breaking=new.result is UNSET))
            return
        self._compare_schemas(old.result, new.result, f"{where}.result", "output")

    def _compare_schemas(self, old: Schema, new: Schema, where: str, mode: Mode) -> None:
        if self._same(old, new):
            return
        comparison = SchemaComparison(self._old.definitions, self._new.definitions, mode)
        comparison.compare(old, new, where)
        self._changes += comparison.changes

    def _is_same_actor(self, old: ActorContract, new: ActorContract) -> bool:
        return (
            self._same(old.state, new.state)
            and old.methods.keys() == new.methods.keys()
            and all(self._is_same_method(item, new.methods[name]) for name, item in old.methods.items())
            and old.events.keys() == new.events.keys()
            and all(self._is_same_event(item, new.events[name]) for name, item in old.events.items())
        )

    def _is_same_method(self, old: MethodContract, new: MethodContract) -> bool:
        return (
            (old.stream, old.query) == (new.stream, new.query)
            and self._same(old.input, new.input)
            and (old.result is new.result is UNSET or self._same(old.result, new.result))
        )

    def _is_same_event(self, old: EventContract, new: EventContract) -> bool:
        return self._same(old.payload, new.payload)

    def _same(self, old: object, new: object) -> bool:
        return is_same(old, self._old.definitions, new, self._new.definitions)
