"""Applies RFC 6902 operations, and `append` to a text, to plain decoded JSON.

The document handed in is never changed: containers on the way to a change are copied once per call, everything else
keeps its identity, so that a reader can tell by `is` what changed. Either all operations apply or PatchError is raised.
"""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, Any, Final

from zocket.errors import PatchError
from zocket.state import pointer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MISSING: Any = object()
APPEND: Final = "-"
"""The index after the last element (RFC 6901)."""


def apply(document: Any, operations: Sequence[Mapping[str, Any]]) -> Any:
    """Return the document after all operations, sharing what they did not touch.

    Raises:
        PatchError: an operation is malformed, names a path that does not exist, or its test fails.
    """
    run = _Application(document)
    for operation in operations:
        try:
            run.step(operation)
        except PatchError as error:
            raise PatchError(f"{error.message} in {_describe(operation)}") from None
    return run.document


def _describe(operation: Any) -> str:
    try:
        return f"{operation['op']} {operation['path']!r}"
    except (KeyError, TypeError):
        return "an operation without op or path"


class _Application:
    """One call of `apply`; `own` holds the containers that this call made and may change in place."""

    def __init__(self, document: Any) -> None:
        self.document = document
        self.own: dict[int, Any] = {}

    def step(self, operation: Mapping[str, Any]) -> None:
        try:
            op, path = operation["op"], pointer.parse(operation["path"])
            match op:
                case "add":
                    self.add(path, operation["value"])
                case "replace":
                    self.replace(path, operation["value"])
                case "remove":
                    self.remove(path)
                case "append":
                    self.append(path, operation["value"])
                case "move":
                    self.move(pointer.parse(operation["from"]), path)
                case "copy":
                    self.add(path, deepcopy(self.read(pointer.parse(operation["from"]))))
                case "test":
                    if not equal(self.read(path), operation["value"]):
                        raise PatchError("Test failed")
                case _:
                    raise PatchError("Unknown operation")
        except (KeyError, TypeError, AttributeError):
            raise PatchError("Malformed operation") from None

    def read(self, path: Sequence[str]) -> Any:
        value = self.document
        for token in path:
            value = _child(value, token)
        return value

    def writable(self, path: Sequence[str]) -> Any:
        """The container at `path`, copied if it still belongs to the caller, as are those above it."""
        value = self.document = self.owned(self.document)
        for token in path:
            child = self.owned(_child(value, token))
            value[pointer.index(token, len(value)) if isinstance(value, list) else token] = child
            value = child
        return value

    def owned(self, value: Any) -> Any:
        if id(value) in self.own:
            return value
        if isinstance(value, list):
            fresh: Any = value[:]
        elif isinstance(value, dict):
            fresh = dict(value)
        else:
            raise PatchError("The path leads through a value that is no object and no array")
        self.own[id(fresh)] = fresh
        return fresh

    def add(self, path: Sequence[str], value: Any) -> None:
        if not path:
            self.document = value
            return
        target, token = self.writable(path[:-1]), path[-1]
        if isinstance(target, list):
            place = len(target) if token == APPEND else pointer.index(token, len(target) + 1)
            target.insert(place, value)
        else:
            target[token] = value

    def replace(self, path: Sequence[str], value: Any) -> None:
        self.read(path)
        if not path:
            self.document = value
            return
        target, token = self.writable(path[:-1]), path[-1]
        target[pointer.index(token, len(target)) if isinstance(target, list) else token] = value

    def append(self, path: Sequence[str], value: Any) -> None:
        text = self.read(path)
        if not (isinstance(text, str) and isinstance(value, str)):
            raise PatchError("Only text can be appended, and only to a text")
        self.replace(path, text + value)

    def remove(self, path: Sequence[str]) -> Any:
        if not path:
            raise PatchError("The whole document cannot be removed")
        self.read(path)
        target, token = self.writable(path[:-1]), path[-1]
        return target.pop(pointer.index(token, len(target)) if isinstance(target, list) else token)

    def move(self, source: Sequence[str], target: Sequence[str]) -> None:
        value = self.read(source)
        if list(source) == list(target):
            return
        if list(target[: len(source)]) == list(source):
            raise PatchError("A value cannot be moved into itself")
        self.remove(source)
        self.add(target, value)


def _child(value: Any, token: str) -> Any:
    if isinstance(value, list):
        return value[pointer.index(token, len(value))]
    if isinstance(value, dict):
        child = value.get(token, MISSING)
        if child is MISSING:
            raise PatchError(f"No such key: {token!r}")
        return child
    raise PatchError("The path leads through a value that is no object and no array")


def equal(left: Any, right: Any) -> bool:
    """Tell whether two decoded JSON values are equal as JSON: `true` is not `1`, while `1` is `1.0`."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(equal, left, right))
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(equal(value, right[key]) for key, value in left.items())
    return bool(left == right)
