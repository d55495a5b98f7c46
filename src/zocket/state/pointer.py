"""JSON Pointers (RFC 6901): the paths of patches.

`~` is written `~0` and `/` is written `~1`; the empty pointer is the whole document; an array element is named by its
decimal index without leading zeros.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from zocket.errors import PatchError

if TYPE_CHECKING:
    from collections.abc import Iterable


def escape(token: str) -> str:
    """Write one key as a part of a pointer."""
    if "~" in token or "/" in token:
        return token.replace("~", "~0").replace("/", "~1")
    return token


def unescape(part: str) -> str:
    """Read one part of a pointer; raises PatchError for a `~` that is neither `~0` nor `~1`."""
    if "~" not in part:
        return part
    head, *rest = part.split("~")
    for piece in rest:
        if piece[:1] not in ("0", "1"):
            raise PatchError(f"Invalid JSON pointer part: {part!r}")
    return head + "".join(("~" if piece[0] == "0" else "/") + piece[1:] for piece in rest)


def join(tokens: Iterable[str | int]) -> str:
    """Compose a pointer from keys and indexes."""
    return "".join(["/" + escape(str(token)) for token in tokens])


def parse(pointer: str) -> list[str]:
    """Split a pointer into its keys; raises PatchError unless it is empty or starts with `/`."""
    if not pointer:
        return []
    if pointer[0] != "/":
        raise PatchError(f"Invalid JSON pointer: {pointer!r}")
    return [unescape(part) for part in pointer[1:].split("/")]


def index(token: str, length: int) -> int:
    """Read an array index below `length`; raises PatchError for anything else."""
    if not (token.isascii() and token.isdigit()) or (len(token) > 1 and token.startswith("0")):
        raise PatchError(f"Invalid array index: {token!r}")
    if len(token) > 20 or (position := int(token)) >= length:
        raise PatchError(f"Array index out of range: {token!r}")
    return position
