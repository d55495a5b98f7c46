# ruff: noqa: SLF001 - the marks of a node (`_z…`) belong to this package
"""The journal of one document: which parts a turn has changed, and what they held before.

Rules: a part is listed once per turn, at its first change, and then remembers the *first old value* of each key by
itself; parents and keys are only brought up to date when a turn is committed, so during a turn they still describe
the committed tree; this file knows no kind of value.

Every tracked part ("node") carries four attributes: `_zj` its journal, `_zp` the node it lies in (the journal itself
for the root, None once it was removed), `_zk` its key there (a hint in a list), `_zc` its changes in this turn or None.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from zocket.errors import StaleReferenceError
from zocket.state.pointer import join

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from zocket.state.kinds import Kind

MAX_DEPTH: Final = 100
"""Deepest nesting of state; both C encoders and every JSON reader known to us go deeper."""


class Missing:
    """Type of the mark for "this key did not exist"."""

    def __repr__(self) -> str:
        return "MISSING"


MISSING: Final[Any] = Missing()

TRACKED: Final[dict[type, Kind]] = {}
"""The kind of every class of tracked parts."""


NO_ORDERS: Final[Mapping[int, Any]] = MappingProxyType({})
"""Of every turn that has removed no key, so that it costs an idle document no memory."""


class Journal:
    """What happened in the open turn of one document."""

    __slots__ = ("computed", "open", "orders", "owner", "places", "plain", "special", "touched", "undo")

    def __init__(self, owner: str = "") -> None:
        self.owner = owner
        """Whose state it is, for messages: `actor/id`."""
        self.open = False
        self.touched: list[Any] = []
        self.orders: Mapping[int, Any] = NO_ORDERS
        """By the id of a mapping from which a key was removed: all its keys, or the ranks of those removed."""
        self.undo: Sequence[tuple[Callable[..., Any], Any]] = ()
        """What a rollback must call besides putting old values back, in reverse order."""
        self.places: dict[int, Any] = {}
        """Path and position of nodes by their id, until a turn moves parts (see `quick`)."""
        self.special = False
        """Whether no turn can be committed by `quick`."""
        self.computed = False
        """Whether any part has computed fields."""
        self.plain = False
        """Whether values must be copied into the user's own classes before Pydantic encodes them (see `positions`)."""

    def close(self) -> None:
        """End the turn, whatever its outcome was."""
        self.touched = []
        if self.orders:
            self.orders = NO_ORDERS
        if self.undo:
            self.undo = ()
        self.open = False

    def remember(self, restore: Callable[..., Any], value: Any) -> None:
        """A rollback calls `restore` with the value."""
        if type(self.undo) is not list:
            self.undo = []
        self.undo.append((restore, value))

    def writable_orders(self) -> dict[int, Any]:
        """`orders`, to put something there."""
        if type(self.orders) is not dict:
            self.orders = {}
        return self.orders


def touch(node: Any) -> None:
    """List a node as changed; raises StaleReferenceError outside a turn and for what left the state before it."""
    journal = node._zj
    if journal is None or not journal.open:
        raise _stale(node, "was written to outside a turn of its state")
    above = node._zp
    if above is not journal and (above is None or above._zp is not journal) and climb(node) is not journal:
        raise _stale(node, "is no longer a part of the state and cannot be written to")
    journal.touched.append(node)


def climb(node: Any) -> Any:
    """Return the journal if the node lies in the committed tree, else the topmost node that it lies in."""
    journal, above = node._zj, node._zp
    steps = 0
    while above is not journal:
        if above is None or steps > 2 * MAX_DEPTH:
            return node
        node, above, steps = above, above._zp, steps + 1
    return journal


def depth_of(node: Any) -> int:
    """Return how many parts lie around a node of the tree, itself included; 0 for None."""
    depth = 0
    while node is not None and hasattr(node, "_zp"):
        node, depth = node._zp, depth + 1
    return depth


def pointer_of(node: Any) -> str:
    """Say where a node lies, or lay, by Python names; for messages only."""
    keys: list[Any] = []
    above = node._zp
    while above is not None and above is not node._zj and len(keys) <= MAX_DEPTH:
        keys.append(_name(node, above))
        node, above = above, above._zp
    return join(reversed(keys))


def _name(node: Any, above: Any) -> Any:
    if isinstance(above, list):
        for index, item in enumerate(above):
            if item is node:
                return index
    key = node._zk
    return key if isinstance(key, (str, int)) else str(key)


def _stale(node: Any, what: str) -> StaleReferenceError:
    pointer = pointer_of(node)
    name = TRACKED[type(node)].name
    where = f"at {pointer!r} " if pointer else ""
    owner = "" if node._zj is None else node._zj.owner
    of = f"of {owner} " if owner else ""
    return StaleReferenceError(f"A {name} {where}{of}{what}", data={"pointer": pointer, "type": name, "owner": owner})
