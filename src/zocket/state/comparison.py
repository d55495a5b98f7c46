# ruff: noqa: SLF001 - the marks of a node (`_z…`) belong to this package
"""Which of the written values are another JSON than the committed ones.

The comparison is between the old value as it was and the new one as it is now. A node that is where it was is the
same as itself, whatever changed inside: those changes have operations of their own. A node that came from elsewhere
and is equal to what was there has none; the comparison says which nodes these are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from zocket.state.builtin import DictKind
from zocket.state.journal import MISSING, TRACKED
from zocket.state.kinds import KINDS, PLAIN, kind_of

if TYPE_CHECKING:
    from zocket.state.kinds import Kind

SAMPLE: Final = 32
"""Pairs of parts that are compared in depth before the rest of a long list counts as different without a look."""


def differences(changed: list[tuple[Any, Any, Any]], equal: set[int]) -> list[tuple[Any, Any, Any]]:
    """Leave out the changes (key, old, new) that are none; add the nodes that equal what was there to `equal`."""
    found: list[tuple[Any, Any, Any]] = []
    misses = 0
    for change in changed:
        _, old, new = change
        if old is new:
            continue
        inside = type(old) in TRACKED
        if old is not MISSING and new is not MISSING and not (inside and misses >= SAMPLE):
            nodes: list[int] = []
            if same(old, new, nodes):
                equal.update(nodes)
                misses = 0
                continue
            misses += inside
        found.append(change)
    return found


def same(old: Any, new: Any, equal: list[int]) -> bool:
    """Tell whether a value is the same JSON as the committed one; list the nodes that only equal it by their ids."""
    if old is new:
        return True
    left, right = type(old), type(new)
    kind = TRACKED.get(left)
    if kind is None:
        if left is not right:
            return False
        if left in PLAIN or left is str or left is float:
            return bool(old == new)
        found = KINDS.get(left) or kind_of(left)
        if found is None:
            return bool(old == new) and repr(old) == repr(new)
        return _same_parts(found, old, new, equal)
    if TRACKED.get(right) is not kind:
        return False
    equal.append(id(new))
    return _same_parts(kind, old if old._zc is None else kind.committed(old, old._zc), new, equal)


def same_elements(old: Any, new: Any) -> bool:
    """Tell whether two sets are the same JSON: `1` equals `True` and `1.0` for Python, but not there."""
    return len(old) == len(new) and bool(old == new) and sorted(map(repr, old)) == sorted(map(repr, new))


def _same_parts(kind: Kind, old: Any, new: Any, equal: list[int]) -> bool:
    if isinstance(old, (set, frozenset)):
        return same_elements(old, new)
    if isinstance(kind, DictKind):
        return len(old) == len(new) and all(
            type(key) in (str, int) and key in new and same(part, dict.__getitem__(new, key), equal)
            for key, part in kind.items(old)
        )
    left, right = list(kind.items(old)), list(kind.items(new))
    return len(left) == len(right) and all(
        a[0] == b[0] and same(a[1], b[1], equal) for a, b in zip(left, right, strict=True)
    )
