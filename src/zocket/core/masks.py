"""Masks: which parts of a JSON document are hidden, by the names that JSON has.

Rules: masks know neither classes nor annotations; they may lead back to themselves, as recursive types do.
"""

from __future__ import annotations

from typing import Final


class Mask:
    """What is hidden below one place of a JSON document.

    Attributes:
        names: what is hidden below the members of an object, or the elements of an array by their index.
        items: the same for all those that `names` does not have.
    """

    __slots__ = ("items", "names")

    def __init__(self, names: dict[str, Masks] | None = None, items: Masks = ()) -> None:
        self.names = names or {}
        self.items = items

    def hide(self, name: str, masks: Masks) -> None:
        """Hides more below a member."""
        known = self.names.get(name, ())
        self.names[name] = HIDDEN if HIDDEN in (known, masks) else known + masks


Masks = tuple[Mask, ...]
"""All of these count together; `()` hides nothing, `HIDDEN` the place itself."""

HIDDEN: Final[Masks] = (Mask(),)


def below(masks: Masks, token: str) -> Masks:
    """What is hidden below a member or an element."""
    found: Masks = ()
    for mask in masks:
        part = mask.names.get(token, mask.items)
        if part is HIDDEN:
            return HIDDEN
        found = found + part if found else part
    return found


def pruned(masks: Masks) -> Masks:
    """Masks without those below which nothing is hidden, everywhere below them too."""
    seen: dict[int, Mask] = {}
    waiting = list(masks)
    while waiting:
        mask = waiting.pop()
        if id(mask) not in seen:
            seen[id(mask)] = mask
            waiting.extend(part for masks in (mask.items, *mask.names.values()) for part in masks)
    hiding = {id(mask) for mask in seen.values() if mask.items is HIDDEN or HIDDEN in mask.names.values()}
    grown = True
    while grown:
        more = {
            id(mask)
            for mask in seen.values()
            if any(id(part) in hiding for masks in (mask.items, *mask.names.values()) for part in masks)
        }
        grown = not more <= hiding
        hiding |= more

    def kept(masks: Masks) -> Masks:
        return masks if masks is HIDDEN else tuple(dict.fromkeys(mask for mask in masks if id(mask) in hiding))

    for mask in seen.values():
        mask.items = kept(mask.items)
        mask.names = {name: left for name, masks in mask.names.items() if (left := kept(masks)) or mask.items}
    return kept(masks)
