# ruff: noqa: SLF001 - the marks of a node (`_z…`) belong to this package
"""The commit of an ordinary turn, in one pass.

Ordinary is a turn that sets scalars, removes scalars and adds new values, and takes no part of the state out of its
place: then nothing moves, nothing is silenced, and every changed part is where it was. Whatever else a turn does is
left to `adopt` and `emission`; this file finds that out before it changes anything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from zocket.state.adopt import Settlement
from zocket.state.builtin import DictKind, ListKind
from zocket.state.containers import TrackedList
from zocket.state.emission import OVERHEAD
from zocket.state.encoding import encode_checked
from zocket.state.growth import Growth, grown, has_grown
from zocket.state.journal import MISSING, TRACKED, Journal, Missing
from zocket.state.kinds import KINDS, Refusal, check_value, refused
from zocket.state.positions import HIDDEN, OPAQUE, REPLACE, VALUE, Position

if TYPE_CHECKING:
    from zocket.state.growth import Operations

_text = msgspec.json.Encoder().encode

_SCALARS: Final = frozenset({type(None), bool, int, float, str})
_REPLACEABLE: Final = _SCALARS | {Missing}

MAX_PLACES: Final = 1024
"""Places that a journal remembers; in an ordinary turn no part leaves its place, any other turn forgets them all."""

_UNKNOWN: Final[dict[Any, Any]] = {}
"""Steps of nodes for which a position remembers none."""

_ADD: Final = b'{"op":"add","path":'


def quick_commit(journal: Journal, root_position: Position) -> Operations | bool | None:
    """Return the patches of an ordinary turn, None if there are none, False if the turn is not ordinary.

    Raises:
        StateValueError: a value that was placed into the state holds what JSON cannot.
    """
    touched = journal.touched
    first = touched[0]
    if len(touched) == 1:
        model: Any = root_position.tracked
        if type(first) is model and first._zp is journal and len(first._zc) == 1:
            patches = _one_field(first, root_position)
            if patches is not False:
                return patches
        elif type(first) is TrackedList:
            appended = _one_append(first, journal)
            if appended is not None:
                return appended
    parts: list[Any] = []
    growing = False
    late: list[Any] = []
    places = journal.places
    for node in touched:
        kind: Any = TRACKED[type(node)]
        place = places.get(id(node))
        if place is None:
            place = _place(node, journal, root_position)
            if place is None:
                return False
            if len(places) >= MAX_PLACES:
                places.clear()
            places[id(node)] = place
        path, position = place
        changes = node._zc
        store = kind.store(node)
        entries = kind.written(node, changes) if store is None else changes.items()
        if entries is None:
            return False
        before, kept = len(parts), 0
        known = position.known if type(node) is position.tracked else _UNKNOWN
        for entry in entries:
            if store is None:
                key, old, new = entry
            else:
                key, old = entry
                new = store.get(key, MISSING)
            old_class, new_class = type(old), type(new)
            if old_class not in _REPLACEABLE:
                return False
            if old_class is new_class and old == new:
                continue
            step = known.get(key)
            if step is None:
                step = position.step(node, key)
            if step is OPAQUE:
                return False
            if step is HIDDEN:
                continue
            if new_class is str and step[1].scalars and has_grown(old, new):
                parts.append(grown(path + step[0], old, new))
                growing, kept = True, kept + len(old)
                continue
            if path or len(step) == 2 or new is MISSING or old is MISSING:
                quoted = _text(path + step[0])
                if new is MISSING:
                    parts.append(b'{"op":"remove","path":' + quoted + b"}")
                    continue
                head = (_ADD if old is MISSING else REPLACE) + quoted + VALUE
            else:
                head = step[2]
            if new_class in _SCALARS:
                value = _text(new) if step[1].scalars else encode_checked(step[1].encode, new)
                parts.append(head + value + b"}")
            else:
                late.append((len(parts), node, kind, key, new, head, step[1]))
                parts.append(b"")
        if path and len(parts) > before + 1 and _may_be_shorter(node, kind, len(parts) - before, len(path), kept):
            return False
    if late:
        settlement = Settlement(journal)
        for index, *entry in late:
            parts[index] = _adopted(settlement, *entry)
        if journal.special:
            return False
    if not parts:
        return None
    if growing:
        return Growth(parts)
    return b"[" + (parts[0] if len(parts) == 1 else b",".join(parts)) + b"]"


def _one_field(node: Any, position: Position) -> Operations | bool | None:
    """As `quick_commit`, for one change of a model at the root; False too where that is not one scalar for another."""
    [(key, old)] = node._zc.items()
    store = TRACKED[type(node)].store(node)
    step = position.known.get(key)
    if store is None or step is None or step is HIDDEN:
        return False
    new = store.get(key, MISSING)
    old_class, new_class = type(old), type(new)
    if old_class not in _SCALARS or new_class not in _SCALARS or not step[1].scalars:
        return False
    if old_class is new_class and old == new:
        return None
    if new_class is str and has_grown(old, new):
        return Growth([grown(step[0], old, new)])
    return b"[%b%b}]" % (step[2], _text(new))


def _one_append(node: Any, journal: Journal) -> bytes | None:
    """As `quick_commit`, for one model at the end of a list; None where there is more, or the place is not known."""
    changes = node._zc
    length: int = changes.length
    place = journal.places.get(id(node))
    if place is None or changes.start != length or changes.changed or len(node) != length + 1:
        return None
    path, position = place[0], place[1].item
    value = list.__getitem__(node, length)
    cls = type(value)
    kind = KINDS.get(cls)
    if kind is None or position is None:
        return None
    adopted = kind.adopt_flat(value, node, length, journal)
    if adopted is None:
        return None
    list.__setitem__(node, length, adopted)
    value_bytes = _encoded_flat(adopted, cls, position)
    return b'[{"op":"add","path":%b/%d","value":%b}]' % (_text(path)[:-1], length, value_bytes)


def _adopted(
    settlement: Settlement, node: Any, kind: Any, key: Any, new: Any, head: bytes, position: Position
) -> bytes:
    """Make a new value a part of the state; return its operation."""
    new_kind = KINDS.get(type(new))
    adopted = None if new_kind is None else new_kind.adopt_flat(new, node, key, settlement.journal)
    if adopted is not None:
        kind.put(node, key, adopted)
        return head + _encoded_flat(adopted, type(new), position) + b"}"
    try:
        adopted = settlement.adopt(new, node, key)
    except Refusal as refusal:
        check_value(node, key, new)
        raise refused(refusal, node, key) from None
    if adopted is not new:
        kind.put(node, key, adopted)
    return head + encode_checked(position.encode, adopted) + b"}"


def _encoded_flat(node: Any, cls: type, position: Position) -> bytes:
    """Encode a node of a user's class that holds nothing but plain scalars."""
    if cls is position.flat_class:
        return _text(node.__dict__)
    return encode_checked(position.encode, node)


def _place(node: Any, journal: Journal, root_position: Position) -> Any:
    """Return path and position of a node, None if it is not emitted by itself."""
    above = node._zp
    if above is journal:
        return "", root_position
    place = ("", root_position) if above._zp is journal else _place(above, journal, root_position)
    if place is None:
        return None
    key = TRACKED[type(above)].locate(above, node)
    if key is MISSING:
        return None
    step = place[1].step(above, key)
    if step is OPAQUE or step is HIDDEN:
        return None
    return place[0] + step[0], step[1].at(node)


def _may_be_shorter(node: Any, kind: Any, count: int, path_bytes: int, kept: int) -> bool:
    """Tell whether a container may be shorter than operations on its parts, by the least that its other parts take.

    `kept` counts characters of grown texts that the operations leave out.
    """
    rest = len(node) - count if isinstance(kind, (ListKind, DictKind)) else 0
    return rest * 2 + kept <= count * (OVERHEAD + path_bytes + 20)
