# ruff: noqa: SLF001 - the marks of a node (`_z…`) belong to this package
"""Kinds of values: how each class of value is checked, held and read by the rest of the package.

A kind answers for a plain class (`list`, a user's model) and for its tracked class alike. Kinds are found by exact
class and remembered; what no kind claims may not be in the state, because a change inside it would go unnoticed.
"""

from __future__ import annotations

import datetime
import decimal
import enum
import ipaddress
import math
import pathlib
import re
import uuid
from typing import TYPE_CHECKING, Any, Final, Protocol

from zocket.errors import StateValueError
from zocket.state.journal import MAX_DEPTH, TRACKED, pointer_of
from zocket.state.pointer import join

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from zocket.state.adopt import Settlement
    from zocket.state.journal import Journal

FORBIDDEN_KEYS: Final = frozenset({"__proto__", "constructor", "prototype"})
"""Keys that would reach into the prototypes of a JavaScript client."""

PLAIN: Final = frozenset({type(None), bool, int})
"""Classes whose every value JSON can hold as it is."""

LEAVES: Final[set[type]] = {
    *PLAIN,
    bytes,
    datetime.date,
    datetime.datetime,
    datetime.time,
    datetime.timedelta,
    uuid.UUID,
    re.Pattern,
    ipaddress.IPv4Address,
    ipaddress.IPv4Interface,
    ipaddress.IPv4Network,
    ipaddress.IPv6Address,
    ipaddress.IPv6Interface,
    ipaddress.IPv6Network,
}
"""Immutable classes that the encoders turn into JSON by themselves; grows by the subclasses that are met."""

_LEAF_BASES: Final = (enum.Enum, pathlib.PurePath, *(LEAVES - PLAIN))


class Refusal(Exception):
    """A value may not be in the state; `path` leads to it, innermost key first."""

    def __init__(self, reason: str, *path: Any) -> None:
        super().__init__(reason)
        self.reason = reason
        self.path = list(path)


class Kind(Protocol):
    """How the values of one class are held. `node` is a tracked value, `value` a tracked or plain one."""

    name: str
    """Name of the user's class."""
    tracked: Any
    """Class of the nodes of this kind, None for values that stay what they are."""

    frozen: bool
    """Whether the value itself cannot be changed (its parts may)."""
    computed: bool
    """Whether values of this kind have computed fields."""
    ambiguous: bool
    """Whether Pydantic would take a tracked value for another member of a union (see `schema.is_ambiguous`)."""

    def items(self, value: Any) -> Iterable[tuple[Any, Any]]:
        """Every part that JSON or Python code can reach, with its key."""

    def flat(self, value: Any) -> bool:
        """Tell quickly whether a plain value holds nothing but scalars that may be in the state, under such keys."""

    def check(self, value: Any) -> None:
        """Raise Refusal unless the keys and the class as such may be in the state."""

    def adopt(self, value: Any, parent: Any, key: Any, settlement: Settlement) -> Any:
        """Make a node of a plain value, for a place; `settlement.adopt(part, node, key)` makes a part's value."""

    def adopt_flat(self, value: Any, parent: Any, key: Any, journal: Journal) -> Any:
        """Make a node of a plain value that is `flat`, for a place; None of any other."""

    def plain(self, value: Any, convert: Callable[[Any], Any]) -> Any:
        """Make a value of the user's own class; `convert(part)` makes a part's value."""

    def link(self, node: Any, parent: Any, key: Any) -> None:
        """Say where the node lies."""

    def set_changes(self, node: Any, changes: Any, /) -> None:
        """Set the changes of the turn, None to forget them."""

    def restore(self, node: Any, changes: Any) -> None:
        """Put the old values back."""

    def changed(self, node: Any, changes: Any) -> list[tuple[Any, Any, Any]]:
        """Key, old value, current value of whatever may differ."""

    def store(self, node: Any) -> Any:
        """Return a mapping of all keys in the changes to their current values, None if there is none."""

    def written(self, node: Any, changes: Any) -> list[tuple[Any, Any, Any]] | None:
        """As `changed`, None where parts may have moved or the whole has to be emitted."""

    def put(self, node: Any, key: Any, value: Any) -> None:
        """Replace one part without recording it."""

    def committed(self, node: Any, changes: Any) -> Any:
        """Copy the node as it was when the turn began, for an encoder."""

    def get(self, node: Any, key: Any) -> Any:
        """Return one part, MISSING if there is none."""

    def locate(self, node: Any, child: Any) -> Any:
        """Find the key of a child; MISSING if it lies deeper, inside a tuple."""


KINDS: Final[dict[type, Kind]] = {}
"""The kind of every plain class met so far."""

DISCOVERERS: Final[list[Callable[[type], Kind | None]]] = []
"""Asked in turn about a class that is not known yet."""


def register(cls: type, kind: Kind) -> None:
    """Make a kind known for a plain class and for its tracked class."""
    KINDS[cls] = kind
    if kind.tracked is not None:
        TRACKED[kind.tracked] = kind


def all_plain(values: Iterable[Any]) -> bool:
    """Tell whether all values are scalars that JSON holds as they are."""
    for value in values:
        cls = type(value)
        if (cls is not str or not value.isascii()) and cls not in PLAIN and not is_plain(value):
            return False
    return True


def is_plain(value: Any) -> bool:
    """Tell whether a value is text, a number, a truth value or None, of no subclass, and JSON can hold it."""
    cls = type(value)
    if cls is str:
        try:
            value.encode()
        except UnicodeEncodeError:
            return False
        return True
    return cls in PLAIN or (cls is float and math.isfinite(value))


def kind_of(cls: type) -> Kind | None:
    """Return the kind of a class, None for a leaf; raises Refusal for a class that may not be in the state."""
    kind = KINDS.get(cls) or TRACKED.get(cls)
    if kind is not None or cls in LEAVES or cls is str or cls is float or cls is decimal.Decimal:
        return kind
    for discover in DISCOVERERS:
        found = discover(cls)
        if found is not None:
            register(cls, found)
            return found
    if issubclass(cls, _LEAF_BASES) or (cls.__module__ == "pydantic.networks" and not hasattr(cls, "append")):
        LEAVES.add(cls)
        return None
    if cls in LEAVES or issubclass(cls, (str, int, float, decimal.Decimal)):
        return None
    raise Refusal(
        f"a {cls.__qualname__} cannot be in the state: it is no JSON value, or changes inside it would go unnoticed"
    )


def check_text(value: str) -> None:
    """Raise Refusal for text with lone surrogates, which UTF-8 cannot hold."""
    try:
        value.encode()
    except UnicodeEncodeError:
        raise Refusal("text with lone surrogates cannot be JSON") from None


def check_scalar(value: Any) -> None:
    """Raise Refusal for a leaf that JSON cannot hold."""
    if isinstance(value, str):
        if not value.isascii():
            check_text(value)
    elif isinstance(value, (float, decimal.Decimal)):
        if not math.isfinite(value):
            raise Refusal(f"{value!r} cannot be JSON")
    elif isinstance(value, enum.Enum):
        walk(value.value, set())


def walk(value: Any, active: set[int]) -> None:
    """Raise Refusal unless everything in a value may be in the state."""
    cls = type(value)
    if cls in LEAVES:
        if isinstance(value, enum.Enum):
            check_scalar(value)
        return
    kind = KINDS.get(cls)
    if kind is None:
        kind = TRACKED.get(cls)
        if kind is not None and value._zj is not None:
            return
        kind = kind or kind_of(cls)
    if kind is None:
        check_scalar(value)
        return
    if id(value) in active:
        raise Refusal("a value cannot contain itself")
    if len(active) >= MAX_DEPTH:
        raise Refusal(f"nested deeper than {MAX_DEPTH} levels")
    active.add(id(value))
    kind.check(value)
    for key, part in kind.items(value):
        part_class = type(part)
        if part_class in PLAIN or (part_class is str and part.isascii()):
            continue
        try:
            walk(part, active)
        except Refusal as refusal:
            refusal.path.append(key)
            raise
    active.discard(id(value))


def is_immutable(value: Any) -> bool:
    """Tell whether nothing in a value can be changed."""
    kind = KINDS.get(type(value)) or TRACKED.get(type(value)) or kind_of(type(value))
    return kind is None or (kind.frozen and all(is_immutable(part) for _, part in kind.items(value)))


def check_value(node: Any, key: Any, value: Any) -> None:
    """Check what is about to be placed into a node; raises StateValueError with the pointer to the culprit."""
    kind = KINDS.get(type(value))
    if kind is not None and kind.flat(value):
        return
    try:
        walk(value, set())
    except Refusal as refusal:
        raise (refused(refusal, node, key) if node is not None else refused(refusal, None)) from None


def check_key(node: Any, key: Any) -> None:
    """Check a key that is about to be added to a node; raises StateValueError with its pointer."""
    try:
        json_key(key)
    except Refusal as refusal:
        raise refused(refusal, node, key) from None


def refused(refusal: Refusal, node: Any, *keys: Any) -> StateValueError:
    """Turn a Refusal below the keys of a node into the error that the user sees."""
    where = pointer_of(node) if node is not None else ""
    where += join(str(key) for key in (*keys, *reversed(refusal.path)))
    return StateValueError(f"{refusal.reason} (at {where!r})", data={"pointer": where})


def json_key(key: Any) -> str:
    """Return the text that a dictionary key has in JSON; raises Refusal for a key that JSON cannot have."""
    if isinstance(key, enum.Enum):
        key = key.value
    if type(key) is str:
        text = key
        if not text.isascii():
            check_text(text)
        if text in FORBIDDEN_KEYS:
            raise Refusal(f"the key {text!r} is not allowed, it would reach into a JavaScript prototype")
        return text
    if type(key) is int:
        return int.__repr__(key)
    if type(key) is uuid.UUID or type(key) is datetime.date:
        return str(key)
    raise Refusal(f"a {type(key).__qualname__} cannot be a key in JSON")


def json_names(keys: Iterable[Any]) -> dict[str, Any] | None:
    """Map JSON keys to Python keys, None if all are plain text; raises Refusal if two keys are one in JSON."""
    names: dict[str, Any] = {}
    plain = True
    for key in keys:
        plain = plain and type(key) is str
        name = json_key(key)
        if name in names:
            raise Refusal(f"the keys {names[name]!r} and {key!r} are the same in JSON")
        names[name] = key
    return None if plain else names


class Untracker:
    """Copies values into the user's own classes; what is shared stays shared.

    With the memo of `copy.deepcopy`, what is no part of the state (private attributes) is copied deeply as well.
    """

    def __init__(self, memo: dict[int, Any] | None = None) -> None:
        self.deep = memo is not None
        self.memo = {} if memo is None else memo
        self.active: set[int] = set()

    def __call__(self, value: Any) -> Any:
        """Return a deep copy without any tracked part."""
        cls = type(value)
        kind = KINDS.get(cls) or TRACKED.get(cls)
        if kind is None:
            kind = kind_of(cls)
            if kind is None:
                return value
        key = id(value)
        if key in self.memo:
            return self.memo[key]
        if key in self.active or len(self.active) >= MAX_DEPTH:
            raise StateValueError("A value cannot contain itself")
        self.active.add(key)
        copy = self.memo[key] = kind.plain(value, self)
        self.active.discard(key)
        return copy


def descend(value: Any) -> Iterator[tuple[Any, Any]]:
    """Iterate over the parts of any value; nothing for a leaf."""
    kind = KINDS.get(type(value)) or TRACKED.get(type(value)) or kind_of(type(value))
    return iter(() if kind is None else kind.items(value))
