"""What became of a schema: each difference by name, and whether somebody who knows the old one is broken by it.

Rules: an input breaks its callers where the new schema takes less, an output where the new one gives more than the old
one promised; where it cannot be decided it counts as breaking. A caller sends the fields that it knows and no others;
a reader ignores fields that it does not know, unless the schema forbids them.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from zocket.contract.branches import Branch, branches_of, is_same, paired

if TYPE_CHECKING:
    from collections.abc import Mapping

    from zocket.contract.form import Schema
    from zocket.contract.walking import Mode

Effect = Literal["narrower", "wider", "other"]
"""Fewer values fit, or more do, or it cannot be told."""

_LEAST: Final = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
_MOST: Final = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")
_STRUCTURE: Final = frozenset(
    {"items", "prefixItems", "properties", "required", "additionalProperties", "propertyNames"}
)


class Change(NamedTuple):
    """One difference.

    Attributes:
        where: `actor.method.input.field` and the like.
        what: what became of it, in words.
        breaking: whether it breaks those who know the old contract.
    """

    where: str
    what: str
    breaking: bool


class SchemaComparison:
    """Compares schemas of one direction; `changes` has what was found.

    Args:
        old: definitions of the old schemas.
        new: definitions of the new ones.
        mode: whether the app reads what the schemas describe, or writes it.
    """

    def __init__(self, old: Mapping[str, Schema], new: Mapping[str, Schema], mode: Mode) -> None:
        self.changes: list[Change] = []
        self._old = old
        self._new = new
        self._mode = mode
        self._breaks: Effect = "narrower" if mode == "input" else "wider"
        self._seen: set[tuple[str, str]] = set()

    def compare(self, old: Schema, new: Schema, where: str) -> None:
        """Adds what became of `old`."""
        self._compare_defaults(old, new, where)
        before, after = branches_of(old, self._old), branches_of(new, self._new)
        if _is_any(before) or _is_any(after):
            if not (_is_any(before) and _is_any(after)):
                effect: Effect = "narrower" if _is_any(before) else "wider"
                self._add(where, f"was {_shown(before)}, is {_shown(after)}", effect)
            return
        pairs, gone, added = paired(before, after)
        if gone and added and not pairs:
            self._add(where, f"was {_shown(before)}, is {_shown(after)}", "other")
            return
        for branch in gone:
            self._add(where, f"is no longer {branch.shown()}", "narrower")
        for branch in added:
            self._add(where, f"may be {branch.shown()}", "wider")
        for one, other in pairs:
            self._compare_branches(one, other, where)

    def _add(self, where: str, what: str, effect: Effect) -> None:
        self.changes.append(Change(where, what, effect in (self._breaks, "other")))

    def _compare_defaults(self, old: Schema, new: Schema, where: str) -> None:
        if self._mode == "output" or isinstance(old, bool) or isinstance(new, bool):
            return
        if "default" in old and "default" in new and old["default"] != new["default"]:
            what = f"its default was {json.dumps(old['default'])}, is {json.dumps(new['default'])}"
            self.changes.append(Change(where, what, breaking=False))

    def _compare_branches(self, old: Branch, new: Branch, where: str) -> None:
        if old.name or new.name:  # whatever refers to itself comes by here again
            pair = old.text(), new.text()
            if pair in self._seen:
                return
            self._seen.add(pair)
        if old.kind != new.kind:
            self._add(where, f"was {old.kind}, is {new.kind}", "wider" if new.kind == "number" else "narrower")
        if old.values is not None or new.values is not None:
            self._compare_values(old, new, where)
            return
        entered = _STRUCTURE if old.kind in ("array", "object") else frozenset()
        for word in sorted(({*old.words} | {*new.words}) - entered):
            self._compare_word(word, old.words.get(word), new.words.get(word), where)
        if old.kind == "array":
            self._compare_arrays(old.words, new.words, where)
        if old.kind == "object":
            self._compare_objects(old.words, new.words, where)

    def _compare_values(self, old: Branch, new: Branch, where: str) -> None:
        if old.words != new.words:
            self._add(where, f"was {old.shown()}, is {new.shown()}", "other")
            return
        if old.values is None or new.values is None:
            self._add(where, f"was {old.shown()}, is {new.shown()}", "narrower" if old.values is None else "wider")
            return
        for value in old.values:
            if value not in new.values:
                self._add(where, f"is no longer {value}", "narrower")
        for value in new.values:
            if value not in old.values:
                self._add(where, f"may be {value}", "wider")

    def _compare_word(self, word: str, old: Any, new: Any, where: str) -> None:
        if is_same({word: old}, self._old, {word: new}, self._new):
            return
        if old is None:
            self._add(where, f"has {word} {json.dumps(new)}", "narrower")
        elif new is None:
            self._add(where, f"has no {word} any more", "wider")
        else:
            self._add(where, f"{word} was {json.dumps(old)}, is {json.dumps(new)}", _effect(word, old, new))

    def _compare_arrays(self, old: Mapping[str, Any], new: Mapping[str, Any], where: str) -> None:
        before, after = old.get("prefixItems", ()), new.get("prefixItems", ())
        rest_before, rest_after = _rest(old), _rest(new)
        for index in range(max(len(before), len(after))):
            one = before[index] if index < len(before) else rest_before
            other = after[index] if index < len(after) else rest_after
            self.compare(one, other, f"{where}[{index}]")
        self.compare(rest_before, rest_after, f"{where}[]")

    def _compare_objects(self, old: Mapping[str, Any], new: Mapping[str, Any], where: str) -> None:
        before, after = old.get("properties", {}), new.get("properties", {})
        needed_before, needed_after = set(old.get("required", ())), set(new.get("required", ()))
        others_before, others_after = old.get("additionalProperties", True), new.get("additionalProperties", True)
        for name, schema in before.items():
            at = f"{where}.{name}"
            if name in after:
                self._compare_presence(name in needed_before, name in needed_after, at)
                self.compare(schema, after[name], at)
            else:
                self.changes.append(Change(at, "is gone", breaking=True))
        for name, schema in after.items():
            if name not in before:
                self._compare_added(schema, others_before, f"{where}.{name}", needed=name in needed_after, old=old)
        for name in sorted(needed_after - needed_before - {*after}):
            self._add(f"{where}.{name}", "is required", "narrower")
        for name in sorted(needed_before - needed_after - {*before}):
            self._add(f"{where}.{name}", "may be missing", "wider")
        self.compare(others_before, others_after, f"{where}.*")
        self.compare(old.get("propertyNames", True), new.get("propertyNames", True), f"{where}.* (names)")

    def _compare_presence(self, before: bool, after: bool, where: str) -> None:
        if before and not after:
            self._add(where, "may be missing", "wider")
        elif after and not before:
            self._add(where, "is required", "narrower")

    def _compare_added(
        self, schema: Schema, others: Schema, where: str, *, needed: bool, old: Mapping[str, Any]
    ) -> None:
        """A field that the old schema does not name; `others` is what it says of such fields."""
        if self._mode == "input" and needed:
            self.changes.append(Change(where, "is new and required", breaking=True))
        elif others is False:
            self.changes.append(Change(where, "is new", breaking=self._mode == "output"))
        elif others is not True or (self._mode == "input" and "properties" not in old):
            self.compare(others, schema, where)
        else:
            self.changes.append(Change(where, "is new", breaking=False))


def _rest(words: Mapping[str, Any]) -> Schema:
    """What the items behind `prefixItems` are."""
    first = len(words.get("prefixItems", ()))
    rest: Schema = words.get("items", True)
    return rest if words.get("maxItems", first + 1) > first else False


def _is_any(branches: list[Branch]) -> bool:
    return any(branch.kind == "any" and not branch.words for branch in branches)


def _shown(branches: list[Branch]) -> str:
    return " | ".join(branch.shown() for branch in branches) or "nothing"


def _effect(word: str, old: Any, new: Any) -> Effect:
    """Of another value of a word that restricts."""
    if word == "uniqueItems":
        return "narrower" if new else "wider"
    if not all(isinstance(item, int | float) for item in (old, new)):
        return "other"
    if word in _LEAST:
        return "narrower" if new > old else "wider"
    if word in _MOST:
        return "narrower" if new < old else "wider"
    if word == "multipleOf" and new % old == 0:
        return "narrower"
    return "wider" if word == "multipleOf" and old % new == 0 else "other"
